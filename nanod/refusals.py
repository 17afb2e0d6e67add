"""What a plan refuses before it has a step: names and apps of somebody else, and stops after which nothing would come up again. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.errors import NanodError
from nanod.steps import Restart, Start
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from nanod.decide import Planning
    from nanod.state import Manifest, Snapshot
    from nanod.units.unitset import UnitSet


def refuse(wanted: UnitSet, manifest: Manifest | None, snapshot: Snapshot) -> None:
    if manifest and manifest.spec and manifest.spec != wanted.spec_file:
        raise NanodError(
            f"cannot apply {wanted.app}: it belongs to {manifest.spec}, and this is {wanted.spec_file}",
            hint="if it was moved, --take-over makes this its spec; if it is another app, give it another project name",
        )
    if snapshot.foreign:
        taken = ", ".join(f"{name} ({source})" for name, source in sorted(snapshot.foreign.items()))
        raise NanodError(
            f"cannot apply {wanted.app}: the host has units of these names that are not nanod's: {taken}",
            hint="give the project or the service another name",
        )


def refuse_to_strand(making: Planning) -> None:
    """A masked unit that is down lets nobody past its gate: who is restarted stays down, and the old file brings nothing back."""
    mains = {service.name: service.main for service in making.wanted.services}
    for service in making.wanted.services:
        step = making.process.get(service.main)
        if not making.state(service.main).is_up or step not in (Restart, Start) or service.role is Role.ALL:
            continue
        for name in service.requires:
            unit = mains.get(name, name)
            state = making.state(unit)
            if not state.is_up and (making.is_masked(unit) or state.load == "masked"):
                raise NanodError(
                    f"cannot restart {service.main}: it requires {unit}, which is down and masked, and so would not come up again",
                    hint=f"'systemctl unmask {unit}' lifts the mask; or leave {service.name} in the spec as it was",
                )
