"""Places where a transaction can be broken on purpose, so that tests can show what is left of it. Nothing happens unless NANOD_FAULT is set.

    NANOD_FAULT=POINT[@N]:ACTION    at the Nth time (default the first) that POINT is reached
    NANOD_FAULT=list                print each point as it is reached, to standard error

Actions: `kill` (SIGKILL, as a crash would), `stop` (SIGSTOP: the machine can be cut off or rebooted there), `interrupt` (SIGINT, as Ctrl-C), or the
name of an errno (`ENOSPC`), which is raised there as the kernel would; that one has a meaning where files are written.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections import Counter
from enum import StrEnum


class Point(StrEnum):
    """Each durable step of a transaction, in their order; one is reached when the step is done."""

    COPIED = "copied"
    """The files of a release are where it will be built."""
    BUILT = "built"
    """One more release is whole."""
    INTENT = "intent"
    """What is about to change, and how it was, is on disk."""
    STAGED = "staged"
    """The new generation is on disk."""
    STOPPED = "stopped"
    """A unit that stops before its file changes, or that goes away, has stopped."""
    WRITTEN = "written"
    """Unit files are on disk, under temporary names."""
    RENAMED = "renamed"
    """One more unit file has its name, or one more link was made, or one of them was deleted."""
    INSTALLED = "installed"
    RELOADED = "reloaded"
    ARMED = "armed"
    """A deploy hook will run with the next start of its service."""
    PRESTARTED = "prestarted"
    """Deploy-scoped hooks have run."""
    ROLLED = "rolled"
    """One more wave of instances has been told to restart."""
    STARTED = "started"
    """Jobs are enqueued."""
    SETTLED = "settled"
    COMMITTED = "committed"
    """The new generation is in force."""
    SWITCHED = "switched"
    """`current` of each service is the new release."""
    CLEARED = "cleared"
    """The intent is gone."""
    UNDOING = "undoing"
    UNDONE = "undone"
    """All is as it was, but for the intent."""
    DECIDED = "decided"
    """A removal will be finished whatever happens."""
    PURGED = "purged"
    """One more directory of data is gone."""


_ARMED = os.environ.get("NANOD_FAULT", "")
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "interrupt": signal.SIGINT}
_seen: Counter[str] = Counter()


def reach(point: Point) -> None:
    """Raises OSError when the test asked for that."""
    if _ARMED:
        _break(point)


def _break(point: Point) -> None:
    _seen[point] += 1
    if _ARMED == "list":
        sys.stderr.write(f"fault point {point}@{_seen[point]}\n")
        return
    where, _, action = _ARMED.partition(":")
    wanted, _, count = where.partition("@")
    if wanted != point or _seen[point] != int(count or 1):
        return
    if action in _SIGNALS:
        os.kill(os.getpid(), _SIGNALS[action])
    else:
        number = getattr(errno, action)
        raise OSError(number, os.strerror(number))
