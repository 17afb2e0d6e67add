"""Members of a group among the services of an app: who belongs with whom, and what a person means by a name. Pure.

Rows are named as in `ServiceUnits`: `web`, `web@2`, `web/api`, `web@2/init`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nanod.units.unitset import ServiceUnits

WORDS = {
    Role.GROUP: "companion",
    Role.PRESTART_SIDECAR: "prestart sidecar",
    Role.PRESTART_TASK: "prestart task",
    Role.POSTSTART_TASK: "poststart task",
    Role.POSTSTART_SIDECAR: "poststart sidecar",
    Role.POSTSTOP_TASK: "poststop task",
}
"""What people call a member that is no main."""
TASKS = frozenset({Role.PRESTART_TASK, Role.POSTSTART_TASK, Role.POSTSTOP_TASK})
"""Members that end."""
_LIFE = (
    *(Role.GROUP, Role.PRESTART_SIDECAR, Role.PRESTART_TASK, Role.MAIN, Role.ALL),
    *(Role.POSTSTART_TASK, Role.POSTSTART_SIDECAR, Role.POSTSTOP_TASK),
)


def replica(row: str) -> int:
    """2 for `web@2/init`; 0 for what belongs to no instance."""
    number = instance(row).partition("@")[2]
    return int(number) if number.isdecimal() else 0


def part(row: str) -> str:
    """`init` for `web@2/init`; "" for a service, or an instance of one."""
    return row.partition("/")[2]


def instance(row: str) -> str:
    """`web@2` for `web@2/init`, `web` for `web/init`: the rows that come up and go down together begin with it."""
    return row.partition("/")[0]


def life(role: Role) -> int:
    """Its place in the life of a group, from the first that comes up to what runs when all has ended."""
    return _LIFE.index(role) if role in _LIFE else len(_LIFE)


def rows(name: str, services: Mapping[str, ServiceUnits]) -> list[str]:
    """Rows that a person means: all of a service, all of one instance (`web@2`), or one member; none for a name that is not there."""
    whole = [row for row, item in services.items() if item.service == name]
    return whole or [row for row in services if row == name or row.startswith(f"{name}/")]


def around(mains: Iterable[ServiceUnits], services: Iterable[ServiceUnits]) -> list[ServiceUnits]:
    """What comes and goes with these mains: their companions and all in the scope of these, and what all instances of the service share."""
    inner = {(main.service, main.companion) for main in mains if main.role is Role.MAIN}
    outer = {service for service, _ in inner}
    return [
        item
        for item in services
        if item.role.is_pulled and ((item.service, item.companion) in inner or (item.service in outer and not replica(item.name)))
    ]


def led_by(item: ServiceUnits, mains: Iterable[ServiceUnits]) -> set[str]:
    """Rows of the mains that it comes up and goes with."""
    return {main.name for main in mains if item in around([main], [item])}


def turns(items: Sequence[ServiceUnits]) -> list[list[ServiceUnits]]:
    """In start order: services that are not rolled each by itself, instances of the others a wave at a time with what belongs to each.

    What stands for all instances, and what they share, stays up.
    """
    found: list[list[ServiceUnits]] = []
    for service in dict.fromkeys(item.service for item in items):
        members = [item for item in items if item.service == service]
        rolling = next((item.rolling for item in members if item.rolling), None)
        if rolling is None:
            found.append(members)
            continue
        numbers = sorted({replica(item.name) for item in members} - {0})
        waves = [numbers[at : at + rolling.max_parallel] for at in range(0, len(numbers), rolling.max_parallel)]
        found += [[item for item in members if replica(item.name) in wave] for wave in waves]
    return found


def together(items: Iterable[ServiceUnits]) -> tuple[str, ...]:
    """What a restart of the whole app does to services that `restart APP SERVICE` takes a few instances at a time."""
    names = dict.fromkeys(item.service for item in items if item.rolling)
    return tuple(f"all instances of {name} were down together; a restart of {name} alone takes a few at a time" for name in names)


def names(services: Iterable[ServiceUnits]) -> list[str]:
    """All that a person may name: services, instances, processes and tasks; not the companions."""
    found: dict[str, None] = {}
    for item in services:
        if item.role is Role.GROUP:
            continue
        if (number := replica(item.name)) and part(item.name):
            found[f"{item.service}@{number}"] = None
        found[item.name] = None
    return sorted(found, key=_natural)


def _natural(name: str) -> tuple[str, int, str]:
    return name.partition("/")[0].partition("@")[0], replica(name), part(name)


def count(services: Iterable[str]) -> str:
    """`2 services`: as people count them, a group with all its members as one. `services`: that of each member."""
    number = len(set(services))
    return f"{number} service{'s' if number != 1 else ''}"
