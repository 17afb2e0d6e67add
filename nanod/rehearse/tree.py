"""A Debian tree to boot machines over: the other systemd version that nanod is tried on.

The tree is built once and never written to again; machines see it through overlays.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.errors import NanodError
from nanod.host import process

if TYPE_CHECKING:
    from collections.abc import Callable

CACHE = Path("/var/cache/nanod-lab")
"""NANOD_LAB_CACHE in the environment names another."""

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "libnss-systemd",
    "procps",
    "curl",
    "redis-server",
    "openssh-server",
    "rsync",
    "sudo",
    "python3",
    "python3-click",
    "python3-jsonschema",
    "python3-pystemd",
    "python3-yaml",
)

BUILD_TIMEOUT = 900.0
"""Seconds; a build takes one or two minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a tree is made of: `options` are further words for mmdebstrap(1)."""

    name: str
    suite: str
    packages: tuple[str, ...]
    options: tuple[str, ...] = ()

    def text(self) -> str:
        return "\n".join((*self.packages, *self.options))


LAB = Recipe(name="trixie", suite="trixie", packages=PACKAGES)
"""The laboratory's other Debian."""


def build(recipe: Recipe = LAB) -> Path:
    """The tree that a recipe makes, built unless it is there."""
    cache = Path(os.environ.get("NANOD_LAB_CACHE", CACHE))
    return keep(cache / recipe.name, recipe.text(), lambda made: _debootstrap(recipe, made))


def keep(place: Path, contents: str, make: Callable[[Path], None]) -> Path:
    """`place`, which `make` makes unless it is there and made of `contents`. It is whole or not there. A second builder waits for the first."""
    if _is_kept(place, contents):
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    directory = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not _is_kept(place, contents):
            _renew(place, contents, make)
    finally:
        os.close(directory)
    return place


def mirror() -> str:
    """Where this machine has Debian's packages from."""
    return mirror_of(process.run(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"]).out)


def mirror_of(targets: str) -> str:
    """`targets`: what apt-get(8) says of its own with the format of `mirror`."""
    for line in targets.splitlines():
        origin, label, uri = line.split("|")
        if (origin, label) == ("Debian", "Debian"):
            return uri
    return "http://deb.debian.org/debian"


def _is_kept(place: Path, contents: str) -> bool:
    stamp = _stamp(place)
    return place.is_dir() and stamp.is_file() and stamp.read_text() == contents


def _stamp(place: Path) -> Path:
    """Says what is in it, from beside it: nothing is in a tree that Debian did not put there."""
    return place.with_suffix(".packages")


def _renew(place: Path, contents: str, make: Callable[[Path], None]) -> None:
    for abandoned in place.parent.glob(f".{place.name}-????????"):
        shutil.rmtree(abandoned)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as scratch:
        made = Path(scratch) / "made"
        make(made)
        if place.exists():
            # Machines may still be shown it; the next build deletes it.
            place.rename(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        made.rename(place)
        _stamp(place).write_text(contents)


def _debootstrap(recipe: Recipe, made: Path) -> None:
    words = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(recipe.packages)}", *recipe.options]
    done = process.run([*words, recipe.suite, str(made), mirror()], timeout=BUILD_TIMEOUT)
    if done.status:
        raise NanodError(f"cannot build a Debian tree: mmdebstrap ended with {done.status}", hint=done.err[-2000:])
