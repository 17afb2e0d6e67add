"""What compiling yields: unit files, and what the plan needs to know about them that a unit file does not say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from nanod.scope import SYSTEM
from nanod.state import ServiceRecord
from nanod.units.names import COLOURS
from nanod.units.unitfile import parse

if TYPE_CHECKING:
    from nanod.diagnostics import Mark
    from nanod.scope import RuntimeScope
    from nanod.state import HookName, OuterNeed
    from nanod.units.unitfile import UnitFile
    from nanod.values import TimeSpan


class Role(StrEnum):
    TARGET = "target"
    SLICE = "slice"
    MAIN = "main"
    PROVISION = "provision"
    PRESTART = "prestart"
    """Deploy-scoped prestart hooks: started alone after the daemon-reload, before the main is touched."""
    BUILD = "build"
    """Builds a release; never installed."""
    DEPLOY = "deploy"
    """The deploy hook: wanted by the mains, and run once per deployment, before these start."""
    POST_DEPLOY = "post-deploy"
    READY = "ready"
    FAILURE = "failure"
    TIMER = "timer"
    """Runs a scheduled script, and is what apply starts."""
    JOB = "job"
    """The scheduled script itself: only its timer starts it, or a person."""
    REARM = "rearm"
    """Lets a timer that is not persistent count from its start."""
    ALIVE = "alive"
    """The liveness probe of a service, and what starts it."""
    ALIVE_TIMER = "alive-timer"
    SOCKET = "socket"
    """Owns the addresses of a service, and holds connections while nobody takes them."""
    PROXY = "proxy"
    """Takes them for a service that takes no descriptors."""
    SETTINGS = "settings"
    """No unit: the file that a service's settings are rendered to."""
    ALL = "all"
    """Stands for all mains of a service that has several: `systemctl restart shop-web` restarts them."""
    GROUP = "group"
    """The companion: up as long as a main of the group, before all others and after them."""
    PRESTART_TASK = "prestart-task"
    PRESTART_SIDECAR = "prestart-sidecar"
    POSTSTART_TASK = "poststart-task"
    POSTSTART_SIDECAR = "poststart-sidecar"
    POSTSTOP_TASK = "poststop-task"
    """Active while the group is up; its stop is what runs the task."""

    @property
    def is_pulled(self) -> bool:
        """Of a member that the mains of its group bring up with them, and that goes when the last of these has gone (StopWhenUnneeded=)."""
        return self in _PULLED


_PULLED = frozenset({Role.GROUP, Role.PRESTART_TASK, Role.PRESTART_SIDECAR, Role.POSTSTART_TASK, Role.POSTSTART_SIDECAR, Role.POSTSTOP_TASK})


