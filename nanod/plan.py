"""The plan: what is wanted, what was applied, and what the host has, to steps with causes. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from nanod.across import loss_notes, losses, named_units, refuse_losses
from nanod.changes import Comparison, compare, with_secrets
from nanod.colours import switches
from nanod.decide import Planning, decide, rolls
from nanod.refusals import refuse, refuse_to_strand
from nanod.state import Manifest, UnitState, VolumeRecord
from nanod.steps import (
    Again,
    AnyStep,
    Arm,
    Build,
    Cause,
    CauseKind,
    DaemonReload,
    FileStep,
    Forget,
    Link,
    MakeDirectory,
    Note,
    Plan,
    RemoveUnit,
    Restart,
    Roll,
    RunPostDeploy,
    RunPrestart,
    Stamp,
    Stop,
    StopBefore,
    Unlink,
    Unstamp,
    WriteUnit,
)
from nanod.units.directives import Cost
from nanod.units.names import GROUP, is_settings
from nanod.units.quoting import WORD, program
from nanod.units.secrets import watched_files
from nanod.units.unitfile import parse
from nanod.units.unitset import Role
from nanod.values import content_hash, digest

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from nanod.state import Snapshot
    from nanod.steps import PlanStep
    from nanod.units.unitset import ServiceUnits, UnitSet

NOBODY: Mapping[str, Manifest] = {}
_OUTLIVED = (Cause(kind=CauseKind.COLOUR, text="the new colour has taken over"),)
_GONE = (Cause(kind=CauseKind.GONE, text="no longer in the spec"),)


def plan(
    wanted: UnitSet,
    manifest: Manifest | None,
    snapshot: Snapshot,
    *,
    online: bool = True,
    take_over: bool = False,
    back_to: Manifest | None = None,
    again: Again = Again.NOTHING,
    because_of: Mapping[str, tuple[Cause, ...]] | None = None,
    others: Mapping[str, Manifest] = NOBODY,
    force: bool = False,
) -> Plan:
    """Steps in the order of their execution. `online` False is for `--root`: nothing runs there, so only files change.

    `again`: what is done although nothing has changed. `take_over`: the app may belong to a spec in another place. `back_to`: the generation that
    `wanted` was read from. `because_of`: why a service has another colour than the live one. `others`: the host's other apps, of which none is left
    without what it requires, but by `force`.

    Raises NanodError when a name is taken, when the app belongs to another spec, or when a service that runs would be stopped and not come up again;
    NeededError for what another app requires.
    """
    refuse(wanted, None if take_over else manifest, snapshot)
    compared = _compare_all(wanted, manifest, snapshot)
    making = Planning(wanted=wanted, manifest=manifest, snapshot=snapshot, compared=compared, again=again, because_of=because_of or {}, others=others)
    decide(making)
    refuse_to_strand(making)
    _observe(making)
    steps = tuple(step for step in _steps(making) if online or isinstance(step, FileStep))
    builds = tuple(_builds(making))
    afterwards = tuple(_afterwards(making)) if online else ()
    after = _manifest(making, back_to, changed=bool(steps))
    action = "apply" if back_to is None else "rollback"
    lost = losses(manifest, after, others)
    if not force:
        refuse_losses(action, wanted.app, lost)
    making.notes += loss_notes(lost)
    return Plan(
        app=wanted.app,
        wanted=wanted,
        steps=steps,
        notes=tuple(making.notes),
        manifest=after,
        before=manifest,
        builds=builds,
        afterwards=afterwards,
        token=plan_token(manifest, after, (*builds, *steps, *afterwards), _rest(making)),
        masked=frozenset(name for name in snapshot.masked if making.is_masked(name)),
        action=action,
        named=frozenset(named_units(wanted.app, others)),
        guests=tuple(item for unit, item in making.guests.items() if unit in making.process),
        stages=back_to is None,
    )


def _compare_all(wanted: UnitSet, manifest: Manifest | None, snapshot: Snapshot) -> dict[str, Comparison]:
    roles = {wanted.target: Role.TARGET, wanted.slice: Role.SLICE}
    for service in wanted.services:
        roles |= service.units
    applied = manifest.units if manifest else {}
    found = {unit.name: compare(unit, roles[unit.name], snapshot.files.get(unit.name), applied.get(unit.name)) for unit in wanted.units}
    seen = manifest.watched if manifest else {}
    return {name: with_secrets(item, seen, snapshot.digests) for name, item in found.items()}


def _observe(making: Planning) -> None:
    for name, paths in sorted(making.snapshot.drop_ins.items()):
        making.notes.extend(Note(kind="drop-in", subject=name, text=f"has an administrator's drop-in, which wins: {path}") for path in paths)
    if making.manifest:
        named = {path for service in making.wanted.services for path in (*service.reload_on, *service.restart_on)}
        for path in sorted(named - set(making.manifest.watched)):
            making.notes.append(Note(kind="watched", subject=path, text="is watched from now on"))


def _watched(wanted: UnitSet) -> set[str]:
    return {path for paths in watched_files(wanted).values() for path in paths}


def _steps(making: Planning) -> Iterator[AnyStep]:
    for item in making.wanted.directories:
        if item.path in making.snapshot.missing_directories:
            yield MakeDirectory(directory=item, causes=(Cause(kind=CauseKind.MISSING, text="does not exist", subject=item.path, mark=item.origin),))
    order = [name for service in making.wanted.services for name in (service.provision, service.prestart, service.job, service.main) if name]
    # What is open would start a service again that has stopped. Of a socket and who needs it, systemd stops the service first.
    order += sorted(making.stop_before.difference(order))
    yield from (StopBefore(unit=name, causes=making.why(name)) for name in reversed(order) if name in making.stop_before)
    files = [*_writes(making), *_links(making), *_counted_anew(making)]
    yield from files
    if any(map(_is_read_by_systemd, files)) or any(cause.kind is CauseKind.UNFINISHED for item in making.compared.values() for cause in item.causes):
        yield DaemonReload(causes=(Cause(kind=CauseKind.UNITS, text="unit files changed"),))
    for ready in making.prestarts:
        unit = ready.main if ready.is_shared else ready.prestart or ""
        irreversible = is_irreversible(making.compared[unit].text)
        yield RunPrestart(unit=unit, service=ready.name, irreversible=irreversible, causes=making.why(unit))
    turns = list(switches(making))
    gone = [name for name in stop_order(making.manifest) if name not in making.compared] if making.manifest else []
    pulled = pulled_units(making.manifest) if making.manifest else ()
    named = named_units(making.wanted.app, making.others)
    gone_now = departures([name for name in gone if name not in making.late], making.snapshot, _GONE, pulled, named)
    yield from gone_now
    if any(isinstance(step, RemoveUnit) and step.unit in named for step in gone_now):
        yield DaemonReload(causes=(Cause(kind=CauseKind.UNITS, text="another app names what is gone"),))
    yield from _armed(making)
    yield from _jobs(making)
    yield from turns
    yield from departures([name for name in gone if name in making.late], making.snapshot, _OUTLIVED)


def _is_read_by_systemd(step: AnyStep) -> bool:
    return not (isinstance(step, WriteUnit) and is_settings(step.unit))


def _writes(making: Planning) -> Iterator[AnyStep]:
    for name, item in making.compared.items():
        if item.writes and not making.is_masked(name):
            yield WriteUnit(unit=name, text=item.text, old=item.old, causes=making.why(name))


def _counted_anew(making: Planning) -> Iterator[AnyStep]:
    """A new calendar counts from now on: what it would have run since the last run of the old one was not missed."""
    for service in making.wanted.services:
        if service.job and service.main in making.stop_before and not making.compared[service.main].is_new:
            yield Stamp(unit=service.main, path=making.snapshot.scope.timer_stamp(service.main), causes=making.why(service.main))


def _links(making: Planning) -> Iterator[AnyStep]:
    wanted, there = making.wanted.links, making.snapshot.links
    recorded = making.manifest.links if making.manifest else {}
    for path, target in wanted.items():
        if path not in there:
            kind, text = (CauseKind.EDITED, "was removed by hand") if path in recorded else (CauseKind.NEW, "starts the app at boot")
            yield Link(path=path, target=target, causes=(Cause(kind=kind, text=text),))
    for path in recorded:
        if path not in wanted and path in there:
            yield Unlink(path=path, causes=_GONE)


def pulled_units(manifest: Manifest) -> set[str]:
    """What the mains of groups bring up with them, and what goes when these have gone."""
    return {unit for about in manifest.about.values() for unit, role in about.roles.items() if Role(role).is_pulled}


def departures(
    names: Iterable[str], snapshot: Snapshot, causes: tuple[Cause, ...], pulled: Container[str] = (), alone: Container[str] = ()
) -> list[AnyStep]:
    """Units that go away, in the order in which they stop: stopped by their own hooks, then deleted, then forgotten.

    `pulled`: those of `pulled_units`, which stop after the rest. `alone`: those that must not take along what is part of them.
    A name without our file is left alone, something else may have taken it; unless PID 1 says that it still runs without any file.
    """
    nothing = UnitState(name="")
    seen = [(name, snapshot.units.get(name, nothing)) for name in names]
    ours = [(name, state) for name, state in seen if name in snapshot.files or (state.load == "not-found" and _is_there(state))]
    return [
        *(
            Stop(unit=name, causes=causes, follows=name in pulled, alone=name in alone)
            for name, state in ours
            if _is_there(state) and (state.active != "failed" or state.job)
        ),
        *(RemoveUnit(unit=name, old=snapshot.files[name], causes=causes) for name, _ in ours if name in snapshot.files),
        *(Unstamp(path=snapshot.scope.timer_stamp(name), causes=causes) for name, _ in ours if _leaves_a_stamp(snapshot.files.get(name, ""))),
        *(Forget(unit=name, causes=causes) for name, state in ours if _is_there(state)),
    ]


def _leaves_a_stamp(text: str) -> bool:
    """A timer that catches up with what it missed: were it applied again some day, it would do so at once."""
    return ("Timer", "Persistent", "yes") in parse(text)


def _is_there(state: UnitState) -> bool:
    return state.active != "inactive" or state.job != 0


def stop_order(manifest: Manifest) -> list[str]:
    """Every unit of an app, last started first: target, services in reverse start order (what stands beside a main before it), slice."""
    # What instances share stops after the last of them.
    downward = [name for units in reversed(list(manifest.services.values())) for name in (*units[1:], *units[:1])]
    members = list(dict.fromkeys(downward[::-1]))[::-1]
    # A timer or a socket before what it starts.
    members.sort(key=lambda name: not name.endswith((".timer", ".socket")))
    rest = sorted(set(manifest.units) - set(members))
    return [*(name for name in rest if name.endswith(".target")), *members, *(name for name in rest if not name.endswith(".target"))]


def _builds(making: Planning) -> Iterator[Build]:
    before = making.manifest.releases if making.manifest else {}
    for release in making.wanted.releases:
        if release.path not in making.snapshot.releases:
            there = before.get(release.service, "")
            text = "first release" if not there else "it is not there any more" if there == release.name else "another release"
            if making.again is Again.ALL and there.partition(".")[0] == release.name.partition(".")[0]:
                text = "once more"
            yield Build(release=release, causes=(Cause(kind=CauseKind.RELEASE, text=text, subject=release.name, mark=release.origin),))


def _armed(making: Planning) -> Iterator[Arm]:
    for unit, service in making.deploys.items():
        if service.main in making.process or service.role is not Role.MAIN:
            yield Arm(unit=unit, service=service.service, irreversible=is_irreversible(making.compared[unit].text), causes=making.why(unit))


_LEAVES_A_MARK = re.compile(rf"{program('begun')} {WORD} {WORD}")


def is_irreversible(text: str) -> bool:
    """Of the unit of hooks that run once per content: it leaves a mark before they begin."""
    return any(key == "ExecStartPre" and _LEAVES_A_MARK.search(value) for _, key, value in parse(text))


def _afterwards(making: Planning) -> Iterator[RunPostDeploy]:
    """With each deployment, and whenever one is asked for."""
    done = set()
    for service in making.wanted.services:
        unit = service.post_deploy
        if unit is None or unit in done or service.role is not Role.MAIN or making.is_masked(unit) or making.is_masked(service.main):
            continue
        main = making.compared[service.main]
        has_hook = service.deploy is not None and not making.is_masked(service.deploy)
        is_deployed = service.deploy in making.deploys if has_hook else main.is_new or main.cost >= Cost.RESTART
        if is_deployed or making.again is not Again.NOTHING:
            done.add(unit)
            text = "it is deployed" if is_deployed else "it is deployed once more"
            yield RunPostDeploy(unit=unit, service=service.service, causes=(Cause(kind=CauseKind.DEPLOY, text=text, mark=service.origin),))


def _jobs(making: Planning) -> Iterator[AnyStep]:
    by_unit = {service.main: service for service in making.wanted.services}
    tops = _tops(making)
    anew = {name: by_unit[name].companion for name in making.process if name in by_unit and by_unit[name].companion in making.anew}
    via = {name: tops.get(companion, companion) for name, companion in anew.items()} | {top: top for top in tops.values()}
    waves = _waves(making)
    alone = {*via, *waves, *making.held}
    restarted = {name for name, step in making.process.items() if step is Restart and name not in alone}
    together: set[str] = set()
    for name, others in making.after().items():
        if name in restarted and (chain := restarted.intersection(others)):
            together |= {name, *chain}
    rolled = {service.companion for service, _ in waves.values()}
    # The target first: its start is one transaction for all that it wants, so that their order holds from the first job on.
    # What comes up with the mains of its group last: started before they are about to, it would be stopped at once (StopWhenUnneeded=).
    pulled = {service.main for service in making.wanted.services if service.role.is_pulled}
    # What restarts together does so before instances roll, or their turns would come between its stops and starts; what is behind a socket restarts
    # by a job of its own, for a stop alone would last until the next connection.
    last = {*waves, *making.held} if together else ()
    for name in sorted(making.process, key=lambda name: (name != making.wanted.target, name in pulled, name in last)):
        step, causes = making.process[name], making.why(name)
        if name in making.turning:
            continue
        if name in waves:
            service, wave = waves[name]
            assert service.rolling
            span = service.rolling.min_healthy_usec
            yield Roll(unit=name, causes=causes, service=service.name, wave=wave, healthy_usec=span, via=via.get(name, ""))
        elif step is not Restart:
            yield step(unit=name, causes=causes)
        elif name not in via or via[name] not in rolled:
            yield Restart(unit=name, causes=causes, together=name in together, via=via.get(name, ""))


def _tops(making: Planning) -> dict[str, str]:
    """Companions of groups that restart by what stands for all of their mains, and that."""
    found = {}
    for service in making.wanted.services:
        companion = making.member(f"{service.group}/{GROUP}")
        if service.role is Role.ALL and making.process.get(service.main) is Restart and companion and companion.main in making.anew:
            found[companion.main] = service.main
    return found


def _waves(making: Planning) -> dict[str, tuple[ServiceUnits, int]]:
    """Mains of instances that restart a few instances at a time, each with the number of its turn."""
    found: dict[str, tuple[ServiceUnits, int]] = {}
    turns: dict[str, list[str]] = {}
    for service in making.wanted.services:
        if service.rolling and making.process.get(service.main) is Restart and rolls(making, service):
            turn, instance = turns.setdefault(service.group, []), service.name.partition("/")[0]
            if instance not in turn:
                turn.append(instance)
            found[service.main] = (service, turn.index(instance) // service.rolling.max_parallel)
    return found


def _manifest(making: Planning, back_to: Manifest | None, *, changed: bool) -> Manifest:
    """The record once all steps are done. Without a step, and with nothing else new, it is the one there is."""
    wanted, before, snapshot = making.wanted, making.manifest, making.snapshot
    caches = {path for item in wanted.releases for path in item.caches}
    made = {*(before.made if before else ()), *(item.path for item in wanted.directories if item.path in snapshot.missing_directories), *caches}
    after = Manifest(
        app=wanted.app,
        spec=wanted.spec_file,
        env=wanted.env,
        generation=before.generation if before else 0,
        previous=before.previous if before else 0,
        unit_dir=snapshot.unit_dir,
        units={name: content_hash(item.text) for name, item in making.compared.items()},
        links=wanted.links,
        watched={path: snapshot.digests.get(path, "") for path in sorted(_watched(wanted))},
        services={item.name: tuple(item.units) for item in wanted.services},
        about={item.name: item.record for item in wanted.services},
        volumes=tuple(sorted({*_volumes(wanted), *caches})),
        made=tuple(sorted(made)),
        releases={item.service: item.name for item in wanted.releases},
        directories=tuple(VolumeRecord(path=item.path, user=item.user, group=item.group) for item in wanted.directories),
    )
    if back_to is not None:
        return replace(after, generation=back_to.generation, previous=back_to.previous)
    if not changed and after == before:
        return after
    return replace(after, generation=max(after.generation, snapshot.newest) + 1, previous=after.generation)


def _volumes(wanted: UnitSet) -> set[str]:
    states = {f"/var/lib/{word}" for unit in wanted.units for words in unit.values("Service", "StateDirectory") for word in words.split()}
    return states | {item.path for item in wanted.directories}


def _rest(making: Planning) -> Iterator[str]:
    """What a plan shows or counts on beside its steps. The administrator's drop-ins count with their content: they decide what a start would run."""
    yield from map(repr, making.notes)
    yield from (f"{path} {making.snapshot.digests.get(path)}" for paths in making.snapshot.drop_ins.values() for path in paths)


def plan_token(before: Manifest | None, after: Manifest | None, steps: Iterable[PlanStep], rest: Iterable[str] = ()) -> str:
    """Of everything the steps follow from: equal tokens promise that apply does what plan printed, and records the same.

    But for the digests of watched files: before the first apply there is no key for these, and what follows from them is in the steps.
    """
    return digest(repr(before), repr(after and replace(after, watched={})), *map(repr, steps), *rest)[:16]
