"""Findings of `nanod doctor`, to text of the terminal's width and to JSON."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import TYPE_CHECKING

from nanod.doctor import Level, worst
from nanod.view.tty import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nanod.doctor import Finding
    from nanod.view.tty import Style

_MARGIN = 11
"""Columns before a text: two, the longest level, two."""


def doctor_text(findings: Sequence[Finding], style: Style) -> str:
    """The host, then each app, then how many of each; always wrapped: it is prose."""
    parts = []
    for app, group in groupby(findings, key=lambda item: item.app):
        lines = [style.strong(clean(app) if app else "this host"), *(line for item in group for line in _lines(item, style))]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _summary(findings, style)])


def _lines(item: Finding, style: Style) -> Iterator[str]:
    paint = {Level.OK: style.good, Level.NOTE: style.faint, Level.WARNING: style.warn, Level.ERROR: style.bad}[item.level]
    first, *more = _wrapped(item.text, style) or [""]
    yield f"  {paint(item.level.value)}{'':{_MARGIN - 2 - len(item.level)}}{first}"
    yield from (f"{'':{_MARGIN}}{line}" for line in more)
    for number, line in enumerate(_wrapped(item.remedy, style, 3)):
        yield f"{'':{_MARGIN}}{'   ' if number else '-> '}{line}"


def _wrapped(text: str, style: Style, indent: int = 0) -> list[str]:
    return textwrap.wrap(clean(text), max(30, style.width - _MARGIN - indent), break_long_words=False, break_on_hyphens=False)


def _summary(findings: Sequence[Finding], style: Style) -> str:
    counts = [(sum(item.level is level for item in findings), level.value) for level in (Level.ERROR, Level.WARNING)]
    words = [f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count]
    if unknown := sum(not item.is_known for item in findings):
        words.append(f"{unknown} unknown")
    if not words:
        return style.good("nothing is wrong")
    return (style.bad if worst(findings) is Level.ERROR else style.warn)(", ".join(words))


def doctor_data(findings: Sequence[Finding]) -> dict[str, object]:
    return {
        "ok": worst(findings) is not Level.ERROR,
        "findings": [
            {
                "id": item.id,
                "level": item.level,
                "app": item.app or None,
                "subject": item.subject or None,
                "text": item.text,
                "remedy": item.remedy or None,
                "known": item.is_known,
            }
            for item in findings
        ],
    }
