"""`nanod inspect`: what the daemon, which knows neither D-Bus nor records, asks of a short-lived process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod import drift
from nanod.cli import console, host
from nanod.cli.options import verb
from nanod.errors import ExitCode, NanodError
from nanod.host import checkup, facts
from nanod.values import content_hash

if TYPE_CHECKING:
    from nanod.cli.host import Here


@verb("inspect", "nanod inspect", hidden=True, for_users=False)
def command() -> int:
    """Print as JSON, of each app, what it was made from and what is not as nanod left it."""
    facts.require_systemd("inspect")
    here = host.here()
    # Before anything is looked at: whoever begins meanwhile ends later, and then there is another look.
    is_locked = checkup.is_locked()
    found = [_app(name, here, is_under_way=is_locked) for name in here.store.apps()]
    console.out_json({"apps": [item for item in found if item]})
    return ExitCode.OK


def _app(name: str, here: Here, *, is_under_way: bool) -> dict[str, object] | None:
    manifest = here.store.manifest(name)
    if manifest is None:
        return None
    found = drift.look(manifest, here.systemd, here.store, here.store.intents().get(name))
    return {
        "app": name,
        "spec": manifest.spec,
        "digest": _digest(name, here),
        "under_way": is_under_way,
        "drift": [{"kind": item.kind, "subject": item.subject} for item in found],
    }


def _digest(name: str, here: Here) -> str:
    """Of the text that the generation in force was made from; "" when that is not to be read."""
    try:
        return content_hash(here.store.generation(name, here.store.in_force(name))[2])
    except NanodError:
        return ""
