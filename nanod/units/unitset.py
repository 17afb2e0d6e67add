"""What compiling yields: unit files, and what the plan needs to know about them that a unit file does not say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from nanod.state import ServiceRecord

if TYPE_CHECKING:
    from nanod.diagnostics import Mark
    from nanod.state import HookName
    from nanod.units.unitfile import UnitFile
    from nanod.values import TimeSpan


class Role(StrEnum):
    TARGET = "target"
    SLICE = "slice"
    MAIN = "main"
    PROVISION = "provision"
    PRESTART = "prestart"
    """Deploy-scoped prestart hooks: started alone after the daemon-reload, before the main is touched."""
    READY = "ready"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A volume: made when missing, as `user`:`group`, mode 0755. A dynamic user's volume is not here, systemd makes it (StateDirectory=)."""

    path: str
    user: str
    group: str | None
    origin: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUnits:
    """One service of the app: its units by role, and what plan, verdict and status ask about it."""

    name: str
    main: str
    provision: str | None = None
    prestart: str | None = None
    ready: str | None = None
    failure: str | None = None
    requires: tuple[str, ...] = ()
    """Services of this app, and host units, that it waits for at start and does not start without."""
    restarts_with: tuple[str, ...] = ()
    """Services of this app whose restart by `apply` restarts this one too (`requires: {db: {restart: true}}`)."""
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
    origin: Mark

    @property
    def record(self) -> ServiceRecord:
        return ServiceRecord(
            health=self.health,
            is_script=self.is_script,
            hooks=self.hooks,
            requires=self.requires,
            restarts_with=self.restarts_with,
            stays=self.stays,
            settle_usec=self.settle.usec,
            restart_limit=self.restart_limit,
            reload_on=self.reload_on,
            restart_on=self.restart_on,
            can_reload=self.can_reload,
        )


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
