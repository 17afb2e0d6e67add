"""Unit files as values, and the two emitters: quoted and raw.

systemd reads a line in this order: LF, CR and NUL end it; an odd number of trailing backslashes joins the next one; blanks around it go; then it splits at the first
`=`; then the key's own parser unquotes (or does not), and only after that come specifiers and the prefixes of Exec lines (`config_parse_exec` in load-fragment.c
of systemd 252, tried on 252 and 257). So `%` is escaped as `%%` and never as `\\x25`, and an executable is safe only when its first character is `/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanod.units.directives import Emitter, row_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nanod.diagnostics import Mark, Report

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_RAW_REFUSED = re.compile(r"[\x00-\x1f\x7f]")
_QUOTED_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "%": "%%", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_LINE_LIMIT = 512 * 1024
"""systemd 252 refuses a whole unit for one line over 1 MiB (LONG_LINE_MAX); hostile text may double in quoting."""


class UnrepresentableError(ValueError):
    """systemd has no way to be told this text in this place; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """`Key=text` in a section, as written to disk, and the place in the spec that made it."""

    section: str
    key: str
    text: str
    origin: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFile:
    """A unit file, complete; `service` is the service of the spec it belongs to, "" for target and slice."""

    name: str
    service: str
    head: str
    """The comment line that says where the file comes from."""
    directives: tuple[Directive, ...]

    def render(self) -> str:
        lines = [f"# {self.head}"]
        section = ""
        for directive in self.directives:
            if directive.section != section:
                section = directive.section
                lines.extend(("", f"[{section}]"))
            lines.append(f"{directive.key}={directive.text}")
        return "\n".join(lines) + "\n"

    def values(self, section: str, key: str) -> list[str]:
        return [item.text for item in self.directives if item.section == section and item.key == key]


def quote(word: str) -> str:
    """One word for a place that systemd unquotes. Raises UnrepresentableError for NUL, and for text that is no UTF-8."""
    _refuse_unencodable(word)
    if "\0" in word:
        raise UnrepresentableError("a NUL character cannot be written in a unit file")
    escaped = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", word.translate(_QUOTED_ESCAPES))
    return f'"{escaped}"'


def raw(text: str) -> str:
    """Text for a place that systemd takes as it stands. Raises UnrepresentableError for what would end, join or lose part of the line."""
    _refuse_unencodable(text)
    if control := _RAW_REFUSED.search(text):
        raise UnrepresentableError(f"control character {control[0]!r} cannot stand here")
    if text != text.strip():
        raise UnrepresentableError("systemd strips the blanks at its ends")
    if text.endswith("\\"):
        raise UnrepresentableError("systemd would join the next line to a backslash at the end")
    if not text:
        raise UnrepresentableError("systemd reads an empty value as 'reset'")
    return text.replace("%", "%%")


def _refuse_unencodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as bad:
        raise UnrepresentableError(f"character {text[bad.start]!r} is not UTF-8") from bad


def exec_line(argv: Sequence[str], prefix: str = "") -> str:
    """An Exec line: `prefix` of systemd's own (`-`, `+`, `@` …), and always `:`, which keeps `$` as written.

    Raises UnrepresentableError for an executable that systemd would not take as a path or a bare name (`config_parse_exec`).
    """
    program = argv[0]
    if not re.fullmatch(r"/?[A-Za-z0-9][^\x00-\x1f\x7f\"'\\]*", program) or program.endswith("/") or (program[0] != "/" and "/" in program):
        raise UnrepresentableError(f"'{program}' is neither an absolute path nor a bare program name")
    # A bare or quoted name is the same to systemd; without quotes the common line stays readable.
    first = program.replace("%", "%%") if re.fullmatch(r"[A-Za-z0-9/._+%@-]+", program) else quote(program)
    return f"{prefix}:" + " ".join([first, *(word if _is_plain(word) else quote(word) for word in argv[1:])])


_PLAIN_WORD = re.compile(r"[A-Za-z0-9/._+@=,:-]+")


def _is_plain(word: str) -> bool:
    """Words that mean themselves without quotes, so that unit files stay readable. A lone `;` and everything with `$`, `%` or a quote is not plain."""
    return _PLAIN_WORD.fullmatch(word) is not None


@dataclass(slots=True, kw_only=True)
class UnitBuilder:
    """Collects the directives of one unit; what cannot be written becomes an error at the place in the spec that asked for it."""

    name: str
    service: str
    head: str
    report: Report
    directives: list[Directive] = field(default_factory=list)

    def raw(self, section: str, key: str, value: object, origin: Mark) -> None:
        """A value that systemd takes as it stands: path, description, name, number, time span, boolean."""
        text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        self._emit(section, key, origin, Emitter.RAW, lambda: raw(text))

    def words(self, section: str, key: str, values: Iterable[str], origin: Mark) -> None:
        """Words that systemd unquotes: environment assignments, paths of ReadWritePaths=, unit names, capability names."""
        self._emit(section, key, origin, Emitter.WORDS, lambda: " ".join(item if _is_plain(item) else quote(item) for item in values))

    def exec(self, key: str, argv: Sequence[str], origin: Mark, prefix: str = "") -> None:
        self._emit("Service", key, origin, Emitter.EXEC, lambda: exec_line(argv, prefix))

    def live(self, section: str, key: str, text: str, origin: Mark) -> None:
        """A directive of the spec's own `systemd:` block: specifiers stay live, an empty value resets."""

        def emit() -> str:
            return raw(text).replace("%%", "%") if text else ""

        self._emit(section, key, origin, None, emit)

    def finish(self) -> UnitFile:
        order = ("Unit", "Service", "Socket", "Timer", "Slice", "Install", "X-Nanod")
        ordered = sorted(self.directives, key=lambda item: order.index(item.section))
        return UnitFile(name=self.name, service=self.service, head=self.head, directives=tuple(ordered))

    def _emit(self, section: str, key: str, origin: Mark, emitter: Emitter | None, text: object) -> None:
        if emitter is not None and row_of(section, key).emitter is not emitter:
            raise AssertionError(f"{section}/{key} is not written as {emitter}")
        assert callable(text)
        try:
            value = text()
        except UnrepresentableError as refused:
            self.report.error(origin, f"cannot write {key}= for systemd: {refused}")
            return
        if len(value) > _LINE_LIMIT:
            self.report.error(origin, f"cannot write {key}= for systemd: a line is at most {_LINE_LIMIT // 1024} KiB, this one has {len(value) // 1024}")
            return
        self.directives.append(Directive(section=section, key=key, text=value, origin=origin))


def parse(text: str) -> tuple[tuple[str, str, str], ...]:
    """(section, key, text) of every directive of a file that `UnitFile.render` wrote, in order; comments and blank lines are dropped."""
    section, found = "", []
    for line in text.split("\n"):
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.append((section, key, value))
    return tuple(found)
