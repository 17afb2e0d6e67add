"""The lock that installs hold on their volume, and the sentinel in it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import PurePosixPath

from nanod.errors import BusyError
from nanod.host.atomic import OpenDirectory, kind_of, refusing


def forget_install(sentinel: str, *, timeout: float) -> bool:
    """Delete a sentinel, so that the next start installs again; whether there was one.

    It is deleted under the lock of the directory it is in, which an install holds from its look for the sentinel to its end (`lib/provision`); so one
    that is at work ends first, and does not pass for the one that is asked for.

    Raises BusyError when an install holds the lock for more than `timeout` seconds.
    """
    path = PurePosixPath(sentinel)
    with refusing(f"delete {sentinel}"), suppress(FileNotFoundError), OpenDirectory.at(str(path.parent)) as directory:
        _wait(directory, timeout)
        if kind_of(directory.fd, path.name):
            os.unlink(path.name, dir_fd=directory.fd)
            os.fsync(directory.fd)
            return True
    return False


def _wait(directory: OpenDirectory, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(directory.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as held:
            if held.errno != errno.EWOULDBLOCK:
                raise
        else:
            return
        if time.monotonic() >= deadline:
            raise BusyError(f"busy: an install holds {directory.path}", hint="wait for it, or give --lock-timeout more seconds")
        time.sleep(0.1)
