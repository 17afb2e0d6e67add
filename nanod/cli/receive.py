"""`nanod receive`: what `nanod deploy` runs on a target. It and rsync are all that an account there must be allowed to run as root."""

from __future__ import annotations

import os
import signal
import sys
import threading

import click

from nanod.cli import apply, console, host
from nanod.cli.options import JSON, verb
from nanod.errors import ExitCode, UsageError
from nanod.host.incoming import Incoming

_EOF_CHUNK = 4096


@verb("receive", "nanod receive open --project shop /opt/shop", hidden=True, for_users=False)
@click.argument("action", type=click.Choice(["open", "apply", "drop"]))
@click.option("--project", default="", metavar="NAME", help="Whose files they are.")
@JSON
@click.argument("path", type=click.Path())
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(*, action: str, project: str, path: str, words: tuple[str, ...], as_json: bool) -> int:
    """Take what is deployed to PATH.

    `open PATH` makes a directory to send to, and prints it. `apply PATH SENT SPEC [OPTION]…` puts in place what was sent to it, and applies SPEC; the
    end of its standard input is a Ctrl-C. `drop PATH SENT` deletes what was sent.
    """
    host.require_root("receive")
    os.umask(0o022)
    incoming = Incoming(path)
    if action == "open":
        stage = str(incoming.open(project))
        if as_json:
            console.out_json({"path": path, "stage": stage})
        else:
            console.out(stage)
        return ExitCode.OK
    if len(words) < (2 if action == "apply" else 1):
        raise UsageError(f"cannot {action}: it needs what was sent" + (", and the spec" if action == "apply" else ""))
    if action == "drop":
        incoming.drop(words[0])
        return ExitCode.OK
    with incoming.locked():
        incoming.place(words[0], project)
        _end_with_input()
        return _apply([*words[2:], *(["--json"] if as_json else []), "--", words[1]])


def _apply(words: list[str]) -> int:
    code = apply.command.main(args=words, prog_name="nanod apply", standalone_mode=False)
    assert isinstance(code, int)
    return code


def _end_with_input() -> None:
    """Interrupt this process, as Ctrl-C does, when whoever started it is gone: ssh(1) sends no signals to a host."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), _EOF_CHUNK):
            pass
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
