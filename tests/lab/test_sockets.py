"""Sockets that nanod's units own: connections wait while the service behind restarts, whatever it restarts for."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.crashes import chosen, listed, seen
from tests.lab.fronts import Front
from tests.lab.instances import clean, machine_of
from tests.lab.steps import until
from tests.lab.test_crash import Crashes, crash_everywhere

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine

CUT = {"no answer", "ECONNRESET"}
"""How a connection ends that was open when its proxy ended."""


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    used = machine_of(request)
    yield
    clean(used)


def moment() -> None:
    """A few dozen requests before and after."""
    time.sleep(0.3)


@pytest.mark.row("BX-10", "UP-15")
def test_no_request_is_lost_while_the_service_restarts(any_machine: Machine) -> None:
    front = Front.made(any_machine, "front")
    front.apply({"web": front.web()})
    socket = front.show("front-web.socket", "InvocationID")
    with front.asked("systemctl restart") as asked:
        moment()
        front.systemctl("restart", "front-web")
        moment()
    assert (asked["failed"], list(asked["versions"])) == ({}, ["one"])
    with front.asked("apply") as asked:
        moment()
        front.apply({"web": front.web("two")})
        moment()
    assert (asked["failed"], list(asked["versions"])) == ({}, ["one", "two"])
    # What would stop it first elsewhere: the next connection would start it again.
    with front.asked("apply of other stop hooks") as asked:
        moment()
        front.apply({"web": front.web("two", hooks={"prestop": "true"})})
        moment()
    assert (asked["failed"], list(asked["versions"])) == ({}, ["two"])
    with front.asked("rollback") as asked:
        moment()
        front.nanod("rollback", "front", "1")
        moment()
    assert (asked["failed"], list(asked["versions"])) == ({}, ["two", "one"])
    assert front.show("front-web.socket", "InvocationID") == socket


@pytest.mark.row("BX-10", "BX-4")
@pytest.mark.parametrize(
    ("any_machine", "version"), [("machine", "refuse"), ("machine257", "sick"), ("machine257", "dies")], indirect=["any_machine"]
)
def test_no_request_is_lost_to_a_version_that_is_rolled_back(any_machine: Machine, version: str) -> None:
    front = Front.made(any_machine, "bad")
    keys = {"settle": "3s", "health": {"notify": True, "start_timeout": "1s"}}
    front.apply({"web": front.web()})
    before = seen(front)
    with front.asked(version) as asked:
        moment()
        front.apply({"web": front.web(version, **keys)}, status=4)
        moment()
    assert asked["failed"] == {}
    assert set(asked["versions"]) <= {"one", version}
    assert seen(front).same() == before.same()


@pytest.mark.row("RV-3")
def test_the_port_accepts_before_the_first_hook_has_run(any_machine: Machine) -> None:
    """on_start runs before the service listens; with a socket the port is open by then, and who connects waits for the service."""
    front = Front.made(any_machine, "early")
    front.write({"web": front.web(hooks={"prestart": "until [ -e /srv/steps/go ]; do sleep 0.1; done"})})
    asks = ["curl", "--silent", "--max-time", "20", f"http://127.0.0.1:{front.port}/"]
    with any_machine.popen(["nanod", "apply", front.spec], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as nanod:
        until(front.listens, "the port is open")
        assert front.show("web", "SubState") == "start-pre"
        with any_machine.popen(asks, stdout=subprocess.PIPE) as curl:
            time.sleep(0.3)
            assert curl.poll() is None
            any_machine.path("/srv/steps/go").touch()
            assert curl.communicate(timeout=20)[0] == b"one"
        said = nanod.communicate(timeout=20)[0]
    assert nanod.returncode == 0, said
    any_machine.path("/srv/steps/go").unlink()


@pytest.mark.row("BX-10")
def test_behind_a_proxy_no_connection_is_refused(any_machine: Machine) -> None:
    """What is open when the proxy ends is cut: it passes bytes on, and knows of no requests. All others wait."""
    front = Front.made(any_machine, "proxy")
    front.apply({"web": front.proxied()})
    with front.asked("restart behind a proxy") as asked:
        moment()
        front.systemctl("restart", "proxy-web")
        moment()
    assert set(asked["failed"]) <= CUT
    assert sum(asked["failed"].values()) <= 2
    with front.asked("apply behind a proxy") as asked:
        moment()
        front.apply({"web": front.proxied("two")})
        front.until_says("two")
    assert (set(asked["failed"]) <= CUT, list(asked["versions"])) == (True, ["one", "two"])
    before = seen(front).files
    front.apply({"web": front.proxied("refuse")}, status=4)
    assert seen(front).files == before
    front.until_says("two")
    front.nanod("stop", "proxy", "web")
    assert not front.listens()


@pytest.mark.row("BX-13", "BX-8")
def test_ports_open_and_close_as_the_spec_says(machine: Machine) -> None:
    front = Front.made(machine, "ports")
    bare: dict[str, Any] = {"command": ["/usr/local/lib/steps/server", "8000"], "sockets": None}
    front.apply({"web": front.web(**bare)})
    front.apply({"web": front.web("two")})  # gives its port to the socket
    assert front.says() == "two"
    other = front.web("two", sockets=["127.0.0.1:8001"])
    front.write({"web": other})
    assert "port closed meanwhile" in front.nanod("plan", front.spec).out
    front.apply()
    assert (front.listens(), front.says(8001)) == (False, "two")
    assert json.loads(front.nanod("status", "--json", "ports").out)["apps"][0]["services"][0]["socket"] == {
        "unit": "ports-web.socket",
        "active": "active",
        "listen": ["127.0.0.1:8001"],
    }
    # One that fails goes back to the old port.
    before = seen(front)
    front.apply({"web": front.web("refuse")}, status=4)
    assert (front.listens(), front.says(8001)) == (False, "two")
    assert seen(front).same() == before.same()
    for names in (["ports"], ["ports", "web"]):
        front.nanod("stop", *names)
        assert not front.listens(8001)
        front.nanod("start", *names)
        assert front.says(8001) == "two"
    front.systemctl("stop", "ports-web.socket")
    assert front.nanod("status", "ports", status=4).out
    front.apply({"web": other})
    assert front.says(8001) == "two"
    front.apply({"web": front.web(**bare)})  # takes its port back
    assert front.says() == "one"
    front.remove()
    assert front.traces() == []
    assert not front.listens()


@pytest.mark.row("BX-10", "FAULTS-27")
def test_a_port_that_is_taken_is_told_of_before_anything_is_touched(machine: Machine) -> None:
    front, other = Front.made(machine, "one"), Front.made(machine, "two")
    other.apply({"web": other.web()})
    before = seen(other)
    said = front.apply({"web": front.web()}, status=2).err
    assert "cannot open 127.0.0.1:8000 for one-web.socket: two-web.socket listens there" in said
    assert front.traces() == []
    other.apply({"web": other.web(command=["/usr/local/lib/steps/server", "8000"], sockets=None)})
    said = front.apply({"web": front.web()}, status=2).err
    assert "cannot open 127.0.0.1:8000 for one-web.socket: two-web.service (" in said
    assert front.traces() == []
    assert set(seen(other).files) == set(before.files) - {"two-web.socket"}


@pytest.mark.row("BX-10", "BX-2", "FAULTS-16")
def test_killed_anywhere_in_a_restart_behind_a_socket(machine: Machine) -> None:
    """As it was or as it is to be; and whoever asks meanwhile waits."""
    front = Front.made(machine, "killed")
    one, two = (front.web(version, hooks={"prestop": f"echo {version}"}) for version in ("one", "two"))
    front.apply({"web": one})
    before = seen(front)
    front.write({"web": two})
    points = listed(front, "apply", front.spec)

    def back() -> None:
        front.apply({"web": one})
        front.write({"web": two})

    crashes = Crashes(app=front, argv=("apply", front.spec), before=before, after=seen(front), decision="committed@1")
    back()
    with front.asked("kills") as asked:
        crash_everywhere(crashes, chosen(points), back=back, forth=front.apply)
    assert (asked["failed"], set(asked["versions"])) == ({}, {"one", "two"})
