"""Things and what belongs to them, as a tree of lines: box drawing where the reader's terminal has it, ASCII elsewhere."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nanod.view.tty import Style

_BOX = ("\u251c\u2500 ", "\u2502  ", "\u2514\u2500 ", "   ")
_ASCII = ("|- ", "|  ", "`- ", "   ")
"""Before a branch with another after it and before its further lines; before the last branch and its further lines."""
_NARROWEST = 20


def _as_it_is(line: str) -> str:
    return line


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """`text` and `below` hold no colour and no control characters; `paint` colours each line of `text`."""

    text: str
    paint: Callable[[str], str] = _as_it_is
    below: tuple[str, ...] = ()
    """Lines of its own that follow, indented; faint."""
    branches: tuple[Branch, ...] = ()


def tree_lines(branches: Iterable[Branch], style: Style, indent: str = "") -> Iterator[str]:
    """On a terminal lines are wrapped to its width; elsewhere they stay whole, so that a search in the text finds them."""
    found = list(branches)
    marks = _BOX if style.unicode else _ASCII
    for number, branch in enumerate(found, 1):
        head, rest = marks[2:] if number == len(found) else marks[:2]
        first, *more = wrapped(branch.text, style, len(indent) + len(head))
        deeper = indent + rest
        beside = marks[1] if branch.branches else marks[3]
        yield indent + head + branch.paint(first)
        yield from (f"{deeper}{beside}{branch.paint(line)}" for line in more)
        for line in branch.below:
            yield from (f"{deeper}{beside}{style.faint(part)}" for part in wrapped(line, style, len(deeper) + len(beside)))
        yield from tree_lines(branch.branches, style, deeper)


def wrapped(text: str, style: Style, indent: int) -> list[str]:
    """The lines of a text behind an indent of so many columns; at least one. What is indented stays so."""
    if not style.terminal:
        return [text]
    room = max(_NARROWEST, style.width - indent)
    return [part for line in text.split("\n") for part in _parts(line, room)]


def _parts(line: str, room: int) -> list[str]:
    blank = line[: len(line) - len(line.lstrip())] if len(line) > room else ""
    return textwrap.wrap(line, room, subsequent_indent=blank, break_long_words=False, break_on_hyphens=False) or [""]
