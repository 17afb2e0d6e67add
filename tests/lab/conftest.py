"""The laboratory: one machine per test module, and nothing left behind.

    def test_reload(machine: Machine) -> None:             # Machine of nanod.rehearse.machine: this machine's systemd
        machine.write("/srv/shop.yaml", "…")
        assert machine.nanod("apply", "/srv/shop.yaml").status == 0

`machine257` is the same over a Debian 13 tree.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.rehearse import mounts, tree
from nanod.rehearse.machine import SOURCE, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.lab)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="only root can boot a machine"))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine over this machine's own root, without a network."""
    with Machine.boot() as booted:
        yield booted


@pytest.fixture(scope="session")
def debian13() -> Path:
    return tree.build("trixie")


@pytest.fixture(scope="module")
def machine257(debian13: Path) -> Iterator[Machine]:
    """A machine over a pristine Debian 13 tree, with nanod's source bound into it."""
    with Machine.boot(tree=debian13, binds=[SOURCE], python="/usr/bin/python3") as booted:
        yield booted


def keepers() -> list[int]:
    """The keepers that this process started and that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"nanod.rehearse.keeper" in words and str(os.getpid()).encode() in words:
            found.append(int(path.parent.name))
    return found


@pytest.fixture(scope="session", autouse=True)
def _nothing_left() -> Iterator[None]:
    """Fail the session when a machine of this process left a mount or a process. Cgroups show for all: tests/conftest.py looks at the very end."""
    before = mounts.read()
    yield
    deadline = time.monotonic() + 5
    while keepers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert keepers() == []
    # Others may mount their own meanwhile.
    assert [mount for mount in mounts.read() if mount not in before and mount.kind in {"overlay", "cgroup2"}] == []
