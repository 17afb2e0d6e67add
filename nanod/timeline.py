"""What a service goes through, from start to end, each step with the unit line that does it and the place in the spec that asked for it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from nanod.phases import Listing, OnFailure, Scope, phase_of
from nanod.spec.model import Kind, ProbeKind, RestartPolicy
from nanod.values import TimeSpan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nanod.diagnostics import Mark
    from nanod.phases import Phase
    from nanod.spec.model import Hook, Requirement, Service, Spec
    from nanod.units.unitfile import Directive, UnitFile
    from nanod.units.unitset import ServiceUnits, UnitSet


class Stage(StrEnum):
    UP = "up"
    RUN = "run"
    RELOAD = "reload"
    DOWN = "down"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`lines` are of `unit`, as written; none for what systemd does by itself. `timeout` None: it has none, or takes no time."""

    stage: Stage
    phase: str
    """A word of the lifecycle table, or schedule, requires, main, health, liveness, drain, signal, gone, on_failure, systemd."""
    what: str
    unit: str
    lines: tuple[Directive, ...] = ()
    origin: Mark
    name: str = ""
    """Of the hook, or of what is waited for."""
    timeout: TimeSpan | None = None
    on_failure: OnFailure | None = None
    effect: str
    """What a failure does; for what cannot fail, what else is to know."""
    row: Phase | None = None
    """Its row of the lifecycle table."""
    member: str = ""
    """The row in status of what it is a step of."""
    rank: int = 0
    """Steps of one rank run at the same time, and each rank after the one before it."""
    waits: tuple[str, ...] = ()
    """Members that are waited for, where that is not plain from the order."""


_FAIL = {
    "install": "the service does not start",
    "deploy": "the new process is not started",
    "prestart": "the process is not started",
    "poststart": "the process is stopped again: the start has failed",
    "reload": "the old configuration stays in force",
}
_UNTOUCHED = "apply touches nothing: what runs goes on"
_WARN = {
    OnFailure.WARN: "it is shown in verdict, status and history, and {} goes on",
    OnFailure.IGNORE: "it stands in the history alone, and {} goes on",
}
_SICK = {
    "restart": "it is restarted, which counts as a start",
    "stop": "it is stopped, and stays down",
    "none": "its journal and status say so, and nothing is done",
}
"""What `liveness` does about it."""
_STAGE_OF = {
    "ExecStartPre": Stage.UP,
    "ExecStartPost": Stage.UP,
    "ExecReload": Stage.RELOAD,
    "ExecStop": Stage.DOWN,
    "ExecStopPost": Stage.DOWN,
}
_LIB = re.compile(r"/nanod/lib/\d+/(\w+)")
"""One of nanod's programs, in whosever state."""


