"""`nanod status [APP]`."""

from __future__ import annotations

import click

from nanod.cli import console, host
from nanod.cli.options import JSON, UNIT_DIR, AppName, verb
from nanod.errors import ExitCode
from nanod.host import facts
from nanod.status import look
from nanod.view.status import status_data, status_text


@verb("status", "nanod status shop", "nanod status --json | jq '.apps[].healthy'")
@click.argument("app", type=AppName(), required=False)
@UNIT_DIR
@JSON
def command(*, app: str | None, unit_dir: str | None, as_json: bool) -> int:
    """Show how apps are, and why.

    Their services, the last run of each hook, the cause of a failure with its last lines, and what was changed by hand. Exit code 0 when all is
    healthy, 4 when not. systemctl and journalctl show the same units.
    """
    facts.require_systemd("show status")
    here = host.here(unit_dir)
    manifests = [host.manifest_of(name, here.store, "show") for name in ([app] if app else here.store.apps())]
    host.warn(here.store)
    found = [look(manifest, here.systemd, here.journal, here.store) for manifest in manifests]
    if as_json:
        console.out_json(status_data(found))
    else:
        console.out(status_text(found, console.style(), now=here.clock.wall()) or "no apps")
    return ExitCode.OK if all(item.is_healthy for item in found) else ExitCode.FAILED
