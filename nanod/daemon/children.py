"""Short-lived programs: what needs the language, D-Bus or the journal is theirs, and so is their memory. Nothing waits for them but the loop."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LARGEST = 16 << 20
"""Bytes that are read of what one printed."""
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""What systemd tells this process alone."""
_STDOUT, _STDERR = 1, 2


class Done(NamedTuple):
    """`status`: exit status, or minus the signal that ended it."""

    status: int
    out: str
    err: str


class Child:
    """A program that runs. Readable (select(2)) once it has ended; `finish` must be called then."""

    def __init__(self, argv: Sequence[str]) -> None:
        """Raises OSError when it cannot be started."""
        self.argv = tuple(argv)
        self._out, self._err = os.memfd_create("out", os.MFD_CLOEXEC), os.memfd_create("err", os.MFD_CLOEXEC)
        try:
            self._pid = os.posix_spawnp(
                argv[0],
                list(argv),
                _environment(os.environ),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, self._out, _STDOUT),
                    (os.POSIX_SPAWN_DUP2, self._err, _STDERR),
                ],
                setsigmask=(),
                # What Python or the daemon ignores, a program does not.
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGIO, signal.SIGHUP),
            )
        except OSError:
            os.close(self._out)
            os.close(self._err)
            raise
        self._pidfd = os.pidfd_open(self._pid)

    def fileno(self) -> int:
        return self._pidfd

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def finish(self) -> Done:
        """Wait for its end, which has come if this object is readable."""
        _, status = os.waitpid(self._pid, 0)
        done = Done(status=os.waitstatus_to_exitcode(status), out=_content(self._out), err=_content(self._err))
        for descriptor in (self._out, self._err, self._pidfd):
            os.close(descriptor)
        return done


def run(argv: Sequence[str], *, timeout: float) -> Done:
    """Run one to its end, and kill it after `timeout` seconds. Raises OSError when it cannot be started."""
    child = Child(argv)
    poll = select.poll()
    poll.register(child, select.POLLIN)
    if not poll.poll(timeout * 1000):
        child.kill()
    return child.finish()


def _environment(mine: Mapping[str, str]) -> dict[str, str]:
    """Without what systemd tells us. PID 1 may be busy with a reload for longer than the 25 s that sd-bus waits for its answer."""
    return {"SYSTEMD_BUS_TIMEOUT": "10min", **{name: value for name, value in mine.items() if name not in _OURS}}


def _content(descriptor: int) -> str:
    return os.pread(descriptor, _LARGEST, 0).decode(errors="replace")
