"""Files written whole or not at all, below directories that nobody else can redirect.

Three rules, each from what went wrong elsewhere.
1. A path is walked component by component on directory descriptors, and a step from what an unprivileged user owns to what somebody
   else owns is refused, links included (CHASE_SAFE of systemd; CVE-2018-6954). The caller's own steps are the caller's to choose.
2. A file appears by temp + rename, and its content is on disk before the rename: a lost write leaves an empty file, which systemd takes
   for a masked unit (systemd#4436).
3. The temporary name is hidden and ends in no unit suffix, so that a reload in between does not see it.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Self

from nanod.errors import NanodError
from nanod.faults import Point, reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TEMPORARY = ".#nanod-"
_MANY = 8
"""From this many files on one syncfs(2) is cheaper than an fsync(2) each (1000 files: 62 ms against 227 ms)."""
_LINKS = 40
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HINTS = {
    errno.EACCES: "run it as root",
    errno.EPERM: "run it as root",
    errno.ENOSPC: "free some space on that file system",
    errno.EDQUOT: "free some space on that file system",
    errno.EROFS: "remount that file system read-write",
}


@contextmanager
def refusing(action: str) -> Iterator[None]:
    """Turn an OSError into NanodError("cannot ACTION: cause")."""
    try:
        yield
    except OSError as failed:
        raise NanodError(f"cannot {action}: {failed.strerror or failed}", hint=_HINTS.get(failed.errno or 0, "")) from failed


def open_directory(path: str, *, root: str = "/", make: Callable[[int, str], None] | None = None) -> int:
    """A descriptor of the directory `path` below `root`, links resolved as if `root` were "/".

    `make(parent_fd, name)` makes a missing component. Raises OSError: FileNotFoundError without `make`, PermissionError for an unsafe
    step, NotADirectoryError, and ELOOP.
    """
    trail = [(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), 0)]  # with the owner of each; whoever names the root vouches for it
    todo = list(reversed(PurePosixPath("/", path).parts[1:]))
    links = last_owner = 0
    try:
        while todo:
            name = todo.pop()
            if name == "..":
                _leave(trail, 1)
            else:
                found = _look(trail[-1][0], name, make)
                _refuse_unsafe_step(last_owner, found.st_uid, path)
                if stat.S_ISLNK(found.st_mode):
                    links += 1
                    if links > _LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    target = PurePosixPath(os.readlink(name, dir_fd=trail[-1][0]))
                    todo.extend(reversed([part for part in target.parts if part != "/"]))
                    last_owner = found.st_uid
                    if not target.is_absolute():
                        continue
                    _leave(trail, len(trail))
                else:
                    child = os.open(name, _OPEN_DIRECTORY, dir_fd=trail[-1][0])
                    trail.append((child, os.fstat(child).st_uid))
            _refuse_unsafe_step(last_owner, trail[-1][1], path)
            last_owner = trail[-1][1]
        return trail.pop()[0]
    finally:
        for descriptor, _ in trail:
            os.close(descriptor)


def _leave(trail: list[tuple[int, int]], levels: int) -> None:
    """Up, but never above the root."""
    for _ in range(min(levels, len(trail) - 1)):
        os.close(trail.pop()[0])


def _look(parent: int, name: str, make: Callable[[int, str], None] | None) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        if make is None:
            raise
    make(parent, name)
    os.fsync(parent)  # what is made in it must not be lost with it
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def _refuse_unsafe_step(above: int, below: int, path: str) -> None:
    if above not in (0, below, os.geteuid()):
        raise PermissionError(errno.EPERM, f"an unsafe step from a directory of uid {above} to what uid {below} owns in {path}")


def make_root_directory(parent: int, name: str, mode: int = 0o755) -> None:
    """Make a directory of the caller's own, with exactly `mode` whatever the umask is."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
        os.chmod(name, mode, dir_fd=parent, follow_symlinks=True)


