"""Who could change what root runs: a program that runs as root must be root's own, and so must every directory on the way to it.

Otherwise whoever may write there is root at the next start (CVE-2018-21269, systemd's "unsafe path transition"). Looking now does not bind
what happens later; it catches the mistake, not an attacker who is root already.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.diagnostics import Report
from nanod.units.secrets import all_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.spec.model import Command, Service, Spec
    from nanod.units.unitfile import UnitFile
    from nanod.units.unitset import UnitSet

ROOT = frozenset({0})
_LINKS = 40
_PREFIXES = "-@:+!|"
_LOADER = re.compile(r'"(LD_PRELOAD|LD_LIBRARY_PATH|LD_AUDIT)=((?:[^"\\]|\\.)*)"|(?<!\S)(LD_PRELOAD|LD_LIBRARY_PATH|LD_AUDIT)=(\S*)')
"""What the dynamic loader takes code from, before the first instruction of any program; a word of `Environment=`."""
_INTERPRETERS = frozenset({"ash", "bash", "dash", "env", "node", "perl", "php", "python", "ruby", "sh", "zsh"})


def check_root_programs(spec: Spec) -> Report:
    """An error at the place of each command that runs as root and that somebody else could replace."""
    report = Report()
    for command, directory in _root_commands(spec):
        for path in programs_of(command, directory):
            if reason := unsafe(path):
                report.error(command.at(), f"cannot run {path} as root: {reason}", command.at.path)
                break
    return report


def root_programs(spec: Spec) -> list[str]:
    """What `check_root_programs` looks at."""
    return sorted({path for command, directory in _root_commands(spec) for path in programs_of(command, directory)})


def check_root_environment(wanted: UnitSet) -> Report:
    """An error at each environment file, and each library to load, that others than root may write, of a unit in which root starts something.

    The environment of a unit is that of its hooks and gates, too: LD_PRELOAD makes whoever may write it root.
    """
    report = Report()
    for unit in (unit for unit in wanted.units if _starts_as_root(unit)):
        for item in unit.directives:
            if item.key == "EnvironmentFile" and (reason := unsafe(_path(item.text))):
                report.error(
                    item.origin,
                    f"cannot give {item.text} to {unit.name}: {reason}, and it becomes the environment of what root starts there"
                    " (chown it to root, chmod go-w)",
                )
            for name, path in _libraries(unit, item.text) if item.key == "Environment" else ():
                if reason := unsafe(path):
                    report.error(item.origin, f"cannot set {name} in {unit.name}: {reason}, and programs that root starts there would load it")
    return report


def check_credentials(wanted: UnitSet) -> Report:
    """An error at each file of a credential that others than root could put a link in the place of: systemd reads it as root, so any file."""
    report = Report()
    for path, origin in sorted({(secret.path, secret.origin) for secret in all_secrets(wanted.units)}):
        if reason := unsafe(path):
            report.error(origin, f"cannot read a credential from {path}: {reason}, and could have systemd read any file instead (chown it to root)")
    return report


def _starts_as_root(unit: UnitFile) -> bool:
    lines = [item.text for item in unit.directives if item.section == "Service" and item.key.startswith("Exec")]
    is_root = unit.values("Service", "DynamicUser")[-1:] != ["yes"] and unit.values("Service", "User")[-1:] in ([], ["root"], ["0"])
    return any(is_root or set("+!") & set(line[: -len(line.lstrip(_PREFIXES))]) for line in lines)


def _libraries(unit: UnitFile, assignments: str) -> Iterator[tuple[str, str]]:
    """(variable, path) of what the loader would look at; an empty or relative entry is one of the working directory."""
    directory = (unit.values("Service", "WorkingDirectory")[-1:] or ["/"])[0]
    for found in _LOADER.finditer(assignments):
        name, value = found[1] or found[3], found[2] or found[4] or ""
        for entry in re.split(r"[:\s]", value):
            if "/" in entry or name == "LD_LIBRARY_PATH":
                yield name, _path(str(Path(directory, entry)))


def _path(text: str) -> str:
    return text.removeprefix("-").replace("%%", "%")


def check_root_volumes(wanted: UnitSet) -> Report:
    """An error at each volume of root's that somebody else could put a link in the place of: what root makes and writes there would be elsewhere."""
    report = Report()
    for item in wanted.directories:
        if item.user == "root" and (reason := unsafe(str(Path(item.path).parent))):
            report.error(item.origin, f"cannot use {item.path} as root: {reason}")
    return report


