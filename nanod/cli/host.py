"""From compiled units to a plan for this machine, or for a tree below `--root`; and what a command must be allowed to do here."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import click

from nanod.across import awaited_apps, check_outer, restarting_with
from nanod.cli import console, progress
from nanod.cli.interrupts import Signals
from nanod.cli.scope import USER, current
from nanod.cli.unchanged import STDIN, made_from, unchanged
from nanod.colours import live_colours, switched, to_switch
from nanod.diagnostics import Report, Severity
from nanod.errors import NanodError, SpecError, UsageError
from nanod.host import Host, facts
from nanod.host.clock import SystemClock
from nanod.host.journal import Journalctl
from nanod.host.lock import host_lock
from nanod.host.releases import LocalReleases
from nanod.host.safety import ROOT, check_credentials, check_root_environment, check_root_programs, check_root_volumes, unsafe
from nanod.host.secrets import check_decrypts
from nanod.host.snapshot import snapshot
from nanod.host.store import LocalStore
from nanod.host.systemd import DBusSystemd
from nanod.plan import plan as make_plan
from nanod.recorded import unit_set
from nanod.scope import normal
from nanod.steps import Again, WriteUnit
from nanod.units.directives import OLDEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nanod.cli.unchanged import Made
    from nanod.spec.model import Spec
    from nanod.state import Manifest, Snapshot
    from nanod.steps import Plan
    from nanod.units.unitset import UnitSet
    from nanod.values import TimeSpan


@dataclass(frozen=True, slots=True, kw_only=True)
class Here(Host):
    """The machine nanod runs on; its store also says what it could not read."""

    store: LocalStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a spec asks of this machine. `spec_text` is kept beside the units, and `made` for the next time."""

    plan: Plan
    spec_text: str
    made: Made | None = None


def here(unit_dir: str | None = None) -> Here:
    """Raises UsageError for a directory in which systemd looks for no units: what is written there could not be started."""
    scope = current()
    unit_dir = str(PurePath(unit_dir or scope.unit_dir))
    if unit_dir not in scope.load_path:
        raise UsageError(f"cannot use {unit_dir}: systemd does not look for units there", hint=f"--unit-dir {scope.runtime_units} is such a place")
    store = LocalStore(unit_dir=unit_dir, scope=scope)
    return Here(
        systemd=DBusSystemd(scope=scope),
        store=store,
        journal=Journalctl(scope),
        clock=SystemClock(),
        releases=LocalReleases(scope=scope),
        digests=store.sealed,
        command=shlex.join(["nanod", *sys.argv[1:]]),
    )


def runtime_store() -> LocalStore:
    """Of units that a reboot forgets."""
    scope = current()
    return LocalStore(unit_dir=scope.runtime_units, scope=scope)


def require_root(action: str) -> None:
    """Or the owner of the manager that is meant, who is root for PID 1."""
    if os.geteuid() != current().uid:
        own = ", or --user for your own systemd" if USER in click.get_current_context().command.params else ""
        raise NanodError(f"cannot {action}: only root may do that", hint=f"sudo {shlex.join(['nanod', *sys.argv[1:]])}{own}")


def require_roots_own(path: str, action: str) -> None:
    """Raises NanodError for a spec that somebody else than root could change before it is read: what it says runs as root.

    Who says `sudo nanod apply` may have a spec of their own: sudo has asked them already (sudo(8), SUDO_UID). What users run as themselves is
    theirs to trust.
    """
    if current().uid != 0:
        return
    asked = os.environ.get("SUDO_UID", "")
    owners = ROOT | ({int(asked)} if asked.isdecimal() else set())
    if path != STDIN and (reason := unsafe(str(Path.cwd() / path), owners)):
        raise NanodError(
            f"cannot {action} {path}: {reason}, and root does what it says",
            hint="keep it where only root writes, such as /etc/nanod; --any-owner takes it all the same",
        )


