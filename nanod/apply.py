"""Carry a plan out as one transaction: begin, its steps, wait until all has settled, judge, and commit, or put back what there was.

Decides nothing that the plan has not decided.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nanod.errors import ExitCode, NanodError
from nanod.execute import Execution, HaltedError, file_step
from nanod.faults import Point, reach
from nanod.settle import Progress, Settling, Watch
from nanod.state import UnitDetail
from nanod.steps import Arm, Reload, Restart, Roll, RunPrestart, Start, Stop, StopBefore, Switch, UnitStep
from nanod.told import told
from nanod.transaction import begin, commit, record
from nanod.undo import Undone, degraded, undo
from nanod.units.secrets import watched_files
from nanod.verdict import Ending, Reason, Status, Verdict, Why, gone_warnings, hook_text, judge, sentence
from nanod.waiting import await_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nanod.host import Host, Store
    from nanod.state import HookResult, Intent
    from nanod.steps import AnyStep, Plan
    from nanod.units.unitset import ServiceUnits
    from nanod.values import TimeSpan


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a plan. `left`: steps that were not done, after an interrupt or a failed deploy-scoped hook.

    `undone`: the way back, if it was taken.
    """

    plan: Plan
    verdict: Verdict
    left: tuple[AnyStep, ...] = ()
    interrupted: bool = False
    undone: Undone | None = None
    kept: str = ""
    """Why nothing was put back although it failed."""
    seconds: float = 0.0

    @property
    def exit_code(self) -> ExitCode:
        if self.undone and self.undone.problems:
            return ExitCode.DEGRADED
        return ExitCode.INTERRUPTED if self.interrupted else self.verdict.exit_code


