"""What this host is and has: asked before anything is written, so that a refusal leaves no trace."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.diagnostics import Report
from nanod.errors import NanodError
from nanod.host.accounts import find_group, find_user
from nanod.host.atomic import refusing
from nanod.host.process import run
from nanod.host.secrets import check_secrets
from nanod.values import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nanod.state import UnitState
    from nanod.units.unitset import UnitSet

RUN_SPACE = 16 * 1024 * 1024
"""PID 1 refuses a daemon-reload when /run has less (`verify_run_space` in dbus-manager.c, systemd#5016)."""
_DIRECTORY_LIMIT = 20_000


def is_systemd() -> bool:
    """Whether PID 1 of this machine is systemd: sd_booted(3), and the name of the process, because containers may share the host's /run."""
    try:
        return Path("/run/systemd/system").is_dir() and Path("/proc/1/comm").read_text().strip() == "systemd"
    except OSError:
        return False


def require_systemd(action: str) -> None:
    """Raises NanodError("cannot ACTION: …") when there is no systemd to talk to."""
    if not is_systemd():
        raise NanodError(f"cannot {action}: PID 1 of this machine is not systemd", hint="'nanod rehearse SPEC' applies it to a throw-away systemd")


def systemd_version() -> int:
    """Of the installed systemd, without asking PID 1. Raises NanodError when there is none."""
    done = run(["systemctl", "--version"], timeout=10)
    found = re.match(r"systemd ([0-9]+)", done.out)
    if found is None:
        raise NanodError(f"cannot tell systemd's version from '{done.out.splitlines()[:1]}'", hint="--systemd-version says it by hand")
    return int(found[1])


def require_run_space() -> None:
    """Raises NanodError when the daemon-reload would be refused; asked before the first file changes."""
    with refusing("look at the space in /run"):
        space = os.statvfs("/run")
    free = space.f_bfree * space.f_frsize
    if free < RUN_SPACE:
        raise NanodError(
            f"cannot apply: /run has {free // 1024} KiB left, and systemd reloads unit files only with {RUN_SPACE // 1024} KiB or more",
            hint="free some space in /run; 'journalctl --relinquish-var' may help",
        )


def check_host(wanted: UnitSet, states: Mapping[str, UnitState], root: str = "/") -> Report:
    """What the app needs and the host lacks, at the places of the spec that need it: users, groups, files, units."""
    report = Report()
    _check_accounts(wanted, root, report)
    for file, mark in wanted.files:
        if _is_missing(Path(root, file.lstrip("/"))):
            report.error(mark, f"'{file}' does not exist on this host")
    report.merge(check_secrets(wanted, root))
    for name, mark in wanted.host_units:
        if name in states and states[name].load == "not-found":
            report.error(mark, f"unit '{name}' does not exist on this host")
    for release in wanted.releases:
        if release.source and not release.digest:
            report.error(release.origin, f"'{release.source}' is no directory on this host")
    return report


def _check_accounts(wanted: UnitSet, root: str, report: Report) -> None:
    for user, mark in wanted.users:
        if user != "root" and find_user(user, root) is None:
            report.error(mark, f"user '{user}' does not exist on this host")
    for unit in wanted.units:
        for item in unit.directives:
            if (item.section, item.key) == ("Service", "Group") and find_group(item.text, root) is None:
                report.error(item.origin, f"group '{item.text}' does not exist on this host")


def _is_missing(path: Path) -> bool:
    """Whoever may not look, as one who only plans, does not know."""
    try:
        return not path.exists()
    except PermissionError:
        return False


def digests(paths: Iterable[str], root: str = "/") -> dict[str, str]:
    """SHA-256 of each file's content, "" for a missing one; of a directory over the names and contents below it.

    Raises NanodError for one that cannot be read, and for a directory of more than 20000 files.
    """
    return {path: _digest(Path(root, path.lstrip("/"))) for path in dict.fromkeys(paths)}


def _digest(path: Path) -> str:
    with refusing(f"read {path}"):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return ""
        if stat.S_ISDIR(mode):
            return digest(*_tree(path))
        return _file(path) if stat.S_ISREG(mode) else ""


def _file(path: Path) -> str:
    """Whoever may write in the directory may have put a pipe there since it was looked at: opening that must not wait for a writer."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else ""


def _tree(top: Path) -> list[bytes]:
    """Names and contents in an order of its own; a link counts by its target, and what is neither file nor link by its name."""
    parts: list[bytes] = []
    for place, folders, files in os.walk(top):
        folders.sort()
        directory = Path(place)
        for path in sorted(directory / name for name in (*files, *folders)):
            mode = path.lstat().st_mode
            content = path.readlink() if stat.S_ISLNK(mode) else _file(path) if stat.S_ISREG(mode) else ""
            parts += (os.fsencode(path.relative_to(top)), os.fsencode(content))
        if len(parts) > 2 * _DIRECTORY_LIMIT:
            raise NanodError(f"cannot read {top}: more than {_DIRECTORY_LIMIT} files", hint="name the files that matter instead")
    return parts
