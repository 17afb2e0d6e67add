"""What the process of each service needs, and why: the decisions of a plan, before they become steps. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanod.across import guest, restarting_with
from nanod.changes import is_other
from nanod.listening import proxies, socket_costs
from nanod.state import UnitState
from nanod.steps import Again, Cause, CauseKind, Note, Reload, Restart, Start
from nanod.units.directives import Cost
from nanod.units.names import GROUP
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.changes import Comparison
    from nanod.state import Manifest, Snapshot
    from nanod.units.unitset import ServiceUnits, UnitSet

_MOVING = ("activating", "deactivating")
_NOT_RUNNING = UnitState(name="")
_JOB: dict[Cost, type[Reload | Restart | Start]] = {Cost.RELOAD: Reload, Cost.RESTART: Restart, Cost.STOP_FIRST: Start}


@dataclass(slots=True, kw_only=True)
class Planning:
    """One plan being made. `causes` are by unit, in the order they were found."""

    wanted: UnitSet
    manifest: Manifest | None
    snapshot: Snapshot
    compared: dict[str, Comparison]
    causes: dict[str, list[Cause]] = field(default_factory=dict)
    stop_before: set[str] = field(default_factory=set)
    process: dict[str, type[Reload | Restart | Start]] = field(default_factory=dict)
    prestarts: list[ServiceUnits] = field(default_factory=list)
    deploys: dict[str, ServiceUnits] = field(default_factory=dict)
    """Units of deploy hooks that are due, each with a service whose start runs it."""
    again: Again = Again.NOTHING
    anew: set[str] = field(default_factory=set)
    """Companions whose groups restart whole."""
    held: set[str] = field(default_factory=set)
    """Mains behind a socket that is open all the while."""
    late: set[str] = field(default_factory=set)
    """Units that go when the colour after theirs is healthy."""
    turning: set[str] = field(default_factory=set)
    """Mains that take the place of another colour."""
    because_of: Mapping[str, tuple[Cause, ...]] = field(default_factory=dict)
    """Why a service has another colour now."""
    notes: list[Note] = field(default_factory=list)
    others: Mapping[str, Manifest] = field(default_factory=dict)
    """The host's other apps."""
    guests: dict[str, ServiceUnits] = field(default_factory=dict)
    """Mains of these that run, and that systemd stops and restarts with a service of this app, by unit."""
    members: dict[str, ServiceUnits] = field(init=False)

    def __post_init__(self) -> None:
        self.members = {item.name: item for item in self.wanted.services}

    def state(self, name: str) -> UnitState:
        return self.snapshot.units.get(name, _NOT_RUNNING)

    def is_masked(self, name: str) -> bool:
        """An empty regular file masks too, but it is what a power cut leaves of an unsynced write (systemd#4436), and is repaired."""
        return name in self.snapshot.masked and self.snapshot.files.get(name) != ""

    def because(self, unit: str, *causes: Cause) -> None:
        self.causes.setdefault(unit, []).extend(causes)

    def why(self, unit: str) -> tuple[Cause, ...]:
        return tuple(dict.fromkeys(self.causes.get(unit, ())))

    def member(self, name: str) -> ServiceUnits | None:
        """A service or member of the app by its name; None for a unit of the host."""
        return self.members.get(name)

    def after(self) -> dict[str, list[str]]:
        """Main units in start order, with the other main units of the app that they stand after."""
        known = {service.main for service in self.wanted.services}
        words = {service.main: self.compared[service.main].file.values("Unit", "After") for service in self.wanted.services}
        found = {name: [other for line in lines for other in line.split() if other in known] for name, lines in words.items()}
        return found | {unit: [self.members[name].main for name in item.requires] for unit, item in self.guests.items()}


def decide(making: Planning) -> None:
    for name, item in making.compared.items():
        making.because(name, *item.causes)
    sockets = socket_costs(making)
    for service in making.wanted.services:
        _service(making, service, sockets.get(service.main, Cost.NOTHING))
    for service in making.wanted.services:
        if service.role.is_pulled:
            _pulled(making, service)
    for service in making.wanted.services:
        if service.role is Role.ALL:
            _all(making, service)
    _guests(making)
    _dependents_stop_first(making)
    for service in making.wanted.services:
        _liveness(making, service)
        proxies(making, service)
    _target(making)


