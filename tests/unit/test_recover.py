"""Recovery after a death at any step, with a PID 1 that only remembers; and that these tests turn red for each thing that keeps it safe."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nanod import restore, transaction
from nanod.errors import NanodError
from nanod.host import generations
from nanod.host.atomic import Batch, OpenDirectory
from nanod.host.store import LocalStore
from nanod.recover import recover_at_boot
from nanod.steps import Link, Unlink
from tests.fakes import FakeReleases

from .crashing import APP, SCENARIOS, UNITS, KilledError, Life, Scenario, World, crash_everywhere, new, old, require_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nanod.state import Intent, Manifest
    from nanod.steps import AnyStep


@pytest.mark.row("FAULTS-16", "BX-2")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda item: item.name)
def test_any_step_may_be_the_last(scenario: Scenario, tmp_path: Path) -> None:
    assert crash_everywhere(scenario, tmp_path) > 30


# Without one of the things that keep it safe


def _in_place(batch: Batch, directory: OpenDirectory, name: str, content: bytes, mode: int = 0o644) -> None:
    """Writes the file under its own name, without a temporary file and a rename."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode, dir_fd=directory.fd)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content[:10])
        file.flush()
        os.fsync(descriptor)
        file.write(content[10:])
    batch.touch(directory)


def _put_link(directory: OpenDirectory, name: str, target: str) -> None:
    """Turns a link by deleting it first."""
    if directory.link_target(name) is not None:
        os.unlink(name, dir_fd=directory.fd)
    os.symlink(target, name, dir_fd=directory.fd)


def _without_links(files: Callable[..., Iterator[AnyStep]]) -> Callable[..., Iterator[AnyStep]]:
    return lambda intent, now: (step for step in files(intent, now) if not isinstance(step, Link | Unlink))


def _clears_first(commit: Callable[..., None]) -> Callable[..., None]:
    def cleared(manifest: Manifest, intent: Intent | None, host: Any) -> None:
        if intent:
            host.store.clear_intent(manifest.app)
        commit(manifest, intent, host)

    return cleared


def _forgets_old_text(write: Callable[..., None]) -> Callable[..., None]:
    return lambda self, intent: write(self, replace(intent, files=dict.fromkeys(intent.files)))


def _nothing(*_: object) -> None:
    pass


MUTATIONS: dict[str, tuple[Any, str, Any]] = {
    "a file is written in place": (Batch, "put", _in_place),
    "contents are not synced before the renames": (Batch, "_sync_contents", _nothing),
    "no intent is written": (LocalStore, "write_intent", _nothing),
    "the intent does not say what there was": (LocalStore, "write_intent", _forgets_old_text(LocalStore.write_intent)),
    "the intent goes before the commit": (transaction, "commit", _clears_first(transaction.commit)),
    "no generation is put in force": (OpenDirectory, "put_link", _nothing),
    "the link of the generation is deleted first": (OpenDirectory, "put_link", _put_link),
    "links are not put back": (restore, "_files", _without_links(restore._files)),
    "what runs a new file is not stopped": (restore, "_stops", lambda *_: iter(())),
    "what ran is not started again": (restore, "_starts", lambda *_: iter(())),
    "nothing that was staged is dropped": (LocalStore, "drop", _nothing),
    "what was being written is not removed": (generations, "_tidy", _nothing),
}
"""What it is, and what is put in whose place."""


