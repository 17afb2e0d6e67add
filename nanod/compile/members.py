"""A service to its members: one, or those of a group (several mains, instances, tasks), each with its own unit and its place among the others.

Up to a group's end its units need one another only in ways that pass no crash on (SYSTEMD tried on 252 and 257):

- a main Requires= the companion and the prestart tasks, and only Wants= the rest; everything but the mains is StopWhenUnneeded=, so it comes up
  with the first main, outlives crashes and restarts of each, and goes when no main is left, whatever ended the last one;
- After= puts companion, poststop tasks, prestart sidecars, prestart tasks, mains in this order up, and in the reverse one down; what stands after
  the mains has a condition of its own, so that it does not run beside a group that failed to start;
- the companion's runtime directory is there while it is up: a condition for whoever could otherwise come up after it failed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanod.spec.model import ProbeKind, Sandbox
from nanod.units.names import COLOURS, GROUP
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanod.compile.part import App
    from nanod.diagnostics import Mark
    from nanod.spec.model import Command, Health, Service, Task
    from nanod.units.names import MemberNames

AROUND = {Role.GROUP: ("install", "deploy", "prestart", "poststop"), Role.ALL: ("poststart", "ready", "post_deploy", "reload", "prestop")}
"""With several mains: whose lines the hooks of the service itself are."""
PARTS = "parts:"
"""Before a companion's name, in what is waited for: all that is part of it."""
GROUPS = "nanod/groups"
"""Below /run: a directory for each companion that is up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """`service` holds the keys that the member runs with; `whole` is the service of the spec. Units are named, `rows` are members by their row."""

    row: str
    role: Role
    service: Service
    whole: Service
    names: MemberNames
    task: Task | None = None
    replica: int = 0
    """From 1; 0 where the service is not replicated."""
    colour: str = ""
    """Of a service that changes between two units."""
    is_grouped: bool = False
    requires: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    """Wanted, and stood after."""
    pulls: tuple[str, ...] = ()
    """Wanted, and standing after this one, or nowhere."""
    after: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()
    condition: str = ""
    """A path that must exist for it to start."""
    mains: tuple[str, ...] = ()
    """The mains that it stands after, waits for or looks at."""
    first: tuple[str, ...] = ()
    """Of a poststop task: the prestart tasks of its scope, whose failure is how the group ended, too."""
    companion: str = ""
    awaits: tuple[str, ...] = ()
    """What a main waits for to be up and does not require, so that no restart of it is passed on: prestart sidecars, tasks of all instances."""
    needs: tuple[str, ...] = ()
    """Rows of the members that it does not come up without."""

    @property
    def is_main(self) -> bool:
        return self.role is Role.MAIN

    @property
    def runs_on(self) -> bool:
        """Whether it has a process that stays."""
        return self.role in (Role.MAIN, Role.PRESTART_SIDECAR, Role.POSTSTART_SIDECAR)

    @property
    def is_limited(self) -> bool:
        """Whether it gives up after some failed starts. A sidecar is there as long as its group is, unless its task says when to give up."""
        return self.is_main or (self.runs_on and (self.service.at.written("restart", "limit") or self.service.at.written("restart", "window")))

    @property
    def on_failure(self) -> Command | None:
        """What is run when it has given up. A process or a sidecar has none of its own: that of its service."""
        return (self.service.on_failure or self.whole.on_failure) if self.runs_on else None

    @property
    def is_first(self) -> bool:
        """What all instances share is compiled with the first."""
        return self.replica <= 1

    def run_dir(self, app: str) -> str:
        """Below /run; one for a group, or for each instance of one."""
        own = self.colour or self.replica
        return f"{app}/{self.whole.name}/{own}" if own else f"{app}/{self.whole.name}"

    @property
    def is_shared(self) -> bool:
        """A prestart task of all instances: they wait for it, and its restart is not theirs."""
        return self.role is Role.PRESTART_TASK and self.whole.replicas is not None and not self.replica

    @property
    def owns_run_dir(self) -> bool:
        """Whether it goes with this member."""
        return not self.companion or self.role is Role.GROUP

    @property
    def at(self) -> Mark:
        return self.task.at() if self.task else self.service.at()


def is_group(service: Service) -> bool:
    return bool(service.tasks or service.processes or service.replicas is not None or is_coloured(service))


def is_coloured(service: Service) -> bool:
    """Whether each change of it starts a second unit beside the first (`strategy: blue-green`)."""
    return service.rolling is not None and service.rolling.strategy == "blue-green"


def is_proxied(service: Service) -> bool:
    """Whether it takes no descriptors. The loader has seen to it that all of a service's sockets go one way."""
    return any(socket.via == "proxy" for socket in service.sockets)


