"""Applies of a replicated service that are cut off: at every fault point, in the middle of a wave, by a reboot; and what a boot does with a bad instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.crashes import UNITS, cut, listed, seen
from tests.lab.instances import Fleet, clean
from tests.lab.steps import until
from tests.lab.test_crash_boot import with_recovery

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nanod.rehearse.machine import Machine

THREE = (1, 2, 3)


@pytest.fixture(scope="module")
def host(machine: Machine) -> Machine:
    return with_recovery(machine)


@pytest.fixture(autouse=True)
def _nothing_left(host: Machine) -> Iterator[None]:
    yield
    clean(host)


def versions(fleet: Fleet, numbers: Sequence[int] = THREE) -> set[str]:
    return {fleet.answers(number).split(" ")[0] for number in numbers}


@pytest.mark.thorough
@pytest.mark.row("FAULTS-16", "BX-2", "BX-10")
def test_killed_at_every_point(host: Machine) -> None:
    """The next command has it as before, in turns: a client is always answered. Once it is in force it stays."""
    fleet = Fleet.made(host, "points")
    fleet.apply({"web": fleet.web(3)})
    before = seen(fleet)
    fleet.write({"web": fleet.web(3, "two")})
    points = listed(fleet, "apply", fleet.spec)
    after = seen(fleet)
    assert {"rolled@1", "rolled@2", "rolled@3"} <= set(points)
    fleet.apply({"web": fleet.web(3)})
    fleet.write({"web": fleet.web(3, "two")})
    decision = points.index("committed@1")
    for number, point in enumerate(points):
        if point.startswith("renamed") and point != "renamed@2":
            continue
        fleet.clear()
        with fleet.asked(3) as asked:
            assert cut(fleet, point, "apply", fleet.spec), point
            fleet.nanod("recover")
        assert asked["in_vain"] == 0, point
        assert fleet.most_down(THREE) <= 1, f"{point}: {fleet.steps()}"
        now = seen(fleet)
        assert (now.left, now.stale) == ((), ()), point
        is_old = number < decision
        assert now.same() == (before if is_old else after).same(), point
        assert versions(fleet) == {"one" if is_old else "two"}, point
        if not is_old:
            fleet.apply({"web": fleet.web(3)})
            fleet.write({"web": fleet.web(3, "two")})
    fleet.remove()


@pytest.mark.row("FAULTS-16", "FAULTS-18", "BX-2", "BX-10")
@pytest.mark.parametrize(("point", "version"), [("installed", "one"), ("rolled@1", "one"), ("rolled@3", "one"), ("committed", "two")])
def test_a_reboot_there(host: Machine, point: str, version: str) -> None:
    fleet = Fleet.made(host, "reboots")
    fleet.apply({"web": fleet.web(3)})
    fleet.write({"web": fleet.web(3, "two")})
    assert cut(fleet, point, "apply", fleet.spec)
    if point == "rolled@1":
        host.poweroff()
    else:
        host.kill()
    host.start()
    fleet.until_up("web", "web@1", "web@2", "web@3")
    assert versions(fleet) == {version}
    now = seen(fleet)
    assert (now.left, now.stale) == ((), ())
    assert "reboots-" not in fleet.nanod("doctor", status=None).out
    fleet.remove("--purge")


@pytest.mark.row("BX-27", "BX-11")
def test_a_bad_instance_at_boot_holds_nobody_up(host: Machine) -> None:
    """The others answer, what requires all of them waits and says for whom, and comes up by itself once that one does."""
    fleet = Fleet.made(host, "boots")
    after = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s", "requires": ["web"], "restart": {"delay": "100ms"}}
    fleet.apply({"web": fleet.web(3), "after": after})
    drop_in = f"{UNITS}/boots-web@2.service.d/bad.conf"
    host.write(drop_in, "[Service]\nEnvironment=VERSION=refuse\n")
    host.poweroff()
    host.start()
    until(lambda: fleet.state("web@2") == "failed", "it has given up")
    assert versions(fleet, (1, 3)) == {"one"}
    assert not fleet.is_up("after")
    assert not fleet.is_up("web")
    until(
        lambda: "dependency boots-web@2.service is not active" in fleet.journal("--boot", "--unit=boots-after.service"),
        "who is waited for",
        timeout=40,
    )
    host.path(drop_in).unlink()
    fleet.systemctl("daemon-reload")
    fleet.apply()
    assert versions(fleet) == {"one"}
    fleet.until_up("after", "web")
    fleet.remove("--purge")


@pytest.mark.row("BX-11", "BX-7")
@pytest.mark.parametrize("condition", ["started", "healthy"])
def test_who_requires_them_waits_for_all(host: Machine, condition: str) -> None:
    """Started: all have a process. Healthy: each has said so."""
    fleet = Fleet.made(host, "waits")
    gate = {"exec": f'test "$NANOD_REPLICA" != 2 || test -e /srv/steps/{condition}', "interval": "50ms", "start_timeout": "20s"}
    after = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s", "requires": {"web": {"condition": condition}}}
    fleet.write({"web": fleet.web(3, health=gate), "after": after})
    nanod = host.popen(["nanod", "apply", fleet.spec])
    until(lambda: fleet.is_up("web@1") and fleet.is_up("web@3"), "two of three")
    if condition == "started":
        fleet.until_up("after")
        assert fleet.show("web@2", "SubState") == "start-post"
    else:
        assert not fleet.is_up("after")
    host.path(f"/srv/steps/{condition}").touch()
    assert nanod.wait(60) == 0
    fleet.until_up("web", "web@2", "after")
    fleet.remove("--purge")


@pytest.mark.row("BX-11", "BX-7")
def test_the_one_that_is_down_is_named(host: Machine) -> None:
    fleet = Fleet.made(host, "whose")
    after = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s", "requires": ["web"]}
    said = fleet.leave({"web": fleet.web(3, "refuse-2"), "after": after})
    assert "cannot start whose-web@2: it exited with status 3" in said.out
    assert "it waits for web" in said.out
    assert "it waits for web@2, which failed" in fleet.last()["causes"]["after"]
    assert versions(fleet, (1, 3)) == {"refuse-2"}
    assert fleet.nanod("status", fleet.name, status=4).out.count("failed") >= 1
    fleet.remove("--purge")
