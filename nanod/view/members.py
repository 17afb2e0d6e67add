"""The services of an app as a tree: what belongs to one service stands together, in the order of its life."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nanod.groups import life, part, replica
from nanod.status import worst_of
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nanod.status import ServiceStatus


class Member(Protocol):
    @property
    def group(self) -> str: ...
    @property
    def role(self) -> Role: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A line of the tree. `item` None: an instance with several mains, which has no unit of its own; `worst` is the one of its mains to look at.

    `beside` are companions: not shown, but for their hooks, which are those of the service, and when they are in trouble.
    """

    name: str
    item: ServiceStatus | None
    worst: ServiceStatus
    up: int = 0
    of: int = 0
    beside: tuple[ServiceStatus, ...] = ()
    below: tuple[Node, ...] = ()


def nodes(services: Iterable[ServiceStatus]) -> list[Node]:
    """In start order of the services."""
    by_service: dict[str, list[ServiceStatus]] = {}
    for item in services:
        by_service.setdefault(item.service, []).append(item)
    return [_service(name, members) for name, members in by_service.items()]


def _service(name: str, members: Sequence[ServiceStatus]) -> Node:
    head = next((item for item in members if item.name == name), None)
    if len(members) == 1 and head:
        return _leaf(head)
    numbers = sorted({replica(item.name) for item in members} - {0})
    whole = [item for item in members if item is not head and not replica(item.name)]
    below = [_leaf(item) for item in whole if item.role is not Role.GROUP]
    below += [_instance(name, number, [item for item in members if replica(item.name) == number]) for number in numbers]
    return Node(
        name=name,
        item=head,
        worst=head or worst_of(_mains(members)),
        up=head.up if head else 0,
        of=head.of if head else 0,
        beside=_companions(whole),
        below=tuple(sorted(below, key=_life)),
    )


def _instance(name: str, number: int, members: Sequence[ServiceStatus]) -> Node:
    row = f"{name}@{number}"
    own = next((item for item in members if item.name == row), None)
    mains = _mains(members)
    below = [_leaf(item) for item in members if item is not own and item.role is not Role.GROUP]
    return Node(
        name=row,
        item=own,
        worst=own or worst_of(mains),
        up=0 if own else sum(main.is_good for main in mains),
        of=0 if own else len(mains),
        beside=_companions(members),
        below=tuple(sorted(below, key=_life)),
    )


def _leaf(item: ServiceStatus) -> Node:
    return Node(name=item.name, item=item, worst=item, up=item.up, of=item.of)


def _mains(members: Sequence[ServiceStatus]) -> list[ServiceStatus]:
    """Of a record that was made anew from unit files nobody knows which these are."""
    return [item for item in members if item.role is Role.MAIN] or list(members)


def _companions(members: Iterable[ServiceStatus]) -> tuple[ServiceStatus, ...]:
    return tuple(item for item in members if item.role is Role.GROUP)


def member_data(name: str, item: Member) -> dict[str, object]:
    """What a member is in its group; null for what does not apply."""
    return {
        "group": item.group or None,
        "role": str(item.role),
        "replica": replica(name) or None,
        "task": part(name) if part(name) and item.role is not Role.GROUP else None,
    }


def _life(node: Node) -> tuple[int, int, str]:
    role = node.item.role if node.item else Role.MAIN
    return life(role), replica(node.name), part(node.name)
