"""inotify(7): told of changes in directories. The only module that knows inotify_simple.

Hard facts. A directory is watched and never a file: a file that is replaced by rename is another one, and its watch is lost with the old one. A
watch is one of the inode: two ways to a directory are one watch, and adding it again replaces its mask. The queue has 16384 entries; what is over is
lost, and said (IN_Q_OVERFLOW). IN_CREATE of a file says that somebody begins to write it; IN_CLOSE_WRITE and IN_MOVED_TO say that it is whole. A
link is whole at once, and of a second name for a file (link(2)) there is IN_CREATE alone.
"""

from __future__ import annotations

import os
import select
import stat
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from inotify_simple import INotify, flags

from nanod.daemon import leases

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Kind(Enum):
    """What is looked for in a directory."""

    FILES = auto()
    """Files that are whole, or gone."""
    NAMES = auto()
    """Names that come or go: directories and links on the way to somewhere else."""
    CLOSED = auto()
    """Files that were written and closed."""
    MOVED = auto()
    """Files that were moved there."""


_NAMES = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.DELETE_SELF | flags.MOVE_SELF
_MASKS = {Kind.FILES: _NAMES | flags.CLOSE_WRITE, Kind.NAMES: _NAMES, Kind.CLOSED: flags.CLOSE_WRITE, Kind.MOVED: flags.MOVED_TO}
_GONE = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT


class Change(NamedTuple):
    """`name` "" is the directory itself: it was deleted, moved or unmounted."""

    place: str
    name: str


class Watch:
    """Directories that are followed. Readable (select(2)) when something has happened there."""

    def __init__(self) -> None:
        self._inotify = INotify(nonblocking=True)
        self._of: dict[str, int] = {}
        self._places: dict[int, set[str]] = {}
        self.problem = ""
        """Why some directory is not watched; "" when all are that are there."""

    def fileno(self) -> int:
        number: int = self._inotify.fileno()
        return number

    def close(self) -> None:
        self._inotify.close()

    def follow(self, wanted: Mapping[str, Iterable[Kind]]) -> bool:
        """Watch these directories, as far as they are there, and no others; True when one is another than before: what is in it must be looked at.

        Each is asked for anew: something else may be mounted there by now.
        """
        self.problem = ""
        is_new = False
        for place, kinds in wanted.items():
            is_new = self._add(place, _mask(kinds)) or is_new
        for place in self._of.keys() - wanted.keys():
            self._forget(place)
        return is_new

    def _add(self, place: str, mask: int) -> bool:
        before = self._of.get(place)
        try:
            number: int = self._inotify.add_watch(place, mask | flags.ONLYDIR | flags.MASK_ADD)
        except (FileNotFoundError, NotADirectoryError):
            if before is not None:
                self._forget(place)
            return False
        except OSError as refused:
            # ENOSPC: fs.inotify.max_user_watches.
            self.problem = f"cannot watch {place}: {refused.strerror}"
            return False
        if number == before:
            return False
        if before is not None:
            self._forget(place)
        self._of[place] = number
        self._places.setdefault(number, set()).add(place)
        return True

    def _forget(self, place: str) -> None:
        number = self._of.pop(place)
        mine = self._places.get(number, set())
        mine.discard(place)
        if not mine and self._places.pop(number, None) is not None:
            with suppress(OSError):  # the kernel has dropped it with its directory
                self._inotify.rm_watch(number)

    def read(self) -> list[Change] | None:
        """What has happened since the last time; None when some of it was lost, so that everything has to be looked at."""
        found: list[Change] = []
        is_lost = False
        while events := self._inotify.read(timeout=0):
            for event in events:
                mask = event.mask
                if mask & flags.Q_OVERFLOW:
                    is_lost = True
                    continue
                mine = sorted(self._places.get(event.wd, ()))
                if mask & (_GONE | flags.IGNORED):
                    for place in mine:
                        self._forget(place)
                    found.extend(Change(place, "") for place in mine)
                elif not mask & flags.CREATE or mask & flags.ISDIR or any(_is_whole(f"{place}/{event.name}") for place in mine):
                    found.extend(Change(place, event.name) for place in mine)
        return None if is_lost else found


def _mask(kinds: Iterable[Kind]) -> int:
    mask = 0
    for kind in kinds:
        mask |= _MASKS[kind]
    return mask


def _is_whole(path: str) -> bool:
    """A link; a second name for a file; and one that nobody is writing by now, such as a second name whose first one is gone already."""
    try:
        found = os.lstat(path)
        return stat.S_ISLNK(found.st_mode) or (stat.S_ISREG(found.st_mode) and (found.st_nlink > 1 or leases.is_free(path)))
    except OSError:
        return False


class Mounts:
    """Readable (select(2)) when a file system has been mounted or unmounted: of that inotify tells nothing.

    /proc/self/mountinfo is always readable, and has an exceptional condition once for each change (proc(5)); an epoll of its own waits for that
    alone. Being asked takes the condition away, so that there is nothing to read from it.
    """

    def __init__(self) -> None:
        self._file = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._file, select.EPOLLPRI)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()
        os.close(self._file)
