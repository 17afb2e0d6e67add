"""Blue-green: the new version starts beside the old one on the same socket, and nobody notices, whatever comes of it."""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.crashes import UNITS, chosen, listed, seen
from tests.lab.fronts import Front
from tests.lab.instances import clean, machine_of
from tests.lab.steps import DIRECTORY, STEP
from tests.lab.test_crash import Crashes, crash_everywhere
from tests.lab.test_crash_boot import crash, judge, with_recovery
from tests.lab.test_sockets import CUT, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine

LONG = int(os.environ.get("NANOD_LAB_SECONDS", "15"))


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    used = machine_of(request)
    yield
    clean(used)


def web(front: Front, version: str = "one", healthy: str = "500ms", **keys: Any) -> dict[str, Any]:
    """Its stop hooks say of which version they are."""
    hooks = {"prestop": f"{STEP} prestop-{version}", "poststop": f"{STEP} poststop-{version}"}
    return front.web(version, rolling={"strategy": "blue-green", "min_healthy_time": healthy}, hooks=hooks) | keys


def colours(front: Front) -> list[str]:
    """Those that have a file."""
    return [colour for colour in ("blue", "green") if front.machine.path(f"{UNITS}/{front.name}-web-{colour}.service").exists()]


@pytest.mark.row("BX-10", "UP-14")
def test_a_new_version_takes_over(machine257: Machine) -> None:
    front = Front.made(machine257, "shop")
    front.apply({"web": web(front)})
    assert colours(front) == ["blue"]
    socket = front.show("shop-web.socket", "InvocationID")
    with front.asked("switch") as asked:
        moment()
        front.apply({"web": web(front, "two")})
        moment()
    assert (asked["failed"], list(asked["versions"])) == ({}, ["one", "two"])
    assert colours(front) == ["green"]
    # Stopped by its own hooks, although the new version has others.
    assert front.steps() == ["prestop-one web", "poststop-one web"]
    assert front.show("shop-web.socket", "InvocationID") == socket
    assert "nothing to do" in front.apply().out
    rows = json.loads(front.nanod("status", "--json", "shop").out)["apps"][0]["services"]
    assert [(row["service"], row["health"]) for row in rows] == [("web/green", "healthy"), ("web", "healthy")]
    # The name of the service is the one to use, and a crash heals in its own colour.
    pid = front.pid("web-green")
    with front.asked("systemctl restart") as asked:
        moment()
        front.systemctl("restart", "shop-web")
        moment()
    assert (asked["failed"], list(asked["versions"])) == ({}, ["two"])
    assert front.pid("web-green") != pid
    front.crash("web-green")
    front.until_up("web-green")
    assert front.systemctl("list-units", "--all", "--plain", "--no-legend", "shop-web-blue*") == ""
    front.clear()
    with front.asked("rollback") as asked:
        moment()
        front.nanod("rollback", "shop")
        moment()
    assert (asked["failed"], list(asked["versions"]), colours(front)) == ({}, ["two", "one"], ["blue"])
    assert front.steps() == ["prestop-two web", "poststop-two web"]
    # What needs no restart needs no other colour.
    front.apply({"web": web(front, resources={"memory_max": "512M"})})
    assert colours(front) == ["blue"]
    front.nanod("stop", "shop", "web")
    assert not front.listens()
    front.nanod("start", "shop", "web")
    assert front.says() == "one"
    front.remove()
    assert front.traces() == []


@pytest.mark.row("BX-10", "BX-4", "UP-2")
@pytest.mark.parametrize(("any_machine", "version"), [("machine", "refuse"), ("machine257", "sick"), ("machine", "dies")], indirect=["any_machine"])
def test_nobody_notices_a_version_that_fails(any_machine: Machine, version: str) -> None:
    front = Front.made(any_machine, "bad")
    front.apply({"web": web(front)})
    before = seen(front)
    keys = {"restart": {"delay": "100ms", "limit": 3, "window": "60s"}, "health": {"notify": True, "start_timeout": "1s"}}
    with front.asked(version) as asked:
        moment()
        said = front.apply({"web": web(front, version, healthy="3s", **keys)}, status=4).out
        moment()
    assert asked["failed"] == {}
    assert "bad-web-green" in said
    assert seen(front).same() == before.same()
    # The very process that was there.
    assert seen(front).runs == before.runs


@pytest.mark.row("BX-10")
def test_each_colour_has_a_proxy_of_its_own(machine: Machine) -> None:
    front = Front.made(machine, "proxies")
    rolling = {"strategy": "blue-green", "min_healthy_time": "500ms"}
    front.apply({"web": front.proxied(rolling=rolling)})
    with front.asked("switch behind proxies") as asked:
        moment()
        front.apply({"web": front.proxied("two", rolling=rolling)})
        front.until_says("two")
    assert set(asked["failed"]) <= CUT
    assert sum(asked["failed"].values()) <= 2
    assert (list(asked["versions"]), colours(front)) == (["one", "two"], ["green"])
    assert front.says(9001) == "two"
    before = seen(front).files
    with front.asked("refused behind proxies") as asked:
        front.apply({"web": front.proxied("refuse", rolling=rolling)}, status=4)
    assert (asked["failed"], seen(front).files) == ({}, before)


