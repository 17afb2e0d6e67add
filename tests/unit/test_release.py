"""Building releases with a host that only remembers: what is done in which order, what a failure says, and that nothing stays of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from nanod.errors import BuildError, NanodError
from nanod.host import Host
from nanod.host.store import LocalStore
from nanod.plan import plan
from nanod.release import clean_up, make_releases
from tests.fakes import EMPTY_HOST, FakeClock, FakeJournal, FakeReleases, FakeStore, FakeSystemd, Phase
from tests.unit.test_compile_release import compiled
from tests.unit.test_plan_release import HOOKS, ONE, SPEC

if TYPE_CHECKING:
    from pathlib import Path

    from nanod.settle import Progress
    from nanod.steps import Plan

UNIT = f"nanod-build-shop-web-{os.getpid()}.service"


@dataclass
class World:
    units: LocalStore
    releases: FakeReleases = field(default_factory=FakeReleases)
    clock: FakeClock = field(default_factory=FakeClock)
    journal: FakeJournal = field(default_factory=FakeJournal)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.systemd = FakeSystemd(self.clock)
        self.systemd.on_start(UNIT, (Phase(0.0, "activating", "start", job=True), Phase(0.5, "inactive", "dead")))

    @property
    def host(self) -> Host:
        return Host(
            systemd=self.systemd,
            store=FakeStore(),
            journal=self.journal,
            clock=self.clock,
            releases=self.releases,
            digests=lambda _: {},
            command="nanod",
        )

    def ends(self, result: str, status: int = 0) -> None:
        how: dict[str, object] = {"result": result, "exec_main_code": 1, "exec_main_status": status}
        self.systemd.on_start(UNIT, (Phase(0.0, "activating", "start", job=True), Phase(0.5, "failed", "failed", detail=how)))

    def make(self, wanted: Plan | None = None) -> None:
        def tell(news: Progress) -> None:
            self.said.append(f"{news.service}: {news.text}")

        make_releases(wanted or planned(), self.host, self.units, tell)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(LocalStore(unit_dir=str(tmp_path)))


def planned(hooks: str = HOOKS) -> Plan:
    return plan(compiled(SPEC + hooks, ONE), None, EMPTY_HOST)


@pytest.mark.row("UP-2")
def test_copy_build_close(world: World, tmp_path: Path) -> None:
    wanted = planned()
    name = wanted.builds[0].release.name
    world.make(wanted)
    assert world.releases.calls == [("copy", name), ("seal", name)]
    assert world.systemd.jobs() == [("start", UNIT)]
    assert world.said == [f"web: release {name} from /srv/web", f"web: building {name}"]
    assert list(tmp_path.iterdir()) == []


def test_without_a_build_nothing_is_started(world: World) -> None:
    world.make(planned(""))
    assert [verb for verb, _ in world.releases.calls] == ["copy", "seal"]
    assert world.systemd.calls == []


@pytest.mark.row("UP-2", "UP-7")
@pytest.mark.parametrize(
    ("end", "record", "words"),
    [
        (("exit-code", 7), ("build/1", 7), "the build hook failed with status 7"),
        (("exit-code", 7), ("build/runtime", 7), "the runtime's build failed with status 7"),
        (("exit-code", 124), ("build/1", 124), "the build hook was cut off after its time"),
        (("exit-code", 3), None, "it failed with status 3"),
        (("timeout", 0), None, "it was cut off after its time"),
        (("oom-kill", 0), None, "the kernel killed it: out of memory"),
        (("signal", 9), None, "a signal ended it"),
        (("resources", 0), None, "systemd could not run it"),
    ],
)
def test_a_failure_is_told_with_its_cause_and_leaves_nothing(
    world: World, tmp_path: Path, end: tuple[str, int], record: tuple[str, int] | None, words: str
) -> None:
    world.ends(*end)
    world.journal.lines[UNIT] = ["compiling", "error"]
    if record:
        world.journal.said(UNIT, *record)
    with pytest.raises(BuildError) as failed:
        world.make()
    assert failed.value.message == f"cannot build web: {words}"
    assert failed.value.hint == "nothing was touched; journalctl -t shop-build has all of it"
    assert "compiling" in str(failed.value.lines)
    assert [verb for verb, _ in world.releases.calls] == ["copy", "drop"]
    assert ("reset-failed", UNIT) in world.systemd.calls
    assert list(tmp_path.iterdir()) == []


@pytest.mark.row("UP-22")
@pytest.mark.parametrize("verb", ["copy", "seal"])
def test_what_the_disk_refuses_leaves_nothing(world: World, verb: str) -> None:
    world.releases.refuses = verb
    with pytest.raises(NanodError, match="No space left on device"):
        world.make()
    assert world.releases.calls[-1][0] == "drop"


def test_systemd_refuses(world: World, tmp_path: Path) -> None:
    world.systemd.refuses[("start", UNIT)] = "cannot start it: no"
    with pytest.raises(NanodError, match="cannot start it: no"):
        world.make()
    assert world.releases.calls[-1][0] == "drop"
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_stops_the_build(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(world.clock.__class__, "sleep", lambda _, seconds: interrupted(seconds))
    with pytest.raises(KeyboardInterrupt):
        world.make()
    assert world.systemd.jobs() == [("start", UNIT), ("stop", UNIT)]
    assert world.releases.calls[-1][0] == "drop"
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_nanod_left_goes_before_anything_is_built(world: World, tmp_path: Path) -> None:
    left, other = tmp_path / "nanod-build-shop-web-1.service", tmp_path / "shop-web.service"
    for path in (left, other):
        path.write_text("[Service]\n")
    clean_up(["/var/lib/nanod/releases/shop/web/half"], world.host, world.units)
    assert world.systemd.jobs() == [("stop", left.name)]
    assert list(tmp_path.iterdir()) == [other]
    assert world.releases.calls == [("drop", "half")]