def role_of(text: str) -> Role | None:
    """What a unit file was made as; None when it is not nanod's."""
    said = [value for section, key, value in parse(text) if (section, key) == ("X-Nanod", "Role")]
    return next((role for role in Role if [role.value] == said), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """How a change reaches the instances of a service: so many at once, the next when these have been healthy for so long."""

    max_parallel: int
    min_healthy_usec: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A volume: made when missing, as `user`:`group`, mode 0755. A dynamic user's volume is not here, systemd makes it (StateDirectory=)."""

    path: str
    user: str
    group: str | None
    origin: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUnits:
    """One service of the app, or one member of a service that has several: its units by role, and what plan, verdict and status ask about it.

    Names: `web`; its second instance `web@2`; a process or task of it `web/api`, of an instance `web@2/api`; its companion `web/group`.
    """

    name: str
    group: str = ""
    """The service of the spec that it belongs to; "" for one that is a service by itself."""
    role: Role = Role.MAIN
    """What its own unit, `main`, is."""
    companion: str = ""
    """Unit of the companion in whose scope it is, or that it is."""
    is_shared: bool = False
    """A prestart task that all instances wait for and none goes down with."""
    main: str
    """Its own unit, which apply starts and which is up while all is well; of a scheduled script the timer."""
    job: str | None = None
    """Of a scheduled script: what the timer starts."""
    rearm: str | None = None
    provision: str | None = None
    prestart: str | None = None
    deploy: str | None = None
    post_deploy: str | None = None
    ready: str | None = None
    failure: str | None = None
    alive: str | None = None
    alive_timer: str | None = None
    settings: str | None = None
    socket: str | None = None
    proxy: str | None = None
    sockets: tuple[str, ...] = ()
    """The addresses that its socket owns."""
    switch_usec: int = 0
    """Of a colour: for how long it must be healthy before the old one stops."""
    requires: tuple[str, ...] = ()
    """Services of this app, and units of others and of the host, that it waits for at start and does not start without."""
    restarts_with: tuple[str, ...] = ()
    """Services of this app whose restart by `apply` restarts this one too (`requires: {db: {restart: true}}`)."""
    outer: tuple[OuterNeed, ...] = ()
    """What it requires of other apps, waited for or not."""
    is_script: bool = False
    """Runs to its end: apply waits for it, and its exit code is the result."""
    stays: bool = False
    """A script that somebody's `completed` waits for: remains active after it ended."""
    health: str = ""
    """The probe in words (`tcp 127.0.0.1:6379`), "" without a gate."""
    settle: TimeSpan
    restart_limit: int = 5
    """After so many failed starts apply gives up on it, as systemd does within the window."""
    reload_on: tuple[str, ...] = ()
    restart_on: tuple[str, ...] = ()
    can_reload: bool = False
    hooks: tuple[HookName, ...] = ()
    rolling: Rolling | None = None
    """Of an instance: how a restart of it and its siblings is spread."""
    origin: Mark

    @property
    def service(self) -> str:
        """The service of the spec that it is, or belongs to."""
        return self.group or self.name

    def called(self, requirement: str) -> str:
        """What people call one of `requires`: a unit of another app is `shop/db`."""
        return next((need.name for need in self.outer if need.unit == requirement), requirement)

    @property
    def colour(self) -> str:
        """Of a service that changes colour with each change; "" for any other."""
        part = self.name.partition("/")[2]
        return part if part in COLOURS and self.role is Role.MAIN else ""

    @property
    def tries(self) -> int:
        """How many failed starts apply waits for: behind a socket one less than systemd allows, which closes the port after the last."""
        return max(0, self.restart_limit - 1) if self.socket else self.restart_limit

    @property
    def before(self) -> tuple[str, ...]:
        """What is up or done before it starts, and may keep it from that: its socket, its install, the hooks of a deployment."""
        return tuple(name for name in (self.socket, self.provision, self.deploy, self.prestart) if name)

    @property
    def units(self) -> dict[str, Role]:
        """Every unit of it, the main one first."""
        named = (
            *(
                (self.main, self.role),
                (self.job, Role.JOB),
                (self.rearm, Role.REARM),
                (self.provision, Role.PROVISION),
                (self.prestart, Role.PRESTART),
            ),
            *((self.deploy, Role.DEPLOY), (self.post_deploy, Role.POST_DEPLOY)),
            *((self.ready, Role.READY), (self.failure, Role.FAILURE), (self.alive, Role.ALIVE), (self.alive_timer, Role.ALIVE_TIMER)),
            *((self.settings, Role.SETTINGS), (self.proxy, Role.PROXY), (self.socket, Role.SOCKET)),
        )
        return {unit: role for unit, role in named if unit}

    @property
    def record(self) -> ServiceRecord:
        return ServiceRecord(
            health=self.health,
            is_script=self.is_script,
            hooks=self.hooks,
            requires=self.requires,
            restarts_with=self.restarts_with,
            outer=self.outer,
            stays=self.stays,
            settle_usec=self.settle.usec,
            restart_limit=self.restart_limit,
            reload_on=self.reload_on,
            restart_on=self.restart_on,
            can_reload=self.can_reload,
            sockets=self.sockets,
            group=self.group,
            companion=self.companion,
            is_shared=self.is_shared,
            roles={unit: role.value for unit, role in self.units.items()},
            max_parallel=self.rolling.max_parallel if self.rolling else 0,
            min_healthy_usec=self.rolling.min_healthy_usec if self.rolling else self.switch_usec,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a service runs from: the files of `source` that `inputs` name, and what its build makes of them, in `path`. `digest` is of those files."""

    service: str
    name: str
    path: str
    source: str
    inputs: tuple[str, ...]
    digest: str
    user: str | None
    """Whose its files are; None for a dynamic user: root's, and everybody may read them."""
    group: str | None
    keep: int
    build: UnitFile | None
    origin: Mark
    cache: str = SYSTEM.cache

    @property
    def caches(self) -> list[str]:
        """What its build keeps for the next one. For a dynamic user a link into `private` stands at the path (systemd.exec(5), DynamicUser=)."""
        parents = ("",) if self.user else ("", "private/")
        words = [word for text in self.build.values("Service", "CacheDirectory") for word in text.split()] if self.build else []
        return [f"{self.cache}/{parent}{word}" for word in words for parent in parents]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """What `service` requires of another app, with the place that says so."""

    service: str
    need: OuterNeed
    origin: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSet:
    """A compiled app. `units` are sorted by name; `services` stand in start order (a service after all that it requires)."""

    app: str
    spec_file: str
    env: str | None
    target: str
    slice: str
    units: tuple[UnitFile, ...]
    services: tuple[ServiceUnits, ...]
    directories: tuple[Directory, ...]
    users: tuple[tuple[str, Mark], ...]
    """Users that must exist on the host, with the place that names them."""
    files: tuple[tuple[str, Mark], ...]
    """Files that must exist on the host when applied (credentials, environment files), with the place that names them."""
    host_units: tuple[tuple[str, Mark], ...]
    """Units of the host that must exist."""
    outer: tuple[Outer, ...] = ()
    """What must be there of other apps."""
    releases: tuple[Release, ...] = ()
    """What must have been made before any of the units can run."""
    scope: RuntimeScope = SYSTEM

    @property
    def links(self) -> dict[str, str]:
        """Enablement links that the [Install] sections ask for: path below the unit directory to a link target that holds in any `--root`."""
        return {
            f"{wanting}.wants/{unit.name}": f"../{unit.name}"
            for unit in self.units
            for text in unit.values("Install", "WantedBy")
            for wanting in text.split()
        }

    def unit(self, name: str) -> UnitFile:
        """Raises KeyError for a name that is not of this app."""
        for item in self.units:
            if item.name == name:
                return item
        raise KeyError(name)
