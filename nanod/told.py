"""Which services of a verdict have something of their own to say, and who only waits for them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.verdict import Status, Why

if TYPE_CHECKING:
    from nanod.verdict import ServiceVerdict, Verdict


def told(verdict: Verdict) -> list[tuple[ServiceVerdict, list[ServiceVerdict]]]:
    """What is not well and has a sentence of its own, each with those of its group that wait for the same thing."""
    troubled = [item for item in verdict.services if item.headline]
    broken = {item.unit: item for item in troubled if item.status is not Status.BLOCKED}
    found: dict[tuple[str, str], list[ServiceVerdict]] = {}
    for item in troubled:
        root = next((reason.unit for reason in reversed(item.reasons) if reason.kind is Why.DEPENDENCY), "")
        if item.status is not Status.BLOCKED or not item.group:
            key = ("", item.unit)
        elif root in broken and broken[root].group == item.group:
            key = ("", root)
        else:
            key = (item.group, root)
        found.setdefault(key, []).append(item)
    # The one that failed comes before those that wait for it.
    ranked = [sorted(items, key=lambda item: item.status is Status.BLOCKED) for items in found.values()]
    return [(items[0], items[1:]) for items in ranked]
