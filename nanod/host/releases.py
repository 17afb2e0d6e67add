"""Release directories on this machine: what a source holds, the copy that is built in, and which are kept. The only writer there.

    <app>/<service>/<name>      a release; read-only once it is whole
    <app>/<service>/.<name>     says that it is whole; the copy of a killed apply has none, and goes
    <app>/<service>/current     a link to the one in force

Sources and releases hold what others than root have written, so every step below them is on a descriptor, and no link is followed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.errors import NanodError
from nanod.host.accounts import owner
from nanod.host.atomic import TEMPORARY, Batch, OpenDirectory, kind_of, refusing, sync_file_system
from nanod.scope import SYSTEM
from nanod.values import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from nanod.scope import RuntimeScope
    from nanod.units.unitset import Release

_NEVER = frozenset({".git", ".hg", ".svn"})
"""What version control keeps: it changes with every fetch, and no release needs it."""
_EVERYTHING = ("**",)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE_BITS = 0o222
_READ_BITS = 0o444


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One of a source; `folder` is a descriptor of the directory that it is in, `path` is below the source."""

    path: str
    name: str
    folder: int
    mode: int


class LocalReleases:
    """Below `root`. Every method raises NanodError when the disk refuses."""

    def __init__(self, root: str = "/", scope: RuntimeScope = SYSTEM) -> None:
        self.root = root
        self.place = scope.releases

    def digest(self, source: str, inputs: Sequence[str]) -> str:
        """Of the files that `inputs` choose: names, contents, links, and whether they can be executed. "" where there is no such directory."""
        parts: list[bytes] = []
        with refusing(f"read {source}"):
            try:
                directory = OpenDirectory.at(source, root=self.root)
            except (FileNotFoundError, NotADirectoryError):
                return ""
            with directory:
                for entry in _entries(directory, inputs):
                    parts += _parts(entry, _content(entry))
        return digest(*parts)

    def names(self, app: str) -> dict[str, list[str]]:
        """Of each service of an app the whole releases, the one finished last first."""
        place = f"{self.place}/{app}"
        found = {}
        with refusing(f"read {place}"), suppress(FileNotFoundError), OpenDirectory.at(place, root=self.root) as directory:
            for service in directory.names():
                with directory.sub(service) as one:
                    found[service] = _newest(one)
        return found

    def whole(self, paths: Iterable[str]) -> frozenset[str]:
        """Those releases that are there, whole."""
        return frozenset(path for path in paths if os.path.isdir(self._below(path)) and os.path.isfile(self._below(_stamp(path))))  # noqa: PTH112, PTH113

    def copy(self, release: Release) -> None:
        """Its files, as they are in the source, the user's own. Raises NanodError when the source is not what its digest says any more."""
        folder, _, name = release.path.rpartition("/")
        parts: list[bytes] = []
        with (
            refusing(f"make {release.path}"),
            OpenDirectory.at(release.source, root=self.root) as source,
            OpenDirectory.at(folder, root=self.root, make=True) as directory,
        ):
            _remove(directory, name)
            uid, gid = owner(release.user or "root", release.group if release.user else None, self.root)
            # Nobody else gets in before it is all there.
            os.mkdir(name, 0o700, dir_fd=directory.fd)
            with directory.sub(name) as top:
                for entry in _entries(source, release.inputs):
                    parts += _parts(entry, _copy(entry, source.fd, top.fd, uid, gid))
                os.fchown(top.fd, uid, gid)
                os.fchmod(top.fd, _lent(os.fstat(source.fd).st_mode))
        if digest(*parts) != release.digest:
            raise NanodError(f"cannot make a release of {release.source}: it changed meanwhile", hint="apply again when nothing writes there")

    def seal(self, release: Release) -> None:
        """Nothing of it can be written any more, and it is whole, through a power cut too."""
        folder, _, name = release.path.rpartition("/")
        with refusing(f"close {release.path}"), OpenDirectory.at(folder, root=self.root) as directory:
            with directory.sub(name) as top:
                _seal(top.fd, is_public=release.user is None)
                sync_file_system(top.fd)
            batch = Batch()
            batch.put(directory, f".{name}", f"{release.digest}\n".encode())
            batch.flush()

    def drop(self, path: str) -> None:
        """A release that was not finished."""
        folder, _, name = path.rpartition("/")
        with refusing(f"delete {path}"), suppress(FileNotFoundError), OpenDirectory.at(folder, root=self.root) as directory:
            _remove(directory, name)

    def unfinished(self) -> list[str]:
        """What a nanod that was killed has left of any app: releases that are not whole, and names that only a writer uses."""
        found = []
        with refusing(f"read {self.place}"), suppress(FileNotFoundError), OpenDirectory.at(self.place, root=self.root) as everything:
            for app in everything.names():
                with everything.sub(app) as services:
                    for service in services.names():
                        with services.sub(service) as directory:
                            found += [f"{self.place}/{app}/{service}/{name}" for name in _unfinished(directory)]
        return found

    def switch(self, app: str, names: Mapping[str, str]) -> None:
        """`current` of each service is the release of this name."""
        for service, name in names.items():
            place = f"{self.place}/{app}/{service}"
            with refusing(f"link {place}/current"), OpenDirectory.at(place, root=self.root, make=True) as directory:
                if directory.link_target("current") != name:
                    directory.put_link("current", name)
                    os.fsync(directory.fd)

    def collect(self, app: str, kept: Mapping[str, int], needed: Mapping[str, Iterable[str]]) -> None:
        """Delete what nobody goes back to: of each service all but those `needed` and the newest, up to the number `kept`."""
        place = f"{self.place}/{app}"
        with refusing(f"delete old releases in {place}"), suppress(FileNotFoundError), OpenDirectory.at(place, root=self.root) as apps:
            for service in apps.names():
                with apps.sub(service) as directory:
                    stays = set(needed.get(service, ()))
                    stays |= set(_newest(directory)[: max(0, kept.get(service, 0))])
                    for name in directory.names():
                        if not name.startswith(".") and kind_of(directory.fd, name) == "directory" and name not in stays:
                            _remove(directory, name)
                if not stays:
                    # The link leads nowhere now.
                    shutil.rmtree(service, dir_fd=apps.fd)

    def forget(self, app: str) -> None:
        with refusing(f"delete {self.place}/{app}"), suppress(FileNotFoundError), OpenDirectory.at(self.place, root=self.root) as directory:
            shutil.rmtree(app, dir_fd=directory.fd)

    def _below(self, path: str) -> str:
        return f"{self.root.rstrip('/')}{path}"


