"""Instances of one service: rolled in turns under a client that never stops asking, scaled, made of a plain service and made one again."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.crashes import UNITS, seen
from tests.lab.instances import Fleet, clean, machine_of
from tests.lab.steps import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine

TEN = range(1, 11)


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    used = machine_of(request)
    yield
    clean(used)


@pytest.mark.row("BX-10", "NK-13")
@pytest.mark.parametrize(("any_machine", "at_once"), [("machine", 1), ("machine257", 3)], indirect=["any_machine"])
def test_nobody_is_turned_away_while_ten_instances_restart(any_machine: Machine, at_once: int) -> None:
    """A client that goes on to the next port always finds one that answers, and never more than `max_parallel` are down."""
    fleet = Fleet.made(any_machine, f"roll{at_once}")
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
def test_a_bad_version_stops_at_the_first_wave(machine257: Machine) -> None:
    fleet = Fleet.made(machine257, "bad")
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
def test_the_way_back_goes_in_turns_too(machine: Machine) -> None:
    """The eighth fails: seven run the new version, and they are not stopped all at once."""
    fleet = Fleet.made(machine, "late")
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


@pytest.mark.row("BX-10")
def test_one_that_falls_later_ends_it_too(machine: Machine) -> None:
    """Each wave stays healthy for its time before the next; an instance that fell meanwhile failed, although systemd has started it again."""
    fleet = Fleet.made(machine, "falls")
    rolling = {"min_healthy_time": "1s"}
    fleet.apply({"web": fleet.web(3, rolling=rolling)})
    before, all_before = fleet.instances((1, 2, 3)), seen(fleet)
    for moment in ("during its wave", "after its wave"):
        fleet.clear()
        fleet.write({"web": fleet.web(3, "two", rolling=rolling)})
        nanod = machine.popen(["nanod", "apply", fleet.spec], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        fleet.until_log("poststart 1" if moment == "during its wave" else "poststart 2")
        fleet.crash("web@1")
        out = nanod.communicate()[0].decode()
        assert nanod.returncode == 4, out
        assert "falls-web@1 did not stay up" in out, moment
        assert fleet.instance(3) == before[3]
        assert (fleet.instance(2) == before[2]) == (moment == "during its wave")
        assert {fleet.answers(number)[:3] for number in (1, 2, 3)} == {"one"}
        assert seen(fleet).same() == all_before.same()
        before = fleet.instances((1, 2, 3))
    fleet.remove()


@pytest.mark.row("BX-10")
def test_an_interrupt_between_waves_puts_all_back(machine: Machine) -> None:
    fleet = Fleet.made(machine, "ctrlc")
    fleet.apply({"web": fleet.web(4)})
    before, all_before = fleet.instances(range(1, 5)), seen(fleet)
    fleet.clear()
    fleet.write({"web": fleet.web(4, "two")})
    with fleet.asked(4) as asked:
        done = machine.nanod("apply", fleet.spec, env={"NANOD_FAULT": "rolled@3:interrupt"})
    assert done.status == 130, done.out + done.err
    assert asked["in_vain"] == 0
    after = fleet.instances(range(1, 5))
    assert after[4] == before[4]
    assert {fleet.answers(number)[:3] for number in range(1, 5)} == {"one"}
    assert fleet.most_down(range(1, 5)) == 1
    assert seen(fleet).same() == all_before.same()
    fleet.remove()


@pytest.mark.row("BX-10", "NM-2")
def test_scaling_touches_nobody_else(machine257: Machine) -> None:
    """Neither the instances that stay nor who requires them: that one waits for as many as there are."""
    fleet = Fleet.made(machine257, "scale")
    after = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s", "requires": ["web"]}
    fleet.apply({"web": fleet.web(3), "after": after})
    before, dependent = fleet.instances((1, 2, 3)), fleet.pid("after")
    fleet.apply({"web": fleet.web(10), "after": after})
    assert fleet.instances((1, 2, 3)) == before
    assert fleet.answers(10) == "one 10 8009"
    fleet.apply({"web": fleet.web(2), "after": after})
    assert fleet.instances((1, 2)) == {number: before[number] for number in (1, 2)}
    assert fleet.answers(3) == ""
    assert fleet.pid("after") == dependent
    fleet.apply({"web": fleet.web(1), "after": after})
    fleet.apply({"web": fleet.web(3), "after": after})
    assert fleet.instance(1) == before[1]
    assert fleet.pid("after") == dependent
    # By systemctl too.
    fleet.systemctl("restart", "scale-web")
    fleet.until_up("web@1", "web@2", "web@3", "web")
    assert fleet.instance(1).pid != before[1].pid
    assert fleet.pid("after") == dependent
    fleet.remove()
    assert fleet.traces() == []


@pytest.mark.row("BX-10")
def test_a_plain_service_gets_replicas_and_loses_them(machine: Machine) -> None:
    """The unit of that name stands for all from then on: its process goes by its own hooks, and then its port is free."""
    fleet = Fleet.made(machine, "grow")
    after = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s", "requires": ["web"]}
    fleet.apply({"web": fleet.web(None), "after": after})
    assert fleet.answers(1) == "one 1 8000"
    plain = seen(fleet)
    fleet.clear()
    fleet.apply({"web": fleet.web(3, "refuse-2"), "after": after}, status=4)
    assert fleet.answers(1) == "one 1 8000"
    assert seen(fleet).same() == plain.same()
    fleet.clear()
    said = fleet.apply({"web": fleet.web(3), "after": after})
    assert "stands for several from now on" in said.out
    assert fleet.steps()[0] == "poststop 1"
    assert [fleet.answers(number) for number in (1, 2, 3)] == [f"one {number} {7999 + number}" for number in (1, 2, 3)]
    assert "nothing to do" in fleet.apply().out
    several = seen(fleet)
    fleet.apply({"web": fleet.web(None, "refuse"), "after": after}, status=4)
    assert seen(fleet).same() == several.same()
    said = fleet.apply({"web": fleet.web(None), "after": after})
    assert "runs by itself from now on" in said.out
    assert (fleet.answers(1), fleet.answers(2)) == ("one 1 8000", "")
    assert seen(fleet).same() == plain.same()
    fleet.nanod("rollback", fleet.name)
    assert [fleet.answers(number)[:3] for number in (1, 2, 3)] == ["one"] * 3
    assert seen(fleet).same() == several.same()
    fleet.remove()


@pytest.mark.row("NK-4", "NK-13")
def test_what_is_done_once_for_all_of_them(machine257: Machine) -> None:
    """Installed once, migrated once, both before any of them; hooks of a start with each."""
    fleet = Fleet.made(machine257, "once")

    def service(version: str) -> dict[str, Any]:
        note = f"echo $LIFECYCLE_PHASE $NANOD_REPLICA >>{fleet.log}"
        hooks = {
            "prestart": [{"run": f"echo migrate-{version} 0 >>{fleet.log}", "scope": "deploy"}, note],
            "poststart": note,
            "prestop": note,
            "ready": note,
            "poststop": note,
        }
        install = {"install": f"sleep 0.2; echo install 0 >>{fleet.log}"}
        return fleet.web(5, version, hooks=hooks, provisioning=install, volume=f"/srv/{fleet.name}-volume")

    def lines(word: str) -> list[str]:
        return sorted(line.split()[1] for line in fleet.steps() if line.split()[0] == word)

    fleet.apply({"web": service("one")})
    until(lambda: len(lines("ready")) == 5, "ready")
    assert fleet.steps()[:2] == ["install 0", "migrate-one 0"]
    assert (lines("install"), lines("migrate-one")) == (["0"], ["0"])
    assert lines("prestart") == lines("poststart") == ["1", "2", "3", "4", "5"]
    fleet.clear()
    fleet.apply({"web": service("two")})
    until(lambda: len(lines("ready")) == 5, "ready")
    # Before the first of them is touched.
    assert fleet.steps()[0] == "migrate-two 0"
    assert (lines("install"), lines("migrate-two")) == ([], ["0"])
    for word in ("prestop", "poststop", "prestart", "poststart"):
        assert lines(word) == ["1", "2", "3", "4", "5"], word
    before = fleet.instances(range(1, 6))
    failing = service("three")
    failing["hooks"]["prestart"][0] = {"run": "exit 3", "scope": "deploy"}
    fleet.apply({"web": failing}, status=4)
    assert fleet.instances(range(1, 6)) == before
    fleet.remove("--purge")


@pytest.mark.row("BX-11")
def test_with_what_they_require(machine: Machine) -> None:
    """A dependency restarts first and they go in turns; with `restart: true` all restart with it, and who says so of them restarts after them."""
    fleet = Fleet.made(machine, "needs")
    sleeper = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s"}

    def services(version: str, *, restart: bool) -> dict[str, Any]:
        db = sleeper | {"environment": {"VERSION": version}}
        requires = {"db": {"restart": restart}}
        return {"db": db, "web": fleet.web(3, version, requires=requires), "after": sleeper | {"requires": {"web": {"restart": True}}}}

    fleet.apply(services("one", restart=False))
    dependent = fleet.pid("after")
    fleet.clear()
    with fleet.asked(3) as asked:
        fleet.apply(services("two", restart=False))
    assert (asked["in_vain"], fleet.most_down((1, 2, 3))) == (0, 1)
    assert fleet.pid("after") != dependent
    dependent = fleet.pid("after")
    # Their own way of taking it in is no reason for `after`.
    fleet.apply(services("two", restart=True))
    fleet.clear()
    fleet.apply(services("three", restart=True))
    assert fleet.most_down((1, 2, 3)) == 3
    assert [line for line in fleet.steps() if line.startswith("poststart")] != []
    assert {fleet.answers(number).split()[0] for number in (1, 2, 3)} == {"three"}
    assert fleet.pid("after") != dependent
    fleet.remove()


@pytest.mark.row("FAULTS-23")
def test_what_an_administrator_does_to_one_of_them(machine: Machine) -> None:
    """One file edited, one stopped, one masked: each is told, and nobody else is touched."""
    fleet = Fleet.made(machine, "byhand")
    fleet.apply({"web": fleet.web(3)})
    before = fleet.instances((1, 2, 3))
    file = machine.path(f"{UNITS}/byhand-web@2.service")
    file.write_bytes(before[2].file.replace(b"VERSION=one", b"VERSION=edited"))
    said = fleet.apply()
    assert "was edited by hand" in said.out
    after = fleet.instances((1, 2, 3))
    assert (after[1], after[3], after[2].file) == (before[1], before[3], before[2].file)
    fleet.systemctl("stop", "byhand-web@2")
    said = fleet.apply()
    assert "byhand-web@2.service  start  not running" in said.out
    assert fleet.answers(2) == "one 2 8001"
    assert fleet.instances((1, 3)) == {1: before[1], 3: before[3]}
    fleet.systemctl("stop", "byhand-web@2")
    file.unlink()
    fleet.systemctl("mask", "byhand-web@2")
    said = fleet.apply({"web": fleet.web(3, "two")})
    assert "byhand-web@2.service is masked: left alone" in said.out
    assert [fleet.answers(number) for number in (1, 2, 3)] == ["two 1 8000", "", "two 3 8002"]
    # The others are all that there is to wait for.
    fleet.systemctl("stop", "byhand-web")
    after_it = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s", "requires": ["web"]}
    fleet.apply({"web": fleet.web(3, "two"), "after": after_it})
    assert fleet.is_up("after")
    assert fleet.is_up("web")
    fleet.systemctl("unmask", "byhand-web@2")
    fleet.apply()
    assert fleet.answers(2) == "two 2 8001"
    fleet.remove()
    assert fleet.traces() == []


@pytest.mark.row("BX-10", "NM-2")
def test_tasks_go_with_their_instance(machine: Machine) -> None:
    """A changed prestart task of each instance runs in its turn, one of the group runs once before the first; and so on the way back."""
    fleet = Fleet.made(machine, "tasks")

    def service(version: str, task: str, **keys: Any) -> dict[str, Any]:
        def noting(word: str, hook: str, **more: Any) -> dict[str, Any]:
            return {"lifecycle": {"hook": hook}, "command": f"echo {word} $NANOD_REPLICA >>{fleet.log}"} | more

        tasks = {
            "init": noting(f"init-{task}", "prestart"),
            "once": noting(f"once-{task}", "prestart", per="group"),
            "side": {"lifecycle": {"hook": "prestart", "sidecar": True}, "command": ["/bin/sleep", "infinity"]},
            "bye": noting("bye", "poststop"),
        }
        return fleet.web(4, version, tasks=tasks, **keys)

    four = range(1, 5)
    fleet.apply({"web": service("one", "a")})
    assert fleet.steps()[0] == "once-a 1"
    before = seen(fleet)
    fleet.clear()
    with fleet.asked(4) as asked:
        said = fleet.apply({"web": service("refuse-3", "b")}, status=4)
    assert asked["in_vain"] == 0
    assert "cannot start tasks-web@3: it exited with status 3" in said.out
    assert "did not" not in said.out
    steps = fleet.steps()
    assert steps[:8] == ["once-b 1", "poststop 1", "init-b 1", "poststart 1", "poststop 2", "init-b 2", "poststart 2", "poststop 3"]
    assert "init-a 4" not in steps
    assert sorted(step for step in steps if step.startswith("init-a")) == ["init-a 1", "init-a 2", "init-a 3"]
    assert seen(fleet).same() == before.same()
    fleet.clear()
    with fleet.asked(4) as asked:
        fleet.apply({"web": service("two", "b")})
    assert asked["in_vain"] == 0
    each = [[f"poststop {number}", f"init-b {number}", f"poststart {number}"] for number in four]
    assert fleet.steps() == ["once-b 1", *(line for lines in each for line in lines)]
    assert "nothing to do" in fleet.apply().out
    fleet.remove()
    assert sorted(step for step in fleet.steps() if step.startswith("bye")) == [f"bye {number}" for number in four]
    assert fleet.traces() == []


@pytest.mark.row("BX-10", "NM-2")
def test_instances_of_several_processes(machine: Machine) -> None:
    """An instance is all of its processes, and they have their turn together."""
    fleet = Fleet.made(machine, "many")

    def service(version: str) -> dict[str, Any]:
        web = fleet.web(3, version)
        own = {key: web.pop(key) for key in ("command", "ports", "health", "environment", "hooks")}
        worker = {"command": ["/bin/sleep", "infinity"], "environment": {"VERSION": version}}
        return web | {"processes": {"api": own, "worker": worker}}

    fleet.apply({"web": service("one")})
    assert fleet.answers(3) == "one 3 8002"
    fleet.clear()
    with fleet.asked(3) as asked:
        said = fleet.apply({"web": service("two")})
    assert (asked["in_vain"], fleet.most_down((1, 2, 3))) == (0, 1)
    assert "roll 3" in said.out
    assert "roll 4" not in said.out
    assert {fleet.answers(number)[:3] for number in (1, 2, 3)} == {"two"}
    fleet.crash("web-worker@2")
    fleet.until_up("web-worker@2", "web")
    fleet.remove()
    assert fleet.traces() == []
