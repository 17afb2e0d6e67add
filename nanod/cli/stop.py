"""`nanod stop APP [SERVICE…]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.cli import console, host, progress
from nanod.cli.options import APP, JSON, LOCK_TIMEOUT, UNIT_DIR, verb
from nanod.cli.service import SERVICES, known
from nanod.host import facts
from nanod.running import Running
from nanod.view.running import stopped_data, stopped_text

if TYPE_CHECKING:
    from nanod.values import TimeSpan


@verb("stop", "nanod stop shop", "nanod stop shop web")
@APP
@SERVICES
@LOCK_TIMEOUT
@UNIT_DIR
@JSON
def command(*, app: str, services: tuple[str, ...], lock_timeout: TimeSpan, unit_dir: str | None, as_json: bool) -> int:
    """Stop an app with its hooks, last started first, and wait until its processes are gone.

    With services, only these. What is stopped comes back with `nanod start`, with the next boot, and when something that runs requires it.
    """
    facts.require_systemd("stop")
    host.require_root("stop")
    here = host.here(unit_dir)
    with host.locked(lock_timeout):
        manifest = host.manifest_of(app, here.store, "stop")
        host.warn(here.store)
        names = known(services, manifest, "stop")
        with host.interruptible(), progress.shown() as tell:
            end = Running(manifest=manifest, names=names, host=here, tell=tell).stop()
    if as_json:
        console.out_json(stopped_data(end))
    else:
        console.out(stopped_text(end, console.style()))
    return end.exit_code
