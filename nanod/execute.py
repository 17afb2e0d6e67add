"""Steps become calls: files together and then made durable, jobs of one kind enqueued together and then waited for. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, assert_never

from nanod.faults import Point, reach
from nanod.settle import Progress
from nanod.steps import (
    Arm,
    DaemonReload,
    Decide,
    FileStep,
    Forget,
    ForgetApp,
    Link,
    MakeDirectory,
    Purge,
    Reload,
    RemoveDirectory,
    RemoveUnit,
    Restart,
    Roll,
    RunPrestart,
    Stamp,
    Start,
    Stop,
    StopBefore,
    UnitStep,
    Unlink,
    Unstamp,
    WriteUnit,
)
from nanod.verdict import Ending, Status
from nanod.waiting import await_run, await_stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from nanod.host import Host, Store
    from nanod.state import UnitDetail
    from nanod.steps import AnyStep
    from nanod.units.unitset import ServiceUnits


class HaltedError(Exception):
    """What must be well before the next step is not: a deploy-scoped prestart, or a wave of instances. Carries how one of them ended."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.service.name)
        self.ending = ending


@dataclass(slots=True, kw_only=True)
class Execution:
    """One run through steps. `left` are those that were not done yet; `known` the units that were there before, which have a count to reset."""

    host: Host
    steps: Sequence[AnyStep]
    services: Sequence[ServiceUnits]
    known: Container[str]
    begin: float
    tell: Callable[[Progress], None]
    left: list[AnyStep] = field(init=False)
    roll: Callable[[Sequence[Roll]], None] = lambda _: None
    """Called when a wave of instances has been told to restart; waits until they are healthy. Raises HaltedError when one is not."""
    is_decided: bool = False
    """Data or records have begun to go, and cannot be put back."""

    def __post_init__(self) -> None:
        self.left = list(self.steps)

    def run(self) -> None:
        """Raises NanodError when the host refuses a step, HaltedError for deploy-scoped hooks. A step leaves `left` when it has been done."""
        for kind, group in groupby(self.steps, key=_batch):
            batch = list(group)
            if kind is FileStep:
                for step in batch:
                    file_step(self.host.store, step)
                    self.is_decided = self.is_decided or isinstance(step, Decide | ForgetApp)
                self.host.store.sync()
            else:
                self._jobs(batch)
            del self.left[: len(batch)]

    @property
    def has_reloaded(self) -> bool:
        """The first, after the files."""
        first = next((number for number, step in enumerate(self.steps) if isinstance(step, DaemonReload)), len(self.steps))
        return len(self.steps) - len(self.left) > first

    def _jobs(self, batch: Sequence[AnyStep]) -> None:
        systemd = self.host.systemd
        match batch[0]:
            case DaemonReload():
                systemd.daemon_reload()
                reach(Point.RELOADED)
            case StopBefore() | Stop():
                following = [step.unit for step in batch if isinstance(step, Stop) and step.follows]
                self._stop(
                    [name for name in _units(batch) if name not in following],
                    alone={step.unit for step in batch if isinstance(step, StopBefore | Stop) and step.alone},
                )
                # Ordered after the mains, they would stop before them if they were told at the same time.
                self._stop(following)
                reach(Point.STOPPED)
            case RunPrestart():
                self._prestarts([step for step in batch if isinstance(step, RunPrestart)])
                reach(Point.PRESTARTED)
            case Arm():
                for unit in _units(batch):
                    self.host.store.put_stamp(self.host.store.scope.armed(unit), unit)
                reach(Point.ARMED)
            case Forget():
                for unit in _units(batch):
                    systemd.reset_failed(unit)
            case Roll():
                self._wave([step for step in batch if isinstance(step, Roll)])
            case Reload() | Restart() | Start():
                self._process([step for step in batch if isinstance(step, Reload | Restart | Start)])
                reach(Point.STARTED)
            case _:
                raise AssertionError(batch[0])

    def _wave(self, wave: Sequence[Roll]) -> None:
        systemd = self.host.systemd
        for step in wave:
            systemd.reset_failed(step.unit)
        for unit in dict.fromkeys(step.via or step.unit for step in wave):
            systemd.restart(unit)
        reach(Point.ROLLED)
        self.roll(wave)

    def _stop(self, units: Sequence[str], alone: Container[str] = ()) -> None:
        """Last started first. systemd puts stops in order, but for one that is `alone`: that one waits for its turn."""
        systemd, clock = self.host.systemd, self.host.clock
        for number, unit in enumerate(units):
            if unit in alone:
                await_stopped(systemd, clock, units[:number])
            self._say(unit, "stopping", "stopping")
            systemd.stop(unit, alone=unit in alone)
            if unit in alone:
                await_stopped(systemd, clock, [unit])
        await_stopped(systemd, clock, units)

    def _process(self, batch: Sequence[Reload | Restart | Start]) -> None:
        """In start order. Manual starts count towards the start limit, so each begins with an empty count (tried on 252)."""
        systemd = self.host.systemd
        together = [step.unit for step in batch if isinstance(step, Restart) and step.together]
        if together:
            self._stop(together[::-1])
        for via in dict.fromkeys(step.via for step in batch if isinstance(step, Restart) and step.via):
            for step in batch:
                if isinstance(step, Restart) and step.via == via:
                    systemd.reset_failed(step.unit)
            systemd.restart(via)
        for step in batch:
            if isinstance(step, Restart) and step.via:
                continue
            if isinstance(step, Reload):
                systemd.reload(step.unit)
                continue
            if step.unit in self.known:
                systemd.reset_failed(step.unit)
            if isinstance(step, Restart) and not step.together:
                systemd.restart(step.unit)
            else:
                systemd.start(step.unit, alone=isinstance(step, Start) and step.alone)

    def _prestarts(self, batch: Sequence[RunPrestart]) -> None:
        """Raises HaltedError for the first that ended badly, or that its provisioning kept from running."""
        systemd, services = self.host.systemd, {item.name: item for item in self.services}
        for step in batch:
            task = services[step.service].is_shared
            self._say(step.unit, "prestart", "prestart task of all instances" if task else "deploy-scoped prestart hooks", step.service)
            systemd.reset_failed(step.unit)
            if task:
                systemd.restart(step.unit)
            else:
                systemd.start(step.unit)
        beside = [name for step in batch if (name := services[step.service].provision)]
        states = await_run(systemd, self.host.clock, [*(step.unit for step in batch), *beside])
        for step in batch:
            service = services[step.service]
            for name in (step.unit, service.provision):
                if name and states[name].active == "failed":
                    raise HaltedError(self._failed(service, name, systemd.detail(name)))

    def _failed(self, service: ServiceUnits, unit: str, detail: UnitDetail) -> Ending:
        seconds = self.host.clock.now() - self.begin
        return Ending(service=service, status=Status.FAILED, unit=unit, touched=True, detail=detail, seconds=seconds)

    def _say(self, unit: str, word: str, text: str, service: str = "") -> None:
        names = {name: item.name for item in self.services for name in (item.main, *item.before)}
        seconds = self.host.clock.now() - self.begin
        self.tell(Progress(service=service or names.get(unit, unit), unit=unit, word=word, text=text, seconds=seconds))


