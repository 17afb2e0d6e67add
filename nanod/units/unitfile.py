"""Unit files as values: built directive by directive, rendered, parsed back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from nanod.units import quoting
from nanod.units.directives import Emitter, row_of
from nanod.units.names import is_settings
from nanod.units.quoting import UnrepresentableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nanod.diagnostics import Mark, Report
    from nanod.units.directives import Shape

_SECTIONS = ("Unit", "Service", "Socket", "Timer", "Slice", "Install", "X-Nanod")
_RANK = {section: rank for rank, section in enumerate(_SECTIONS)}
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_ONE: dict[Emitter, Callable[[str], str]] = {Emitter.TEXT: quoting.text, Emitter.VALUE: quoting.line, Emitter.PATH: quoting.path}
_MANY: dict[Emitter, Callable[[Iterable[str]], str]] = {
    Emitter.NAMES: quoting.names,
    Emitter.PATHS: quoting.paths,
    Emitter.WORDS: quoting.words,
}


class Directive(NamedTuple):
    """`Key=text` in a section, as written to disk, and the place in the spec that made it."""

    section: str
    key: str
    text: str
    origin: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFile:
    """A unit file, complete; `service` is the service of the spec it belongs to, "" for target and slice.

    A file of settings is one too, without a head: its directives have neither section nor key, and each is a line.
    """

    name: str
    service: str
    head: str
    """The comment line that says where the file comes from."""
    directives: tuple[Directive, ...]

    def render(self) -> str:
        return "".join(f"{line}\n" for line, _ in self.lines())

    def lines(self) -> list[tuple[str, Directive | None]]:
        """Each line as written, with the directive that it holds: the way back from a line number of systemd's to the spec."""
        if not self.head:
            return [(item.text, item) for item in self.directives]
        lines: list[tuple[str, Directive | None]] = [(f"# {self.head}", None)]
        section = ""
        for directive in self.directives:
            if directive.section != section:
                section = directive.section
                lines += ("", None), (f"[{section}]", None)
            lines.append((f"{directive.key}={directive.text}", directive))
        return lines

    def values(self, section: str, key: str) -> list[str]:
        return [item.text for item in self.directives if item.section == section and item.key == key]


@dataclass(slots=True, kw_only=True)
class UnitBuilder:
    """Collects the directives of one unit; what cannot be written becomes an error at the place in the spec that asked for it."""

    name: str
    service: str
    head: str
    report: Report
    directives: list[Directive] = field(default_factory=list)

    def raw(self, section: str, key: str, value: object, origin: Mark) -> None:
        """One value, to the end of the line: path, description, name, number, time span, boolean."""
        text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        self._add(section, key, origin, _one, text)

    def words(self, section: str, key: str, values: Iterable[str], origin: Mark) -> None:
        """Several on one line: environment assignments, paths of ReadWritePaths=, unit names, capability names."""
        self._add(section, key, origin, _many, tuple(values))

    def exec(self, key: str, argv: Sequence[str], origin: Mark, prefix: str = "") -> None:
        """A command line. `prefix`: systemd's `-`, `+`, `!`; `:` is always there, so `$` stays as written."""
        self._add("Service", key, origin, _command, argv, prefix)

    def live(self, section: str, key: str, text: str, origin: Mark) -> None:
        """A directive of the spec's own `systemd:` block: specifiers stay live, an empty value resets."""
        self._add(section, key, origin, _live, text)

    def fixed(self, section: str, lines: Mapping[str, str], origin: Mark) -> None:
        """Directives of a table of ours, whose texts need no quotes; a test holds them to the ways above."""
        self.directives += [Directive(section, key, text, origin) for key, text in lines.items()]

    def drop(self, section: str, key: str) -> None:
        """Take back every line of a directive."""
        self.directives = [item for item in self.directives if (item.section, item.key) != (section, key)]

    def finish(self) -> UnitFile:
        """Sections in systemd's customary order; within one, directives in the order in which they were added."""
        ordered = sorted(self.directives, key=lambda item: _RANK[item.section])
        return UnitFile(name=self.name, service=self.service, head=self.head, directives=tuple(ordered))

    def _add(self, section: str, key: str, origin: Mark, write: Callable[..., str], *what: object) -> None:
        try:
            text = write(section, key, *what)
            _refuse_long_line(text)
        except UnrepresentableError as refused:
            self.report.error(origin, f"cannot write {key if _KEY.fullmatch(key) else repr(key)}= for systemd: {refused}")
        else:
            self.directives.append(Directive(section, key, text, origin))


@lru_cache(maxsize=4096)  # most lines of a unit stand in the other units, too
def _one(section: str, key: str, text: str) -> str:
    row = row_of(section, key)
    return _ONE[row.emitter](_shaped(row.shape, text))


@lru_cache(maxsize=4096)
def _many(section: str, key: str, values: tuple[str, ...]) -> str:
    row = row_of(section, key)
    return _MANY[row.emitter]([_shaped(row.shape, value) for value in values])


def _command(section: str, key: str, argv: Sequence[str], prefix: str) -> str:
    assert row_of(section, key).emitter is Emitter.EXEC
    return quoting.command(argv, prefix)


def _live(section: str, key: str, text: str) -> str:
    """Section and key are the spec's own here, and could hold a line break, too."""
    if section not in _SECTIONS or not _KEY.fullmatch(key):
        raise UnrepresentableError(f"[{section!r}] {key!r} is no section and directive")
    return quoting.line(text) if text else ""


def _shaped(shape: Shape | None, value: str) -> str:
    if shape and not shape.fits(value):
        raise UnrepresentableError(f"{value!r} is not {shape.words}")
    return value


def _refuse_long_line(text: str) -> None:
    if len(text) > quoting.LINE_LIMIT // 4 and (size := len(text.encode())) > quoting.LINE_LIMIT:
        raise UnrepresentableError(f"a line has at most {quoting.LINE_LIMIT} bytes, this one has {size}")


def parse(text: str) -> tuple[tuple[str, str, str], ...]:
    """(section, key, text) of every directive, in order; comments and blank lines are dropped.

    It reads what `UnitFile.render` wrote: no continuation lines.
    """
    section, found = "", []
    for line in text.split("\n"):
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.append((section, key, value))
    return tuple(found)


def contents(name: str, text: str) -> tuple[tuple[str, str, str], ...]:
    """What `parse` yields of a unit; of a file of settings each line as it is."""
    if is_settings(name):
        return tuple(("", "", line) for line in text.removesuffix("\n").split("\n"))
    return parse(text)
