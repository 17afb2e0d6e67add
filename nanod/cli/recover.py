"""`nanod recover`: what nanod-recover.service runs at boot. Every verb that takes the lock does the same, so nobody has to call it by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nanod.cli import console, host
from nanod.cli.options import JSON, LOCK_TIMEOUT, verb
from nanod.cli.scope import current
from nanod.errors import DegradedError, ExitCode, NanodError, UsageError
from nanod.host import facts
from nanod.host.releases import LocalReleases
from nanod.host.store import LocalStore
from nanod.host.systemctl import Systemctl
from nanod.recover import recover_at_boot, words

if TYPE_CHECKING:
    from nanod.values import TimeSpan


@verb("recover", "nanod recover", "nanod recover --boot", hidden=True)
@click.option("--boot", is_flag=True, help="Nothing of an app runs yet, and there is no D-Bus: restore files, reload, and wait for nothing.")
@LOCK_TIMEOUT
@JSON
def command(*, boot: bool, lock_timeout: TimeSpan, as_json: bool) -> int:
    """Finish what an interrupted nanod left: undo it, or complete what was decided."""
    facts.require_systemd("recover")
    host.require_root("recover")
    if boot and current().is_user:
        raise UsageError("cannot recover at boot with --user: that is before any user's manager runs", hint="nanod --user recover")
    refusals: list[NanodError] = []
    with host.locked(lock_timeout, recovers=False):
        if boot:
            store = LocalStore()
            intents = store.intents()
            store.tidy()
            found, refusals = recover_at_boot(intents, lambda intent: LocalStore(unit_dir=intent.unit_dir), LocalReleases(), Systemctl())
            host.warn(store)
            said = [words(item) for item in found]
        else:
            said, refusals = host.finish_interrupted()
    if as_json:
        console.out_json({"recovered": said, "problems": [refused.message for refused in refusals]})
    else:
        console.out("".join(f"{line}\n" for line in said))
    if refusals and not as_json:
        left = [text for refused in refusals for text in (refused.left if isinstance(refused, DegradedError) else (refused.message,))]
        raise DegradedError(refusals[0].message, left, hint=refusals[0].hint)
    return ExitCode.DEGRADED if refusals else ExitCode.OK
