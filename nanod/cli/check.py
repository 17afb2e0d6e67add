"""`nanod check SPEC`."""

from __future__ import annotations

import click

from nanod import groups
from nanod.cli import console, flow
from nanod.cli.options import ENV, JSON, SPEC, verb
from nanod.cli.scope import current
from nanod.errors import ExitCode
from nanod.view.tty import clean


@verb("check", "nanod check -e stage shop.yaml")
@SPEC
@ENV
@click.option("--strict", is_flag=True, help="Take warnings for errors.")
@JSON
def command(*, spec: str, env: str | None, strict: bool, as_json: bool) -> int:
    """Show all errors of a spec at once, each with its line.

    Looks at nothing but the spec: no root, no systemd.
    """
    checked = flow.check(spec, env=env, scope=current())
    found = list(checked.report)
    is_good = checked.units is not None and not (strict and console.counted(found))
    if as_json:
        console.out_json({"spec": spec, "ok": is_good, "diagnostics": [item.data() for item in found]})
        return ExitCode.OK if is_good else ExitCode.BAD_SPEC
    console.show_findings(found, checked.sources)
    shown = console.style()
    count = console.counted(found)
    if checked.units is None or not is_good:
        console.err(f"nanod: {count}")
        return ExitCode.BAD_SPEC
    services = groups.count(item.service for item in checked.units.services)
    console.out(f"{clean(spec)}: {shown.good('ok')}, {services}{f', {count}' if count else ''}")
    return ExitCode.OK
