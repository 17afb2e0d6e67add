"""`nanod history APP`."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from nanod.cli import console, host
from nanod.cli.options import APP, JSON, verb
from nanod.cli.scope import current
from nanod.errors import ExitCode, NanodError
from nanod.host.journal import Journalctl
from nanod.host.store import LocalStore
from nanod.recorded import service_units
from nanod.state import LIVENESS, RUN
from nanod.view.history import Run, history_data, history_text


@verb("history", "nanod history shop", "nanod history -n 5 shop")
@APP
@click.option("-n", "--lines", "count", type=click.IntRange(min=0), default=20, show_default=True, metavar="N", help="The last N; 0 for all.")
@JSON
def command(*, app: str, count: int, as_json: bool) -> int:
    """What was done to an app, when, by which command, and what came of it; and the generations that `rollback` can bring back.

    Runs of scheduled scripts, and what liveness probes had done, stand among the rest, as far as the journal goes back.
    """
    host.require_root("read the history")
    store = LocalStore(scope=current())
    entries = store.history(app)
    if not entries and not store.generations(app):
        apps = ", ".join(store.apps())
        raise NanodError(f"cannot read the history of {app}: there is none", hint=f"apps are: {apps}" if apps else "no app is applied here")
    there = store.generations(app)
    shown = entries[-count:] if count else entries
    in_force = store.in_force(app)
    runs = _runs(app, store)[-count:] if count else _runs(app, store)
    if as_json:
        console.out_json(history_data(app, shown, there, in_force, runs=runs))
    else:
        console.out(history_text(app, shown, there, in_force, console.style(), runs=runs))
    return ExitCode.OK


def _runs(app: str, store: LocalStore) -> list[Run]:
    """Oldest first."""
    manifest = store.manifest(app)
    services = [service_units(manifest, name) for name in manifest.services] if manifest else []
    names = {item.job: (item.name, RUN) for item in services if item.job} | {item.main: (item.name, LIVENESS) for item in services if item.alive}
    found = [item for item in Journalctl(current()).hook_results(sorted(names)) if item.unit in names and item.phase == names[item.unit][1]]
    return [Run(service=names[item.unit][0], at=datetime.fromtimestamp(item.at // 1_000_000, UTC).isoformat(), result=item) for item in found]
