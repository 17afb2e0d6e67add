"""What services require of other apps, as the records of a host's apps tell it. Pure.

The compiler knows nothing of another app. What it has to be like for the lines to hold is looked up here, when one of the two is applied or removed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanod.diagnostics import Report
from nanod.errors import NeededError
from nanod.recorded import service_units
from nanod.state import ServiceRecord
from nanod.steps import Note
from nanod.units.names import COLOURS
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nanod.state import Manifest, OuterNeed
    from nanod.units.unitset import ServiceUnits, UnitSet

_STARTED, _HEALTHY, _COMPLETED = "started", "healthy", "completed"
"""The values of `nanod.spec.model.Condition`, which takes long to import for a command that has nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needing:
    """`service` of `app` requires something of another app."""

    app: str
    service: str
    row: str
    """What runs of it: one main, an instance, a process."""
    unit: str
    need: OuterNeed

    @property
    def name(self) -> str:
        return f"{self.app}/{self.service}"


def needs_of(manifest: Manifest) -> Iterator[Needing]:
    """One for each main and need."""
    for row, about in manifest.about.items():
        for need in about.outer:
            unit = manifest.services[row][0] if manifest.services.get(row) else ""
            yield Needing(app=manifest.app, service=about.group or row, row=row, unit=unit, need=need)


def check_outer(wanted: UnitSet, others: Mapping[str, Manifest]) -> Report:
    """What `wanted` requires and `others` (by app, that of `wanted` not among them) lack, at the places that require it."""
    report = Report()
    for item in wanted.outer:
        need, other = item.need, others.get(item.need.app)
        if problem := _absent(need, other):
            if need.required:
                report.error(item.origin, problem)
            else:
                report.note(item.origin, f"{problem}; '{item.service}' starts without it")
        elif other and (problem := _unfit(need, other)):
            report.error(item.origin, problem)
        if chain := _way_back(wanted.app, f"{wanted.app}/{item.service}", need, others):
            report.error(item.origin, f"a circle of apps that require one another: {', '.join(chain)}")
    return report


