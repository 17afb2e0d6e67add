"""The only writer: unit files and enablement links, programs that units run, volumes, and through `generations` the records. See `atomic` for how."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from nanod.faults import Point, reach
from nanod.host import records
from nanod.host.accounts import owner
from nanod.host.atomic import Batch, OpenDirectory, kind_of, open_directory, refusing
from nanod.host.generations import Generations
from nanod.host.releases import LocalReleases
from nanod.host.seal import Seal
from nanod.scope import SYSTEM
from nanod.units.names import SETTINGS, AppNames, is_settings, reader_of
from nanod.units.unitfile import parse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from nanod.scope import RuntimeScope
    from nanod.state import Intent, Manifest

_PACKAGE = Path(__file__).parent.parent


class LocalStore:
    """The disk of this machine, or with `root` of a tree. Unit files become visible, all together, with `sync`; the rest at once."""

    def __init__(self, *, root: str = "/", unit_dir: str = "", scope: RuntimeScope = SYSTEM) -> None:
        self.root = root
        self.scope = scope
        self.unit_dir = unit_dir or scope.unit_dir
        self._generations = Generations(root, scope)
        self._seal = Seal(root, scope)
        self._batch = Batch(is_watched=True)
        self._open: dict[str, OpenDirectory] = {}

    @property
    def warnings(self) -> list[str]:
        """What could not be read, and what was done about it."""
        return self._generations.warnings

    def read_units(self, names: Iterable[str]) -> dict[str, str]:
        """Text of each that is a regular file; bytes that are no UTF-8 are kept as surrogates, so that they differ from any wanted text."""
        with refusing(f"read {self.unit_dir}"):
            try:
                with OpenDirectory.at(self.unit_dir, root=self.root) as directory:
                    found = {name: directory.read(name) for name in names}
            except FileNotFoundError:
                return {}
        return {name: content.decode(errors="surrogateescape") for name, content in found.items() if content is not None}

    def read_links(self, paths: Iterable[str]) -> dict[str, str]:
        found = {}
        for path in paths:
            folder, name = os.path.split(path)
            with refusing(f"read {self.unit_dir}/{path}"), suppress(FileNotFoundError, NotADirectoryError):
                with OpenDirectory.at(f"{self.unit_dir}/{folder}", root=self.root) as directory:
                    target = directory.link_target(name)
                if target is not None:
                    found[path] = target
        return found

    def write_unit(self, name: str, text: str) -> None:
        with refusing(f"write {self.unit_dir}/{name}"):
            self._batch.put(self._writable(), name, text.encode(errors="surrogateescape"))

    def delete_unit(self, name: str) -> None:
        """A unit file that is gone already is no error; a link or a directory of that name is not ours, and stays."""
        with refusing(f"delete {self.unit_dir}/{name}"):
            directory = self._writable()
            if kind_of(directory.fd, name) == "regular file":
                os.unlink(name, dir_fd=directory.fd)
                self._batch.touch(directory)
                reach(Point.RENAMED)

    def link(self, path: str, target: str) -> None:
        with refusing(f"link {self.unit_dir}/{path}"):
            folder, name = os.path.split(path)
            directory = self._writable(folder)
            if directory.link_target(name) != target:
                directory.put_link(name, target)
                self._batch.touch(directory)
                reach(Point.RENAMED)

    def unlink(self, path: str) -> None:
        """The directory goes with its last link, as `systemctl disable` does it."""
        with refusing(f"unlink {self.unit_dir}/{path}"):
            folder, name = os.path.split(path)
            directory = self._writable(folder)
            if directory.link_target(name) is not None:
                os.unlink(name, dir_fd=directory.fd)
                self._batch.touch(directory)
                reach(Point.RENAMED)
            if folder and not directory.names():
                os.rmdir(folder, dir_fd=self._writable().fd)
                self._batch.touch(self._writable())
                self._batch.forget(self._open.pop(folder))

    def sync(self) -> None:
        """What was written becomes visible and durable, what was deleted stays deleted through a power cut."""
        try:
            with refusing(f"write {self.unit_dir}"):
                self._batch.flush()
        finally:
            self._close()
        reach(Point.INSTALLED)

    def discard(self) -> None:
        """Forget unit files written since the last `sync`."""
        self._batch.discard()
        self._batch = Batch(is_watched=True)
        self._close()

    def sweep(self) -> None:
        """Remove what a killed writer left among the unit files; only the holder of the lock may."""
        with refusing(f"read {self.unit_dir}"), suppress(FileNotFoundError), OpenDirectory.at(self.unit_dir, root=self.root) as directory:
            directory.sweep()
            for name in directory.names():
                if name.endswith(".wants") and kind_of(directory.fd, name) == "directory":
                    with directory.sub(name) as wants:
                        wants.sweep()

    def make_directory(self, path: str, user: str, group: str | None) -> None:
        """A volume, 0755, and its parents: root's, or the user's own inside of what is the user's. One that is there already is left as it is.

        Refuses, beside the steps that `open_directory` refuses, to make anything inside of what belongs to a third user.
        """
        uid, gid = owner(user, group, self.root)

        def make(parent: int, name: str, *, is_volume: bool = False) -> None:
            above = os.fstat(parent).st_uid
            if above not in (0, uid, os.geteuid()):
                raise PermissionError(errno.EPERM, f"the directory above '{name}' belongs to uid {above}, neither root nor '{user}'")
            if is_volume or above == uid:
                _make_owned(parent, name, uid, gid)
            else:
                _make_owned(parent, name, os.geteuid(), os.getegid())

        place = PurePosixPath("/", path)
        with refusing(f"make {path}"):
            parent = open_directory(str(place.parent), root=self.root, make=make)
            try:
                if not kind_of(parent, place.name):
                    make(parent, place.name, is_volume=True)
                    os.fsync(parent)
            finally:
                os.close(parent)
            os.close(open_directory(path, root=self.root))

    def delete_tree(self, path: str) -> None:
        """A directory and all below it, or a file. A link of that name goes, and not what it points to; a link on the way is not followed."""
        with refusing(f"delete {path}"), suppress(FileNotFoundError):
            parent = open_directory(str(PurePosixPath(path).parent), root=self.root)
            try:
                name = PurePosixPath(path).name
                if kind_of(parent, name) == "directory":
                    shutil.rmtree(name, dir_fd=parent)
                else:
                    os.unlink(name, dir_fd=parent)
                os.fsync(parent)
            finally:
                os.close(parent)

    def sealed(self, paths: Iterable[str]) -> dict[str, str]:
        """See `Seal.digests`; `install_lib` keeps their key."""
        return self._seal.digests(paths)

    def install_lib(self) -> bool:
        """Put what units and records need beside them in place: programs, the directory for stamps, the key of digests.

        True when a program was missing or different.
        """
        self._seal.keep()
        with refusing(f"write {self.scope.lib}"), OpenDirectory.at(self.scope.lib, root=self.root, make=True) as directory:
            directory.sweep()
            batch = Batch()
            differing = [(name, content) for name, content in _programs() if not _is_program(directory, name, content)]
            for name, content in differing:
                batch.put(directory, name, content, 0o755)
            batch.flush()
        above, _, once = self.scope.once.rpartition("/")
        with refusing(f"make {self.scope.once}"), OpenDirectory.at(above, root=self.root, make=True) as directory, directory.sub(once, make=0o700):
            return bool(differing)

    def apps(self) -> list[str]:
        """Every app with a record in force, or with unit files."""
        stamped = (records.stamps(text).get("App", "") for text in self.read_units(self._unit_names()).values())
        recorded = [app for app in self._generations.apps() if self._generations.current(app)[1]]
        return sorted({*recorded, *stamped} - {""})

    def manifest(self, app: str) -> Manifest | None:
        """The record in force, with unit files that a killed apply left; made anew from the unit files when it cannot be read."""
        found, is_whole = self._generations.current(app)
        names = [name for name in self._unit_names() if name.startswith((f"{app}.", f"{app}-")) or name == AppNames(app).slice]
        if found and is_whole:
            return records.complete(found, self._stamped(app, set(names) - set(found.units)))
        files = self._stamped(app, names)
        anew = records.rebuild(app, files, self._enabled(files), max(self.generations(app), default=0))
        if anew and found:
            return replace(anew, spec=anew.spec or found.spec, env=found.env, about=found.about, volumes=found.volumes, made=found.made)
        return anew

    def others(self, app: str, named: Iterable[str] = ()) -> dict[str, Manifest]:
        """By app, the records of all but `app`; of those `named` also what unit files alone tell. Of what cannot be read nothing is said."""
        told, wanted = len(self.warnings), set(named)
        found = {name: self.manifest(name) if name in wanted else self._generations.recorded(name) for name in {*self._generations.apps(), *wanted}}
        del self.warnings[told:]
        return {name: manifest for name, manifest in sorted(found.items()) if manifest and name != app}

    def stage(self, manifest: Manifest, units: Mapping[str, str], spec_text: str) -> None:
        self._generations.stage(manifest, units, spec_text)

    def generations(self, app: str) -> list[int]:
        return self._generations.numbers(app)

    def in_force(self, app: str) -> int:
        return self._generations.in_force(app)

    def generation(self, app: str, number: int) -> tuple[Manifest, dict[str, str], str]:
        return self._generations.read(app, number)

    def drop(self, app: str, number: int) -> None:
        self._generations.drop(app, number)

    def write_intent(self, intent: Intent) -> None:
        self._generations.write_intent(intent)
        reach(Point.INTENT)

    def intents(self) -> dict[str, Intent]:
        """Transactions that did not end, by app; as far as they are readable."""
        return {app: found for app in self._generations.apps() if (found := self._generations.intent(app))}

    def decide(self, app: str) -> None:
        if found := self._generations.intent(app):
            self._generations.write_intent(replace(found, decided=True))

    def tidy(self) -> None:
        """Remove what a writer left that was killed before its intent was on disk; only the holder of the lock may."""
        with refusing(f"read {self.scope.lib}"), suppress(FileNotFoundError), OpenDirectory.at(self.scope.lib, root=self.root) as directory:
            directory.sweep()
        self._generations.tidy()

    def clear_intent(self, app: str) -> None:
        self._generations.clear_intent(app)

    def commit(self, manifest: Manifest) -> None:
        self._generations.commit(manifest)
        reach(Point.COMMITTED)

    def forget(self, app: str) -> None:
        LocalReleases(self.root, self.scope).forget(app)
        self._generations.forget(app)

    def record(self, app: str, entry: Mapping[str, object]) -> None:
        self._generations.record(app, entry)

    def history(self, app: str) -> list[dict[str, object]]:
        return self._generations.history(app)

    def remembered(self) -> dict[str, bytes]:
        """What `remember` kept, by app; only a hint that saves time, and gone when the app is."""
        return {app: found for app in self._generations.apps() if (found := self._generations.made_from(app))}

    def remember(self, app: str, content: bytes) -> None:
        self._generations.keep_made_from(app, content)

    def existing(self, paths: Iterable[str]) -> set[str]:
        """Those that are there, whatever they are."""
        root = self.root.rstrip("/")
        return {path for path in paths if os.path.lexists(f"{root}{path}")}

    def put_stamp(self, path: str, unit: str) -> None:
        """What `lib/stamp` leaves when the deploy-scoped hooks of the unit have succeeded."""
        folder, _, name = path.rpartition("/")
        with refusing(f"write {path}"), OpenDirectory.at(folder, root=self.root, make=True) as directory:
            batch = Batch()
            batch.put(directory, name, f"{unit}\n".encode())
            batch.flush()

    def remove_directory(self, path: str) -> None:
        """If it is empty; whatever is in one belongs to somebody."""
        with refusing(f"delete {path}"), suppress(FileNotFoundError):
            parent = open_directory(str(PurePosixPath(path).parent), root=self.root)
            try:
                os.rmdir(PurePosixPath(path).name, dir_fd=parent)
            except OSError as failed:
                if failed.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.ENOTDIR, errno.EBUSY):
                    raise
            finally:
                os.close(parent)

    def _writable(self, folder: str = "") -> OpenDirectory:
        """The unit directory, or one in it, made when missing; held open until `sync`."""
        if folder not in self._open:
            if folder:
                self._batch.touch(self._writable())
            opened = self._writable().sub(folder, make=0o755) if folder else OpenDirectory.at(self.unit_dir, root=self.root, make=True)
            opened.sweep()
            self._open[folder] = opened
        return self._open[folder]

    def _close(self) -> None:
        for directory in self._open.values():
            os.close(directory.fd)
        self._open.clear()

    def _unit_names(self) -> list[str]:
        with refusing(f"read {self.unit_dir}"):
            try:
                with OpenDirectory.at(self.unit_dir, root=self.root) as directory:
                    return [name for name in directory.names() if name.endswith((".service", ".target", ".slice", ".socket", ".timer", SETTINGS))]
            except FileNotFoundError:
                return []

    def _stamped(self, app: str, names: Collection[str]) -> dict[str, str]:
        """Unit files that say so themselves, and files of settings that a unit of the app says are its own."""
        units = self.read_units(sorted(name for name in names if not is_settings(name)))
        found = {name: text for name, text in units.items() if records.stamps(text).get("App") == app}
        if settings := [name for name in names if is_settings(name)]:
            readers = self.read_units({reader_of(name) for name in settings})
            found |= self.read_units(name for name in settings if records.has_settings(readers.get(reader_of(name), ""), app, name))
        return found

    def _enabled(self, files: Mapping[str, str]) -> dict[str, str]:
        wanting = [
            (place, name)
            for name, text in files.items()
            for section, key, value in parse(text)
            if (section, key) == ("Install", "WantedBy")
            for place in value.split()
        ]
        return self.read_links(f"{place}.wants/{name}" for place, name in wanting)


def _make_owned(parent: int, name: str, uid: int, gid: int) -> None:
    """Make it, and give it away only once it is certain that it is what was made: whoever owns `parent` may have swapped it."""
    os.mkdir(name, 0o700, dir_fd=parent)
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, f"'{name}' was replaced while it was made")
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, 0o755)
    finally:
        os.close(descriptor)


def _programs() -> list[tuple[str, bytes]]:
    """(name, content) of every program that units run, from the package."""
    scripts = [(path.name, path.read_bytes()) for path in sorted((_PACKAGE / "lib").iterdir()) if path.is_file()]
    return [*scripts, ("probe", (_PACKAGE / "probe.py").read_bytes())]


def _is_program(directory: OpenDirectory, name: str, content: bytes) -> bool:
    return directory.read(name) == content and os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode & 0o7777 == 0o755
