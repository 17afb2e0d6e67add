"""What a spec says, after merging, with defaults filled in: frozen values, each with its mark.

Every value has `at`: `item.at("stop", "timeout")` is the place of that key, or the nearest enclosing place when nobody wrote it;
`item.at.written("stop", "timeout")` tells a value that was written from a default.
Where the order of a spec means nothing to its units (environment, requires, `systemd:`), there is one order: moving lines about restarts nothing.
Paths are absolute and normalised. Numbers of time and size are `nanod.values`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.diagnostics import Mark
    from nanod.phases import Context, OnFailure, Scope
    from nanod.values import Size, TimeSpan


class Where(Protocol):
    """The places of a mapping's keys. `path` is the logical place, such as `services.web`."""

    @property
    def path(self) -> str: ...
    def __call__(self, *keys: str | int) -> Mark: ...
    def written(self, *keys: str | int) -> bool: ...


class Kind(StrEnum):
    NATIVE = "native"
    HTTP = "http"
    GRPC = "grpc"
    SCRIPT = "script"


class Condition(StrEnum):
    STARTED = "started"
    HEALTHY = "healthy"
    COMPLETED = "completed"


class ProbeKind(StrEnum):
    HTTP = "http"
    TCP = "tcp"
    UNIX = "unix"
    GRPC = "grpc"
    EXEC = "exec"
    FILE = "file"
    NOTIFY = "notify"


class RestartPolicy(StrEnum):
    NO = "no"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


class Sandbox(StrEnum):
    STRICT = "strict"
    DEFAULT = "default"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    at: Where = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Item):
    """`argv` is complete and run as it is; for text it is `shell` plus the text, and `text` is what the user wrote."""

    argv: tuple[str, ...]
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook(Item):
    phase: str
    name: str
    """As written, else the position in the phase from 1."""
    run: Command
    timeout: TimeSpan
    on_failure: OnFailure
    scope: Scope
    context: Context
    user: str | None = None
    """Another user than the service's, where the hook names one."""
    environment: Mapping[str, str] = field(default_factory=dict)
    irreversible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement(Item):
    """`target` is a service of this spec, with `app` one of that app (`shop/db`), or with `is_unit` a unit of the host such as `postgresql.service`.

    Of another app nothing is known here: where no `condition` was written it is HEALTHY, and means that its unit is up.
    """

    target: str
    condition: Condition
    app: str = ""
    is_unit: bool = False
    restart: bool = False
    required: bool = True

    @property
    def is_outer(self) -> bool:
        """Whether something else than this spec has it."""
        return self.is_unit or bool(self.app)

    @property
    def said(self) -> str:
        """The condition as it was written, "" where it was not."""
        return self.condition.value if self.at.written("condition") else ""

    @property
    def awaited(self) -> str:
        """The condition in a word for people."""
        return self.said or ("up" if self.app else self.condition.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness(Item):
    interval: TimeSpan
    failures: int
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(Item):
    """Exactly one probe. `address`: an http(s) URL, `host:port` (tcp, grpc), a path (unix, file), empty for exec and notify."""

    kind: ProbeKind
    address: str = ""
    own_port: bool = False
    """The port of `address` is one of the service's `ports`: instance n of a replicated service is probed at it + n - 1."""
    command: Command | None = None
    interval: TimeSpan
    timeout: TimeSpan
    start_timeout: TimeSpan
    liveness: Liveness | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioning(Item):
    """Host context means: as the service's user, outside the service's sandbox. `creates`, `inputs`: absolute; inputs may be missing."""

    install: Command
    creates: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    sandboxed: bool = False
    timeout: TimeSpan
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(Item):
    policy: RestartPolicy
    delay: TimeSpan
    limit: int
    window: TimeSpan


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Item):
    signal: str
    timeout: TimeSpan
    drain: TimeSpan
    ignore_hup: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources(Item):
    memory_max: Size | None = None
    memory_high: Size | None = None
    cpu_quota: str | None = None
    cpu_weight: int | None = None
    tasks_max: int | None = None
    io_weight: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential(Item):
    name: str
    file: str
    env: str | None = None
    encrypted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen(Item):
    """One entry of `sockets`. `listen`: `host:port`, a port alone, or an absolute path."""

    listen: str
    backlog: int
    via: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling(Item):
    strategy: str
    max_parallel: int
    min_healthy_time: TimeSpan


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(Item):
    calendar: str
    persistent: bool
    randomized_delay: TimeSpan
    timezone: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Build(Item):
    """`run`: what the runtime does in every release, before the build hook. `inputs`: patterns of gitignore(5), "!" excludes."""

    run: Command | None
    environment: Mapping[str, str]
    inputs: tuple[str, ...]
    keep: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Item):
    """A service-like unit tied to the lifecycle of its service (`hook` None: a further main of `processes`)."""

    name: str
    hook: str | None
    sidecar: bool
    wait_for: str | None
    timeout: TimeSpan | None
    on_failure: OnFailure
    per_group: bool
    service: Service | None
    """The task's own keys over what it inherits; None for `wait_for`."""
    after: tuple[str, ...] = ()
    """Of a sidecar that a feature adds: those of the features before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Item):
    name: str
    description: str | None
    kind: Kind
    runtime: str | None
    command: Command | None
    """None only where `processes` stands instead."""
    shell: tuple[str, ...]
    working_dir: str
    user: str
    """`root` by default, and where `dynamic_user` takes its place."""
    group: str | None
    dynamic_user: bool
    environment: Mapping[str, str]
    environment_files: tuple[str, ...]
    credentials: tuple[Credential, ...]
    requires: tuple[Requirement, ...]
    after: tuple[str, ...]
    """Names of services of this spec, or unit names."""
    ports: tuple[int, ...]
    sockets: tuple[Listen, ...]
    health: Health | None
    settle: TimeSpan
    volumes: tuple[str, ...]
    runtime_dir: bool
    provisioning: Provisioning | None
    hooks: Mapping[str, tuple[Hook, ...]]
    """By phase; a phase without hooks is absent."""
    processes: tuple[Task, ...]
    tasks: tuple[Task, ...]
    replicas: int | None
    rolling: Rolling | None
    restart: Restart
    stop: Stop
    on_failure: Command | None
    reload_on: tuple[str, ...]
    restart_on: tuple[str, ...]
    resources: Resources
    sandbox: Sandbox
    schedule: Schedule | None
    source: str | None
    build: Build | None
    """None where there is no `source`."""
    settings: Mapping[str, object]
    features: Mapping[str, object]
    systemd: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Section to key to values as written; one empty value resets."""
    replaced: frozenset[tuple[str, str]] = frozenset()
    """Sections and keys of `systemd` that were written as text: they replace nanod's own lines, where a list is added to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy(Item):
    targets: tuple[str, ...]
    path: str
    prepare: Command | None
    max_parallel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(Item):
    """`app` is the project, or `<project>-<env>`; `env` is None when unset (NANOD_ENV is `default` then).

    `file` is absolute, whatever marks call it, or `<stdin>`: it is what owns the app on a host.
    """

    file: str
    directory: str
    project: str
    env: str | None
    services: Mapping[str, Service]
    deploy: Deploy | None

    @property
    def app(self) -> str:
        return f"{self.project}-{self.env}" if self.env else self.project
