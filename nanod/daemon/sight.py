"""What the daemon sees: its specs, the units of apps, results of work. Watches come before every look, so that nothing falls between two."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from nanod.daemon import listing, units
from nanod.daemon.watch import Kind, Mounts, Watch
from nanod.daemon.work import DONE, PLACE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanod.daemon.state import File
    from nanod.daemon.watch import Change

RUN = "/run/nanod"
LOCK = "lock"
"""Whoever changes the host holds it, and closes it at the end: something may have come to be as it should, or not."""
_ROUNDS = 8
"""Looks at a directory whose links change all the time, before what was seen last is taken."""


class News(NamedTuple):
    """`specs`: those that may have changed, None for any of them. `results`: a piece of work has ended."""

    specs: frozenset[str] | None = frozenset()
    units: bool = False
    results: bool = False
    is_partial: bool = False
    """More has happened than could be told."""


class Sight:
    """Readable (select(2)) when there is news."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._specs = listing.Directory(directory)
        self._watch = Watch()
        self.mounts = Mounts()
        self._way: dict[str, set[str]] = {}
        self._mine: set[str] = set()
        self._units: dict[str, set[str]] = {}

    def fileno(self) -> int:
        return self._watch.fileno()

    def close(self) -> None:
        self._watch.close()
        self.mounts.close()

    @property
    def problem(self) -> str:
        """Why something is not watched; "" when all is that is there."""
        return self._watch.problem

    def path_of(self, stem: str) -> str:
        return self._specs.path_of(stem)

    def look(self, names: frozenset[str] | None) -> tuple[dict[str, File], str]:
        """Every spec, and why the directory cannot be gone by; see `Directory.look`. Links may lead elsewhere by now, and are followed."""
        files: dict[str, File] = {}
        problem = ""
        for _ in range(_ROUNDS):
            names = None if self._follow() else names
            files, problem = self._specs.look(names)
            if not self._follow():
                break
            names = None
        return files, problem

    def follow_units(self) -> None:
        """Directories of drop-ins come and go with apps and administrators."""
        self._units = units.watched(units.apps())
        self._follow()

    def has_moved(self) -> bool:
        """Whether something else is by now where specs are looked for. After a mount: that changes no directory that is watched."""
        return self._follow()

    def _follow(self) -> bool:
        self._way = listing.places(self.directory)
        self._mine = {os.path.realpath(self.directory), *(listing.all_places(self.directory).keys() - self._way.keys())}
        wanted: dict[str, set[Kind]] = {RUN: {Kind.CLOSED}, PLACE: {Kind.MOVED}}
        for place in self._way:
            wanted.setdefault(place, set()).add(Kind.NAMES)
        for place in self._mine:
            wanted.setdefault(place, set()).add(Kind.FILES)
        for place, names in self._units.items():
            wanted.setdefault(place, set()).add(Kind.NAMES if names else Kind.FILES)
        return self._watch.follow(wanted)

    def news(self) -> News:
        """What has happened since the last time."""
        changes = self._watch.read()
        if changes is None:
            return News(specs=None, units=True, results=True, is_partial=True)
        changes = list(dict.fromkeys(changes))
        return News(specs=self._stems(changes), units=self._is_of_units(changes), results=any(map(_is_result, changes)))

    def _stems(self, changes: Iterable[Change]) -> frozenset[str] | None:
        pairs = [(change.place, change.name) for change in changes if change.place in self._mine or change.place in self._way]
        if any(not name for _, name in pairs):
            return None
        return listing.stems_below(self.directory, pairs) if pairs else frozenset()

    def _is_of_units(self, changes: Iterable[Change]) -> bool:
        of = units.apps()
        return any(self._concerns_units(change, of) for change in changes)

    def _concerns_units(self, change: Change, of: list[str]) -> bool:
        if change.place == RUN:
            return change.name == LOCK
        if change.place not in self._units:
            return False
        is_way = not change.name or change.name in self._units[change.place]
        return is_way or change.place.endswith(".d") or units.concerns(change.name, of)


def _is_result(change: Change) -> bool:
    return change.place == PLACE and change.name.endswith(DONE)
