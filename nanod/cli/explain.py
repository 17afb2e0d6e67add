"""`nanod explain`, `nanod explain SPEC [NAME]`, `nanod explain APP [NAME]`, `nanod explain UNIT`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanod.cli import console, flow, host
from nanod.cli.installed import app_of, installed
from nanod.cli.options import ENV, JSON, SYSTEMD_VERSION, UNIT_DIR, SpecOrApp, verb
from nanod.cli.scope import current
from nanod.cli.service import ServiceName
from nanod.errors import ExitCode, NanodError, UsageError
from nanod.groups import part, rows
from nanod.host import checkup
from nanod.lifelines import life_of
from nanod.spec.load import STDIN
from nanod.spec.needs import is_unit_name
from nanod.units.names import GROUP
from nanod.view import explain
from nanod.view.svg import svg_text
from nanod.view.timeline import timeline_data, timeline_text
from nanod.view.tty import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanod.cli.installed import Installed
    from nanod.host.store import LocalStore
    from nanod.scope import RuntimeScope
    from nanod.timeline import Step
    from nanod.units.unitfile import UnitFile
    from nanod.units.unitset import UnitSet

_SPEC_SUFFIXES = (".yaml", ".yml", ".json")


@verb("explain", "nanod explain", "nanod explain shop.yaml web", "nanod explain shop web", "nanod explain shop-web.service")
@click.argument("what", metavar="[SPEC|APP|UNIT]", type=SpecOrApp(allow_dash=True), required=False)
@click.argument("name", type=ServiceName(), required=False)
@ENV
@SYSTEMD_VERSION
@UNIT_DIR
@click.option("--markdown", is_flag=True, help="The lifecycle as a Markdown table.")
@click.option(
    "--svg", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True), help="What a service goes through as a picture, in FILE or on -."
)
@JSON
def command(
    *,
    what: str | None,
    name: str | None,
    env: str | None,
    version: int | None,
    unit_dir: str | None,
    markdown: bool,
    svg: str | None,
    as_json: bool,
) -> int:
    """Explain the lifecycle, a spec, an app of this host, or one of its units.

    Alone: when each phase runs, where, and what its failure does. With a SPEC or an APP: its units, each line beside the place in the spec that made
    it; with the NAME of a service, or of an instance, process or task of one, all that it goes through, step by step; with that of a unit its
    lines alone.

    What ends in .yaml, .yml or .json, has a slash in it, or is -, is a SPEC; what ends in .service, .target, .slice or the like is a UNIT of this
    host; anything else is an APP.
    """
    if what is None:
        if svg is not None:
            raise UsageError("cannot draw the lifecycle: --svg is for a service", hint=f"nanod explain --svg {svg} APP SERVICE")
        if env is not None or version is not None:
            raise UsageError("cannot explain the lifecycle: --env and --systemd-version are for a SPEC", hint="nanod explain SPEC")
        _lifecycle(markdown=markdown, as_json=as_json)
        return ExitCode.OK
    if svg is not None and (name is None or as_json):
        raise UsageError("cannot draw: --svg is for a service, and without --json", hint=f"nanod explain --svg {svg} APP SERVICE")
    if markdown:
        raise UsageError(f"cannot explain {what}: only the lifecycle has a --markdown form", hint="nanod explain --markdown")
    if is_spec(what):
        _spec(what, name, env=env, version=version, svg=svg, as_json=as_json)
        return ExitCode.OK
    if env is not None or version is not None:
        raise UsageError(f"cannot explain {what}: --env and --systemd-version are for a SPEC", hint="an app's own are on record")
    if is_unit_name(what) and name is not None:
        raise UsageError(f"cannot explain {name}: {what} is a unit already", hint=f"nanod explain {shlex.quote(what)}")
    _app(what, name, host.here(unit_dir).store, svg=svg, as_json=as_json)
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


def _spec(path: str, name: str | None, *, env: str | None, version: int | None, svg: str | None, as_json: bool) -> None:
    compiled, checked = flow.compiled(path, env=env, version=version, scope=current())
    units = chosen(compiled, name)
    if name is None or not _is_service(name, compiled):
        _require_service(name, svg)
        if as_json:
            console.out_json(explain.origins_data(units))
        else:
            console.out(explain.origins_text(units, console.style()))
        return
    assert checked.spec is not None
    steps = life_of(checked.spec, compiled, name)
    if svg is not None:
        _draw(svg, f"{name} of {compiled.app}", steps)
    elif as_json:
        console.out_json({"app": compiled.app, "service": name, "timeline": timeline_data(steps), **explain.origins_data(units)})
    else:
        console.out(timeline_text(f"{name} of {compiled.app}, as {path} says", steps, console.style()))


def _is_service(name: str, units: UnitSet) -> bool:
    """Or an instance, a process or a task of one."""
    return bool(_rows(name, units))


def _rows(name: str, units: UnitSet) -> list[str]:
    found = rows(name, {item.name: item for item in units.services})
    return found if part(name) != GROUP else []


def _require_service(name: str | None, svg: str | None) -> None:
    if svg is not None:
        raise UsageError(f"cannot draw {name}: it is a unit, and a picture is of a service", hint="nanod explain --svg FILE APP SERVICE")


def _draw(file: str, title: str, steps: Sequence[Step]) -> None:
    text = svg_text(title, steps)
    if file == STDIN:
        console.out(text)
        return
    try:
        Path(file).write_text(f"{text}\n", encoding="utf-8")
    except OSError as refused:
        raise NanodError(f"cannot write {file}: {refused.strerror}") from refused


def chosen(units: UnitSet, name: str | None) -> list[UnitFile]:
    """The units of a service, or the one of this name, with or without `.service`. Raises UsageError with the names there are."""
    mine = _rows(name, units) if name else []
    found = [unit for unit in units.units if name in (None, unit.name, unit.name.removesuffix(".service")) or unit.service in mine]
    if not found:
        names = ", ".join(dict.fromkeys(service.service for service in units.services))
        raise UsageError(f"cannot explain '{name}': no such service or unit in {units.app}", hint=f"services are: {names}")
    return found


def _app(what: str, name: str | None, store: LocalStore, *, svg: str | None, as_json: bool) -> None:
    """`what`: an app, or one of its units."""
    if is_unit_name(what):
        app, name = app_of(what, store), what
    else:
        app = _known(what, store)
    found = installed(app, store)
    host.warn(store)
    is_service = name is not None and _is_service(name, found.units)
    units = _names(found, name)
    notes = [*([found.note] if found.note else []), *_drop_ins(units, store.scope)]
    traced = [found.traced(unit) for unit in units]
    if as_json:
        about = {"app": app, "generation": found.manifest.generation, "spec": found.manifest.spec, "source": found.file, "notes": notes}
        steps = {"service": name, "timeline": timeline_data(found.timeline(name))} if is_service and name else {}
        console.out_json({**about, **steps, **explain.traced_data(traced)})
        return
    for note in notes:
        console.err(f"nanod: note: {clean(note)}")
    if not is_service or name is None:
        _require_service(name or app, svg)
        console.out("\n\n".join(explain.traced_text(unit, console.style()) for unit in traced))
    elif svg is not None:
        _draw(svg, f"{name} of {app}, generation {found.manifest.generation}", found.timeline(name))
    else:
        title = f"{name} of {app}, generation {found.manifest.generation}, as {found.file} says"
        console.out(timeline_text(title, found.timeline(name), console.style()))


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
    if name is not None and (mine := _rows(name, found.units)):
        return [unit for unit in there if any(unit in found.manifest.services.get(row, ()) for row in mine)]
    units = [unit for unit in there if name in (None, unit, unit.removesuffix(".service"))]
    if not units:
        services = ", ".join(found.spec.services)
        raise UsageError(f"cannot explain '{name}': no such service or unit in {found.manifest.app}", hint=f"services are: {services}")
    return units


def _drop_ins(units: Sequence[str], scope: RuntimeScope) -> list[str]:
    return [f"{path} is a drop-in of the administrator, which wins" for unit in units for path in checkup.drop_ins(unit, scope)]