def _service(making: Planning, service: ServiceUnits, socket: Cost) -> None:
    """Services come in start order, so what a restart takes along is known when its turn comes. `socket`: what its socket asks of it."""
    main = making.compared[service.main]
    if making.is_masked(service.main):
        making.notes.append(Note(kind="masked", subject=service.main, text="is masked: left alone"))
        return
    if service.role.is_pulled:
        return
    beside = max(_from_beside(making, service, main.cost), _from_deploy(making, service, main.cost), _from_group(making, service))
    asked = max(_from_watched(making, service), _from_settings(making, service, main.cost), _from_dependencies(making, service))
    cost = max(main.cost, beside, asked, socket)
    if service.rolling or service.main in making.held:
        # Stopped first, all instances would be down together, and what is behind an open socket would come up again; so the new stop hooks end the
        # old process.
        cost = min(cost, Cost.RESTART)
    if service.prestart and making.compared[service.prestart].causes and service.prestart not in [item.prestart for item in making.prestarts]:
        making.prestarts.append(service)
    if service.job and making.compared[service.job].cost is Cost.STOP_FIRST and making.state(service.job).active != "inactive":
        # It ran on until now, as a service that is no script or has no schedule.
        making.stop_before.add(service.job)
    for name in (service.provision, service.prestart):
        if name and making.state(name).active in _MOVING and making.compared[name].writes:
            making.stop_before.add(name)
    _process(making, service, main, cost)


def _process(making: Planning, service: ServiceUnits, main: Comparison, cost: Cost) -> None:
    state, is_held = making.state(service.main), service.main in making.held
    retries = state.sub.startswith("auto-restart")
    if state.is_up:
        if cost is Cost.STOP_FIRST:
            making.stop_before.add(service.main)
        if cost >= Cost.RELOAD:
            making.process[service.main] = _JOB[cost]
        return
    if is_held and main.writes:
        # A connection may start it before the new file is there.
        making.process[service.main] = Restart
    elif state.active in _MOVING and main.writes:
        making.stop_before.add(service.main)
        making.process[service.main] = Start
    elif state.active in _MOVING and not retries:
        # A reload job on a unit that is not active yet would be refused.
        if cost >= Cost.RELOAD:
            making.process[service.main] = Restart
    elif cost >= Cost.RESTART or not _has_ended(making, service, state):
        making.process[service.main] = Start
    if making.process.get(service.main) is Start and not main.is_new:
        text = "not running (it failed)" if state.active == "failed" or retries else "not running"
        making.because(service.main, Cause(kind=CauseKind.NOT_RUNNING, text=text))


def _has_ended(making: Planning, service: ServiceUnits, state: UnitState) -> bool:
    """A script that ran to its end: the record says that it was started. A record made anew from unit files knows nothing of that."""
    recorded = making.manifest is not None and service.name in making.manifest.about
    return service.is_script and not service.stays and recorded and state.active == "inactive"


def _from_beside(making: Planning, service: ServiceUnits, main_cost: Cost) -> Cost:
    """What changes of provisioning and deploy-scoped prestart ask of the service. If it restarts for its own sake, they run anyway."""
    found = Cost.NOTHING
    for name, kind, words in (
        (service.provision, CauseKind.PROVISION, "provisioning"),
        (service.prestart, CauseKind.PRESTART, "deploy-scoped prestart"),
    ):
        beside = making.compared[name] if name else None
        if beside and main_cost < Cost.RESTART <= beside.cost:
            subjects = ", ".join(cause.subject for cause in beside.causes if cause.cost is Cost.RESTART and cause.subject)
            text = f"{words} is new" if beside.is_new else f"{words} changed" + (f" ({subjects})" if subjects else "")
            making.because(service.main, Cause(kind=kind, text=text, subject=name or "", cost=Cost.RESTART, mark=beside.causes[0].mark))
            found = Cost.RESTART
    return found