def _batch(step: AnyStep) -> object:
    """Files together, and the three kinds of process jobs together, because their order is one start order."""
    if isinstance(step, FileStep):
        return FileStep
    if wave := wave_of(step):
        return wave
    return Start if isinstance(step, Reload | Restart | Start) else type(step)


def wave_of(step: AnyStep) -> tuple[str, int] | None:
    """The service whose instances go in turns, and the number of the turn."""
    return (step.service.partition("@")[0], step.wave) if isinstance(step, Roll) else None


def _units(batch: Sequence[AnyStep]) -> list[str]:
    return [step.unit for step in batch if isinstance(step, UnitStep)]


def file_step(store: Store, step: AnyStep) -> None:
    """Unit files and links become visible with `store.sync`, the rest at once."""
    match step:
        case WriteUnit(unit=unit, text=text):
            store.write_unit(unit, text)
        case RemoveUnit(unit=unit):
            store.delete_unit(unit)
        case Link(path=path, target=target):
            store.link(path, target)
        case Unlink(path=path):
            store.unlink(path)
        case MakeDirectory() | RemoveDirectory() | Stamp() | Unstamp() | Decide() | ForgetApp() | Purge():
            _record_step(store, step)
        case _:
            raise AssertionError(step)


def _record_step(store: Store, step: MakeDirectory | RemoveDirectory | Stamp | Unstamp | Decide | ForgetApp | Purge) -> None:
    match step:
        case MakeDirectory(directory=item):
            store.make_directory(item.path, item.user, item.group)
        case RemoveDirectory(path=path):
            store.remove_directory(path)
        case Stamp(path=path, unit=unit):
            store.put_stamp(path, unit)
        case Unstamp(path=path):
            store.delete_tree(path)
        case Decide(app=app):
            store.decide(app)
            reach(Point.DECIDED)
        case ForgetApp(app=app):
            store.forget(app)
        case Purge(path=path):
            store.delete_tree(path)
            reach(Point.PURGED)
        case _ as never:
            assert_never(never)
