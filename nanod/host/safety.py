"""Who could change what root runs: a program that runs as root must be root's own, and so must every directory on the way to it.

Otherwise whoever may write there is root at the next start (CVE-2018-21269, systemd's "unsafe path transition"). Looking now does not bind
what happens later; it catches the mistake, not an attacker who is root already.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.diagnostics import Report

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from nanod.spec.model import Command, Service, Spec
    from nanod.units.unitset import UnitSet

_LINKS = 40


def check_root_programs(spec: Spec) -> Report:
    """An error at the place of each command that runs as root and that somebody else could replace."""
    report = Report()
    for service in spec.services.values():
        for command in _root_commands(service):
            path = program_of(command, service.working_dir)
            if path and (reason := unsafe(path)):
                report.error(command.at(), f"cannot run {path} as root: {reason}", command.at.path)
    return report


def check_root_environment(wanted: UnitSet) -> Report:
    """An error at each environment file that others than root may write, of a unit in which root starts something (`+`): it could set LD_PRELOAD."""
    report = Report()
    for unit in wanted.units:
        as_root = any(item.key.startswith("Exec") and "+" in item.text.partition("/")[0] for item in unit.directives)
        for item in unit.directives:
            if as_root and item.key == "EnvironmentFile" and (reason := unsafe(item.text.replace("%%", "%"))):
                report.error(
                    item.origin,
                    f"cannot give {item.text} to {unit.name}: {reason}, and it becomes the environment of hooks and gates that root starts"
                    " (chown it to root, chmod go-w)",
                )
    return report


def check_root_volumes(wanted: UnitSet) -> Report:
    """An error at each volume of root's that somebody else could put a link in the place of: what root makes and writes there would be elsewhere."""
    report = Report()
    for item in wanted.directories:
        if item.user == "root" and (reason := unsafe(str(Path(item.path).parent))):
            report.error(item.origin, f"cannot use {item.path} as root: {reason}")
    return report


def _root_commands(service: Service) -> Iterator[Command]:
    is_root = service.user == "root" and not service.dynamic_user
    for hooks in service.hooks.values():
        yield from (hook.run for hook in hooks if (hook.user == "root" if hook.user else is_root))
    if not is_root:
        return
    for command in (service.command, service.health and service.health.command, service.on_failure):
        if command:
            yield command
    if service.provisioning:
        yield service.provisioning.install


def program_of(command: Command, directory: str) -> str:
    """The file that the command runs, as far as its first word tells; "" for a bare name, which only root's own PATH resolves."""
    words = command.argv if command.text is None else command.text.removeprefix("exec ").split(maxsplit=1)
    first = words[0].strip("'\"") if words else ""
    return str(Path(directory, first)) if "/" in first and "$" not in first else ""


def unsafe(path: str) -> str:
    """Why somebody else than root could change what `path` names; "" when nobody can, or when nothing is there yet."""
    current = Path("/")
    todo = list(reversed(Path(path).parts[1:]))
    links = 0
    while todo:
        name = todo.pop()
        if name == "..":
            current = current.parent
            continue
        try:
            found = (current / name).lstat()
        except OSError:
            return ""
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _LINKS:
                return "it is a loop of symbolic links"
            target = (current / name).readlink()
            current = Path("/") if target.is_absolute() else current
            todo.extend(reversed([part for part in target.parts if part != "/"]))
            continue
        current /= name
        if reason := _others_may_write(current, found):
            return reason
    return ""


def _others_may_write(path: Path, found: os.stat_result) -> str:
    """A sticky directory such as /tmp is no way in: nobody but root can replace what root has in it, and that is looked at next."""
    if found.st_uid != 0:
        return f"{path} belongs to uid {found.st_uid}"
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return ""
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != 0):
        return f"{path} is writable by others than root (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""
