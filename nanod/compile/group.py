"""The app's own units: a target that wants its members and that they are part of, and a slice.

The target only Wants=: with Requires= a crash of one member restarted all (tried), and one bad service would keep the others down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.compile.members import has_all, members
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from nanod.compile.part import App
    from nanod.units.unitfile import UnitFile


def target_unit(app: App) -> UnitFile:
    spec = app.spec
    unit = app.builder(app.names.target, Role.TARGET)
    unit.raw("Unit", "Description", f"App {app.names.app}", spec.at("project"))
    for name, service in sorted(spec.services.items()):
        unit.words("Unit", "Wants", [app.names.member(name).timer if service.schedule else app.names.service(name)], service.at())
        if has_all(service):
            # What stands for them wants them, too; but while that is active systemd drops its start, and with it all that it brings.
            unit.words("Unit", "Wants", [member.names.main for member in members(app, service) if member.is_main], service.at())
    for name, service in sorted(spec.services.items()):
        if service.sockets:
            unit.words("Unit", "Wants", [app.names.member(name).socket], service.at("sockets"))
    unit.words("Install", "WantedBy", [app.scope.boot], spec.at())
    return unit.finish()


def slice_unit(app: App) -> UnitFile:
    unit = app.builder(app.names.slice, Role.SLICE)
    unit.raw("Unit", "Description", f"Slice of app {app.names.app}", app.spec.at("project"))
    return unit.finish()
