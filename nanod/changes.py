"""What differs between the unit file that is there and the one that is wanted, and what that asks of the running process."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanod.steps import Cause, CauseKind
from nanod.units.directives import Cost, cost_of
from nanod.units.secrets import secrets_of
from nanod.units.unitfile import parse
from nanod.units.unitset import Role, role_of
from nanod.values import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nanod.diagnostics import Mark
    from nanod.units.unitfile import UnitFile

# What a change in a unit beside the main one can cost the service at most. docs/decisions.md says why.
_CEILING: dict[Role, Cost] = {
    Role.TARGET: Cost.DAEMON_RELOAD,
    Role.SLICE: Cost.DAEMON_RELOAD,
    Role.READY: Cost.DAEMON_RELOAD,
    Role.FAILURE: Cost.DAEMON_RELOAD,
    Role.PROVISION: Cost.RESTART,
    Role.PRESTART: Cost.RESTART,
    Role.DEPLOY: Cost.RESTART,
    Role.POST_DEPLOY: Cost.DAEMON_RELOAD,
    Role.MAIN: Cost.STOP_FIRST,
    Role.TIMER: Cost.STOP_FIRST,
    # What runs of it runs to its end.
    Role.JOB: Cost.DAEMON_RELOAD,
    Role.REARM: Cost.DAEMON_RELOAD,
    Role.ALIVE: Cost.DAEMON_RELOAD,
    Role.ALIVE_TIMER: Cost.DAEMON_RELOAD,
    Role.SETTINGS: Cost.RESTART,
    Role.SOCKET: Cost.RESTART,
    Role.PROXY: Cost.RESTART,
    Role.ALL: Cost.DAEMON_RELOAD,
    Role.GROUP: Cost.DAEMON_RELOAD,
    Role.PRESTART_TASK: Cost.RESTART,
    Role.PRESTART_SIDECAR: Cost.STOP_FIRST,
    Role.POSTSTART_TASK: Cost.RESTART,
    Role.POSTSTART_SIDECAR: Cost.STOP_FIRST,
    # Its stop is what runs it, and the group has not ended.
    Role.POSTSTOP_TASK: Cost.DAEMON_RELOAD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One directive (all lines of one key, in order) that differs; `added` are the texts of its new lines."""

    section: str
    key: str
    cost: Cost
    added: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One wanted unit beside its file on the host. `cost` is for the service's process; `writes` says that the file is not as wanted."""

    file: UnitFile
    role: Role
    text: str
    old: str | None
    writes: bool
    is_new: bool
    cost: Cost
    causes: tuple[Cause, ...]


def changes(old: str, new: str, role: Role) -> tuple[Change, ...]:
    """Comments count for nothing, and neither does where in its section a key stands; the order of one key's lines does."""
    before, after = _by_key(parse(old)), _by_key(parse(new))
    found = []
    for section, key in dict.fromkeys((*after, *before)):
        old_lines, new_lines = before.get((section, key), []), after.get((section, key), [])
        if old_lines != new_lines:
            added = tuple(line for line in new_lines if line not in old_lines)
            found.append(Change(section=section, key=key, cost=_cost(section, key, role), added=added))
    return tuple(found)


def compare(file: UnitFile, role: Role, disk: str | None, applied: str | None) -> Comparison:
    """`disk`: the text of the file there is; `applied`: the hash of the one that its processes took in, "" if they never did, None for no record."""
    causes: tuple[Cause, ...]
    text = file.render()
    same = disk == text
    if same and applied == content_hash(text):
        causes, cost = (), Cost.NOTHING
    elif disk and (before := role_of(disk)) and before is not role and {before, role} & {Role.MAIN, Role.ALL}:
        # What runs is no main any more, or the first: its process and its ports go before another takes its place.
        cause = Cause(kind=CauseKind.CHANGED, text=_BECOMES.get(role, "becomes a task"), cost=Cost.STOP_FIRST, mark=_origin(file))
        causes, cost = (cause,), Cost.STOP_FIRST
    elif disk is None and applied is None:
        causes, cost = (Cause(kind=CauseKind.NEW, text="new", mark=_origin(file)),), _CEILING[role]
    elif applied in (content_hash(text), content_hash(disk) if disk is not None else None):
        causes, cost = _known(file, role, text, disk, edited=applied == content_hash(text))
    else:
        # What the processes run is neither this file nor the recorded one: only a restart is sure to bring them to the spec.
        cause = Cause(kind=CauseKind.UNFINISHED, text="its file is not what the last finished apply left", cost=Cost.RESTART)
        causes, cost = (cause,), min(Cost.RESTART, _CEILING[role])
    return Comparison(file=file, role=role, text=text, old=disk, writes=not same, is_new=disk is None and applied is None, cost=cost, causes=causes)


