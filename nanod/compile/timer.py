"""`schedule`: a timer, which is what the app wants and apply starts; the script itself runs only when the timer, or a person, says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.compile.part import beside, timed
from nanod.compile.service import own_lines
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from nanod.compile.members import Member
    from nanod.compile.part import App
    from nanod.units.unitfile import UnitFile

_ACCURACY = "1s"
"""systemd's own minute is there to save the battery of a laptop; people expect 03:00 to be 03:00."""


def timer_unit(app: App, member: Member) -> UnitFile | None:
    """None for a service without `schedule`. What the script needs installed is installed when the timer starts, and not at three in the night."""
    service, schedule = member.service, member.service.schedule
    if schedule is None:
        return None
    at = schedule.at
    key = ("calendar",) if at.written("calendar") else ()
    unit = app.builder(member.names.timer, Role.TIMER, member)
    unit.raw("Unit", "Description", f"Schedule of {member.row} of {app.names.app}", at())
    unit.words("Unit", "PartOf", [app.names.target], at())
    timed(unit, app, at())
    if not schedule.persistent:
        unit.words("Unit", "Wants", [member.names.rearm], at("persistent"))
        unit.words("Unit", "After", [member.names.rearm], at("persistent"))
    if service.provisioning:
        unit.words("Unit", "Requires", [member.names.provision], service.provisioning.at())
        unit.words("Unit", "After", [member.names.provision], service.provisioning.at())
    unit.raw("Timer", "OnCalendar", f"{schedule.calendar} {schedule.timezone or ''}".rstrip(), at(*key))
    # Without it PID 1 takes the last run from memory, and there is no way to set that: a new calendar would catch up (tried on 252 and 257).
    unit.raw("Timer", "Persistent", True, at("persistent"))
    if schedule.randomized_delay.usec:
        unit.raw("Timer", "RandomizedDelaySec", schedule.randomized_delay, at("randomized_delay"))
    unit.raw("Timer", "AccuracySec", _ACCURACY, at())
    own_lines(unit, app, service, ("Timer",))
    return unit.finish()


def rearm_unit(app: App, member: Member) -> UnitFile | None:
    """For a schedule that does not catch up: each start of the timer counts as a run, so that there is nothing to catch up with."""
    schedule = member.service.schedule
    if schedule is None or schedule.persistent:
        return None
    at = schedule.at("persistent")
    unit = app.builder(member.names.rearm, Role.REARM, member)
    beside(unit, app, f"Nothing is missed of {member.row} of {app.names.app}", at)
    unit.raw("Service", "Type", "oneshot", at)
    unit.exec("ExecStart", ["/usr/bin/install", "-D", "--mode=644", "/dev/null", app.scope.timer_stamp(member.names.timer)], at)
    return unit.finish()
