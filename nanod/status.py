"""How an app is now: unit states, records of hooks, and what differs from what nanod left there. Looks and never acts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from nanod.drift import of_files, of_loaded
from nanod.groups import replica
from nanod.recorded import service_units
from nanod.state import LIVENESS, RUN, UnitDetail, UnitState
from nanod.units.unitset import Role
from nanod.verdict import Ending, ServiceVerdict, Status, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nanod.drift import Drift
    from nanod.host import Journal, Store, Systemd
    from nanod.state import HookName, HookResult, Intent, Manifest
    from nanod.units.unitset import ServiceUnits


class Phase(StrEnum):
    """Where in its life a service is, in Mikros' words."""

    CONFIGURE = "configure"
    START = "start"
    RUN = "run"
    SHUTDOWN = "shutdown"


class Health(StrEnum):
    HEALTHY = "healthy"
    """Up, and its health gate has passed: systemd calls a unit active only after that."""
    FINISHED = "finished"
    """A script or task that ended well."""
    WAITING = "waiting"
    """A poststop task: runs when its group has ended. A scheduled script: runs when its time has come."""
    MASKED = "masked"
    DEGRADED = "degraded"
    """Runs, but not as the spec says: with the configuration of before its last reload, or with some of its mains."""
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    RESTARTING = "restarting"
    """It failed, and systemd will try again."""
    BLOCKED = "blocked"
    """It waits for a service that has failed."""
    FAILED = "failed"


