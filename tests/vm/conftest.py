"""Virtual machines, for what no container shows: limits that the kernel enforces, its OOM killer, reboots, and a power cut that loses what was not synced.

    def test_limits(guest: Guest) -> None:          # a machine of this module; see guest.py
        guest.nanod("apply", "/etc/nanod/shop.yaml")

`tools/vm` runs all of it; the ordinary tests do not: a boot takes a minute where the processor cannot help.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.rehearse.machine import SOURCE
from tests.vm.guest import Guest
from tests.vm.image import Image, build, overlay

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
TOOLS = ("qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs", "ssh", "ssh-keygen")
CHECKOUT = "/srv/checkout"
TIMEOUT = 7200
"""Seconds, for a test that hangs; ten power cuts take an hour where the processor cannot help."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.vm)
            item.add_marker(pytest.mark.timeout(TIMEOUT))
            if lacking := _lacking():
                item.add_marker(pytest.mark.skip(reason=lacking))


def _lacking() -> str:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"no {', '.join(missing)}: tools/setup vm installs what virtual machines need"
    if os.geteuid() != 0:
        return "only root can build the image"
    return "" if _packages() else "no package in dist/: tools/package deb builds it"


def _packages() -> list[Path]:
    """NANOD_DEB in the environment names another than the newest of dist/."""
    if named := os.environ.get("NANOD_DEB"):
        return [Path(named)]
    return sorted((SOURCE / "dist").glob("nanod_*.deb"), key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nanod-vm-") as path:
        yield Path(path)


@pytest.fixture(scope="session")
def image() -> Image:
    return build(_packages()[-1])


@pytest.fixture(scope="session")
def installed(image: Image, directory: Path) -> Path:
    """The disk of a machine that Vagrant's own script has provisioned, with the package and the example."""
    place = directory / "installed"
    place.mkdir()
    disk = overlay(place / "disk.qcow2", image.disk)
    with Guest(image=image, disk=disk, directory=place) as guest:
        guest.copy(_packages()[-1], f"{CHECKOUT}/dist")
        for path in ("packaging/vagrant/provision", "examples/shop"):
            guest.copy(SOURCE / path, f"{CHECKOUT}/{Path(path).parent}")
        guest.run(f"{CHECKOUT}/packaging/vagrant/provision", CHECKOUT)
        guest.poweroff()
    return disk


@pytest.fixture(scope="module")
def guest(request: pytest.FixtureRequest, image: Image, installed: Path, directory: Path) -> Iterator[Guest]:
    """Provisioned and booted anew, so that nothing which other modules did is on it."""
    place = directory / request.path.stem
    place.mkdir()
    with Guest(image=image, disk=overlay(place / "disk.qcow2", installed), directory=place) as booted:
        yield booted
    shutil.rmtree(place)
