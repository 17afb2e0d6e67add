"""What the daemon knows of each spec, and what can happen. Plain values; times are seconds of one clock that only goes forward."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Verb(StrEnum):
    APPLY = "apply"
    REMOVE = "remove"


class Result(StrEnum):
    """How a piece of work ended."""

    APPLIED = "applied"
    REMOVED = "removed"
    REFUSED = "refused"
    """The spec is wrong, or the host refused it before anything was touched."""
    FAILED = "failed"
    """Something of it did not work, and what there was is back."""
    DEGRADED = "degraded"
    """Neither old nor new: what was done could not be undone."""
    KILLED = "killed"
    """It was ended from outside; the next nanod command puts the host in order."""
    CHANGED = "changed"
    """The file was another one by the time it was read; nothing was touched."""

    @property
    def is_good(self) -> bool:
        return self in (Result.APPLIED, Result.REMOVED)


class Outcome(NamedTuple):
    """The end of a piece of work, for people: `lines` say why it did not go well. `at`: UTC, ISO 8601.

    `awaits`: apps because of which it was refused: they are not as this one requires them, or require what it would take away.
    """

    result: Result
    at: str = ""
    app: str = ""
    seconds: float = 0.0
    exit_code: int = 0
    lines: tuple[str, ...] = ()
    awaits: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return f"{self.result}: {self.lines[0]}" if self.lines else str(self.result)


class File(NamedTuple):
    """One look at a spec: the digest of its bytes, or why they cannot be read. `is_busy`: somebody is writing it, and will have closed it later."""

    digest: str = ""
    problem: str = ""
    is_busy: bool = False


class Spec(NamedTuple):
    """A file of the directory, named after it without `.yaml`."""

    seen: str = ""
    """Digest of its bytes; "" while there is no file that can be read."""
    is_unseen: bool = False
    """What is there now is not known, and about to be looked at."""
    is_busy: bool = False
    """Somebody is writing it; what was there before counts, if it was seen."""
    problem: str = ""
    tried: str = ""
    """Digest of the bytes that were worked on last, whatever came of that."""
    app: str = ""
    """What the host has from it; "" for nothing."""
    last: Outcome | None = None
    gone: float | None = None
    """Since when the file is missing."""
    leaves: bool = False
    """It is missing for good: its app goes, too."""
    is_stuck: bool = False
    """Its app could not be removed, and is not tried again by itself."""
    again: bool = False
    """It is wanted once more, although its bytes are those that were tried."""
    kills: int = 0
    """Runs for the same bytes that were ended from outside."""
    changes: int = 0
    """Runs in a row that found other bytes than those they were begun for."""

    @property
    def wants(self) -> Verb | None:
        if self.leaves:
            return Verb.REMOVE if self.app and not self.is_stuck else None
        is_due = self.seen and self.gone is None and (self.seen != self.tried or self.again)
        return Verb.APPLY if is_due else None


class Running(NamedTuple):
    stem: str
    verb: Verb
    digest: str = ""
    app: str = ""
    takes_over: bool = False
    """The app is that of another file, which was given this name."""


class Waiter(NamedTuple):
    """Somebody who is told when all that the next look finds is done. `pending`: specs whose work has not ended; `stale`: the run of this one does
    not count, because it began with other bytes.
    """

    token: int
    has_looked: bool = False
    specs: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    stale: str = ""
    problem: str = ""
    """Why the directory could not be gone by, at some time since."""


START = 0
"""The token of whoever waits for the first reconcile."""


class Settings(NamedTuple):
    """`debounce`: seconds without a further event before the directory is looked at."""

    directory: str
    debounce: float = 0.2
    heal: bool = False


class State(NamedTuple):
    settings: Settings
    specs: Mapping[str, Spec] = {}
    running: Running | None = None
    queue: tuple[str, ...] = ()
    dirty: frozenset[str] = frozenset()
    """Specs to look at."""
    is_all_dirty: bool = False
    since: float | None = None
    """When the first of the events came that nobody has looked after."""
    due: float | None = None
    """When to look."""
    problem: str = ""
    """Why the directory cannot be gone by; nothing is removed meanwhile."""
    waiters: tuple[Waiter, ...] = ()
    is_ready: bool = False
    is_stopping: bool = False

    @property
    def wake(self) -> float | None:
        """When something is to be done even if nothing happens; None for never."""
        times = [GONE + spec.gone for spec in self.specs.values() if spec.gone is not None and not spec.leaves and not self.problem]
        return min([*times, *([] if self.due is None else [self.due])], default=None)


LONGEST = 2.0
"""Seconds after the first event at which the directory is looked at, however fast more come in."""
GONE = 2.0
"""Seconds that a spec must be missing before its app goes: some programs delete a file to write it anew."""


class Touched(NamedTuple):
    """Something happened to these specs, or nobody knows to which."""

    names: frozenset[str] | None
    at: float


class Woke(NamedTuple):
    at: float


class Looked(NamedTuple):
    """All specs of the directory, or why there is no telling."""

    files: Mapping[str, File]
    at: float
    problem: str = ""


class Ended(NamedTuple):
    running: Running
    outcome: Outcome


class Asked(NamedTuple):
    """Somebody asks for a look at everything, and waits for what comes of it."""

    token: int
    at: float


class Drifted(NamedTuple):
    """The units of an app are not as they were left, and are to be put back."""

    stem: str


class Moved(NamedTuple):
    """These apps are there, are gone, or are others than before, through whomever."""

    apps: frozenset[str]


class Configured(NamedTuple):
    settings: Settings


class Stopping(NamedTuple):
    pass


Event = Touched | Woke | Looked | Ended | Asked | Drifted | Moved | Configured | Stopping


class Look(NamedTuple):
    """Answer with `Looked`; `names` None reads every file, else the others are taken to be as they were."""

    names: frozenset[str] | None


class Start(NamedTuple):
    """Answer with `Ended`, later."""

    running: Running


class Keep(NamedTuple):
    """What is to be known after a reboot has changed."""


class Tell(NamedTuple):
    """`priority` as in syslog(3)."""

    priority: int
    text: str


class Answer(NamedTuple):
    """For whoever waits: what is not in force, and why; nothing when all is."""

    token: int
    problems: tuple[str, ...]


Action = Look | Start | Keep | Tell | Answer
