"""Start, stop and restart of what is installed, on a host that only remembers: which jobs, in which order, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nanod.ended import Down
from nanod.errors import ExitCode, NanodError
from nanod.host import Host
from nanod.running import Running
from nanod.state import HookName, Manifest, ServiceRecord
from nanod.values import TimeSpan
from nanod.view.running import started_data, started_text, stopped_data, stopped_text
from nanod.view.tty import PLAIN
from tests.fakes import DOWN, UP, FakeClock, FakeJournal, FakeReleases, FakeStore, FakeSystemd, Phase, failing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanod.ended import Started, Stopped
    from nanod.settle import Progress
    from nanod.state import UnitState

DB, WEB, CRON, TARGET = "shop-db.service", "shop-web.service", "shop-cron.service", "shop.target"
MANIFEST = Manifest(
    app="shop",
    spec="/etc/nanod/shop.yaml",
    env=None,
    generation=1,
    units={},
    links={},
    watched={},
    # As a record may have them: not in start order.
    services={"cron": (CRON,), "web": (WEB, "shop-web-provision.service"), "db": (DB,)},
    about={
        "web": ServiceRecord(requires=("db",), hooks=(HookName(phase="prestop", name="drain", unit=WEB, on_failure="warn"),)),
        "db": ServiceRecord(),
        "cron": ServiceRecord(requires=("db",), restarts_with=("db",)),
    },
)
AGAIN = (*DOWN, Phase(0.04, "activating", "start"))


class Systemd(FakeSystemd):
    """A job of the target is one of each member that it concerns."""

    masked: frozenset[str] = frozenset()

    def states(self, names: Iterable[str]) -> dict[str, UnitState]:
        found = super().states(names)
        return {name: replace(state, load="masked") if name in self.masked else state for name, state in found.items()}

    def start(self, name: str, *, alone: bool = False) -> None:
        super().start(name, alone=alone)
        if name == TARGET:
            for member in (DB, WEB, CRON):
                if not self.states([member])[member].is_up and member not in self.masked:
                    self._begin(member, 0.0)

    def stop(self, name: str, *, alone: bool = False) -> None:
        super().stop(name, alone=alone)
        if name == TARGET:
            for member in (WEB, CRON, DB):
                self._end(member)

    def restart(self, name: str) -> None:
        super().restart(name)
        if name == TARGET:
            for member in (DB, WEB, CRON):
                self._end(member)
                self._begin(member, 0.02)


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.systemd = Systemd(self.clock)
        self.systemd.on_start(TARGET, (Phase(0.0, "active", "active"),))
        self.store, self.journal = FakeStore(), FakeJournal()
        self.store.files = {WEB: f"[Unit]\nAfter={DB} network.target\n", CRON: f"[Unit]\nAfter={WEB}\nAfter={DB}\n", DB: "[Unit]\n"}
        self.news: list[Progress] = []

    def given(self, *up: str, down: tuple[str, ...] = ()) -> None:
        for name in up:
            self.systemd.given(name)
        for name in down:
            self.systemd.given(name, active="inactive", sub="dead")

    def running(self, *names: str) -> Running:
        host = Host(systemd=self.systemd, store=self.store, journal=self.journal, clock=self.clock, digests=lambda _: {}, releases=FakeReleases())
        return Running(manifest=MANIFEST, names=names, host=host, tell=self.news.append)

    def start(self, *names: str, span: str = "0") -> Started:
        return self.running(*names).start(TimeSpan.parse(span))

    def restart(self, *names: str) -> Started:
        return self.running(*names).restart(TimeSpan.parse("0"))

    def stop(self, *names: str) -> Stopped:
        return self.running(*names).stop()


@pytest.fixture
def world() -> World:
    return World()


def test_services_stand_in_the_order_of_their_unit_files(world: World) -> None:
    assert list(world.running().services) == ["db", "web", "cron"]


def test_a_whole_app_is_one_job_of_its_target(world: World) -> None:
    world.given(DB, down=(WEB, CRON))
    end = world.start()
    assert world.systemd.jobs() == [("start", TARGET)]
    assert [call for call in world.systemd.calls if call[0] == "reset-failed"] == [("reset-failed", WEB), ("reset-failed", CRON)]
    assert end.exit_code is ExitCode.OK
    text = started_text(end, PLAIN).splitlines()
    assert text[0].startswith("shop: healthy (2 services started, ")
    assert [line.split()[:2] for line in text[1:]] == [["web", "healthy"], ["cron", "healthy"]]
    assert world.start().exit_code is ExitCode.OK
    assert "nothing to start" in started_text(world.start(), PLAIN)


def test_a_named_service_comes_with_what_it_requires(world: World) -> None:
    world.given(down=(DB, WEB, CRON))
    world.systemd.given(DB)
    end = world.start("web")
    assert world.systemd.jobs() == [("start", WEB)]
    assert [item.service for item in end.verdict.services] == ["db", "web"]


def test_a_failed_start_is_told_as_apply_tells_it(world: World) -> None:
    world.given(DB, CRON, down=(WEB,))
    world.systemd.on_start(WEB, failing(78))
    world.journal.lines[WEB] = ["no configuration"]
    end = world.start("web")
    assert end.exit_code is ExitCode.FAILED
    text = started_text(end, PLAIN)
    assert "cannot start shop-web: it exited with status 78\n    no configuration\n" in text
    data = started_data(end)
    assert (data["action"], data["verdict"], data["interrupted"]) == ("start", "failed", False)


def test_a_service_must_stay_up(world: World) -> None:
    world.given(DB, CRON, down=(WEB,))
    world.systemd.on_start(WEB, (*UP, Phase(1.0, "failed", "failed", detail={"result": "exit-code", "exec_main_code": 1, "exec_main_status": 1})))
    assert world.start("web", span="5s").exit_code is ExitCode.FAILED


def test_a_masked_service_is_left_alone_and_refused_by_name(world: World) -> None:
    world.given(DB, CRON, down=(WEB,))
    world.systemd.masked = frozenset({WEB})
    assert world.start().exit_code is ExitCode.OK
    assert ("reset-failed", WEB) not in world.systemd.calls
    with pytest.raises(NanodError, match="cannot restart web: its unit is masked"):
        world.restart("web", "db")
    world.restart("db", "cron")
    assert ("start", WEB) not in world.systemd.calls


def test_a_restart_of_several_stops_dependents_first_and_takes_parts_along(world: World) -> None:
    world.given(DB, WEB, CRON)
    end = world.restart("web", "db")
    order = [("stop", CRON), ("stop", WEB), ("stop", DB), ("start", DB), ("start", WEB), ("start", CRON)]
    assert world.systemd.jobs() == order
    assert [item.service for item in end.verdict.services if item.touched] == ["db", "web", "cron"]
    assert "3 services restarted" in started_text(end, PLAIN)


def test_a_restart_of_one_or_of_all_is_systemd_s(world: World) -> None:
    world.given(DB, WEB, CRON)
    world.restart("web")
    assert world.systemd.jobs() == [("restart", WEB)]
    world.systemd.calls.clear()
    assert world.restart().exit_code is ExitCode.OK
    assert world.systemd.jobs() == [("restart", TARGET)]
    assert world.systemd.calls[:3] == [("reset-failed", DB), ("reset-failed", WEB), ("reset-failed", CRON)]


def test_a_stop_is_last_started_first_and_waited_for(world: World) -> None:
    world.given(TARGET, DB, WEB, down=(CRON,))
    world.journal.said(WEB, "prestop/drain", 3)
    end = world.stop()
    assert world.systemd.jobs() == [("stop", TARGET), ("stop", CRON), ("stop", WEB), ("stop", DB)]
    assert [(item.service, item.word) for item in end.services] == [("db", Down.STOPPED), ("web", Down.STOPPED), ("cron", Down.WAS_DOWN)]
    assert end.exit_code is ExitCode.OK
    text = stopped_text(end, PLAIN)
    assert text.startswith("shop: stopped (2 services stopped, ")
    assert "cron" not in text
    assert "warning: shop-web.service: hook prestop/drain exited with status 3" in text
    assert stopped_data(end)["verdict"] == "stopped"
    assert {news.text.split(" after")[0] for news in world.news} == {"stopping", "stopped"}


def test_an_install_at_work_stops_with_its_service(world: World) -> None:
    world.given(DB, CRON, down=(WEB,))
    world.systemd.given("shop-web-provision.service", active="activating", sub="start")
    world.stop("web")
    assert world.systemd.jobs() == [("stop", WEB), ("stop", "shop-web-provision.service")]


def test_a_stop_says_who_still_needs_it(world: World) -> None:
    world.given(DB, WEB, down=(CRON,))
    end = world.stop("db")
    assert world.systemd.jobs() == [("stop", DB)]
    assert end.waiting == (("web", "db"),)
    assert "note: web runs on and requires db" in stopped_text(end, PLAIN)


def test_a_service_that_something_starts_again_is_no_wait_for_ever(world: World) -> None:
    world.given(DB, WEB, CRON)
    world.systemd.on_stop(WEB, *AGAIN)
    world.systemd.on_stop(DB, *AGAIN)
    end = world.stop("web")
    assert end.services[0].word in (Down.STOPPED, Down.AGAIN)
    world.systemd.on_stop(DB, DOWN[0], Phase(0.02, "active", "running"))
    end = world.stop("db")
    assert (end.services[0].word, end.exit_code) == (Down.AGAIN, ExitCode.FAILED)
    assert "started again by something else" in stopped_text(end, PLAIN)


def test_a_service_that_had_to_be_killed_is_stopped_with_a_warning(world: World) -> None:
    world.given(DB, CRON, WEB)
    world.systemd.on_stop(WEB, DOWN[0], Phase(30.0, "failed", "failed", detail={"result": "timeout"}))
    end = world.stop("web")
    assert end.exit_code is ExitCode.OK
    assert "warning: shop-web.service: it did not stop within its time and was killed" in stopped_text(end, PLAIN)


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_an_interrupt_ends_the_wait_and_leaves_nothing_half_done(world: World, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    world.given(TARGET, DB, WEB, CRON)
    if verb == "start":
        world.given(down=(WEB,))
    monkeypatch.setattr(FakeClock, "sleep", interrupt)
    names = ("web", "db") if verb == "restart" else ()
    end = getattr(world.running(*names), verb)(*([None] if verb != "stop" else []))
    assert end.exit_code is ExitCode.INTERRUPTED
    text = stopped_text(end, PLAIN) if verb == "stop" else started_text(end, PLAIN)
    assert "interrupted; systemd goes on with it: `nanod status shop` tells" in text
    if verb == "restart":
        assert world.systemd.jobs()[-3:] == [("start", DB), ("start", WEB), ("start", CRON)], "what was stopped is started all the same"
