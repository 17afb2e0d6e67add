"""What a service waits for: other services of the spec, services of other apps, and units of the host."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from nanod.spec import read
from nanod.spec.model import Condition, Requirement
from nanod.spec.shapes import OUTER_NAME
from nanod.spec.tree import Map, Place, shown

if TYPE_CHECKING:
    from collections.abc import Collection

    from nanod.spec.read import Context

UNIT_SUFFIXES: Final = tuple(".service .socket .target .mount .automount .path .timer .slice .device .swap .scope".split())


@dataclass(frozen=True, slots=True)
class Group:
    """What a service needs to know of the others: their names, and which have a health gate."""

    app: str
    names: Collection[str]
    gated: frozenset[str]


def is_gated(merged: Map) -> bool:
    """Whether a service's start waits for its health, or that of one of its processes; the same rule that `Service.health` comes from."""
    kind, processes = merged.get("kind"), merged.get("processes")
    mains = [item for item in processes.values() if isinstance(item, Map)] if isinstance(processes, Map) else [merged]
    return any(isinstance(main.get("health"), Map) or (kind in {"http", "grpc"} and bool(main.get("ports"))) for main in mains)


def is_unit_name(name: str) -> bool:
    return name.endswith(UNIT_SUFFIXES) and name not in UNIT_SUFFIXES


def outer_app(target: str) -> str:
    """`shop` of `shop/db`; "" for what is no service of another app."""
    return target.rpartition("/")[0]


def requires(context: Context, group: Group, service: Place) -> tuple[Requirement, ...]:
    value = service.get("requires")
    place = service.child("requires")
    entries = [(str(item.node), item) for item in place.items()]
    if isinstance(value, Map):
        entries = [(name, place.child(name)) for name, conditions in value.items() if conditions is not None]
    found: dict[str, Requirement] = {}
    for target, item in entries:
        if target in found:
            context.findings.error(item, f"{shown(target)} stands in 'requires' twice")
        elif _is_known(context, group, service, item, target):
            found[target] = _requirement(context, group, item, target)
    return tuple(found[target] for target in sorted(found))


def after(context: Context, group: Group, service: Place) -> tuple[str, ...]:
    items = service.child("after").items()
    return tuple(str(item.node) for item in items if _is_known(context, group, service, item, str(item.node)))


def _requirement(context: Context, group: Group, place: Place, target: str) -> Requirement:
    is_unit, app = is_unit_name(target), outer_app(target)
    default = Condition.HEALTHY if target in group.gated or app else Condition.STARTED
    condition = read.choice(place, "condition", Condition, default)
    if is_unit and condition is not Condition.STARTED:
        context.findings.error(place, f"of a unit of the host nanod knows whether it is started, not whether it is {condition}", "condition")
    elif condition is Condition.HEALTHY and target not in group.gated and not app:
        context.findings.error(place, f"'{target}' has no health check that 'condition: healthy' could wait for", "condition")
    return Requirement(
        at=place,
        target=target,
        condition=condition,
        app=app,
        is_unit=is_unit,
        restart=read.flag(place, "restart"),
        required=read.flag(place, "required", default=True),
    )


def _is_known(context: Context, group: Group, service: Place, item: Place, target: str) -> bool:
    """Whether it can be waited for; else the finding is made, at the name."""
    outer = item.parent or item
    own = target.removeprefix(f"{group.app}-").removesuffix(".service")
    if "/" in target:
        problem = _outer_problem(group, target)
        if not problem:
            return True
    elif is_unit_name(target):
        if target != f"{group.app}-{own}.service" or own not in group.names:
            return True
        problem = f"'{target}' is a service of this spec: write '{own}'"
    elif target == service.key:
        problem = f"'{target}' cannot wait for itself"
    elif target in group.names:
        return True
    else:
        known = f"services are {', '.join(islice(group.names, 20))}; a unit of the host ends in '.service' or the like"
        near = context.findings.guess(target, group.names, 0.5)
        advice = f"did you mean '{near}'?" if near else known
        problem = f"no service {shown(target)}: {advice}"
    context.findings.error(outer, problem, item.key, on_key=True)
    return False


def _outer_problem(group: Group, target: str) -> str:
    """What is wrong with the name of a service of another app, "" for nothing. Whether there is one only a host knows."""
    app, _, name = target.rpartition("/")
    if not re.search(OUTER_NAME["pattern"], target):
        return f"{shown(target)} must be {OUTER_NAME['title']}"
    if app != group.app:
        return ""
    return f"'{target}' is a service of this spec: write '{name}'" if name in group.names else f"this spec is '{app}', and it has no service '{name}'"
