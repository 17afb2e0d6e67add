"""`nanod history APP`."""

from __future__ import annotations

import click

from nanod.cli import console, host
from nanod.cli.options import APP, JSON, verb
from nanod.errors import ExitCode, NanodError
from nanod.host.store import LocalStore
from nanod.view.history import history_data, history_text


@verb("history", "nanod history shop", "nanod history -n 5 shop")
@APP
@click.option("-n", "--lines", "count", type=click.IntRange(min=0), default=20, show_default=True, metavar="N", help="The last N; 0 for all.")
@JSON
def command(*, app: str, count: int, as_json: bool) -> int:
    """What was done to an app, when, by which command, and what came of it; and the generations that `rollback` can bring back."""
    host.require_root("read the history")
    store = LocalStore()
    entries = store.history(app)
    if not entries and not store.generations(app):
        apps = ", ".join(store.apps())
        raise NanodError(f"cannot read the history of {app}: there is none", hint=f"apps are: {apps}" if apps else "no app is applied here")
    there = store.generations(app)
    shown = entries[-count:] if count else entries
    in_force = store.in_force(app)
    if as_json:
        console.out_json(history_data(app, shown, there, in_force))
    else:
        console.out(history_text(app, shown, there, in_force, console.style()))
    return ExitCode.OK
