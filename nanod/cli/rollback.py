"""`nanod rollback APP [GENERATION]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nanod.cli import host, transact
from nanod.cli.options import APP, EXPECT, FORCE, JSON, LOCK_TIMEOUT, NO_ROLLBACK, SETTLE, UNIT_DIR, verb
from nanod.host import facts

if TYPE_CHECKING:
    from nanod.values import TimeSpan


@verb("rollback", "nanod rollback shop", "nanod rollback shop 7")
@APP
@click.argument("generation", type=click.IntRange(min=1), required=False)
@SETTLE
@LOCK_TIMEOUT
@UNIT_DIR
@EXPECT
@NO_ROLLBACK
@FORCE
@JSON
def command(
    *,
    app: str,
    generation: int | None,
    settle: TimeSpan | None,
    lock_timeout: TimeSpan,
    unit_dir: str | None,
    expect: str | None,
    no_rollback: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Bring an earlier generation back: the one that was in force before, or GENERATION.

    It takes the same path as apply: only what differs is touched, deploy-scoped hooks run, and what fails is put back. The spec on disk stays as it
    is, and the next apply goes by it. `nanod history APP` shows the generations there are.
    """
    facts.require_systemd("roll back")
    host.require_root("roll back")
    here = host.here(unit_dir)
    with host.locked(lock_timeout):
        planned = host.planned_rollback(app, generation, here, force=force)
        transact.require_expected(planned.plan, expect)
        return transact.carry_out(planned, here, span=settle, rolls_back=not no_rollback, as_json=as_json)
