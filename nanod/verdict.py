"""The verdict: how each service ended up, and why, from settled unit states and the records that hooks left. Pure.

Return codes lie (systemd reports a failed start although a retry succeeds, and a good one although a wanted unit failed; tried on 252),
so nothing here has seen any. A service that was never started because of another unit stays `inactive` with Result=success (tried):
the chain of reasons walks on to the unit that really failed.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from nanod.errors import ExitCode
from nanod.groups import TASKS, WORDS
from nanod.results import SETUP, STEPS
from nanod.state import LIVENESS, UnitDetail
from nanod.units.unitset import Role
from nanod.values import signal_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nanod.state import HookName, HookResult, UnitState
    from nanod.units.unitset import ServiceUnits


class Status(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Runs, but not as the spec says: its reload failed and the old configuration stays in force."""
    FAILED = "failed"
    BLOCKED = "blocked"
    """Waits for something that will not come up."""
    MASKED = "masked"
    PENDING = "pending"
    """apply ended before its turn came."""


class Why(StrEnum):
    """The words of `--json`, `reasons[].kind`."""

    HOOK = "hook"
    PROBE = "probe"
    EXITED = "exited"
    SIGNAL = "signal"
    EXECUTABLE = "missing-executable"
    SETUP = "setup"
    """systemd could not prepare the process: user, directory, sandbox."""
    TIMEOUT = "timeout"
    MEMORY = "out-of-memory"
    CRASHED = "crashed"
    RETRIES = "start-limit"
    DEPENDENCY = "dependency"
    MASKED = "masked"
    SOCKET = "socket"
    """Its socket is not open, and cannot be opened."""
    SYSTEMD = "systemd"
    """Something that nanod has no words for; `text` has systemd's."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One link of the chain. `text` completes "cannot start X: …"; `lines` are the last that the unit printed."""

    kind: Why
    text: str
    unit: str = ""
    hook: str = ""
    status: int | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a service settled, before anybody asked why. `unit` is the one to ask: its main, or the one that kept it down."""

    service: ServiceUnits
    status: Status
    unit: str
    touched: bool = False
    started: bool = False
    """Touched by a start or restart, not by a reload."""
    detail: UnitDetail | None = None
    seconds: float = 0.0
    """Until it was up, or until it was clear that it will not be."""
    blocked_by: str = ""
    blocker: UnitState | None = None
    """How that one is, when it is a unit of another app or of the host."""
    crashed_after: float | None = None
    tries: int = 0
    """Failed starts after which it was given up; 0 when it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceVerdict:
    """`reasons`: outermost first, the root of the trouble last. `warnings`: hooks that failed and may; records that are missing."""

    service: str
    unit: str
    status: Status
    headline: str = ""
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    seconds: float = 0.0
    touched: bool = False
    group: str = ""
    """The service of the spec, of a member of a group; "" for one that is a service by itself."""
    role: Role = Role.MAIN

    @property
    def whose(self) -> str:
        return self.group or self.service


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    app: str
    services: tuple[ServiceVerdict, ...]
    warnings: tuple[Reason, ...] = ()
    """Of units that went away."""

    @property
    def status(self) -> Status:
        """The worst of the services'; a masked one is as the administrator wants it."""
        found = {item.status for item in self.services}
        for status in (Status.FAILED, Status.BLOCKED, Status.DEGRADED, Status.PENDING):
            if status in found:
                return status
        return Status.HEALTHY

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.OK if self.status is Status.HEALTHY else ExitCode.FAILED


_FAILED_STEP = re.compile(r"\S+: Failed at step ([A-Z_]+) spawning \S+: (.+)")
"""What the child says then (exec_child in execute.c, 252 to 257): of a hook or gate no property of the unit keeps the status."""
SOMETHING_ELSE = "the main process is gone (and something else answers)"
"""The end of a line of `nanod.probe`."""
_RESULTS = {
    "timeout": (Why.TIMEOUT, "it did not start within its time"),
    "oom-kill": (Why.MEMORY, "it ran out of memory"),
    "watchdog": (Why.TIMEOUT, "it missed its watchdog"),
    "protocol": (Why.SYSTEMD, "it ended before it said that it is ready"),
    "resources": (Why.SYSTEMD, "systemd lacked the resources to start it"),
}
_START_RESULTS = {
    "exit-code": "one of its start commands failed",
    "signal": "one of its start commands was killed",
    "core-dump": "one of its start commands crashed",
}
"""Results of a run in which not the main process failed, and of which there is no record."""
_SOCKET_RESULTS = {
    "resources": "its socket cannot be opened: its address is taken, or not of this host",
    "service-start-limit-hit": "its socket was closed when it had failed too often",
    "trigger-limit-hit": "its socket was closed: connections started it too often",
}
_ASIDE = (Why.CRASHED, Why.RETRIES)
"""Links of the chain that say when, and not why."""
_CLD_EXITED, _CLD_KILLED, _CLD_DUMPED = 1, 2, 3
_GATE, _HEALTH, _INSTALL = "requires", "health", "install"
"""Phases of records that are no hooks of the spec: a dependency gate's, a probe's, and provisioning's."""


