"""How text looks: colours when the reader's terminal shows them, and never a control character that came from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanod.scope import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nanod.scope import RuntimeScope

# C0, DEL, C1 (a terminal obeys them), and the bidirectional overrides that make a line read as another.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What the reader's terminal can show; the command line makes one, views take it. `width` is in columns."""

    colour: bool = False
    width: int = 80
    terminal: bool = False
    """Somebody reads it as it comes; elsewhere lines stay whole."""
    unicode: bool = False
    """A terminal that shows box drawing."""
    scope: RuntimeScope = SYSTEM
    """Whose manager commands are for that hints name."""

    def hint(self, text: str) -> str:
        return self.scope.worded(text)

    def good(self, text: str) -> str:
        return self._paint("32", text)

    def bad(self, text: str) -> str:
        return self._paint("1;31", text)

    def warn(self, text: str) -> str:
        return self._paint("33", text)

    def strong(self, text: str) -> str:
        return self._paint("1", text)

    def faint(self, text: str) -> str:
        return self._paint("2", text)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text


PLAIN = Style()


def clean(text: str) -> str:
    r"""Text from outside, safe on a terminal: newlines and tabs stay, other control characters are shown as `\x1b`."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def columns(rows: Iterable[Sequence[str]], *, narrow: int = 0) -> list[str]:
    """Rows of cells as aligned lines; cells hold no colour.

    With `narrow` a first cell that is longer pushes no others aside: it has a line of its own, and what belongs to it stands in the next one.
    """
    table = [list(row) for row in rows]
    is_long = [bool(narrow) and len(row[0]) > narrow for row in table]
    short = [["", *row[1:]] if long else row for row, long in zip(table, is_long, strict=True)]
    widths = [max(map(len, column)) for column in zip(*short, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in short]
    return [f"{row[0]}\n{line}" if long else line for row, line, long in zip(table, lines, is_long, strict=True)]
