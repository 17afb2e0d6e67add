"""`nanod reload`: what `systemctl reload nanod.service` runs."""

from __future__ import annotations

import json
import socket
from typing import Any

from nanod.cli import console, host
from nanod.cli.options import JSON, verb
from nanod.daemon.work import CONTROL
from nanod.errors import ExitCode, NanodError

_PART = 65536


@verb("reload", "nanod reload", "systemctl reload nanod.service", for_users=False)
@JSON
def command(*, as_json: bool) -> int:
    """Have the daemon read its configuration and all specs again, and wait for what comes of it.

    Returns when the configuration and every changed spec are in force, or refused: then they are named, with exit code 2 for the configuration,
    which stays as it was, and 4 for specs. What failed before is tried again.
    """
    host.require_root("reload")
    answer = ask("reload")
    if as_json:
        console.out_json(answer)
    error, problems = answer.get("error"), answer.get("reload", {}).get("problems", [])
    if not as_json:
        for line in [*(error.get("lines") or [error["message"]] if error else []), *problems]:
            console.err(f"nanod: {line}")
    if error:
        return ExitCode.BAD_SPEC if error.get("kind") == "reload" else ExitCode.REFUSED
    return ExitCode.FAILED if problems else ExitCode.OK


def ask(word: str, timeout: float | None = None) -> dict[str, Any]:
    """What the daemon answers; `timeout` in seconds, None to wait as long as it takes. Raises NanodError when there is no daemon, or none that
    answers.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout)
        try:
            client.connect(CONTROL)
            client.sendall(json.dumps({"do": word}).encode() + b"\n")
            said = b""
            while not said.endswith(b"\n") and (part := client.recv(_PART)):
                said += part
        except (FileNotFoundError, ConnectionRefusedError) as gone:
            raise NanodError("cannot ask the daemon: it does not run", hint="systemctl start nanod.service") from gone
        except OSError as failed:
            raise NanodError(f"cannot ask the daemon: {failed.strerror or failed}") from failed
    if not said.endswith(b"\n"):
        raise NanodError("cannot ask the daemon: it has ended meanwhile", hint="journalctl -u nanod.service")
    answer: dict[str, Any] = json.loads(said)
    return answer
