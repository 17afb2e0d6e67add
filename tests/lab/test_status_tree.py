"""`nanod status` of real services: the tree, what stands in it, and the same as JSON."""

from __future__ import annotations

import json
import os
import pty
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import STEP, App, until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

UNITS = "/etc/systemd/system"
_NOTIFIES = """#!/usr/bin/python3
import os, signal, socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
    to.connect(os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1))
    to.send(b"READY=1\\nSTATUS=serving 3 customers\\n")
signal.pause()
"""


def _status(app: App, status: int | None = 0) -> dict[str, Any]:
    found = json.loads(app.nanod("status", "--json", app.name, status=status).out)["apps"]
    assert len(found) == 1
    assert isinstance(found[0], dict)
    return found[0]


def proof(machine: Machine) -> None:
    app = App.on(machine, "tree")
    program = app.program("notifies", _NOTIFIES)
    db = {"command": [program], "user": "root", "health": {"notify": True}, "settle": "0s", "sandbox": "off"}
    web = app.service("web", "db")
    web["hooks"] = {"prestart": {"run": STEP, "name": "migrate"}, "poststart": [{"run": "echo no answer; exit 7", "name": "register"}]}
    app.apply({"db": db, "web": web})
    drop_in = machine.path(f"{UNITS}/tree-web.service.d/admin.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nNice=3\n")
    app.systemctl("daemon-reload")

    lines = app.nanod("status", "tree").out.splitlines()
    age = r"(?:\d+min )?\d+s"
    expected = [
        rf"tree: healthy, generation 1, {app.spec}",
        rf"\|- db   run  healthy  {age} +pid \d+, notify, \"serving 3 customers\"",
        rf"`- web  run  healthy  {age} +pid \d+, file /run/tree/web/up",
        rf"   \|- ok      prestart/migrate    took \d+ms, {age} ago",
        rf"   \|- failed  poststart/register  exited with status 7, took \d+ms, {age} ago",
        r"   \|     no answer",
        r"   \|     nanod: hook poststart/register failed, status 7",
        rf"   `- override  {UNITS}/tree-web.service.d/admin.conf is a drop-in of the administrator, which wins",
    ]
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)

    found = _status(app)
    assert (found["healthy"], found["generation"], found["spec"], found["transaction"]) == (True, 1, app.spec, None)
    served, shown = found["services"]
    assert (served["status_text"], served["probe"], served["phase"], served["health"]) == ("serving 3 customers", "notify", "run", "healthy")
    assert shown["main_pid"] == app.pid("web")
    assert shown["since_usec"] > 0
    assert [(item["phase"], item["name"], item["result"]) for item in shown["hooks"]] == [
        ("prestart", "migrate", "ok"),
        ("poststart", "register", "failed"),
    ]
    assert shown["hooks"][1]["lines"][0] == "no answer"
    assert "lines" not in shown["hooks"][0]
    assert shown["drift"] == [{"kind": "override", "subject": f"{UNITS}/tree-web.service.d/admin.conf"}]
    # The same objects, plainly.
    assert "serving 3 customers" in app.systemctl("status", "tree-db")
    assert "no answer" in app.journal("-t", "tree-web")
    app.remove()
    drop_in.unlink()
    drop_in.parent.rmdir()


@pytest.mark.row("BX-25")
def test_the_tree_on_252(machine: Machine) -> None:
    proof(machine)


@pytest.mark.row("BX-25")
def test_the_tree_on_257(machine257: Machine) -> None:
    proof(machine257)


@pytest.mark.row("BX-25")
def test_what_the_service_prints_later_does_not_take_the_place_of_a_hook_s_last_lines(machine: Machine) -> None:
    app = App.on(machine, "talk")
    talks = app.program("talks", "#!/bin/sh\nsleep 0.5\nfor n in $(seq 300); do echo chatter $n; done\nexec sleep infinity\n")
    web = app.service("web", health=None, runtime_dir=False, hooks=()) | {"command": [talks]}
    web["hooks"] = {"poststart": {"run": "echo nobody answers; exit 3", "name": "call"}}
    app.apply({"web": web})
    until(lambda: "chatter 300" in app.journal("-u", "talk-web"), "it has said all")
    hook = _status(app)["services"][0]["hooks"][0]
    assert hook["lines"] == ["nobody answers", "nanod: hook poststart/call failed, status 3"]
    app.remove()


