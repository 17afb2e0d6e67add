"""Plain values of the world as observed and as recorded; nothing here looks or acts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanod.scope import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.scope import RuntimeScope


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitState:
    """What PID 1 says of a unit (org.freedesktop.systemd1(5)). `job` is 0 when none is queued."""

    name: str
    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    job: int = 0
    job_type: str = ""

    @property
    def is_up(self) -> bool:
        return self.active in ("active", "reloading")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitDetail:
    """The properties that verdict and status need beyond the state; costs one D-Bus call a unit."""

    name: str
    result: str = "success"
    """Service `Result`: success, exit-code, signal, timeout, start-limit-hit, dependency …"""
    main_pid: int = 0
    exec_main_code: int = 0
    exec_main_status: int = 0
    invocation: str = ""
    drop_ins: tuple[str, ...] = ()
    need_daemon_reload: bool = False
    restarts: int = 0
    active_since: int = 0
    """Microseconds since the epoch; 0 when never."""
    condition_result: bool = True
    status_text: str = ""
    next_elapse: int = 0
    """Of a timer: when it runs next, microseconds since the epoch; 0 for never."""


RUN = "run"
"""Phase of the record that a run of a scheduled script leaves (`lib/ran`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookResult:
    """One record that a hook line wrote to the journal."""

    unit: str
    phase: str
    name: str
    status: int
    """Exit status of the hook; 124 when its timeout cut it."""
    invocation: str
    duration_ms: int
    at: int
    """Microseconds since the epoch, when it ended."""
    text: str = ""
    """Of a liveness probe that found the service sick: why, and what was done about it."""


LIVENESS = "liveness"
"""The phase of such records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookName:
    """A hook as status and history name it; `unit` is the unit whose line or job it is."""

    phase: str
    name: str
    unit: str
    on_failure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterNeed:
    """What a service requires of another app (`requires: [shop/db]`)."""

    app: str
    service: str
    unit: str
    """The one that stands for it there."""
    condition: str = ""
    """As it was written; "" where it was not, and then it is up when its unit is."""
    restart: bool = False
    required: bool = True

    @property
    def name(self) -> str:
        return f"{self.app}/{self.service}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRecord:
    """What unit files do not say of a service and plan, verdict and status ask; the names are those of `ServiceUnits`."""

    health: str = ""
    is_script: bool = False
    hooks: tuple[HookName, ...] = ()
    requires: tuple[str, ...] = ()
    restarts_with: tuple[str, ...] = ()
    outer: tuple[OuterNeed, ...] = ()
    stays: bool = False
    settle_usec: int = 0
    restart_limit: int = 5
    reload_on: tuple[str, ...] = ()
    restart_on: tuple[str, ...] = ()
    can_reload: bool = False
    sockets: tuple[str, ...] = ()
    group: str = ""
    companion: str = ""
    is_shared: bool = False
    roles: Mapping[str, str] = field(default_factory=dict)
    """Each unit of it to its role."""
    max_parallel: int = 0
    """Of an instance of a replicated service; 0 for anything else."""
    min_healthy_usec: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRecord:
    """A directory that a generation needs, and whose it becomes when it has to be made."""

    path: str
    user: str
    group: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a generation installed: which files with which content, and what they were made from."""

    app: str
    spec: str
    """Absolute path of the spec that owns the app."""
    env: str | None
    generation: int
    units: Mapping[str, str]
    """Unit name to SHA-256 of the file as its processes took it in; "" for one that was installed and never got that far."""
    links: Mapping[str, str]
    """Enablement links: path below the unit directory to link target."""
    watched: Mapping[str, str]
    """Files of reload_on and restart_on to SHA-256 ("" when missing) as of when the app last took them in."""
    services: Mapping[str, tuple[str, ...]]
    """Service name to its units, main first, in start order (reverse it to stop)."""
    about: Mapping[str, ServiceRecord] = field(default_factory=dict)
    """By service name; empty for a manifest that was made anew from the unit files."""
    volumes: tuple[str, ...] = ()
    """Directories that its services keep data in, made by nanod or not: another app's purge leaves them alone."""
    made: tuple[str, ...] = ()
    """Volumes that nanod created; `remove --purge` deletes these and no others."""
    directories: tuple[VolumeRecord, ...] = ()
    """Volumes that are made when missing."""
    releases: Mapping[str, str] = field(default_factory=dict)
    """Of each service that has a source: the name of the release that it runs from."""
    previous: int = 0
    """The generation that was in force when this one was made, and that `rollback` brings back; 0 for none."""
    unit_dir: str = ""
    """Where its unit files are; "" where nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """How a unit was when a transaction began. `invocation` tells one run of it from the next ("" for a unit whose process is not touched)."""

    active: str
    invocation: str = ""

    @property
    def was_up(self) -> bool:
        return self.active in ("active", "reloading")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A transaction under way: what it will change, and all that is needed to put it back. Written before the first change, gone after the last.

    It is committed when `generation` is in force; until then it is undone by whoever finds it. A removal that is `decided` is finished instead.
    """

    app: str
    action: str
    """apply, rollback or remove."""
    generation: int
    """In force once it is committed; 0 for a removal."""
    before: int
    """In force until then; 0 when there is none."""
    staged: bool
    """`generation` was made for this transaction."""
    at: str
    """When it began, UTC, ISO 8601."""
    command: str
    unit_dir: str
    files: Mapping[str, str | None]
    """Unit files that change, with their text before; None for one that was not there."""
    links: Mapping[str, str | None]
    """Enablement links that change, with their target before."""
    directories: tuple[str, ...]
    """Directories that it makes: empty ones go again."""
    stamps: Mapping[str, str]
    """Stamps of deploy-scoped hooks that were there, by path, with their unit: these hooks do not run again when it is undone."""
    new_stamps: tuple[str, ...]
    """Stamps that it may leave."""
    units: Mapping[str, Before]
    """Units that it may touch, in start order."""
    reloads: tuple[str, ...]
    """Units that it reloads and does not start: the old file asks for a reload too."""
    decided: bool = False
    purge: tuple[str, ...] = ()
    """Paths that a decided removal still deletes."""

    def is_committed(self, in_force: int) -> bool:
        return self.generation == in_force != self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The host as plan sees it: only what concerns the units at hand."""

    units: Mapping[str, UnitState]
    """Every unit of the app, old and new, and the units of other apps and of the host that it requires."""
    files: Mapping[str, str]
    """Unit name to the text of its file in the unit directory; absent when there is no such regular file."""
    links: Mapping[str, str]
    """Existing enablement links below the unit directory."""
    masked: frozenset[str] = frozenset()
    foreign: Mapping[str, str] = field(default_factory=dict)
    """Names that the app wants and something else has: name to where it comes from."""
    drop_ins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The administrator's drop-ins, by unit."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Watched files and drop-ins to SHA-256, "" when missing."""
    missing_directories: frozenset[str] = frozenset()
    releases: frozenset[str] = frozenset()
    """Paths of the releases wanted that are there, whole."""
    newest: int = 0
    """Number of the newest generation on disk, in force or not; 0 without one."""
    unit_dir: str = ""
    scope: RuntimeScope = SYSTEM
