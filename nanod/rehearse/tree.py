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
    "python3",
    "python3-click",
    "python3-jsonschema",
    "python3-pystemd",
    "python3-yaml",
)

BUILD_TIMEOUT = 900.0
"""Seconds; a build takes one or two minutes."""


def build(suite: str = "trixie") -> Path:
    """The tree of a Debian release, built unless it is there. A second builder waits for the first."""
    cache = Path(os.environ.get("NANOD_LAB_CACHE", CACHE))
    tree = cache / suite
    if tree.is_dir():
        return tree
    cache.mkdir(parents=True, exist_ok=True)
    directory = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not tree.is_dir():
            _build(suite, tree)
    finally:
        os.close(directory)
    return tree


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
        made.rename(tree)
