"""The way back: what a transaction has to remember before it begins, and the steps that put a host back from it. Pure.

The steps follow from the intent and from what the host is now, never from how far the transaction got: that is known to nobody after a crash.
A process that is still the one from before (the same invocation) was not touched, and is not touched now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanod.scope import SYSTEM
from nanod.state import Before, Intent, UnitState
from nanod.steps import (
    Arm,
    Cause,
    CauseKind,
    DaemonReload,
    Forget,
    Link,
    MakeDirectory,
    Purge,
    Reload,
    RemoveDirectory,
    RemoveUnit,
    Restart,
    Roll,
    Stamp,
    Start,
    StopBefore,
    UnitStep,
    Unlink,
    Unstamp,
    WriteUnit,
)
from nanod.units.names import GROUP, other_colour
from nanod.units.unitfile import parse
from nanod.units.unitset import Role, role_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from nanod.scope import RuntimeScope
    from nanod.steps import AnyStep, Plan
    from nanod.units.unitset import ServiceUnits

_CAUSE = (Cause(kind=CauseKind.UNDO, text="as it was before"),)
_MOVING = ("activating", "deactivating")
_NOTHING = UnitState(name="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who began a transaction, and when (UTC, ISO 8601)."""

    at: str
    command: str
    unit_dir: str
    scope: RuntimeScope = SYSTEM


def touched_units(plan: Plan) -> list[str]:
    """Units to which the plan may do anything at all, in start order; what goes away stands before what stays."""
    named = {step.unit for step in plan.steps if isinstance(step, UnitStep)}
    # A poststart task that fails may end its group.
    ending = {item.service for item in plan.services if item.role is Role.POSTSTART_TASK and item.main in named}
    named |= {item.main for item in plan.services if item.service in ending}
    # One that has failed too often takes its socket along.
    named |= {item.socket for item in plan.services if item.socket and item.main in named}
    known: dict[str, None] = {}
    for manifest in (plan.before, plan.manifest):
        for units in manifest.services.values() if manifest else ():
            for unit in (*units[1:], *units[:1]):
                known.pop(unit, None)
                known[unit] = None
    rest = sorted(named - set(known))
    targets = [name for name in rest if name.endswith(".target")]
    return [*(name for name in rest if name not in targets), *(name for name in known if name in named), *targets]


def stamps_of(text: str | None, scope: RuntimeScope) -> list[str]:
    """The stamps that keep deploy-scoped hooks of a unit file from running again."""
    return [value[1:] for _, key, value in parse(text or "") if key == "ConditionPathExists" and value.startswith(f"!{scope.once}/")]