def _stamp(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}"


def _entries(source: OpenDirectory, inputs: Sequence[str]) -> Iterator[_Entry]:
    """In an order of its own: a directory before what is in it. Raises NanodError for what is neither file, directory nor link."""
    chosen = _chooser(inputs)
    for place, folders, files, descriptor in os.fwalk(".", dir_fd=source.fd, onerror=_raise, follow_symlinks=False):
        below = f"{place}/"[len("./") :]
        folders[:] = sorted(name for name in folders if name not in _NEVER)
        for name in sorted((*folders, *files)):
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            path = f"{below}{name}"
            if not chosen(path, is_directory=stat.S_ISDIR(mode)):
                continue
            if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):
                raise NanodError(
                    f"cannot make a release of {source.path}: {path} is neither file, directory nor link",
                    hint=f"build: {{inputs: ['**', '!{path}']}}",
                )
            yield _Entry(path=path, name=name, folder=descriptor, mode=mode)


def _raise(failed: OSError) -> None:
    raise failed


def _chooser(inputs: Sequence[str]) -> Callable[..., bool]:
    """Patterns as in gitignore(5), only that what matches is taken, and that the last one to match decides, also for all below a directory: `!docs/`
    leaves it out whole. A directory comes with the first thing in it that is taken.
    """
    if tuple(inputs) == _EVERYTHING:
        return lambda _path, *, is_directory: True  # noqa: ARG005
    patterns = [(re.compile(_expression(text.removeprefix("!"))), not text.startswith("!")) for text in inputs]

    def is_chosen(path: str, *, is_directory: bool) -> bool:
        return not is_directory and next((takes for pattern, takes in reversed(patterns) if pattern.match(f"{path}/")), False)

    return is_chosen


def _expression(text: str) -> str:
    """Of a pattern; it matches the beginning of a path that ends in a slash, so what is below a directory matches where the directory does."""
    steps = text.strip("/").split("/")
    is_anchored = "/" in text.rstrip("/")
    found = "" if is_anchored else _ANY_STEPS
    for step in steps:
        found += _ANY_STEPS if step == "**" else f"{_LETTER.sub(_letter, step)}/"
    is_for_what_is_below = text.endswith("/") or steps[-1] == "**"
    return f"{found}[^/]+/" if is_for_what_is_below else found


_ANY_STEPS = "(?:[^/]+/)*"
_LETTER = re.compile(r"(\*+)|(\?)|\[([!^]?)([^\]]+)\]|(.)", re.DOTALL)


def _letter(match: re.Match[str]) -> str:
    stars, one, negated, letters, other = match.groups()
    if letters:
        return f"[{'^/' if negated else ''}{letters.replace(chr(92), chr(92) * 2).replace('[', chr(92) + '[')}]"
    return "[^/]*" if stars else "[^/]" if one else re.escape(other)


def _kind(entry: _Entry) -> str:
    if stat.S_ISREG(entry.mode):
        return "program" if entry.mode & 0o111 else "file"
    return "link" if stat.S_ISLNK(entry.mode) else "directory"


