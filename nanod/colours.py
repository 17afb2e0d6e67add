"""Blue-green in a plan: which colour of a service is live, when the other one takes its place, and what that means for the steps. Pure.

The new colour starts beside the old one, on the same socket; only when it has been healthy for a while does the old one stop, by the hooks of its own
file, which is left as it is until then. A colour that does not run has no traffic to lose: it starts in its own place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.state import UnitState
from nanod.steps import Cause, CauseKind, Restart, Start, Switch
from nanod.units.names import AppNames, other_colour

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nanod.decide import Planning
    from nanod.state import Manifest, Snapshot
    from nanod.steps import Plan
    from nanod.units.unitset import ServiceUnits

_NOTHING = UnitState(name="")


def live_colours(manifest: Manifest | None) -> dict[str, str]:
    """Service to the colour that the generation in force has of it. Of one that an apply has left with both, the newer is what it is about."""
    rows = manifest.about or manifest.services if manifest else ()
    found = [(row.partition("/")[0], row.partition("/")[2]) for row in rows]
    return {service: part for service, part in found if other_colour(part)}


def to_switch(plan: Plan, seen: Snapshot) -> dict[str, tuple[Cause, ...]]:
    """Services whose live colour would restart, with the causes: compiled with the other colour, they need not.

    Not those that systemd restarts with what they require: both colours would.
    """
    coloured = {item.main: item.service for item in plan.services if item.colour and seen.units.get(item.main, _NOTHING).is_up}
    return {
        coloured[step.unit]: step.causes
        for step in plan.steps
        if isinstance(step, Restart) and step.unit in coloured and not any(cause.kind is CauseKind.DEPENDENCY for cause in step.causes)
    }


def switched(colours: Mapping[str, str], services: Mapping[str, tuple[Cause, ...]]) -> dict[str, str]:
    """The colours once these services have the other one; a service without a colour yet is blue."""
    return {**colours, **{service: other_colour(colours.get(service, "blue")) for service in services}}


def switches(making: Planning) -> Iterator[Switch]:
    """New colours that start beside an old one which runs; `late` has the units of these then."""
    for service in making.wanted.services:
        old = _old(making, service)
        if old and making.process.get(service.main) in (Start, Restart) and making.state(old).is_up:
            assert making.manifest is not None
            takes = Cause(kind=CauseKind.COLOUR, text=f"takes over from {old}", subject=old)
            making.late |= {name for name in making.manifest.services[_row(service)] if name not in making.compared}
            making.turning.add(service.main)
            causes = (*making.because_of.get(service.service, ()), takes)
            yield Switch(unit=service.main, causes=causes, service=service.name, wave=0, healthy_usec=service.switch_usec)


def _row(service: ServiceUnits) -> str:
    return f"{service.service}/{other_colour(service.colour)}"


def _old(making: Planning, service: ServiceUnits) -> str:
    """The main of the other colour, if the app has one."""
    if not service.colour or making.manifest is None:
        return ""
    return AppNames(making.wanted.app).row(_row(service)).main if _row(service) in making.manifest.services else ""
