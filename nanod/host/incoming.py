"""What `nanod deploy` sends to this host: where it waits until all of it is there, and how it comes to its place.

    /var/lib/nanod/deploy/<name>-<digest of the path>/     0700
        project     whose files they are
        sent        what a deploy put in place, a path each: only that is ever deleted there
        stage-*/1   what waits; 2 when it was sent again after `prepare`

Other things live in the place, too: volumes, what an install made, what a service wrote. A deploy knows them by not having sent them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nanod.errors import BusyError, NanodError
from nanod.host.atomic import refusing
from nanod.host.process import run
from nanod.host.safety import unsafe
from nanod.values import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STATE: Final = "/var/lib/nanod/deploy"
_STAGE: Final = "stage-"
_KEPT: Final = 24 * 3600
"""Seconds that what an operator has abandoned stays: nobody knows here whether they are still sending."""
_PLACE: Final = ("--recursive", "--links", "--perms", "--checksum")


class Incoming:
    """What comes to the directory `path`."""

    def __init__(self, path: str, *, state: str = STATE) -> None:
        self.path = Path(path)
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", self.path.name)[:64]
        self.state = Path(state, f"{name}-{digest(path)[:12]}")

    def open(self, project: str) -> Path:
        """A new directory for what is to come. Raises NanodError when the place is not one for it; nothing is changed there."""
        self._require(project)
        with refusing(f"make {self.state}"):
            self.state.mkdir(parents=True, exist_ok=True)
            self.state.chmod(0o700)
            self._forget()
            return Path(tempfile.mkdtemp(dir=self.state, prefix=_STAGE))

    def drop(self, stage: str) -> None:
        with refusing(f"delete {stage}"):
            shutil.rmtree(self._stage(stage), ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One deploy at a time, from here until its apply has ended. Raises BusyError."""
        with refusing(f"lock {self.state}"):
            descriptor = os.open(self.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as busy:
                raise BusyError(f"busy: another deploy to {self.path} is under way", hint="try again when it has ended") from busy
            yield
        finally:
            os.close(descriptor)

    def place(self, staged: str, project: str) -> None:
        """Make the place as what waits in `staged`, and that go. The caller holds the lock.

        Each file appears whole. What was sent before and is not in `staged` is deleted; nothing else is. Raises NanodError.
        """
        self._require(project)
        source = self._stage(staged) / Path(staged).name
        with refusing(f"put files into {self.path}"):
            brought, before = _listing(source), self._sent()
            self._note("project", project.encode())
            self._note("sent", b"\0".join(sorted(brought | before)))
            self.path.mkdir(parents=True, exist_ok=True)
            self._delete(before - brought)
            source.chmod(stat.S_IMODE(self.path.stat().st_mode))
        done = run(["rsync", *_PLACE, "--", f"{source}/", f"{self.path}/"])
        if done.status:
            raise NanodError(f"cannot put files into {self.path}: {(done.err.splitlines() or ['rsync failed'])[0].removeprefix('rsync: ')}")
        with refusing(f"put files into {self.path}"):
            self._note("sent", b"\0".join(sorted(brought)))
            run(["sync", "--file-system", "--", str(self.path)])
            shutil.rmtree(self._stage(staged))

    def _require(self, project: str) -> None:
        if reason := unsafe(str(self.path)):
            raise NanodError(
                f"cannot put files into {self.path}: {reason}, and root does what they say", hint="use a place of root's, such as /opt/shop"
            )
        if self.path.exists() and not self.path.is_dir():
            raise NanodError(f"cannot put files into {self.path}: it is not a directory")
        with refusing(f"read {self.state}"), suppress(FileNotFoundError):
            other = (self.state / "project").read_text()
            if other != project:
                raise NanodError(f"cannot put files into {self.path}: those of '{other}' are there", hint="give each project a path of its own")

    def _stage(self, staged: str) -> Path:
        """The directory of this place's that `staged` is, or is in. Raises NanodError for any other."""
        parts = Path(staged).relative_to(self.state).parts if Path(staged).is_relative_to(self.state) else ()
        if not parts or not parts[0].startswith(_STAGE) or ".." in parts:
            raise NanodError(f"cannot take {staged}: nothing was sent there")
        return self.state / parts[0]

    def _forget(self) -> None:
        for stage in self.state.glob(f"{_STAGE}*"):
            if time.time() - stage.stat().st_mtime > _KEPT:
                shutil.rmtree(stage, ignore_errors=True)

    def _sent(self) -> set[bytes]:
        with suppress(FileNotFoundError):
            return set(filter(None, (self.state / "sent").read_bytes().split(b"\0")))
        return set()

    def _note(self, name: str, content: bytes) -> None:
        with suppress(FileNotFoundError):
            if (self.state / name).read_bytes() == content:
                return
        written = self.state / f".{name}"
        with written.open("wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        written.rename(self.state / name)

    def _delete(self, gone: Iterable[bytes]) -> None:
        """What is inside a directory before it. A directory in which there is something else stays, and so does what is behind a link."""
        for name in sorted(gone, reverse=True):
            path = self.path / os.fsdecode(name)
            if path.parent.resolve() != self.path.resolve() / path.parent.relative_to(self.path):
                continue
            try:
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink()
            except OSError as failed:
                if failed.errno not in (errno.ENOTEMPTY, errno.ENOENT, errno.ENOTDIR):
                    raise


def _listing(top: Path) -> set[bytes]:
    """All that is in it, by paths relative to it. Raises OSError when it is not there: what is not known to be whole is not put in place."""
    top.stat()
    return {
        os.fsencode(os.path.relpath(os.path.join(place, name), top))  # noqa: PTH118  (pathlib is no faster to read here, and slower to run)
        for place, folders, files in os.walk(top)
        for name in (*folders, *files)
    }
