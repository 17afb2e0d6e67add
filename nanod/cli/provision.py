"""`nanod provision APP [SERVICE…]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nanod.cli import console, host, progress
from nanod.cli.options import APP, JSON, LOCK_TIMEOUT, UNIT_DIR, verb
from nanod.cli.service import SERVICES, known, members
from nanod.host import facts
from nanod.host.volume import forget_install
from nanod.provisioning import installs, provision
from nanod.view.provisioning import provisioned_data, provisioned_text

if TYPE_CHECKING:
    from nanod.values import TimeSpan


@verb("provision", "nanod provision shop", "nanod provision --force shop web")
@APP
@SERVICES
@click.option("--force", is_flag=True, help="Install again what is installed.")
@LOCK_TIMEOUT
@UNIT_DIR
@JSON
def command(*, app: str, services: tuple[str, ...], force: bool, lock_timeout: TimeSpan, unit_dir: str | None, as_json: bool) -> int:
    """Run the installs of an app that are pending, now, and wait for them.

    A service that runs is not restarted, and none is started. Exit code 0 when all is installed, 4 when an install failed; its last lines are shown.
    """
    facts.require_systemd("provision")
    host.require_root("provision")
    here = host.here(unit_dir)
    with host.locked(lock_timeout):
        manifest = host.manifest_of(app, here.store, "provision")
        host.warn(here.store)
        names = tuple(dict.fromkeys(item.service for name in known(services, manifest, "provision") for item in members((name,), manifest)))
        wanted = installs(manifest, names, here)
        seconds = 10.0**9 if lock_timeout.is_forever else lock_timeout.usec / 1_000_000
        forget = (lambda sentinel: forget_install(sentinel, timeout=seconds)) if force else None
        with host.interruptible(), progress.shown() as tell:
            end = provision(app, wanted, here, forget=forget, tell=tell)
    if as_json:
        console.out_json(provisioned_data(end))
    else:
        console.out(provisioned_text(end, console.style()))
    return end.exit_code
