"""The plan that takes an app off the host. Pure.

What users made stays unless it is purged: volumes, and with them the sentinels of finished installs. Purging deletes only volumes that nanod itself
made: what was there before it belongs to somebody else.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from nanod.across import loss_notes, losses, named_units, refuse_losses
from nanod.errors import NanodError
from nanod.plan import NOBODY, departures, plan_token, pulled_units, stop_order
from nanod.steps import AnyStep, Cause, CauseKind, DaemonReload, Decide, Forget, ForgetApp, Note, Plan, Purge, RemoveUnit, Stop, Unlink, Unstamp
from nanod.units.names import AppNames
from nanod.units.unitfile import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nanod.state import Manifest, Snapshot

_CAUSE = (Cause(kind=CauseKind.REMOVE, text="the app is removed"),)
_PURGE = (Cause(kind=CauseKind.PURGE, text="its data goes too"),)


def plan_removal(
    manifest: Manifest, snapshot: Snapshot, *, purge: bool = False, others: Mapping[str, Manifest] = NOBODY, force: bool = False
) -> Plan:
    """Stopped with its hooks, last started first; then files, one daemon-reload, the record. `others`: the host's other apps, whose volumes stay, and
    of which none is left without what it requires, but by `force`.

    Raises NanodError when nothing of the app is where it should be, and it runs; NeededError for what another app requires.
    """
    lost = losses(manifest, None, others)
    if not force:
        refuse_losses("remove", manifest.app, lost)
    left = _left_alone(manifest, snapshot)
    if left and not any(name in snapshot.files for name in manifest.units):
        raise NanodError(
            f"cannot remove {manifest.app}: systemd has {left[0]}, and its file is not in the unit directory",
            hint="'systemctl daemon-reload' where the files were deleted by hand; --unit-dir where they are in another directory",
        )
    named = named_units(manifest.app, others)
    # A stop of the target would be one of all, and of whatever is part of them in other apps.
    alone = {*named, AppNames(manifest.app).target} if named else named
    gone = departures(stop_order(manifest), snapshot, _CAUSE, pulled_units(manifest), alone)
    stops = [step for step in gone if isinstance(step, Stop)]
    stamps = [step for step in gone if isinstance(step, Unstamp)]
    removals = [step for step in gone if isinstance(step, RemoveUnit)]
    unlinks = [Unlink(path=path, causes=_CAUSE) for path in manifest.links if path in snapshot.links]
    steps: list[AnyStep] = [*stops, *removals, *stamps, *unlinks]
    if removals or unlinks:
        steps.append(DaemonReload(causes=(Cause(kind=CauseKind.UNITS, text="unit files are gone"),)))
    steps += [step for step in gone if isinstance(step, Forget)]
    shared = {path: other.app for other in others.values() if other.app != manifest.app for path in other.volumes}
    if purge:
        steps.append(Decide(app=manifest.app, causes=_PURGE))
        steps += [Purge(path=path, causes=_PURGE) for path in _data(manifest, snapshot) if not _is_shared(path, shared)]
    steps.append(ForgetApp(app=manifest.app, causes=_CAUSE))
    return Plan(
        app=manifest.app,
        wanted=None,
        steps=tuple(steps),
        notes=(
            *loss_notes(lost),
            *_notes(manifest, shared, purge=purge),
            *(Note(kind="kept", subject=name, text="is left to systemd: its file is not in the unit directory") for name in left),
        ),
        manifest=None,
        before=manifest,
        token=plan_token(manifest, None, steps),
        action="remove",
    )


def _is_shared(path: str, shared: Iterable[str]) -> bool:
    """Another app's volume is there, in it, or around it."""
    place = PurePosixPath(path.replace("/private/", "/"))
    others = [PurePosixPath(other.replace("/private/", "/")) for other in shared]
    return any(place.is_relative_to(other) or other.is_relative_to(place) for other in others)


def _left_alone(manifest: Manifest, snapshot: Snapshot) -> list[str]:
    """Units of the app that PID 1 has at work from a file which is not ours; see `departures`. A slice needs no file to be there."""
    states = {name: snapshot.units[name] for name in sorted(manifest.units) if name in snapshot.units and name not in snapshot.files}
    at_work = [name for name, state in states.items() if state.load == "loaded" and state.active not in ("inactive", "failed")]
    return [name for name in at_work if not name.endswith(".slice")]


def _data(manifest: Manifest, snapshot: Snapshot) -> Iterator[str]:
    """Volumes that nanod made, what systemd made for dynamic users, caches, and root's sentinels, as the unit files name them."""
    yield from manifest.made
    found: dict[str, None] = {}
    tops = {("Service", "StateDirectory"): "/var/lib", ("Service", "CacheDirectory"): snapshot.scope.cache}
    for name in sorted(manifest.units):
        directives = parse(snapshot.files.get(name, ""))
        # What stands at the path of a dynamic user's directory is a link into `private` (systemd.exec(5), DynamicUser=).
        parents = ("", "private/") if ("Service", "DynamicUser", "yes") in directives else ("",)
        for section, key, text in directives:
            if (section, key) in tops:
                top = tops[section, key]
                found |= dict.fromkeys(f"{top}/{parent}{word}" for word in text.split() for parent in parents)
            elif key == "ConditionPathExists" and (path := text.lstrip("|!")).startswith(f"{snapshot.scope.once}/"):
                found[path] = None
    yield from found


def _notes(manifest: Manifest, shared: dict[str, str], *, purge: bool) -> Iterator[Note]:
    for path in manifest.volumes:
        if using := next((app for other, app in shared.items() if _is_shared(path, [other])), ""):
            yield Note(kind="kept", subject=path, text=f"stays: app {using} uses it too")
        elif path not in manifest.made and not path.startswith("/var/lib/"):
            yield Note(kind="kept", subject=path, text="stays: it was there before the app was")
        elif not purge:
            yield Note(kind="kept", subject=path, text="stays (--purge deletes it)")
