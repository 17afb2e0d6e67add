"""A closed terminal, a lost ssh connection, a `kill`: each ends a transaction as Ctrl-C does.

What comes after the first is not obeyed, or a session's end, which sends two, would leave the way back half gone. Only a third Ctrl-C is: then
the next command goes on.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nanod.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ENOUGH = 3


class Signals:
    """What came, and what becomes of it: `nanod.host.Interrupts`. Obeys nothing outside of `obeyed`."""

    def __init__(self) -> None:
        self._seen: list[int] = []
        self._holds = self._refuses = 0
        self._is_pending = False

    @property
    def came(self) -> bool:
        return bool(self._seen)

    @contextmanager
    def obeyed(self) -> Iterator[None]:
        """The first one raises KeyboardInterrupt. nohup(1) ignores SIGHUP, and so do we then."""
        before = {number: signal.getsignal(number) for number in _NUMBERS}
        ours = [number for number, old in before.items() if old is not signal.SIG_IGN]
        for number in ours:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number in ours:
                signal.signal(number, before[number])

    @contextmanager
    def held(self) -> Iterator[None]:
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        if self._is_pending and not self._holds:
            self._is_pending = False
            raise KeyboardInterrupt

    @contextmanager
    def refused(self) -> Iterator[None]:
        self._refuses += 1
        try:
            yield
        finally:
            self._refuses -= 1

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._seen.append(number)
        is_first = len(self._seen) == 1 and not self._refuses
        if is_first and self._holds:
            self._is_pending = True
        elif is_first or (number == signal.SIGINT and self._seen.count(signal.SIGINT) >= _ENOUGH):
            raise KeyboardInterrupt
        elif number == signal.SIGINT:
            console.err("nanod: it ends in good order; a third Ctrl-C leaves that to the next nanod command")
