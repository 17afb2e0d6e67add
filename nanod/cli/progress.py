"""News of a running apply on standard error: on a terminal one line that is written over, elsewhere a line for each piece."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from nanod.cli import console
from nanod.view.tty import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nanod.settle import Progress

_LAST = frozenset({"up", "healthy", "degraded", "failed", "blocked", "masked"})
"""Words after which a service has no more news: their line stays on the terminal."""


@contextmanager
def shown() -> Iterator[Callable[[Progress], None]]:
    """A listener for news. Nobody reading them (EPIPE, a closed terminal) is no reason to leave an apply half done: that is not even noticed."""
    style = console.style_of(sys.stderr)
    is_terminal = console.is_terminal(sys.stderr)

    def write(text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()

    def tell(news: Progress) -> None:
        line = clean(f"{news.service}: {news.text}")
        if not is_terminal:
            write(f"{line}\n")
        elif news.word in _LAST:
            paint = style.good if news.word in ("up", "healthy") else style.bad
            write(f"\r\x1b[K{paint(line)}\n")
        else:
            write(f"\r\x1b[K{style.faint(line[: style.width - 1])}")

    try:
        yield tell
    finally:
        if is_terminal:
            write("\r\x1b[K")