def _parts(entry: _Entry, content: str) -> list[bytes]:
    """What counts of it. A name, or where a link leads, need not be UTF-8."""
    return [os.fsencode(entry.path), _kind(entry).encode(), os.fsencode(content)]


def _content(entry: _Entry) -> str:
    if stat.S_ISLNK(entry.mode):
        return os.readlink(entry.name, dir_fd=entry.folder)
    if stat.S_ISDIR(entry.mode):
        return ""
    with os.fdopen(os.open(entry.name, _READ, dir_fd=entry.folder), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(entry: _Entry, source: int, top: int, uid: int, gid: int) -> str:
    """One entry, below the directory `top` that only root can enter; hands back what `_content` does, of what was written."""
    _make_folder(entry.path.rpartition("/")[0], source, top, uid, gid)
    if stat.S_ISDIR(entry.mode):
        _make_folder(entry.path, source, top, uid, gid)
        return ""
    if stat.S_ISLNK(entry.mode):
        target = os.readlink(entry.name, dir_fd=entry.folder)
        os.symlink(target, entry.path, dir_fd=top)
        os.chown(entry.path, uid, gid, dir_fd=top, follow_symlinks=False)
        return target
    found = hashlib.sha256()
    with (
        os.fdopen(os.open(entry.name, _READ, dir_fd=entry.folder), "rb") as original,
        os.fdopen(os.open(entry.path, _NEW, 0o600, dir_fd=top), "wb") as made,
    ):
        while chunk := original.read(1 << 20):
            found.update(chunk)
            made.write(chunk)
        os.fchown(made.fileno(), uid, gid)
        os.fchmod(made.fileno(), _lent(entry.mode))
    return found.hexdigest()


def _make_folder(path: str, source: int, top: int, uid: int, gid: int) -> None:
    if path and not kind_of(top, path):
        _make_folder(path.rpartition("/")[0], source, top, uid, gid)
        mode = os.stat(path, dir_fd=source, follow_symlinks=False).st_mode
        os.mkdir(path, 0o700, dir_fd=top)
        os.chmod(path, _lent(mode), dir_fd=top)
        os.chown(path, uid, gid, dir_fd=top, follow_symlinks=False)


def _lent(mode: int) -> int:
    """As in the source, whatever the umask is: what others could not read there they cannot here. The owner builds in it."""
    return (mode & 0o777) | (0o700 if stat.S_ISDIR(mode) else 0o600)


def _seal(top: int, *, is_public: bool) -> None:
    """Take the right to write from all of it. `is_public`: what a dynamic user has made becomes root's, for everybody to read."""
    for _, folders, files, descriptor in os.fwalk(".", dir_fd=top, onerror=_raise, follow_symlinks=False):
        _close(descriptor, is_public=is_public)
        # A link to a directory counts as one here, and is not entered.
        for name in (*files, *(name for name in folders if kind_of(descriptor, name) == "symbolic link")):
            if is_public:
                os.chown(name, 0, 0, dir_fd=descriptor, follow_symlinks=False)
            file = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            try:
                mode = os.fstat(file).st_mode
                if not stat.S_ISLNK(mode):
                    # chmod(2) takes no O_PATH descriptor, but its name in /proc.
                    Path(f"/proc/self/fd/{file}").chmod(_closed(mode, is_public=is_public))
            finally:
                os.close(file)


def _close(directory: int, *, is_public: bool) -> None:
    if is_public:
        os.fchown(directory, 0, 0)
    mode = os.fstat(directory).st_mode
    os.fchmod(directory, _closed(mode, is_public=is_public) | (0o111 if is_public else 0))


def _closed(mode: int, *, is_public: bool) -> int:
    bits = stat.S_IMODE(mode) & 0o777 & ~_WRITE_BITS
    if not is_public:
        return bits
    return bits | _READ_BITS | (0o111 if mode & 0o111 else 0)


def _newest(directory: OpenDirectory) -> list[str]:
    """Names of whole releases, the one finished last first."""
    stamps = [name for name in directory.names() if name.startswith(".") and not name.startswith(TEMPORARY)]
    finished = [(os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mtime_ns, name[1:]) for name in stamps]
    return [name for _, name in sorted(finished, reverse=True) if kind_of(directory.fd, name) == "directory"]


def _unfinished(directory: OpenDirectory) -> list[str]:
    names = directory.names()
    return [
        name
        for name in names
        if name.startswith(TEMPORARY) or (not name.startswith(".") and f".{name}" not in names and kind_of(directory.fd, name) == "directory")
    ]


def _remove(directory: OpenDirectory, name: str) -> None:
    """First it is not whole any more, through a power cut too."""
    with suppress(FileNotFoundError):
        os.unlink(f".{name}", dir_fd=directory.fd)
        os.fsync(directory.fd)
    found = kind_of(directory.fd, name)
    if found == "directory":
        shutil.rmtree(name, dir_fd=directory.fd)
    elif found:
        os.unlink(name, dir_fd=directory.fd)
