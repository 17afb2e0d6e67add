"""`nanod daemon`."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import click

from nanod.cli import console, host
from nanod.cli.options import JSON, verb
from nanod.daemon.config import PATH
from nanod.diagnostics import Report
from nanod.errors import ExitCode, NanodError, SpecError, UsageError
from nanod.spec.source import MAX_BYTES

if TYPE_CHECKING:
    from nanod.daemon.config import Config


@verb("daemon", "nanod daemon --check", "systemctl enable --now nanod.service", for_users=False)
@click.option("--check", is_flag=True, help=f"Only say what is wrong with {PATH}.")
@JSON
def command(*, check: bool, as_json: bool) -> int:
    """Keep every spec of /etc/nanod/specs.d applied: what nanod.service runs.

    A changed spec is applied, and the app of one that is deleted is removed; no service depends on the daemon. What it does is in the journal of
    nanod.service.
    """
    if as_json and not check:
        raise UsageError("cannot use --json without --check: the daemon itself tells the journal")
    if not check:
        # The program runs it without this module and all that comes with it: see nanod.__main__.
        from nanod.daemon.service import main  # noqa: PLC0415

        return main()
    config = read_config()
    if as_json:
        console.out_json({"config": config._asdict()})
    else:
        console.out(f"{PATH}: ok")
    return ExitCode.OK


def read_config(path: str = PATH) -> Config:
    """As the file says; without one, the defaults. Raises SpecError with all that is wrong, NanodError for a file that others than root could
    change.
    """
    from nanod.daemon import document  # noqa: PLC0415  (yaml is not imported for the help)

    report = Report()
    config, text = document.read(path, _content(path), report)
    if report.has_errors:
        raise SpecError(report, {path: text})
    return config


def _content(path: str) -> bytes:
    """Raises NanodError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    except OSError as refused:
        raise NanodError(f"cannot read {path}: {refused.strerror}") from refused
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NanodError(f"cannot read {path}: not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        host.require_roots_own(path, "read")
        return file.read(MAX_BYTES + 1)
