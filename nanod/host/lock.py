"""One writer on a host, or in one scope of it: flock(2) on /run/nanod/lock, whose content says who holds it."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.errors import BusyError, NanodError
from nanod.host.atomic import OpenDirectory, refusing
from nanod.scope import NO_MANAGER, SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nanod.scope import RuntimeScope

_COMMAND_LIMIT = 200


@contextmanager
def host_lock(
    *, root: str = "/", scope: RuntimeScope = SYSTEM, timeout: float = 60, command: str = "", on_wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock, waiting for it up to `timeout` seconds; `on_wait` is told once who holds it.

    The kernel drops the lock with the process, however it dies; the file stays, and what it says counts only while somebody holds the lock.
    Raises BusyError with the holder's pid and command, NanodError where the manager that is meant does not run.
    """
    if scope.is_user and not Path(scope.run).is_dir():
        raise NanodError(f"cannot use your own systemd: it does not run, there is no {scope.run}", hint=NO_MANAGER)
    with refusing(f"lock {root.rstrip('/')}{scope.own_run}/lock"):
        descriptor = _open(root, scope.own_run)
    try:
        _wait(descriptor, timeout, on_wait)
        _sign(descriptor, command or " ".join(["nanod", *sys.argv[1:]]))
        yield
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _open(root: str, place: str) -> int:
    with OpenDirectory.at(place, root=root, make=True) as directory:
        descriptor = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=directory.fd)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileExistsError(None, "it is no regular file")
    return descriptor


def _wait(descriptor: int, timeout: float, on_wait: Callable[[str], None] | None) -> None:
    """A lock that frees wakes nobody who polls; 0.1 s late is not noticed, and unlike an alarm signal it disturbs nobody."""
    deadline = time.monotonic() + timeout
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            return
        holder = _holder(descriptor)
        if time.monotonic() >= deadline:
            raise BusyError(f"busy: held by {holder}", hint="wait for it, or give --lock-timeout more seconds")
        if on_wait and not told:
            on_wait(holder)
            told = True
        time.sleep(min(0.1, max(0.001, deadline - time.monotonic())))


def _sign(descriptor: int, command: str) -> None:
    """So that who waits is told for whom. A full /run keeps nobody from working, and least of all from undoing what it stopped."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in command)[:_COMMAND_LIMIT]
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {printable}\n".encode(errors="replace"), 0)


def _holder(descriptor: int) -> str:
    pid, _, command = os.pread(descriptor, 4096, 0).decode(errors="replace").strip().partition(" ")
    return f"pid {pid} ({command})" if pid.isdecimal() else "another nanod"