@pytest.mark.row("FAULTS-19")
@pytest.mark.parametrize("name", MUTATIONS)
def test_without_it_the_tests_above_are_red(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where, attribute, instead = MUTATIONS[name]
    with monkeypatch.context() as patch:
        patch.setattr(where, attribute, instead)
        if where is transaction:
            patch.setattr("nanod.apply.commit", instead)
        for scenario in SCENARIOS:
            try:
                crash_everywhere(scenario, tmp_path / scenario.name)
            except (AssertionError, NanodError):
                return
    pytest.fail("they stay green")


@pytest.mark.row("FAULTS-19")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda item: item.name)
def test_no_sync_may_be_missing(scenario: Scenario, tmp_path: Path) -> None:
    """Leave any one sync out, and the check of their order is red. Nothing else can show it where no write is ever lost."""
    world = World(tmp_path / "root")
    world.furnish()
    if scenario.begin:
        world.apply(scenario.begin())
    life = Life()
    world.apply(scenario.end() if scenario.end else None, purge=scenario.purge, life=life)
    syncs = [number for number, (call, _) in enumerate(life.taken) if call == "fsync"]
    assert len(syncs) > 3
    unseen = []
    for number in syncs:
        try:
            require_order([step for other, step in enumerate(life.taken) if other != number])
        except AssertionError:
            continue
        unseen.append(life.taken[number][1].removeprefix(str(world.root)))
    # Data come back with the next apply, and history tells of what was. The others are synced once more before anything relies on them.
    assert set(unseen) <= {"/srv", f"/{APP}/history.jsonl", f"/{APP}", "/var/lib/nanod/apps", "/var/lib/nanod", f"/{UNITS}"}


# At boot


class Systemctl:
    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[str] = []

    def daemon_reload(self) -> None:
        self.world.systemd.life.step()
        self.calls.append("daemon-reload")

    def start_no_block(self, unit: str) -> None:
        self.world.systemd.life.step()
        self.calls.append(f"start {unit}")

    def has_job(self, unit: str) -> bool:
        self.world.systemd.life.step()
        return unit == "multi-user.target"


def boot(world: World, life: Life | None = None) -> list[str]:
    """What nanod-recover.service does; hands back what it asked PID 1 for."""
    systemctl = Systemctl(world)
    world.systemd.life = life or Life()
    with world.systemd.life.lived():
        store = world.store
        intents = store.intents()
        store.tidy()
        _, refusals = recover_at_boot(intents, lambda _: world.store, FakeReleases(), systemctl)
    assert refusals == []
    return systemctl.calls


@pytest.mark.row("FAULTS-16", "FAULTS-18", "BX-2")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda item: item.name)
def test_a_boot_after_any_step(scenario: Scenario, tmp_path: Path) -> None:
    """Files alone are put back, then one daemon-reload, and the target is started again; also when the boot is cut off, at any of its steps."""
    begin = World(tmp_path / "begin")
    begin.furnish()
    if scenario.begin:
        begin.apply(scenario.begin())
    end = begin.copied(tmp_path / "end")
    life = Life()
    end.apply(scenario.end() if scenario.end else None, purge=scenario.purge, life=life)
    for step in range(0, life.count, 3):
        world = begin.copied(tmp_path / str(step))
        with pytest.raises(KilledError):
            world.apply(scenario.end() if scenario.end else None, purge=scenario.purge, life=Life(step))
        had_intent = bool(world.store.intents())
        calls: list[str] = []
        try:
            calls = boot(world, Life(step * 5 % 30))
        except KilledError:
            calls = boot(world)
        assert world.files() in (begin.files(), end.files()), step
        if any(intent.decided for intent in world.store.intents().values()):
            world.recover()  # deleting data is not for the boot
        assert world.left() == [], step
        assert world.state().in_force == (begin if world.files() == begin.files() else end).state().in_force
        if had_intent and calls:
            assert calls == ["daemon-reload"] + (["start shop.target"] if scenario.begin else []), step


def test_an_app_whose_disk_refuses_keeps_no_other_waiting(tmp_path: Path) -> None:
    world = World(tmp_path / "root")
    world.furnish()
    world.apply(old())
    before = world.files()
    with pytest.raises(KilledError):
        world.apply(new(), life=Life(60))
    (intent,) = world.store.intents().values()
    systemctl = Systemctl(world)
    world.systemd.life = Life()

    class Refusing(LocalStore):
        def sweep(self) -> None:
            raise NanodError("cannot read /etc/systemd/system: Input/output error")

    stores = {"other": Refusing(root=str(world.root)), "shop": world.store}
    intents = {"other": replace(intent, app="other"), "shop": intent}
    found, refusals = recover_at_boot(intents, lambda intent: stores[intent.app], FakeReleases(), systemctl)
    assert [item.intent.app for item in found] == ["shop"]
    assert [refused.message for refused in refusals] == ["cannot read /etc/systemd/system: Input/output error"]
    assert world.files() == before
