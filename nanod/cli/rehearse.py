"""`nanod rehearse SPEC [-- COMMAND]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanod.cli import flow
from nanod.cli.options import ENV, SPEC, verb
from nanod.errors import SpecError
from nanod.rehearse.rehearsal import rehearse

if TYPE_CHECKING:
    from nanod.rehearse.machine import Network


@verb(
    "rehearse",
    "nanod rehearse shop.yaml",
    "nanod rehearse shop.yaml -- systemctl status shop-web",
    "nanod rehearse --network host shop.yaml -- bash",
    for_users=False,
)
@SPEC
@click.argument("command_inside", metavar="[-- COMMAND]", nargs=-1, type=click.UNPROCESSED)
@ENV
@click.option(
    "--network",
    type=click.Choice(["private", "host"]),
    default="private",
    show_default=True,
    help="A network of its own with a loopback and nothing else, or this machine's.",
)
def command(*, spec: str, env: str | None, network: Network, command_inside: tuple[str, ...]) -> int:
    """Apply a spec for real on a throw-away systemd.

    It is booted in seconds over this machine's files, and nothing of it stays; it needs root and no running systemd. Prints what apply and status
    print, then runs COMMAND inside. The exit code is that of apply.
    """
    checked = flow.check(spec, env=env)
    if checked.units is None:
        raise SpecError(checked.report, checked.sources)
    words = ["-e", env] if env else []
    return rehearse(Path(spec), network=network, words=words, command=command_inside).verdict