def has_all(service: Service) -> bool:
    """Whether the service's own unit stands for several mains."""
    return bool(service.processes) or service.replicas is not None or is_coloured(service)


def members(app: App, service: Service) -> list[Member]:
    """In start order; the mains after what they need, the one that stands for all of them last."""
    if not is_group(service):
        return [Member(row=service.name, role=Role.MAIN, service=service, whole=service, names=app.names.member(service.name))]
    return _Group(app, service).members()


def neutral(app: App, member: Member) -> Member:
    """The same in blue: what is done once for all colours knows nothing of them."""
    return _Group(app, member.whole).coloured(COLOURS[0]) if member.colour else member


@dataclass(slots=True)
class _Group:
    app: App
    whole: Service

    def members(self) -> list[Member]:
        whole = self.whole
        numbers = range(1, whole.replicas + 1) if whole.replicas is not None else (0,)
        shared = tuple(task for task in whole.tasks if task.per_group) if whole.replicas is not None else ()
        own = tuple(task for task in whole.tasks if task not in shared)
        mains = {number: self._mains(number) for number in numbers}
        every = [item for number in numbers for item in mains[number]]
        around = self._around(shared, 0, every) if shared else []
        once = [item for item in around if item.role is Role.PRESTART_TASK]
        found = [*around]
        for number in numbers:
            mine = self._around(own, number, mains[number], once) if own or whole.processes else []
            found += [*mine, *(self._among(main, [*around, *mine]) for main in mains[number])]
        if has_all(whole):
            found.append(self._all(every))
        return sorted(found, key=_rank)

    def _mains(self, number: int) -> list[Member]:
        if is_coloured(self.whole):
            return [self.coloured(self.app.target.colours.get(self.whole.name, COLOURS[0]))]
        tasks = self.whole.processes or (None,)
        return [self._member(Role.MAIN, self._keys(task, number), number, task) for task in tasks]

    def coloured(self, colour: str) -> Member:
        """The main in one colour; green has the ports after blue's."""
        return replace(self._member(Role.MAIN, self._keys(None, COLOURS.index(colour) + 1), 0, part=colour), colour=colour)

    def _keys(self, task: Task | None, number: int) -> Service:
        """What a main, or a task, runs with: its own keys under the name of its service, whose user, cache and variables it shares."""
        keys = task.service if task else self.whole
        if keys is None:
            # A wait runs with what its service has, and as freely as it may.
            keys = replace(self.whole, health=None, hooks={}, provisioning=None, sandbox=Sandbox.OFF, systemd={}, credentials=())
        keys = replace(keys, name=self.whole.name)
        return _instance(keys, number) if number > 1 else keys

    def _member(self, role: Role, keys: Service, number: int, task: Task | None = None, part: str = "") -> Member:
        part = task.name if task else part
        suffix = f"@{number}" if number else ""
        return Member(
            row=f"{self.whole.name}{suffix}" + (f"/{part}" if part else ""),
            role=role,
            service=keys,
            whole=self.whole,
            names=self.app.names.member(self.whole.name, part, suffix),
            task=task,
            replica=number,
            is_grouped=True,
            part_of=(self.app.names.service(self.whole.name),) if has_all(self.whole) and role in (Role.MAIN, Role.GROUP) else (),
        )

    def _around(self, tasks: Sequence[Task], number: int, mains: Sequence[Member], once: Sequence[Member] = ()) -> list[Member]:
        """The companion and the tasks of one scope: of the group, or of one instance, after what is done `once` for all instances."""
        top = self._member(Role.GROUP, self._keys(None, number), number, part=GROUP)
        companion, main_units = top.names.main, tuple(main.names.main for main in mains)
        flag = f"{self.app.scope.run}/{GROUPS}/{companion.removesuffix('.service')}"

        def made(role: Role) -> list[Member]:
            found = [self._member(role, self._keys(task, number), number, task) for task in tasks if _role(task) is role]
            return [replace(item, companion=companion, mains=main_units, wants=self._earlier(item.task, item.names.suffix)) for item in found]

        # Each wants what it stands after, which is not unneeded, then, before this one is down. And what stays until the companion goes is part of
        # that one: a stop of all is one transaction, in order.
        ends = [
            replace(item, wants=(companion,), part_of=(companion,), condition=flag, first=_units(made(Role.PRESTART_TASK)))
            for item in made(Role.POSTSTOP_TASK)
        ]
        sides = [
            replace(item, wants=(companion, *_units(ends), *item.wants), part_of=(companion,), condition=flag) for item in made(Role.PRESTART_SIDECAR)
        ]
        first = [
            replace(
                item,
                requires=(companion,),
                wants=_units([*ends, *sides]),
                after=_units(once),
                awaits=(PARTS + companion,),
                needs=_rows([top, *sides, *once]),
            )
            for item in made(Role.PRESTART_TASK)
        ]
        last = [
            replace(item, wants=(companion, *_units(ends), *item.wants), after=main_units, condition=flag, needs=_rows(mains))
            for role in (Role.POSTSTART_TASK, Role.POSTSTART_SIDECAR)
            for item in made(role)
        ]
        return [replace(top, mains=main_units), *ends, *sides, *first, *last]

    def _earlier(self, task: Task | None, suffix: str) -> tuple[str, ...]:
        """Sidecars that it starts after; they stop after it because it wants them."""
        return tuple(self.app.names.member(self.whole.name, name, suffix).main for name in (task.after if task else ()))

    def _among(self, main: Member, around: Sequence[Member]) -> Member:
        """A main, and how it stands to those around it."""

        def of(*roles: Role) -> list[Member]:
            return [item for role in roles for item in around if item.role is role]

        tasks = of(Role.PRESTART_TASK)
        shared = [item for item in tasks if item.is_shared]
        own = [item for item in tasks if not item.is_shared]
        return replace(
            main,
            requires=_units([*of(Role.GROUP), *own]),
            wants=_units([*of(Role.POSTSTOP_TASK, Role.PRESTART_SIDECAR), *shared]),
            pulls=_units(of(Role.POSTSTART_TASK, Role.POSTSTART_SIDECAR)),
            companion=_units(of(Role.GROUP))[-1] if of(Role.GROUP) else "",
            awaits=(*(PARTS + name for name in _units(of(Role.GROUP))), *_units(shared)),
            needs=_rows(of(Role.GROUP, Role.PRESTART_SIDECAR, Role.PRESTART_TASK)),
        )

    def _all(self, mains: Sequence[Member]) -> Member:
        names = tuple(main.names.main for main in mains)
        # With several processes the hooks of the service are around all of them; otherwise they are those of each instance.
        whole = replace(self.whole, health=None, hooks=self.whole.hooks if self.whole.processes else {})
        own = Member(
            row=self.whole.name, role=Role.ALL, service=whole, whole=self.whole, names=self.app.names.member(self.whole.name), is_grouped=True
        )
        return replace(own, wants=names, mains=names, needs=tuple(main.row for main in mains))