@contextmanager
def locked(timeout: TimeSpan, *, root: str = "/", recovers: bool = True) -> Iterator[None]:
    """One nanod at a time; who waits for whom is said after a moment. What an interrupted nanod left is finished first, and said."""
    seconds = 10.0**9 if timeout.is_forever else timeout.usec / 1_000_000
    with host_lock(root=root, scope=current(), timeout=seconds, on_wait=lambda holder: console.err(f"nanod: waiting for {holder}")):
        if recovers and root == "/":
            said, refusals = finish_interrupted()
            for line in (*said, *(f"warning: {refused.message}" for refused in refusals)):
                console.err(f"nanod: {line}")
        yield


def finish_interrupted() -> tuple[list[str], list[NanodError]]:
    """Finish every transaction that was cut off: what was done, in words, and what could not be. That keeps its intent, and no other app waiting."""
    said: list[str] = []
    refusals: list[NanodError] = []
    store = LocalStore(scope=current())
    intents = store.intents()
    try:
        store.tidy()
        _finish_builds()
    except NanodError as refused:
        refusals.append(refused)
    for intent in intents.values():
        # Hardly ever there is one.
        from nanod.recover import recover  # noqa: PLC0415
        from nanod.recover import words as recovered_words  # noqa: PLC0415
        from nanod.undo import degraded  # noqa: PLC0415

        try:
            with interruptible() as signals, progress.shown() as tell:
                recovered = recover(intent, replace(here(intent.unit_dir), interrupts=signals), tell)
        except NanodError as refused:
            refusals.append(refused)
            continue
        if recovered.undone and recovered.undone.problems:
            refusals.append(degraded(recovered.undone))
        else:
            said.append(recovered_words(recovered))
        if signals.came:
            # Whoever pressed Ctrl-C meant the command that this recovery only comes before.
            raise KeyboardInterrupt
    warn(store)
    return said, refusals


def _finish_builds() -> None:
    if left := LocalReleases(scope=current()).unfinished():
        # As with intents.
        from nanod.release import clean_up  # noqa: PLC0415

        clean_up(left, here(), runtime_store())


@contextmanager
def interruptible() -> Iterator[Signals]:
    """A signal ends what is under way as Ctrl-C does."""
    signals = Signals()
    with signals.obeyed():
        yield signals


def planned(
    path: str,
    *,
    env: str | None,
    host: Here,
    take_over: bool = False,
    any_owner: bool = False,
    again: Again = Again.NOTHING,
    force: bool = False,
) -> Planned:
    """Load, compile, look at the host, plan, and verify what would be written. Raises SpecError for what the host lacks or systemd does not take.

    `take_over`: also an app of a spec in another place. `any_owner`: also with programs and files that others than root could change. `force`: also
    without what other apps require.
    """
    _require_load_path(host)
    any_owner = any_owner or host.store.scope.uid != 0
    if again is Again.NOTHING and (same := unchanged(path, env=env, host=host, any_owner=any_owner)):
        warn(host.store)
        return _verified(same.plan, same.report, {path: same.text}, same.text)
    # Three quarters of all that a command imports, and a spec that nothing has changed of needs none of it.
    from nanod.cli import flow  # noqa: PLC0415

    # PID 1 is asked anyway, and `systemctl --version` would be one more process.
    units, checked = flow.compiled(
        path,
        env=env,
        version=host.systemd.version,
        unit_dir=host.store.unit_dir,
        scope=host.store.scope,
        releases=lambda app: releases_of(app, host),
        rebuilds=again is Again.ALL,
        colours=lambda app: live_colours(host.store.manifest(app)),
    )
    assert checked.spec is not None
    _note_deploy(checked.spec, checked.report)
    manifest = host.store.manifest(units.app)
    warn(host.store)
    others = others_of(units, host.store)
    guests = [item.unit for item in restarting_with(units.app, others)]
    seen = snapshot(host.systemd, host.store, units, manifest, beside=guests)
    report = Report()
    report.merge(checked.report)
    if not any_owner:
        report.merge(check_root_programs(checked.spec))
        report.merge(check_root_environment(units))
        report.merge(check_root_volumes(units))
        report.merge(check_credentials(units))
    report.merge(facts.check_host(units, seen.units))
    report.merge(_ports(units, manifest, seen))
    report.merge(check_outer(units, others))
    plan = make_plan(units, manifest, seen, take_over=take_over, again=again, others=others, force=force)
    if turns := to_switch(plan, seen):
        checked = flow.recoloured(checked, switched(live_colours(manifest), turns))
        assert checked.units is not None
        seen = snapshot(host.systemd, host.store, checked.units, manifest, beside=guests)
        plan = make_plan(checked.units, manifest, seen, take_over=take_over, again=again, because_of=turns, others=others, force=force)
    report.merge(check_decrypts(plan))
    made = made_from(path, env, checked, plan)
    return replace(_verified(plan, report, checked.sources, "".join(checked.sources.values()), awaited_apps(units, others)), made=made)


