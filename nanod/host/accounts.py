"""Users and groups: of this machine by NSS, of a tree below `--root` by its own files."""

from __future__ import annotations

import grp
import pwd
from pathlib import Path

from nanod.errors import NanodError


def find_user(name: str, root: str = "/") -> tuple[int, int] | None:
    """(uid, gid) of a user, given by name or number as systemd takes both; None when there is none."""
    if root != "/":
        found = _row(Path(root, "etc/passwd"), name)
        return (int(found[2]), int(found[3])) if found else None
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def name_of(uid: int) -> str:
    """Of a user of this machine; "" for a number without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def find_group(name: str, root: str = "/") -> int | None:
    if root != "/":
        found = _row(Path(root, "etc/group"), name)
        return int(found[2]) if found else None
    try:
        entry = grp.getgrgid(int(name)) if name.isdecimal() else grp.getgrnam(name)
    except KeyError:
        return None
    return entry.gr_gid


def owner(user: str, group: str | None, root: str = "/") -> tuple[int, int]:
    """(uid, gid) for what `user` and `group` shall own; without a group, the user's own. Raises NanodError for one that does not exist."""
    ids = find_user(user, root)
    if ids is None:
        raise NanodError(f"cannot find user '{user}'", hint=f"useradd --system {user}")
    if group is None:
        return ids
    gid = find_group(group, root)
    if gid is None:
        raise NanodError(f"cannot find group '{group}'", hint=f"groupadd --system {group}")
    return ids[0], gid


def _row(file: Path, name: str) -> list[str] | None:
    """The line of a passwd(5) or group(5) file with this name or number."""
    try:
        text = file.read_text(errors="surrogateescape")
    except FileNotFoundError:
        return None
    rows = (line.split(":") for line in text.splitlines())
    return next((row for row in rows if len(row) > 3 and (row[0] == name or (name.isdecimal() and row[2] == name))), None)
