"""From the lines of a unit file on the host back to the places in the spec that made them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanod.diagnostics import Mark
from nanod.units.unitfile import Directive, contents

if TYPE_CHECKING:
    from nanod.units.unitfile import UnitFile


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedLine:
    """`origin` None: nothing in the spec makes such a line. `wanted`: what the spec makes instead of it, where that is another text.

    Either way somebody edited the file, or a spec, inputs or a nanod of another time made it.
    """

    line: Directive
    origin: Mark | None
    wanted: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    unit: str
    lines: tuple[TracedLine, ...]
    missing: tuple[Directive, ...]
    """What the spec makes and the file does not have."""


def trace(name: str, text: str, compiled: UnitFile | None) -> Traced:
    """`text` is what the file holds, `compiled` the same unit made from the spec; None where the spec makes no such unit any more."""
    left = list(compiled.directives) if compiled else []
    lines = [Directive(section=section, key=key, text=value, origin=Mark(name)) for section, key, value in contents(name, text)]
    found: dict[int, Directive] = {}
    for is_same in (_is_same_line, _is_same_key):  # what stands there word for word is taken first
        for position, line in enumerate(lines):
            other = next((item for item in left if is_same(item, line)), None) if position not in found else None
            if other:
                found[position] = other
                left.remove(other)
    return Traced(unit=name, lines=tuple(_traced(line, found.get(position)) for position, line in enumerate(lines)), missing=tuple(left))


def _is_same_line(one: Directive, other: Directive) -> bool:
    return _is_same_key(one, other) and one.text == other.text


def _is_same_key(one: Directive, other: Directive) -> bool:
    return (one.section, one.key) == (other.section, other.key)


def _traced(line: Directive, made: Directive | None) -> TracedLine:
    if made is None:
        return TracedLine(line=line, origin=None)
    return TracedLine(line=line, origin=made.origin, wanted=None if made.text == line.text else made.text)