def _require_load_path(host: Here) -> None:
    """Raises NanodError where a user's manager was started with another XDG_CONFIG_HOME than this command: it would not find the units.

    And with another XDG_CACHE_HOME: CacheDirectory= of a unit would be elsewhere than its lines say.
    """
    if host.store.scope.is_user and host.store.unit_dir not in host.systemd.load_path():
        raise NanodError(
            f"cannot use {host.store.unit_dir}: your systemd does not look for units there",
            hint="it was started with another XDG_CONFIG_HOME or HOME: 'systemctl --user show --property=UnitPath' shows where it looks",
        )
    theirs = host.systemd.environment() if host.store.scope.is_user else {}
    cache = theirs.get("XDG_CACHE_HOME") or (f"{theirs['HOME']}/.cache" if "HOME" in theirs else "")
    if cache.startswith("/") and normal(cache) != host.store.scope.cache:
        raise NanodError(
            f"cannot use {host.store.scope.cache}: your systemd has caches in {normal(cache)}",
            hint="it was started with another XDG_CACHE_HOME or HOME: 'systemctl --user show-environment' shows both",
        )


def others_of(units: UnitSet, store: LocalStore) -> dict[str, Manifest]:
    return store.others(units.app, [item.need.app for item in units.outer])


def _note_deploy(spec: Spec, report: Report) -> None:
    """Not where a deploy has put the spec: that has done its part."""
    if spec.deploy and spec.directory != spec.deploy.path:
        report.note(spec.deploy.at(), "'deploy' is for 'nanod deploy': apply knows this host alone, and does not run 'prepare'", "deploy")


def planned_rollback(app: str, generation: int | None, host: Here, *, force: bool = False) -> Planned:
    """The way to an earlier generation, by default the one in force before. Raises NanodError when there is none, or the host lacks what it needs."""
    manifest = manifest_of(app, host.store, "roll back")
    require_unit_dir(manifest, host.store, "roll back")
    warn(host.store)
    there = host.store.generations(app)
    number = generation if generation is not None else _before(manifest, there)
    if number == 0:
        raise NanodError(f"cannot roll back {app}: generation {manifest.generation} is the oldest there is", hint=f"'nanod history {app}' shows them")
    if number not in there:
        raise NanodError(f"cannot roll back {app}: there is no generation {number}", hint=f"generations are: {', '.join(map(str, there))}")
    old, texts, spec_text = host.store.generation(app, number)
    units = unit_set(old, texts, host.store.scope)
    others = others_of(units, host.store)
    seen = snapshot(host.systemd, host.store, units, manifest, beside=[item.unit for item in restarting_with(app, others)])
    report = facts.check_host(units, seen.units)
    report.merge(_ports(units, manifest, seen))
    report.merge(check_outer(units, others))
    if gone := [item for item in units.releases if item.path not in seen.releases]:
        raise NanodError(
            f"cannot roll back {app} to generation {number}: release {gone[0].name} of {gone[0].service} is gone",
            hint="'build: {keep: N}' says how many are kept; or apply the spec of that time again",
        )
    if report.has_errors:
        lacking = "; ".join(item.message for item in report if item.severity is Severity.ERROR)
        raise NanodError(f"cannot roll back {app} to generation {number}: {lacking}", hint="what it needs was there when it was applied")
    made = make_plan(units, manifest, seen, take_over=True, back_to=old, others=others, force=force)
    report.merge(check_decrypts(made))
    return _verified(made, report, {old.spec: spec_text}, spec_text)


