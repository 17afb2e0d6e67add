"""`nanod run APP SERVICE PHASE [HOOK]`."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import click

from nanod.cli import console, host
from nanod.cli.options import APP, JSON, LOCK_TIMEOUT, UNIT_DIR, verb
from nanod.cli.service import SERVICE, one_service, words
from nanod.errors import ExitCode, NanodError
from nanod.groups import replica
from nanod.host import facts
from nanod.host.relay import Relay
from nanod.job import begin, of_itself, script_of, wait
from nanod.phases import HOOK_PHASES
from nanod.run import choice, run_hooks
from nanod.view.tty import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanod.run import Ran
    from nanod.values import TimeSpan

REFUSED = 125
"""nanod itself could not; as docker(1) and timeout(1) have it, so that it is no status of the hook."""
_LEVEL = re.compile(rb"(?m)^<[0-7]>(?=nanod: )")
"""What journald would take for the priority of a line."""


@verb(
    "run",
    "nanod run shop report",
    "nanod run shop web prestart",
    "nanod run shop web prestop deregister",
    "nanod run shop web@2 init",
    "nanod run shop db poststart backup > dump.sql",
)
@APP
@SERVICE
@click.argument(
    "phase",
    type=click.STRING,
    required=False,
    shell_complete=lambda ctx, _p, begin: [word for word in words(ctx, HOOK_PHASES) if word.startswith(begin)],
)
@click.argument("hook", required=False)
@LOCK_TIMEOUT
@UNIT_DIR
@JSON
def command(*, app: str, service: str, phase: str | None, hook: str | None, lock_timeout: TimeSpan, unit_dir: str | None, as_json: bool) -> int:
    """Run a script now; or by hand the hooks of a phase, one of them, or a task.

    Without PHASE the service is a script, scheduled or not: it runs in its own unit, as it always does; this shows what it prints, and
    waits for its end.

    SERVICE is a service, an instance of it (web@2) or a process (web/api); PHASE a phase, or the name of a task.

    systemd runs them as it would itself: same user, sandbox, environment, credentials, directories, timeout and record; the service is not touched.
    Their output is this command's, and so is the exit status of the hook that failed first: 124 for its timeout, 128 + n for signal n. 125: nanod
    could not run it.
    """
    try:
        facts.require_systemd("run hooks")
        host.require_root("run hooks")
        here = host.here(unit_dir)
        if phase is None:
            return _script(app, service, lock_timeout, here, as_json=as_json)
        with host.locked(lock_timeout):
            found = choice([of_itself(item) for item in one_service(app, service, here.store)], phase, hook, here)
            if (instance := replica(found.member.name)) and not replica(service):
                console.err(f"nanod: in instance {instance}; {service}@{instance} names it")
            with host.interruptible(), Relay(_to(2 if as_json else 1), _to_stderr) as pipes:
                ran = run_hooks(found.lines, found.member, here, host.runtime_store(), pipes, is_task=found.is_task)
    except NanodError as refused:
        console.fail(refused, as_json=as_json)
        return REFUSED
    if as_json:
        console.out_json(_data(app, service, phase, ran))
    elif ran.left:
        console.err(f"nanod: not run: {', '.join(clean(line.hook) for line in ran.left)}")
    return ExitCode.INTERRUPTED if ran.interrupted else ran.status


def _script(app: str, service: str, lock_timeout: TimeSpan, here: host.Here, *, as_json: bool) -> int:
    """The lock is held only for the start: a script may take hours, and stands in nobody's way."""
    with host.locked(lock_timeout):
        script = script_of(one_service(app, service, here.store), service)
        place = begin(script, here)
    with host.interruptible():
        end = wait(script, here, place=place, tell=_silent if as_json else _shown)
    if as_json:
        found = {"app": app, "service": service, "unit": end.unit, "status": end.status, "seconds": round(end.seconds, 3)}
        console.out_json(found | {"interrupted": end.interrupted, "lines": list(end.lines)})
    return ExitCode.INTERRUPTED if end.interrupted else end.status


def _shown(line: str) -> None:
    console.out(f"{clean(line)}\n")


def _silent(_: str) -> None:
    """JSON has all lines at the end."""


def _to(descriptor: int) -> Callable[[bytes], None]:
    """Writes the bytes as they are: a hook may print what somebody stores."""

    def write(chunk: bytes) -> None:
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except BrokenPipeError:
            raise
        except OSError as refused:
            raise NanodError(f"cannot write the output of the hook: {refused.strerror}") from refused

    return write


def _to_stderr(chunk: bytes) -> None:
    sys.stderr.flush()
    _to(2)(_LEVEL.sub(b"", chunk))


def _data(app: str, service: str, phase: str, ran: Ran) -> dict[str, object]:
    return {
        "app": app,
        "service": service,
        "phase": phase,
        "status": ran.status,
        "interrupted": ran.interrupted,
        "hooks": [
            {"phase": end.line.phase, "name": end.line.name, "unit": end.line.unit, "status": end.status, "seconds": round(end.seconds, 3)}
            for end in ran.ends
        ],
        "left": [line.name for line in ran.left],
    }
