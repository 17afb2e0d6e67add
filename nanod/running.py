"""Start, stop and restart what is installed, through systemd, and wait for what comes of it. Changes nothing but what runs.

A whole app is one job of its target: its members are wanted by it and part of it, so systemd orders them as at a boot (After=, reversed to stop).
The caller holds the host's lock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nanod.ended import Action, Down, Started, Stopped, StoppedService
from nanod.errors import NanodError
from nanod.recorded import service_units
from nanod.settle import FIRST_WAIT, LONGEST_WAIT, Progress, Settling, await_stopped
from nanod.state import UnitDetail
from nanod.units.names import AppNames
from nanod.units.unitfile import parse
from nanod.verdict import Status, Verdict, gone_warnings, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nanod.host import Host, Store
    from nanod.state import Manifest, UnitState
    from nanod.units.unitset import ServiceUnits
    from nanod.values import TimeSpan
    from nanod.verdict import Ending


@dataclass(slots=True, kw_only=True)
class Running:
    """One call on an app: `names` are the services meant, none for the app as a whole."""

    manifest: Manifest
    names: tuple[str, ...]
    host: Host
    tell: Callable[[Progress], None] = lambda _: None
    services: dict[str, ServiceUnits] = field(init=False)
    """All of the app, in start order."""
    states: dict[str, UnitState] = field(init=False)
    begin: float = field(init=False)
    wall: int = field(init=False)

    def __post_init__(self) -> None:
        self.services = in_start_order([service_units(self.manifest, name) for name in self.manifest.services], self.host.store)
        self.states = self.host.systemd.states([item.main for item in self.services.values()])
        self.begin, self.wall = self.host.clock.now(), self.host.clock.wall()

    @property
    def target(self) -> str:
        return AppNames(self.manifest.app).target

    def start(self, span: TimeSpan | None) -> Started:
        """What is down is started, with what it requires; what is up is left alone. `span` overrides how long it must stay up.

        Raises NanodError for a masked service that was named.
        """
        named = self._meant(Action.START)
        meant = self._with_requirements(named)
        down = [item for item in meant if not self._state(item).is_up and not self._is_masked(item)]
        settling = self._settling(meant, down, span)
        self._reset(down)
        if self.names:
            for item in named:
                self.host.systemd.start(item.main)
        else:
            self.host.systemd.start(self.target)
        return self._settle(Action.START, settling)

    def restart(self, span: TimeSpan | None) -> Started:
        """What is meant runs anew, with its hooks, and so does what is part of it; what was down is started.

        Restarts of services that stand after one another are stops, dependents first, and then starts: jobs of their own would not keep the order.
        """
        meant = self._with_parts(self._meant(Action.RESTART))
        again = [item for item in meant if not self._is_masked(item)]
        settling = self._settling(meant, again, span)
        self._reset(again)
        systemd = self.host.systemd
        if not self.names:
            systemd.restart(self.target)
        elif len(again) == 1:
            systemd.restart(again[0].main)
        else:
            return self._settle(Action.RESTART, settling, interrupted=self._one_after_the_other(again))
        return self._settle(Action.RESTART, settling)

    def _one_after_the_other(self, again: Sequence[ServiceUnits]) -> bool:
        """Stops, then starts. Whether that was interrupted; what has been stopped is started all the same."""
        interrupted = False
        for item in reversed(again):
            self.host.systemd.stop(item.main)
        try:
            _Stopping(running=self, meant=again[::-1]).run()
        except KeyboardInterrupt:
            interrupted = True
        for item in again:
            self.host.systemd.start(item.main)
        return interrupted

    def stop(self) -> Stopped:
        """All that runs of what is meant, and of what is part of it, is stopped, last started first, and waited for until its processes are gone."""
        meant, systemd = self._with_parts(self._meant(Action.STOP))[::-1], self.host.systemd
        if not self.names:
            systemd.stop(self.target)
        beside = [name for item in meant for name in (item.ready, item.prestart, item.provision) if name]
        busy = [name for name, state in systemd.states(beside).items() if state.active == "activating"] if beside else []
        # The main units before their installs, which a stop of these would take along (Requires=).
        for name in (*(item.main for item in meant), *busy):
            systemd.stop(name)
        stopping = _Stopping(running=self, meant=meant)
        try:
            stopping.run()
        except KeyboardInterrupt:
            return self._stopped(stopping, interrupted=True)
        await_stopped(systemd, self.host.clock, busy)
        return self._stopped(stopping)

    def _meant(self, action: Action) -> list[ServiceUnits]:
        found = [item for name, item in self.services.items() if not self.names or name in self.names]
        if self.names and action is not Action.STOP and (masked := [item for item in found if self._is_masked(item)]):
            raise NanodError(
                f"cannot {action} {masked[0].name}: its unit is masked",
                hint=f"'systemctl unmask {masked[0].main}' lifts that; an administrator masked it",
            )
        return found

    def _with_requirements(self, items: Iterable[ServiceUnits]) -> list[ServiceUnits]:
        found: set[str] = set()
        todo = [item.name for item in items]
        while todo:
            name = todo.pop()
            if name in self.services and name not in found:
                found.add(name)
                todo.extend(self.services[name].requires)
        return [item for name, item in self.services.items() if name in found]

    def _with_parts(self, items: Iterable[ServiceUnits]) -> list[ServiceUnits]:
        """And those that run and restart with them, which systemd stops with them, too (PartOf=); in start order one look is enough."""
        found = {item.name for item in items}
        for name, item in self.services.items():
            if found.intersection(item.restarts_with) and self._state(item).is_up:
                found.add(name)
        return [item for name, item in self.services.items() if name in found]

    def _state(self, item: ServiceUnits) -> UnitState:
        return self.states[item.main]

    def _is_masked(self, item: ServiceUnits) -> bool:
        return self._state(item).load == "masked"

    def _reset(self, items: Iterable[ServiceUnits]) -> None:
        """Starts by hand count towards the start limit (tried on 252), so each begins with an empty count."""
        for item in items:
            self.host.systemd.reset_failed(item.main)

    def _settling(self, meant: Sequence[ServiceUnits], touched: Sequence[ServiceUnits], span: TimeSpan | None) -> Settling:
        settling = Settling(systemd=self.host.systemd, clock=self.host.clock, tell=self.tell, begin=self.begin)
        for item in meant:
            is_touched = item in touched
            settling.watch(
                item,
                touched=is_touched,
                started=is_touched,
                span=(span if span is not None else item.settle).usec / 1_000_000,
                base=self.host.systemd.detail(item.main) if is_touched else UnitDetail(name=item.main),
                masked=self._is_masked(item),
            )
        return settling

    def _settle(self, action: Action, settling: Settling, *, interrupted: bool = False) -> Started:
        try:
            if not interrupted:
                settling.run()
        except KeyboardInterrupt:
            interrupted = True
        if interrupted:
            settling.look_at_untouched()
        verdict = self._judge(settling.endings())
        return Started(action=action, verdict=verdict, seconds=self.host.clock.now() - self.begin, interrupted=interrupted)

    def _judge(self, endings: Sequence[Ending]) -> Verdict:
        journal = self.host.journal
        failed = [ending for ending in endings if ending.status is Status.FAILED]
        asked = [ending.service for ending in endings if ending.touched or ending.status is Status.FAILED]
        names = [name for item in asked for name in (item.main, item.provision, item.prestart, item.ready) if name]
        # What failed without being touched did so before.
        since = self.wall if all(ending.touched for ending in failed) else 0
        records = journal.hook_results(names, since=since) if names else []
        lines = {ending.unit: journal.last_lines(ending.unit, invocation=ending.detail.invocation if ending.detail else "") for ending in failed}
        return judge(self.manifest.app, endings, records, lines)

    def _stopped(self, stopping: _Stopping, *, interrupted: bool = False) -> Stopped:
        records = self.host.journal.hook_results([item.main for item in stopping.meant], since=self.wall)
        services = tuple(replace(stopping.end(item), warnings=gone_warnings(records, [item.main])) for item in reversed(stopping.meant))
        down = {item.service for item in services if item.word is Down.STOPPED}
        waiting = tuple(
            (name, need)
            for name, item in self.services.items()
            if name not in {other.name for other in stopping.meant} and self._state(item).is_up
            for need in item.requires
            if need in down
        )
        seconds = self.host.clock.now() - self.begin
        return Stopped(app=self.manifest.app, services=services, seconds=seconds, waiting=waiting, interrupted=interrupted)


@dataclass(slots=True, kw_only=True)
class _Stopping:
    """The wait for units that were told to stop."""

    running: Running
    meant: Sequence[ServiceUnits]
    ends: dict[str, StoppedService] = field(default_factory=dict)

    def run(self) -> None:
        """No limit in seconds: systemd bounds every stop, and kills what does not obey."""
        systemd, clock, wait = self.running.host.systemd, self.running.host.clock, FIRST_WAIT
        for item in self.meant:
            if not self._was_down(item):
                self._tell(item, "stopping", "stopping")
        while left := [item for item in self.meant if item.name not in self.ends]:
            states = systemd.states([item.main for item in left])
            for item in left:
                self._look(item, states)
            if len(self.ends) < len(self.meant):
                clock.sleep(wait)
                wait = min(LONGEST_WAIT, wait * 1.5)

    def end(self, item: ServiceUnits) -> StoppedService:
        return self.ends.get(item.name) or StoppedService(service=item.name, unit=item.main, word=Down.STOPPING)

    def _was_down(self, item: ServiceUnits) -> bool:
        state = self.running.states[item.main]
        return state.active in ("inactive", "failed") and not state.job

    def _look(self, item: ServiceUnits, states: Mapping[str, UnitState]) -> None:
        state, seconds = states[item.main], self.running.host.clock.now() - self.running.begin
        if state.job_type == "stop" or state.active == "deactivating":
            return
        if state.job or state.active not in ("inactive", "failed"):
            word, text = Down.AGAIN, "something started it again"
        elif self._was_down(item):
            word, text = Down.WAS_DOWN, ""
        else:
            word, text = Down.STOPPED, _how(self.running.host.systemd.detail(item.main)) if state.active == "failed" else ""
            self._tell(item, "up", f"stopped after {seconds:.1f} s")
        self.ends[item.name] = StoppedService(service=item.name, unit=item.main, word=word, text=text, seconds=seconds)

    def _tell(self, item: ServiceUnits, word: str, text: str) -> None:
        seconds = self.running.host.clock.now() - self.running.begin
        self.running.tell(Progress(service=item.name, unit=item.main, word=word, text=text, seconds=seconds))


def in_start_order(services: Sequence[ServiceUnits], store: Store) -> dict[str, ServiceUnits]:
    """By name, each after those that its unit file has it stand after (After=), as systemd itself starts and stops them."""
    texts = store.read_units([item.main for item in services])
    mains = {item.main: item for item in services}
    found: dict[str, ServiceUnits] = {}
    seen: set[str] = set()

    def visit(item: ServiceUnits) -> None:
        if item.main in seen:
            return
        seen.add(item.main)
        for section, key, value in parse(texts.get(item.main, "")):
            if (section, key) == ("Unit", "After"):
                for name in value.split():
                    if name in mains:
                        visit(mains[name])
        found[item.name] = item

    for item in services:
        visit(item)
    return found


def _how(detail: UnitDetail) -> str:
    """Of a unit that ended `failed`."""
    if detail.result == "timeout":
        return "did not stop within its time and was killed"
    return f"did not end well (systemd says '{detail.result}')"
