"""The exit of the process, which nothing of a service that has ended may hold up."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time

GRACE = 2.0
"""Seconds that other threads have after the main thread."""
log = logging.getLogger("nanod.lifecycle")


def at_once(status: int) -> None:
    """Exit, whatever other threads are at. What was printed is written out, if that does not take long."""
    flush = threading.Thread(target=sys.stdout.flush, daemon=True)  # the thread that hangs may have locked it
    flush.start()
    flush.join(GRACE)
    os._exit(status)


def in_bounds(status: int) -> None:
    """When the main thread has ended, other threads have GRACE to do so: Python would wait for them for ever."""
    if _others():
        threading.Thread(target=_wait, args=(status,), daemon=True).start()


def _others() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]


def _wait(status: int) -> None:
    threading.main_thread().join()
    deadline = time.monotonic() + GRACE
    for thread in _others():
        thread.join(max(0.0, deadline - time.monotonic()))
    for thread in _others():
        log.error("thread '%s' has not ended: the process exits without it", thread.name)
    at_once(status)
