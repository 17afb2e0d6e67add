"""What a service with members goes through: tasks, several mains and their hooks, in their order up and down. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanod.groups import TASKS, WORDS, part, replica
from nanod.phases import OnFailure, phase_of
from nanod.spec.model import RestartPolicy
from nanod.timeline import Life, Stage, Step, in_words, keys_of, moved, ranked, timeline
from nanod.units.unitset import Role
from nanod.values import TimeSpan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nanod.spec.model import Service, Spec, Task
    from nanod.units.unitset import ServiceUnits, UnitSet

_WAIT = TimeSpan.parse("1min")
_FAILS = {
    Role.PRESTART_TASK: "the mains do not start",
    Role.POSTSTART_TASK: "the group is stopped",
    Role.POSTSTOP_TASK: "its unit has failed, and the next start of the group goes on",
}


def life_of(spec: Spec, units: UnitSet, name: str, *, called: Mapping[str, str] | None = None) -> tuple[Step, ...]:
    """Of a service, of one of its instances (`web@2`), of a process or of a task; of several instances without a number, the first.

    Raises KeyError for a name that the spec does not have. `called`: other names for the files that places are in.
    """
    whole = name.partition("/")[0].partition("@")[0]
    members = [item for item in units.services if item.group == whole]
    if not members:
        return timeline(spec, units, name, called=called)
    numbers = {replica(item.name) for item in members} - {0}
    if replica(name) and replica(name) not in numbers:
        raise KeyError(name)
    number = replica(name) or min(numbers, default=0)
    scope = [item for item in members if replica(item.name) in (0, number)]
    steps: Iterable[Step] = _Group(spec=spec, units=units, whole=spec.services[whole], members=scope).steps()
    if part(name):
        row = f"{whole}@{number}/{part(name)}" if any(item.name == f"{whole}@{number}/{part(name)}" for item in scope) else name
        steps = [step for step in steps if step.member == row]
    found = tuple(steps)
    if not found:
        raise KeyError(name)
    for old, new in (called or {}).items():
        found = tuple(moved(step, old, new) for step in found)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """`members`: of the group, or of one instance with what all instances share."""

    spec: Spec
    units: UnitSet
    whole: Service
    members: Sequence[ServiceUnits]

    def steps(self) -> Iterator[Step]:
        lives = {item.name: self._life(item) for item in self._of(Role.MAIN)}
        first = next(iter(lives.values()))
        once = Life(spec=self.spec, units=self.units, service=self.whole, names=first.names)
        up = _Line()
        yield from up.after(once.before(), self.whole.name)
        yield from up.after(self._hooks(Role.GROUP, "prestart", Stage.UP), self.whole.name)
        for role in (Role.PRESTART_SIDECAR, Role.PRESTART_TASK):
            yield from up.beside((self._task(item),) for item in self._of(role))
        yield from up.beside(self._named(life.up(), item) for item, life in zip(self._of(Role.MAIN), lives.values(), strict=True))
        last = [self._task(item) for role in (Role.POSTSTART_TASK, Role.POSTSTART_SIDECAR) for item in self._of(role)]
        around = ranked(self._hooks(Role.ALL, "poststart", Stage.UP), self.whole.name)
        yield from up.beside([around, *((step,) for step in last)])
        yield from up.after([*self._hooks(Role.ALL, "ready", Stage.UP)], self.whole.name)
        yield from up.beside(ranked(life.hooks("ready", Stage.UP), row) for row, life in lives.items())
        yield from self._run(lives)
        reload = _Line()
        yield from reload.after(self._hooks(Role.ALL, "reload", Stage.RELOAD), self.whole.name)
        yield from reload.beside(ranked(life.reload(), row) for row, life in lives.items())
        yield from self._down(lives)
        yield from ranked((step for life in lives.values() for step in life.given_up()), self.whole.name)

    def _run(self, lives: Mapping[str, Life]) -> Iterator[Step]:
        """What is done again and again while the group runs: all at the same time."""
        for row, life in lives.items():
            yield from (replace(step, name=part(row)) for step in ranked(life.run(), row))
        for item in (*self._of(Role.PRESTART_SIDECAR), *self._of(Role.POSTSTART_SIDECAR)):
            task = self._task_of(item)
            if task.service:
                life = Life(spec=self.spec, units=self.units, service=task.service, names=item)
                yield from (replace(step, name=task.name) for step in ranked(life.run(), item.name))

    def _down(self, lives: Mapping[str, Life]) -> Iterator[Step]:
        down = _Line()
        yield from down.after(self._hooks(Role.ALL, "prestop", Stage.DOWN), self.whole.name)
        yield from down.beside(self._named(life.down(), item) for item, life in zip(self._of(Role.MAIN), lives.values(), strict=True))
        for role in (Role.POSTSTART_SIDECAR, Role.PRESTART_SIDECAR):
            yield from down.beside((self._end(item),) for item in self._of(role))
        yield from down.beside((self._task(item),) for item in self._of(Role.POSTSTOP_TASK))
        yield from down.after(self._hooks(Role.GROUP, "poststop", Stage.DOWN), self.whole.name)

    def _of(self, role: Role) -> list[ServiceUnits]:
        return [item for item in self.members if item.role is role]

    def _life(self, item: ServiceUnits) -> Life:
        process = next((task for task in self.whole.processes if task.name == part(item.name)), None)
        return Life(spec=self.spec, units=self.units, service=process.service if process and process.service else self.whole, names=item)

    def _hooks(self, role: Role, phase: str, stage: Stage) -> Iterator[Step]:
        """With several processes, the hooks of the service itself are lines of what stands for all of them, and of their companion."""
        for item in self._of(role) if self.whole.processes else ():
            for step in Life(spec=self.spec, units=self.units, service=self.whole, names=item).hooks(phase, stage):
                is_first = role is Role.GROUP and stage is Stage.UP and step.on_failure is OnFailure.FAIL
                yield replace(step, effect=_FAILS[Role.PRESTART_TASK]) if is_first else step

    def _named(self, steps: Iterable[Step], main: ServiceUnits) -> list[Step]:
        """Of one main: one of several is named, and the first step says for whom it waits."""
        found = [replace(step, name=step.name or part(main.name)) for step in ranked(steps, main.name)]
        waits = tuple(name for name in self._waits(main) if any(other.name == name for other in self.members))
        return [replace(found[0], waits=waits), *found[1:]] if found[0].stage is Stage.UP else found

    def _waits(self, item: ServiceUnits) -> tuple[str, ...]:
        companions = {other.name for other in self._of(Role.GROUP)}
        return tuple(name for name in item.requires if name not in companions)

    def _task_of(self, item: ServiceUnits) -> Task:
        return next(task for task in self.whole.tasks if task.name == part(item.name))

    def _task(self, item: ServiceUnits) -> Step:
        task = self._task_of(item)
        unit, row = self.units.unit(item.main), phase_of(WORDS[item.role])
        is_last = item.role is Role.POSTSTOP_TASK
        lines = keys_of(unit, "ExecStopPost") if is_last else keys_of(unit, "ExecCondition", "ExecStart", "ExecStartPost")
        command = task.service.command if task.service else None
        return Step(
            stage=Stage.DOWN if is_last else Stage.UP,
            phase=WORDS[item.role],
            name=task.name,
            what=f"waits for {task.wait_for}" if command is None else in_words(command.text, command.argv),
            unit=unit.name,
            lines=lines,
            origin=task.at(),
            timeout=_limit(task) if item.role in TASKS else None,
            on_failure=task.on_failure if item.role in TASKS else None,
            effect=self._effect(item, task),
            row=row,
            member=item.name,
            waits=self._waits(item),
        )

    def _effect(self, item: ServiceUnits, task: Task) -> str:
        shared = "; runs once for all instances" if item.is_shared else ""
        if item.role not in TASKS:
            delay = task.service.restart.delay if task.service else ""
            state = "healthy" if item.health else "up"
            held = f"; the mains wait until it is {state}" if item.role is Role.PRESTART_SIDECAR else ""
            return f"starts again {delay} after it ended, however that was{held}"
        if task.on_failure is OnFailure.WARN:
            return f"it is shown in verdict, status and history, and the group goes on{shared}"
        restart = task.service.restart if task.service else None
        tries = restart.limit if restart and restart.policy is not RestartPolicy.NO else 1
        again = f"; tried {tries} times, {restart.delay} apart" if restart and tries > 1 else ""
        return f"{_FAILS[item.role]}{again}{shared}"

    def _end(self, item: ServiceUnits) -> Step:
        step, unit = self._task(item), self.units.unit(item.main)
        wait = unit.values("Service", "TimeoutStopSec")
        return replace(
            step,
            stage=Stage.DOWN,
            what="is stopped when the last main has gone",
            lines=keys_of(unit, "KillSignal", "TimeoutStopSec"),
            timeout=TimeSpan.parse(wait[-1]) if wait else None,
            effect="what has not ended by then is killed",
            waits=(),
        )


class _Line:
    """Gives steps their ranks, from one end of a way to the other."""

    def __init__(self) -> None:
        self.rank = 0

    def after(self, steps: Iterable[Step], member: str) -> Iterator[Step]:
        """One after the other."""
        for step in ranked(steps, member, start=self.rank):
            self.rank = step.rank + 1
            yield step

    def beside(self, lines: Iterable[Sequence[Step]]) -> Iterator[Step]:
        """Each line by itself, and all at the same time."""
        begin = end = self.rank
        for line in lines:
            for number, step in enumerate(line):
                end = max(end, begin + number + 1)
                yield replace(step, rank=begin + number)
        self.rank = end


def _limit(task: Task) -> TimeSpan:
    if task.timeout:
        return task.timeout
    return _WAIT if task.wait_for else phase_of("prestart task").timeout
