"""Put a host back as it was before a transaction: at once when it failed, later when it was cut off. The steps are those of `nanod.restore`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from nanod.errors import DegradedError, NanodError
from nanod.execute import Execution, wave_of
from nanod.faults import Point, reach
from nanod.groups import around
from nanod.recorded import service_units
from nanod.restore import Now, differences, file_differences, held_units, is_same_run, restore_steps, return_steps, turns_of
from nanod.settle import Progress, Settling
from nanod.steps import DaemonReload, Reload, Roll, Start, UnitStep
from nanod.units.unitset import Role
from nanod.verdict import Status, judge, sentence
from nanod.waiting import await_conditions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from nanod.host import Host, Store
    from nanod.state import Intent, UnitDetail
    from nanod.steps import AnyStep
    from nanod.units.unitset import ServiceUnits
    from nanod.values import TimeSpan
    from nanod.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """How the way back went. `generation` is in force again, 0 for none; `problems`: exactly what is not as it was."""

    intent: Intent
    generation: int
    verdict: Verdict | None
    problems: tuple[str, ...] = ()
    note: str = ""
    """What is to be said of a way back without problems."""
    is_over: bool = True
    """False: the intent is still there, and the next command goes on."""


def undo(
    intent: Intent,
    host: Host,
    *,
    tell: Callable[[Progress], None],
    span: TimeSpan | None = None,
    was_reloaded: bool = True,
    keeps_configuration: Iterable[str] = (),
) -> Undone:
    """Never raises NanodError: what the host refuses now is a problem of the result, and the intent stays for the next command.

    `was_reloaded`: PID 1 has read the new files, or may have. `keeps_configuration`: units whose reload failed. `span`: how long what is brought back
    must stay up, by default as its spec said.
    """
    with host.interrupts.refused():
        reach(Point.UNDOING)
        return _Undoing(intent=intent, host=host, tell=tell, span=span, was_reloaded=was_reloaded).run(keeps_configuration)


@dataclass(slots=True, kw_only=True)
class _Undoing:
    intent: Intent
    host: Host
    tell: Callable[[Progress], None]
    span: TimeSpan | None
    was_reloaded: bool
    services: tuple[ServiceUnits, ...] = ()

    def run(self, keeps_configuration: Iterable[str]) -> Undone:
        intent, host = self.intent, self.host
        try:
            host.store.sweep()
            manifest = host.store.manifest(intent.app) if intent.before else None
            own = tuple(service_units(manifest, name) for name in manifest.services) if manifest else ()
            self.services = (*own, *_guests(intent, own, host))
            self._say("putting back what there was")
            now = look(intent, host)
            turns = turns_of(intent, now, self.services)
            held = held_units(intent, now)
            self._execute(restore_steps(intent, now, turns))
            now = look(intent, host)
            steps = return_steps(intent, now, turns=turns, keeps_configuration=keeps_configuration, held=held)
            bases = {item.main: host.systemd.detail(item.main) for item in self.services if self._is_touched(item, now, steps)}
            self._await_conditions(steps)
            refused = self._return(steps)
            verdict = self._settled(steps, {unit: base for unit, base in bases.items() if unit not in refused})
            told = {*refused, *(item.unit for item in (verdict.services if verdict else ()))}
            now = look(intent, host)
            rest = [text for text in differences(intent, now) if text.partition(":")[0] not in told]
            note, problems = "", [*_refusals(refused, intent, now), *_sentences(verdict), *rest]
            if refused and host.systemd.system_state() == "stopping":
                note, problems = "the machine is shutting down, and what ran before starts at the next boot", file_differences(intent, now)
            reach(Point.UNDONE)
            finish(intent, host.store)
        except NanodError as refused:
            return self._unfinished(refused.message)
        except KeyboardInterrupt:
            return self._unfinished("interrupted before all was as it was")
        return Undone(intent=intent, generation=intent.before, verdict=verdict, problems=tuple(problems), note=note)

    def _unfinished(self, cause: str) -> Undone:
        self.host.store.discard()
        left: list[str] = []
        with suppress(NanodError):  # who cannot be asked is the cause already
            left = differences(self.intent, look(self.intent, self.host))
        return Undone(intent=self.intent, generation=self.intent.before, verdict=None, problems=(cause, *left), is_over=False)

    def _say(self, text: str) -> None:
        app = self.intent.app
        self.tell(Progress(service=app, unit=f"{app}.target", word="undoing", text=text, seconds=0.0))

    def _execute(self, steps: Sequence[AnyStep]) -> None:
        for is_reload, group in groupby(steps, key=lambda step: isinstance(step, DaemonReload)):
            if is_reload and not self.was_reloaded:
                # PID 1 never read the new files. If it refuses to read the old ones, it refused before too, and has them in memory.
                with suppress(NanodError):
                    self.host.systemd.daemon_reload()
                continue
            known, begin = set(self.intent.units), self.host.clock.now()
            services, roll = self.services, self._rolled
            Execution(host=self.host, steps=list(group), services=services, known=known, begin=begin, tell=self.tell, roll=roll).run()

    def _await_conditions(self, steps: Sequence[AnyStep]) -> None:
        """What comes after the mains of a group may still look at those that failed; their start, which comes now, is to bring it up once more."""
        begun = {step.unit for step in steps if isinstance(step, Start)}
        behind = [
            item.main
            for item in around([item for item in self.services if item.main in begun], self.services)
            if item.role in (Role.POSTSTART_TASK, Role.POSTSTART_SIDECAR)
        ]
        if behind:
            await_conditions(self.host.systemd, self.host.clock, behind)

    def _return(self, steps: Sequence[AnyStep]) -> dict[str, str]:
        """One after the other: what systemd refuses for one (somebody broke its file) keeps no other down. What it said, by unit."""
        refused: dict[str, str] = {}
        for _, group in groupby(steps, key=lambda step: wave_of(step) or id(step)):
            wave = list(group)
            try:
                if isinstance(wave[0], Roll):
                    self._await_up(wave[0], [step.unit for step in steps if isinstance(step, Start) and step.unit not in refused])
                self._execute(wave)
            except NanodError as said:
                if not isinstance(wave[0], UnitStep):
                    raise
                refused |= {step.unit: said.message for step in wave if isinstance(step, UnitStep)}
        return refused

    def _await_up(self, roll: Roll, started: Sequence[str]) -> None:
        """The siblings that were down are up, or will not be, before the first that serves goes down."""
        group = next(item.group for item in self.services if item.main == roll.unit)
        self._wait([item for item in self.services if item.group == group and item.rolling and item.main in started], 0)

    def _rolled(self, wave: Sequence[Roll]) -> None:
        """What does not become healthy keeps nobody else from going back: it was no better before, and the verdict tells."""
        units = [step.unit for step in wave]
        self._wait([item for item in self.services if item.main in units], wave[0].healthy_usec)

    def _wait(self, items: Sequence[ServiceUnits], usec: int) -> None:
        host = self.host
        settling = Settling(systemd=host.systemd, clock=host.clock, tell=self.tell, begin=host.clock.now())
        for item in items:
            base = host.systemd.detail(item.main)
            settling.watch(replace(item, requires=()), touched=True, started=True, span=usec / 1_000_000, base=base)
        settling.run()

    def _is_touched(self, item: ServiceUnits, now: Now, steps: Sequence[AnyStep]) -> bool:
        """It ran, and is started, reloaded, or in another run than the one from before."""
        before = self.intent.units.get(item.main)
        if before is None or not before.was_up:
            return False
        is_in = any(isinstance(step, Start | Reload | Roll) and step.unit == item.main for step in steps)
        return is_in or now.invocations.get(item.main) != before.invocation

    def _settled(self, steps: Sequence[AnyStep], bases: Mapping[str, UnitDetail]) -> Verdict | None:
        """How those services are that ran before and were brought back."""
        reloaded = {step.unit for step in steps if isinstance(step, Reload)}
        host, wall = self.host, self.host.clock.wall()
        settling = Settling(systemd=host.systemd, clock=host.clock, tell=self.tell, begin=host.clock.now())
        for item in self.services:
            if item.main in bases:
                seconds = (self.span if self.span is not None else item.settle).usec / 1_000_000
                # Whom it waits for is not asked: what was wrong with that before is as it was.
                alone = replace(item, requires=())
                settling.watch(alone, touched=True, started=item.main not in reloaded, span=seconds, base=bases[item.main])
        if not settling.watches:
            return None
        settling.run()
        endings = settling.endings()
        failed = [ending for ending in endings if ending.status is Status.FAILED]
        lines = {ending.unit: host.journal.last_lines(ending.unit, invocation=ending.detail.invocation if ending.detail else "") for ending in failed}
        records = host.journal.hook_results([ending.service.main for ending in endings], since=wall)
        return judge(self.intent.app, endings, records, lines)


def _guests(intent: Intent, own: Sequence[ServiceUnits], host: Host) -> Iterator[ServiceUnits]:
    """Mains of other apps that a stop of what they require took along; each is named by its unit."""
    known = {name for item in own for name in item.units}
    rest = [name for name in intent.units if name.endswith(".service") and name not in known and name not in intent.files]
    for other in host.store.others(intent.app).values() if rest else ():
        for row, units in other.services.items():
            if units[0] in rest:
                yield replace(service_units(other, row), name=units[0], group="")


def look(intent: Intent, host: Host) -> Now:
    """Raises NanodError when systemd or the disk cannot be read."""
    states = host.systemd.states(intent.units)
    return Now(
        files=host.store.read_units([*{**intent.files, **intent.units}]),
        links=host.store.read_links(intent.links),
        there=frozenset(host.store.existing([*intent.stamps, *intent.new_stamps, *intent.directories])),
        states=states,
        invocations={name: host.systemd.invocation(name) for name, before in intent.units.items() if before.was_up and states[name].is_up},
    )


def finish(intent: Intent, store: Store) -> None:
    """The transaction is over, and what it was to become goes."""
    if intent.staged and intent.generation not in (0, intent.before, store.in_force(intent.app)):
        store.drop(intent.app, intent.generation)
    store.clear_intent(intent.app)
    reach(Point.CLEARED)


def _refusals(refused: Mapping[str, str], intent: Intent, now: Now) -> list[str]:
    """What could not be started because somebody has ordered its stop for good, and still runs as it did, is as it was."""
    return [text for unit, text in refused.items() if not (is_same_run(intent, now, unit) and now.state(unit).job_type == "stop")]


def _sentences(verdict: Verdict | None) -> list[str]:
    found = verdict.services if verdict else ()
    return [f"{item.unit}: {sentence(item)}" for item in found if item.status is not Status.HEALTHY]


def degraded(undone: Undone, *, because: str = "") -> DegradedError:
    """`because`: what had gone wrong before."""
    app = undone.intent.app
    first = f"{because}; and " if because else ""
    hint = "the next nanod command undoes the rest" if not undone.is_over else f"'nanod apply' brings {app} to its spec once the cause is gone"
    return DegradedError(f"{first}cannot undo the {undone.intent.action} of {app}: {undone.problems[0]}", undone.problems, hint=hint)
