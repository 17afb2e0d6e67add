"""Digests of watched files and secrets that only this host can make: a plain one of a short password is as good as the password.

The key is random, root's own, and made with the first record that needs it. A lost one costs nothing: digests made with another tell nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from nanod.errors import NanodError
from nanod.host import facts
from nanod.host.atomic import Batch, OpenDirectory, refusing
from nanod.scope import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanod.scope import RuntimeScope

_NAME = "digest.key"
_BYTES = 32


class Seal:
    """The key of this machine, or with `root` of a tree. One that is not there yet is made up, and kept with `keep`."""

    def __init__(self, root: str = "/", scope: RuntimeScope = SYSTEM) -> None:
        self.root = root
        self._directory = scope.state
        self._key = b""
        self._is_kept = False

    def digests(self, paths: Iterable[str]) -> dict[str, str]:
        """`KEY:DIGEST` of each, "" for a missing one; without those that only root could read, where the caller is somebody else.

        Raises NanodError as `facts.digests`.
        """
        found = {}
        for path in paths:
            try:
                plain = facts.digests([path], self.root)[path]
            except NanodError:
                if os.geteuid() == 0:
                    raise
                continue
            found[path] = self._sealed(plain)
        return found

    def keep(self) -> None:
        """The key that files were looked at with is on disk from now on. Raises NanodError when the disk refuses."""
        if self._is_kept or not self._key:
            return
        with refusing(f"write {self._directory}/{_NAME}"), OpenDirectory.at(self._directory, root=self.root, make=True) as directory:
            batch = Batch()
            batch.put(directory, _NAME, self._key, 0o600)
            batch.flush()
        self._is_kept = True

    def _sealed(self, plain: str) -> str:
        # Also for a file that is missing: it may be there when the same command looks again, and by then the key has been kept, or has not.
        if not self._key:
            self._load()
        if not plain:
            return ""
        name = hashlib.sha256(self._key).hexdigest()[:8]
        return f"{name}:{hmac.digest(self._key, plain.encode(), 'sha256').hex()}"

    def _load(self) -> None:
        """Whoever may not read it makes digests that tell nothing."""
        with refusing(f"read {self._directory}/{_NAME}"), suppress(FileNotFoundError, PermissionError):
            with OpenDirectory.at(self._directory, root=self.root) as directory:
                self._key = directory.read(_NAME) or b""
            self._is_kept = len(self._key) == _BYTES
        if not self._is_kept:
            self._key = os.urandom(_BYTES)
