"""Start, stop and restart what is installed, through systemd, and wait for what comes of it. Changes nothing but what runs.

A whole app is one job of its target: its members are wanted by it and part of it, so systemd orders them as at a boot (After=, reversed to stop).
The caller holds the host's lock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nanod.across import needs_of
from nanod.ended import Action, Down, Started, Stopped
from nanod.errors import NanodError
from nanod.groups import TASKS, WORDS, around, led_by, replica, rows, together, turns
from nanod.recorded import service_units
from nanod.settle import Progress, Settling
from nanod.state import UnitDetail
from nanod.stopping import Stopping
from nanod.units.names import AppNames
from nanod.units.unitfile import parse
from nanod.units.unitset import Role
from nanod.values import TimeSpan
from nanod.verdict import Status, Verdict, gone_warnings, judge
from nanod.waiting import await_stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nanod.across import Needing
    from nanod.host import Host, Store
    from nanod.state import Manifest, UnitState
    from nanod.units.unitset import ServiceUnits
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
            for item in self._led(named):
                self.host.systemd.start(item.main)
        else:
            self.host.systemd.start(self.target)
        return self._settle(Action.START, settling)

    def restart(self, span: TimeSpan | None) -> Started:
        """As `_restart`; and what of other apps restarts with something of it is told to, where a restart of its own unit did not take it along."""
        guests = self._needing(self._with_parts(self._meant(Action.RESTART)), restart=True)
        before = {item.unit: self.host.systemd.invocation(item.unit) for item in guests}
        end = self._restart(span)
        for unit, state in self.host.systemd.states(list(before)).items() if before and not end.interrupted else ():
            if not state.job and state.active in ("active", "inactive") and self.host.systemd.invocation(unit) in ("", before[unit]):
                self.host.systemd.restart(unit)
        notes = dict.fromkeys(f"{item.name} restarts with {item.need.service}; 'nanod status {item.app}' tells how it is" for item in guests)
        return replace(end, notes=(*end.notes, *notes))

    def _needing(self, items: Iterable[ServiceUnits], *, restart: bool) -> list[Needing]:
        """What runs in other apps and requires one of these: that which restarts with it, or that which does not."""
        services = {item.service for item in items}
        found = [
            item
            for other in self.host.store.others(self.manifest.app).values()
            for item in needs_of(other)
            if item.need.app == self.manifest.app and item.need.service in services and item.need.restart is restart
        ]
        states = self.host.systemd.states([item.unit for item in found]) if found else {}
        return [item for item in found if states[item.unit].is_up]

    def _restart(self, span: TimeSpan | None) -> Started:
        """What is meant runs anew, with its hooks and tasks, and so does what is part of it; what was down is started.

        Restarts of services that stand after one another are stops, dependents first, and then starts: jobs of their own would not keep the order.
        Instances of a service restart a few at a time, as apply has it, each wave when the one before is healthy.
        """
        named = self._meant(Action.RESTART)
        meant = self._with_parts(named)
        again = [item for item in meant if not self._is_masked(item)]
        if self.names and any(item.rolling and item.service in self.names for item in again):
            return self._in_turns(turns(again), meant, span)
        touched = [item for item in again if item.role is not Role.POSTSTOP_TASK and not (item.is_shared and self.names)]
        settling = self._settling(meant, touched, span)
        self._reset(touched)
        if not self.names:
            self.host.systemd.restart(self.target)
            return self._settle(Action.RESTART, settling, notes=together(again))
        if len({item.service for item in again}) == 1:
            self._anew(again)
            return self._settle(Action.RESTART, settling)
        return self._settle(Action.RESTART, settling, interrupted=self._one_after_the_other(again))

    def _anew(self, items: Sequence[ServiceUnits]) -> None:
        """One restart of members of one group: of what stands for all its mains, of its companion, which takes all around it along, or their own."""
        systemd = self.host.systemd
        if top := [item for item in items if item.role is Role.ALL]:
            systemd.restart(top[0].main)
            return
        mains = [item for item in items if item.role is Role.MAIN]
        of_group = {item.main for item in items if item.role is Role.GROUP}
        up = {main.companion for main in mains if self._state(main).is_up}
        for unit in sorted(of_group & up):
            systemd.restart(unit)
        for item in mains:
            if item.companion not in of_group:
                systemd.restart(item.main)
            elif not self._state(item).is_up:
                systemd.start(item.main)
        if not mains:
            for item in items:
                systemd.restart(item.main)

    def _in_turns(self, waves: Sequence[Sequence[ServiceUnits]], meant: Sequence[ServiceUnits], span: TimeSpan | None) -> Started:
        """One wave after the other; the first that is not healthy is the last. What was not reached is left as it is."""
        done = self._settling([], [], span)
        interrupted = failed = False
        reached: set[str] = set()
        for wave in waves:
            touched = [item for item in wave if item.role is not Role.POSTSTOP_TASK]
            healthy = max((item.rolling.min_healthy_usec for item in wave if item.rolling), default=0)
            waiting = self._settling(wave, touched, TimeSpan(healthy) if healthy else span)
            waiting.others = {name: item.main for name, item in self.services.items()}
            reached |= {item.name for item in wave}
            self._reset(touched)
            for service in dict.fromkeys((item.service, replica(item.name)) for item in wave):
                self._anew([item for item in wave if (item.service, replica(item.name)) == service])
            try:
                waiting.run()
            except KeyboardInterrupt:
                interrupted = True
            done.adopt(waiting.watches)
            failed = any(ending.status is not Status.HEALTHY for ending in waiting.endings())
            if interrupted or failed:
                break
        if not failed and not interrupted:
            reached |= self._tops_up(meant, done)
        rest = [item for item in meant if item.name not in reached]
        done.adopt(self._settling(rest, [], span).watches)
        left = [item.name for item in rest if item.rolling]
        notes = (f"left as they are: {', '.join(left)}",) if left and (failed or interrupted) else ()
        return self._settle(Action.RESTART, done, interrupted=interrupted, notes=notes)

    def _tops_up(self, items: Sequence[ServiceUnits], done: Settling) -> set[str]:
        """Start what stands for several mains where it is down, now that these are up."""
        tops = [item for item in items if item.role is Role.ALL and not self._state(item).is_up and not self._is_masked(item)]
        done.adopt(self._settling(tops, tops, None).watches)
        self._reset(tops)
        for item in tops:
            self.host.systemd.start(item.main)
        return {item.name for item in tops}

    def _one_after_the_other(self, again: Sequence[ServiceUnits]) -> bool:
        """Stops, then starts. Whether that was interrupted; what has been stopped is started all the same.

        What is behind a socket would start with the next connection: it restarts in its turn.
        """
        interrupted = False
        led = self._led(again)
        for item in reversed(led):
            if not item.socket:
                self.host.systemd.stop(item.main)
        try:
            Stopping(running=self, meant=[item for item in reversed(again) if not item.socket]).run()
        except KeyboardInterrupt:
            interrupted = True
        for item in led:
            if item.socket:
                self.host.systemd.restart(item.main)
            else:
                self.host.systemd.start(item.main)
        return interrupted

    def stop(self) -> Stopped:
        """All that runs of what is meant, and of what is part of it, is stopped, last started first, and waited for until its processes are gone."""
        meant, systemd = self._with_parts(self._meant(Action.STOP), ends=True)[::-1], self.host.systemd
        guests = [(item.name, item.need.service) for item in self._needing(meant, restart=True)]
        if not self.names:
            systemd.stop(self.target)
        beside = [name for item in meant for name in (item.ready, item.prestart, item.deploy, item.provision, item.post_deploy) if name]
        busy = [name for name, state in systemd.states(beside).items() if state.active == "activating"] if beside else []
        jobs = [item.job for item in meant if item.job]
        busy += [name for name, state in systemd.states(jobs).items() if state.active not in ("inactive", "failed")] if jobs else []
        # What is still coming up is not unneeded to systemd when the mains go (unit_is_unneeded(): only what is active).
        pulled = [item.main for item in meant if item.role.is_pulled and item.role is not Role.GROUP]
        cut = [name for name, state in systemd.states(pulled).items() if state.active == "activating"] if pulled else []
        busy += cut
        # The main units before their installs, which a stop of these would take along (Requires=); their sockets before them, for an open one would
        # start its service again.
        sockets = [item.socket for item in meant if item.socket]
        for name in (*sockets, *(item.main for item in self._led(meant)), *busy):
            systemd.stop(name)
        stopping = Stopping(running=self, meant=meant)
        try:
            stopping.run()
        except KeyboardInterrupt:
            return self._stopped(stopping, guests, interrupted=True)
        await_stopped(systemd, self.host.clock, busy)
        stopped = self._stopped(stopping, guests)
        for name in cut:
            # To systemd a task that is ended by a signal has failed; here that is what was asked for, and status shall not call it a failure.
            systemd.reset_failed(name)
        return stopped

    def _meant(self, action: Action) -> list[ServiceUnits]:
        """In start order. Raises NanodError for a masked unit that was named, and for a member that comes and goes with its group."""
        named = {row for name in self.names for row in rows(name, self.services)}
        found = [item for name, item in self.services.items() if not self.names or name in named]
        for name in self.names:
            self._refuse(action, name, [item for item in found if item.name in rows(name, self.services)])
        return found

    def _refuse(self, action: Action, name: str, items: Sequence[ServiceUnits]) -> None:
        led = self._led(items)
        if action is not Action.STOP and led and all(self._is_masked(item) for item in led):
            raise NanodError(
                f"cannot {action} {name}: its unit is masked",
                hint=f"'systemctl unmask {led[0].main}' lifts that; an administrator masked it",
            )
        if len(items) != 1 or not items[0].role.is_pulled:
            return
        item, app = items[0], self.manifest.app
        group = name.rpartition("/")[0]
        if item.role in TASKS or item.role is Role.GROUP:
            by_hand = f"'nanod run {app} {group} {name.rpartition('/')[2]}' runs it now" if item.role in TASKS else f"'nanod {action} {app} {group}'"
            raise NanodError(f"cannot {action} {name}: it is a {WORDS[item.role]}, and comes and goes with {group}", hint=by_hand)
        mains = [other for other in self.services.values() if other.role is Role.MAIN and other.companion == item.companion]
        if action is not Action.STOP and not any(self._state(main).is_up for main in mains):
            raise NanodError(f"cannot {action} {name}: {group} is not running, and it comes up with that", hint=f"nanod start {app} {group}")

    def _led(self, items: Sequence[ServiceUnits]) -> list[ServiceUnits]:
        """Those of which a job is asked: what stands around the mains of a group comes and goes with them. One that was named by itself is asked."""
        return [item for item in items if not item.role.is_pulled or item.name in self.names]

    def _with_requirements(self, items: Iterable[ServiceUnits]) -> list[ServiceUnits]:
        """And what comes up with these: what they require, and what belongs to a group of which a main comes up."""
        found: set[str] = set()
        todo = [item.name for item in items]
        while todo:
            name = todo.pop()
            if name in self.services and name not in found:
                found.add(name)
                todo.extend(self.services[name].requires)
                todo.extend(item.name for item in around([self.services[name]], self.services.values()))
        return [item for name, item in self.services.items() if name in found]

    def _with_parts(self, items: Sequence[ServiceUnits], *, ends: bool = False) -> list[ServiceUnits]:
        """And those that run and restart with them, which systemd stops with them, too (PartOf=); in start order one look is enough.

        `ends`: the mains go, and what is around them goes with the last.
        """
        found = {item.name for item in items}
        for name, item in self.services.items():
            if found.intersection(item.restarts_with) and self._state(item).is_up:
                found |= {name, *(other.name for other in around([item], self.services.values()))}
        if ends:
            whole = [item for item in self.services.values() if item.role is Role.MAIN]
            for item in whole:
                if item.name in found:
                    found |= {other.name for other in around([item], self.services.values()) if led_by(other, whole) <= found}
        return [item for name, item in self.services.items() if name in found]

    def _state(self, item: ServiceUnits) -> UnitState:
        return self.states[item.main]

    def _is_masked(self, item: ServiceUnits) -> bool:
        return self._state(item).load == "masked"

    def _reset(self, items: Iterable[ServiceUnits]) -> None:
        """Starts by hand count towards the start limit (tried on 252), so each begins with an empty count."""
        for item in items:
            for name in filter(None, (item.main, item.socket)):
                self.host.systemd.reset_failed(name)

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

    def _settle(self, action: Action, settling: Settling, *, interrupted: bool = False, notes: tuple[str, ...] = ()) -> Started:
        try:
            if not interrupted:
                settling.run()
        except KeyboardInterrupt:
            interrupted = True
        if interrupted:
            settling.look_at_untouched()
        verdict = self._judge(settling.endings())
        return Started(action=action, verdict=verdict, seconds=self.host.clock.now() - self.begin, interrupted=interrupted, notes=notes)

    def _judge(self, endings: Sequence[Ending]) -> Verdict:
        journal = self.host.journal
        failed = [ending for ending in endings if ending.status is Status.FAILED]
        asked = [ending.service for ending in endings if ending.touched or ending.status is Status.FAILED]
        names = [name for item in asked for name in (item.main, *item.before, item.ready) if name]
        # What failed without being touched did so before.
        since = self.wall if all(ending.touched for ending in failed) else 0
        records = journal.hook_results(names, since=since) if names else []
        lines = {ending.unit: journal.last_lines(ending.unit, invocation=ending.detail.invocation if ending.detail else "") for ending in failed}
        return judge(self.manifest.app, endings, records, lines)

    def _stopped(self, stopping: Stopping, guests: Iterable[tuple[str, str]], *, interrupted: bool = False) -> Stopped:
        records = self.host.journal.hook_results([item.main for item in stopping.meant], since=self.wall)
        services = tuple(replace(stopping.end(item), warnings=gone_warnings(records, [item.main])) for item in reversed(stopping.meant))
        down = {item.service for item in services if item.word is Down.STOPPED}
        gone = {other.service for other in stopping.meant}
        waiting = tuple(
            (name, need)
            for name, item in self.services.items()
            if item.role is Role.MAIN and item.service not in gone and self._state(item).is_up
            for need in item.requires
            if need in down
        )
        outer = [(item.name, item.need.service) for item in self._needing(stopping.meant, restart=False)]
        return Stopped(
            app=self.manifest.app,
            services=services,
            seconds=self.host.clock.now() - self.begin,
            waiting=tuple(dict.fromkeys((*waiting, *outer))),
            taken=tuple(dict.fromkeys(guests)),
            interrupted=interrupted,
        )


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
