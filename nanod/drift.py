"""What of an app is not as nanod left it on the host. Pure: what is on disk and loaded is asked of others."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from nanod.values import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nanod.host import Store, Systemd
    from nanod.state import Intent, Manifest, UnitDetail, UnitState


class DriftKind(StrEnum):
    EDITED = "edited"
    DELETED = "deleted"
    MASKED = "masked"
    UNFINISHED = "unfinished"
    NOT_LOADED = "not-loaded"
    """PID 1 has not read the file that is there (NeedDaemonReload)."""
    OVERRIDE = "override"
    """A drop-in of the administrator, which wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """`subject`: the unit, or the drop-in's path."""

    kind: DriftKind
    subject: str


def of_files(manifest: Manifest, states: Mapping[str, UnitState], files: Mapping[str, str], moving: Iterable[str]) -> dict[str, Drift]:
    """By unit. `moving`: files of a transaction that has not ended, which differ because of that."""
    found = {name: _kind(applied, states[name], files.get(name)) for name, applied in manifest.units.items()}
    found |= {name: DriftKind.UNFINISHED for name in moving if found.get(name) in (DriftKind.EDITED, DriftKind.DELETED)}
    return {name: Drift(kind=kind, subject=name) for name, kind in found.items() if kind}


def of_loaded(detail: UnitDetail) -> list[Drift]:
    """What PID 1 says of the unit of a service."""
    found = [Drift(kind=DriftKind.NOT_LOADED, subject=detail.name)] if detail.need_daemon_reload else []
    return found + [Drift(kind=DriftKind.OVERRIDE, subject=path) for path in detail.drop_ins]


def look(manifest: Manifest, systemd: Systemd, store: Store, intent: Intent | None = None) -> list[Drift]:
    """All of an app, as `status` shows it, and without what else that has to ask."""
    states = systemd.states(manifest.units)
    found = of_files(manifest, states, store.read_units(manifest.units), intent.files if intent else ())
    mains = [units[0] for units in manifest.services.values() if units and states[units[0]].load == "loaded"]
    return [*found.values(), *(item for name in mains for item in of_loaded(systemd.detail(name)))]


def _kind(applied: str, state: UnitState, text: str | None) -> DriftKind | None:
    if state.load == "masked":
        return DriftKind.MASKED
    if text is None:
        return DriftKind.DELETED
    if not applied:
        return DriftKind.UNFINISHED
    return None if content_hash(text) == applied else DriftKind.EDITED
