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

from nanod.errors import NanodError
from nanod.host import process

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
    """The tree that a recipe makes, built unless it is there. A second builder waits for the first."""
    cache = Path(os.environ.get("NANOD_LAB_CACHE", CACHE))
    tree = cache / recipe.name
    if _is_built(recipe, tree):
        return tree
    cache.mkdir(parents=True, exist_ok=True)
    directory = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not _is_built(recipe, tree):
            _build(recipe, tree)
    finally:
        os.close(directory)
    return tree


def _is_built(recipe: Recipe, tree: Path) -> bool:
    stamp = _stamp(tree)
    return tree.is_dir() and stamp.is_file() and stamp.read_text() == recipe.text()


def _stamp(tree: Path) -> Path:
    """Says what is in the tree, from beside it: nothing is in a tree that Debian did not put there."""
    return tree.with_suffix(".packages")


def mirror(suites: str) -> str:
    """Where this machine has Debian's packages from; `suites` is what `apt-get indextargets` says with the format used below."""
    for line in suites.splitlines():
        origin, label, uri = line.split("|")
        if (origin, label) == ("Debian", "Debian"):
            return uri
    return "http://deb.debian.org/debian"


def _build(recipe: Recipe, tree: Path) -> None:
    for abandoned in tree.parent.glob(f".{recipe.name}-????????"):
        shutil.rmtree(abandoned)
    asked = process.run(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"])
    with tempfile.TemporaryDirectory(prefix=f".{recipe.name}-", dir=tree.parent) as scratch:
        made = Path(scratch) / "tree"
        words = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(recipe.packages)}", *recipe.options]
        done = process.run([*words, recipe.suite, str(made), mirror(asked.out)], timeout=BUILD_TIMEOUT)
        if done.status:
            raise NanodError(f"cannot build a Debian tree: mmdebstrap ended with {done.status}", hint=done.err[-2000:])
        if tree.exists():
            # Machines may still be shown it; the next build deletes it.
            tree.rename(tempfile.mkdtemp(prefix=f".{recipe.name}-", dir=tree.parent))
        made.rename(tree)
        _stamp(tree).write_text(recipe.text())
