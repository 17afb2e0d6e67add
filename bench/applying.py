"""P4, P5, P6: apply on a real systemd, beside the same units put there and started by hand."""

from __future__ import annotations

import statistics
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import specs
from bench.lab import UNITS, Lab, booted
from bench.measure import VENV, Count, Figure, Measured, in_turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.measure import Options

_SPEC = "/etc/nanod/bench.yaml"
_MADE = "/srv/made"
"""The units of the spec and, in `changed`, of the changed one, compiled before anything is measured."""
_WANTS = "multi-user.target.wants"
_AT_ONCE = ("--settle", "0")
SUPERVISORD = VENV / "supervisord"
SUPERVISOR = """\
[unix_http_server]
file=/run/supervisor.sock
[supervisord]
logfile=/dev/null
logfile_maxbytes=0
pidfile=/run/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix:///run/supervisor.sock
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _App:
    """One app that nanod and the hand install in turns, with the very same units."""

    lab: Lab
    services: int

    @property
    def changed(self) -> str:
        return specs.names(self.services)[self.services // 2]

    @property
    def units(self) -> str:
        return " ".join(f"bench-{name}.service" for name in specs.names(self.services))

    def prepare(self) -> None:
        for place, changed in ((_MADE, ""), (f"{_MADE}/changed", self.changed)):
            self.write(changed)
            self.lab.run("nanod", "compile", "--output", place, _SPEC)
        self.write()
        # The programs that units run come with the first apply of a host, once; the hand needs them too.
        self.apply(*_AT_ONCE)

    def write(self, changed: str = "") -> None:
        self.lab.machine.write(_SPEC, specs.applied(self.services, changed=changed))

    def apply(self, *options: str) -> float:
        return self.lab.run("nanod", "apply", *options, _SPEC).seconds

    def remove(self) -> None:
        self.lab.run("nanod", "remove", "--purge", "--yes", "bench")

    def cold(self, *options: str) -> float:
        seconds = self.apply(*options)
        self.remove()
        return seconds

    def cold_by_hand(self) -> float:
        """Volumes, units, and one start of all."""
        volumes = " ".join(specs.volumes(self.services))
        copy = f"install -d -o nobody {volumes}; cp {_MADE}/*.* {UNITS}/; mkdir -p {UNITS}/{_WANTS}; ln -s ../bench.target {UNITS}/{_WANTS}/"
        seconds = self.lab.sh(f"{copy}; systemctl daemon-reload; systemctl start bench.target {self.units}").seconds
        gone = f"{UNITS}/bench*.* {UNITS}/nanod-bench.slice {UNITS}/{_WANTS}/bench.target {specs.VOLUMES}"
        self.lab.sh(f"systemctl stop bench.target {self.units}; rm -r {gone}; systemctl daemon-reload; systemctl reset-failed")
        return seconds

    def change(self, *options: str) -> float:
        """One service gets another environment, and then its old one back, uncounted."""
        self.write(self.changed)
        seconds = self.apply(*options)
        self.write()
        self.apply(*options)
        return seconds

    def change_by_hand(self) -> float:
        unit = f"bench-{self.changed}.service"
        script = f"cp {{}}/{unit} {UNITS}/; systemctl daemon-reload; systemctl restart {unit}"
        seconds = self.lab.sh(script.format(f"{_MADE}/changed")).seconds
        self.lab.sh(script.format(_MADE))
        return seconds


@contextmanager
def _booted(options: Options) -> Iterator[_App]:
    with booted() as lab:
        app = _App(lab=lab, services=options.applied)
        app.prepare()
        yield app


def cold(options: Options) -> Iterator[Measured]:
    with _booted(options) as app:
        app.remove()
        hand = "copied by hand, daemon-reload, systemctl start of all"
        ours, baseline = in_turns(options.rounds, lambda: app.cold(*_AT_ONCE), app.cold_by_hand)
        figure = Figure(name="P4 cold", ours=f"nanod apply --settle 0 of {app.services} new services", baseline=hand, goal=1.25)
        yield Measured(figure=figure, ours=ours, baseline=baseline)
        if options.few:
            ours, baseline = in_turns(options.few, app.cold, app.cold_by_hand)
            figure = Figure(name="P4 settled", ours="the same, until all have stayed up for 5 s", baseline=hand)
            yield Measured(figure=figure, ours=ours, baseline=baseline)


def change(options: Options) -> Iterator[Measured]:
    with _booted(options) as app:
        hand = "copied by hand, daemon-reload, systemctl restart"
        ours, baseline = in_turns(options.rounds, lambda: app.change(*_AT_ONCE), app.change_by_hand)
        figure = Figure(name="P5 change", ours=f"nanod apply --settle 0, one of {app.services} services changed", baseline=hand, goal=1.3)
        yield Measured(figure=figure, ours=ours, baseline=baseline, counts=_counted(app, app.changed, reloads=1, jobs=1))
        if options.few:
            ours, baseline = in_turns(options.few, app.change, app.change_by_hand)
            figure = Figure(name="P5 settled", ours="the same, until it has stayed up for 5 s", baseline=hand)
            yield Measured(figure=figure, ours=ours, baseline=baseline)


def no_op(options: Options) -> Iterator[Measured]:
    with _booted(options) as app:
        ours, baseline = in_turns(options.rounds, app.apply, lambda: app.lab.run("systemctl", "is-active", *app.units.split()).seconds)
        figure = Figure(name="P6 no-op", ours=f"nanod apply of {app.services} unchanged services", baseline="systemctl is-active of them", goal=15)
        time = Count(name="milliseconds", value=round(statistics.median(ours) * 1000, 1), goal=50)
        counts = (time, *_counted(app, "", reloads=0, jobs=0), _written(app))
        yield Measured(figure=figure, ours=ours, baseline=baseline, counts=counts)
        if SUPERVISORD.exists():
            yield _beside_supervisor(app, options)


def _counted(app: _App, changed: str, *, reloads: int, jobs: int) -> tuple[Count, ...]:
    """What one apply asks of PID 1."""
    lab = app.lab
    app.write(changed)
    before = lab.reloads(), lab.jobs()
    app.apply(*_AT_ONCE)
    after = lab.reloads(), lab.jobs()
    app.write()
    app.apply(*_AT_ONCE)
    return (
        Count(name="reloads", value=after[0] - before[0], goal=reloads),
        Count(name="jobs", value=after[1] - before[1], goal=jobs),
    )


def _written(app: _App) -> Count:
    before = app.lab.files()
    app.apply()
    return Count(name="files written", value=len(app.lab.files() - before), goal=0)


def _beside_supervisor(app: _App, options: Options) -> Measured:
    """The programs do nothing on either side, and their own work is no part of a no-op."""
    programs = "".join(f"[program:{name}]\ncommand=sleep infinity\n" for name in specs.names(app.services))
    app.lab.machine.write("/srv/supervisor.conf", SUPERVISOR + programs)
    control = [str(VENV / "supervisorctl"), "-c", "/srv/supervisor.conf"]
    app.lab.run(str(SUPERVISORD), "-c", "/srv/supervisor.conf")
    try:
        app.lab.sh(f"until {' '.join(control)} pid; do sleep 0.1; done")
        ours, baseline = in_turns(options.rounds, app.apply, lambda: app.lab.run(*control, "update").seconds)
    finally:
        app.lab.run(*control, "shutdown", may_fail=True)
    figure = Figure(name="P6 supervisor", ours="the same", baseline=f"supervisorctl update of {app.services} unchanged programs", goal=0.8)
    return Measured(figure=figure, ours=ours, baseline=baseline)
