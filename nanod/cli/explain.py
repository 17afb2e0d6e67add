"""`nanod explain`, `nanod explain SPEC [NAME]`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanod.cli import console, flow
from nanod.cli.options import ENV, JSON, SYSTEMD_VERSION, verb
from nanod.errors import ExitCode, UsageError
from nanod.spec.needs import is_unit_name
from nanod.view import explain

if TYPE_CHECKING:
    from nanod.units.unitfile import UnitFile
    from nanod.units.unitset import UnitSet


@verb("explain", "nanod explain", "nanod explain shop.yaml web")
@click.argument("spec", type=click.Path(allow_dash=True), required=False)
@click.argument("name", required=False)
@ENV
@SYSTEMD_VERSION
@click.option("--markdown", is_flag=True, help="The lifecycle as a Markdown table.")
@JSON
def command(*, spec: str | None, name: str | None, env: str | None, version: int | None, markdown: bool, as_json: bool) -> int:
    """Explain the lifecycle, or the units of a spec.

    The lifecycle says when each phase runs, where, and what its failure does. With a SPEC, show its units, each line beside the place in the spec
    that made it; NAME (a service or a unit) shows only these.
    """
    if spec is None:
        if env is not None or version is not None:
            raise UsageError("cannot explain the lifecycle: --env and --systemd-version are for a SPEC", hint="nanod explain SPEC")
        _lifecycle(markdown=markdown, as_json=as_json)
        return ExitCode.OK
    if markdown:
        raise UsageError(f"cannot explain {spec}: only the lifecycle has a --markdown form", hint="nanod explain --markdown")
    if name is None and is_unit_name(spec) and not Path(spec).exists():
        raise UsageError(f"cannot explain {spec}: its spec is to be named first", hint=f"nanod explain SPEC {shlex.quote(spec)}")
    compiled, _ = flow.compiled(spec, env=env, version=version)
    units = chosen(compiled, name)
    if as_json:
        console.out_json(explain.origins_data(units))
    else:
        console.out(explain.origins_text(units, console.style()))
    return ExitCode.OK


def _lifecycle(*, markdown: bool, as_json: bool) -> None:
    if as_json:
        console.out_json(explain.lifecycle_data())
    elif markdown:
        console.out(explain.lifecycle_markdown())
    else:
        console.out(explain.lifecycle_text(console.style()))


def chosen(units: UnitSet, name: str | None) -> list[UnitFile]:
    """The units of a service, or the one of this name, with or without `.service`. Raises UsageError with the names there are."""
    found = [unit for unit in units.units if name in (None, unit.service, unit.name, unit.name.removesuffix(".service"))]
    if not found:
        names = ", ".join(service.name for service in units.services)
        raise UsageError(f"cannot explain '{name}': no such service or unit in {units.app}", hint=f"services are: {names}")
    return found