def apply(
    plan: Plan,
    host: Host,
    *,
    spec_text: str = "",
    span: TimeSpan | None = None,
    rolls_back: bool = True,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Carry it out. `span` overrides how long what was started must stay up; without `rolls_back` a failure leaves what was done.

    Raises NanodError when the host refuses a step, once what was done is undone; DegradedError when that could not be undone either.
    """
    return _Applying(plan=plan, host=host, spec_text=spec_text, span=span, rolls_back=rolls_back, tell=tell).run()


def write_files(plan: Plan, store: Store, *, spec_text: str = "") -> None:
    """The plan's files and its record, and nothing that needs a running systemd: for `--root`. The plan was made with `online=False`."""
    store.install_lib()
    if plan.manifest and plan.records:
        store.stage(plan.manifest, plan.texts, spec_text)
    for step in plan.steps:
        file_step(store, step)
    store.sync()
    if plan.manifest and plan.records:
        store.commit(plan.manifest)


@dataclass(slots=True, kw_only=True)
class _Applying:
    plan: Plan
    host: Host
    spec_text: str
    span: TimeSpan | None
    rolls_back: bool
    tell: Callable[[Progress], None]
    begin: float = 0.0
    wall: int = 0
    touched: set[str] = field(default_factory=set)
    bases: dict[str, UnitDetail] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    taken_in: dict[str, str] = field(default_factory=dict)
    watched: dict[str, set[str]] = field(default_factory=dict)
    rolled: dict[str, Watch] = field(default_factory=dict)
    """Instances that were restarted, and how that went."""
    undeployed: list[str] = field(default_factory=list)
    """Units of deploy hooks that were due and still are."""
    execution: Execution = field(init=False)

    def run(self) -> Outcome:
        plan, host = self.plan, self.host
        self.begin, self.wall = host.clock.now(), host.clock.wall()
        self.touched = {step.unit for step in plan.steps if isinstance(step, StopBefore | Reload | Restart | Start)}
        self.started = {step.unit for step in plan.steps if isinstance(step, Restart | Start)}
        self.watched = watched_files(plan.wanted) if plan.wanted else {}
        # A unit that is new has nothing to compare with, unless PID 1 has kept it for another app.
        known = {*(plan.before.units if plan.before else ()), *(item.main for item in plan.guests), *plan.named}
        self.bases = {name: host.systemd.detail(name) for name in self.touched if name in known}
        self.execution = Execution(
            host=host, steps=plan.steps, services=plan.services, known=self.bases, begin=self.begin, tell=self.tell, roll=self._roll
        )
        settling = Settling(systemd=host.systemd, clock=host.clock, tell=self.tell, begin=self.begin, on_up=self._take_in)
        for item in (*plan.services, *plan.guests):
            self._watch(settling, item)
        intent: Intent | None = None
        verdict: Verdict | None = None
        try:
            with host.interrupts.held():
                intent = begin(plan, host, self.spec_text)
            verdict = self._carried_out(settling)
        except KeyboardInterrupt:
            host.store.discard()
        except NanodError as refused:
            with host.interrupts.refused():
                host.store.discard()
                raise self._give_up(intent, refused) from refused
        # From here on it is too late for an interrupt: it is committed, or put back.
        with host.interrupts.refused():
            return self._end(intent, verdict or self._cut_short(settling), interrupted=verdict is None)

    def _carried_out(self, settling: Settling) -> Verdict:
        try:
            self.execution.run()
            settling.adopt(self.rolled)
            settling.run()
            reach(Point.SETTLED)
            endings = settling.endings()
        except HaltedError as failed:
            endings = self._untouched(failed.ending)
        return self._judge(endings)

    def _roll(self, wave: Sequence[Roll]) -> None:
        """Wait for one wave of instances; raises HaltedError with how the first ended that is not healthy."""
        services = {item.main: item for item in self.plan.services}
        units = {item.name: item.main for item in self.plan.services}
        host = self.host
        waiting = Settling(systemd=host.systemd, clock=host.clock, tell=self.tell, begin=self.begin, on_up=self._take_in, others=units)
        for step in wave:
            item = services[step.unit]
            # A colour that gives up would take the socket from both.
            tried = replace(item, restart_limit=1) if isinstance(step, Switch) else item
            self._watch(waiting, tried, span=step.healthy_usec / 1_000_000)
        waiting.run()
        for name, watch in waiting.watches.items():
            self.rolled[name] = watch
        failed = next((ending for ending in waiting.endings() if ending.status is not Status.HEALTHY), None) or self._fallen_since()
        if failed:
            raise HaltedError(failed)

    def _fallen_since(self) -> Ending | None:
        """An instance that has not stayed up while later waves came. systemd may have started it again, and it failed all the same."""
        systemd = self.host.systemd
        for watch in self.rolled.values():
            before, unit = watch.ending, watch.service.main
            if before is None or before.detail is None or systemd.invocation(unit) == before.detail.invocation:
                continue
            # Of the run that ended PID 1 keeps nothing but its invocation.
            detail = UnitDetail(name=unit, invocation=before.detail.invocation)
            after = self.host.clock.now() - self.begin - before.seconds
            watch.ending = replace(before, status=Status.FAILED, detail=detail, crashed_after=after)
            return watch.ending
        return None

    def _cut_short(self, settling: Settling) -> Verdict:
        with suppress(NanodError):
            settling.look_at_untouched()
        return self._judge(settling.endings())

    def _end(self, intent: Intent | None, verdict: Verdict, *, interrupted: bool) -> Outcome:
        undone, kept = None, ""
        not_reloaded = [item for item in verdict.services if item.status is Status.DEGRADED]
        is_good = verdict.exit_code is ExitCode.OK and not interrupted
        if not is_good and self.rolls_back:
            kept = self._irreversible()
        if intent and self.plan.steps and self.rolls_back and not is_good and not kept and not self._is_past_undoing:
            undone = self._undo(intent, keeps_configuration=[item.unit for item in not_reloaded])
        else:
            try:
                self._commit(intent, [item.service for item in not_reloaded])
            except NanodError as refused:
                raise self._give_up(intent, refused) from refused
        if is_good:
            verdict = self._afterwards(verdict)
        self._record("interrupted" if interrupted else str(verdict.status), judged=verdict, undone=undone)
        seconds = self.host.clock.now() - self.begin
        left = tuple(self.execution.left)
        return Outcome(plan=self.plan, verdict=verdict, left=left, interrupted=interrupted, undone=undone, kept=kept, seconds=seconds)

    def _give_up(self, intent: Intent | None, refused: NanodError) -> NanodError:
        """The error to end with: the first refusal is the one to hear of, and what became of what was done."""
        if intent is None:
            return refused
        if self._is_past_undoing:
            return NanodError(f"{refused.message}; the units are gone, and the next nanod command deletes the rest", hint=refused.hint)
        kept = self._irreversible() if self.rolls_back else ""
        if kept or not self.rolls_back:
            # A full disk would refuse this too.
            with suppress(NanodError):
                self._commit(intent, ())
            self._record("refused", error=refused.message)
            return NanodError(f"{refused.message}; nothing is put back: {kept}", hint=refused.hint) if kept else refused
        was_touched = len(self.execution.left) < len(self.plan.steps)
        undone = self._undo(intent)
        self._record("refused", error=refused.message, undone=undone)
        if undone.problems:
            return degraded(undone, because=refused.message)
        return NanodError(f"{refused.message}; what was done is undone", hint=refused.hint) if was_touched else refused

    def _undo(self, intent: Intent, *, keeps_configuration: Sequence[str] = ()) -> Undone:
        return undo(
            intent,
            self.host,
            tell=self.tell,
            span=self.span,
            was_reloaded=self.execution.has_reloaded,
            keeps_configuration=keeps_configuration,
        )

    def _irreversible(self) -> str:
        """What has run that no transaction takes back, in words."""
        scope = self.host.store.scope
        hooks_of_it = [step for step in self.plan.steps if isinstance(step, Arm | RunPrestart) and step.irreversible]
        marks = {scope.irreversible_mark(self.plan.app, step.unit): step for step in hooks_of_it}
        there = self.host.store.existing(marks) if marks else ()
        steps = [step for mark, step in marks.items() if mark in there]
        if not steps:
            return ""
        hooks = dict.fromkeys(f"the {'deploy' if isinstance(step, Arm) else 'prestart'} hook of {step.service}" for step in steps)
        return f"{' and '.join(hooks)} {'have' if len(hooks) > 1 else 'has'} run, which is irreversible"

    def _afterwards(self, verdict: Verdict) -> Verdict:
        """What follows a commit, and what is to be said of it."""
        self._collect_releases()
        said = [Reason(kind=Why.HOOK, text="the deploy hook did not begin; the next apply runs it", unit=unit) for unit in self.undeployed]
        return replace(verdict, warnings=(*verdict.warnings, *said, *self._post_deploy()))

    def _collect_releases(self) -> None:
        """Those of the generation in force and of the one before it are needed still."""
        plan = self.plan
        if not (plan.stages and plan.wanted and plan.records):
            return
        kept = {item.service: item.keep for item in plan.wanted.releases}
        needed = [manifest.releases for manifest in (plan.before, plan.manifest) if manifest]
        with suppress(NanodError):
            self.host.releases.collect(plan.app, kept, {name: {item[name] for item in needed if name in item} for item in needed for name in item})

    def _post_deploy(self) -> Iterator[Reason]:
        """Run the hooks; what is to be said of those that are through when a service has settled, and which run on."""
        plan, host, wall = self.plan, self.host, self.host.clock.wall()
        units = {step.unit: step.service for step in plan.afterwards}
        if not units:
            return
        for unit, service in units.items():
            self.tell(Progress(service=service, unit=unit, word="post-deploy", text="post_deploy hook", seconds=host.clock.now() - self.begin))
            host.systemd.reset_failed(unit)
            host.systemd.start(unit)
        spans = [self.span if self.span is not None else item.settle for item in plan.services if item.post_deploy in units]
        states = await_run(host.systemd, host.clock, list(units), limit=max(span.usec for span in spans) / 1_000_000)
        records = {item.unit: item for item in host.journal.hook_results(list(units), since=wall)}
        hooks = {hook.unit: hook for item in plan.services for hook in item.hooks}
        for unit, state in states.items():
            if state.job or state.active not in ("inactive", "failed"):
                yield Reason(kind=Why.HOOK, text="the post_deploy hook runs on; 'nanod logs' shows what it does", unit=unit)
            elif (record := records.get(unit)) and record.status and hooks[unit].on_failure != "ignore":
                yield Reason(kind=Why.HOOK, text=hook_text(record), unit=unit, hook=f"{record.phase}/{record.name}", status=record.status)
            elif state.active == "failed" and not record:
                yield Reason(kind=Why.HOOK, text="the post_deploy hook did not begin", unit=unit)

    @property
    def _is_past_undoing(self) -> bool:
        """A removal has begun to delete data, or is through."""
        return self.execution.is_decided

    def _watch(self, settling: Settling, item: ServiceUnits, span: float | None = None) -> None:
        own = (self.span if self.span is not None else item.settle).usec / 1_000_000
        settling.watch(
            item,
            touched=item.main in self.touched,
            started=item.main in self.started,
            span=own if span is None else span,
            base=self.bases.get(item.main, UnitDetail(name=item.main)),
            masked=item.main in self.plan.masked,
        )

    def _take_in(self, item: ServiceUnits) -> None:
        """What a started service watches, as it is now that it is up; not what another one watches too that was not started."""
        elsewhere = {path for main, paths in self.watched.items() if main not in self.started for path in paths}
        if paths := self.watched.get(item.main, set()) - elsewhere:
            self.taken_in |= self.host.digests(sorted(paths))

    def _untouched(self, failed: Ending) -> list[Ending]:
        """After a deploy-scoped hook or an instance failed: what apply was about to touch is pending, and all else is as it was."""
        host = self.host
        rest = Settling(systemd=host.systemd, clock=host.clock, tell=self.tell, begin=self.begin)
        for item in self.plan.services:
            if item.main not in self.touched and item.name != failed.service.name:
                self._watch(rest, item)
        # What has gone with a main that failed is not to blame.
        rest.adopt(self.rolled)
        rest.run()
        rolled = [watch.ending for watch in self.rolled.values() if watch.ending]
        known = {ending.service.name: ending for ending in (*rest.endings(), *rolled, failed)}
        return [known.get(item.name) or Ending(service=item, status=Status.PENDING, unit=item.main) for item in self.plan.services]

    def _judge(self, endings: Sequence[Ending]) -> Verdict:
        journal, gone = self.host.journal, [step.unit for step in self.plan.steps if isinstance(step, Stop)]
        touched = [ending.service for ending in endings if ending.touched or ending.status is Status.FAILED]
        names = [name for item in touched for name in (item.main, *item.before, item.ready) if name]
        failed = [ending for ending in endings if ending.status is Status.FAILED]
        # What failed without being touched did so before this apply began.
        since = self.wall if all(ending.touched for ending in failed) else 0
        records: list[HookResult] = journal.hook_results([*names, *gone], since=since) if names or gone else []
        lines = {ending.unit: journal.last_lines(ending.unit, invocation=ending.detail.invocation if ending.detail else "") for ending in failed}
        verdict = judge(self.plan.app, endings, records, lines)
        return Verdict(app=verdict.app, services=verdict.services, warnings=gone_warnings(records, gone))

    def _commit(self, intent: Intent | None, not_reloaded: Sequence[str]) -> None:
        plan = self.plan
        manifest = record(plan, self.execution.left, not_reloaded=not_reloaded, taken_in=self.taken_in)
        if manifest is not None and plan.records:
            # Those are due once more with the next apply, and not with the next start that somebody asks for.
            self.undeployed = self._undeployed()
            manifest = replace(manifest, units=dict(manifest.units) | dict.fromkeys(self.undeployed, ""))
            for unit in self.undeployed:
                self.host.store.delete_tree(self.host.store.scope.armed(unit))
            commit(manifest, intent, self.host)

    def _record(self, verdict: str, *, error: str = "", undone: Undone | None = None, judged: Verdict | None = None) -> None:
        """One line of history. A disk that refuses it takes nothing back: that is said, and no more."""
        plan = self.plan
        if plan.manifest is None or not (plan.records or plan.builds or plan.afterwards):
            return
        try:
            self.host.store.record(plan.app, history_entry(plan, self.host, verdict, error=error, undone=undone, judged=judged) | self._seconds())
        except NanodError as refused:
            self.tell(Progress(service=plan.app, unit="", word="history", text=refused.message, seconds=0.0))

    def _seconds(self) -> dict[str, object]:
        return {"seconds": round(self.host.clock.now() - self.begin, 3)}

    def _undeployed(self) -> list[str]:
        """Units of deploy hooks that did not begin, or that failed and must not."""
        units = [step.unit for step in self.plan.steps if isinstance(step, Arm)]
        if not units:
            return []
        scope = self.host.store.scope
        waiting = self.host.store.existing([scope.armed(unit) for unit in units])
        states = self.host.systemd.states(units)
        return [unit for unit in units if scope.armed(unit) in waiting or states[unit].active == "failed"]


def history_entry(plan: Plan, host: Host, verdict: str, *, error: str, undone: Undone | None, judged: Verdict | None) -> dict[str, object]:
    """What `nanod history` has to tell; `verdict`: that of the services, or refused, interrupted."""
    assert plan.manifest is not None
    entry: dict[str, object] = {
        "action": plan.action,
        "command": host.command,
        "generation": plan.manifest.generation,
        "verdict": verdict,
        "units": sorted({step.unit for step in plan.steps if isinstance(step, UnitStep)}),
    }
    if error:
        entry["error"] = error
    if judged:
        entry["services"] = {item.service: str(item.status) for item in judged.services}
        entry["causes"] = {item.service: sentence(item) for item, _ in told(judged)}
        entry["warnings"] = [
            *(f"{item.service}: {reason.text}" for item in judged.services for reason in item.warnings),
            *(f"{reason.unit}: {reason.text}" for reason in judged.warnings),
        ]
    if undone:
        entry["rolled_back_to"] = undone.generation
        entry["problems"] = list(undone.problems)
    return entry