def with_secrets(item: Comparison, seen: Mapping[str, str], now: Mapping[str, str]) -> Comparison:
    """The same, where a secret has another content than the one its processes were given: that asks what another LoadCredential= line would.

    `seen`, `now`: files to digests. What the process does not keep (of a cleanup, a companion) asks for nothing.
    """
    cost = min(Cost.RESTART, _CEILING[item.role])
    if item.is_new or cost < Cost.RESTART or item.role not in _HOLDING:
        return item
    changed = [secret for secret in secrets_of(item.file) if is_other(seen.get(secret.path), now.get(secret.path))]
    causes = [
        Cause(kind=CauseKind.CREDENTIAL, text=f"credential {secret.name} changed", subject=secret.name, cost=cost, mark=secret.origin)
        for secret in changed
    ]
    return replace(item, causes=(*item.causes, *causes), cost=max(item.cost, cost)) if causes else item


_HOLDING = (Role.MAIN, Role.PRESTART_TASK, Role.PRESTART_SIDECAR, Role.POSTSTART_TASK, Role.POSTSTART_SIDECAR)
"""What starts again for a new secret. What is done once for a content or a volume is done: a secret is neither."""


def is_other(seen: str | None, now: str | None) -> bool:
    """Whether the content of a file has changed. Digests made with different keys, and what nobody could read, tell nothing."""
    if seen is None or now is None:
        return False
    if not seen or not now:
        return seen != now
    return seen != now and _key(seen) == _key(now)


def _key(digest: str) -> str:
    """`KEY:DIGEST`, as `nanod.host.seal` has it."""
    key, colon, _ = digest.partition(":")
    return key if colon else ""


def _known(file: UnitFile, role: Role, text: str, disk: str | None, *, edited: bool) -> tuple[tuple[Cause, ...], Cost]:
    """The processes run what is recorded, or what is on disk."""
    if not disk:
        # An empty one masks its unit (systemd#4436), so nothing was started from it.
        words = "was deleted by hand" if disk is None else "is empty"
        return (Cause(kind=CauseKind.EDITED, text=f"its file {words}"),), Cost.DAEMON_RELOAD
    kind = CauseKind.EDITED if edited else CauseKind.CHANGED
    words = "was edited by hand" if edited else "changed"
    if role is Role.SETTINGS:
        return _changed_settings(file, text, disk, kind, words)
    found = sorted(changes(disk, text, role), key=lambda change: -change.cost)
    causes = [Cause(kind=kind, text=f"{change.key}= {words}", subject=change.key, cost=change.cost, mark=_origin(file, change)) for change in found]
    if not causes:
        causes = [Cause(kind=kind, text=f"a comment {words}", cost=Cost.NOTHING)]
    return tuple(causes), max((change.cost for change in found), default=Cost.NOTHING)


_BECOMES = {Role.JOB: "runs on a schedule from now on", Role.ALL: "stands for several from now on", Role.MAIN: "runs by itself from now on"}


def _changed_settings(file: UnitFile, text: str, disk: str, kind: CauseKind, words: str) -> tuple[tuple[Cause, ...], Cost]:
    """By their topmost keys, with the place of the first line that is new. Blanks and order mean nothing to who reads them."""
    wanted = json.loads(text)
    try:
        there = json.loads(disk)
    except (ValueError, RecursionError):
        there = None
    if there == wanted:
        return (Cause(kind=kind, text=f"its layout {words}", cost=Cost.NOTHING),), Cost.NOTHING
    before = there if isinstance(there, dict) else {}
    keys = [key for key in dict.fromkeys((*wanted, *before)) if key not in wanted or key not in before or wanted[key] != before[key]]
    known = set(disk.split("\n"))
    mark = next((item.origin for item in file.directives if item.text not in known), _origin(file))
    named = ", ".join(keys[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
    return (Cause(kind=kind, text=f"{named} {words}", cost=Cost.RESTART, mark=mark),), Cost.RESTART


def _by_key(directives: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for section, key, text in directives:
        found.setdefault((section, key), []).append(text)
    return found


def _cost(section: str, key: str, role: Role) -> Cost:
    if role is Role.PROVISION and key == "ConditionPathExists":
        # The sentinel's name holds what the install is made of: another name asks for another install, and the start of the service is what runs it.
        return Cost.RESTART
    if role is Role.DEPLOY and key != "Content":
        # What asks for another deployment is in there.
        return min(cost_of(section, key), Cost.DAEMON_RELOAD)
    if role is Role.GROUP and key == "ExecStartPre":
        # The prestart hooks of a service with several mains.
        return Cost.RESTART
    return min(cost_of(section, key), _CEILING[role])


def _origin(file: UnitFile, change: Change | None = None) -> Mark | None:
    """The place in the spec that made the first new line; for a line that is no longer made, that of its key, or else of the unit."""
    mine = [item for item in file.directives if change and (item.section, item.key) == (change.section, change.key)]
    added = [item for item in mine if change and item.text in change.added]
    return next((item.origin for item in (*added, *mine, *file.directives)), None)