def awaited_apps(wanted: UnitSet, others: Mapping[str, Manifest]) -> tuple[str, ...]:
    """Apps that are not, or not yet, as `wanted` needs them."""
    lacking = (item.need.app for item in wanted.outer if _lacks(item.need, others.get(item.need.app)))
    return tuple(sorted(set(lacking)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """`who` (`shop/web`) requires `what` (`mail/in`) of another app, and will not have it any more."""

    who: str
    what: str
    problem: str = ""
    """Why it is of no use to `who`; "" for what is not there at all."""

    @property
    def app(self) -> str:
        return self.who.partition("/")[0]


def losses(before: Manifest | None, after: Manifest | None, others: Mapping[str, Manifest]) -> list[Lost]:
    """Who of `others` loses what it requires when `before` becomes `after`; None for a removal, and for what is new.

    What was not as required before either is nobody's loss.
    """
    found: dict[Lost, None] = {}
    for other in others.values() if before else ():
        for item in needs_of(other):
            need = item.need
            if before and need.app == before.app and need.required and other.app != before.app and not _lacks(need, before):
                problem = "" if _absent(need, after) or after is None else _unfit(need, after)
                if problem or _absent(need, after):
                    found[Lost(who=item.name, what=need.name, problem=problem)] = None
    return sorted(found, key=lambda lost: (lost.who, lost.what))


def refuse_losses(action: str, app: str, lost: Sequence[Lost]) -> None:
    """Raises NeededError when somebody would be left without what it requires. `action`: apply, rollback or remove."""
    if lost:
        gone = "" if action == "remove" else ", which would be gone"
        words = [f"{item.who} requires {item.what}{f', and {item.problem}' if item.problem else gone}" for item in lost]
        apps = tuple(dict.fromkeys(item.app for item in lost))
        way = f"remove {apps[0]} first" if action == "remove" else f"let {apps[0]} do without it first"
        verb = "roll back" if action == "rollback" else action
        raise NeededError(f"cannot {verb} {app}: {'; '.join(words)}", apps, hint=f"{way}; --force does it all the same")


def loss_notes(lost: Iterable[Lost]) -> list[Note]:
    return [
        Note(kind="left-without", subject=item.who, text=f"is left without {item.what}{f': {item.problem}' if item.problem else ''}") for item in lost
    ]


def unmet(manifests: Mapping[str, Manifest]) -> list[Lost]:
    """Who of a host's apps (by name) requires what is not there, or not as it has to be."""
    items = (item for manifest in manifests.values() for item in needs_of(manifest) if item.need.required)
    found = {Lost(who=item.name, what=item.need.name, problem=_lacks(item.need, manifests.get(item.need.app))): None for item in items}
    return [lost for lost in found if lost.problem]


def restarting_with(app: str, others: Mapping[str, Manifest]) -> list[Needing]:
    """Mains of other apps that restart with a service of this one."""
    needing = (item for other in others.values() if other.app != app for item in needs_of(other))
    return [item for item in needing if item.need.app == app and item.need.restart and item.unit]


def guest(item: Needing, manifest: Manifest, own: Mapping[str, str]) -> ServiceUnits:
    """A main of another app, `manifest`, that this app's plan restarts: named by its unit, for services of this app may have its name.

    `own`: units of this app's services to their names.
    """
    found = service_units(manifest, item.row)
    return replace(found, name=found.main, group="", requires=tuple(own[unit] for unit in found.requires if unit in own), outer=())


def named_units(app: str, others: Mapping[str, Manifest]) -> set[str]:
    """Units of this app that unit files of other apps name: PID 1 keeps them in memory also when they have no file any more."""
    return {item.need.unit for other in others.values() for item in needs_of(other) if item.need.app == app}


def _lacks(need: OuterNeed, manifest: Manifest | None) -> str:
    return _absent(need, manifest) or (_unfit(need, manifest) if manifest else "")


def _absent(need: OuterNeed, manifest: Manifest | None) -> str:
    """Of an apply that was cut off there may be unit files, and these are on their way out: the record alone counts, where there is one."""
    if manifest is None:
        return f"app '{need.app}' is not on this host"
    known = manifest.about or manifest.services
    return "" if need.service in known else f"app '{need.app}' has no service '{need.service}'"


def _unfit(need: OuterNeed, manifest: Manifest) -> str:
    """Why the service is there and cannot be had in this way. Of a record that was made anew from unit files nothing is known."""
    about = manifest.about.get(need.service)
    if about is None:
        return ""
    name, said, is_gated = f"'{need.name}'", need.condition, _is_gated(manifest, need.service)
    # What stands for several mains ends well when all are up, and is no script.
    is_script = about.is_script and Role.ALL not in about.roles.values()
    is_coloured = any(_is_main(manifest, f"{need.service}/{colour}") for colour in COLOURS)
    rows = (
        (Role.TIMER in about.roles.values(), f"{name} runs on a schedule, so nothing can require it"),
        (
            said == _COMPLETED and not is_script,
            f"{name} does not end by itself (kind: script does), so nothing can wait for its completion",
        ),
        (
            said == _COMPLETED and not about.stays,
            f"{name} ends and leaves no trace: another app can wait for its completion only where a service of its own app does, too",
        ),
        (said != _COMPLETED and is_script, f"{name} is a script, which ends: say condition: completed"),
        (said == _HEALTHY and not is_gated, f"{name} has no health check that 'condition: healthy' could wait for"),
        (said == _STARTED and is_gated, f"{name} has a health check, and another app can only wait for that: leave 'condition' out"),
        (
            need.restart and is_coloured,
            f"nothing can restart with {name}: a change of it starts a second one beside the first ('strategy: blue-green')",
        ),
    )
    return next((problem for is_so, problem in rows if is_so), "")


def _is_gated(manifest: Manifest, service: str) -> bool:
    rows = (row for row, about in manifest.about.items() if (about.group or row) == service and _is_main(manifest, row))
    return any(manifest.about[row].health for row in rows)


def _is_main(manifest: Manifest, row: str) -> bool:
    units = manifest.services.get(row, ())
    return bool(units) and manifest.about.get(row, ServiceRecord()).roles.get(units[0]) == Role.MAIN


def _way_back(app: str, who: str, need: OuterNeed, others: Mapping[str, Manifest]) -> list[str]:
    """From this need, by what apps require of one another, to `app` again; in words, each step one."""
    ways = {need.app: [f"{who} requires {need.name}"]}
    todo = [need.app]
    while todo:
        here = todo.pop(0)
        if here not in others:
            continue
        for item in needs_of(others[here]):
            way = [*ways[here], f"{item.name} requires {item.need.name}"]
            if item.need.app == app:
                return way
            if item.need.app not in ways:
                ways[item.need.app] = way
                todo.append(item.need.app)
    return []
