"""The services of an app, as arguments of the verbs that act on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from nanod.cli import host
from nanod.errors import NanodError, UsageError
from nanod.host.store import LocalStore
from nanod.recorded import service_units

if TYPE_CHECKING:
    from nanod.state import Manifest
    from nanod.units.unitset import ServiceUnits


class ServiceName(click.ParamType):
    name = "service"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The services of the app that was typed before; unit files tell them to everyone."""
        del param
        try:
            found = LocalStore().manifest(ctx.params.get("app") or "")
        except NanodError:
            return []
        return [CompletionItem(name) for name in (found.services if found else ()) if name.startswith(incomplete)]


SERVICE = click.argument("service", type=ServiceName())
SERVICES = click.argument("services", type=ServiceName(), nargs=-1)


def known(names: tuple[str, ...], manifest: Manifest, action: str) -> tuple[str, ...]:
    """The names, each once. Raises UsageError for one that the app does not have."""
    for name in names:
        if name not in manifest.services:
            raise UsageError(f"cannot {action} '{name}': {manifest.app} has no such service", hint=f"services are: {', '.join(manifest.services)}")
    return tuple(dict.fromkeys(names))


def one_service(app: str, name: str, store: LocalStore) -> ServiceUnits:
    """Raises NanodError for an app that is not here, UsageError for a service that it does not have."""
    manifest = host.manifest_of(app, store, "run hooks of")
    host.warn(store)
    known((name,), manifest, "run hooks of")
    return service_units(manifest, name)
