"""A line of an app's log, as the journal has it, and whose it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanod.units.unitset import ServiceUnits


class Source(StrEnum):
    """Who says it."""

    SERVICE = "service"
    """A process of the unit: its main process, or a hook."""
    SYSTEMD = "systemd"
    """PID 1, of the unit."""
    HOOK = "hook"
    """The record that a hook leaves of its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """`at`: microseconds since the epoch. `priority`: of syslog(3), 0 the worst. `message` may have several lines, and control characters."""

    at: int
    unit: str
    source: Source
    priority: int
    message: str
    phase: str = ""
    """Of a record, with the name of its hook in `hook`."""
    hook: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The service that a unit belongs to. `phase`: of the lifecycle, for a unit that does nothing else."""

    service: str
    phase: str = ""

    @property
    def label(self) -> str:
        return f"{self.service}/{self.phase}" if self.phase else self.service


def owners(services: Iterable[ServiceUnits]) -> dict[str, Owner]:
    """By unit."""
    found: dict[str, Owner] = {}
    for item in services:
        beside = {item.main: "", item.job: "", item.provision: "install", item.prestart: "prestart", item.ready: "ready", item.failure: "on_failure"}
        beside |= {item.deploy: "deploy", item.post_deploy: "post_deploy"}
        found |= {unit: Owner(service=item.name, phase=phase) for unit, phase in beside.items() if unit}
    return found
