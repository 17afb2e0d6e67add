"""Instances of one service: rolled in turns under a client that never stops asking, scaled, made of a plain service and made one again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.crashes import seen
from tests.lab.instances import Fleet

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

TEN = range(1, 11)


@pytest.fixture(params=["machine", "machine257"])
def host(request: pytest.FixtureRequest) -> Machine:
    """Both versions of systemd, each booted once for this module."""
    found: Machine = request.getfixturevalue(request.param)
    return found


@pytest.mark.row("BX-10", "NK-13")
@pytest.mark.parametrize("at_once", [1, 3])
def test_nobody_is_turned_away_while_ten_instances_restart(host: Machine, at_once: int) -> None:
    """A client that goes on to the next port always finds one that answers, and never more than `max_parallel` are down."""
    fleet = Fleet.made(host, f"roll{at_once}")
    rolling = {"max_parallel": at_once}
    fleet.apply({"web": fleet.web(10, rolling=rolling)})
    assert [fleet.answers(number) for number in (1, 10)] == ["one 1 8000", "one 10 8009"]
    fleet.clear()
    with fleet.asked(10) as asked:
        fleet.apply({"web": fleet.web(10, "two", rolling=rolling)})
    assert asked["in_vain"] == 0
    assert asked["answered"] > 100
    assert asked["versions"] == ["one", "two"]
    assert fleet.most_down(TEN) == at_once
    assert {fleet.answers(number) for number in TEN} == {f"two {number} {7999 + number}" for number in TEN}
    assert "nothing to do" in fleet.apply().out
    fleet.clear()
    with fleet.asked(10) as asked:
        fleet.nanod("rollback", fleet.name)
    assert (asked["in_vain"], asked["versions"]) == (0, ["two", "one"])
    assert fleet.most_down(TEN) == at_once
    fleet.remove()


@pytest.mark.row("BX-10", "BX-4")
def test_a_bad_version_stops_at_the_first_wave(machine: Machine) -> None:
    fleet = Fleet.made(machine, "bad")
    fleet.apply({"web": fleet.web(10)})
    before, all_before = fleet.instances(TEN), seen(fleet)
    fleet.clear()
    with fleet.asked(10) as asked:
        said = fleet.apply({"web": fleet.web(10, "refuse")}, status=4)
    assert "cannot start bad-web@1: it exited with status 3" in said.out + said.err
    assert asked["in_vain"] == 0
    after = fleet.instances(TEN)
    assert {number for number in TEN if after[number] != before[number]} == {1}
    assert after[1].file == before[1].file
    assert fleet.answers(1) == "one 1 8000"
    assert {line.split()[1] for line in fleet.steps()} == {"1"}
    assert seen(fleet).same() == all_before.same()
    fleet.remove()


@pytest.mark.row("BX-10", "BX-4")
def test_the_way_back_goes_in_turns_too(host: Machine) -> None:
    """The eighth fails: seven run the new version, and they are not stopped all at once."""
    fleet = Fleet.made(host, "late")
    fleet.apply({"web": fleet.web(8, rolling={"max_parallel": 2})})
    before = seen(fleet)
    fleet.clear()
    with fleet.asked(8) as asked:
        fleet.apply({"web": fleet.web(8, "refuse-8", rolling={"max_parallel": 2})}, status=4)
    assert asked["in_vain"] == 0
    assert fleet.most_down(range(1, 9)) == 2
    assert {fleet.answers(number)[:3] for number in range(1, 9)} == {"one"}
    assert seen(fleet).same() == before.same()
    fleet.remove()
