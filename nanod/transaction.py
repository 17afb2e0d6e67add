"""The two ends of a transaction: what a way back needs is on disk before the first change, and one rename puts the new generation in force.

    begin     programs, the intent, the staged generation          after a crash: nothing has changed, the staged generation goes
    …         the plan's steps                                      after a crash: undone from the intent
    commit    `current` points to the new generation                after a crash: only the intent is left, and goes
    finish    the intent is gone                                    (`nanod.undo` for the way back)

`nanod.faults` names the points at which tests break it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from nanod.errors import NanodError
from nanod.faults import Point, reach
from nanod.restore import Origin, intent_of, stamps_of, touched_units
from nanod.state import Before
from nanod.steps import DaemonReload, Link, MakeDirectory, RemoveUnit, UnitStep, Unlink, WriteUnit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nanod.host import Host, Store
    from nanod.state import Intent, Manifest
    from nanod.steps import AnyStep, Plan


def begin(plan: Plan, host: Host, spec_text: str) -> Intent | None:
    """Put on disk what the plan will need, and what its undoing would. None for a plan that changes nothing, not even the record.

    The intent comes first: a generation that is staged without one would stay for ever, and nobody could tell it from one that was in force.
    Raises NanodError when the disk refuses; nothing has changed then.
    """
    store = host.store
    if plan.wanted:
        store.install_lib()
    if not plan.steps and not (plan.manifest and plan.records):
        return None
    intent = _intent(plan, host)
    # Of a transaction that is over, which was killed before it could.
    unmark(plan.app, store)
    try:
        store.write_intent(intent)
        if plan.manifest and plan.records and plan.stages:
            store.stage(plan.manifest, plan.texts, spec_text)
    except NanodError:
        # A disk that refuses this too leaves both to the next command.
        with suppress(NanodError):
            if intent.staged:
                store.drop(intent.app, intent.generation)
            store.clear_intent(intent.app)
        raise
    return intent


def _intent(plan: Plan, host: Host) -> Intent:
    names = touched_units(plan)
    known = {*(plan.before.units if plan.before else ()), *(item.main for item in plan.guests)}
    states = host.systemd.states(names)
    units = {}
    for name, state in states.items():
        run = host.systemd.invocation(name) if state.is_up and name in known else ""
        units[name] = Before(active=state.active, invocation=run)
    stamps = {stamp for step in plan.steps if isinstance(step, WriteUnit | RemoveUnit) for stamp in stamps_of(step.old, host.store.scope)}
    links = host.store.read_links([step.path for step in plan.steps if isinstance(step, Link | Unlink)])
    origin = Origin(at=host.clock.utc(), command=host.command, unit_dir=host.store.unit_dir, scope=host.store.scope)
    return intent_of(plan, origin, units, links, host.store.existing(stamps))


def commit(manifest: Manifest, intent: Intent | None, host: Host) -> None:
    """From here on the new generation is the one in force. Raises NanodError when the disk refuses."""
    try:
        host.store.commit(manifest)
    except NanodError:
        # What fails after the switch takes nothing back.
        if intent is None or not intent.is_committed(host.store.in_force(manifest.app)):
            raise
    with suppress(NanodError):
        # Units name their release; who goes by the link is told by the next apply at the latest.
        host.releases.switch(manifest.app, manifest.releases)
    reach(Point.SWITCHED)
    if intent:
        # What is left of it then is cleared by the next command, which finds the generation in force.
        with suppress(NanodError):
            host.store.clear_intent(manifest.app)
            unmark(manifest.app, host.store)
        reach(Point.CLEARED)


def unmark(app: str, store: Store) -> None:
    """What irreversible hooks left says something of one transaction, and goes after its intent. Raises NanodError when the disk refuses."""
    mark = store.scope.irreversible_mark(app)
    if store.existing([mark]):
        store.delete_tree(mark)


def record(plan: Plan, left: Sequence[AnyStep], *, not_reloaded: Sequence[str] = (), taken_in: Mapping[str, str] | None = None) -> Manifest | None:
    """The manifest after `plan`, of which the steps `left` were not done. None when there is no record to keep.

    What was installed but never reached its process is recorded with an empty hash: the next apply then knows that it has to restart it.
    `not_reloaded` names services whose reload failed: the files that they watch, and their settings, count as not taken in. `taken_in`: watched
    files as they were when the services that watch them came up; an install or a prestart hook may have written them after the plan was made.
    """
    after, before = plan.manifest, plan.before
    if after is None:
        return None
    old_units = before.units if before else {}
    old_watched = before.watched if before else {}
    unwritten = {step.unit for step in left if isinstance(step, WriteUnit)}
    # Of two, the first is that of what was written.
    is_unread = 0 < sum(isinstance(step, DaemonReload) for step in plan.steps) == sum(isinstance(step, DaemonReload) for step in left)
    unloaded = {step.unit for step in plan.steps if isinstance(step, WriteUnit)} if is_unread else set()
    open_jobs = {step.unit for step in left if isinstance(step, UnitStep) and not isinstance(step, WriteUnit | RemoveUnit)}
    units = {name: "" if name in open_jobs | unloaded else content for name, content in after.units.items() if name not in unwritten}
    units |= {name: old_units[name] for name in unwritten if name in old_units}
    remaining = [step.unit for step in left if isinstance(step, RemoveUnit)]
    units |= {name: old_units.get(name, "") for name in remaining}
    units |= {item.settings: "" for item in plan.services if item.name in not_reloaded and item.settings}
    stale = set(old_watched) if left else {path for item in plan.services if item.name in not_reloaded for path in item.reload_on}
    return replace(
        after,
        units=units,
        links=_links(after, before, left),
        services=dict(after.services) | _leaving(before, remaining),
        watched=dict(after.watched)
        | dict(taken_in or {})
        | {path: old_watched[path] for path in stale if path in after.watched and path in old_watched},
        made=tuple(path for path in after.made if path not in {step.directory.path for step in left if isinstance(step, MakeDirectory)}),
    )


def _links(after: Manifest, before: Manifest | None, left: Sequence[AnyStep]) -> dict[str, str]:
    missing = {step.path for step in left if isinstance(step, Link)}
    kept = {step.path: before.links.get(step.path, "") for step in left if isinstance(step, Unlink)} if before else {}
    return {path: target for path, target in after.links.items() if path not in missing} | kept


def _leaving(before: Manifest | None, remaining: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Services that still have units to be removed keep their place in the stop order."""
    if before is None:
        return {}
    return {name: units for name, units in before.services.items() if any(unit in remaining for unit in units)}
