"""`nanod compile SPEC`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanod.cli import console, flow
from nanod.cli.options import ENV, JSON, SPEC, SYSTEMD_VERSION, verb
from nanod.cli.scope import current
from nanod.errors import ExitCode, NanodError
from nanod.view.tty import clean

if TYPE_CHECKING:
    from nanod.units.unitset import UnitSet


@verb("compile", "nanod compile --systemd-version 252 -o units/ shop.yaml")
@SPEC
@ENV
@click.option("-o", "--output", type=click.Path(file_okay=False), metavar="DIR", help="Write one file per unit to DIR.")
@SYSTEMD_VERSION
@JSON
def command(*, spec: str, env: str | None, output: str | None, version: int | None, as_json: bool) -> int:
    """Print the units that a spec becomes.

    Needs no root and no systemd; the same spec in the same directory gives the same bytes.
    """
    units, checked = flow.compiled(spec, env=env, version=version, scope=current())
    console.show_findings(checked.report, checked.sources)
    if output is not None:
        write(units, Path(output))
    if as_json:
        console.out_json({"app": units.app, "units": {unit.name: unit.render() for unit in units.units}})
    elif output is None:
        at_terminal = console.is_terminal(sys.stdout)
        shown = console.style()
        text = "\n".join(f"{shown.strong(f'# ---- {unit.name}')}\n{clean(unit.render()) if at_terminal else unit.render()}" for unit in units.units)
        console.out(text.rstrip("\n"))
    return ExitCode.OK


def write(units: UnitSet, directory: Path) -> None:
    """One file per unit; files of other names in the directory stay. Raises NanodError when it cannot be written."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for unit in units.units:
            (directory / unit.name).write_text(unit.render(), encoding="utf-8")
    except OSError as refused:
        raise NanodError(f"cannot write units to {directory}: {refused.strerror}") from refused
