"""The first process of a machine's namespaces (mounts and PIDs): makes its root, then runs systemd-nspawn.

It is PID 1 of its PID namespace: when it ends, for whatever reason, the kernel kills everything in it, and the mounts go with the
last process. It ends when its standard input does, and obeys START and CUT there.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from nanod.errors import NanodError
from nanod.rehearse import cgroup, mounts, overlay

REBOOT = 133
"""How systemd-nspawn --keep-unit ends when the machine reboots (RestartForceExitStatus= of systemd-nspawn@.service)."""

START = b"s"
"""Switch on a machine that is off, or about to be."""

CUT = b"c"
"""Cut the power."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a machine is made of; travels as JSON on the command line."""

    tree: str
    private_network: bool
    binds: tuple[str, ...]
    python: str
    source: str

    def text(self) -> str:
        return json.dumps(asdict(self))


def nspawn(config: Config, boot: int) -> list[str]:
    """The command that boots what `overlay` made, for the `boot`-th time. It must not register with a machined that is not there."""
    return [
        "systemd-nspawn",
        f"--directory={overlay.ROOT}",
        f"--machine=nanod-rehearse-{boot}",  # 257 refuses a name whose last systemd-nspawn was killed
        f"--hostname={os.uname().nodename}",
        "--boot",
        "--quiet",
        "--keep-unit",
        "--register=no",
        "--settings=no",
        "--console=pipe",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        *(["--private-network"] if config.private_network else []),
        *(f"--bind-ro={path}" for path in config.binds),
    ]


def start(config: Config, boot: int, group: Path) -> subprocess.Popen[bytes]:
    cgroup.remove(group / "payload", patience=1.0)  # of an earlier boot
    # A tmpfs on /tmp would hide the tree's, where a spec may lie.
    environment = {**os.environ, "SYSTEMD_NSPAWN_TMPFS_TMP": "0"}
    return subprocess.Popen([*cgroup.enter(group), *nspawn(config, boot)], stdin=subprocess.DEVNULL, env=environment)


def serve(config: Config) -> None:
    # Shared again, among ourselves: the systemd inside passes credentials into services by mount propagation.
    mounts.add("--make-rshared", "/")
    # Uniform for systemd-nspawn, whatever the layout of the machine: pure cgroup v2.
    if not Path("/sys/fs/cgroup/cgroup.procs").exists():
        mounts.add("-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    if not Path(config.tree, "usr/lib/systemd/systemd").exists() and not Path(config.tree, "lib/systemd/systemd").exists():
        raise NanodError(f"cannot rehearse: there is no systemd in {config.tree}", hint="apt install systemd")
    overlay.show(Path(config.tree))
    overlay.prepare(overlay.ROOT)
    wrapper = overlay.inside(overlay.ROOT, "usr/local/bin") / "nanod"
    overlay.write(wrapper, f'#!/bin/sh\nPYTHONPATH="{config.source}" exec "{config.python}" -m nanod "$@"\n')
    wrapper.chmod(0o755)
    keep_running(config, cgroup.own().parent)


def keep_running(config: Config, group: Path) -> None:
    """Boot, again after a reboot and after START; returns at the end of the standard input.

    Raises NanodError when systemd-nspawn fails by itself.
    """
    for boot in itertools.count(1):
        machine = start(config, boot, group / "machine")
        word = b""
        ended = os.pidfd_open(machine.pid)
        ready, _, _ = select.select([sys.stdin, ended], [], [])
        os.close(ended)
        if sys.stdin in ready:
            word = os.read(sys.stdin.fileno(), 1)
            if not word:
                return
            if word == CUT:
                cgroup.kill(group)
        status = machine.wait()
        if status == REBOOT:
            continue
        if status and word != CUT:
            raise NanodError("cannot rehearse: systemd-nspawn failed", hint=f"its status was {status}")
        if word != START and not os.read(sys.stdin.fileno(), 1):
            return


def main() -> None:
    config = json.loads(sys.argv[1])
    try:
        serve(Config(**config))
    except NanodError as refused:
        sys.exit(f"{refused.message}\n{refused.hint}")
    except OSError as refused:
        sys.exit(f"cannot rehearse: {refused}")


if __name__ == "__main__":
    main()