def _from_deploy(making: Planning, service: ServiceUnits, main_cost: Cost) -> Cost:
    """A deployment that is due. Its hook runs between the old process and the new one, so that nobody is served in between."""
    item = making.compared[service.deploy] if service.deploy else None
    if item is None or (item.cost < Cost.RESTART and making.again is not Again.ALL):
        return Cost.NOTHING
    if making.is_masked(item.file.name):
        note = Note(kind="masked", subject=item.file.name, text="is masked: the deploy hook does not run")
        making.notes += [note] if note not in making.notes else []
        return Cost.NOTHING
    making.deploys.setdefault(service.deploy or "", service)
    if item.cost < Cost.RESTART:
        making.because(service.deploy or "", Cause(kind=CauseKind.DEPLOY, text="once more", cost=Cost.RESTART))
    if main_cost < Cost.RESTART:
        text = "its deploy hook is new" if item.is_new else "its deploy hook changed" if item.cost >= Cost.RESTART else "it is deployed once more"
        mark = item.causes[0].mark if item.causes else service.origin
        making.because(service.main, Cause(kind=CauseKind.DEPLOY, text=text, subject=service.deploy or "", cost=Cost.RESTART, mark=mark))
    return Cost.RESTART


def _from_group(making: Planning, service: ServiceUnits) -> Cost:
    """What is done before the mains of a group start is done again when it changed, and then they start after it."""
    found = Cost.NOTHING
    for name in service.requires:
        other = making.member(name)
        if other is None or other.role not in (Role.GROUP, Role.PRESTART_TASK):
            continue
        item = making.compared[other.main]
        if item.cost >= Cost.RESTART:
            if not other.is_shared:
                making.anew.add(other.companion)
            text = f"{name} is new" if item.is_new else f"{name} changed"
            mark = item.causes[0].mark if item.causes else None
            making.because(service.main, Cause(kind=CauseKind.TASK, text=text, subject=other.main, cost=Cost.RESTART, mark=mark))
            found = Cost.RESTART
    return found


def _pulled(making: Planning, service: ServiceUnits) -> None:
    """What comes up with the mains of its group and goes with them: restarted for its own sake, started where a main is there that it lacks."""
    item, state = making.compared[service.main], making.state(service.main)
    if making.is_masked(service.main):
        return
    mains = [other for other in making.wanted.services if other.group == service.group and other.role is Role.MAIN]
    if service.is_shared and item.cost >= Cost.RESTART and any(making.state(main.main).is_up for main in mains):
        making.prestarts.append(service)
        return
    if state.is_up:
        cost = max(item.cost, _from_settings(making, service, item.cost))
        if cost is Cost.STOP_FIRST and service.companion not in making.anew:
            making.stop_before.add(service.main)
        if cost >= Cost.RESTART:
            making.process[service.main] = Restart if service.companion in making.anew else _JOB[cost]
        return
    if not any(making.state(main.main).is_up or main.main in making.process for main in mains):
        return
    has_run = service.role is Role.POSTSTART_TASK and item.cost < Cost.RESTART and making.manifest is not None
    if state.active in _MOVING and item.writes:
        making.stop_before.add(service.main)
        making.process[service.main] = Start
    elif state.active not in _MOVING and not has_run:
        making.process[service.main] = Start
        if not item.is_new:
            making.because(service.main, Cause(kind=CauseKind.NOT_RUNNING, text="not running"))


def _liveness(making: Planning, service: ServiceUnits) -> None:
    """A start of the service brings its timer up. One that runs already has it from now on."""
    timer = service.alive_timer
    if timer is None or making.process.get(service.main) in (Restart, Start) or not making.state(service.main).is_up:
        return
    if not making.state(timer).is_up and not making.is_masked(timer):
        making.process[timer] = Start
        if not making.compared[timer].is_new:
            making.because(timer, Cause(kind=CauseKind.NOT_RUNNING, text="not running"))


def _all(making: Planning, service: ServiceUnits) -> None:
    """Where all mains restart with what is done before them, what stands for them does too: the hooks around all of them are its own."""
    companion = making.member(f"{service.group}/{GROUP}")
    is_replicated = any(other.rolling for other in making.wanted.services if other.group == service.group)
    if companion is None or companion.main not in making.anew or is_replicated:
        return
    if making.state(service.main).is_up and making.process.get(service.main) in (None, Reload):
        making.process[service.main] = Restart
        making.because(service.main, Cause(kind=CauseKind.TASK, text="all of its processes restart", subject=companion.main, cost=Cost.RESTART))


