"""The laboratory: one machine per test module, and nothing left behind.

    def test_reload(machine: Machine) -> None:             # Machine of nanod.rehearse.machine: this machine's systemd
        machine.write("/srv/shop.yaml", "…")
        assert machine.nanod("apply", "/srv/shop.yaml").status == 0

`machine257` is the same over a Debian 13 tree. What depends on the version of systemd takes `any_machine`, and runs on both; anything else names one, about
half of a module each. `on`, `on252` and `on257` are the same for groups.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.rehearse import mounts, tree
from nanod.rehearse.machine import SOURCE, Machine
from tests.conftest import SYSTEMDS
from tests.lab.daemons import Daemon, sleeping
from tests.lab.groups import Group, making

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine over this machine's own root, without a network."""
    with Machine.boot() as booted:
        yield booted


@pytest.fixture(scope="module")
def running(machine: Machine) -> Daemon:
    """A daemon that is ready, and an app `keeps` of two services in its directory, which nothing is to touch."""
    daemon = Daemon.on(machine)
    daemon.put("keeps", sleeping("keeps", services=2))
    daemon.start()
    return daemon


@pytest.fixture(scope="session")
def debian13() -> Path:
    return tree.build()


@pytest.fixture(scope="session")
def source257(tmp_path_factory: pytest.TempPathFactory, debian13: Path) -> Path:
    """The source with what Debian 13's Python compiles of it: compiling takes longer than most commands, and each machine would do it anew."""
    made = tmp_path_factory.mktemp("source257") / "nanod"
    with Machine.boot(tree=debian13) as booted:
        inside = booted.path("/nanod")
        shutil.copytree(SOURCE / "nanod", inside, ignore=shutil.ignore_patterns("__pycache__"))
        assert booted.run(["python3", "-m", "compileall", "-q", "-s/", f"-p{SOURCE}", "/nanod"]).status == 0
        shutil.copytree(inside, made)
    return made


@pytest.fixture(scope="module")
def machine257(debian13: Path, source257: Path) -> Iterator[Machine]:
    """A machine over a pristine Debian 13 tree, with a copy of nanod's source in it: where Python cannot write, it keeps nothing that it compiles."""
    with Machine.boot(tree=debian13, python="/usr/bin/python3") as booted:
        shutil.copytree(source257, booted.path(SOURCE / "nanod"))
        yield booted


@pytest.fixture(scope="module", params=SYSTEMDS)
def any_machine(request: pytest.FixtureRequest) -> Machine:
    """One after the other."""
    found: Machine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def on(any_machine: Machine) -> Iterator[Callable[[str], Group]]:
    with making(any_machine) as make:
        yield make


@pytest.fixture
def on252(machine: Machine) -> Iterator[Callable[[str], Group]]:
    with making(machine) as make:
        yield make


@pytest.fixture
def on257(machine257: Machine) -> Iterator[Callable[[str], Group]]:
    with making(machine257) as make:
        yield make


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
