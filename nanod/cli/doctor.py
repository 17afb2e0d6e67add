"""`nanod doctor`."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nanod.cli import console, host
from nanod.cli.options import JSON, UNIT_DIR, verb
from nanod.cli.reload import ask
from nanod.cli.scope import current
from nanod.daemon.checkup import findings as of_daemon
from nanod.doctor import Finding, Level, examine, worst
from nanod.errors import ExitCode, NanodError
from nanod.host import checkup
from nanod.status import look
from nanod.view.doctor import doctor_data, doctor_text
from nanod.view.verdict import apply_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.checked import AppFacts
    from nanod.cli.host import Here
    from nanod.state import Intent


@verb("doctor", "nanod doctor", "nanod doctor --json | jq '.findings[] | select(.level == \"error\")'")
@UNIT_DIR
@JSON
def command(*, unit_dir: str | None, as_json: bool) -> int:
    """Show what is wrong with this host for nanod, and what to do about it.

    Looks at systemd, the kernel, directories, programs, the journal, and at what each app left there, and changes nothing. Works on any machine; what
    only root may see is "unknown". Exit code 0 when there is no error, 4 when there is; warnings and notes leave it at 0.
    """
    here = host.here(unit_dir)
    seen = checkup.host_facts(here.systemd, here.store)
    apps, refusals, intents = [], [], here.store.intents()
    for app in sorted({*here.store.apps(), *intents}):
        try:
            apps.append(_app(app, here, intents.get(app), can_ask=seen.is_systemd and not seen.manager))
        except NanodError as refused:
            refusals.append(Finding(id="refused", level=Level.ERROR, text=refused.message, remedy=refused.hint, app=app))
    # What is about the host stands together.
    findings = sorted([*examine(seen, apps), *refusals, *_daemon(can_ask=seen.is_systemd and not seen.owner)], key=lambda item: bool(item.app))
    findings = [replace(item, remedy=current().worded(item.remedy)) for item in findings]
    if as_json:
        console.out_json(doctor_data(findings))
    else:
        console.out(doctor_text(findings, console.style()))
    return ExitCode.FAILED if worst(findings) is Level.ERROR else ExitCode.OK


def _daemon(*, can_ask: bool) -> Iterator[Finding]:
    if not can_ask:
        return
    status: dict[str, Any] | None = None
    with suppress(NanodError, KeyError):
        status = ask("status", timeout=10)["status"]
    yield from of_daemon(status, checkup.enabled("nanod.service"), can_ask=os.geteuid() == 0)


def _app(name: str, here: Here, intent: Intent | None, *, can_ask: bool) -> AppFacts:
    manifest = here.store.manifest(name)
    status = look(manifest, here.systemd, here.journal, here.store, intent=intent) if manifest and can_ask else None
    again = apply_command(manifest.spec, manifest.env) if manifest else ""
    return checkup.app_facts(name, here.store, manifest, status, intent, again=again)