def _from_watched(making: Planning, service: ServiceUnits) -> Cost:
    """Files of reload_on and restart_on, against when the app last took them in; one that was not watched before has nothing to compare with."""
    seen = making.manifest.watched if making.manifest else {}
    found = Cost.NOTHING
    reload_cost = Cost.RELOAD if service.can_reload else Cost.RESTART
    for path, cost in (*((path, Cost.RESTART) for path in service.restart_on), *((path, reload_cost) for path in service.reload_on)):
        if is_other(seen.get(path), making.snapshot.digests.get(path, "")):
            making.because(service.main, Cause(kind=CauseKind.WATCHED, text=f"{path} changed", subject=path, cost=cost, mark=service.origin))
            found = max(found, cost)
    return found


def _from_settings(making: Planning, service: ServiceUnits, own: Cost) -> Cost:
    """Changed settings are taken in by a reload where the service has one. New ones, or none any more, change its own unit.

    A scheduled script reads them when it runs the next time.
    """
    item = making.compared[service.settings] if service.settings and service.role is not Role.TIMER else None
    if item is None or item.is_new or item.cost < Cost.RESTART or own >= Cost.RESTART:
        return Cost.NOTHING
    cost = Cost.RELOAD if service.can_reload else Cost.RESTART
    mark = next((cause.mark for cause in item.causes), None)
    making.because(service.main, Cause(kind=CauseKind.SETTINGS, text="its settings changed", subject=service.settings or "", cost=cost, mark=mark))
    return cost


def _from_dependencies(making: Planning, service: ServiceUnits) -> Cost:
    found = Cost.NOTHING
    for name in service.restarts_with:
        if other := restarting(making, name):
            text = f"{name} restarts, and this one with it"
            making.because(service.main, Cause(kind=CauseKind.DEPENDENCY, text=text, subject=other, cost=Cost.RESTART, mark=service.origin))
            found = Cost.RESTART
    return found


def _guests(making: Planning) -> None:
    """A stop of what they require takes them along, and only a restart in one job would bring them back (PartOf=)."""
    own = {service.main: service.name for service in making.wanted.services}
    for item in restarting_with(making.wanted.app, making.others):
        if not making.state(item.unit).is_up:
            continue
        making.guests[item.unit] = guest(item, making.others[item.app], own)
        if other := restarting(making, item.need.service):
            text = f"{item.need.name} restarts, and this one with it"
            making.because(item.unit, Cause(kind=CauseKind.DEPENDENCY, text=text, subject=other, cost=Cost.RESTART))
            making.process[item.unit] = Restart


def restarting(making: Planning, name: str) -> str:
    """The unit of a service that restarts, or of the first of its mains that does; "" while none does."""
    mains = [other.main for other in making.wanted.services if other.service == name and other.role in (Role.MAIN, Role.ALL)]
    return next((unit for unit in mains if making.process.get(unit) in (Restart, Start) and making.state(unit).is_up), "")


def rolls(making: Planning, service: ServiceUnits) -> bool:
    """Whether an instance restarts in its turn. It does not where systemd restarts all of them with what they require (`restart: true`)."""
    return service.rolling is not None and not any(restarting(making, name) for name in service.restarts_with)


def _dependents_stop_first(making: Planning) -> None:
    """Who restarts, and stands after a unit that is stopped before the install, stops before that one does."""
    rolled = {service.main: service for service in making.wanted.services if service.rolling}
    for name, others in making.after().items():
        held = [other for other in others if other in making.stop_before]
        if name in making.held or (name in rolled and rolls(making, rolled[name])):
            continue
        if held and making.process.get(name) is Restart:
            making.stop_before.add(name)
            making.process[name] = Start
            making.because(name, Cause(kind=CauseKind.ORDER, text=f"{held[0]} stops, and this one before it", subject=held[0]))


def _target(making: Planning) -> None:
    target = making.compared[making.wanted.target]
    name = target.file.name
    if making.is_masked(name):
        making.notes.append(Note(kind="masked", subject=name, text="is masked: the app will not start at boot"))
    elif making.state(name).active != "active":
        if not target.is_new:
            making.because(name, Cause(kind=CauseKind.NOT_RUNNING, text="not running"))
        making.process[name] = Start