def timeline(spec: Spec, units: UnitSet, name: str, *, called: Mapping[str, str] | None = None) -> tuple[Step, ...]:
    """In the order in which the steps happen; raises KeyError for a service that the spec does not have.

    `called`: other names for the files that places are in.
    """
    found = next((item for item in units.services if item.name == name), None)
    if found is None or found.group:
        raise KeyError(name)
    making = Life(spec=spec, units=units, service=spec.services[name], names=found)
    steps = ranked(making.steps(), name)
    for old, new in (called or {}).items():
        steps = tuple(moved(step, old, new) for step in steps)
    return steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """Of one main: `service` has its keys, `names` its units."""

    spec: Spec
    units: UnitSet
    service: Service
    names: ServiceUnits

    @property
    def main(self) -> UnitFile:
        return self.units.unit(self.names.job or self.names.main)

    def steps(self) -> Iterator[Step]:
        """The order of the lifecycle; lines of the `systemd:` block stand after those of hooks, as in the unit."""
        yield from self.before()
        yield from self.up()
        yield from self.hooks("ready", Stage.UP)
        yield from self.hooks("post_deploy", Stage.UP)
        yield from self.run()
        yield from self.reload()
        yield from self.down()
        yield from self.given_up()

    def before(self) -> Iterator[Step]:
        """What is done once before the mains of a service."""
        yield from self._schedule()
        yield from self._socket()
        yield from self.hooks("build", Stage.UP)
        yield from (self._requirement(need) for need in self.service.requires)
        yield from self._install()
        yield from self.hooks("deploy", Stage.UP)
        yield from self.hooks("prestart", Stage.UP, Scope.DEPLOY)

    def up(self) -> Iterator[Step]:
        yield from self.hooks("prestart", Stage.UP)
        yield from self._own("ExecStartPre")
        yield self._process()
        yield from self._health()
        yield from self.hooks("poststart", Stage.UP)
        yield from self._own("ExecStartPost")

    def run(self) -> Iterator[Step]:
        """What is done again and again while it runs."""
        health = self.service.health
        if health is None or health.liveness is None or self.names.alive is None:
            return
        liveness, unit = health.liveness, self.units.unit(self.names.alive)
        failures = "a failure" if liveness.failures == 1 else f"{liveness.failures} failures in a row"
        yield Step(
            stage=Stage.RUN,
            phase="liveness",
            what=f"probes {self.names.health} every {liveness.interval}",
            unit=unit.name,
            lines=keys_of(unit, "ExecStart", "ExecStopPost"),
            origin=liveness.at(),
            effect=f"after {failures} {_SICK[liveness.action]}",
        )

    def reload(self) -> Iterator[Step]:
        yield from self.hooks("reload", Stage.RELOAD)
        yield from self._own("ExecReload")

    def down(self) -> Iterator[Step]:
        yield from self.hooks("prestop", Stage.DOWN)
        yield from self._own("ExecStop")
        yield from self._end()
        yield from self.hooks("poststop", Stage.DOWN)
        yield from self._own("ExecStopPost")

    def _requirement(self, need: Requirement) -> Step:
        gate = _of(self.main, "ExecStartPre", need.at(), "await")
        relations = tuple(item for item in self.main.directives if item.section == "Unit" and item.origin == need.at() and item.key == "After")
        wait = re.search(r"/await (\d+) ", gate[0].text) if gate else None
        after = self.failed_start() if need.required else "the service starts without it"
        return Step(
            stage=Stage.UP,
            phase="requires",
            name=need.target,
            what=f"waits until {need.target} is {need.awaited}" if need.required else f"lets {need.target} start first",
            unit=self.main.name,
            lines=(*relations, *gate),
            origin=need.at(),
            timeout=TimeSpan.seconds(int(wait[1])) if wait else None,
            on_failure=OnFailure.FAIL if need.required else OnFailure.IGNORE,
            effect=after,
        )

    def _install(self) -> Iterator[Step]:
        step = self.service.provisioning
        if step is None or self.names.provision is None:
            return
        unit = self.units.unit(self.names.provision)
        tries = f", tried {step.retries + 1} times" if step.retries else ""
        after = {item.text for item in unit.directives if (item.section, item.key) == ("Unit", "After")}
        early = "; the install itself waits for nothing that the service requires" if self.service.requires and not after else ""
        keys = ("ConditionPathExists", "ExecStart", "ExecStartPost")
        yield Step(
            stage=Stage.UP,
            phase="install",
            what=in_words(step.install.text, step.install.argv),
            unit=unit.name,
            lines=tuple(item for item in unit.directives if item.key in keys),
            origin=step.at(),
            timeout=step.timeout,
            on_failure=OnFailure.FAIL,
            effect=f"{_FAIL['install']}{tries}{early}",
            row=phase_of("install"),
        )

    def hooks(self, phase: str, stage: Stage, scope: Scope = Scope.START) -> Iterator[Step]:
        row = phase_of(phase, scope)
        hooks = [hook for hook in self.service.hooks.get(phase, ()) if hook.scope is scope]
        if row.listing is Listing.ALL_REVERSED:
            hooks.reverse()
        for hook in hooks:
            unit, lines = self._hook_lines(hook)
            yield Step(
                stage=stage,
                phase=phase,
                name=hook.name,
                what=in_words(hook.run.text, hook.run.argv),
                unit=unit,
                lines=lines,
                origin=hook.at(),
                timeout=hook.timeout,
                on_failure=hook.on_failure,
                effect=self._effect(hook) if lines else "does not run: the spec's own 'systemd:' block has taken the place of its line",
                row=row,
            )

    def _effect(self, hook: Hook) -> str:
        if hook.on_failure is not OnFailure.FAIL:
            return _WARN[hook.on_failure].format("the stop" if hook.phase in ("prestop", "poststop") else "the service")
        if hook.scope is Scope.DEPLOY or hook.phase == "build":
            return _UNTOUCHED
        if hook.phase == "deploy":
            return _FAIL["deploy"] + ("; nothing is put back" if hook.irreversible else "")
        return f"{_FAIL[hook.phase]}; {self.failed_start()}" if hook.phase in ("prestart", "poststart") else _FAIL[hook.phase]

    def _hook_lines(self, hook: Hook) -> tuple[str, tuple[Directive, ...]]:
        """The unit and the lines that run the hook; those of all ready hooks are one."""
        if hook.phase == "ready":
            assert self.names.ready is not None
            unit = self.units.unit(self.names.ready)
            return unit.name, tuple(item for item in unit.directives if item.key == "ExecStart")
        if hook.phase == "build":
            build = next(item.build for item in self.units.releases if item.service == self.service.name)
            return (build.name, _of(build, "ExecStart", hook.at(), "hook")) if build else ("", ())
        once = {"prestart": self.names.prestart if hook.scope is Scope.DEPLOY else None, "deploy": self.names.deploy}
        if name := (once | {"post_deploy": self.names.post_deploy}).get(hook.phase):
            return name, _of(self.units.unit(name), "ExecStart", hook.at(), "hook")
        return self.main.name, _of(self.main, phase_of(hook.phase).directive.removesuffix("="), hook.at(), "hook")

    def _schedule(self) -> Iterator[Step]:
        """What is all that an apply or a boot starts of a scheduled script."""
        if (schedule := self.service.schedule) is None:
            return
        lines = tuple(item for item in self.units.unit(self.names.main).directives if item.section == "Timer")
        said = next((item.text for item in lines if item.key == "OnCalendar"), schedule.calendar)
        effect = "all that follows is each run of it; 'nanod run' runs it now"
        yield Step(stage=Stage.UP, phase="schedule", what=said, unit=self.names.main, lines=lines, origin=schedule.at(), effect=effect)

    def _socket(self) -> Iterator[Step]:
        """Open before everything else is done."""
        if self.names.socket is None:
            return
        lines = tuple(item for item in self.units.unit(self.names.socket).directives if item.section == "Socket")
        yield Step(
            stage=Stage.UP,
            phase="socket",
            what=f"opens {', '.join(self.names.sockets)}: connections wait there until the service takes them, also whenever it restarts",
            unit=self.names.socket,
            lines=lines,
            origin=self.service.at("sockets"),
            on_failure=OnFailure.FAIL,
            effect="the service does not start",
        )

    def _process(self) -> Step:
        command = self.service.command
        assert command is not None
        limit = self.main.values("Service", "RuntimeMaxSec")
        return Step(
            stage=Stage.UP,
            phase="main",
            what=in_words(command.text, command.argv),
            unit=self.main.name,
            lines=keys_of(self.main, "ExecStart"),
            origin=self.service.at("command"),
            timeout=TimeSpan.parse(limit[-1]) if limit else None,
            on_failure=OnFailure.FAIL,
            effect=f"when it ends badly: {self.failed_start()}",
        )

    def failed_start(self) -> str:
        restart = self.service.restart
        if self.service.kind is Kind.SCRIPT or restart.policy is RestartPolicy.NO:
            return "the service has failed"
        return f"systemd tries again after {restart.delay}, and gives up after {restart.limit} starts in {restart.window}"

    def _health(self) -> Iterator[Step]:
        health = self.service.health
        if health is None:
            return
        notifies = health.kind is ProbeKind.NOTIFY
        yield Step(
            stage=Stage.UP,
            phase="health",
            what="waits until the service says READY=1" if notifies else f"waits until {self.names.health} answers",
            unit=self.main.name,
            lines=keys_of(self.main, "Type") if notifies else _of(self.main, "ExecStartPost", health.at(), "gate"),
            origin=health.at(),
            timeout=health.start_timeout,
            on_failure=OnFailure.FAIL,
            effect=f"the process is stopped; {self.failed_start()}",
        )

    def _end(self) -> Iterator[Step]:
        stop = self.service.stop
        if drain := _of(self.main, "ExecStop", self.service.at("stop", "drain"), "drain"):
            yield Step(
                stage=Stage.DOWN,
                phase="drain",
                what="lets what is under way end",
                unit=self.main.name,
                lines=drain,
                origin=self.service.at("stop", "drain"),
                timeout=stop.drain,
                effect="it ends with the process; after a crash, or when the process ended by itself, there is none",
            )
        lines = _of(self.main, "ExecStop", self.service.at("stop", "timeout"), "terminate")
        wait = self.main.values("Service", "TimeoutStopSec")
        timeout = stop.timeout if lines or not wait else TimeSpan.parse(wait[-1])
        yield Step(
            stage=Stage.DOWN,
            phase="signal",
            what=f"sends {stop.signal}",
            unit=self.main.name,
            lines=(*lines, *keys_of(self.main, "KillSignal", "TimeoutStopSec")),
            origin=self.service.at("stop", "signal"),
            timeout=timeout,
            effect="what has not ended by then is killed",
        )
        effect = "after a crash it is here at once: prestop does not run"
        yield Step(stage=Stage.DOWN, phase="gone", what="the last process has ended", unit=self.main.name, origin=self.service.at(), effect=effect)

    def given_up(self) -> Iterator[Step]:
        if self.service.on_failure is None or self.names.failure is None:
            return
        unit = self.units.unit(self.names.failure)
        yield Step(
            stage=Stage.GIVEN_UP,
            phase="on_failure",
            what=in_words(self.service.on_failure.text, self.service.on_failure.argv),
            unit=unit.name,
            lines=keys_of(unit, "ExecStart"),
            origin=self.service.on_failure.at(),
            timeout=TimeSpan.parse("5min"),
            on_failure=OnFailure.IGNORE,
            effect="nothing further",
        )

    def _own(self, key: str) -> Iterator[Step]:
        """Lines of the spec's own `systemd:` block."""
        for item in self.main.directives:
            if item.key == key and item.text and not _LIB.search(item.text):
                effect = "is systemd's to judge"
                yield Step(stage=_STAGE_OF[key], phase="systemd", what=key, unit=self.main.name, lines=(item,), origin=item.origin, effect=effect)


def ranked(steps: Iterable[Step], member: str, *, start: int = 0) -> tuple[Step, ...]:
    """Steps of one member, one after the other."""
    return tuple(replace(step, member=member, rank=number) for number, step in enumerate(steps, start))


def moved(step: Step, old: str, new: str) -> Step:
    lines = tuple(line._replace(origin=relabelled(line.origin, old, new)) for line in step.lines)
    return replace(step, origin=relabelled(step.origin, old, new), lines=lines)


def relabelled(mark: Mark, old: str, new: str) -> Mark:
    """The same place, where its file has another name."""
    return replace(mark, file=new) if mark.file == old else mark


def _of(unit: UnitFile, key: str, origin: Mark, program: str) -> tuple[Directive, ...]:
    """Lines of that place that run one of nanod's programs."""
    return tuple(item for item in unit.directives if item.key == key and item.origin == origin and program in _LIB.findall(item.text))


def keys_of(unit: UnitFile, *keys: str) -> tuple[Directive, ...]:
    return tuple(item for item in unit.directives if item.section == "Service" and item.key in keys)


def in_words(text: str | None, argv: tuple[str, ...]) -> str:
    """A command as its user wrote it, in one line."""
    return " ".join((text or " ".join(argv)).split())
