"""Waiting until every service has settled: up and still up after its time, ended, failed for good, or held back by something that is.

There is no limit in seconds: a hook may take half an hour, and systemd bounds each of its commands. What could go on for ever is counted instead:
a service that failed to start as often as its start limit says has failed, also where its tries are too far apart for systemd to reach the limit; one
that waits for a failed dependency is blocked by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nanod.groups import instance
from nanod.state import UnitDetail, UnitState
from nanod.units.unitset import Role
from nanod.verdict import Ending, Status
from nanod.waiting import FIRST_WAIT, LONGEST_WAIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nanod.host import Clock, Systemd
    from nanod.units.unitset import ServiceUnits

_LATE, _BUSY = 1 / 20, 1 / 10
"""A look comes too late by this part of the time waited, and takes that part of PID 1's time and ours, at most."""
_SECOND_LOOK = 1.0
"""Seconds between two looks at the number of restarts of a service that does not come up."""
_NOTHING = UnitState(name="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line of news: `service` is in state `word`, `text` says it to a person, `seconds` since apply began."""

    service: str
    unit: str
    word: str
    text: str
    seconds: float


@dataclass(slots=True, kw_only=True)
class Watch:
    """One service under observation."""

    service: ServiceUnits
    touched: bool
    started: bool
    span: float
    base: UnitDetail
    up_at: float | None = None
    up: UnitDetail | None = None
    crash: UnitDetail | None = None
    """How its first run ended that had been up, `crashed_after` seconds. It has failed then; it has settled when systemd is done with it."""
    crashed_after: float | None = None
    looked: float = 0.0
    forgiven: int = 0
    """Failed starts that it owes to a dependency which had not settled yet."""
    last: UnitDetail | None = None
    """How its last failed start ended. The next one may be under way when it is given up, and says nothing yet."""
    doubted: bool = False
    """Its tries are used up, and what it requires was on its way: the next look tells who failed."""
    said: str = ""
    ending: Ending | None = None


@dataclass(slots=True, kw_only=True)
class Settling:
    """One wait. `endings` may be asked at any time; who has not settled by then is pending."""

    systemd: Systemd
    clock: Clock
    tell: Callable[[Progress], None]
    begin: float
    on_up: Callable[[ServiceUnits], None] = lambda _: None
    """Called once for each started service, as soon as it is up."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Units of services that are not watched and that watched ones require, by name."""
    watches: dict[str, Watch] = field(default_factory=dict)

    def watch(self, service: ServiceUnits, *, touched: bool, started: bool, span: float, base: UnitDetail, masked: bool = False) -> None:
        """`span`: seconds for which a touched service must stay up. `base`: what was known of its unit before anything was done to it.

        `touched` by a job of this apply; `started` by one that began a new process.
        """
        watch = Watch(service=service, touched=touched, started=started, span=span, base=base)
        if masked:
            watch.ending = Ending(service=service, status=Status.MASKED, unit=service.main)
        self.watches[service.name] = watch

    def adopt(self, watches: Mapping[str, Watch]) -> None:
        """Services that another wait has settled; should one fall until all have settled, it is looked at again."""
        for name, watch in watches.items():
            self.watches[name] = watch

    def endings(self) -> list[Ending]:
        found = [
            watch.ending or Ending(service=watch.service, status=Status.PENDING, unit=watch.service.main, touched=watch.touched)
            for watch in self.watches.values()
        ]
        # A poststart task that must not fail ends its group.
        failed = {item.service.service: item.service.name for item in found if _is(item, Role.POSTSTART_TASK, Status.FAILED)}
        return [
            replace(item, status=Status.BLOCKED, blocked_by=failed[item.service.service])
            if item.service.service in failed and _is(item, Role.MAIN, Status.FAILED) and item.detail and item.detail.result == "success"
            else item
            for item in found
        ]

    def run(self) -> None:
        began = self.clock.now()
        while pending := self._pending() or self._fallen():
            looked = self.clock.now()
            states = self.systemd.states(self._names(pending))
            for watch in pending:
                self._look(watch, states)
            if self._pending():
                now = self.clock.now()
                self.clock.sleep(min(LONGEST_WAIT, max(FIRST_WAIT, (now - began) * _LATE, (now - looked) / _BUSY)))

    def look_at_untouched(self) -> None:
        """Once, after an interrupt: what apply had no hand in is not pending because of it."""
        untouched = [watch for watch in self._pending() if not watch.touched]
        states = self.systemd.states(self._names(untouched)) if untouched else {}
        for watch in untouched:
            self._look(watch, states)

    def _pending(self) -> list[Watch]:
        return [watch for watch in self.watches.values() if watch.ending is None]

    def _fallen(self) -> list[Watch]:
        """Who was found healthy, and is not up any more now that all the others have settled too."""
        healthy = [
            watch
            for watch in self.watches.values()
            if watch.started and watch.up_at is not None and watch.ending and watch.ending.status is Status.HEALTHY
        ]
        states = self.systemd.states([watch.service.main for watch in healthy]) if healthy else {}
        fallen = [watch for watch in healthy if not states[watch.service.main].is_up]
        for watch in fallen:
            watch.ending = None
        return fallen

    def _names(self, pending: Iterable[Watch]) -> list[str]:
        names: dict[str, None] = {}
        for watch in pending:
            service = watch.service
            names |= dict.fromkeys((service.main, *service.before))
            names |= dict.fromkeys(self._unit(name) for name in service.requires)
        return list(names)

    def _unit(self, requirement: str) -> str:
        """A requirement is a service of the app, or a unit of another app or the host."""
        if requirement in self.watches:
            return self.watches[requirement].service.main
        return self.others.get(requirement, requirement)

    def _look(self, watch: Watch, states: Mapping[str, UnitState]) -> None:
        state = states.get(watch.service.main, _NOTHING)
        self._say(watch, states, state)
        if watch.up_at is not None and not state.is_up:
            if watch.service.role.is_pulled and _is_told(state):
                # Its group restarts.
                watch.up_at = None
            else:
                self._crashed(watch, self.clock.now() - watch.up_at)
        if state.active == "active" and (not state.job or not watch.touched):
            # A job of somebody else on what apply has not touched is not waited for: it may hang for ever.
            self._up(watch, state)
        elif state.sub.startswith("auto-restart") and (not state.job or state.sub == "auto-restart"):
            self._between_restarts(watch, states, state)
        elif state.job or state.active in ("activating", "deactivating", "reloading"):
            self._not_yet(watch, states)
        else:
            self._down(watch, states, state)

    def _up(self, watch: Watch, state: UnitState) -> None:
        if watch.service.is_script:
            if not watch.touched or (state.sub == "exited" and not self._runs_once_more(watch)):
                self._end(watch, Status.HEALTHY)
            return
        if watch.up_at is None:
            self._came_up(watch)
        assert watch.up_at is not None
        lasted = self.clock.now() - watch.up_at
        if watch.crashed_after is not None:
            if lasted >= _SECOND_LOOK:
                self._end(watch, Status.FAILED, detail=watch.crash)
        elif not watch.touched:
            self._end(watch, Status.HEALTHY)
        elif lasted >= watch.span:
            detail = self.systemd.detail(watch.service.main) if watch.span else watch.up
            if watch.up and detail and detail.invocation != watch.up.invocation and watch.service.role.is_pulled and not detail.restarts:
                watch.up_at = None
                self._came_up(watch)
            elif watch.up and detail and detail.invocation != watch.up.invocation:
                # A crash between two looks: systemd gives each run an invocation of its own, and what is said of this one says nothing of that.
                self._crashed(watch, lasted, UnitDetail(name=watch.service.main, invocation=watch.up.invocation))
            else:
                self._end(watch, Status.HEALTHY, detail=detail)

    def _came_up(self, watch: Watch) -> None:
        watch.up_at = now = self.clock.now()
        if not watch.touched or watch.crashed_after is not None:
            return
        watch.up = self.systemd.detail(watch.service.main)
        if watch.started:
            self.on_up(watch.service)
        word = "reloaded" if not watch.started else "healthy" if watch.service.health else "up"
        self._tell(watch, "up", f"{word} after {now - self.begin:.1f} s")

    def _crashed(self, watch: Watch, after: float, detail: UnitDetail | None = None) -> None:
        if watch.crashed_after is None:
            watch.crash, watch.crashed_after = detail or self.systemd.detail(watch.service.main), after
        watch.up_at = None

    def _not_yet(self, watch: Watch, states: Mapping[str, UnitState]) -> None:
        if self._is_blocked(watch):
            return
        now = self.clock.now()
        if watch.touched and now - watch.looked >= _SECOND_LOOK:
            watch.looked = now
            self._count(watch, states)

    def _between_restarts(self, watch: Watch, states: Mapping[str, UnitState], state: UnitState) -> None:
        """It failed at least once, and systemd will start it again."""
        if state.sub == "auto-restart-queued":
            # 257: no job although one is due; a unit that it requires failed, and nothing will try again (tried).
            self._down(watch, states, state)
            return
        if not self._is_blocked(watch) and not self._lacks(watch, states):
            self._count(watch, states)

    def _count(self, watch: Watch, states: Mapping[str, UnitState]) -> None:
        """End it when its tries are used up. Tries that a dependency made it lose do not count, as long as that one may still come up."""
        detail = self.systemd.detail(watch.service.main)
        # It may have come up, or begun again, since the look that brought us here.
        state = self.systemd.states([watch.service.main])[watch.service.main]
        if state.sub.startswith("auto-restart"):
            watch.last = detail
        # 0: PID 1 has forgotten a unit that was down and that nothing named.
        if detail.active_since not in (0, watch.base.active_since) and not watch.service.is_script and not state.is_up:
            self._crashed(watch, 0.0)
        tries, limit = detail.restarts - watch.forgiven, watch.service.tries
        if any(name in self.watches and self.watches[name].ending is None for name in watch.service.requires):
            watch.forgiven = detail.restarts
        elif (tries > limit or (tries == limit and watch.last)) and not self._lacks(watch, states):
            if watch.doubted or not self._missing(watch, states):
                self._end(watch, Status.FAILED, detail=watch.last or detail, tries=limit)
            watch.doubted = True

    def _is_blocked(self, watch: Watch) -> bool:
        for name in watch.service.requires:
            other = self.watches.get(name)
            if other and other.ending and other.ending.status in (Status.FAILED, Status.BLOCKED, Status.MASKED) and not _is_left_out(watch, other):
                self._end(watch, Status.BLOCKED, blocked_by=name)
                return True
        return False

    def _lacks(self, watch: Watch, states: Mapping[str, UnitState]) -> bool:
        """Whether what it requires beside these services is down, and nothing brings that up. It is the cause, also of a last try."""
        for name, other in self._missing(watch, states):
            if not other.job and other.active != "activating":
                self._end(watch, Status.BLOCKED, blocked_by=name, blocker=other)
                return True
        return False

    def _missing(self, watch: Watch, states: Mapping[str, UnitState]) -> list[tuple[str, UnitState]]:
        """What it requires beside these services and is not up: down, or on its way, for its last try has asked for that once more."""
        others = [(name, states.get(self._unit(name), _NOTHING)) for name in watch.service.requires if name not in self.watches]
        own = instance(watch.service.name)  # what is of it and has not failed itself is down because this one is
        return [(name, other) for name, other in others if not other.is_up and (other.active == "failed" or instance(name) != own)]

    def _down(self, watch: Watch, states: Mapping[str, UnitState], state: UnitState) -> None:
        service = watch.service
        for name in service.before:
            if states.get(name, _NOTHING).active == "failed":
                self._end(watch, Status.FAILED, unit=name)
                return
        if state.active == "failed" and watch.crashed_after is None and self._lacks(watch, states):
            return
        if state.active == "failed":
            detail = self.systemd.detail(service.main)
            has_given_up = detail.restarts - watch.forgiven >= service.restart_limit
            self._end(watch, Status.FAILED, detail=detail, tries=service.restart_limit if has_given_up else 0)
        elif not self._is_blocked(watch) and not (service.role.is_pulled and self._goes_with_mains(watch)):
            detail = self.systemd.detail(service.main)
            ran = detail.invocation != watch.base.invocation or detail.exec_main_code != 0
            self._end(watch, Status.HEALTHY if service.is_script and (ran or not watch.touched) else Status.FAILED, detail=detail)

    def _runs_once_more(self, watch: Watch) -> bool:
        """Of a poststart task that is up: its mains are on their way, and their start runs it anew. This run may be the one from before."""
        return watch.service.role is Role.POSTSTART_TASK and any(main.ending is None for main in self._mains(watch))

    def _mains(self, watch: Watch) -> list[Watch]:
        return [other for other in self.watches.values() if other.service.role is Role.MAIN and other.service.service == watch.service.service]

    def _goes_with_mains(self, watch: Watch) -> bool:
        """Of a unit that is down and that the mains of its group bring up: whether that is theirs to answer for. It is not, when they are up."""
        mains = self._mains(watch)
        if any(main.ending is None for main in mains):
            return True
        failed = next((main for main in mains if main.ending and main.ending.status is not Status.HEALTHY), None)
        if failed:
            self._end(watch, Status.BLOCKED, blocked_by=failed.service.name)
        elif mains and all(main.service.is_script for main in mains):
            self._end(watch, Status.HEALTHY)
        return watch.ending is not None

    def _end(
        self,
        watch: Watch,
        status: Status,
        *,
        unit: str = "",
        detail: UnitDetail | None = None,
        blocked_by: str = "",
        blocker: UnitState | None = None,
        tries: int = 0,
    ) -> None:
        unit = unit or watch.service.main
        if detail is None and status is Status.FAILED:
            detail = self.systemd.detail(unit)
        now = self.clock.now()
        watch.ending = Ending(
            service=watch.service,
            status=status,
            unit=unit,
            touched=watch.touched,
            started=watch.started,
            detail=detail or watch.up,
            seconds=(watch.up_at if watch.up_at is not None and watch.crashed_after is None else now) - self.begin,
            blocked_by=blocked_by,
            blocker=blocker,
            crashed_after=watch.crashed_after,
            tries=tries,
        )
        if status is not Status.HEALTHY or watch.service.is_script:
            well = {Role.ALL: "all up", Role.POSTSTOP_TASK: "waits for the end of its group"}.get(watch.service.role, "ended well")
            words = {Status.HEALTHY: f"{well} after {now - self.begin:.1f} s", Status.BLOCKED: f"blocked by {watch.service.called(blocked_by)}"}
            if watch.touched or status is not Status.HEALTHY:
                self._tell(watch, str(status), words.get(status, str(status)))

    def _say(self, watch: Watch, states: Mapping[str, UnitState], state: UnitState) -> None:
        if watch.touched and (words := self._words(watch, states, state)):
            self._tell(watch, *words)

    def _words(self, watch: Watch, states: Mapping[str, UnitState], state: UnitState) -> tuple[str, str] | None:
        service = watch.service
        words = {service.provision: ("installing", "installing"), service.deploy: ("deploying", "deploy hook")}
        for name in service.before:
            if states.get(name, _NOTHING).active == "activating":
                return words.get(name, ("prestart", "deploy-scoped prestart hooks"))
        if state.sub in ("dead", "start-pre", "auto-restart-queued") and (state.job or state.sub == "start-pre"):
            for name in service.requires:
                other = states.get(self._unit(name), _NOTHING)
                if not other.is_up:
                    return "waiting", f"waiting for {service.called(name)} ({other.active})"
        if state.job and state.active in ("inactive", "failed"):
            return "queued", "waiting for its turn"
        if state.sub == "start-post":
            return ("health", f"waiting for health ({service.health})") if service.health else ("poststart", "poststart hooks")
        if state.active == "active":
            return ("running", "running") if service.is_script and state.sub != "exited" else None
        return _SUB_WORDS.get(state.sub)

    def _tell(self, watch: Watch, word: str, text: str) -> None:
        if watch.service.role is Role.GROUP and word not in (Status.FAILED, Status.BLOCKED):
            # Nobody has asked for a companion.
            return
        if watch.said != word:
            watch.said = word
            self.tell(Progress(service=watch.service.name, unit=watch.service.main, word=word, text=text, seconds=self.clock.now() - self.begin))


def _is_left_out(watch: Watch, other: Watch) -> bool:
    """An instance that the administrator has masked is none."""
    return watch.service.role is Role.ALL and other.ending is not None and other.ending.status is Status.MASKED


_SUB_WORDS = {
    "start-pre": ("prestart", "prestart hooks"),
    "start": ("starting", "starting"),
    **dict.fromkeys(("auto-restart", "auto-restart-queued"), ("retrying", "failed, systemd tries again")),
    "stop": ("stopping", "prestop hooks"),
    "stop-sigterm": ("stopping", "stopping"),
    "stop-post": ("stopping", "poststop hooks"),
    "final-sigterm": ("stopping", "stopping"),
    "reload": ("reloading", "reloading"),
}


def _is(ending: Ending, role: Role, status: Status) -> bool:
    return ending.service.role is role and ending.status is status


def _is_told(state: UnitState) -> bool:
    """Whether a unit that is down was stopped, and did not end by itself."""
    return not state.sub.startswith("auto-restart") and (bool(state.job) or state.active == "inactive")
