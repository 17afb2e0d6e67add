"""Carry a plan out: its steps in their order, then wait until all has settled, judge, and record. Decides nothing that the plan has not decided."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, assert_never

from nanod.errors import ExitCode, NanodError
from nanod.settle import Progress, Settling, await_run, await_stopped
from nanod.state import UnitDetail, UnitState
from nanod.steps import (
    DaemonReload,
    FileStep,
    Forget,
    ForgetApp,
    Link,
    MakeDirectory,
    Purge,
    Reload,
    RemoveUnit,
    Restart,
    RunPrestart,
    Start,
    Stop,
    StopBefore,
    UnitStep,
    Unlink,
    WriteUnit,
)
from nanod.transaction import record
from nanod.verdict import Ending, Status, Verdict, gone_warnings, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nanod.host import Clock, Journal, Store, Systemd
    from nanod.state import HookResult
    from nanod.steps import AnyStep, Plan
    from nanod.units.unitset import ServiceUnits
    from nanod.values import TimeSpan


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """All that apply acts through; the caller holds the host's lock."""

    systemd: Systemd
    store: Store
    journal: Journal
    clock: Clock
    digests: Callable[[Iterable[str]], Mapping[str, str]]
    """Of watched files: path to SHA-256, "" for a missing one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a plan. `left`: steps that were not done, after an interrupt or a failed deploy-scoped hook."""

    plan: Plan
    verdict: Verdict
    left: tuple[AnyStep, ...] = ()
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.INTERRUPTED if self.interrupted else self.verdict.exit_code


def apply(plan: Plan, host: Host, *, spec_text: str = "", span: TimeSpan | None = None, tell: Callable[[Progress], None] = lambda _: None) -> Outcome:
    """Carry it out. `span` overrides how long what was started must stay up.

    Raises NanodError when the host refuses a step; what was done until then is recorded, and the next apply goes on from there.
    """
    return _Applying(plan=plan, host=host, spec_text=spec_text, span=span, tell=tell).run()


def write_files(plan: Plan, store: Store, *, spec_text: str = "") -> None:
    """The plan's files and its record, and nothing that needs a running systemd: for `--root`. The plan was made with `online=False`."""
    store.install_lib()
    if plan.manifest and plan.records:
        store.stage(plan.manifest, plan.texts, spec_text)
    for step in plan.steps:
        _file_step(store, step)
    store.sync()
    if plan.manifest and plan.records:
        store.commit(plan.manifest)


