"""`nanod plan SPEC`."""

from __future__ import annotations

import click

from nanod.cli import console, host
from nanod.cli.options import ENV, FORCE, JSON, REBUILD, REDEPLOY, SPEC, TAKE_OVER, UNIT_DIR, again, verb
from nanod.errors import ExitCode
from nanod.host import facts
from nanod.view.plan import plan_data, plan_text


@verb("plan", "nanod plan shop.yaml", "nanod plan --detailed-exitcode shop.yaml || echo changes")
@SPEC
@ENV
@click.option("--detailed-exitcode", "detailed", is_flag=True, help="Exit with 3 when there is something to change.")
@click.option("--diff/--no-diff", "diffs", default=True, help="Show what changes in each unit file; on by default.")
@TAKE_OVER
@UNIT_DIR
@REDEPLOY
@REBUILD
@FORCE
@JSON
def command(
    *,
    spec: str,
    env: str | None,
    detailed: bool,
    diffs: bool,
    take_over: bool,
    unit_dir: str | None,
    redeploy: bool,
    rebuild: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Show what apply would do, and why.

    For each unit the action, its cause with the line of the spec, and what changes in its file. Changes nothing.
    """
    facts.require_systemd("plan")
    here = host.here(unit_dir)
    what = again(redeploy=redeploy, rebuild=rebuild)
    found = host.planned(spec, env=env, host=here, take_over=take_over, again=what, force=force).plan
    if intent := here.store.intents().get(found.app):
        console.err(f"nanod: warning: the {intent.action} that began at {intent.at} was cut off; apply undoes it first")
    if as_json:
        console.out_json(plan_data(found))
    else:
        console.out(plan_text(found, console.style(), diffs=diffs))
        if not found.is_empty:
            console.out(console.style().hint(f"'nanod apply --expect {found.token}' does this, or refuses"))
    return ExitCode.CHANGES_PENDING if detailed and not found.is_empty else ExitCode.OK
