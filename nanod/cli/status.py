"""`nanod status [APP]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nanod.cli import console, host
from nanod.cli.options import JSON, UNIT_DIR, AppName, verb
from nanod.errors import ExitCode
from nanod.host import checkup, facts
from nanod.status import AppStatus, look
from nanod.view.status import status_data, status_text

if TYPE_CHECKING:
    from nanod.cli.host import Here
    from nanod.state import Intent


@verb("status", "nanod status shop", "nanod status --json | jq '.apps[].healthy'")
@click.argument("app", type=AppName(), required=False)
@UNIT_DIR
@JSON
def command(*, app: str | None, unit_dir: str | None, as_json: bool) -> int:
    """Show how apps are, and why.

    A tree: their services, the last run of each hook, the cause of a failure with its last lines, what was changed by hand, and a transaction that
    did not end. Exit code 0 when all is healthy, 4 when not. systemctl and journalctl show the same units.
    """
    facts.require_systemd("show status")
    here = host.here(unit_dir)
    intents, is_under_way = here.store.intents(), checkup.is_locked(here.store.scope)
    names = [app] if app else sorted({*here.store.apps(), *intents})
    found = [_status(name, here, intents.get(name), is_under_way=is_under_way) for name in names]
    host.warn(here.store)
    if as_json:
        console.out_json(status_data(found))
    else:
        console.out(status_text(found, console.style(), now=here.clock.wall()) or "no apps")
    return ExitCode.OK if all(item.is_healthy for item in found) else ExitCode.FAILED


def _status(app: str, here: Here, intent: Intent | None, *, is_under_way: bool) -> AppStatus:
    """Of a first apply that was cut short there may be no more than its intent. Raises NanodError for an app that is not here."""
    if intent and here.store.manifest(app) is None:
        return AppStatus(app=app, spec="", env=None, generation=0, services=(), drift=(), intent=intent, is_under_way=is_under_way)
    manifest = host.manifest_of(app, here.store, "show")
    return look(manifest, here.systemd, here.journal, here.store, intent=intent, is_under_way=is_under_way)
