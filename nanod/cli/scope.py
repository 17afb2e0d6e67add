"""`--user`, before a verb or after it: whose systemd a command is for. The rest of the command line gets that as a value."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from nanod.errors import UsageError
from nanod.scope import SYSTEM, RuntimeScope, user_scope

_KEY = "nanod.scope"


def current(ctx: click.Context | None = None) -> RuntimeScope:
    """Of the command that runs; without one it is the system's. `ctx`: of the command line that is completed."""
    ctx = ctx or click.get_current_context(silent=True)
    found = ctx.meta.get(_KEY) if ctx else None
    return found if isinstance(found, RuntimeScope) else SYSTEM


def own() -> RuntimeScope:
    """That of whoever runs this. Raises UsageError for a user without a name, who has no manager."""
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError as unknown:
        raise UsageError(f"cannot use --user: uid {os.geteuid()} has no name here") from unknown
    return user_scope(entry.pw_name, entry.pw_uid, os.environ.get("HOME") or entry.pw_dir, os.environ)


def _require_own(scope: RuntimeScope) -> None:
    """Raises UsageError for places of somebody else, as `su` without `-` and `sudo -E` leave them: what root makes there would lock that user out."""
    for name, path, owners in (("XDG_RUNTIME_DIR", scope.run, {scope.uid}), ("HOME", os.environ.get("HOME", ""), {0, scope.uid})):
        with suppress(OSError):
            if (uid := Path(path).stat().st_uid) not in owners:
                raise UsageError(f"cannot use --user: {name} is {path}, which belongs to uid {uid}", hint="log in as yourself: 'su -', or 'sudo -i'")


def _chosen(ctx: click.Context, _: click.Parameter, value: Any) -> None:
    if not value:
        return
    ctx.meta[_KEY] = scope = own()
    if not ctx.resilient_parsing:
        _require_own(scope)
        # systemctl, journalctl and systemd-analyze look for the manager there (pam_systemd(8)).
        os.environ.setdefault("XDG_RUNTIME_DIR", scope.run)


USER = click.Option(["--user"], is_flag=True, expose_value=False, callback=_chosen, help="For your own systemd (`systemctl --user`), without root.")