def releases_of(app: str, host: Here) -> dict[str, list[str]]:
    """Of each service the releases there are, the one in force first."""
    manifest = host.store.manifest(app)
    in_force = manifest.releases if manifest else {}
    return {service: sorted(names, key=lambda name: name != in_force.get(service)) for service, names in host.releases.names(app).items()}


def _ports(units: UnitSet, manifest: Manifest | None, seen: Snapshot) -> Report:
    """Whose addresses are taken."""
    if not any(item.socket for item in units.services):
        return Report()
    from nanod.host.ports import check_ports  # noqa: PLC0415  (few apps have sockets)

    return check_ports(units, manifest, seen)


def require_unit_dir(manifest: Manifest, store: LocalStore, action: str) -> None:
    """Raises NanodError where another directory than the one looked at has the unit files: they would be left behind."""
    if manifest.unit_dir not in ("", store.unit_dir):
        raise NanodError(
            f"cannot {action} {manifest.app}: its unit files are in {manifest.unit_dir}, not in {store.unit_dir}",
            hint=f"--unit-dir {manifest.unit_dir}",
        )


def _before(manifest: Manifest, there: Sequence[int]) -> int:
    """The generation that the one in force came after; 0 for none. Should it be gone, the next older one."""
    if manifest.previous in there:
        return manifest.previous
    return max((number for number in there if number < manifest.generation), default=0)


def planned_below(root: str, path: str, *, env: str | None, store: LocalStore, take_over: bool, force: bool) -> Planned:
    """The same for a tree in which nothing runs; for the oldest systemd, because every newer one reads that too."""
    from nanod.cli import flow  # noqa: PLC0415  (as in `planned`)

    units, checked = flow.compiled(path, env=env, version=OLDEST, unit_dir=store.unit_dir)
    manifest = store.manifest(units.app)
    warn(store)
    seen = snapshot(None, store, units, manifest, root=root)
    report = Report()
    report.merge(checked.report)
    report.merge(facts.check_host(units, {}, root))
    others = others_of(units, store)
    report.merge(check_outer(units, others))
    if units.releases:
        raise NanodError(
            f"cannot apply {units.app} to {root}: {units.releases[0].service} has a source, and a release is built where it runs",
            hint="apply it on the machine itself",
        )
    made = make_plan(units, manifest, seen, online=False, take_over=take_over, others=others, force=force)
    return _verified(made, report, checked.sources, "".join(checked.sources.values()))


def _verified(plan: Plan, report: Report, sources: Mapping[str, str], spec_text: str, apps: Sequence[str] = ()) -> Planned:
    """Units that are on disk as they are wanted were verified when they were written."""
    written = {step.unit: step.old for step in plan.steps if isinstance(step, WriteUnit)}
    if plan.wanted and written:
        from nanod.host.verify import verify  # noqa: PLC0415

        report.merge(verify(plan.wanted, written))
    if report.has_errors:
        raise SpecError(report, sources, apps)
    console.show_findings(report, sources)
    return Planned(plan=plan, spec_text=spec_text)


def manifest_of(app: str, store: LocalStore, action: str) -> Manifest:
    """Raises NanodError for an app that this host does not have."""
    found = store.manifest(app)
    if found is None:
        apps = ", ".join(store.apps())
        raise NanodError(f"cannot {action} {app}: there is no such app here", hint=f"apps are: {apps}" if apps else "no app is applied here")
    return found


def warn(store: LocalStore) -> None:
    """Say what of the records could not be read."""
    for warning in dict.fromkeys(store.warnings):
        console.err(f"nanod: warning: {warning}")
