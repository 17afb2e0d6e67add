"""The first process of a machine's namespaces (mounts and PIDs): makes its root, then runs systemd-nspawn.

It is PID 1 of its PID namespace: when it ends, for whatever reason, the kernel kills everything in it, and the mounts go with the last
process. It ends when its standard input does. A byte there switches on a machine that is off, or about to be.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from nanod.errors import NanodError
from nanod.rehearse import cgroup, overlay

REBOOT = 133
"""How systemd-nspawn --keep-unit ends when the machine wants to be rebooted (RestartForceExitStatus= of systemd-nspawn@.service)."""


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


def nspawn(config: Config) -> list[str]:
    """The command that boots what `overlay` made. It must not register with a machined that is not there."""
    return [
        "systemd-nspawn",
        f"--directory={overlay.ROOT}",
        f"--machine=nanod-{os.getpid()}",
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


def start(config: Config, group: Path) -> subprocess.Popen[bytes]:
    cgroup.remove(group / "payload", patience=1.0)  # of an earlier boot
    # A tmpfs on /tmp would hide the tree's, where a spec may lie.
    environment = {**os.environ, "SYSTEMD_NSPAWN_TMPFS_TMP": "0"}
    enter = ["/bin/sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', str(group)]
    return subprocess.Popen([*enter, *nspawn(config)], stdin=subprocess.DEVNULL, env=environment)


def serve(config: Config) -> None:
    # Uniform for systemd-nspawn, whatever the layout of the machine: pure cgroup v2.
    if not Path("/sys/fs/cgroup/cgroup.procs").exists():
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], check=True)
    overlay.mount(Path(config.tree))
    overlay.prepare(overlay.ROOT)
    wrapper = overlay.ROOT / "usr/local/bin/nanod"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH="{config.source}" exec "{config.python}" -m nanod "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    keep_running(config, cgroup.own().parent / "machine")


def keep_running(config: Config, group: Path) -> None:
    """Boot, and boot again after a reboot or when asked to; returns at the end of the standard input."""
    while True:
        machine = start(config, group)
        ended, asked = os.pidfd_open(machine.pid), False
        while machine.returncode != REBOOT and not (asked and machine.returncode is not None):
            ready, _, _ = select.select([sys.stdin] if machine.returncode is not None else [sys.stdin, ended], [], [])
            if sys.stdin in ready:
                if not os.read(sys.stdin.fileno(), 1):
                    return
                asked = True
            machine.poll()
        os.close(ended)


def main() -> None:
    config = json.loads(sys.argv[1])
    try:
        serve(Config(**config))
    except NanodError as refused:
        sys.exit(f"{refused.message}\n{refused.hint}")


if __name__ == "__main__":
    main()
