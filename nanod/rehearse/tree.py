"""A Debian tree to boot machines over: the other systemd version that nanod is tried on.

The tree is built once and never written to again; machines see it through overlays.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
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


def build(suite: str = "trixie") -> Path:
    """The tree of a Debian release with PACKAGES, built unless it is there. A second builder waits for the first."""
    cache = Path(os.environ.get("NANOD_LAB_CACHE", CACHE))
    tree = cache / suite
    if _is_built(tree):
        return tree
    cache.mkdir(parents=True, exist_ok=True)
    directory = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not _is_built(tree):
            _build(suite, tree)
    finally:
        os.close(directory)
    return tree


def _is_built(tree: Path) -> bool:
    stamp = _stamp(tree)
    return tree.is_dir() and stamp.is_file() and stamp.read_text().split() == list(PACKAGES)


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


def _build(suite: str, tree: Path) -> None:
    for abandoned in tree.parent.glob(f".{suite}-*"):
        shutil.rmtree(abandoned)
    asked = process.run(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"])
    with tempfile.TemporaryDirectory(prefix=f".{suite}-", dir=tree.parent) as scratch:
        made = Path(scratch) / "tree"
        words = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        done = process.run([*words, suite, str(made), mirror(asked.out)], timeout=BUILD_TIMEOUT)
        if done.status:
            raise NanodError(f"cannot build a Debian tree: mmdebstrap ended with {done.status}", hint=done.err[-2000:])
        if tree.exists():
            # Machines may still be shown it; the next build deletes it.
            tree.rename(tempfile.mkdtemp(prefix=f".{suite}-", dir=tree.parent))
        made.rename(tree)
        _stamp(tree).write_text("\n".join(PACKAGES))
