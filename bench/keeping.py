"""P8, and what the daemon costs: its memory and wake-ups beside supervisord's, and how soon a saved file is in force."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import specs
from bench.applying import SUPERVISOR, SUPERVISORD
from bench.lab import UNITS, Lab, booted
from bench.measure import Figure, Measured, in_turns
from nanod.rehearse.machine import SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.measure import Options

_SPECS = "/etc/nanod/specs.d"
_BY_HAND = "/etc/nanod/bench.yaml"
_CONFIG = "/srv/supervisor.conf"
_LEFT = "/run/nanod/daemon/apply-bench.env"
"""There from the start of an apply until the daemon has seen its end."""
_RECORDS = "/var/lib/nanod/apps"
_SAVE = """
import os, subprocess, sys, time
place, current, *then = sys.argv[1:]
before = os.readlink(current)
begin = time.perf_counter()
os.rename("/srv/new.yaml", place)
work = subprocess.Popen(then, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) if then else None
while os.readlink(current) == before:
    time.sleep(0.002)
print(time.perf_counter() - begin)
if work:
    work.wait()
"""
"""The same for both sides: until the record of the app has another generation in force."""
_IDLE = 60.0
"""Seconds over which wake-ups are counted."""
_CALM = 15.0
"""Seconds after the last work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    lab: Lab
    pid: int

    def pss(self) -> float:
        """MiB: what it has for itself, and its share of what it has together with others (proc(5), smaps_rollup)."""
        text = self.lab.path(f"/proc/{self.pid}/smaps_rollup").read_text()
        found = re.search(r"^Pss: +(\d+) kB$", text, re.MULTILINE)
        assert found
        return int(found[1]) / 1024

    def wake_ups(self) -> int:
        """How often any thread of it has slept and was woken since it began."""
        tasks = self.lab.path(f"/proc/{self.pid}/task").glob("*/status")
        return sum(int(match) for task in tasks for match in re.findall(r"^voluntary_ctxt_switches:\t(\d+)$", task.read_text(), re.MULTILINE))


def keeping(options: Options) -> Iterator[Measured]:
    yield from _idle(options)
    yield from _saved(options, options.applied)
    yield from _saved(options, 1)


def _idle(options: Options) -> Iterator[Measured]:
    """Both at once, on the same machine."""
    if not SUPERVISORD.exists():
        return
    with _kept(options.applied) as lab:
        programs = "".join(f"[program:{name}]\ncommand=sleep infinity\n" for name in specs.names(options.applied))
        lab.machine.write(_CONFIG, SUPERVISOR + programs)
        lab.run(str(SUPERVISORD), "-c", _CONFIG)
        ours = _Process(lab=lab, pid=int(lab.run("systemctl", "show", "--property=MainPID", "--value", "nanod.service").out))
        theirs = _Process(lab=lab, pid=int(lab.sh("until [ -s /run/supervisord.pid ]; do sleep 0.1; done; cat /run/supervisord.pid").out))
        time.sleep(_CALM)
        before = ours.wake_ups(), theirs.wake_ups()
        time.sleep(_IDLE)
        counted = ours.wake_ups() - before[0], theirs.wake_ups() - before[1]
        memory = ours.pss(), theirs.pss()
        baseline = f"supervisord with {options.applied} programs"
        figure = Figure(name="P8 memory", ours=f"the daemon, {options.applied} services, PSS", baseline=baseline, goal=0.8, unit="MiB")
        yield Measured(figure=figure, ours=memory[:1], baseline=memory[1:])
        figure = Figure(name="P8 wake-ups", ours=f"the same, idle for {_IDLE:g} s", baseline=baseline, goal=0.1, unit="/s")
        yield Measured(figure=figure, ours=(counted[0] / _IDLE,), baseline=(counted[1] / _IDLE,))


def _saved(options: Options, services: int) -> Iterator[Measured]:
    with _kept(services) as lab:
        lab.machine.write(_BY_HAND, _spec("byhand", services))
        lab.run("nanod", "apply", "--settle", "0", _BY_HAND)
        count = [0]

        def write(app: str) -> None:
            count[0] += 1
            lab.machine.write("/srv/new.yaml", _spec(app, services, f"version {count[0]}"))

        def saved(app: str, place: str, *then: str) -> float:
            write(app)
            return float(lab.run(sys.executable, "-c", _SAVE, place, f"{_RECORDS}/{app}/current", *then).out)

        def kept() -> float:
            seconds = saved("bench", f"{_SPECS}/bench.yaml")
            lab.sh(f"while [ -e {_LEFT} ]; do sleep 0.1; done")
            return seconds

        def by_hand() -> float:
            return saved("byhand", _BY_HAND, "nanod", "apply", "--settle", "0", _BY_HAND)

        ours, baseline = in_turns(options.rounds, kept, by_hand)
        text = f"a spec of {services} service{'' if services == 1 else 's'} is saved, one changed, until it is in force"
        goal = 1.5 if services > 1 else None
        yield Measured(figure=Figure(name="saved", ours=text, baseline="saved, and nanod apply --settle 0", goal=goal), ours=ours, baseline=baseline)


def _spec(app: str, services: int, greeting: str = "one") -> str:
    made = json.loads(specs.applied(services))
    for service in made["services"].values():
        # Two apps of it are on one host.
        service["health"]["file"] = service["health"]["file"].replace("/run/bench/", f"/run/{app}/")
        service["settle"] = "0s"
        service.pop("volume", None)
        service.pop("provisioning", None)
    changed = made["services"][specs.names(services)[services // 2]]
    changed["environment"]["GREETING"] = greeting
    return json.dumps({**made, "project": app})


@contextmanager
def _kept(services: int) -> Iterator[Lab]:
    """A machine on which the daemon keeps one spec applied."""
    with booted() as lab:
        for name in ("nanod.service", "nanod-apply@.service", "nanod-remove@.service"):
            lab.machine.write(f"{UNITS}/{name}", (SOURCE / "units" / name).read_text())
        lab.machine.write(f"{_SPECS}/bench.yaml", _spec("bench", services))
        lab.run("systemctl", "daemon-reload")
        lab.run("systemctl", "start", "nanod.service")
        yield lab
