"""Whether somebody is writing a file: fcntl(2), F_SETLEASE.

A read lease is granted only while nobody has the file open for writing, and whoever opens it for that then waits until the lease is given back, at
the latest when the descriptor is closed. So what is read under one is whole. The kernel says by SIGIO that somebody waits; the daemon ignores it,
because it holds none for longer than it reads.
"""

from __future__ import annotations

import errno
import fcntl
import os


def take(descriptor: int) -> bool | None:
    """True when it is granted, False when somebody is writing the file, None where the file system knows no leases."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as refused:
        return False if refused.errno in (errno.EAGAIN, errno.EBUSY) else None
    return True


def is_free(path: str) -> bool:
    """Whether it is known that nobody is writing it. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        return take(descriptor) is True
    finally:
        os.close(descriptor)
