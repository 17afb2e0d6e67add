"""Findings about a spec, as data: where, how bad, what. Collected in a Report and shown all at once, sorted."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What a terminal would obey, or take for the end of a line; one blank each, so that columns stay."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a text. Line and columns count characters from 1; `end` is the column after the last marked character.

    Line 0 means "the file as a whole", or something that is in no file (then `file` is a word in angle brackets, such as `<built-in>`).
    """

    file: str
    line: int = 0
    column: int = 0
    end: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Severity(IntEnum):
    ERROR = 0
    WARNING = 1
    NOTE = 2


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    mark: Mark
    severity: Severity
    message: str
    path: str = ""
    """The logical place, such as `services.web.hooks.poststart[0].timeout`."""

    def text(self, sources: Mapping[str, str] | None = None) -> str:
        """`file:line:col: error: message`, and under it the source line with a caret where `sources` has the file's text."""
        head = f"{self.mark}: {self.severity.name.lower()}: {self.message}"
        lines = _lines((sources or {}).get(self.mark.file, ""))
        if not 0 < self.mark.line <= len(lines):
            return head
        source = _UNPRINTABLE.sub(" ", lines[self.mark.line - 1])
        if len(source) > 200:
            return head
        margin = f"{self.mark.line:5} | "
        caret = "^" * max(1, min(self.mark.end, len(source) + 1) - self.mark.column)
        under = " " * (len(margin) - 2) + "| " + " " * (self.mark.column - 1) + caret
        return "\n".join([head, margin + source, under + (f"   {self.path}" if self.path else "")])

    def data(self) -> dict[str, object]:
        return {
            "file": self.mark.file,
            "line": self.mark.line,
            "column": self.mark.column,
            "severity": self.severity.name.lower(),
            "message": self.message,
            "path": self.path,
        }


@lru_cache(maxsize=8)
def _lines(text: str) -> list[str]:
    """Of a text that has many findings."""
    return text.split("\n")


@dataclass(slots=True)
class Report:
    """Findings, in the order they were made; iteration is sorted by place and free of repeats."""

    found: list[Diagnostic] = field(default_factory=list)

    def error(self, mark: Mark, message: str, path: str = "") -> None:
        self.found.append(Diagnostic(mark, Severity.ERROR, message, path))

    def warning(self, mark: Mark, message: str, path: str = "") -> None:
        self.found.append(Diagnostic(mark, Severity.WARNING, message, path))

    def note(self, mark: Mark, message: str, path: str = "") -> None:
        self.found.append(Diagnostic(mark, Severity.NOTE, message, path))

    def merge(self, other: Iterable[Diagnostic]) -> None:
        self.found.extend(other)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(sorted(set(self.found)))

    def __len__(self) -> int:
        return len(self.found)

    @property
    def has_errors(self) -> bool:
        return any(item.severity is Severity.ERROR for item in self.found)

    def text(self, sources: Mapping[str, str] | None = None) -> str:
        return "\n".join(item.text(sources) for item in self)