@pytest.mark.row("BX-25")
def test_phases_while_they_last(machine: Machine) -> None:
    app = App.on(machine, "phase")
    app.apply({"web": app.service("web", provisioning={"install": "while [ -e /srv/steps/hold ]; do sleep 0.05; done"}, volume="/srv/phase")})
    hold = machine.path("/srv/steps/hold")

    def reaches(phase: str | None) -> None:
        until(lambda: _status(app, status=None)["services"][0]["phase"] == phase, f"phase {phase}")

    reaches("run")
    app.systemctl("stop", "phase-web")
    reaches(None)
    for sentinel in machine.path("/srv/phase").glob(".nanod-installed-*"):
        sentinel.unlink()
    hold.touch()
    app.sick("web")
    app.systemctl("start", "--no-block", "phase-web")
    reaches("configure")
    hold.unlink()
    reaches("start")
    app.well("web")
    reaches("run")
    app.remove("--purge")


@pytest.mark.row("BX-25", "FAULTS-16")
def test_an_apply_that_was_cut_short_is_shown(machine: Machine) -> None:
    app = App.on(machine, "cut")
    web = app.service("web")
    app.apply({"web": web})
    app.write({"web": web | {"environment": {"A": "1"}}})
    machine.run(["nanod", "apply", app.spec], env={"NANOD_FAULT": "installed:kill"})
    shown = app.nanod("status", "cut").out
    assert re.search(r"^\|- interrupted  apply begun \S+ \(nanod apply /etc/nanod/cut.yaml\); the next command ", shown, re.MULTILINE), shown
    assert "unfinished  cut-web.service is from an apply that did not finish" in shown
    found = _status(app)
    assert found["transaction"]["under_way"] is False
    assert (found["transaction"]["action"], found["transaction"]["generation"]) == ("apply", 2)
    assert [item["kind"] for item in found["services"][0]["drift"]][:1] == ["unfinished"]
    app.apply()
    assert _status(app)["transaction"] is None
    app.remove()


@pytest.mark.row("BX-25", "FAULTS-16")
def test_an_apply_that_is_under_way_is_no_interrupted_one(machine: Machine) -> None:
    app = App.on(machine, "busy")
    app.sick("web")
    app.write({"web": app.service("web")})
    with machine.popen(["nanod", "apply", app.spec]) as applying:
        until(lambda: app.state("web") == "activating", "it waits for the service")
        assert "under way  apply begun " in app.nanod("status", "busy", status=4).out
        assert _status(app, status=4)["transaction"]["under_way"] is True
        app.well("web")
        assert applying.wait() == 0
    assert "under way" not in app.nanod("status", "busy").out
    app.remove()


@pytest.mark.row("BX-25", "FAULTS-16")
def test_of_a_first_apply_that_was_cut_short_there_is_its_intent(machine: Machine) -> None:
    app = App.on(machine, "first")
    app.write({"web": app.service("web")})
    machine.run(["nanod", "apply", app.spec], env={"NANOD_FAULT": "intent:kill"})
    for words in (["status"], ["status", "first"]):
        shown = app.nanod(*words, status=4).out
        assert "first: not healthy, generation unknown\n`- interrupted  apply begun " in shown
    app.nanod("recover")
    assert "first" not in app.nanod("status", status=None).out


@pytest.mark.row("BX-25")
def test_on_a_terminal_it_is_drawn_with_boxes_and_fits(machine: Machine) -> None:
    app = App.on(machine, "wide")
    web = app.service("web", health=None, runtime_dir=False)
    web["hooks"] = {"poststart": {"run": f"echo {'words ' * 30}; exit 7", "name": "register"}}
    app.apply({"web": web})
    ours, theirs = pty.openpty()
    with machine.popen(["nanod", "status", "wide"], env={"TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"}, stdout=theirs) as looking:
        os.close(theirs)
        assert looking.wait() == 0
    shown = os.read(ours, 65536).decode().replace("\r\n", "\n")
    os.close(ours)
    assert "\n\u2514\u2500 web  run  healthy" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("words") == 30
    app.remove()
