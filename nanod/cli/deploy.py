"""`nanod deploy SPEC`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanod import __version__
from nanod.cli import console, flow, host
from nanod.cli.options import ENV, FORCE, JSON, LOCK_TIMEOUT, NO_ROLLBACK, REBUILD, SETTLE, SPEC, TAKE_OVER, verb
from nanod.deploy import Order, check_sent, check_target, deploy
from nanod.diagnostics import Severity
from nanod.errors import NanodError, SpecError, UsageError
from nanod.host.process import pass_through
from nanod.host.ssh import Ssh, require_programs
from nanod.spec.load import load
from nanod.view.deploy import outcome_data, outcome_text, trouble_text
from nanod.view.tty import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nanod.deploy import Outcome
    from nanod.spec.model import Deploy, Spec
    from nanod.values import TimeSpan

_OF_A_SERVICE = "NANOD_SERVICE NANOD_UNIT NANOD_REPLICA NANOD_CACHE_DIR NANOD_RUN_DIR NANOKIT_SERVICE PLATFORM_CACHE_DIR".split()
"""What hooks see beside that; prepare is nobody's, and a script under `set -u` goes on all the same."""
_SURVEYS = 8
"""Targets that are asked at once, where nobody has to answer for them one by one."""


@verb(
    "deploy",
    "nanod deploy shop.yaml",
    "nanod deploy -e stage --target root@stage-1 shop.yaml",
    "nanod deploy --max-parallel 4 shop.yaml",
    for_users=False,
)
@SPEC
@ENV
@click.option("--target", "targets", multiple=True, metavar="[USER@]HOST", help="To this host, and not to those of the spec; may be said again.")
@click.option("--max-parallel", type=click.IntRange(min=1), metavar="N", help="Hosts at once; default: as the spec says, or 1.")
@click.option("--ssh-option", "options", multiple=True, metavar="NAME=VALUE", help="An option as of ssh -o; may be said again.")
@REBUILD
@SETTLE
@LOCK_TIMEOUT
@TAKE_OVER
@NO_ROLLBACK
@FORCE
@JSON
def command(
    *,
    spec: str,
    env: str | None,
    targets: tuple[str, ...],
    max_parallel: int | None,
    options: tuple[str, ...],
    rebuild: bool,
    settle: TimeSpan | None,
    lock_timeout: TimeSpan,
    take_over: bool,
    no_rollback: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Send the spec's directory to the hosts it names, and apply the spec there.

    Checks the spec, asks all targets whether they can, sends, runs `deploy.prepare` here, and only then goes on to the first target. What `nanod
    apply` says there is shown as it comes. Ends at the first target that fails, with the exit code of its apply.
    """
    require_programs()
    found, plan = _checked(spec, env)
    hosts = tuple(dict.fromkeys(targets or plan.targets))
    if wrong := next(filter(None, map(check_target, hosts)), ""):
        raise UsageError(f"cannot deploy: {wrong}")
    said = (("--rebuild", rebuild), ("--take-over", take_over), ("--no-rollback", no_rollback), ("--force", force))
    switches = [word for word, is_on in said if is_on]
    values = (("--env", env), ("--settle", settle), ("--lock-timeout", lock_timeout))
    order = Order(
        app=found.app,
        project=found.project,
        directory=found.directory,
        file=Path(found.file).name,
        path=plan.path,
        at_once=max_parallel or plan.max_parallel,
        words=("--redeploy", *(word for name, value in values if value is not None for word in (name, str(value))), *switches),
        as_json=as_json,
        version=__version__,
    )
    outcome = _carried_out(order, hosts, options, _prepare(found, plan))
    if as_json:
        console.out_json(outcome_data(outcome))
        return outcome.exit_code
    if trouble := trouble_text(outcome, console.style_of(sys.stderr)):
        console.err(trouble)
    console.out(outcome_text(outcome, console.style()))
    return outcome.exit_code


def _carried_out(order: Order, hosts: Sequence[str], options: Sequence[str], prepare: Callable[[], int] | None) -> Outcome:
    asks = sys.stdin.isatty()
    # A directory of its own: nobody else can put a socket there, and its name is short, for a socket's path may have 108 characters.
    sockets = Path(tempfile.mkdtemp(prefix="nanod-"))
    try:
        links = [Ssh(target, control=sockets / str(number), options=options, asks=asks) for number, target in enumerate(hosts)]
        with host.interruptible() as signals:
            return deploy(
                order,
                links,
                prepare=prepare,
                teller=_Told(len(hosts), as_json=order.as_json),
                surveys_at_once=1 if asks else _SURVEYS,
                interrupts=signals,
            )
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


def _checked(spec: str, env: str | None) -> tuple[Spec, Deploy]:
    """The spec, good as far as this machine can tell. Raises SpecError, UsageError, NanodError."""
    if spec == "-":
        raise UsageError("cannot deploy a spec from standard input: its directory is what is sent", hint="keep it in a file")
    checked = flow.check(spec, env=env)
    found, report = checked.spec, checked.report
    if found is not None and found.deploy is not None:
        check_sent(found, report)
        for position, target in enumerate(found.deploy.targets):
            keys = ("targets", position) if found.deploy.at.written("targets") else ("target",)
            if wrong := check_target(target):
                report.error(found.deploy.at(*keys), wrong, f"deploy.{keys[0]}")
        if found.deploy.path == "/":
            report.error(found.deploy.at("path"), "'path' must be a directory of its own, not '/'", "deploy.path")
    if found is None or report.has_errors:
        raise SpecError(report, checked.sources)
    console.show_findings([item for item in report if item.severity is Severity.WARNING], checked.sources)
    if found.deploy is None:
        raise UsageError(f"cannot deploy {spec}: it does not say where to", hint="deploy: {target: root@host, path: /opt/" + found.project + "}")
    _require_sendable(spec, found)
    _require_same_name(spec, env, found, found.deploy, checked.sources[spec])
    return found, found.deploy


def _require_sendable(spec: str, found: Spec) -> None:
    """Raises NanodError where the directory is not what anybody means to send, or the spec would not be in what is sent."""
    directory = Path(found.directory).resolve()
    if directory in (Path("/"), Path(os.environ.get("HOME") or "/").resolve()):
        raise NanodError(f"cannot deploy {spec}: all of {directory} would be sent", hint="give the app a directory of its own")
    if not Path(spec).resolve().is_relative_to(directory):
        raise NanodError(f"cannot deploy {spec}: it is a link that leads out of its directory, and would there, too", hint="name the file itself")


def _require_same_name(spec: str, env: str | None, found: Spec, deploy: Deploy, text: str) -> None:
    """An app without `project` is named after its file, or its directory, and that has another name on the target."""
    there = load(Path(found.file).name, text, env=env, directory=deploy.path).spec
    if there is None or there.app != found.app:
        name = f"'{there.app}'" if there else "nothing"
        raise NanodError(
            f"cannot deploy {spec}: it is '{found.app}' after its directory, and would be {name} in {deploy.path}", hint=f"project: {found.project}"
        )


def _prepare(spec: Spec, deploy: Deploy) -> Callable[[], int] | None:
    """Runs `deploy.prepare` in the spec's directory; what it prints is news, and nobody answers it."""
    if deploy.prepare is None:
        return None
    argv, said = deploy.prepare.argv, deploy.prepare.text or shlex.join(deploy.prepare.argv)
    env = spec.env or "default"
    given = {
        "LIFECYCLE_PHASE": "prepare",
        "NANOD_APP": spec.app,
        "NANOD_PROJECT": spec.project,
        "NANOD_ENV": env,
        "NANOD_APP_DIR": spec.directory,
        "NANOKIT_PROJECT": spec.project,
        "NANOKIT_ENV": env,
        "PLATFORM_APP_DIR": spec.directory,
        **dict.fromkeys(_OF_A_SERVICE, ""),
    }

    def prepare() -> int:
        console.err(clean(f"prepare: {said}"))
        return pass_through(argv, directory=spec.directory, env=given)

    return prepare


class _Told:
    """News on standard error, and what targets print: theirs alone as it is, of several each line behind the name of the target."""

    def __init__(self, count: int, *, as_json: bool) -> None:
        self._is_one, self._as_json = count == 1, as_json
        self._lock = threading.Lock()

    def news(self, target: str, text: str) -> None:
        self._write(console.err, clean(f"{target}: {text}"))

    def out(self, target: str, line: str) -> None:
        if not self._as_json:
            self._write(console.out, clean(line if self._is_one else f"{target}: {line}") + "\n")

    def err(self, target: str, line: str) -> None:
        self._write(console.err, clean(line if self._is_one else f"{target}: {line}"))

    def _write(self, write: Callable[[str], None], text: str) -> None:
        """A reader that went away is no reason to break off."""
        with self._lock, suppress(OSError, NanodError):
            write(text)
