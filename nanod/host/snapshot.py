"""The host as plan sees it: states in one call to PID 1, and one look into each directory that units come from."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.errors import NanodError
from nanod.host import facts
from nanod.host.atomic import refusing
from nanod.host.records import has_settings, stamps
from nanod.host.releases import LocalReleases
from nanod.state import Snapshot, UnitState
from nanod.units.names import is_settings, reader_of
from nanod.units.secrets import watched_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nanod.host import Store, Systemd
    from nanod.state import Manifest
    from nanod.units.unitset import UnitSet

_VENDOR = ("/lib/systemd/system", "/usr/lib/systemd/system", "/usr/lib/systemd/user", "/usr/share/systemd/user")


def snapshot(
    systemd: Systemd | None,
    store: Store,
    wanted: UnitSet | None,
    manifest: Manifest | None,
    *,
    root: str = "/",
    beside: Iterable[str] = (),
) -> Snapshot:
    """Everything that concerns the units wanted and the units there are, and the state of those `beside`.

    `systemd` is None for `--root`, where nothing runs.
    """
    names = {unit.name for unit in wanted.units} if wanted else set()
    ours = names | set(manifest.units if manifest else ())
    required = {name for name, _ in wanted.host_units} | {item.need.unit for item in wanted.outer} if wanted else set()
    states = systemd.states(sorted({*ours, *required, *beside})) if systemd else {}
    files = store.read_units(sorted(ours))
    places = _Places(root, store)
    host = _Names(places=places, app=_app(wanted, manifest), recorded=frozenset(manifest.units if manifest else ()), files=files, states=states)
    claims = {name: claim for name in sorted(names) if (claim := host.claim(name))}
    masked = frozenset(name for name in ours if claims.get(name) == _MASKED or states.get(name, _NOTHING).load == "masked")
    watched = {path for paths in watched_files(wanted).values() for path in paths} if wanted else set()
    drop_ins = {name: found for name in sorted(ours) if (found := places.drop_ins(name))}
    return Snapshot(
        units=states,
        files=files,
        links=store.read_links(sorted({*(wanted.links if wanted else ()), *(manifest.links if manifest else ())})),
        masked=masked,
        foreign={name: claim for name, claim in claims.items() if claim != _MASKED and name not in masked},
        drop_ins=drop_ins,
        digests=store.sealed(sorted(watched | set(manifest.watched if manifest else ()))) | _contents(drop_ins, root),
        missing_directories=frozenset(item.path for item in (wanted.directories if wanted else ()) if not os.path.lexists(places.below(item.path))),
        releases=LocalReleases(root, store.scope).whole(item.path for item in (wanted.releases if wanted else ())),
        unit_dir=store.unit_dir,
        scope=store.scope,
        newest=max(store.generations(_app(wanted, manifest)), default=0),
    )


_NOTHING = UnitState(name="")
_MASKED = "masked"


def _app(wanted: UnitSet | None, manifest: Manifest | None) -> str:
    return wanted.app if wanted else manifest.app if manifest else ""


def _contents(drop_ins: Mapping[str, tuple[str, ...]], root: str) -> dict[str, str]:
    """Without those that the caller may not read: a plan may be made by anybody."""
    found: dict[str, str] = {}
    for path in {path for paths in drop_ins.values() for path in paths}:
        with suppress(NanodError):
            found |= facts.digests([path], root)
    return found


class _Places:
    """The directories of the load path, each listed once."""

    def __init__(self, root: str, store: Store) -> None:
        self.root = root
        self.unit_dir = store.unit_dir
        known = store.scope.load_path
        path = known if self.unit_dir in known else (self.unit_dir, *known)
        listed = ((place, self._list(place)) for place in path)
        # /lib may be a link to /usr/lib: what is there is there once.
        self.names = {place: names for place, names in listed if names and not (place in _VENDOR[:1] and self.below("/lib").is_symlink())}

    def below(self, path: str) -> Path:
        return Path(self.root, path.lstrip("/"))

    def having(self, name: str) -> Iterator[str]:
        return (place for place, names in self.names.items() if name in names)

    def drop_ins(self, name: str) -> tuple[str, ...]:
        """Paths of the administrator's drop-ins that apply to the unit: its own, those of a prefix (`shop-.service.d`), those of the type."""
        found = [
            f"{place}/{directory}/{file}"
            for directory in _drop_in_directories(name)
            for place in self.having(directory)
            if place not in _VENDOR
            for file in self._list(f"{place}/{directory}")
            if file.endswith(".conf")
        ]
        return tuple(sorted(found))

    def _list(self, place: str) -> frozenset[str]:
        with refusing(f"read {place}"):
            try:
                return frozenset(os.listdir(self.below(place)))  # noqa: PTH208  (names are all that is asked)
            except (FileNotFoundError, NotADirectoryError):
                return frozenset()


def _drop_in_directories(name: str) -> list[str]:
    """systemd.unit(5): `a-b-c.service` has a-b-c.service.d, a-b-.service.d, a-.service.d and service.d."""
    stem, _, kind = name.rpartition(".")
    parts = stem.split("-")
    prefixes = ["-".join(parts[:count]) + "-" for count in range(len(parts) - 1, 0, -1)]
    return [f"{name}.d", *(f"{prefix}.{kind}.d" for prefix in prefixes), f"{kind}.d"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """Who has the name of a unit that the app wants."""

    places: _Places
    app: str
    recorded: frozenset[str]
    files: Mapping[str, str]
    states: Mapping[str, UnitState]

    def claim(self, name: str) -> str:
        """What else than this app has the name, in words; `masked` for a mask that is in force; nothing for us or nobody."""
        is_there = False
        for place in self.places.having(name):
            found = self._in_unit_dir(name) if place == self.places.unit_dir else self._elsewhere(place, name)
            # A mask that stands behind our own file has no effect.
            if found and not (found == _MASKED and is_there):
                return found
            is_there = True
        state = self.states.get(name, _NOTHING)
        # A slice is there as soon as something names it; of ours, nothing else does.
        if not is_there and state.load == "loaded" and name not in self.recorded and not name.endswith(".slice"):
            return "loaded by systemd, without a file"
        return ""

    def _in_unit_dir(self, name: str) -> str:
        path = self.places.below(f"{self.places.unit_dir}/{name}")
        if path.is_symlink():
            target = os.fspath(path.readlink())
            is_mask = target == "/dev/null" and not is_settings(name)
            return _MASKED if is_mask else f"{self.places.unit_dir}/{name}, a link to {target}"
        text = self.files.get(name)
        if text is None:
            return f"{self.places.unit_dir}/{name}, no regular file"
        # An empty file of ours is what a power cut leaves of a lost write; systemd takes any empty file for a mask.
        if name in self.recorded or stamps(text).get("App") == self.app:
            return ""
        if is_settings(name) and has_settings(self.files.get(reader_of(name), ""), self.app, name):
            return ""
        if not text:
            return f"{self.places.unit_dir}/{name}, an empty file, which masks it"
        owner = stamps(text).get("App")
        return f"app '{owner}'" if owner else f"{self.places.unit_dir}/{name}"

    def _elsewhere(self, place: str, name: str) -> str:
        path = self.places.below(f"{place}/{name}")
        is_mask = (path.is_symlink() and os.fspath(path.readlink()) == "/dev/null") or (path.is_file() and path.stat().st_size == 0)
        return _MASKED if is_mask else f"{place}/{name}"