class OpenDirectory:
    """A directory held by descriptor; names are single components, and none is followed when it is a link."""

    def __init__(self, descriptor: int, path: str) -> None:
        self.fd = descriptor
        self.path = path

    @classmethod
    def at(cls, path: str, *, root: str = "/", make: bool = False) -> Self:
        """Raises OSError as `open_directory`; with `make` missing components are made, 0755."""
        return cls(open_directory(path, root=root, make=make_root_directory if make else None), path)

    def sub(self, name: str, *, make: int | None = None) -> OpenDirectory:
        """The directory `name` in it; `make` is the mode to make a missing one with. Raises OSError."""
        if make is not None:
            make_root_directory(self.fd, name, make)
        return OpenDirectory(os.open(name, _OPEN_DIRECTORY, dir_fd=self.fd), f"{self.path}/{name}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.fd))  # noqa: PTH208  (pathlib lists no descriptors)

    def read(self, name: str) -> bytes | None:
        """The content of a regular file; None when there is no such file, or something else (link, directory, pipe) has the name."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, dir_fd=self.fd)
        except OSError as failed:
            if failed.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return None
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def link_target(self, name: str) -> str | None:
        try:
            return os.readlink(name, dir_fd=self.fd)
        except OSError as failed:
            if failed.errno in (errno.ENOENT, errno.EINVAL):
                return None
            raise

    def put_link(self, name: str, target: str) -> None:
        """Make or turn a link, atomically. Raises FileExistsError when something else than a link has the name."""
        found = kind_of(self.fd, name)
        if found not in ("", "symbolic link"):
            raise FileExistsError(errno.EEXIST, f"there is a {found} of that name")
        temporary = temporary_name()
        os.symlink(target, temporary, dir_fd=self.fd)
        try:
            os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError:
            os.unlink(temporary, dir_fd=self.fd)
            raise

    def sweep(self) -> None:
        """Remove what a killed writer left; only the holder of the lock may."""
        for name in self.names():
            if name.startswith(TEMPORARY):
                os.unlink(name, dir_fd=self.fd)


def kind_of(directory: int, name: str) -> str:
    """What has the name, in words; "" for nothing."""
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return ""
    words = {stat.S_IFREG: "regular file", stat.S_IFLNK: "symbolic link", stat.S_IFDIR: "directory", stat.S_IFIFO: "named pipe"}
    return words.get(stat.S_IFMT(mode), "device or socket")


def temporary_name() -> str:
    return TEMPORARY + os.urandom(8).hex()


class Batch:
    """Files that become visible together, in the order of `put`, once all their contents are on disk."""

    def __init__(self, *, is_watched: bool = False) -> None:
        """`is_watched`: its steps are fault points, those of unit files."""
        self._is_watched = is_watched
        self._waiting: list[tuple[OpenDirectory, str, str]] = []
        self._touched: dict[int, OpenDirectory] = {}

    def put(self, directory: OpenDirectory, name: str, content: bytes, mode: int = 0o644) -> None:
        """Write the content beside `name`. Raises OSError; FileExistsError when `name` is there and no regular file."""
        found = kind_of(directory.fd, name)
        if found not in ("", "regular file"):
            raise FileExistsError(errno.EEXIST, f"there is a {found} of that name")
        temporary = temporary_name()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory.fd)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(content)
        except OSError:
            os.unlink(temporary, dir_fd=directory.fd)
            raise
        self._waiting.append((directory, temporary, name))

    def touch(self, directory: OpenDirectory) -> None:
        """Names in this directory changed; `flush` makes that durable."""
        self._touched[directory.fd] = directory

    def forget(self, directory: OpenDirectory) -> None:
        """The directory itself is gone; there is nothing of it to make durable, and it is closed."""
        self._touched.pop(directory.fd, None)
        os.close(directory.fd)

    def flush(self) -> None:
        """Contents to disk, then names, then the directories. Raises OSError, and then what was not yet renamed is gone."""
        try:
            self._sync_contents()
            self._reach(Point.WRITTEN)
            while self._waiting:
                directory, temporary, name = self._waiting[0]
                os.rename(temporary, name, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
                del self._waiting[0]
                self.touch(directory)
                self._reach(Point.RENAMED)
        finally:
            self.discard()
        while self._touched:
            os.fsync(self._touched.popitem()[0])

    def discard(self) -> None:
        """Forget what waits; nothing of it stays."""
        for directory, temporary, _ in self._waiting:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory.fd)
        self._waiting.clear()

    def _reach(self, point: Point) -> None:
        if self._is_watched:
            reach(point)

    def _sync_contents(self) -> None:
        if len(self._waiting) > _MANY:
            for directory in {os.fstat(item[0].fd).st_dev: item[0] for item in self._waiting}.values():
                sync_file_system(directory.fd)
            return
        for directory, temporary, _ in self._waiting:
            descriptor = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def sync_file_system(descriptor: int) -> None:
    """All that was written to the file system of this descriptor is on disk (syncfs(2))."""
    import ctypes  # noqa: PLC0415  (2 ms; few commands write many files)

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(descriptor) != 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed))
