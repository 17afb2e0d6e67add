"""Hooks by hand on a host that only remembers: one unit each, statuses, what stops the rest, and what is left behind."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from nanod.errors import NanodError, UsageError
from nanod.host import Host
from nanod.run import chosen, run_hooks
from nanod.units.names import by_hand
from tests.fakes import FakeClock, FakeJournal, FakeReleases, FakeStore, FakeSystemd, Phase
from tests.unit.test_byhand import MAIN, TEXTS, WEB

if TYPE_CHECKING:
    from pathlib import Path

    from nanod.run import Ran

WELL = (Phase(0.0, "activating", "start", job=True), Phase(0.1, "inactive", "dead"))


def ending(code: int, status: int, *, result: str = "exit-code") -> tuple[Phase, ...]:
    detail: dict[str, object] = {"result": result, "exec_main_code": code, "exec_main_status": status}
    return (Phase(0.0, "activating", "start", job=True), Phase(0.1, "failed", "failed", detail=detail))


@dataclass(slots=True)
class Pipes:
    clock: FakeClock
    out: str = "/proc/7/fd/4"
    err: str = "/proc/7/fd/6"
    drained: int = 0
    interrupts: list[BaseException] = field(default_factory=list)

    def pump(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        if self.interrupts:
            raise self.interrupts.pop()

    def drain(self) -> None:
        self.drained += 1


class World:
    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.systemd = FakeSystemd(self.clock)
        self.store, self.units = FakeStore(), FakeStore()
        self.units.unit_dir = str(directory)
        self.store.files = dict(TEXTS)
        self.pipes = Pipes(self.clock)
        self.systemd.given(MAIN, main_pid=812)

    @property
    def host(self) -> Host:
        return Host(systemd=self.systemd, store=self.store, journal=FakeJournal(), clock=self.clock, digests=lambda _: {}, releases=FakeReleases())

    def run(self, phase: str, *lives: tuple[Phase, ...], hook: str | None = None) -> Ran:
        lines = chosen(WEB, phase, hook, self.host)
        for number, (line, life) in enumerate(zip(lines, lives, strict=True), 1):
            self.systemd.on_start(by_hand(line.unit, os.getpid(), number), life)
        return run_hooks(lines, WEB, self.host, self.units, self.pipes)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_each_hook_is_a_unit_that_is_gone_afterwards(world: World) -> None:
    ran = world.run("prestop", WELL, WELL)
    assert (ran.status, [end.line.name for end in ran.ends], ran.left) == (0, ["2", "drain"], ())
    names = [by_hand(MAIN, os.getpid(), number) for number in (1, 2)]
    assert [name for verb, name in world.systemd.calls if verb == "start"] == names
    assert [name for verb, name in world.units.calls if verb == "write"] == names
    assert world.units.files == {}
    assert world.pipes.drained == 2
    assert world.store.calls == [], "the unit directory is left alone"
    assert {name for _, name in world.systemd.calls} == set(names), "and so is the service"


def test_a_failure_stops_the_rest_where_the_phase_says_so(world: World) -> None:
    ran = world.run("prestart", WELL, ending(1, 3), WELL)
    assert [end.status for end in ran.ends] == [0, 3]
    assert [line.name for line in ran.left] == ["maybe"]
    assert ran.status == 3


def test_where_it_does_not_all_run_and_the_first_failure_counts(world: World) -> None:
    ran = world.run("prestop", ending(1, 7), ending(1, 3))
    assert ([end.status for end in ran.ends], ran.status, ran.left) == ([7, 3], 7, ())
    assert ("reset-failed", by_hand(MAIN, os.getpid(), 1)) in world.systemd.calls


@pytest.mark.parametrize(("life", "status"), [(ending(1, 124), 124), (ending(2, 9, result="signal"), 137), (ending(3, 11, result="core-dump"), 139)])
def test_statuses(world: World, life: tuple[Phase, ...], status: int) -> None:
    assert world.run("reload", life).status == status


def test_what_systemd_could_not_run_is_refused(world: World) -> None:
    with pytest.raises(NanodError, match="systemd says 'resources'"):
        world.run("reload", ending(0, 0, result="resources"))
    assert world.units.files == {}


def test_one_by_name(world: World) -> None:
    ran = world.run("prestop", WELL, hook="drain")
    assert [end.line.name for end in ran.ends] == ["drain"]


@pytest.mark.parametrize(
    ("phase", "hook", "text", "hint"),
    [
        ("install", None, "it is no hook", "nanod provision"),
        ("prestrat", None, "there is no such phase", "prestart, poststart, ready"),
        ("prestop", "nope", "cannot run prestop/nope of web: there is no such hook", "hooks are: prestart/migrate, prestart/check"),
        ("deploy", None, "cannot run deploy of web", "ready/2.nd, reload/1"),
    ],
)
def test_what_there_is_not_is_named_beside_what_there_is(world: World, phase: str, hook: str | None, text: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        chosen(WEB, phase, hook, world.host)
    assert text in refused.value.message
    assert hint in refused.value.hint


def test_a_reload_needs_a_process(world: World) -> None:
    world.systemd.given(MAIN, active="failed", sub="failed")
    with pytest.raises(NanodError, match="it is not running"):
        chosen(WEB, "reload", None, world.host)
    assert chosen(WEB, "poststop", None, world.host)


def test_a_unit_file_that_is_not_ours_any_more_is_refused(world: World) -> None:
    del world.store.files[MAIN]
    with pytest.raises(NanodError, match="not the file that nanod left"):
        chosen(WEB, "poststop", None, world.host)


def test_an_interrupt_stops_the_hook_and_the_rest_does_not_run(world: World) -> None:
    world.pipes.interrupts.append(KeyboardInterrupt())
    ran = world.run("prestop", WELL, WELL)
    name = by_hand(MAIN, os.getpid(), 1)
    assert (ran.interrupted, ran.ends, [line.name for line in ran.left]) == (True, (), ["drain"])
    assert [call for call in world.systemd.calls if call[0] in ("start", "stop")][:2] == [("start", name), ("stop", name)]
    assert world.units.files == {}
    assert world.pipes.drained == 1, "what it said to the end is passed on"


def test_what_a_killed_run_left_is_cleared_away_first(world: World, tmp_path: Path) -> None:
    left = "nanod-run-shop-db-1-1.service"
    (tmp_path / left).touch()
    (tmp_path / "other.service").touch()
    world.systemd.given(left, active="activating", sub="start")
    world.run("reload", WELL)
    assert world.systemd.calls[:2] == [("stop", left), ("reset-failed", left)]
    assert world.units.calls[0] == ("delete", left)
    assert ("delete", "other.service") not in world.units.calls


def test_the_administrator_s_drop_ins_count_but_for_those_of_all_services(world: World, tmp_path: Path) -> None:
    mine, general = tmp_path / "shop-web.service.d/a.conf", tmp_path / "service.d/b.conf"
    for path in (mine, general):
        path.parent.mkdir()
        path.write_text(f"[Service]\nNice={len(str(path))}\n")
    written: list[str] = []
    world.systemd.given(MAIN, drop_ins=(str(general), str(mine)))
    write = world.units.write_unit
    world.units.write_unit = lambda name, text: (written.append(text), write(name, text))[1]  # type: ignore[method-assign, func-returns-value]
    world.run("reload", WELL)
    assert f"Nice={len(str(mine))}\n" in written[0]
    assert f"Nice={len(str(general))}\n" not in written[0]
