"""What the directory of specs holds: a digest of each, and the directories in which a change would make it another."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.daemon import leases
from nanod.daemon.state import File
from nanod.daemon.work import unit_of

# Python's own SHA-256, as its `random` takes it: hashlib would bring OpenSSL, which is a tenth of all that the daemon has in memory.
try:
    from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]  # 3.12 and newer
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from hashlib import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable

SUFFIX = ".yaml"
LARGEST = 1 << 20
"""Bytes that are read of a spec; none that is taken has more."""
_BOM = b"\xef\xbb\xbf"
_LINKS = 40


def stem_of(name: str) -> str | None:
    """`shop` of `shop.yaml`; None for what is no spec, an editor's backups and temporary files among it."""
    stem = name.removesuffix(SUFFIX)
    return None if stem == name or not stem or name.startswith((".", "#")) else stem


def digest(content: bytes) -> str:
    """Of a spec. A byte order mark says nothing, and the loader drops it."""
    return str(sha256(content.removeprefix(_BOM)).hexdigest())


class Directory:
    """The specs in a directory, each read when it may have changed."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._device: int | None = None
        self._known: dict[str, File] = {}

    def look(self, names: frozenset[str] | None) -> tuple[dict[str, File], str]:
        """Every spec, and why the directory cannot be gone by ("" when it can). Others than `names` are as they were, if they have been seen."""
        try:
            entries = os.listdir(self.path)  # noqa: PTH208  (names are all that is asked)
            device = Path(self.path).stat().st_dev
        except OSError as failed:
            return dict(self._known), f"cannot read {self.path}: {failed.strerror}"
        found: dict[str, File] = {}
        for stem in sorted(filter(None, map(stem_of, entries))):
            is_known = names is not None and stem not in names and stem in self._known
            found[stem] = self._known[stem] if is_known else self._read(stem)
        if self._device not in (None, device):
            return found, f"{self.path} is on another file system than it was: restart nanod.service when that is meant"
        self._device = device
        self._known = {stem: file for stem, file in found.items() if not file.is_busy}
        return found, ""

    def path_of(self, stem: str) -> str:
        return f"{self.path}/{stem}{SUFFIX}"

    def _read(self, stem: str) -> File:
        try:
            unit_of("apply", stem)
        except ValueError as wrong:
            return File(problem=f"cannot use {stem!r}{SUFFIX}: {wrong}")
        try:
            return read(self.path_of(stem))
        except OSError as failed:
            return File(problem=f"cannot read {self.path_of(stem)}: {failed.strerror}")


def read(path: str) -> File:
    """The digest of a file that nobody is writing; where that cannot be told, events alone say that it is complete. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return File(problem=f"cannot read {path}: not a regular file")
        if leases.take(descriptor) is False:
            return File(is_busy=True)
        content = b""
        while part := os.read(descriptor, LARGEST):
            content += part
            if len(content) > LARGEST:
                return File(problem=f"cannot use {path}: a spec is at most {LARGEST >> 20} MiB")
        return File(digest=digest(content))
    finally:
        os.close(descriptor)  # with the lease


def places(path: str) -> dict[str, set[str]]:
    """Where `path` leads: each directory on the way, and in it the names that count, links followed as the kernel does.

    A name that is not there counts as well: it may come.
    """
    found: dict[str, set[str]] = {}
    current, todo, links = "/", list(reversed(Path(path).parts[1:])), 0
    while todo:
        name = todo.pop()
        if name == "..":
            current = os.path.dirname(current)  # noqa: PTH120  (text alone)
            continue
        found.setdefault(current, set()).add(name)
        here = os.path.join(current, name)  # noqa: PTH118
        target = None
        with suppress(OSError):
            target = os.readlink(here)  # noqa: PTH115
        if target is None:
            current = here
            continue
        links += 1
        if links > _LINKS:
            break
        if target.startswith("/"):
            current = "/"
        todo.extend(reversed([part for part in Path(target).parts if part != "/"]))
    return found


def all_places(directory: str) -> dict[str, set[str]]:
    """Those of the directory, and of every link in it."""
    found = places(directory)
    with suppress(OSError):
        real = os.path.realpath(directory)
        for entry in os.scandir(real):
            if entry.is_symlink() and stem_of(entry.name):
                merge(found, places(entry.path))
    return found


def merge(into: dict[str, set[str]], more: dict[str, set[str]]) -> None:
    for place, names in more.items():
        into.setdefault(place, set()).update(names)


def stems_below(directory: str, changed: Iterable[tuple[str, str]]) -> frozenset[str] | None:
    """The specs that a change of (directory, name) may concern; None for all of them, as when the way to the directory itself has changed."""
    real, found = os.path.realpath(directory), set()
    links: dict[str, dict[str, set[str]]] | None = None
    above = places(directory)
    for place, name in changed:
        if name in above.get(place, ()):
            return None
        if place == real and (stem := stem_of(name)):
            found.add(stem)
            continue
        if links is None:
            links = {stem: places(f"{real}/{stem}{SUFFIX}") for stem in filter(None, map(stem_of, _names(real)))}
        found |= {stem for stem, on_the_way in links.items() if name in on_the_way.get(place, ())}
    return frozenset(found)


def _names(directory: str) -> list[str]:
    with suppress(OSError):
        return os.listdir(directory)  # noqa: PTH208  (as above)
    return []
