"""`nanod explain`, `nanod explain SPEC [NAME]`, `nanod explain APP [NAME]`, `nanod explain UNIT`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanod.cli import console, flow, host
from nanod.cli.installed import app_of, installed
from nanod.cli.options import ENV, JSON, SYSTEMD_VERSION, UNIT_DIR, verb
from nanod.errors import ExitCode, NanodError, UsageError
from nanod.host import checkup
from nanod.spec.load import STDIN
from nanod.spec.needs import is_unit_name
from nanod.timeline import timeline
from nanod.view import explain
from nanod.view.timeline import timeline_data, timeline_text
from nanod.view.tty import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanod.cli.installed import Installed
    from nanod.host.store import LocalStore
    from nanod.units.unitfile import UnitFile
    from nanod.units.unitset import UnitSet

_SPEC_SUFFIXES = (".yaml", ".yml", ".json")


@verb("explain", "nanod explain", "nanod explain shop.yaml web", "nanod explain shop web", "nanod explain shop-web.service")
@click.argument("what", metavar="[SPEC|APP|UNIT]", type=click.Path(allow_dash=True), required=False)
@click.argument("name", required=False)
@ENV
@SYSTEMD_VERSION
@UNIT_DIR
@click.option("--markdown", is_flag=True, help="The lifecycle as a Markdown table.")
@JSON
def command(*, what: str | None, name: str | None, env: str | None, version: int | None, unit_dir: str | None, markdown: bool, as_json: bool) -> int:
    """Explain the lifecycle, a spec, an app of this host, or one of its units.

    Alone: when each phase runs, where, and what its failure does. With a SPEC or an APP: its units, each line beside the place in the spec that made
    it; with the NAME of a service all that it goes through, step by step; with that of a unit its lines alone.

    What ends in .yaml, .yml or .json, has a slash in it, or is -, is a SPEC; what ends in .service, .target, .slice or the like is a UNIT of this
    host; anything else is an APP.
    """
    if what is None:
        if env is not None or version is not None:
            raise UsageError("cannot explain the lifecycle: --env and --systemd-version are for a SPEC", hint="nanod explain SPEC")
        _lifecycle(markdown=markdown, as_json=as_json)
        return ExitCode.OK
    if markdown:
        raise UsageError(f"cannot explain {what}: only the lifecycle has a --markdown form", hint="nanod explain --markdown")
    if is_spec(what):
        _spec(what, name, env=env, version=version, as_json=as_json)
        return ExitCode.OK
    if env is not None or version is not None:
        raise UsageError(f"cannot explain {what}: --env and --systemd-version are for a SPEC", hint="an app's own are on record")
    if is_unit_name(what) and name is not None:
        raise UsageError(f"cannot explain {name}: {what} is a unit already", hint=f"nanod explain {shlex.quote(what)}")
    _app(what, name, host.here(unit_dir).store, as_json=as_json)
    return ExitCode.OK


def is_spec(what: str) -> bool:
    """By its form alone, so that a file or an app that appears one day changes no answer."""
    return what == STDIN or "/" in what or what.endswith(_SPEC_SUFFIXES)


def _lifecycle(*, markdown: bool, as_json: bool) -> None:
    if as_json:
        console.out_json(explain.lifecycle_data())
    elif markdown:
        console.out(explain.lifecycle_markdown())
    else:
        console.out(explain.lifecycle_text(console.style()))


def _spec(path: str, name: str | None, *, env: str | None, version: int | None, as_json: bool) -> None:
    compiled, checked = flow.compiled(path, env=env, version=version)
    units = chosen(compiled, name)
    if name not in {service.name for service in compiled.services}:
        if as_json:
            console.out_json(explain.origins_data(units))
        else:
            console.out(explain.origins_text(units, console.style()))
        return
    assert name is not None
    assert checked.spec is not None
    steps = timeline(checked.spec, compiled, name)
    if as_json:
        console.out_json({"app": compiled.app, "service": name, "timeline": timeline_data(steps), **explain.origins_data(units)})
    else:
        console.out(timeline_text(f"{name} of {compiled.app}, as {path} says", steps, console.style()))


def chosen(units: UnitSet, name: str | None) -> list[UnitFile]:
    """The units of a service, or the one of this name, with or without `.service`. Raises UsageError with the names there are."""
    found = [unit for unit in units.units if name in (None, unit.service, unit.name, unit.name.removesuffix(".service"))]
    if not found:
        names = ", ".join(service.name for service in units.services)
        raise UsageError(f"cannot explain '{name}': no such service or unit in {units.app}", hint=f"services are: {names}")
    return found


def _app(what: str, name: str | None, store: LocalStore, *, as_json: bool) -> None:
    """`what`: an app, or one of its units."""
    if is_unit_name(what):
        app, name = app_of(what, store), what
    else:
        app = _known(what, store)
    found = installed(app, store)
    host.warn(store)
    is_service = name in found.spec.services
    units = _names(found, name)
    notes = [*([found.note] if found.note else []), *_drop_ins(units)]
    traced = [found.traced(unit) for unit in units]
    if as_json:
        about = {"app": app, "generation": found.manifest.generation, "spec": found.manifest.spec, "source": found.file, "notes": notes}
        steps = {"service": name, "timeline": timeline_data(found.timeline(name))} if is_service and name else {}
        console.out_json({**about, **steps, **explain.traced_data(traced)})
        return
    for note in notes:
        console.err(f"nanod: note: {clean(note)}")
    if is_service and name:
        title = f"{name} of {app}, generation {found.manifest.generation}, as {found.file} says"
        console.out(timeline_text(title, found.timeline(name), console.style()))
    else:
        console.out("\n\n".join(explain.traced_text(unit, console.style()) for unit in traced))


def _known(app: str, store: LocalStore) -> str:
    """Raises NanodError for an app that is not here, with what else may have been meant."""
    if app in store.apps():
        return app
    hint = ""
    if Path(app).is_file():
        hint = f"for the file: nanod explain ./{shlex.quote(app)}"
    elif store.read_units([f"{app}.service"]):
        hint = f"for the unit: nanod explain {shlex.quote(app)}.service"
    if hint:
        raise NanodError(f"cannot explain {app}: there is no such app here", hint=hint)
    host.manifest_of(app, store, "explain")
    return app


def _names(found: Installed, name: str | None) -> list[str]:
    """Units that are on this host: all, those of a service, or one. Raises UsageError with the names there are."""
    there = sorted(found.texts)
    if name in found.spec.services:
        mine = found.manifest.services.get(name or "", ())
        return [unit for unit in there if unit in mine]
    units = [unit for unit in there if name in (None, unit, unit.removesuffix(".service"))]
    if not units:
        services = ", ".join(found.spec.services)
        raise UsageError(f"cannot explain '{name}': no such service or unit in {found.manifest.app}", hint=f"services are: {services}")
    return units


def _drop_ins(units: Sequence[str]) -> list[str]:
    return [f"{path} is a drop-in of the administrator, which wins" for unit in units for path in checkup.drop_ins(unit)]