def intent_of(plan: Plan, origin: Origin, units: Mapping[str, Before], links: Mapping[str, str], stamped: Iterable[str]) -> Intent:
    """`units`: how each of `touched_units` is; `links`: enablement links there are; `stamped`: those of `stamps_of` the old files that are there."""
    writes = [step for step in plan.steps if isinstance(step, WriteUnit | RemoveUnit)]
    linked = [step.path for step in plan.steps if isinstance(step, Link | Unlink)]
    there = set(stamped)
    old_stamps = {stamp: step.unit for step in writes for stamp in stamps_of(step.old, origin.scope) if stamp in there}
    new_stamps = {stamp for step in writes if isinstance(step, WriteUnit) for stamp in stamps_of(step.text, origin.scope)}
    new_stamps |= {origin.scope.armed(step.unit) for step in plan.steps if isinstance(step, Arm)}
    starts = {step.unit for step in plan.steps if isinstance(step, Start | Restart)}
    return Intent(
        app=plan.app,
        action=plan.action,
        generation=plan.manifest.generation if plan.manifest else 0,
        before=plan.before.generation if plan.before else 0,
        staged=plan.stages,
        at=origin.at,
        command=origin.command,
        unit_dir=origin.unit_dir,
        files={step.unit: step.old for step in writes},
        links={path: links.get(path) for path in linked},
        directories=tuple(step.directory.path for step in plan.steps if isinstance(step, MakeDirectory)),
        stamps=old_stamps,
        new_stamps=tuple(sorted(new_stamps - set(old_stamps))),
        units=units,
        reloads=tuple(step.unit for step in plan.steps if isinstance(step, Reload) and step.unit not in starts),
        purge=tuple(step.path for step in plan.steps if isinstance(step, Purge)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """The host as undoing finds it: of the units and paths that the intent names."""

    files: Mapping[str, str]
    links: Mapping[str, str]
    there: frozenset[str]
    """Stamps and directories that exist."""
    states: Mapping[str, UnitState]
    invocations: Mapping[str, str]
    """Of units that were up before."""

    def state(self, name: str) -> UnitState:
        return self.states.get(name, _NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """An instance that runs as it must not, and serves meanwhile: it goes back in its turn. `units`: it, and what is around it."""

    service: ServiceUnits
    wave: int
    via: str
    units: tuple[str, ...]


def turns_of(intent: Intent, now: Now, services: Sequence[ServiceUnits]) -> tuple[Turn, ...]:
    """Of the services as they were before. What does not serve has no turn: it is stopped at once, and back before the first turn comes."""
    found: list[Turn] = []
    order: dict[str, list[str]] = {}
    for item in services:
        if item.rolling is None or item.main not in intent.units or not intent.units[item.main].was_up or not now.state(item.main).is_up:
            continue
        around = [other.main for other in services if item.companion and other.companion == item.companion and other.role.is_pulled]
        moved = [name for name in (item.main, *around) if name in intent.units and name in intent.files and _is_other_run(intent, now, name)]
        if not moved or any(_is_new(intent, name) for name in moved):
            continue
        instances, instance = order.setdefault(item.group, []), item.name.partition("/")[0]
        if instance not in instances:
            instances.append(instance)
        via = item.companion if moved != [item.main] else ""
        found.append(Turn(service=item, wave=instances.index(instance) // item.rolling.max_parallel, via=via, units=(item.main, *around)))
    return tuple(found)


def restore_steps(intent: Intent, now: Now, turns: Iterable[Turn] = ()) -> tuple[AnyStep, ...]:
    """The first half of the way back: stops, files, one daemon-reload. What is down then shows only on the host; `return_steps` follows from that.

    What is new behind an open socket stops after that: until the old files are in force, it would be started once more.
    """
    needs_reload = (DaemonReload(causes=_CAUSE),) if intent.files or intent.links else ()
    held = held_units(intent, now)
    waiting = {*held, *(name for turn in turns for name in turn.units)}
    late = [name for name in intent.units if name in held and _is_new(intent, name)]
    files = list(_files(intent, now))
    removals = [step for step in files if isinstance(step, RemoveUnit) and step.unit in late]
    return (
        *(step for step in _stops(intent, now) if step.unit not in waiting),
        *(step for step in files if step not in removals),
        *needs_reload,
        # With their files still there: they stop by their own hooks.
        *(StopBefore(unit=name, causes=_CAUSE) for name in reversed(late) if _is_there(now.state(name))),
        *removals,
    )


def held_units(intent: Intent, now: Now) -> frozenset[str]:
    """What cannot be stopped before the old files are back: mains and proxies behind a socket that is open as it was, which the next connection would
    start again, and all that these bring up with them.
    """
    found = {name for name in intent.units if _is_behind(intent, now, name)}
    todo = list(found)
    while todo:
        text = now.files.get(todo.pop(), "")
        words = {word for section, key, value in parse(text) if section == "Unit" and key in _BRINGS for word in value.split()}
        more = {name for name in words.intersection(intent.units) - found if _role(now, name) is Role.MAIN}
        found |= more
        todo += more
    return frozenset(found)


_BRINGS = ("Wants", "Requires", "BindsTo", "PartOf")


def _is_behind(intent: Intent, now: Now, name: str) -> bool:
    """Not the main of a group: of its members each would have to come back in its place, and its socket is closed instead."""
    text = now.files.get(name, "")
    socket = _socket_of(text)
    return bool(socket) and not _is_grouped(text) and socket in intent.units and is_same_run(intent, now, socket)


def _is_grouped(text: str) -> bool:
    return any((section, key) == ("Unit", "Requires") and value.endswith(f"-{GROUP}.service") for section, key, value in parse(text))


def _is_succeeded(intent: Intent, name: str) -> bool:
    """An old colour: whatever runs of it began with the file that it had before, which a switch deletes and never changes."""
    stem, dash, colour = name.removesuffix(".service").rpartition("-")
    other = f"{stem}{dash}{other_colour(colour)}.service"
    return bool(other_colour(colour)) and _had_no_file(intent, other)


def _is_there(state: UnitState) -> bool:
    return state.active not in ("inactive", "failed") or state.job != 0


def return_steps(
    intent: Intent, now: Now, *, turns: Iterable[Turn] = (), keeps_configuration: Iterable[str] = (), held: Container[str] = ()
) -> tuple[AnyStep, ...]:
    """The second half: what ran before is started, also what a stop took along (PartOf=, Requires=). `now` is after the first half.

    `held`: those of `held_units` before it, which were not stopped.
    `keeps_configuration`: whose reload failed, and so need none back. Without deploy-scoped hooks: what they did cannot be taken back by running them
    again. A target is started last and alone: it wants services that somebody may have stopped, and scripts that have run.
    """
    kept = set(keeps_configuration)
    return (
        *(Forget(unit=name, causes=_CAUSE) for name in intent.units if _leaves_a_trace(intent, now, name)),
        *_starts(intent, now, kept, held),
        *(_roll(turn) for turn in turns if now.state(turn.service.main).is_up),
    )


def _roll(turn: Turn) -> Roll:
    """By the stop hooks of the file that is back: as an apply rolls."""
    item = turn.service
    healthy = item.rolling.min_healthy_usec if item.rolling else 0
    return Roll(unit=item.main, causes=_CAUSE, service=item.name, wave=turn.wave, healthy_usec=healthy, via=turn.via)


def _is_new(intent: Intent, name: str) -> bool:
    """Without a file before, and not at work either: what somebody had deleted the file of ran on all the same."""
    before = intent.units.get(name, Before(active=""))
    return _had_no_file(intent, name) and not (before.was_up or before.active == "activating")


def _masks(now: Now, name: str) -> bool:
    """The administrator has put a mask in place of the file meanwhile, and that is the last word."""
    return now.state(name).load == "masked" and name not in now.files


def _had_no_file(intent: Intent, name: str) -> bool:
    return name in intent.files and intent.files[name] is None


def _leaves_a_trace(intent: Intent, now: Now, name: str) -> bool:
    """PID 1 keeps a failed unit without a file for ever; and what was only down before shall not read as failed."""
    state = now.state(name)
    if _is_new(intent, name):
        return state.active != "inactive" or state.job != 0
    return state.active not in ("active", "reloading", "inactive") and intent.units[name].active == "inactive"


def is_same_run(intent: Intent, now: Now, name: str) -> bool:
    """It ran, and that very run goes on."""
    return intent.units[name].was_up and now.state(name).is_up and now.invocations.get(name) == intent.units[name].invocation


def _is_other_run(intent: Intent, now: Now, name: str) -> bool:
    """Something of it runs, or is about to, that did not before."""
    state = now.state(name)
    if not state.is_up and state.active not in _MOVING and not state.job:
        return False
    return not is_same_run(intent, now, name)


def _is_down(state: UnitState) -> bool:
    """Or on its way there: a start is done after the stop that runs, and takes the place of one that waits (tried on 252 and 257)."""
    if state.active == "deactivating" or state.job_type == "stop":
        return True
    return not (state.is_up or state.active in _MOVING or state.job)


def _stops(intent: Intent, now: Now) -> Iterator[StopBefore]:
    """Last started first, by the hooks of the file that started it. A target is not stopped: that would take along what it only wants.

    Sockets first: what is open would start its service again. Who is behind one that stays open restarts later, in one job.
    """
    names = list(intent.units)[::-1]
    names.sort(key=lambda name: not name.endswith(".socket"))
    closed = {_socket_of(text) for name in names if _is_grouped(text := now.files.get(name, "")) and _is_other_run(intent, now, name)}
    for name in names:
        if _is_new(intent, name):
            if _is_there(now.state(name)):
                yield StopBefore(unit=name, causes=_CAUSE, alone=_is_beside(now, name))
        elif _has_lost_its_socket(intent, now, name) or (name in closed and now.state(name).is_up):
            yield StopBefore(unit=name, causes=_CAUSE)
        elif _is_other_run(intent, now, name) and not name.endswith((".target", ".slice")):
            before = intent.units[name]
            if name in intent.files or _role(now, name) is Role.ALL or not (before.was_up or before.active == "activating"):
                yield StopBefore(unit=name, causes=_CAUSE, alone=_is_beside(now, name))


def _socket_of(text: str) -> str:
    """Of the unit file of a main or its proxy."""
    if role_of(text) not in (Role.MAIN, Role.PROXY):
        return ""
    needs = (word for section, key, value in parse(text) if (section, key) == ("Unit", "Requires") for word in value.split())
    return next((word for word in needs if word.endswith(".socket")), "")


def _has_lost_its_socket(intent: Intent, now: Now, name: str) -> bool:
    """It runs, with the descriptors of a socket that is not open any more, and could not be opened beside it."""
    socket = _socket_of(now.files.get(name, ""))
    return socket in intent.units and intent.units[socket].was_up and not now.state(socket).is_up and now.state(name).is_up


def _is_beside(now: Now, name: str) -> bool:
    """An install, deploy-scoped hooks, a task: a stop that goes by dependencies would take along the old service, which serves on (Requires=)."""
    return _role(now, name) in (Role.PROVISION, Role.PRESTART, Role.ALL) or _is_pulled(now, name)


def _is_pulled(now: Now, name: str) -> bool:
    role = _role(now, name)
    return role is not None and role.is_pulled


def _is_passing(now: Now, name: str) -> bool:
    """A run of a scheduled script, a liveness probe, a handler of a failure: it has ended by itself, and a start would be one more."""
    return _role(now, name) in (Role.JOB, Role.ALIVE, Role.FAILURE)


def _role(now: Now, name: str) -> Role | None:
    return role_of(now.files.get(name, ""))


def _files(intent: Intent, now: Now) -> Iterator[AnyStep]:
    for name, text in intent.files.items():
        there = now.files.get(name)
        if text is None and there is not None:
            yield RemoveUnit(unit=name, old=there, causes=_CAUSE)
        elif text is not None and text != there and not _masks(now, name):
            yield WriteUnit(unit=name, text=text, old=there, causes=_CAUSE)
    for path, target in intent.links.items():
        if target is None and path in now.links:
            yield Unlink(path=path, causes=_CAUSE)
        elif target is not None and now.links.get(path) != target:
            yield Link(path=path, target=target, causes=_CAUSE)
    yield from (Unstamp(path=path, causes=_CAUSE) for path in intent.new_stamps if path in now.there)
    yield from (Stamp(path=path, unit=unit, causes=_CAUSE) for path, unit in intent.stamps.items() if path not in now.there)
    yield from (RemoveDirectory(path=path, causes=_CAUSE) for path in reversed(intent.directories) if path in now.there)


def _starts(intent: Intent, now: Now, keeps_configuration: set[str], held: Container[str]) -> Iterator[AnyStep]:
    # What comes up with mains after them: before they are about to start it would be stopped at once.
    for name, before in sorted(intent.units.items(), key=lambda item: (item[0].endswith(".target"), _is_pulled(now, item[0]))):
        state = now.state(name)
        if _had_no_file(intent, name) or state.load == "masked":
            continue
        if name in held and name in intent.files and not is_same_run(intent, now, name) and not _is_succeeded(intent, name):
            # Not a start: while a start that has failed is cleaned up after, that would be the same job, and be over with it (tried).
            yield Restart(unit=name, causes=_CAUSE)
        elif _is_down(state) and (before.was_up or before.active == "activating") and not _is_passing(now, name):
            yield Start(unit=name, causes=_CAUSE, alone=name.endswith(".target"))
        elif name in intent.reloads and name not in keeps_configuration and state.is_up and not _is_other_run(intent, now, name):
            yield Reload(unit=name, causes=_CAUSE)


def file_differences(intent: Intent, now: Now) -> list[str]:
    """Files and links that are not as they were, and what ran although its file was gone and cannot be started again; each in words."""
    found = []
    for name, text in intent.files.items():
        if now.files.get(name) != text and not _masks(now, name):
            found.append(f"{name}: its file is still there" if text is None else f"{name}: its file is not as it was")
    for path, target in intent.links.items():
        if now.links.get(path) != target:
            found.append(f"{path}: the link is still there" if target is None else f"{path}: the link is not as it was")
    lost = [name for name in intent.units if _is_lost(intent, now, name)]
    return [*found, *(f"{name}: it ran, and its file had been deleted: it cannot be started again" for name in lost)]


def _is_lost(intent: Intent, now: Now, name: str) -> bool:
    return intent.units[name].was_up and not now.state(name).is_up and _had_no_file(intent, name)


def differences(intent: Intent, now: Now) -> list[str]:
    """All that is not as it was, for a way back that was cut short."""
    found = file_differences(intent, now)
    for name, before in intent.units.items():
        if before.was_up and not now.state(name).is_up and not _is_lost(intent, now, name) and not _is_passing(now, name):
            found.append(f"{name}: it ran, and does not run now")
        elif _is_new(intent, name) and now.state(name).is_up:
            found.append(f"{name}: it still runs")
    return found
