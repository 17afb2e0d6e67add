"""Liveness: a timer that comes and goes with the service, and a probe that it starts.

The probe is bound to nothing: bound to the service, the restart that it asks for would be its own, and it would probe and ask again at once (tried
on 252 and 257). It probes with the user and sandbox of the service; what is done about a sick one is root's, outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.compile.part import SLACK, App, beside, environment, identity, lib, timed
from nanod.compile.sandbox import sandbox
from nanod.state import LIVENESS, HookName
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from nanod.compile.members import Member
    from nanod.spec.model import Service
    from nanod.units.unitfile import UnitBuilder, UnitFile

_VIEW = ("PrivateTmp", "PrivateNetwork", "NetworkNamespacePath")
"""What decides which addresses and files a process sees: where the spec's `systemd:` block gives it to the service, the probe has it too."""


def liveness_units(app: App, member: Member) -> list[UnitFile]:
    """Nothing for a service without `liveness`."""
    health = member.service.health
    if health is None or health.liveness is None:
        return []
    return [_timer(app, member), _probe(app, member)]


def liveness_names(member: Member) -> tuple[HookName, ...]:
    """What the records of its actions are found by in status: those of the service itself, like a hook's that may fail."""
    health = member.service.health
    if health is None or health.liveness is None or not member.runs_on:
        return ()
    return (HookName(phase=LIVENESS, name=health.kind.value, unit=member.names.main, on_failure="warn"),)


def _timer(app: App, member: Member) -> UnitFile:
    """After each start of the service, and then each time from the end of a probe on."""
    assert member.service.health
    assert member.service.health.liveness
    liveness, main = member.service.health.liveness, member.names.main
    unit = app.builder(member.names.alive_timer, Role.ALIVE_TIMER, member)
    unit.raw("Unit", "Description", f"When to probe {member.row} of {app.names.app}", liveness.at())
    # Not BindsTo=: what somebody is bound to is needed, and a sidecar would outlive its group for the sake of its own timer (tried on 252 and 257).
    unit.words("Unit", "PartOf", [main], liveness.at())
    unit.words("Unit", "After", [main], liveness.at())
    timed(unit, app, liveness.at())
    unit.raw("Unit", "StopWhenUnneeded", True, liveness.at())
    unit.raw("Timer", "OnActiveSec", liveness.interval, liveness.at("interval"))
    unit.raw("Timer", "OnUnitInactiveSec", liveness.interval, liveness.at("interval"))
    # By itself it would be a minute.
    unit.raw("Timer", "AccuracySec", "100ms", liveness.at("interval"))
    return unit.finish()


def _probe(app: App, member: Member) -> UnitFile:
    service, main = member.service, member.names.main
    health = service.health
    assert health
    assert health.liveness
    liveness = health.liveness
    at = liveness.at()
    unit = app.builder(member.names.alive, Role.ALIVE, member)
    beside(unit, app, f"Liveness of {member.row} of {app.names.app}", at)
    unit.words("Unit", "JoinsNamespaceOf", [main], at)
    # Not oneshot, which would have a job for as long as it probes.
    unit.raw("Service", "Type", "exec", at)
    # Three lines of PID 1 for each probe are no news.
    unit.raw("Service", "LogLevelMax", "notice", at)
    unit.raw("Service", "NotifyAccess", "main", at)
    identity(unit, app, service)
    environment(unit, app, member)
    sandbox(unit, app, service)
    _same_view(unit, service)
    subject = health.command.argv if health.command else (health.address,)
    times = [item.in_seconds for item in (liveness.interval, health.timeout)]
    unit.exec("ExecStart", [lib(app, "alive"), str(liveness.failures), health.kind.value, *times, *subject], at, prefix="-")
    unit.exec("ExecStopPost", [lib(app, "unwell"), main, liveness.action, health.kind.value], liveness.at("action"), prefix="-+")
    unit.raw("Service", "RuntimeMaxSec", (liveness.interval + health.timeout) * liveness.failures + SLACK, at)
    return unit.finish()


def _same_view(unit: UnitBuilder, service: Service) -> None:
    for key, values in service.systemd.get("Service", {}).items():
        if key in _VIEW:
            unit.drop("Service", key)
            for position, value in enumerate(values):
                unit.live("Service", key, value, service.at("systemd", "Service", key, position))
