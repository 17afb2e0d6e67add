"""What nanod remembers of its apps, below /var/lib/nanod/apps. Nothing of it is trusted to be whole, and nothing unreadable is fatal.

    <app>/                          0700
        generations/<n>/            spec.yaml as read, units/, manifest.json; made-from: what its units follow from, where that is known
        current -> generations/<n>  the one in force
        intent.json                 the transaction under way
        history.jsonl               one line for each transaction

A file that cannot be read adds a word to `warnings` and counts as absent; the next `stage` moves it out of the way.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nanod.errors import NanodError
from nanod.faults import Point, reach
from nanod.host import records
from nanod.host.atomic import TEMPORARY, Batch, OpenDirectory, kind_of, refusing, temporary_name
from nanod.scope import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nanod.scope import RuntimeScope
    from nanod.state import Intent, Manifest

KEPT = 10
"""Generations of an app that stay; the oldest go."""
HISTORY_LIMIT = 2**20
"""Bytes of an app's history after which its older half goes."""
_HISTORY = "history.jsonl"
_INTENT = "intent.json"
_MADE_FROM = "made-from"
_MANIFEST = "manifest.json"


class Generations:
    """The records of this machine's apps, or with `root` of those in a tree."""

    def __init__(self, root: str = "/", scope: RuntimeScope = SYSTEM) -> None:
        self.root = root
        self.apps_dir = scope.apps
        self.warnings: list[str] = []
        self._unreadable: set[tuple[str, int]] = set()
        self._unreadable_intents: set[str] = set()

    def apps(self) -> list[str]:
        with refusing(f"read {self.apps_dir}"):
            try:
                with OpenDirectory.at(self.apps_dir, root=self.root) as directory:
                    return [name for name in directory.names() if _is_app(name)]
            except FileNotFoundError:
                return []

    def current(self, app: str) -> tuple[Manifest | None, bool]:
        """The manifest in force and True; or else the newest that can be read and False."""
        with refusing(f"read {self.apps_dir}/{app}"):
            try:
                with self._app(app) as directory, directory.sub("generations") as all_of_them:
                    in_force = _in_force(directory)
                    # Newer ones are of applies that did not come to an end.
                    for number in reversed([number for number in _numbers(all_of_them) if number <= in_force or not in_force]):
                        if found := self._read(app, all_of_them, number):
                            return found, number == in_force
            except FileNotFoundError:
                pass
            except PermissionError:
                self.warnings.append(f"the record of {app} is readable to root alone, its unit files tell instead")
        return None, False

    def recorded(self, app: str) -> Manifest | None:
        """The manifest in force, or the newest before it that can be read; None while nothing is in force, and for whoever may not look."""
        with refusing(f"read {self.apps_dir}/{app}"), suppress(FileNotFoundError, PermissionError), self._app(app) as directory:
            if _in_force(directory):
                return self.current(app)[0]
        return None

    def numbers(self, app: str) -> list[int]:
        """Generations on disk, in force or not, oldest first."""
        with (
            refusing(f"read {self.apps_dir}/{app}"),
            suppress(FileNotFoundError, PermissionError),
            self._app(app) as directory,
            directory.sub("generations") as all_of_them,
        ):
            return _numbers(all_of_them)
        return []

    def in_force(self, app: str) -> int:
        """What `current` points to; 0 for nothing."""
        with refusing(f"read {self.apps_dir}/{app}"):
            try:
                with self._app(app) as directory:
                    return _in_force(directory)
            except FileNotFoundError:
                return 0

    def read(self, app: str, number: int) -> tuple[Manifest, dict[str, str], str]:
        """A generation: its manifest, the text of its units by name, its spec. Raises NanodError when it is not there or not whole."""
        with refusing(f"read generation {number} of {app}"), self._app(app) as directory, directory.sub("generations") as all_of_them:
            try:
                manifest = _manifest(all_of_them, number)
            except records.UnreadableError as bad:
                raise NanodError(f"cannot read generation {number} of {app}: {bad}", hint=f"'nanod history {app}' shows the others") from bad
            with all_of_them.sub(str(number)) as one, one.sub("units") as folder:
                found = {name: folder.read(name) for name in folder.names() if not name.startswith(TEMPORARY)}
                spec = one.read("spec.yaml") or b""
        texts = {name: content.decode(errors="surrogateescape") for name, content in found.items() if content}
        if set(texts) != set(manifest.units):
            raise NanodError(f"cannot read generation {number} of {app}: it is not whole", hint=f"'nanod history {app}' shows the others")
        return manifest, texts, spec.decode(errors="surrogateescape")

    def drop(self, app: str, number: int) -> None:
        """A generation that was staged and never came into force goes; one that is not there is no error."""
        with (
            refusing(f"delete {self.apps_dir}/{app}/generations/{number}"),
            suppress(FileNotFoundError),
            self._app(app) as directory,
            directory.sub("generations") as all_of_them,
        ):
            shutil.rmtree(str(number), dir_fd=all_of_them.fd)

    def write_intent(self, intent: Intent) -> None:
        """On disk when this returns, together with the directory that it is in."""
        with (
            refusing(f"write {self.apps_dir}/{intent.app}/{_INTENT}"),
            OpenDirectory.at(self.apps_dir, root=self.root, make=True) as directory,
            directory.sub(intent.app, make=0o700) as mine,
        ):
            mine.sweep()
            batch = Batch()
            batch.put(mine, _INTENT, records.encode(intent), 0o600)
            batch.flush()
            os.fsync(directory.fd)

    def intent(self, app: str) -> Intent | None:
        """The transaction that did not end. One that cannot be read adds a warning, and counts as none."""
        with refusing(f"read {self.apps_dir}/{app}/{_INTENT}"):
            try:
                with self._app(app) as directory:
                    content = directory.read(_INTENT)
            except (FileNotFoundError, PermissionError):
                return None
        if content is None:
            return None
        try:
            return records.decode_intent(content)
        except records.UnreadableError as bad:
            self._unreadable_intents.add(app)
            self.warnings.append(f"what an interrupted transaction of {app} left is left out, its unit files tell instead: {bad}")
            return None

    def clear_intent(self, app: str) -> None:
        """With what was begun and not finished beside it. One that cannot be read is set aside instead; an app without one is no error."""
        with refusing(f"clear {self.apps_dir}/{app}/{_INTENT}"), suppress(FileNotFoundError), self._app(app) as directory:
            content = directory.read(_INTENT)
            try:
                if content is not None:
                    _tidy(directory, records.decode_intent(content).generation)
                os.unlink(_INTENT, dir_fd=directory.fd)
            except records.UnreadableError:
                _set_aside(directory, _INTENT)
            os.fsync(directory.fd)

    def tidy(self) -> None:
        """As far as no intent speaks of it. Intents that could not be read are set aside: what they meant is not known, and each is told of once."""
        with refusing(f"read {self.apps_dir}"), suppress(FileNotFoundError), OpenDirectory.at(self.apps_dir, root=self.root) as directory:
            _remove_temporaries(directory)
            for name in directory.names():
                if _is_app(name) and kind_of(directory.fd, name) == "directory":
                    with directory.sub(name) as mine:
                        _tidy(mine, _in_force(mine))
                        if name in self._unreadable_intents:
                            _set_aside(mine, _INTENT)
            self._unreadable_intents.clear()

    def stage(self, manifest: Manifest, units: Mapping[str, str], spec_text: str) -> None:
        """Put a generation on disk, complete and durable, without putting it in force."""
        with (
            refusing(f"write generation {manifest.generation} of {manifest.app} in {self.apps_dir}/{manifest.app}"),
            self._app(manifest.app, make=True) as directory,
        ):
            with directory.sub("generations", make=0o700) as all_of_them:
                self._clear(manifest.app, all_of_them, str(manifest.generation))
                temporary = temporary_name()
                try:
                    _write(all_of_them, temporary, manifest, units, spec_text)
                    os.rename(temporary, str(manifest.generation), src_dir_fd=all_of_them.fd, dst_dir_fd=all_of_them.fd)
                except OSError:
                    shutil.rmtree(temporary, ignore_errors=True, dir_fd=all_of_them.fd)
                    raise
                os.fsync(all_of_them.fd)
            os.fsync(directory.fd)
            reach(Point.STAGED)

    def commit(self, manifest: Manifest) -> None:
        """Put a staged generation in force; what the manifest says may differ from what was staged. The oldest generations go."""
        number = str(manifest.generation)
        content = records.encode(manifest)
        with (
            refusing(f"put generation {number} of {manifest.app} in force in {self.apps_dir}/{manifest.app}"),
            self._app(manifest.app) as directory,
            directory.sub("generations") as all_of_them,
        ):
            directory.sweep()
            with all_of_them.sub(number) as mine:
                mine.sweep()
                if mine.read(_MANIFEST) != content:
                    batch = Batch()
                    batch.put(mine, _MANIFEST, content, 0o600)
                    batch.flush()
            if kind_of(directory.fd, "current") not in ("", "symbolic link"):
                _set_aside(directory, "current")
            directory.put_link("current", f"generations/{number}")
            os.fsync(directory.fd)
            for old in _numbers(all_of_them)[:-KEPT]:
                if old not in (manifest.generation, manifest.previous):
                    # The switch is done: what cannot be deleted now is deleted by a later one.
                    shutil.rmtree(str(old), ignore_errors=True, dir_fd=all_of_them.fd)

    def forget(self, app: str) -> None:
        """All that is remembered of the app goes, at once: half a memory never shows."""
        with refusing(f"delete {self.apps_dir}/{app}"), suppress(FileNotFoundError), OpenDirectory.at(self.apps_dir, root=self.root) as directory:
            temporary = temporary_name()
            os.rename(app, temporary, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
            os.fsync(directory.fd)
            with suppress(OSError):  # it is forgotten; the next command tidies up
                _remove_temporaries(directory)

    def record(self, app: str, entry: Mapping[str, object]) -> None:
        """Append one line; `at`, the time in UTC, is added."""
        line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds"), **entry}).encode() + b"\n"
        with refusing(f"write {self.apps_dir}/{app}/{_HISTORY}"), self._app(app, make=True) as directory:
            if kind_of(directory.fd, _HISTORY) not in ("", "regular file"):
                _set_aside(directory, _HISTORY)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(_HISTORY, flags, 0o600, dir_fd=directory.fd), "r+b", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                is_torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
                file.write(b"\n" + line if is_torn else line)
                os.fsync(file.fileno())
            if size > HISTORY_LIMIT:
                _trim(directory)

    def history(self, app: str) -> list[dict[str, object]]:
        """Oldest first. Lines that were torn by a crash are left out."""
        with refusing(f"read {self.apps_dir}/{app}/{_HISTORY}"):
            try:
                with self._app(app) as directory:
                    content = directory.read(_HISTORY) or b""
            except FileNotFoundError:
                return []
        entries = []
        for line in content.splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    entries.append(entry)
        return entries

    def made_from(self, app: str) -> bytes:
        """Of the generation in force, as `keep_made_from` left it; nothing when it is not there, or not the caller's to read."""
        with (
            refusing(f"read what {app} was made from in {self.apps_dir}/{app}"),
            suppress(FileNotFoundError, PermissionError),
            self._current(app) as mine,
        ):
            return mine.read(_MADE_FROM) or b""
        return b""

    def keep_made_from(self, app: str, content: bytes) -> None:
        """Of an app that has a generation in force."""
        with refusing(f"write what {app} was made from in {self.apps_dir}/{app}"), self._current(app) as mine:
            batch = Batch()
            batch.put(mine, _MADE_FROM, content, 0o600)
            batch.flush()

    @contextmanager
    def _current(self, app: str) -> Iterator[OpenDirectory]:
        """The directory of the generation in force. Raises FileNotFoundError without one."""
        with self._app(app) as directory, directory.sub("generations") as all_of_them, all_of_them.sub(str(_in_force(directory))) as mine:
            yield mine

    @contextmanager
    def _app(self, app: str, *, make: bool = False) -> Iterator[OpenDirectory]:
        if not _is_app(app):
            raise FileNotFoundError
        with (
            OpenDirectory.at(self.apps_dir, root=self.root, make=make) as directory,
            directory.sub(app, make=0o700 if make else None) as mine,
        ):
            yield mine

    def _read(self, app: str, all_of_them: OpenDirectory, number: int) -> Manifest | None:
        try:
            return _manifest(all_of_them, number)
        except records.UnreadableError as bad:
            self._unreadable.add((app, number))
            self.warnings.append(f"the record of generation {number} of {app} is left out, its unit files tell instead: {bad}")
            return None

    def _clear(self, app: str, directory: OpenDirectory, number: str) -> None:
        """Make room for a generation: what cannot be read is set aside, what a killed apply left goes."""
        for name in directory.names():
            if name.isdecimal() and (app, int(name)) in self._unreadable:
                _set_aside(directory, name)
            elif name == number or name.startswith(TEMPORARY):
                shutil.rmtree(name, dir_fd=directory.fd)


def _manifest(all_of_them: OpenDirectory, number: int) -> Manifest:
    """Raises UnreadableError."""
    with all_of_them.sub(str(number)) as one:
        return records.decode(one.read(_MANIFEST) or b"")


def _write(all_of_them: OpenDirectory, folder: str, manifest: Manifest, texts: Mapping[str, str], spec_text: str) -> None:
    with all_of_them.sub(folder, make=0o700) as new, new.sub("units", make=0o700) as units:
        batch = Batch()
        for name, text in texts.items():
            batch.put(units, name, text.encode(), 0o600)
        batch.put(new, "spec.yaml", spec_text.encode(errors="surrogateescape"), 0o600)
        batch.put(new, _MANIFEST, records.encode(manifest), 0o600)
        batch.flush()


def _is_app(name: str) -> bool:
    return bool(name) and "/" not in name and not name.startswith(".")


def _tidy(directory: OpenDirectory, number: int) -> None:
    """What was being written when a transaction of generation `number` was killed."""
    directory.sweep()
    with suppress(FileNotFoundError), directory.sub("generations") as all_of_them:
        _remove_temporaries(all_of_them)
        with all_of_them.sub(str(number)) as one:
            one.sweep()


def _remove_temporaries(directory: OpenDirectory) -> None:
    for name in directory.names():
        if name.startswith(TEMPORARY):
            shutil.rmtree(name, dir_fd=directory.fd)


def _in_force(directory: OpenDirectory) -> int:
    """0 also for a link that leads nowhere."""
    target = (directory.link_target("current") or "").removeprefix("generations/")
    if not target.isdecimal():
        return 0
    with suppress(FileNotFoundError), directory.sub("generations") as all_of_them, all_of_them.sub(target):
        return int(target)
    return 0


def _trim(directory: OpenDirectory) -> None:
    lines = (directory.read(_HISTORY) or b"").splitlines(keepends=True)
    batch = Batch()
    batch.put(directory, _HISTORY, b"".join(lines[len(lines) // 2 :]), 0o600)
    batch.flush()


def _numbers(directory: OpenDirectory) -> list[int]:
    return sorted(int(name) for name in directory.names() if name.isdecimal())


def _set_aside(directory: OpenDirectory, name: str) -> None:
    os.rename(name, f"{name}.bad-{datetime.now(UTC):%Y%m%dT%H%M%SZ}", src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
