"""The packages are built once for all workers."""

from __future__ import annotations

import fcntl
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from nanod import __version__
from nanod.rehearse.machine import SOURCE

if TYPE_CHECKING:
    from pathlib import Path

pytest.register_assert_rewrite("tests.package.hosts", "tests.package.life")

NEXT = f"{__version__}+next"


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tools/package builds."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = shared / "dist"
    with (shared / "dist.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            building = shared / "dist.part"
            done = subprocess.run([SOURCE / "tools/package", "-o", building], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            building.rename(made)
    return made


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    [found] = dist.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def older(dist: Path) -> Path:
    [found] = dist.glob("*.deb")
    return found


@pytest.fixture(scope="session")
def newer(older: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as the next version: unpacked and packed again, which takes a second and not another build."""
    directory = tmp_path_factory.mktemp("newer")
    root, made = directory / "root", directory / f"nanod_{NEXT}-1_all.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", older, root], check=True)
    for file in (root / "DEBIAN/control", root / "usr/lib/python3/dist-packages/nanod/__init__.py"):
        text = file.read_text()
        file.write_text(text.replace(__version__, NEXT))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", root, made], check=True, capture_output=True)
    return made
