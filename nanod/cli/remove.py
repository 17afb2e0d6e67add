"""`nanod remove APP`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from nanod.cli import console, host, transact
from nanod.cli.options import APP, FORCE, JSON, LOCK_TIMEOUT, UNIT_DIR, verb
from nanod.errors import ExitCode, NanodError
from nanod.host import facts
from nanod.host.snapshot import snapshot
from nanod.remove import plan_removal
from nanod.steps import Purge

if TYPE_CHECKING:
    from nanod.cli.host import Here
    from nanod.steps import Plan
    from nanod.values import TimeSpan


@verb("remove", "nanod remove shop", "nanod remove --purge shop")
@APP
@click.option("--purge", is_flag=True, help="Delete its data too: volumes that nanod made, and records of finished installs.")
@click.option("--only-from", metavar="SPEC", hidden=True, help="Do nothing when the app is not there, or was made from another spec.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before data is deleted; without a terminal nothing is asked.")
@FORCE
@LOCK_TIMEOUT
@UNIT_DIR
@JSON
def command(
    *, app: str, purge: bool, only_from: str | None, yes: bool, force: bool, lock_timeout: TimeSpan, unit_dir: str | None, as_json: bool
) -> int:
    """Take an app off the host; its data stays.

    It is stopped with its hooks, last started first, and then its units are deleted. What a service of another app requires is not removed, unless
    by --force.
    """
    facts.require_systemd("remove")
    host.require_root("remove")
    here = host.here(unit_dir)
    if purge and not yes and not as_json and sys.stdin.isatty() and sys.stderr.isatty():
        _ask(removal(app, here, purge=True, force=force))
    with host.locked(lock_timeout):
        if only_from is not None and not _is_from(app, only_from, here):
            if as_json:
                console.out_json({"app": app, "action": "remove", "verdict": "not there"})
            else:
                console.out(f"{app}: nothing here is from {only_from}")
            return ExitCode.OK
        plan = removal(app, here, purge=purge, force=force)
        return transact.carry_out(host.Planned(plan=plan, spec_text=""), here, as_json=as_json)


def _is_from(app: str, spec: str, here: Here) -> bool:
    manifest = here.store.manifest(app)
    return manifest is not None and manifest.spec == spec


def removal(app: str, here: Here, *, purge: bool, force: bool) -> Plan:
    manifest = host.manifest_of(app, here.store, "remove")
    host.require_unit_dir(manifest, here.store, "remove")
    others = {name: found for name in here.store.apps() if name != app and (found := here.store.manifest(name))}
    host.warn(here.store)
    return plan_removal(manifest, snapshot(here.systemd, here.store, None, manifest), purge=purge, others=others, force=force)


def _ask(plan: Plan) -> None:
    """Raises NanodError unless the answer is yes."""
    paths = "".join(f"\n  {step.path}" for step in plan.steps if isinstance(step, Purge))
    if paths and not click.confirm(f"Delete the data of {plan.app} for good?{paths}\n", err=True):
        raise NanodError(f"cannot remove {plan.app}: you said no")