class _HookFailedError(Exception):
    """A deploy-scoped prestart ended badly; carries how."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.service.name)
        self.ending = ending


@dataclass(slots=True, kw_only=True)
class _Applying:
    plan: Plan
    host: Host
    spec_text: str
    span: TimeSpan | None
    tell: Callable[[Progress], None]
    begin: float = 0.0
    wall: int = 0
    left: list[AnyStep] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    bases: dict[str, UnitDetail] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    taken_in: dict[str, str] = field(default_factory=dict)

    def run(self) -> Outcome:
        plan, host = self.plan, self.host
        self.begin, self.wall, self.left = host.clock.now(), host.clock.wall(), list(plan.steps)
        self.touched = {step.unit for step in plan.steps if isinstance(step, StopBefore | Reload | Restart | Start)}
        self.started = {step.unit for step in plan.steps if isinstance(step, Restart | Start)}
        # A unit that is new has nothing to compare with.
        known = plan.before.units if plan.before else {}
        self.bases = {name: host.systemd.detail(name) for name in self.touched if name in known}
        settling = Settling(systemd=host.systemd, clock=host.clock, tell=self.tell, begin=self.begin, on_up=self._take_in)
        for item in plan.services:
            self._watch(settling, item)
        interrupted = False
        try:
            self._steps()
            settling.run()
            endings = settling.endings()
        except _HookFailedError as failed:
            endings = self._untouched(failed.ending)
        except KeyboardInterrupt:
            host.store.discard()
            settling.look_at_untouched()
            interrupted = True
            endings = settling.endings()
        except NanodError as refused:
            host.store.discard()
            if len(self.left) < len(plan.steps):
                # The first refusal is the one to hear of; a full disk would refuse this too.
                with suppress(NanodError):
                    self._commit((), error=refused.message)
            raise
        verdict = self._judge(endings)
        not_reloaded = [item.service for item in verdict.services if item.status is Status.DEGRADED]
        self._commit(not_reloaded, verdict=verdict, interrupted=interrupted)
        seconds = host.clock.now() - self.begin
        return Outcome(plan=plan, verdict=verdict, left=tuple(self.left), interrupted=interrupted, seconds=seconds)

    def _watch(self, settling: Settling, item: ServiceUnits) -> None:
        settling.watch(
            item,
            touched=item.main in self.touched,
            started=item.main in self.started,
            span=(self.span if self.span is not None else item.settle).usec / 1_000_000,
            base=self.bases.get(item.main, UnitDetail(name=item.main)),
            masked=item.main in self.plan.masked,
        )

    def _take_in(self, item: ServiceUnits) -> None:
        """What a started service watches, as it is now that it is up; not what another one watches too that was not started."""
        others = [other for other in self.plan.services if other.main not in self.started]
        elsewhere = {path for other in others for path in (*other.reload_on, *other.restart_on)}
        if paths := {*item.reload_on, *item.restart_on} - elsewhere:
            self.taken_in |= self.host.digests(sorted(paths))

    def _steps(self) -> None:
        """Neighbours of one kind are one batch: all enqueued, then all waited for. A step leaves `left` when it has been done."""
        store = self.host.store
        if self.plan.wanted:
            store.install_lib()
        if self.plan.manifest and self.plan.records:
            store.stage(self.plan.manifest, self.plan.texts, self.spec_text)
        for kind, group in groupby(self.plan.steps, key=_batch):
            batch = list(group)
            if kind is FileStep:
                for step in batch:
                    _file_step(store, step)
                store.sync()
            else:
                self._jobs(batch)
            del self.left[: len(batch)]

    def _jobs(self, batch: Sequence[AnyStep]) -> None:
        systemd = self.host.systemd
        match batch[0]:
            case DaemonReload():
                systemd.daemon_reload()
            case StopBefore() | Stop():
                self._stop(_units(batch))
            case RunPrestart():
                self._prestarts([step for step in batch if isinstance(step, RunPrestart)])
            case Forget():
                for unit in _units(batch):
                    systemd.reset_failed(unit)
            case Reload() | Restart() | Start():
                self._process([step for step in batch if isinstance(step, Reload | Restart | Start)])
            case MakeDirectory() | WriteUnit() | RemoveUnit() | Link() | Unlink() | ForgetApp() | Purge():
                raise AssertionError(batch[0])
            case _ as never:
                assert_never(never)

    def _stop(self, units: Sequence[str]) -> dict[str, UnitState]:
        for unit in units:
            self._say(unit, "stopping", "stopping")
            self.host.systemd.stop(unit)
        return await_stopped(self.host.systemd, self.host.clock, units)

    def _process(self, batch: Sequence[Reload | Restart | Start]) -> None:
        """In start order. Manual starts count towards the start limit, so each begins with an empty count (tried on 252)."""
        systemd = self.host.systemd
        together = [step.unit for step in batch if isinstance(step, Restart) and step.together]
        if together:
            self._stop(together[::-1])
        for step in batch:
            if isinstance(step, Reload):
                systemd.reload(step.unit)
                continue
            if step.unit in self.bases:
                systemd.reset_failed(step.unit)
            if isinstance(step, Restart) and not step.together:
                systemd.restart(step.unit)
            else:
                systemd.start(step.unit)

    def _prestarts(self, batch: Sequence[RunPrestart]) -> None:
        """Raises _HookFailedError for the first that ended badly, or that its provisioning kept from running."""
        systemd, services = self.host.systemd, {item.name: item for item in self.plan.services}
        for step in batch:
            self._say(step.unit, "prestart", "deploy-scoped prestart hooks", step.service)
            systemd.reset_failed(step.unit)
            systemd.start(step.unit)
        beside = [name for step in batch if (name := services[step.service].provision)]
        states = await_run(systemd, self.host.clock, [*(step.unit for step in batch), *beside])
        for step in batch:
            service = services[step.service]
            for name in (step.unit, service.provision):
                if name and states[name].active == "failed":
                    seconds = self.host.clock.now() - self.begin
                    detail = systemd.detail(name)
                    raise _HookFailedError(Ending(service=service, status=Status.FAILED, unit=name, touched=True, detail=detail, seconds=seconds))

    def _untouched(self, failed: Ending) -> list[Ending]:
        """After a deploy-scoped hook failed: what apply was about to touch is pending, and all else is as it was."""
        host = self.host
        rest = Settling(systemd=host.systemd, clock=host.clock, tell=self.tell, begin=self.begin)
        for item in self.plan.services:
            if item.main not in self.touched and item.name != failed.service.name:
                self._watch(rest, item)
        rest.run()
        known = {ending.service.name: ending for ending in (*rest.endings(), failed)}
        return [known.get(item.name) or Ending(service=item, status=Status.PENDING, unit=item.main) for item in self.plan.services]

    def _judge(self, endings: Sequence[Ending]) -> Verdict:
        journal, gone = self.host.journal, [step.unit for step in self.plan.steps if isinstance(step, Stop)]
        touched = [ending.service for ending in endings if ending.touched or ending.status is Status.FAILED]
        names = [name for item in touched for name in (item.main, item.provision, item.prestart, item.ready) if name]
        failed = [ending for ending in endings if ending.status is Status.FAILED]
        # What failed without being touched did so before this apply began.
        since = self.wall if all(ending.touched for ending in failed) else 0
        records: list[HookResult] = journal.hook_results([*names, *gone], since=since) if names or gone else []
        lines = {ending.unit: journal.last_lines(ending.unit, invocation=ending.detail.invocation if ending.detail else "") for ending in failed}
        verdict = judge(self.plan.app, endings, records, lines)
        return Verdict(app=verdict.app, services=verdict.services, warnings=gone_warnings(records, gone))

    def _commit(self, not_reloaded: Sequence[str], *, verdict: Verdict | None = None, error: str = "", interrupted: bool = False) -> None:
        plan, store = self.plan, self.host.store
        manifest = record(plan, self.left, not_reloaded=not_reloaded, taken_in=self.taken_in)
        if manifest is None or not plan.records:
            return
        store.commit(manifest)
        entry: dict[str, object] = {
            "generation": manifest.generation,
            "verdict": "interrupted" if interrupted else "refused" if error else str(verdict.status) if verdict else "",
            "seconds": round(self.host.clock.now() - self.begin, 3),
            "units": sorted({step.unit for step in plan.steps if isinstance(step, UnitStep)}),
        }
        if error:
            entry["error"] = error
        if verdict:
            entry["services"] = {item.service: str(item.status) for item in verdict.services}
        store.record(plan.app, entry)

    def _say(self, unit: str, word: str, text: str, service: str = "") -> None:
        names = {name: item.name for item in self.plan.services for name in (item.main, item.provision, item.prestart) if name}
        seconds = self.host.clock.now() - self.begin
        self.tell(Progress(service=service or names.get(unit, unit), unit=unit, word=word, text=text, seconds=seconds))


def _batch(step: AnyStep) -> object:
    """Files together, and the three kinds of process jobs together, because their order is one start order."""
    if isinstance(step, FileStep):
        return FileStep
    return Start if isinstance(step, Reload | Restart | Start) else type(step)


def _units(batch: Sequence[AnyStep]) -> list[str]:
    return [step.unit for step in batch if isinstance(step, UnitStep)]


def _file_step(store: Store, step: AnyStep) -> None:
    match step:
        case MakeDirectory(directory=item):
            store.make_directory(item.path, item.user, item.group)
        case WriteUnit(unit=unit, text=text):
            store.write_unit(unit, text)
        case RemoveUnit(unit=unit):
            store.delete_unit(unit)
        case Link(path=path, target=target):
            store.link(path, target)
        case Unlink(path=path):
            store.unlink(path)
        case ForgetApp(app=app):
            store.forget(app)
        case Purge(path=path):
            store.delete_tree(path)
        case StopBefore() | DaemonReload() | RunPrestart() | Stop() | Reload() | Restart() | Start() | Forget():
            raise AssertionError(step)
        case _ as never:
            assert_never(never)
