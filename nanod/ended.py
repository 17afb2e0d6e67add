"""What became of a start, a stop, a restart or an install, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from nanod.errors import ExitCode
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from nanod.verdict import Reason, ServiceVerdict, Verdict


class Action(StrEnum):
    START = "start"
    STOP = "stop"
    RESTART = "restart"


class Down(StrEnum):
    """What became of a service that was to stop."""

    STOPPED = "stopped"
    WAS_DOWN = "was-down"
    AGAIN = "started-again"
    """Something else started it anew: a service that requires it, or a person."""
    STOPPING = "stopping"
    """Not at its end when the wait was interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The end of a start or restart."""

    action: Action
    verdict: Verdict
    seconds: float
    interrupted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.INTERRUPTED if self.interrupted else self.verdict.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedService:
    """`text`: how it ended, where that was not well."""

    service: str
    unit: str
    word: Down
    text: str = ""
    seconds: float = 0.0
    warnings: tuple[Reason, ...] = ()
    group: str = ""
    role: Role = Role.MAIN

    @property
    def whose(self) -> str:
        """The service of the spec."""
        return self.group or self.service


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The end of a stop. `waiting`: services that run and require one that was stopped; their next start starts it again.

    `taken`: services of other apps that restart with one, and so stopped with it.
    """

    app: str
    services: tuple[StoppedService, ...]
    seconds: float
    waiting: tuple[tuple[str, str], ...] = ()
    taken: tuple[tuple[str, str], ...] = ()
    interrupted: bool = False

    @property
    def exit_code(self) -> ExitCode:
        if self.interrupted:
            return ExitCode.INTERRUPTED
        return ExitCode.OK if all(item.word in (Down.STOPPED, Down.WAS_DOWN) for item in self.services) else ExitCode.FAILED


class Installed(StrEnum):
    DONE = "installed"
    ALREADY = "already-installed"
    FAILED = "failed"
    GOES_ON = "installing"
    """The wait was interrupted; systemd goes on with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallEnd:
    """`verdict` says why it failed; `is_up`: the service was running, with what was installed before."""

    service: str
    unit: str
    sentinel: str
    word: Installed
    is_up: bool
    seconds: float = 0.0
    verdict: ServiceVerdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    app: str
    installs: tuple[InstallEnd, ...]
    seconds: float

    @property
    def interrupted(self) -> bool:
        return any(item.word is Installed.GOES_ON for item in self.installs)

    @property
    def exit_code(self) -> ExitCode:
        if self.interrupted:
            return ExitCode.INTERRUPTED
        return ExitCode.FAILED if any(item.word is Installed.FAILED for item in self.installs) else ExitCode.OK
