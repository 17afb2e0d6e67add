"""The services of an app, as arguments of the verbs that act on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from nanod import groups
from nanod.cli import host
from nanod.cli.scope import current
from nanod.errors import NanodError, UsageError
from nanod.host.store import LocalStore
from nanod.recorded import service_units

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanod.state import Manifest
    from nanod.units.unitset import ServiceUnits


class ServiceName(click.ParamType):
    name = "service"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Of the app that was typed before: services, their instances, processes and tasks. Unit files tell them to everyone."""
        del param
        found = _typed(ctx)
        return [CompletionItem(name) for name in (_names(found) if found else ()) if name.startswith(incomplete)]


def _typed(ctx: click.Context) -> Manifest | None:
    """Of the app that was typed before, if it is one; `explain` takes others there, too."""
    app = ctx.params.get("app") or ctx.params.get("what") or ""
    if "/" in app:
        return None
    try:
        return LocalStore(scope=current(ctx)).manifest(app)
    except NanodError:
        return None


def words(ctx: click.Context, phases: Iterable[str]) -> list[str]:
    """What `run` takes after a service: phases, and the tasks of the service that was typed before."""
    found = _typed(ctx)
    mine = members((ctx.params.get("service") or "",), found) if found else []
    return list(dict.fromkeys([*phases, *(groups.part(item.name) for item in mine if item.role in groups.TASKS)]))


SERVICE = click.argument("service", type=ServiceName())
SERVICES = click.argument("services", type=ServiceName(), nargs=-1)


def known(names: tuple[str, ...], manifest: Manifest, action: str) -> tuple[str, ...]:
    """The names, each once: of services, or of their instances, processes and tasks. Raises UsageError for one that the app does not have."""
    services = all_services(manifest)
    for name in names:
        if not groups.rows(name, services):
            raise UsageError(f"cannot {action} '{name}': {manifest.app} has no such service", hint=_hint(name, manifest))
    return tuple(dict.fromkeys(names))


def members(names: tuple[str, ...], manifest: Manifest) -> list[ServiceUnits]:
    """All that is meant by these names, or of the app without any; as `known` has found them good."""
    services = all_services(manifest)
    rows = dict.fromkeys(row for name in names for row in groups.rows(name, services))
    return [services[row] for row in (rows if names else services)]


def all_services(manifest: Manifest) -> dict[str, ServiceUnits]:
    return {name: service_units(manifest, name) for name in manifest.services}


def one_service(app: str, name: str, store: LocalStore) -> tuple[ServiceUnits, ...]:
    """All members that are meant. Raises NanodError for an app that is not here, UsageError for a service that it does not have."""
    manifest = host.manifest_of(app, store, "run hooks of")
    host.warn(store)
    known((name,), manifest, "run hooks of")
    return tuple(members((name,), manifest))


def _names(manifest: Manifest) -> list[str]:
    return groups.names(all_services(manifest).values())


def _hint(name: str, manifest: Manifest) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  (4 ms, and only a mistake needs it)

    services = ", ".join(dict.fromkeys(item.service for item in all_services(manifest).values()))
    near = get_close_matches(name, _names(manifest), 3)
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{guess}services are: {services}"
