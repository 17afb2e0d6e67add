"""What `nanod doctor` judges of a host and its apps, as values: `nanod.host.checkup` looks, `nanod.doctor` says what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.state import Intent, Manifest
    from nanod.status import AppStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A directory that nanod writes to. `unsafe`: why others than root could change what is in it, "" when they cannot."""

    path: str
    is_there: bool = True
    is_writable: bool = True
    unsafe: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """A host as far as it can be seen."""

    is_root: bool
    pid1: str
    """The name of its process."""
    is_systemd: bool
    version: int | None
    """Of the systemd that is installed; None without one."""
    manager: str = ""
    """Why PID 1 does not answer, "" when it does."""
    bus: str = ""
    """Why the system bus takes no connections, "" when it does."""
    nss: str = ""
    """What keeps the names of dynamic users from resolving, "" when nothing does."""
    controllers: frozenset[str] | None = frozenset()
    """Of cgroup v2; None where the host has another."""
    run_free: int = 0
    """Bytes."""
    run_needed: int = 0
    places: tuple[Place, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    """Programs that units run and that are not there, with the Debian package that brings them."""
    interpreter: str = ""
    """Of the health gate."""
    has_interpreter: bool = True
    lib: Mapping[str, str] = field(default_factory=dict)
    """Programs of nanod that are not as this version has them: name to what is wrong; empty before the first apply."""
    journald: str = "active"
    """Its unit's state, "" when that cannot be asked."""
    has_persistent_journal: bool = True
    can_read_journal: bool = True
    recover: str = "enabled"
    """What `systemctl is-enabled nanod-recover.service` says, "" when it cannot be asked."""
    leftovers: tuple[str, ...] = ()
    """Temporary files of a writer that was killed."""
    dangling: tuple[str, ...] = ()
    """Enablement links of ours that lead nowhere."""
    orphans: tuple[tuple[str, str], ...] = ()
    """Unit files with a stamp of an app that has no record, with that app."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """The unit files of all apps."""
    is_locked: bool = False
    owner: str = ""
    """Whose own manager is meant; "" for PID 1."""
    lingers: bool = True
    """That runs from boot on, with nobody logged in."""

    @property
    def whose(self) -> str:
        return f"the systemd of {self.owner}" if self.owner else "PID 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFacts:
    """One app. `status` is None where PID 1 cannot be asked; `records` says what of its records cannot be used, and is empty when all can."""

    app: str
    manifest: Manifest | None
    can_see: bool = True
    """Its records are readable to this user."""
    status: AppStatus | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    records: tuple[str, ...] = ()
    is_in_force: bool = True
    """The generation that `current` names can be read."""
    uncommitted: tuple[int, ...] = ()
    """Generations that were staged and never came into force."""
    aside: tuple[str, ...] = ()
    """What was set aside because it could not be read."""
    intent: Intent | None = None
    is_under_way: bool = False
    last: Mapping[str, object] | None = None
    """The last entry of its history."""
    spec: str = "there"
    """there, gone, standard input, or unknown."""
    again: str = ""
    """The command that applies it once more."""
