"""The directories of systemd in which somebody may change a unit of an app, and which names there are of one."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from nanod.daemon.listing import merge, places
from nanod.daemon.work import escape

if TYPE_CHECKING:
    from collections.abc import Collection

DIRECTORIES = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)
"""Of systemd.unit(5), UNIT FILE LOAD PATH: without those of generators and transient units, which are made by programs and not by hand."""
APPS = "/var/lib/nanod/apps"
_RELOADED = {"generator", "generator.early", "generator.late"}
"""In /run/systemd: made anew whenever systemd reads its units again, which is when it may take in what has changed before."""
_TYPES = ("service", "target", "slice", "socket", "timer")


def apps() -> list[str]:
    """All on this host. Hidden names are of what is being deleted."""
    with suppress(OSError):
        return [name for name in os.listdir(APPS) if not name.startswith(".")]  # noqa: PTH208  (names are all that is asked)
    return []


def concerns(name: str, of: Collection[str]) -> bool:
    """Whether a file or directory of this name is about a unit of an app: its file, a mask, a directory of drop-ins, also one of a prefix or a
    type.
    """
    stem, _, kind = name.removesuffix(".d").rpartition(".")
    if name.endswith(".d") and (name.removesuffix(".d") in _TYPES or (stem.endswith("-") and kind in _TYPES)):
        return True
    return any(name.startswith((f"{app}.", f"{app}-", f"nanod-{escape(app)}.")) for app in of)


def watched(of: Collection[str]) -> dict[str, set[str]]:
    """These directories and those of drop-ins in them; and on the way to each, the names that count."""
    found: dict[str, set[str]] = {"/run/systemd": {*_RELOADED}}
    for directory in DIRECTORIES:
        merge(found, places(directory))
        real = os.path.realpath(directory)
        found.setdefault(real, set())
        with suppress(OSError):
            for entry in os.scandir(real):
                if entry.name.endswith(".d") and concerns(entry.name, of) and entry.is_dir():
                    found.setdefault(entry.path, set())
    return found
