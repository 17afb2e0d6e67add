"""Waiting without a verdict."""

from __future__ import annotations

import pytest

from nanod.waiting import LONGEST_CONDITION, await_conditions
from tests.fakes import FakeClock, FakeSystemd, Phase

HELLO = "shop-web-hello.service"


@pytest.mark.parametrize(
    "phase", [Phase(0.0, "activating", "condition", job=True), Phase(0.0, "inactive", "dead", job=True)], ids=["asked", "queued"]
)
def test_who_asks_whether_its_condition_holds_is_waited_for(phase: Phase) -> None:
    clock = FakeClock()
    systemd = FakeSystemd(clock)
    begin = clock.now()
    systemd.given(HELLO, "inactive", "dead")
    systemd._units[HELLO].timeline = [(begin, phase), (begin + 1.5, Phase(0.0, "inactive", "dead"))]
    await_conditions(systemd, clock, [HELLO])
    assert begin + 1.5 <= clock.now() < begin + 2.0


@pytest.mark.parametrize(("active", "sub"), [("activating", "start"), ("active", "exited"), ("inactive", "dead"), ("failed", "failed")])
def test_who_is_past_it_is_not(active: str, sub: str) -> None:
    clock = FakeClock()
    systemd = FakeSystemd(clock)
    begin = clock.now()
    systemd.given(HELLO, active, sub)
    await_conditions(systemd, clock, [HELLO])
    assert clock.now() == begin


def test_the_wait_has_an_end() -> None:
    clock = FakeClock()
    systemd = FakeSystemd(clock)
    begin = clock.now()
    systemd.given(HELLO, "activating", "condition")
    await_conditions(systemd, clock, [HELLO])
    assert begin + LONGEST_CONDITION <= clock.now() < begin + LONGEST_CONDITION + 1.0
