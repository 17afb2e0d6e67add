"""`nanod apply SPEC`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanod.apply import write_files
from nanod.cli import console, host, transact
from nanod.cli.options import ENV, EXPECT, FORCE, JSON, LOCK_TIMEOUT, NO_ROLLBACK, REBUILD, REDEPLOY, SETTLE, SPEC, TAKE_OVER, UNIT_DIR, again, verb
from nanod.cli.scope import current
from nanod.errors import ChangedError, ExitCode, NanodError, SpecError, UsageError
from nanod.host import facts
from nanod.host.store import LocalStore
from nanod.values import content_hash
from nanod.view.plan import plan_data, plan_text

if TYPE_CHECKING:
    from nanod.values import TimeSpan


@verb("apply", "nanod apply shop.yaml", "nanod apply -e stage --settle 0 shop.yaml", "nanod apply --root /mnt/image shop.yaml")
@SPEC
@ENV
@SETTLE
@LOCK_TIMEOUT
@click.option(
    "--root", type=click.Path(exists=True, file_okay=False), metavar="DIR", help="Only install the files into the tree DIR; nothing is started."
)
@UNIT_DIR
@TAKE_OVER
@EXPECT
@NO_ROLLBACK
@REDEPLOY
@REBUILD
@FORCE
@click.option("--digest", hidden=True, default="", help="Refuse when the SHA-256 of the spec's text is another one.")
@click.option("--any-owner", is_flag=True, help="Take a spec, programs and files, too, that others than root could change.")
@JSON
def command(
    *,
    spec: str,
    env: str | None,
    settle: TimeSpan | None,
    lock_timeout: TimeSpan,
    root: str | None,
    unit_dir: str | None,
    take_over: bool,
    expect: str | None,
    no_rollback: bool,
    redeploy: bool,
    rebuild: bool,
    force: bool,
    digest: str,
    any_owner: bool,
    as_json: bool,
) -> int:
    """Make the host as the spec says; say whether it is healthy.

    Only what changed is touched. Prints the plan, then news on standard error, then the verdict: for each service how it is, and what failed, with
    its last lines. Exit code 0 when all is healthy; 4 when not, and then all is put back as it was; 6 when that failed too.
    """
    if root is None:
        facts.require_systemd("apply")
    host.require_root("apply")
    if not any_owner:
        host.require_roots_own(spec, "apply")
    if root is not None:
        if current().is_user:
            raise UsageError("cannot apply with --user and --root: in a tree no user is logged in", hint="leave one of them out")
        return _install_files(root, spec, env, lock_timeout, unit_dir, take_over=take_over, force=force, as_json=as_json)
    here = host.here(unit_dir)
    with host.locked(lock_timeout):
        try:
            what = again(redeploy=redeploy, rebuild=rebuild)
            planned = host.planned(spec, env=env, host=here, take_over=take_over, any_owner=any_owner, again=what, force=force)
        except SpecError as wrong:
            _require_text(spec, wrong.sources.get(spec, ""), digest)
            raise
        _require_text(spec, planned.spec_text, digest)
        transact.require_expected(planned.plan, expect)
        return transact.carry_out(planned, here, span=settle, rolls_back=not no_rollback, as_json=as_json)


def _require_text(spec: str, text: str, digest: str) -> None:
    """Raises ChangedError for another one than that of the digest, if there is one."""
    if digest and content_hash(text) != digest:
        raise ChangedError(f"cannot apply {spec}: it has been changed since")


def _install_files(
    root: str, spec: str, env: str | None, lock_timeout: TimeSpan, unit_dir: str | None, *, take_over: bool, force: bool, as_json: bool
) -> int:
    if Path(root).resolve() == Path("/"):
        raise UsageError("cannot use / as --root: that is this host", hint="leave --root out")
    store = LocalStore(root=root, unit_dir=unit_dir or "")
    with host.locked(lock_timeout, root=root):
        if store.intents():
            raise NanodError(f"cannot apply to {root}: a transaction was cut off there", hint="boot it once, nanod-recover.service finishes that")
        planned = host.planned_below(root, spec, env=env, store=store, take_over=take_over, force=force)
        write_files(planned.plan, store, spec_text=planned.spec_text)
    if as_json:
        console.out_json({"root": root, **plan_data(planned.plan)})
    else:
        console.out(plan_text(planned.plan, console.style()))
    return ExitCode.OK
