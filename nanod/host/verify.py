"""What the real parser says of compiled units, before any of them is installed; no running systemd is needed.

systemd-analyze's exit status means little: 0 for an unknown key, a bad value or an unbalanced quote, all of which it drops with a warning,
and 1 for a program that an install step will yet make. So its words are judged: a line that names one of our units is an error, at the
line of the spec that made the directive; a missing program is a note.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.diagnostics import Mark, Report
from nanod.errors import NanodError
from nanod.host.atomic import refusing
from nanod.host.process import run
from nanod.units.names import is_settings
from nanod.units.unitfile import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.units.unitfile import Directive, UnitFile
    from nanod.units.unitset import UnitSet

_TIMEOUT = 120.0
_MISSING_PROGRAM = re.compile(r"Command (.*) is not executable: (.*)")
_BARE = "[Unit]\nDescription=x\n"
"""A target that is there, and no more; systemd takes an empty file for a mask."""
_IN_LINE = re.compile(r"([^:]*):([0-9]+): (.*)")


def verify(wanted: UnitSet, written: Mapping[str, str | None]) -> Report:
    """Errors and notes, each at its place in the spec, of the units that are `written`: name to the text there is now, None for none.

    The others were verified when they were written; they are here because the ones that change name them. Raises NanodError when
    systemd-analyze cannot be run.
    """
    import tempfile  # noqa: PLC0415  (3 ms; most commands write nothing that must be verified)

    report = Report()
    units = {unit.name: unit for unit in wanted.units if not is_settings(unit.name)}
    written = {name: old for name, old in written.items() if not is_settings(name)}
    if not written:
        return report
    texts = {name: unit.render() for name, unit in units.items()}
    asked = dict.fromkeys(written)
    if any(_relations(texts[name]) != _relations(old or "") for name, old in written.items()):
        # A cycle in the order may go through units that stay as they are: the start of the target shows every one.
        asked[wanted.target] = None
    elif wanted.target not in written:
        # All are part of the target, and it wants all: to read them takes half of the time (40 ms for 100 services), and says nothing new.
        texts[wanted.target] = _BARE
    with refusing("write units to be verified"), tempfile.TemporaryDirectory(prefix="nanod-verify-") as made:
        scratch = Path(made).resolve()
        for name, text in texts.items():
            (scratch / name).write_text(text, errors="surrogateescape")
        # The colon at the end keeps the usual directories, for the units of the host that ours name.
        done = run(
            ["systemd-analyze", *wanted.scope.words, "verify", "--man=no", *(f"{scratch}/{name}" for name in asked if name in units)],
            env={"SYSTEMD_UNIT_PATH": f"{scratch}:", "SYSTEMD_LOG_LEVEL": "warning", "SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"},
            timeout=_TIMEOUT,
        )
    if done.status < 0:
        raise NanodError(f"cannot verify the units: systemd-analyze was killed by signal {-done.status}")
    for line in done.err.splitlines():
        _judge(line.removeprefix(f"{scratch}/"), units, wanted, report)
    return report


def _relations(text: str) -> list[str]:
    """What may tie a unit to others."""
    return [f"{key}={value}" for section, key, value in parse(text) if section == "Unit"]


def _judge(line: str, units: dict[str, UnitFile], wanted: UnitSet, report: Report) -> None:
    """One line of systemd's: `shop-web.service:12: words` of the parser, `shop-web.service: words` of what comes after it."""
    if (found := _IN_LINE.match(line)) and found[1] in units:
        name, words = found[1], found[3]
        directive = _directive_at(units[name], int(found[2]))
    else:
        name = next((name for name in units if _names(line, name)), "")
        if not name:
            return
        words, directive = line.removeprefix(f"{name}: "), None
    if found := _MISSING_PROGRAM.search(words):
        if found[1].startswith(f"{wanted.scope.lib}/"):
            return  # the first apply puts them there
        if any(found[1].startswith(f"{release.path}/") for release in wanted.releases):
            return  # the build makes it
        report.note(_origin_of_program(units[name], found[1], wanted), f"'{found[1]}' is not there yet: {found[2].lower()}")
        return
    mark = directive.origin if directive else _service_mark(units[name], wanted)
    where = f" ({directive.key}= of {name})" if directive else f" ({name})"
    report.error(mark, f"systemd does not take this: {words.removesuffix(', ignoring.')}{where}")


def _names(line: str, unit: str) -> bool:
    return unit in line and re.search(rf"(?<![\w@.-]){re.escape(unit)}(?![\w@-]|\.\w)", line) is not None


def _directive_at(unit: UnitFile, number: int) -> Directive | None:
    lines = unit.lines()
    return lines[number - 1][1] if 0 < number <= len(lines) else None


def _origin_of_program(unit: UnitFile, program: str, wanted: UnitSet) -> Mark:
    found = next((item.origin for item in unit.directives if item.key.startswith("Exec") and program in item.text), None)
    return found or _service_mark(unit, wanted)


def _service_mark(unit: UnitFile, wanted: UnitSet) -> Mark:
    return next((service.origin for service in wanted.services if service.name == unit.service), Mark(wanted.spec_file))
