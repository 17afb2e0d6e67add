"""A throw-away machine to measure on: what is run there, and what is counted."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from nanod.rehearse.machine import SOURCE, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNITS = "/etc/systemd/system"
STATE = "/var/lib/nanod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    seconds: float
    out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A booted machine, and `bench.inside` in it."""

    machine: Machine
    to: IO[bytes]
    back: IO[bytes]

    def run(self, *argv: str, port: int = 0, may_fail: bool = False) -> Ran:
        """Run a program to its end; with `port` the seconds are those until a request there was answered. Raises RuntimeError when it fails."""
        self.to.write(json.dumps({"argv": argv, "port": port}).encode() + b"\n")
        self.to.flush()
        answer = json.loads(self.back.readline())
        if answer["status"] and not may_fail:
            raise RuntimeError(f"{' '.join(argv[:4])} … ended with {answer['status']}:\n{answer['out'][-2000:]}")
        return Ran(seconds=answer["seconds"], out=answer["out"])

    def sh(self, script: str, *, port: int = 0) -> Ran:
        return self.run("/bin/sh", "-ec", script, port=port)

    def path(self, path: str) -> Path:
        return self.machine.path(path)

    def reloads(self) -> int:
        """How often PID 1 has read all unit files again, as it tells the journal."""
        self.run("journalctl", "--sync")
        told = self.run("journalctl", "--quiet", "--boot", "--output=cat", "_PID=1", may_fail=True).out
        # 252 says "Reloading.", 257 "Reloading...".
        return sum(line.rstrip(".") == "Reloading" for line in told.splitlines())

    def jobs(self) -> int:
        """How many jobs PID 1 has ever had."""
        return int(self.run("systemctl", "show", "--property=NInstalledJobs", "--value").out)

    def files(self) -> frozenset[tuple[str, int, int]]:
        """What lies in the unit directory and in nanod's own: a file that was written anew differs in its number or time."""
        found = [path for top in (UNITS, STATE) for path in self.path(top).rglob("*")]
        return frozenset((str(path), (status := path.lstat()).st_ino, status.st_ctime_ns) for path in found)


@contextmanager
def booted() -> Iterator[Lab]:
    with Machine.boot() as machine:
        argv = ["env", f"PYTHONPATH={SOURCE}", sys.executable, "-m", "bench.inside"]
        inside = machine.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert inside.stdin is not None
        assert inside.stdout is not None
        with inside, inside.stdin as to, inside.stdout as back:
            yield Lab(machine=machine, to=to, back=back)
