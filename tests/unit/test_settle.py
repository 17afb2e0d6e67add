"""Waiting until all has settled, beside what tests of apply show of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nanod.diagnostics import Mark
from nanod.settle import Settling
from nanod.state import UnitDetail
from nanod.units.unitset import Role, ServiceUnits
from nanod.values import TimeSpan
from nanod.verdict import Status
from tests.fakes import FakeClock, FakeSystemd, Phase


def _member(name: str, role: Role, *, is_script: bool = False) -> ServiceUnits:
    unit = f"shop-{name.replace('/', '-')}.service"
    return ServiceUnits(
        name=name, main=unit, group="web", role=role, is_script=is_script, settle=TimeSpan(0), origin=Mark(file="shop.yaml", line=1, column=1)
    )


def test_a_task_that_is_still_there_from_before_is_not_the_one_that_follows_the_mains() -> None:
    """Its group starts anew: the old run is up until the companion asks for another one, which begins when the mains are up."""
    clock = FakeClock()
    systemd = FakeSystemd(clock)
    main, task = _member("web/api", Role.MAIN), _member("web/hello", Role.POSTSTART_TASK, is_script=True)
    systemd.given(main.main, "activating", "start-pre")
    systemd.given(task.main, "active", "exited")
    begin = clock.now()
    systemd._units[main.main].timeline.append((begin + 1.0, Phase(0.0, "active", "running")))
    systemd._units[task.main].timeline += [
        (begin + 0.5, Phase(0.0, "active", "exited", job=True)),
        (begin + 1.2, Phase(0.0, "activating", "start", job=True)),
        (begin + 1.5, Phase(0.0, "active", "exited")),
    ]
    settling = Settling(systemd=systemd, clock=clock, tell=lambda _: None, begin=begin)
    for item in (main, task):
        settling.watch(item, touched=True, started=True, span=0.0, base=UnitDetail(name=item.main))
    settling.run()
    assert [ending.status for ending in settling.endings()] == [Status.HEALTHY, Status.HEALTHY]
    assert clock.now() >= begin + 1.5


@pytest.mark.parametrize(("active", "sub"), [("activating", "auto-restart"), ("failed", "failed")])
def test_whoever_used_up_all_tries_waiting_for_another_app_or_the_host_is_blocked_by_it(active: str, sub: str) -> None:
    """Whether it is looked at before the last try or after it."""
    clock = FakeClock()
    systemd = FakeSystemd(clock)
    web = replace(_member("web", Role.MAIN), requires=("away.service",), restart_limit=2)
    systemd.given("away.service", "failed", "failed")
    systemd.given(web.main, active, sub, restarts=2)
    settling = Settling(systemd=systemd, clock=clock, tell=lambda _: None, begin=clock.now())
    settling.watch(web, touched=True, started=True, span=0.0, base=UnitDetail(name=web.main))
    settling.run()
    (ending,) = settling.endings()
    assert (ending.status, ending.blocked_by) == (Status.BLOCKED, "away.service")


def test_the_last_try_asks_once_more_for_what_failed_and_is_judged_when_that_has_failed_again() -> None:
    clock = FakeClock()
    systemd = FakeSystemd(clock)
    web = replace(_member("web", Role.MAIN), requires=("away.service",), restart_limit=2)
    begin = clock.now()
    systemd.given("away.service", "activating", "start")
    systemd._units["away.service"].timeline.append((begin + 1.5, Phase(0.0, "failed", "failed")))
    systemd.given(web.main, "activating", "start-pre", restarts=3)
    settling = Settling(systemd=systemd, clock=clock, tell=lambda _: None, begin=begin)
    settling.watch(web, touched=True, started=True, span=0.0, base=UnitDetail(name=web.main))
    settling.run()
    (ending,) = settling.endings()
    assert (ending.status, ending.blocked_by) == (Status.BLOCKED, "away.service")


@pytest.mark.parametrize(("active", "sub"), [("inactive", "dead"), ("deactivating", "stop-sigterm"), ("failed", "failed")])
def test_an_instance_that_gave_up_takes_its_sidecar_along_and_is_not_blocked_by_it(active: str, sub: str) -> None:
    """While an instance has its turn its members are not watched. One that failed itself is the cause, of course."""
    clock = FakeClock()
    systemd = FakeSystemd(clock)
    web = replace(_member("web@3", Role.MAIN), requires=("web@3/side",), restart_limit=2)
    side = "shop-web-side@3.service"
    systemd.given(side, active, sub)
    systemd.given(web.main, "failed", "failed", result="exit-code", exec_main_code=1, exec_main_status=3, restarts=1)
    settling = Settling(systemd=systemd, clock=clock, tell=lambda _: None, begin=clock.now(), others={"web@3/side": side})
    settling.watch(web, touched=True, started=True, span=0.0, base=UnitDetail(name=web.main))
    settling.run()
    (ending,) = settling.endings()
    assert (ending.status, ending.blocked_by) == ((Status.BLOCKED, "web@3/side") if active == "failed" else (Status.FAILED, ""))
