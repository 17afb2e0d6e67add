"""Specs whose hooks write down that they ran. The oracle of the laboratory is the order of those lines.

`step` is what every hook runs and `main` what every service runs; both append "<phase> <service>" to the log of their app. What they
do beyond that is told by files, so that a test can change its mind while they run:

    /srv/steps/<app>-<service>.<phase>   its number is the exit status of that step
    /srv/steps/<app>-<service>.sick      keeps the service from becoming healthy
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nanod.host.process import Completed
    from nanod.rehearse.machine import Machine

DIRECTORY = "/srv/steps"
"""Logs, and what the programs are told; open to every user."""
PROGRAMS = "/usr/local/lib/steps"
"""Programs that may run as root, and so lie where only root writes."""
STEP = f"{PROGRAMS}/step"
MAIN = f"{PROGRAMS}/main"
HOOKS = ("prestart", "poststart", "reload", "prestop", "poststop")
"""All but `ready`, which is asynchronous: its line has no fixed place among those of other services."""
GIVES_UP = {"delay": "100ms", "limit": 3, "window": "6s"}
"""A `restart` for services that are to fail; the usual one of `service` leaves room for the restarts that tests ask for."""

_STEP = f"""#!/bin/sh
# step [WORD]: note this step, and exit as the test has said.
echo "${{1:-$LIFECYCLE_PHASE}} $NANOD_SERVICE" >>{DIRECTORY}/$NANOD_APP.log
exit "$(cat {DIRECTORY}/$NANOD_APP-$NANOD_SERVICE.${{1:-$LIFECYCLE_PHASE}} 2>/dev/null || echo 0)"
"""
_MAIN = f"""#!/bin/sh
# main: a service that notes when it runs, when it is told to stop, and SIGHUP.
# Without a process of its own: systemd sends the signal to whatever the control group has while it sends.
trap 'echo "signal $NANOD_SERVICE" >>{DIRECTORY}/$NANOD_APP.log; exit 0' TERM
trap '{STEP} hup' HUP
{STEP} main || exit
while [ -e {DIRECTORY}/$NANOD_APP-$NANOD_SERVICE.sick ]; do sleep 0.1; done
[ -z "$NANOD_RUN_DIR" ] || : >"$NANOD_RUN_DIR/up"
while :; do sleep 3600 & wait $!; done
"""

_REMEMBERED = ("history.jsonl", "generations")
"""What a failed first apply leaves among the records; no generation is in there."""


def until(reached: Callable[[], object], what: str, *, timeout: float = 15.0) -> None:
    """Wait for a condition; the bound is there to end a broken test, and proves nothing."""
    deadline = time.monotonic() + timeout
    while True:
        looked = time.monotonic()
        if reached():
            return
        assert time.monotonic() < deadline, f"never: {what}"
        # As long as the look took: at most half of a processor goes into looking.
        time.sleep(max(0.03, time.monotonic() - looked))


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An app under test on a machine, and what a person would do with it."""

    machine: Machine
    name: str

    @classmethod
    def on(cls, machine: Machine, name: str) -> App:
        app = cls(machine=machine, name=name)
        app.program("step", _STEP)
        app.program("main", _MAIN)
        machine.path(DIRECTORY).mkdir(exist_ok=True)
        machine.path(DIRECTORY).chmod(0o777)  # without the sticky bit: there even root may not append to somebody else's file
        app.clear()
        return app

    # The spec

    @property
    def spec(self) -> str:
        return f"/etc/nanod/{self.name}.yaml"

    def service(self, name: str, *requires: str, hooks: Sequence[str] = HOOKS, **keys: Any) -> dict[str, Any]:
        """A service whose `hooks` run `step`, healthy as soon as it runs; `keys` win."""
        return {
            "command": [MAIN],
            "user": "root",
            "runtime_dir": True,
            "health": {"file": f"/run/{self.name}/{name}/up", "interval": "50ms", "start_timeout": "20s"},
            "restart": {"delay": "100ms", "limit": 20, "window": "20s"},
            "settle": "0s",
            "requires": list(requires),
            "hooks": dict.fromkeys(hooks, STEP),
        } | keys

    def write(self, services: Mapping[str, Mapping[str, Any]], **top: Any) -> None:
        self.write_text(json.dumps({"project": self.name, "services": services} | top))

    def write_text(self, text: str) -> None:
        file = self.machine.path(self.spec)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def program(self, name: str, text: str) -> str:
        """Put a program on the machine; returns its path there."""
        file = self.machine.path(f"{PROGRAMS}/{name}")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
        return f"{PROGRAMS}/{name}"

    # The commands

    def nanod(self, *argv: str, status: int | None = 0) -> Completed:
        """Run nanod inside and check its exit code; None leaves that to the caller."""
        done = self.machine.run(["nanod", *argv], timeout=120)
        assert status is None or done.status == status, f"nanod {' '.join(argv)}: {done.status}\n{done.out}\n{done.err}"
        assert "Traceback" not in done.err, done.err
        return done

    def apply(self, services: Mapping[str, Mapping[str, Any]] | None = None, *, status: int | None = 0) -> Completed:
        """Apply the spec, after writing it when `services` are given."""
        if services is not None:
            self.write(services)
        return self.nanod("apply", self.spec, status=status)

    def leave(self, services: Mapping[str, Mapping[str, Any]] | None = None, *, status: int = 4) -> Completed:
        """Apply and, as it fails, leave what was done: units are then on their own, as after a boot or by systemctl."""
        if services is not None:
            self.write(services)
        return self.nanod("apply", "--no-rollback", self.spec, status=status)

    def remove(self, *options: str) -> None:
        self.nanod("remove", self.name, *options)

    def systemctl(self, *argv: str, status: int | None = 0) -> str:
        done = self.machine.run(["systemctl", *argv], timeout=120)
        assert status is None or done.status == status, f"systemctl {' '.join(argv)}: {done.status}\n{done.out}\n{done.err}"
        return done.out.strip()

    # What came of it

    def unit(self, service: str) -> str:
        return f"{self.name}-{service}.service"

    def show(self, service: str, key: str) -> str:
        """One property of a service's main unit, or of any unit when its full name is given."""
        name = service if "." in service else self.unit(service)
        return self.systemctl("show", f"--property={key}", "--value", name)

    def is_up(self, service: str) -> bool:
        return self.show(service, "ActiveState") == "active"

    def state(self, service: str) -> str:
        return self.show(service, "ActiveState")

    def pid(self, service: str) -> int:
        return int(self.show(service, "MainPID"))

    def crash(self, service: str) -> None:
        """Kill the main process and wait until systemd has seen it."""
        before = self.pid(service)
        # kill(1) and not `systemctl kill`: on 257 that one kills the whole cgroup, stop hooks included.
        assert self.machine.run(["kill", "-KILL", str(before)]).status == 0
        until(lambda: self.pid(service) != before, f"systemd sees that {service} is dead")

    def until_up(self, *services: str, timeout: float = 15.0) -> None:
        until(lambda: all(map(self.is_up, services)), f"{', '.join(services)} up", timeout=timeout)

    def until_gone(self, *services: str) -> None:
        until(lambda: all(self.state(name) in ("inactive", "failed") for name in services), f"{', '.join(services)} down")

    def jobs_done(self) -> None:
        until(lambda: "No jobs" in self.systemctl("list-jobs"), "no job is left")

    def traces(self) -> list[str]:
        """What a host has of the app, but for data and history: unit files, links, units that PID 1 knows, generations, a transaction under way."""
        mine = (f"{self.name}.", f"{self.name}-", "nanod-" + self.name.replace("-", "\\x2d") + ".")
        root, records = self.machine.path("/etc/systemd/system"), self.machine.path(f"/var/lib/nanod/apps/{self.name}")
        found = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.name.startswith(mine)]
        units = self.systemctl("list-units", "--all", "--plain", "--no-legend", "--full").splitlines()
        kept = [path.relative_to(records).as_posix() for path in records.rglob("*")] if records.is_dir() else []
        return [*found, *(line for line in units if line.startswith(mine)), *(path for path in kept if path not in _REMEMBERED)]

    def last(self) -> dict[str, Any]:
        """The newest entry of its history."""
        entry: dict[str, Any] = json.loads(self.nanod("history", "--json", self.name).out)["entries"][-1]
        return entry

    def journal(self, *matches: str) -> str:
        self.machine.run(["journalctl", "--sync"])
        return self.machine.run(["journalctl", "--quiet", "--no-pager", "--output=cat", *matches]).out

    # The log

    @property
    def log(self) -> str:
        return f"{DIRECTORY}/{self.name}.log"

    def steps(self) -> list[str]:
        return self.machine.path(self.log).read_text().splitlines()

    def clear(self) -> None:
        file = self.machine.path(self.log)
        file.write_text("")
        file.chmod(0o666)

    def until_step(self, step: str, count: int = 1) -> None:
        until(lambda: self.steps().count(step) >= count, f"{step}, {count} times; seen {self.steps()}")

    # What it is told

    def exits(self, service: str, phase: str, status: int) -> None:
        """From now on that step of the service exits with `status`."""
        file = self.machine.path(f"{DIRECTORY}/{self.name}-{service}.{phase}")
        file.write_text(str(status))
        file.chmod(0o644)

    def sick(self, service: str) -> None:
        self.machine.path(f"{DIRECTORY}/{self.name}-{service}.sick").touch()

    def well(self, service: str) -> None:
        self.machine.path(f"{DIRECTORY}/{self.name}-{service}.sick").unlink()