def _units(members: Sequence[Member]) -> tuple[str, ...]:
    return tuple(item.names.main for item in members)


def _rows(members: Sequence[Member]) -> tuple[str, ...]:
    return tuple(item.row for item in members)


_ORDER = (Role.GROUP, Role.POSTSTOP_TASK, Role.PRESTART_SIDECAR, Role.PRESTART_TASK, Role.MAIN, Role.POSTSTART_TASK, Role.POSTSTART_SIDECAR, Role.ALL)


def _rank(member: Member) -> tuple[int, int]:
    """What is shared by all instances first, then instance by instance would be as good: by role keeps it the same for one and for many."""
    return _ORDER.index(member.role), member.replica


def _role(task: Task) -> Role:
    match task.hook, task.sidecar:
        case "prestart", True:
            return Role.PRESTART_SIDECAR
        case "prestart", False:
            return Role.PRESTART_TASK
        case "poststart", True:
            return Role.POSTSTART_SIDECAR
        case "poststart", False:
            return Role.POSTSTART_TASK
        case _:
            return Role.POSTSTOP_TASK


def _instance(keys: Service, number: int) -> Service:
    """Ports count up from instance to instance, and so does that of a probe of an own port."""
    ports = tuple(port + number - 1 for port in keys.ports)
    health = keys.health and _shifted(keys.health, number - 1)
    return replace(keys, ports=ports, health=health)


def _shifted(health: Health, by: int) -> Health:
    if not health.own_port or health.kind not in (ProbeKind.HTTP, ProbeKind.TCP, ProbeKind.GRPC):
        return health
    scheme, separator, rest = health.address.rpartition("://")
    host, slash, path = rest.partition("/")
    name, colon, port = host.rpartition(":")
    return replace(health, address=f"{scheme}{separator}{name}{colon}{int(port) + by}{slash}{path}")
