"""The group of all verbs. A verb's file is imported when the verb is used, so `check` pays for nothing that only `apply` needs."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import click

from nanod import __version__
from nanod.cli import console
from nanod.cli.scope import USER
from nanod.errors import ExitCode, NanodError

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = tuple(
    "init check compile plan apply deploy status doctor history rollback start stop"
    " restart logs run provision remove explain schema rehearse daemon reload completion".split()
)
"""In the order of `nanod --help`: as a person meets them."""
HIDDEN = ("recover", "receive", "inspect", "metrics")
"""For units, although every verb that takes the lock does the same by itself; for `nanod deploy` on another host; and for the daemon."""


class Verbs(click.Group):
    """Verb `x` is the click command `x` of module `nanod.cli.x`; a name that shadows a Python word ends in `_`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in (*VERBS, *HIDDEN):
            from difflib import get_close_matches  # noqa: PLC0415  (4 ms, and only a mistake needs it)

            if near := get_close_matches(args[0], VERBS, 1):
                raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{near[0]}'?", ctx)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in (*VERBS, *HIDDEN):
            return None
        del ctx
        command = vars(importlib.import_module(f"nanod.cli.{cmd_name}"))["command"]
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=Verbs, params=[USER], invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="nanod", message="%(prog)s %(version)s")
@click.pass_context
def nanod(ctx: click.Context) -> int | None:
    """Services with their whole lifecycle, described in one YAML file, as ordinary systemd units, applied as one transaction.

    Exit codes: 0 done or healthy, 1 refused, 2 wrong usage or spec, 3 changes pending, 4 failed, 5 busy, 6 degraded, 130 interrupted.
    """
    if ctx.invoked_subcommand is not None:
        return None
    click.echo(ctx.get_help(), err=True)
    return ExitCode.BAD_SPEC


def main(arguments: Sequence[str]) -> int:
    """Run a command line, show what went wrong, and hand back the exit code. Bugs of nanod keep their traceback."""
    console.prepare()
    as_json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    try:
        code = nanod.main(args=list(arguments), prog_name="nanod", standalone_mode=False)
    except NanodError as error:
        return console.fail(error, as_json=as_json)
    except click.ClickException as wrong:
        return console.fail_usage(wrong, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("nanod: interrupted\n")
        return ExitCode.INTERRUPTED
    assert code is None or isinstance(code, int)
    return code or ExitCode.OK