def judge(app: str, endings: Sequence[Ending], records: Sequence[HookResult], lines: Mapping[str, Sequence[str]]) -> Verdict:
    """`records`: since apply began. `lines`: by unit, the last it printed in the run that failed."""
    judged = {ending.service.name: _service(ending, records, tuple(lines.get(ending.unit, ()))) for ending in endings}
    for ending in endings:  # in start order: what a service waits for is judged before it
        if ending.status is Status.BLOCKED:
            name = ending.service.name
            judged[name] = replace(judged[name], reasons=_blocked(ending, judged))
    return Verdict(app=app, services=tuple(judged.values()))


def _service(ending: Ending, records: Sequence[HookResult], lines: tuple[str, ...]) -> ServiceVerdict:
    service = ending.service
    found = ServiceVerdict(
        service=service.name,
        unit=service.main,
        status=ending.status,
        seconds=ending.seconds,
        touched=ending.touched,
        warnings=_warnings(ending, records) if ending.touched else (),
        group=service.group,
        role=service.role,
    )
    match ending.status:
        case Status.HEALTHY:
            reload = _failed_reload(service, records) if ending.touched else None
            return replace(found, status=Status.DEGRADED, headline=f"cannot reload {stem(service.main)}", reasons=(reload,)) if reload else found
        case Status.FAILED:
            return replace(found, headline=_headline(ending), reasons=_reasons(ending, records, lines))
        case Status.BLOCKED:
            name = stem(service.main)
            return replace(found, headline=f"cannot start {name}" if ending.crashed_after is None else f"{name} was stopped")
        case Status.MASKED:
            return replace(found, reasons=(Reason(kind=Why.MASKED, text="its unit is masked", unit=service.main),))
        case Status.PENDING | Status.DEGRADED:
            return found


def _headline(ending: Ending) -> str:
    name = stem(ending.service.main)
    if ending.service.role in TASKS:
        return f"{WORDS[ending.service.role]} {ending.service.name} failed"
    if ending.service.is_script and ending.service.role is Role.MAIN and ending.unit == ending.service.main:
        return f"{name} failed"
    return f"cannot start {name}" if ending.crashed_after is None else f"{name} did not stay up"


def _reasons(ending: Ending, records: Sequence[HookResult], lines: tuple[str, ...]) -> tuple[Reason, ...]:
    detail = ending.detail or UnitDetail(name=ending.unit)
    own = [item for item in records if item.unit == ending.unit and item.invocation == detail.invocation]
    root = replace(_cause(ending, detail, own, lines), lines=lines)
    aside: list[Reason] = []
    if ending.crashed_after is not None:
        when = f"{ending.crashed_after:.1f} s" if ending.crashed_after >= 0.1 else "at once"
        aside.append(Reason(kind=Why.CRASHED, text=f"{when} after it was up", unit=ending.unit))
    limited = detail.result == "start-limit-hit"
    if limited and root.kind is Why.SIGNAL and not (ending.tries or detail.restarts):  # by hand: the signal is the last stop's
        return (replace(root, kind=Why.SYSTEMD, text="it was started too often, each time after a stop", status=None),)
    tried = sum(bool(item.status) for item in own if item.phase not in (_GATE, _HEALTH)) if ending.service.role in TASKS else 0
    if tried > 1:
        aside.append(Reason(kind=Why.RETRIES, text=f"given up after {tried} tries", unit=ending.unit))
    elif limited or ending.tries:
        tries = ending.tries or ending.service.restart_limit
        aside.append(Reason(kind=Why.RETRIES, text=f"given up after {tries} failed start{'s' if tries != 1 else ''}", unit=ending.unit))
    return (*aside, root)


