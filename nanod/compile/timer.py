"""`schedule`: a timer, which is what the app wants and apply starts; the script itself runs only when the timer, or a person, says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    if service.provisioning:
        unit.words("Unit", "Requires", [member.names.provision], service.provisioning.at())
        unit.words("Unit", "After", [member.names.provision], service.provisioning.at())
    unit.raw("Timer", "OnCalendar", f"{schedule.calendar} {schedule.timezone or ''}".rstrip(), at(*key))
    unit.raw("Timer", "Persistent", schedule.persistent, at("persistent"))
    if schedule.randomized_delay.usec:
        unit.raw("Timer", "RandomizedDelaySec", schedule.randomized_delay, at("randomized_delay"))
    unit.raw("Timer", "AccuracySec", _ACCURACY, at())
    own_lines(unit, app, service, ("Timer",))
    return unit.finish()