@pytest.mark.row("BX-10", "BX-13")
def test_a_service_becomes_blue_green_and_plain_again(machine: Machine) -> None:
    front = Front.made(machine, "becomes")
    front.apply({"web": front.web()})
    front.apply({"web": web(front, "two")})
    assert (front.says(), colours(front)) == ("two", ["blue"])
    front.apply({"web": web(front, "one")})
    assert colours(front) == ["green"]
    before = seen(front)
    front.apply({"web": front.web("refuse")}, status=4)
    assert seen(front).same() == before.same()
    assert front.says() == "one"
    front.apply({"web": front.web("two")})
    assert (front.says(), colours(front)) == ("two", [])


def noted(front: Front, version: str) -> dict[str, Any]:
    """Each run of each unit leaves a line when it begins, and one of the file that ends it."""
    note = f"echo $LIFECYCLE_PHASE-{version} $NANOD_UNIT >>{DIRECTORY}/{front.name}.runs"
    return web(front, version, healthy="0s", hooks={"prestart": note, "poststop": note})


def ended_by_its_own(front: Front) -> None:
    """No run of a unit was ended by the hooks of another file than it began with."""
    lines = [line.split() for line in front.machine.path(f"{DIRECTORY}/{front.name}.runs").read_text().splitlines()]
    for unit in sorted({unit for _, unit in lines}):
        words = "".join(f"{word} " for word, other in lines if other == unit)
        assert re.fullmatch(r"(?:prestart-(\w+) poststop-\1 )*(?:prestart-\w+ )?", words), f"{unit}: {words}"


@pytest.mark.thorough
@pytest.mark.row("BX-10", "BX-2", "FAULTS-16")
def test_killed_anywhere_in_a_switch(machine: Machine) -> None:
    """The old colour or the new one, whole; and all the while somebody answers."""
    front = Front.made(machine, "killed")
    front.apply({"web": noted(front, "one")})
    before = seen(front)
    front.write({"web": noted(front, "two")})
    points = listed(front, "apply", front.spec)
    assert set(points) >= {"intent@1", "installed@1", "reloaded@1", "rolled@1", "stopped@1", "committed@1", "cleared@1"}

    def back() -> None:
        front.apply({"web": noted(front, "one")})
        front.write({"web": noted(front, "two")})

    crashes = Crashes(app=front, argv=("apply", front.spec), before=before, after=seen(front), decision="committed@1")
    back()
    with front.asked("kills") as asked:
        crash_everywhere(crashes, chosen(points), back=back, forth=front.apply)
    assert asked["failed"] == {}
    assert set(asked["versions"]) == {"one", "two"}
    ended_by_its_own(front)


@pytest.mark.row("BX-10", "FAULTS-16", "FAULTS-50")
def test_a_reboot_in_the_middle_of_a_switch(machine: Machine) -> None:
    """The files say new and the intent says old: recovery brings the old colour back before anything starts."""
    with_recovery(machine)
    front = Front.made(machine, "again")
    front.apply({"web": web(front, healthy="0s")})
    old = seen(front)
    front.write({"web": web(front, "two", healthy="0s")})
    listed(front, "apply", front.spec)
    new = seen(front)
    front.apply({"web": web(front, healthy="0s")})
    for number, point in enumerate(("installed@1", "reloaded@1", "rolled@1", "stopped@1", "committed@1")):
        front.write({"web": web(front, "two", healthy="0s")})
        since = crash(front, point, ("apply", front.spec), in_its_order=number % 2 == 0)
        front.until_up("web")
        result = judge(front, since, old, new, point)
        assert result == ("new" if point == "committed@1" else "old")
        front.until_says({"old": "one", "new": "two"}[result])


@pytest.mark.row("BX-10", "UP-15", "BX-4")
def test_no_request_is_lost_for_long(machine: Machine) -> None:
    """Two services that are asked all the time: one whose deploy hook takes a second between its versions, and one that is blue-green; both are also
    given versions that never become healthy, and that die two seconds after their start.
    """
    held, shared = Front.made(machine, "held", 8100), Front.made(machine, "shared", 8200)

    def in_place(version: str) -> dict[str, Any]:
        return held.web(version, kind="http", settle="3s", health=ready, hooks={"deploy": "sleep 1"})

    ready = {"notify": True, "start_timeout": "1s"}
    held.apply({"web": in_place("one")})
    shared.apply({"web": web(shared, "one", "3s", health=ready)})
    end = time.monotonic() + LONG
    with held.asked("for long, in place") as waited, shared.asked("for long, blue-green") as asked:
        held.apply({"web": in_place("two")})
        shared.apply({"web": web(shared, "two", "3s", health=ready)})
        for version in ("sick", "dies"):
            shared.apply({"web": web(shared, version, "3s", health=ready)}, status=4)
            held.apply({"web": in_place(version)}, status=4)
        time.sleep(max(0.0, end - time.monotonic()))
    assert (waited["failed"], asked["failed"]) == ({}, {})
    assert set(waited["versions"]) == set(asked["versions"]) == {"one", "two", "dies"}
    assert (held.says(), shared.says()) == ("two", "two")