def _cause(ending: Ending, detail: UnitDetail, own: Sequence[HookResult], lines: Sequence[str]) -> Reason:
    """Of the unit's last run. Its records come first: when a prestart line failed, systemd's ExecMain* are still those of the run before."""
    if ending.unit == ending.service.socket:
        return Reason(kind=Why.SOCKET, text=_SOCKET_RESULTS.get(detail.result, f"systemd says '{detail.result}' of its socket"), unit=ending.unit)
    end = _own_end(detail, _who(ending))
    if end and end.kind is Why.EXITED and any(line.endswith(SOMETHING_ELSE) for line in lines):
        end = replace(end, text=f"{end.text}, and something else answers at {ending.service.health}")
    reason = _from_records(ending, own, end) or _from_result(ending, detail) or end or _from_lines(lines) or _from_nothing(ending, detail)
    return reason if reason.unit else replace(reason, unit=ending.unit)


def _from_records(ending: Ending, own: Sequence[HookResult], end: Reason | None) -> Reason | None:
    for item in own:
        if item.status and item.phase == _GATE:
            return Reason(kind=Why.DEPENDENCY, text=f"{ending.service.called(item.name)} did not come up", unit=item.name)
        if item.status and item.phase not in (_HEALTH, "prestop", "poststop") and _severity(ending.service.hooks, item) == "fail":
            text = f"it {end_text(item)}" if ending.service.role in TASKS else hook_text(item)
            return Reason(kind=Why.HOOK, text=text, hook=f"{item.phase}/{item.name}", status=item.status)
    # A process that ends while it is probed fails the probe too, and is the root; systemd's own SIGTERM after a failed probe is not.
    if any(item.status and item.phase == _HEALTH for item in own) and (end is None or end.kind is Why.SIGNAL):
        return Reason(kind=Why.PROBE, text=f"it did not become healthy ({ending.service.health})")
    return None


def _from_result(ending: Ending, detail: UnitDetail) -> Reason | None:
    if detail.result == "timeout" and ending.service.health == "notify":
        return Reason(kind=Why.PROBE, text="it did not say that it is ready (READY=1) within its time")
    found = _RESULTS.get(detail.result)
    return Reason(kind=found[0], text=found[1]) if found else None


def _from_lines(lines: Sequence[str]) -> Reason | None:
    for line in reversed(lines):
        if (found := _FAILED_STEP.fullmatch(line)) and found[1] in STEPS:
            status = STEPS[found[1]]
            return Reason(kind=Why.SETUP, text=f"{SETUP[status]}: {found[2][:1].lower()}{found[2][1:]}", status=status)
    return None


def _from_nothing(ending: Ending, detail: UnitDetail) -> Reason:
    """Nothing went wrong that anybody recorded."""
    if not detail.condition_result:
        return Reason(kind=Why.SYSTEMD, text="a condition of its unit does not hold")
    ended_well = detail.result == "start-limit-hit" and detail.exec_main_code == _CLD_EXITED  # each time, under Restart=always
    if detail.result != "success" and not ended_well:
        return Reason(kind=Why.SYSTEMD, text=_START_RESULTS.get(detail.result, f"systemd says '{detail.result}'"))
    if detail.exec_main_code == 0:
        if ending.crashed_after is not None:
            return Reason(kind=Why.UNKNOWN, text="it ended, and systemd started it again")
        return Reason(kind=Why.SYSTEMD, text="systemd did not start it")
    return Reason(kind=Why.EXITED, text="it exited with status 0, and a service runs on (kind: script is for what ends)", status=0)


def _who(ending: Ending) -> str:
    """Without a record nobody knows which hook it was, and still it was not the service itself."""
    service = ending.service
    beside = {service.provision: "its install", service.prestart: "its deploy-scoped prestart", service.deploy: "its deploy hook"}
    return beside.get(ending.unit, "it")


def _own_end(detail: UnitDetail, who: str) -> Reason | None:
    """How the main process ended on its own account, if it did badly."""
    status = detail.exec_main_status
    if detail.exec_main_code == _CLD_EXITED and status:
        if status in (127, 203):
            return Reason(kind=Why.EXECUTABLE, text=f"its program was not found or cannot be run (status {status})", status=status)
        if status in SETUP:
            return Reason(kind=Why.SETUP, text=f"{SETUP[status]} (status {status})", status=status)
        return Reason(kind=Why.EXITED, text=f"{who} exited with status {status}", status=status)
    if detail.exec_main_code in (_CLD_KILLED, _CLD_DUMPED):
        return Reason(kind=Why.SIGNAL, text=f"{who} was killed by {signal_name(status)}", status=status)
    return None


