"""Output of another process, passed on as it comes: two pipes that a unit opens by path, and that end here."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_CHUNK = 65536


class Relay:
    """`out` and `err` are paths for StandardOutput=append: and StandardError=append:, good as long as this process lives.

    systemd opens them before it enters the unit's sandbox, and a pipe by /proc/PID/fd as a pipe of its own (tried on 252 and 257). A reader that
    goes away (EPIPE from `to_out` or `to_err`) is told to the writer, as in a pipeline.
    """

    def __init__(self, to_out: Callable[[bytes], None], to_err: Callable[[bytes], None]) -> None:
        self._readers: dict[int, Callable[[bytes], None]] = {}
        self._writers: list[int] = []
        for pass_on in (to_out, to_err):
            reading, writing = os.pipe()
            os.set_blocking(reading, False)
            self._readers[reading] = pass_on
            self._writers.append(writing)
        self.out, self.err = (f"/proc/{os.getpid()}/fd/{writing}" for writing in self._writers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for descriptor in (*self._readers, *self._writers):
            os.close(descriptor)

    def pump(self, seconds: float) -> None:
        """Pass on what is there; wait up to `seconds` for anything."""
        ready, _, _ = select.select(list(self._readers), [], [], seconds)
        for reading in ready:
            self._pass_on(reading)

    def drain(self) -> None:
        """Pass on all that is left, now that nobody writes any more."""
        for reading in list(self._readers):
            while self._pass_on(reading):
                pass

    def _pass_on(self, reading: int) -> bool:
        try:
            chunk = os.read(reading, _CHUNK)
        except BlockingIOError:
            return False
        try:
            self._readers[reading](chunk)
        except BrokenPipeError:
            # The writing end stays: the next unit opens it, too.
            del self._readers[reading]
            os.close(reading)
            return False
        return bool(chunk)
