"""Run a script now, in its own unit: as its timer, or the start of its app, would."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanod.errors import NanodError, UsageError
from nanod.phases import HOOK_PHASES
from nanod.state import RUN
from nanod.units.unitset import Role
from nanod.waiting import FIRST_WAIT, LONGEST_WAIT, await_stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nanod.host import Host
    from nanod.state import UnitDetail
    from nanod.units.unitset import ServiceUnits

_KILLED = (2, 3)
"""CLD_KILLED and CLD_DUMPED."""
_LINES = 1000
_LOOK = 1.0
"""Seconds from one look at what a script prints to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """`status`: that of the script, 124 after its time, 128 + n when signal n killed it. `lines`: the last 1000 that it printed."""

    unit: str
    status: int
    seconds: float
    lines: tuple[str, ...]
    interrupted: bool = False


def script_of(members: Sequence[ServiceUnits], name: str) -> ServiceUnits:
    """The script among the members of a service, by its own unit. Raises UsageError for a service that is none."""
    for item in members:
        if item.role in (Role.MAIN, Role.TIMER) and (item.job or item.is_script):
            return of_itself(item)
    raise UsageError(f"cannot run {name}: it is no script", hint=f"say which of its hooks: {', '.join(HOOK_PHASES)}; or 'nanod start' it")


def of_itself(item: ServiceUnits) -> ServiceUnits:
    """A scheduled script by its own unit, and not by its timer's."""
    return replace(item, main=item.job, job=None, role=Role.MAIN, is_script=True) if item.job else item


def begin(script: ServiceUnits, host: Host) -> str:
    """The place in the journal that its lines come after. Raises NanodError when it runs already. The caller holds the host's lock."""
    state = host.systemd.states([script.main])[script.main]
    if state.load == "masked":
        raise NanodError(f"cannot run {script.name}: its unit is masked", hint=f"'systemctl unmask {script.main}' lifts that")
    if state.job or (state.active not in ("inactive", "failed") and state.sub != "exited"):
        raise NanodError(f"cannot run {script.name}: it runs already", hint=f"'nanod logs -f' follows it; systemctl status {script.main}")
    place = f"@{host.clock.wall()}"
    host.systemd.reset_failed(script.main)
    host.systemd.restart(script.main)
    return place


@dataclass(slots=True, kw_only=True)
class _Listener:
    """Hands on what a script prints, while it runs."""

    unit: str
    host: Host
    place: str
    tell: Callable[[str], None]
    due: float = 0.0

    def look(self, invocation: str) -> None:
        lines, self.place = self.host.journal.lines_after(self.unit, self.place, invocation=invocation)
        for line in lines:
            self.tell(line)

    def look_in_time(self) -> None:
        now = self.host.clock.now()
        if now >= self.due:
            self.look(self.host.systemd.invocation(self.unit))
            self.due = now + _LOOK


def wait(script: ServiceUnits, host: Host, *, place: str, tell: Callable[[str], None]) -> JobEnd:
    """To its end, with its hooks; `tell` gets each line that it prints after `place`. An interrupt (KeyboardInterrupt) stops it."""
    clock, began, pause = host.clock, host.clock.now(), FIRST_WAIT
    listener = _Listener(unit=script.main, host=host, place=place, tell=tell)
    interrupted = False
    try:
        while True:
            state = host.systemd.states([script.main])[script.main]
            if not state.job and (state.active in ("inactive", "failed") or state.sub == "exited"):
                break
            if state.active not in ("inactive", "failed"):
                # Before that, its run is still the one before.
                listener.look_in_time()
            clock.sleep(pause)
            pause = min(LONGEST_WAIT, pause * 1.5)
    except KeyboardInterrupt:
        interrupted = True
        host.systemd.stop(script.main)
        state = await_stopped(host.systemd, clock, [script.main])[script.main]
    detail = host.systemd.detail(script.main)
    lines = host.journal.last_lines(script.main, invocation=detail.invocation, count=_LINES)
    listener.look(detail.invocation)
    status = _status(script, detail, host, is_failed=state.active == "failed")
    return JobEnd(unit=script.main, status=status, seconds=clock.now() - began, lines=tuple(lines), interrupted=interrupted)


def _status(script: ServiceUnits, detail: UnitDetail, host: Host, *, is_failed: bool) -> int:
    """Its records come first: where something before the script failed, systemd's ExecMain* are still those of the run before."""
    records = [item for item in host.journal.hook_results([script.main]) if item.invocation == detail.invocation] if detail.invocation else []
    for item in records:
        if item.phase == RUN:
            return item.status
    if not is_failed:
        return 0
    failed = [item.status for item in records if item.status and item.phase not in ("prestop", "poststop", "poststart", "ready")]
    if failed:
        return failed[0]
    if detail.result == "timeout":
        return 124
    if detail.exec_main_code in _KILLED:
        return 128 + detail.exec_main_status
    return detail.exec_main_status or 1
