"""`nanod start APP [SERVICE…]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nanod.cli import console, host, progress
from nanod.cli.options import APP, JSON, LOCK_TIMEOUT, UNIT_DIR, Span, verb
from nanod.cli.service import SERVICES, known
from nanod.host import facts
from nanod.running import Running
from nanod.view.running import started_data, started_text

if TYPE_CHECKING:
    from nanod.values import TimeSpan


@verb("start", "nanod start shop", "nanod start shop db web")
@APP
@SERVICES
@click.option("--settle", type=Span(), metavar="TIME", help="How long what was started must stay up; default: as the spec says.")
@LOCK_TIMEOUT
@UNIT_DIR
@JSON
def command(*, app: str, services: tuple[str, ...], settle: TimeSpan | None, lock_timeout: TimeSpan, unit_dir: str | None, as_json: bool) -> int:
    """Start what is down of an app, and wait until it is healthy.

    With services, these and what they require. Prints the verdict, as apply does: exit code 0 when all is healthy, 4 when not.
    """
    facts.require_systemd("start")
    host.require_root("start")
    here = host.here(unit_dir)
    with host.locked(lock_timeout):
        manifest = host.manifest_of(app, here.store, "start")
        host.warn(here.store)
        names = known(services, manifest, "start")
        with host.interruptible(), progress.shown() as tell:
            end = Running(manifest=manifest, names=names, host=here, tell=tell).start(settle)
    if as_json:
        console.out_json(started_data(end))
    else:
        console.out(started_text(end, console.style()))
    return end.exit_code