def _root_commands(spec: Spec) -> Iterator[tuple[Command, str]]:
    """Each with its working directory: those of services, of their processes and of their tasks."""
    for whole in spec.services.values():
        for service in (whole, *(task.service for task in (*whole.processes, *whole.tasks) if task.service)):
            # A member without a handler of its own has that of its service, and runs it as its own user.
            handler = service.on_failure or whole.on_failure
            yield from ((command, service.working_dir) for command in _run_by_root(service, handler))


def _run_by_root(service: Service, handler: Command | None) -> Iterator[Command]:
    is_root = service.user == "root" and not service.dynamic_user
    for hooks in service.hooks.values():
        yield from (hook.run for hook in hooks if (hook.user == "root" if hook.user else is_root))
    if not is_root:
        return
    for command in (service.command, service.health and service.health.command, handler):
        if command:
            yield command
    if service.provisioning:
        yield service.provisioning.install


def programs_of(command: Command, directory: str) -> list[str]:
    """The file that the command runs, as far as its first words tell, and the script where that is an interpreter.

    A bare name is not in it, which only root's own PATH resolves.
    """
    words = [*command.argv] if command.text is None else [word.strip("'\"") for word in command.text.removeprefix("exec ").split()]
    found, before = [], ""
    for word in words:
        if word.startswith("-") or "$" in word:
            break
        if "/" in word or before not in ("", "env"):
            found.append(str(Path(directory, word)))
        before = word.rpartition("/")[2].rstrip("0123456789.")
        if before not in _INTERPRETERS:
            break
    return found


def unsafe(path: str, owners: frozenset[int] = ROOT) -> str:
    """Why somebody else than the owners could change what `path` names; "" when nobody can, or when only they can make what is not there yet."""
    current, is_open = Path("/"), False
    todo = list(reversed(Path(path).parts[1:]))
    links = 0
    while todo:
        name = todo.pop()
        if name == "..":
            current = current.parent
            is_open = _is_open(current)
            continue
        try:
            found = (current / name).lstat()
        except OSError as failed:
            return f"anybody may make {current / name}" if is_open and failed.errno == errno.ENOENT else ""
        if is_open and stat.S_ISLNK(found.st_mode) and found.st_uid not in owners:
            return f"the link {current / name} belongs to uid {found.st_uid}"
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _LINKS:
                return "it is a loop of symbolic links"
            target = (current / name).readlink()
            if target.is_absolute():
                current, is_open = Path("/"), False
            todo.extend(reversed([part for part in target.parts if part != "/"]))
            continue
        current /= name
        if reason := _others_may_write(current, found, owners):
            return reason
        is_open = _is_open(current)
    return ""


def _is_open(path: Path) -> bool:
    """Whether anybody may make things in it, as in /tmp, although not replace those of others."""
    mode = path.stat().st_mode
    return stat.S_ISDIR(mode) and bool(mode & stat.S_ISVTX) and bool(mode & (stat.S_IWOTH | stat.S_IWGRP))


def _others_may_write(path: Path, found: os.stat_result, owners: frozenset[int]) -> str:
    """A sticky directory such as /tmp is no way in: nobody but root can replace what root has in it, and that is looked at next."""
    if found.st_uid not in owners:
        return f"{path} belongs to uid {found.st_uid}"
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return ""
    # Where there is an access list, the bits of the group are what any entry of it may have at most (acl(5)).
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and (found.st_gid != 0 or _has_acl(path))):
        return f"{path} is writable by others than root (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def _has_acl(path: Path) -> bool:
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except OSError:
        return False
