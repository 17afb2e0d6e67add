"""The health gate: the first ExecStartPost= line, so that "started" means "healthy" to everything ordered after the unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.compile.part import SLACK, lib
from nanod.spec.model import ProbeKind
from nanod.values import TimeSpan

if TYPE_CHECKING:
    from nanod.compile.part import App
    from nanod.spec.model import Health, Service
    from nanod.units.unitfile import UnitBuilder


def gate_line(unit: UnitBuilder, app: App, service: Service) -> TimeSpan:
    """Add the gate, if the service has one; returns the longest time it may take. `notify` needs no line: systemd itself waits for READY=1."""
    health = service.health
    if health is None:
        return TimeSpan(0)
    if health.kind is ProbeKind.NOTIFY:
        return health.start_timeout
    times = [item.in_seconds for item in (health.interval, health.timeout, health.start_timeout)]
    subject = health.command.argv if health.command else (health.address,)
    unit.exec("ExecStartPost", [lib(app, "gate"), health.kind.value, *times, *subject], health.at())
    return health.start_timeout + SLACK


def in_words(health: Health | None) -> str:
    if health is None:
        return ""
    subject = " ".join(health.command.argv) if health.command else health.address
    return f"{health.kind.value} {subject}".strip()
