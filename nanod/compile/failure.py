"""`on_failure`: a unit that PID 1 starts when the service has given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.compile.part import ENV, App, as_user, beside, environment, identity, lib
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from nanod.compile.members import Member
    from nanod.units.unitfile import UnitFile


def failure_unit(app: App, member: Member) -> UnitFile | None:
    """Runs as the service's user; the program that starts it is root's, because it reads the journal for the last lines."""
    service = member.service
    handler = member.on_failure
    if handler is None:
        return None
    origin = handler.at()
    main = member.names.main
    unit = app.builder(member.names.failure, Role.FAILURE, member)
    beside(unit, app, f"What to do when {member.row} of {app.names.app} has given up", origin)
    unit.raw("Service", "Type", "oneshot", origin)
    identity(unit, app, service)
    environment(unit, app, member)
    words = [*as_user(app, service), ENV, "LIFECYCLE_PHASE=on_failure", f"NANOD_FAILED_UNIT={main}", *handler.argv]
    unit.exec("ExecStart", [lib(app, "failure"), main, *words], origin, prefix="+")
    unit.raw("Service", "TimeoutStartSec", "6min", origin)
    return unit.finish()
