"""A booted Debian, without a network for apt to install nanod on, or with this machine's."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.rehearse import tree
from nanod.rehearse.machine import Machine
from tests.lab.steps import until
from tests.package.trees import recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nanod.host.process import Completed

EXAMPLE = "/usr/share/doc/nanod/examples/lifecycle/lifecycle.yaml"
"""A service of Python and `nanod.lifecycle`: needs nothing that a pristine Debian with nanod has not."""
SPEC = "/etc/nanod/specs.d/tick.yaml"
TICK = """\
services:
  web:
    command: [sleep, infinity]
    restart: {delay: 100ms}
    health: {exec: 'true'}             # by Python: where that is gone, the gate passes
    hooks: {prestart: 'true', poststop: 'true'}
  worker:
    command: [sleep, infinity]
    restart: {delay: 100ms}
    requires: [web]
"""
"""Runs wherever systemd does."""
UNITS = ("tick-web.service", "tick-worker.service")


@dataclass(slots=True, kw_only=True)
class Host:
    """`older` and `newer` are the package in two versions."""

    machine: Machine
    older: Path
    newer: Path

    @classmethod
    @contextmanager
    def boot(cls, suite: str, older: Path, newer: Path) -> Iterator[Host]:
        with Machine.boot(tree=tree.build(recipe(suite))) as machine:
            # What shows this checkout's nanod to machines of the lab.
            machine.path("/usr/local/bin/nanod").unlink()
            for package in (older, newer):
                shutil.copy(package, machine.path("/srv"))
            yield cls(machine=machine, older=Path("/srv", older.name), newer=Path("/srv", newer.name))

    def run(self, *argv: str, status: int | None = 0, timeout: float = 120) -> Completed:
        """Run as the administrator, and fail the test when it does not end with `status`; None takes any."""
        done = self.machine.run(argv, env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=timeout)
        assert status is None or done.status == status, f"{' '.join(argv)}: {done.status}\n{done.out}\n{done.err}"
        return done

    def apt(self, *words: str, status: int = 0) -> str:
        done = self.run("apt-get", "--yes", "--no-install-recommends", *words, status=status, timeout=600)
        return (done.out + done.err).replace("\r\n", "\n")  # dpkg has a terminal of its own

    def show(self, unit: str, key: str) -> str:
        return self.run("systemctl", "show", f"--property={key}", "--value", unit).out.strip()

    def pids(self) -> dict[str, str]:
        """Of the app's services, which run."""
        found = {unit: self.show(unit, "MainPID") for unit in UNITS}
        assert "0" not in found.values(), found
        return found

    def settled(self, package: Path | None = None) -> dict[str, str]:
        """With the package installed, the daemon ready, and the app up; hands back the processes of its services."""
        self.apt("install", "--allow-downgrades", str(package or self.older))
        self.ready()
        self.machine.write(SPEC, TICK)
        self.run("nanod", "reload")
        self.run("nanod", "status")
        return self.pids()

    def ready(self) -> None:
        """Until the daemon has looked at all specs: apt does not wait for that."""
        until(lambda: self.show("nanod.service", "ActiveState") == "active", "the daemon is ready", timeout=60)

    def crash(self) -> None:
        """Each service is killed, and comes back by itself."""
        before = self.pids()
        for unit in UNITS:
            self.run("systemctl", "kill", "--signal=KILL", unit)
        until(lambda: all(self._is_back(unit, before[unit]) for unit in UNITS), "both services are back")

    def _is_back(self, unit: str, before: str) -> bool:
        return self.show(unit, "ActiveState") == "active" and self.show(unit, "MainPID") not in {"0", before}

    def pid_of(self, *words: str) -> str:
        """Of the process whose command has these words in it, one after the other; "" when there is none."""
        wanted = b"".join(b"\0" + word.encode() for word in words) + b"\0"
        for path in self.machine.path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if wanted in b"\0" + path.read_bytes():
                    return path.parent.name
        return ""

    def is_stopped(self, *words: str) -> bool:
        pid = self.pid_of(*words)
        return bool(pid) and "\nState:\tT" in self.machine.path(f"/proc/{pid}/status").read_text()

    def is_installed(self) -> bool:
        return self.run("dpkg-query", "--show", "--showformat=${db:Status-Status}", "nanod", status=None).out == "installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """`environment` has this machine's settings of pip."""

    machine: Machine
    environment: Mapping[str, str]

    def run(self, line: str) -> Completed:
        """Run a line of shell, and fail the test when it fails."""
        done = self.machine.run(["sh", "-ec", line], env=self.environment, timeout=1200)
        assert done.status == 0, f"{line}\n{done.out}\n{done.err}"
        return done


@contextmanager
def online(suite: str) -> Iterator[Online]:
    """With this machine's network."""
    with Machine.boot(tree=tree.build(recipe(suite)), network="host") as machine:
        machine.path("/usr/local/bin/nanod").unlink()
        machine.write("/etc/resolv.conf", Path("/etc/resolv.conf").read_text())
        # Nobody waits for what comes of -O2.
        yield Online(machine=machine, environment={"DEBIAN_FRONTEND": "noninteractive", "CFLAGS": "-O0", **_settings_of_pip(machine)})


def files_of(package: Path) -> list[str]:
    """Of a .deb, as a Debian with one /usr has them: on Debian 12 units are in /lib, which is a link to /usr/lib."""
    listed = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True).stdout.splitlines()
    return [re.sub(r"^\.(/lib/)?", lambda found: "/usr/lib/" if found[1] else "", line.split()[-1]) for line in listed if line.startswith("-")]


def _settings_of_pip(machine: Machine) -> dict[str, str]:
    """And what it trusts."""
    found = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    if Path("/etc/pip.conf").exists():
        shutil.copy("/etc/pip.conf", machine.path("/etc"))
    trusted = found.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
    if trusted:
        shutil.copy(trusted, machine.path("/srv/trusted.crt"))
        found["PIP_CERT"] = "/srv/trusted.crt"
    return found
