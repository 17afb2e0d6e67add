"""`nanod logs APP [SERVICE…]`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from nanod.cli import console, host
from nanod.cli.options import APP, JSON, UNIT_DIR, verb
from nanod.cli.service import SERVICES, known, members
from nanod.errors import ExitCode, NanodError
from nanod.host import facts
from nanod.host.journal import Access, Journalctl
from nanod.logs import owners
from nanod.values import TimeSpan
from nanod.view.logs import LogView

if TYPE_CHECKING:
    from nanod.logs import LogEntry

_LAST = 100


class Since(click.ParamType):
    """A moment in the words of systemd.time(7), or a span of time before now, as in a spec."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        del param, ctx
        try:
            return f"-{TimeSpan.parse(value).usec}us"
        except ValueError:
            return str(value)


class Count(click.ParamType):
    """A number of lines; -1 for all of them."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value == "all":
            return -1
        if not str(value).isdecimal():
            self.fail(f"{value!r} is neither a number nor 'all'.", param, ctx)
        return int(value)


@verb("logs", "nanod logs -f shop", "nanod logs --since 10min shop web", "nanod logs --json -n all shop | jq -r .message")
@APP
@SERVICES
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--lines", type=Count(), metavar="N", help=f"The last N entries, or 'all'; default: {_LAST}, with --since all.")
@click.option("--since", type=Since(), metavar="TIME", help="From then on: a span as 10min, a time, or yesterday.")
@UNIT_DIR
@JSON
def command(*, app: str, services: tuple[str, ...], follow: bool, lines: int | None, since: str | None, unit_dir: str | None, as_json: bool) -> int:
    """Show what the services of an app say, together, by time.

    All units of the app: services, hooks and their results, installs, and what systemd says of them. Each line has its service in front; with --json
    each is a JSON object of its own.
    """
    facts.require_systemd("show logs")
    here = host.here(unit_dir)
    manifest = host.manifest_of(app, here.store, "show logs of")
    meant = members(known(services, manifest, "show logs of"), manifest)
    journal = Journalctl(here.store.scope)
    access = journal.access(since or "")
    _require_access(Access.ALL if access is Access.OWN and here.store.scope.is_user else access, app)
    view = LogView(owners=owners(meant), style=console.style())
    count = lines if lines is not None else -1 if since else _LAST
    found = journal.log(list(view.owners), since=since or "", count=None if count < 0 else count, follow=follow)
    try:
        with host.interruptible(), closing(found):
            for entry in found:
                console.out(json.dumps(view.data(entry, _utc(entry))) if as_json else view.text(entry, _local(entry)))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.OK


def _require_access(access: Access, app: str) -> None:
    """Raises NanodError when nothing can be read; says it when it is not all."""
    hint = f"{shlex.join(['sudo', 'nanod', *sys.argv[1:]])}, or become a member of the group systemd-journal"
    if access is Access.NONE:
        raise NanodError(f"cannot show logs of {app}: the journal is readable to root and its groups alone", hint=hint)
    if access is Access.OWN:
        console.err(f"nanod: warning: only what your own processes wrote is readable to you\nhint: {hint}")


def _local(entry: LogEntry) -> str:
    return time.strftime("%b %d %H:%M:%S", time.localtime(entry.at // 1_000_000))


def _utc(entry: LogEntry) -> str:
    """ISO 8601, with microseconds."""
    return f"{datetime.fromtimestamp(entry.at // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{entry.at % 1_000_000:06}Z"