def _warnings(ending: Ending, records: Sequence[HookResult]) -> tuple[Reason, ...]:
    service = ending.service
    failed = {
        f"{item.phase}/{item.name}": item
        for item in records
        if item.status and item.unit in (service.main, service.ready, service.prestart, service.deploy) and _severity(service.hooks, item) == "warn"
    }
    found = [Reason(kind=Why.HOOK, text=hook_text(item), unit=item.unit, hook=name, status=item.status) for name, item in failed.items()]
    if ending.status is Status.HEALTHY and ending.started and ending.detail:
        seen = {(item.phase, item.name) for item in records if item.invocation == ending.detail.invocation}
        found += [
            Reason(kind=Why.UNKNOWN, text=f"hook {hook.phase}/{hook.name} left no record", unit=hook.unit, hook=f"{hook.phase}/{hook.name}")
            for hook in service.hooks
            if hook.unit == service.main and hook.phase in ("prestart", "poststart") and (hook.phase, hook.name) not in seen
        ]
    return tuple(found)


def _failed_reload(service: ServiceUnits, records: Sequence[HookResult]) -> Reason | None:
    runs = [item for item in records if item.unit == service.main and item.phase == "reload"]
    for item in reversed(runs):
        if item.status:
            text = f"{hook_text(item)}; the old configuration stays in force"
            return Reason(kind=Why.HOOK, text=text, unit=item.unit, hook=f"{item.phase}/{item.name}", status=item.status)
        break
    return None


def _blocked(ending: Ending, judged: Mapping[str, ServiceVerdict]) -> tuple[Reason, ...]:
    """What it waits for, then what is wrong with that, to the root."""
    other = judged.get(ending.blocked_by)
    if other is None:
        text = f"it waits for {ending.service.called(ending.blocked_by)}, which {_state_words(ending.blocker)}"
        return (Reason(kind=Why.DEPENDENCY, text=text, unit=ending.blocked_by),)
    words = "failed" if other.status is Status.FAILED else f"is {other.status}"
    if other.role is Role.POSTSTART_TASK:
        return (Reason(kind=Why.DEPENDENCY, text=f"its group ended, for {other.service} failed", unit=other.unit),)
    reason = Reason(kind=Why.DEPENDENCY, text=f"it waits for {other.service}, which {words}", unit=other.unit)
    if other.status is Status.MASKED:
        return (reason,)
    return (reason, *(replace(item, lines=()) for item in other.reasons))


def _state_words(state: UnitState | None) -> str:
    if state and state.load in ("masked", "not-found"):
        return "is masked" if state.load == "masked" else "does not exist"
    return "failed" if state and state.active == "failed" else "is not up"


def gone_warnings(records: Iterable[HookResult], units: Iterable[str]) -> tuple[Reason, ...]:
    """Stop hooks that failed of units that went away."""
    names = set(units)
    return tuple(
        Reason(kind=Why.HOOK, text=hook_text(item), unit=item.unit, hook=f"{item.phase}/{item.name}", status=item.status)
        for item in records
        if item.status and item.unit in names
    )


def _severity(hooks: Sequence[HookName], record: HookResult) -> str:
    for hook in hooks:
        if (hook.unit, hook.phase, hook.name) == (record.unit, record.phase, record.name):
            return hook.on_failure
    return "fail"


def hook_text(record: HookResult) -> str:
    """`hook prestart/migrate exited with status 3`."""
    if record.phase == LIVENESS:
        return f"liveness: {record.text}"
    name = f"hook {record.phase}/{record.name}" if record.phase != _INSTALL else "install"
    return f"{name} {end_text(record)}"


def end_text(record: HookResult) -> str:
    """`exited with status 3`."""
    if record.status == 124:
        return "ran into its timeout"
    if 128 < record.status < 128 + signal.NSIG:
        return f"was killed by {signal_name(record.status - 128)}"
    return f"exited with status {record.status}"


def sentence(item: ServiceVerdict) -> str:
    """`cannot start shop-web: hook prestart/migrate exited with status 3 (given up after 5 failed starts)`."""
    chain = ": ".join(reason.text for reason in item.reasons if reason.kind not in _ASIDE)
    aside = "".join(f" ({reason.text})" for reason in item.reasons if reason.kind in _ASIDE)
    return ": ".join(part for part in (item.headline, chain) if part) + aside


def stem(unit: str) -> str:
    return unit.removesuffix(".service")