_HOOK_LINES = 5
_AFTERWARDS = 50_000
"""Microseconds: what a hook prints goes to the journal another way than its record, and may come in after it."""
_GOOD = frozenset({Health.HEALTHY, Health.FINISHED, Health.WAITING, Health.MASKED})
"""A masked service is as the administrator wants it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookStatus:
    """The last run of a hook. `record` None: there is none, because it never ran or because the journal lost it; never "it went well"."""

    hook: HookName
    record: HookResult | None
    lines: tuple[str, ...] = ()
    """The last that its unit had printed when it failed; of the service's last failed hook alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """`verdict` has the reasons where the service is not healthy, and the warnings; `since`: microseconds since the epoch, 0 when it is not up."""

    name: str
    unit: str
    health: Health
    phase: Phase | None
    state: UnitState
    detail: UnitDetail
    probe: str
    verdict: ServiceVerdict
    hooks: tuple[HookStatus, ...]
    drift: tuple[Drift, ...]
    group: str = ""
    """The service of the spec, of a member of a group; "" for one that is a service by itself."""
    role: Role = Role.MAIN
    is_shared: bool = False
    up: int = 0
    """Of what stands for several mains: how many of these are well, of how many."""
    of: int = 0
    job: UnitState | None = None
    """Of a scheduled script, whose `unit` is the timer: the script's own unit."""
    socket: UnitState | None = None
    """What owns its addresses, which are `sockets`."""
    sockets: tuple[str, ...] = ()

    @property
    def service(self) -> str:
        return self.group or self.name

    @property
    def is_good(self) -> bool:
        return self.health in _GOOD

    @property
    def since(self) -> int:
        return self.detail.active_since if self.state.is_up else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppStatus:
    app: str
    spec: str
    env: str | None
    generation: int
    services: tuple[ServiceStatus, ...]
    drift: tuple[Drift, ...]
    """Of what belongs to no service: target and slice."""
    intent: Intent | None = None
    """The transaction that has begun and not ended."""
    is_under_way: bool = False
    """Somebody is at work on it; without that, the transaction was cut short."""

    @property
    def to_blame(self) -> list[ServiceStatus]:
        """What is not well, without those who are down because the mains of their group are."""
        down = {item.service for item in self.services if item.role is Role.MAIN and not item.is_good}
        return [item for item in self.services if not item.is_good and not (item.role.is_pulled and item.service in down)]

    @property
    def is_healthy(self) -> bool:
        """Of what a first apply that was cut short left, nothing is."""
        return all(item.is_good for item in self.services) and bool(self.services or self.intent is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What was asked once and is read for every service. `records`: of each hook the last run."""

    systemd: Systemd
    journal: Journal
    states: Mapping[str, UnitState]
    records: tuple[HookResult, ...]
    drift: Mapping[str, Drift]

    def detail(self, unit: str) -> UnitDetail:
        """One without a file has no details, and asking systemd would load it."""
        return self.systemd.detail(unit) if self.states[unit].load == "loaded" else UnitDetail(name=unit)


def look(
    manifest: Manifest, systemd: Systemd, journal: Journal, store: Store, *, intent: Intent | None = None, is_under_way: bool = False
) -> AppStatus:
    """One call for all states, one question to the journal and one for each failure; details are asked only of units that services are about."""
    states = systemd.states([*manifest.units, *outer_units(manifest)])
    drift = of_files(manifest, states, store.read_units(manifest.units), intent.files if intent else ())
    records = _latest(journal.hook_results(sorted(manifest.units)))
    seen = _Seen(systemd=systemd, journal=journal, states=states, records=records, drift=drift)
    endings: list[Ending] = []
    for name in manifest.services:  # in start order
        endings.append(_held_back(_ending(service_units(manifest, name), seen), endings, seen))
    lines = {
        item.unit: journal.last_lines(item.unit, invocation=item.detail.invocation if item.detail else "")
        for item in endings
        if item.status is Status.FAILED
    }
    judged = judge(manifest.app, endings, seen.records, lines)
    services = gathered([_service(ending, verdict, seen) for ending, verdict in zip(endings, judged.services, strict=True)])
    owned = {name for names in manifest.services.values() for name in names}
    rest = tuple(item for name, item in drift.items() if name not in owned)
    return AppStatus(
        app=manifest.app,
        spec=manifest.spec,
        env=manifest.env,
        generation=manifest.generation,
        services=services,
        drift=rest,
        intent=intent,
        is_under_way=is_under_way,
    )


def _ending(service: ServiceUnits, seen: _Seen) -> Ending:
    """What verdict needs to find reasons. A unit that keeps the main one down is the one to ask."""
    main, asked = seen.states[service.main], service.main
    if main.active == "inactive":
        asked = next((name for name in service.before if seen.states[name].active == "failed"), asked)
    if main.load == "masked":
        status = Status.MASKED
    elif seen.states[asked].active == "failed" or main.sub.startswith("auto-restart"):
        status = Status.FAILED
    else:
        status = Status.HEALTHY if main.is_up else Status.PENDING
    return Ending(service=service, status=status, unit=asked, detail=seen.detail(asked), touched=True)


def _held_back(ending: Ending, before: Iterable[Ending], seen: _Seen) -> Ending:
    """Its unit only says that it starts: whom it waits for in vain, the others tell."""
    if ending.status is not Status.PENDING:
        return ending
    down = (Status.FAILED, Status.BLOCKED, Status.MASKED)
    culprits = [item.service for item in before if item.service.name in ending.service.requires and item.status in down]
    if phase_of(ending.service, seen.states) is not Phase.START:
        # A main whose prestart task failed has not even begun (Requires=).
        culprits = [item for item in culprits if item.role.is_pulled and item.service == ending.service.service]
    elif not culprits and (outer := [need.unit for need in ending.service.outer if need.required and _keeps_down(seen.states[need.unit])]):
        return replace(ending, status=Status.BLOCKED, blocked_by=outer[0], blocker=seen.states[outer[0]])
    culprit = culprits[0].name if culprits else ""
    return replace(ending, status=Status.BLOCKED, blocked_by=culprit) if culprit else ending


def outer_units(manifest: Manifest) -> list[str]:
    """What stands for services of other apps that this one requires."""
    return sorted({need.unit for about in manifest.about.values() for need in about.outer})


def _keeps_down(state: UnitState) -> bool:
    """Not up, and not on its way either, or after a failure."""
    return not state.is_up and (not (state.job or state.active == "activating") or state.sub.startswith("auto-restart"))


def _service(ending: Ending, verdict: ServiceVerdict, seen: _Seen) -> ServiceStatus:
    service = ending.service
    main, detail = seen.states[service.main], seen.detail(service.main)
    found = [*(seen.drift[name] for name in _names(service) if name in seen.drift), *of_loaded(detail)]
    phase = phase_of(service, seen.states)
    if ending.status is Status.PENDING and phase is None and service.is_script and detail.exec_main_code and detail.result == "success":
        health = Health.FINISHED
    elif ending.status is Status.FAILED and main.sub.startswith("auto-restart"):
        health = Health.RESTARTING
    else:
        health = _health(verdict.status, phase)
    if service.role is Role.POSTSTOP_TASK and main.is_up:
        health = Health.WAITING
    hooks, job = _hooks(service, verdict, seen), None
    if service.job:
        job = seen.states[service.job]
        health, phase = _scheduled(health, job, hooks)
    socket = seen.states[service.socket] if service.socket else None
    if health is Health.HEALTHY and socket and not socket.is_up:
        # Nobody reaches it.
        health = Health.DEGRADED
    return ServiceStatus(
        name=service.name,
        unit=service.main,
        health=health,
        phase=phase,
        state=main,
        detail=detail,
        probe=service.health,
        verdict=verdict,
        hooks=hooks,
        drift=tuple(found),
        group=service.group,
        role=service.role,
        is_shared=service.is_shared,
        job=job,
        socket=socket,
        sockets=service.sockets,
    )


def _scheduled(health: Health, job: UnitState, hooks: Sequence[HookStatus]) -> tuple[Health, Phase | None]:
    """Of a scheduled script by that of its timer: one that works, and whose last run failed, is not well."""
    if health is not Health.HEALTHY:
        return health, None
    if phase := {"activating": Phase.START, "active": Phase.RUN, "deactivating": Phase.SHUTDOWN}.get(job.active):
        return health, phase
    run = next((hook.record for hook in hooks if hook.hook.phase == RUN), None)
    has_failed = bool(run.status) if run else job.active == "failed"
    return (Health.DEGRADED if has_failed else Health.WAITING), None


def gathered(services: Sequence[ServiceStatus]) -> tuple[ServiceStatus, ...]:
    """What a member of a group is by the mains around it: what stands for several is as they are, and what goes with a script has ended with it."""

    def seen(item: ServiceStatus) -> ServiceStatus:
        number = replica(item.name)
        mains = [main for main in services if main.role is Role.MAIN and main.group == item.group and number in (0, replica(main.name))]
        if item.role is Role.ALL and mains:
            up = sum(main.is_good for main in mains)
            worst = item if up == len(mains) and item.health not in (Health.FINISHED, Health.HEALTHY) else worst_of(mains)
            is_partly = 0 < up < len(mains) and worst.health in (Health.FAILED, Health.BLOCKED, Health.STOPPED)
            health, phase = (Health.DEGRADED, Phase.RUN) if is_partly else (worst.health, worst.phase)
            return replace(item, health=health, phase=phase, up=up, of=len(mains))
        if item.role.is_pulled and item.health is Health.STOPPED and mains and all(main.health is Health.FINISHED for main in mains):
            return replace(item, health=Health.FINISHED)
        return item

    return tuple(seen(item) if item.group else item for item in services)


def worst_of(mains: Sequence[ServiceStatus]) -> ServiceStatus:
    return min(mains, key=lambda main: _WORST.index(main.health))


_WORST = (
    *(Health.FAILED, Health.BLOCKED, Health.RESTARTING, Health.DEGRADED, Health.STOPPED, Health.STOPPING, Health.STARTING),
    *(Health.HEALTHY, Health.FINISHED, Health.MASKED, Health.WAITING),
)


def _hooks(service: ServiceUnits, verdict: ServiceVerdict, seen: _Seen) -> tuple[HookStatus, ...]:
    """With the last lines of the last one that failed, unless they are those of the service's own failure."""
    ran = {hook: _record(hook, seen.records) for hook in service.hooks}
    failed = max((record for record in ran.values() if record and record.status), key=lambda record: record.at, default=None)
    told = {reason.hook for reason in verdict.reasons if reason.lines}
    lines: tuple[str, ...] = ()
    if failed and f"{failed.phase}/{failed.name}" not in told:
        until = failed.at + _AFTERWARDS
        lines = tuple(seen.journal.last_lines(failed.unit, invocation=failed.invocation, count=_HOOK_LINES, until=until))
    # A liveness probe that never found anything has left no record, and that is well.
    return tuple(
        HookStatus(hook=hook, record=record, lines=lines if record is failed else ())
        for hook, record in ran.items()
        if record or hook.phase != LIVENESS
    )


def phase_of(service: ServiceUnits, states: Mapping[str, UnitState]) -> Phase | None:
    """None while nothing is under way: stopped, failed, finished."""
    if any(states[name].active == "activating" for name in service.before):
        return Phase.CONFIGURE
    match states[service.main].active:
        case "activating":
            return Phase.START
        case "active" | "reloading":
            return None if service.is_script and states[service.main].sub == "exited" else Phase.RUN
        case "deactivating":
            return Phase.SHUTDOWN
        case _:
            return Phase.START if states[service.main].job_type in ("start", "restart") else None


def _health(status: Status, phase: Phase | None) -> Health:
    match status:
        case Status.MASKED:
            return Health.MASKED
        case Status.FAILED:
            return Health.FAILED
        case Status.BLOCKED:
            return Health.BLOCKED
        case Status.DEGRADED:
            return Health.DEGRADED
        case Status.HEALTHY:
            return Health.HEALTHY if phase else Health.FINISHED
        case Status.PENDING:
            return {Phase.SHUTDOWN: Health.STOPPING, None: Health.STOPPED}.get(phase, Health.STARTING)


def _names(service: ServiceUnits) -> tuple[str, ...]:
    return tuple(service.units)


def _latest(records: Iterable[HookResult]) -> tuple[HookResult, ...]:
    """Of each hook the last run: what failed once and went well since is no news."""
    found: dict[tuple[str, str, str], HookResult] = {}
    for item in sorted(records, key=lambda item: item.at):
        found[item.unit, item.phase, item.name] = item
    return tuple(sorted(found.values(), key=lambda item: item.at))


def _record(hook: HookName, records: Iterable[HookResult]) -> HookResult | None:
    return next((item for item in records if (item.unit, item.phase, item.name) == (hook.unit, hook.phase, hook.name)), None)
