"""Wakes a loop from signal handlers and other threads: an eventfd(2), which neither a lock nor a full pipe can hold up."""

from __future__ import annotations

import os
import select


class Bell:
    """Rung any number of times, it wakes once; `hush` before looking at what has changed."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        return self._fd

    def ring(self) -> None:
        os.eventfd_write(self._fd, 1)

    def hush(self) -> None:
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return  # nobody rang

    def wait(self, timeout: float | None) -> bool:
        """Until it is rung, or has been and was not hushed; at most `timeout` seconds. False when it was not."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(None if timeout is None else max(0.0, timeout) * 1000))

    def __del__(self) -> None:
        # Not before: who rings a number that has become another file would write to that.
        os.close(self._fd)
