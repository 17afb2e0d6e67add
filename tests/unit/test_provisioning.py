"""Installs by hand: what is pending, what is done again, and whose lock is respected."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nanod.ended import Installed
from nanod.errors import BusyError, ExitCode, NanodError, UsageError
from nanod.host import Host
from nanod.host.volume import forget_install
from nanod.provisioning import installs, provision
from nanod.view.provisioning import provisioned_data, provisioned_text
from nanod.view.tty import PLAIN
from tests.fakes import FakeClock, FakeJournal, FakeReleases, FakeStore, FakeSystemd, Phase, failing
from tests.unit.test_running import MANIFEST, WEB

if TYPE_CHECKING:
    from pathlib import Path

    from nanod.ended import Provisioned

UNIT = "shop-web-provision.service"
WELL = (Phase(0.0, "activating", "start", job=True), Phase(2.0, "inactive", "dead"))


class World:
    def __init__(self, volume: Path) -> None:
        self.clock = FakeClock()
        self.systemd, self.store, self.journal = FakeSystemd(self.clock), FakeStore(), FakeJournal()
        self.sentinel, self.modules = volume / ".nanod-installed-1", volume / "50%"
        self.store.files[UNIT] = f"[Unit]\nConditionPathExists=|!{self.sentinel}\nConditionPathExists=|!{self.modules}".replace("%", "%%") + "\n"
        self.systemd.given(WEB)
        self.systemd.on_start(UNIT, WELL)

    @property
    def host(self) -> Host:
        return Host(systemd=self.systemd, store=self.store, journal=self.journal, clock=self.clock, digests=lambda _: {}, releases=FakeReleases())

    def installed(self) -> None:
        self.sentinel.touch()
        self.modules.mkdir()

    def provision(self, *names: str, force: bool = False) -> Provisioned:
        forget = (lambda path: forget_install(path, timeout=0)) if force else None
        return provision("shop", installs(MANIFEST, names, self.host), self.host, forget=forget)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_is_pending_is_installed_and_no_service_touched(world: World) -> None:
    end = world.provision()
    assert world.systemd.calls == [("reset-failed", UNIT), ("start", UNIT)]
    assert (end.exit_code, end.installs[0].word) == (ExitCode.OK, Installed.DONE)
    text = provisioned_text(end, PLAIN)
    assert text.startswith("web: installed (2.")
    assert "it runs on as it was; `nanod restart shop web` starts it anew" in text


def test_what_is_installed_is_left_alone_and_its_sentinel_named(world: World) -> None:
    world.installed()
    end = world.provision("web")
    assert world.systemd.calls == []
    assert provisioned_text(end, PLAIN) == f"web: already installed (sentinel {world.sentinel})"
    assert provisioned_data(end)["verdict"] == "installed"
    world.modules.rmdir()
    assert world.provision().installs[0].word is Installed.DONE, "what it creates counts, too"


def test_force_does_it_again(world: World) -> None:
    world.installed()
    end = world.provision(force=True)
    assert (end.installs[0].word, world.sentinel.exists()) == (Installed.DONE, False)


def test_a_failure_is_told_with_its_last_lines(world: World) -> None:
    world.systemd.on_start(UNIT, failing(7))
    world.journal.said(UNIT, "install/install", 7)
    world.journal.lines[UNIT] = ["no space left"]
    end = world.provision()
    assert end.exit_code is ExitCode.FAILED
    assert "cannot provision web: install exited with status 7\n    no space left\n" in provisioned_text(end, PLAIN)
    data = provisioned_data(end)
    assert data["verdict"] == "failed"
    assert data["installs"][0]["reasons"][0]["status"] == 7  # type: ignore[index]


def test_an_interrupt_ends_the_wait_and_not_the_install(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeClock, "sleep", interrupt)
    end = world.provision()
    assert end.exit_code is ExitCode.INTERRUPTED
    assert ("stop", UNIT) not in world.systemd.calls
    assert provisioned_text(end, PLAIN) == "web: interrupted; the install goes on: `nanod logs -f shop web`"


def test_services_without_an_install_are_refused_with_those_that_have_one(world: World) -> None:
    with pytest.raises(UsageError) as refused:
        world.provision("db")
    assert (refused.value.message, refused.value.hint) == ("cannot provision db: there is no install", "services with an install are: web")
    without = replace(MANIFEST, services={"db": ("shop-db.service",)})
    with pytest.raises(UsageError, match="cannot provision shop: there is no install"):
        installs(without, (), world.host)


def test_a_unit_file_that_is_not_ours_any_more_is_refused(world: World) -> None:
    world.store.files.clear()
    with pytest.raises(NanodError, match="is not the file that nanod left"):
        world.provision()


def test_a_sentinel_goes_only_under_the_lock_of_its_volume(tmp_path: Path) -> None:
    sentinel = tmp_path / ".nanod-installed-1"
    assert not forget_install(str(sentinel), timeout=0)
    sentinel.touch()
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(BusyError, match=f"an install holds {tmp_path}"):
        forget_install(str(sentinel), timeout=0)
    assert sentinel.exists()
    os.close(holder)
    assert forget_install(str(sentinel), timeout=0)
    assert not sentinel.exists()
    assert not forget_install(str(tmp_path / "none" / "sentinel"), timeout=0)


def test_a_link_in_place_of_the_sentinel_goes_and_not_what_it_points_to(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    (tmp_path / "sentinel").symlink_to(victim)
    assert forget_install(str(tmp_path / "sentinel"), timeout=0)
    assert victim.exists()
