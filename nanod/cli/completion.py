"""`nanod completion SHELL`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from nanod.cli import console
from nanod.cli.options import verb
from nanod.errors import ExitCode


@verb(
    "completion",
    'eval "$(nanod completion bash)"    # in ~/.bashrc',
    'eval "$(nanod completion zsh)"     # in ~/.zshrc',
    "nanod completion fish | source     # in ~/.config/fish/config.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, *, shell: str) -> int:
    """Print the completion script of a shell.

    It completes verbs, options, specs and the names of apps.
    """
    made = get_completion_class(shell)
    assert made is not None
    console.out(made(ctx.find_root().command, {}, "nanod", "_NANOD_COMPLETE").source())
    return ExitCode.OK
