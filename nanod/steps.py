"""A plan as values: what apply will do, in which order, and why. Nothing here looks at the host or acts on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.diagnostics import Mark
    from nanod.state import Manifest
    from nanod.units.directives import Cost
    from nanod.units.unitset import Directory, Release, ServiceUnits, UnitSet


class Again(IntEnum):
    """What is done once more although nothing changed: nothing; what every redeploy does (post_deploy); builds and deploy hooks, too."""

    NOTHING = 0
    REDEPLOY = 1
    ALL = 2


class CauseKind(StrEnum):
    """The words of `--json`, `cause.kind`."""

    NEW = "new"
    CHANGED = "changed"
    EDITED = "edited-on-disk"
    """The file is not what the last apply left there."""
    UNFINISHED = "unfinished"
    """An earlier apply installed it and did not get to its processes."""
    NOT_RUNNING = "not-running"
    GONE = "gone-from-spec"
    WATCHED = "watched-file-changed"
    SETTINGS = "settings-changed"
    CREDENTIAL = "credential-changed"
    """The content of its file, which no unit file shows."""
    DEPENDENCY = "dependency-restarted"
    PROVISION = "provisioning-changed"
    PRESTART = "prestart-changed"
    RELEASE = "release"
    """Of a build: there is no such release yet."""
    DEPLOY = "deployment"
    """Of a deploy hook, and of what restarts for it: another content is deployed, or the same once more."""
    SOCKET = "socket-changed"
    """Of a socket that is closed for a while, and of the service behind it."""
    COLOUR = "takes-over"
    """Of the new colour of a service: from which unit."""
    TASK = "task-changed"
    """Of a prestart task or the companion of a group: its mains start after it."""
    ORDER = "stops-before-dependency"
    MISSING = "missing"
    UNITS = "unit-files-changed"
    REMOVE = "remove"
    PURGE = "purge"
    UNDO = "undone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a step is there. `subject`: the directive, file or unit it is about; `cost`: what a change asks for; `mark`: its place in the spec."""

    kind: CauseKind
    text: str
    subject: str = ""
    cost: Cost | None = None
    mark: Mark | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    causes: tuple[Cause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStep(Step):
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Build(Step):
    """Before all others, and before anything is touched: a release that is not there yet."""

    release: Release


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPostDeploy(UnitStep):
    """After all others, when everything is healthy and in force; beside the traffic."""

    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeDirectory(Step):
    directory: Directory


@dataclass(frozen=True, slots=True, kw_only=True)
class StopBefore(UnitStep):
    """Stopped while the old file is still in place: its old stop hooks must run, or it is amid a list of commands that
    changes (a daemon-reload there skips the rest, gates included: systemd#5133, tried on 252 and 257).

    `alone`: whatever requires it runs on.
    """

    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteUnit(UnitStep):
    text: str
    old: str | None

    def diff(self) -> str:
        return unified_diff(self.unit, self.old, self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveUnit(UnitStep):
    """After it has stopped: a unit whose file is gone forgets its ExecStop= (tried)."""

    old: str | None

    def diff(self) -> str:
        return unified_diff(self.unit, self.old, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Step):
    """Enablement; `path` is below the unit directory."""

    path: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlink(Step):
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonReload(Step):
    """One in a plan: it costs PID 1 about a millisecond per loaded unit. A second where another app still names what went: PID 1 would keep that in
    memory, and start it for whoever wants it.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPrestart(UnitStep):
    """Deploy-scoped hooks, alone and waited for: when one fails, apply ends here and the old processes serve on. `irreversible`: as of `Arm`."""

    service: str
    irreversible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm(UnitStep):
    """The deploy hook `unit` runs with the next start of its service, which follows. `irreversible`: once it ran, nothing is put back."""

    service: str
    irreversible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(UnitStep):
    """Goes away, and is waited for. `follows`: it stops when the mains of its group have stopped, and not before. `alone`: what is part of it in
    another app runs on.
    """

    follows: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload(UnitStep):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(UnitStep):
    """`together`: it orders with another restarted unit, so all such are stopped, dependents first, before the first is started again.

    Restart jobs cannot promise that: each is enqueued by a call of its own, and the first would start again before the second begins to stop.
    `via`: the companion of its group, whose restart is that of all in its scope.
    """

    together: bool = False
    via: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll(Restart):
    """The restart of one instance of `service`, with those of the same wave; the next wave comes when these have been healthy for a while."""

    service: str
    wave: int
    healthy_usec: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Roll):
    """The start of a colour beside the old one, which stops when this one has been healthy for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(UnitStep):
    """`alone`: without what it wants and requires."""

    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(UnitStep):
    """reset-failed: PID 1 keeps a failed unit without a file for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetApp(Step):
    """nanod's own record of the app: its generations and its history."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge(Step):
    """A directory or file with everything in it."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveDirectory(Step):
    """One that was made and is still empty."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp(UnitStep):
    """Deploy-scoped hooks of the unit count as done."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unstamp(Step):
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide(Step):
    """From here on a removal is finished and not undone: data goes next, and cannot be put back."""

    app: str


FileStep = MakeDirectory | WriteUnit | RemoveUnit | Link | Unlink | RemoveDirectory | Stamp | Unstamp | Decide | ForgetApp | Purge
JobStep = StopBefore | DaemonReload | RunPrestart | Arm | Stop | Reload | Restart | Start | Forget
AnyStep = FileStep | JobStep
PlanStep = Build | AnyStep | RunPostDeploy


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What plan saw and leaves alone; `unit` or path it is about."""

    kind: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What apply will do. `wanted` None is a removal; `manifest` is what will be recorded, None when the record goes."""

    app: str
    wanted: UnitSet | None
    steps: tuple[AnyStep, ...]
    notes: tuple[Note, ...] = ()
    manifest: Manifest | None
    before: Manifest | None
    token: str
    masked: frozenset[str] = frozenset()
    action: str = "apply"
    """apply, rollback or remove."""
    guests: tuple[ServiceUnits, ...] = ()
    """Mains of other apps that restart with what they require here; each is named by its unit."""
    named: frozenset[str] = frozenset()
    """Units of this app that others name: PID 1 knows them also while they have no file."""
    builds: tuple[Build, ...] = ()
    afterwards: tuple[RunPostDeploy, ...] = ()
    stages: bool = True
    """Whether `manifest` is of a new generation; a rollback goes back to one that is there."""

    @property
    def is_empty(self) -> bool:
        return not (self.steps or self.builds or self.afterwards)

    @property
    def records(self) -> bool:
        """Whether the record changes, also without a step: a file that is watched from now on."""
        return bool(self.steps) or self.manifest != self.before

    @property
    def services(self) -> tuple[ServiceUnits, ...]:
        return self.wanted.services if self.wanted else ()

    @property
    def texts(self) -> Mapping[str, str]:
        return {unit.name: unit.render() for unit in self.wanted.units} if self.wanted else {}


_COMPARED = 4000
"""Lines of a file; more than these are not compared one by one: difflib takes the square of their number, and minutes for a file of settings."""


def unified_diff(name: str, old: str | None, new: str | None) -> str:
    before, after = (old or "").splitlines(), (new or "").splitlines()
    files = f"a/{name}" if old is not None else "/dev/null", f"b/{name}" if new is not None else "/dev/null"
    if max(len(before), len(after)) > _COMPARED:
        return _in_one_piece(before, after, *files)
    import difflib  # noqa: PLC0415  (4 ms, and few plans are shown with their differences)

    return "\n".join(difflib.unified_diff(before, after, *files, lineterm="", n=2))


def _in_one_piece(before: list[str], after: list[str], old: str, new: str) -> str:
    """Everything between the first line that differs and the last one."""
    first = next((number for number, (one, other) in enumerate(zip(before, after, strict=False)) if one != other), min(len(before), len(after)))
    same = range(min(len(before), len(after)) - first)
    last = next((number for number in same if before[-1 - number] != after[-1 - number]), len(same))
    gone, come = before[first : len(before) - last], after[first : len(after) - last]
    if not gone and not come:
        return ""
    spans = [f"{first + 1 if lines else first},{len(lines)}" for lines in (gone, come)]
    head = [f"--- {old}", f"+++ {new}", f"@@ -{spans[0]} +{spans[1]} @@"]
    return "\n".join([*head, *(f"-{line}" for line in gone), *(f"+{line}" for line in come)])
