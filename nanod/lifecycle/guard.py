"""The clock of a service that ends: a thread of its own, because what it watches may hold up the main thread."""

from __future__ import annotations

import _thread
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE = 5.0
"""Seconds after the deadline in which what was interrupted has to make way, and the main thread to come to the end; after that it never will."""


class Guard:
    """From `begin` on: `halfway` after half of `timeout`, `over` after all of it, and `hopeless` a little later, unless `finish` comes first.

    All three are called in the guard's thread. `timeout` is in seconds.
    """

    def __init__(self, timeout: float, halfway: Callable[[], None], over: Callable[[], None], hopeless: Callable[[], None]) -> None:
        self._timeout = timeout
        self._steps = ((timeout / 2, halfway), (timeout / 2, over), (GRACE, hopeless))
        # Neither a thread nor a lock of threading(3): `begin` is called by signal handlers, which may have interrupted one of these at work.
        self._finished = _thread.allocate_lock()
        self._finished.acquire()
        self._deadline: float | None = None

    def begin(self) -> None:
        """What it is called for first is what counts."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._timeout
            with suppress(RuntimeError):  # there is no room for another thread: systemd's own limit has to do
                _thread.start_new_thread(self._watch, ())

    def left(self) -> float:
        """Seconds; all of `timeout` before `begin`."""
        return self._timeout if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def hurry(self) -> None:
        """Nothing is left from now on; the steps come when they come."""
        self._deadline = time.monotonic()

    def finish(self) -> None:
        """Nothing is called any more."""
        if self._finished.locked():
            self._finished.release()

    def _watch(self) -> None:
        for seconds, step in self._steps:
            if self._finished.acquire(timeout=seconds):
                self._finished.release()  # a signal in the middle of `begin` may have started another of these
                return
            step()
