"""A writer that is killed before any of its steps on the disk leaves the old state or the new, and the next writer finishes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nanod.host.atomic import TEMPORARY
from nanod.host.store import LocalStore
from nanod.state import Manifest

from .test_host_records import unit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WANTS = "multi-user.target.wants/shop.target"
STEPS = ("fsync", "mkdir", "open", "rename", "rmdir", "symlink", "unlink")
KILLED = 77


def text(service: str, version: int) -> str:
    return unit("shop", service) + f"[Service]\nExecStart=:/bin/echo {version}\n"


def units(version: int) -> dict[str, str]:
    """Version 2 changes a, drops b and brings c."""
    return {f"shop-{name}.service": text(name, version) for name in ("ab" if version == 1 else "ac")}


def manifest(version: int) -> Manifest:
    hashes = dict.fromkeys(units(version), f"hash {version}")
    links = {WANTS: "../shop.target"} if version == 2 else {}
    return Manifest(app="shop", spec="/s", env=None, generation=version, units=hashes, links=links, watched={}, services={})


def write(root: str, version: int) -> None:
    """What apply does, without a systemd."""
    store = LocalStore(root=root)
    old = store.manifest("shop")
    store.install_lib()
    store.stage(manifest(version), units(version), "spec")
    for name, content in units(version).items():
        store.write_unit(name, content)
    store.sync()
    for name in set(old.units if old else ()) - set(units(version)):
        store.delete_unit(name)
    store.link(WANTS, "../shop.target") if version == 2 else store.unlink(WANTS)
    store.sync()
    store.commit(manifest(version))
    store.record("shop", {"version": version})


def killed_at(step: int, root: str) -> bool:
    """Write version 2 in a process that dies just before its step number `step`; False when it came to its end."""
    pid = os.fork()
    if pid == 0:
        _dying(step, lambda: write(root, 2))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == KILLED


def _dying(step: int, act: Callable[[], None]) -> None:
    """Runs in a child of its own; never returns, and nothing cleans up."""
    left = [step]

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: object, **keywords: object) -> object:
            if call is not real_open or (isinstance(arguments[1], int) and arguments[1] & os.O_CREAT):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(KILLED)
            return call(*arguments, **keywords)

        return wrapper

    real_open = os.open
    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    status = 1
    try:
        act()
        status = 0
    finally:
        os._exit(status)


@pytest.mark.row("FAULTS-16")
def test_any_step_may_be_the_last(tmp_path: Path) -> None:
    step = 0
    while True:
        root = tmp_path / str(step)
        root.mkdir()
        write(str(root), 1)
        if not killed_at(step, str(root)):
            break
        store = LocalStore(root=str(root))
        found = store.read_units(["shop-a.service", "shop-b.service", "shop-c.service"])
        assert found.items() <= (units(1).items() | units(2).items()), f"step {step}: a file is neither old nor new"
        assert "shop-a.service" in found
        recorded = store.manifest("shop")
        assert recorded is not None
        assert recorded.generation in (1, 2)
        assert set(found) <= set(recorded.units), f"step {step}: a unit is forgotten"
        assert store.warnings == []
        assert [entry["version"] for entry in store.history("shop")] in ([1], [1, 2])
        write(str(root), 2)
        assert store.read_units(["shop-a.service", "shop-b.service", "shop-c.service"]) == units(2), f"step {step}: not repaired"
        assert LocalStore(root=str(root)).manifest("shop") == manifest(2)
        assert [path for path in root.rglob("*") if path.name.startswith(TEMPORARY)] == [], f"step {step}: something is left"
        step += 1
    assert step > 20
    assert LocalStore(root=str(root)).manifest("shop") == manifest(2)
