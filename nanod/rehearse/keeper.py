"""Holds the other end of a machine: when its caller is gone, or says so, nothing of the machine stays.

    caller ── keeper ── unshare ── first ── systemd-nspawn ── systemd

Each is killed with the one before it (PR_SET_PDEATHSIG), and with `first` the kernel kills all in its PID namespace.
Only directories in the cgroup file system can be left, when the keeper itself was killed: the next machine sweeps them.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NoReturn

from nanod.errors import NanodError
from nanod.rehearse import cgroup

if TYPE_CHECKING:
    from pathlib import Path


def spawn(group: Path, config: str) -> subprocess.Popen[bytes]:
    # Private: under systemd the machine's own mounts are shared, and what is mounted here would show there.
    unshare = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    first = [sys.executable, "-m", "nanod.rehearse.first", config]
    return subprocess.Popen(["setpriv", "--pdeathsig=KILL", *cgroup.enter(group / "first"), *unshare, *first], stdout=sys.stderr)


def main() -> None:
    caller, config = int(sys.argv[1]), sys.argv[2]
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gone = os.pidfd_open(caller)
    if os.getppid() != caller:
        return
    try:
        cgroup.sweep()
        group = cgroup.create()
    except NanodError as refused:
        sys.exit(f"{refused.message}\n{refused.hint}")
    child = None
    try:
        child = spawn(group, config)
        sys.stdout.write(f"{group}\n")
        sys.stdout.flush()
        select.select([gone, os.pidfd_open(child.pid)], [], [])
    finally:
        if child is not None:
            child.kill()
            child.wait()
        cgroup.remove(group)


def _stop(_signal: int, _frame: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
