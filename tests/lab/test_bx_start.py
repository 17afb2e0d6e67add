"""How services start and give up: conditions, probes, scripts, ready hooks, and the records that hooks leave."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import DIRECTORY, GIVES_UP, MAIN, STEP, App, until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine


@pytest.mark.row("BX-11")
def test_conditions_of_requires(machine: Machine) -> None:
    app = App.on(machine, "conditions")
    script = {"kind": "script", "command": [STEP, "script"], "user": "root"}
    services = {
        "slow": app.service("slow"),
        "script": script,
        # Does not wait for the health of `slow`, only that it runs.
        "started": app.service("started", requires={"slow": {"condition": "started"}}),
        "healthy": app.service("healthy", requires={"slow": {"condition": "healthy"}}),
        "completed": app.service("completed", requires={"script": {"condition": "completed"}}),
        "optional": app.service("optional", requires={"broken": {"required": False}}),
        "broken": app.service("broken", restart={"policy": "no"}),
        "follows": app.service("follows", requires={"slow": {"restart": True}}),
    }
    app.sick("slow")
    app.exits("broken", "prestart", 1)
    app.write(services)
    apply = machine.popen(["nanod", "apply", "--no-rollback", app.spec])
    app.until_up("started", "completed", "optional")
    assert not app.is_up("slow")
    assert "prestart healthy" not in app.steps()
    app.well("slow")
    assert apply.wait(timeout=60) == 4, "broken is broken"
    app.until_up("healthy", "follows")
    steps = app.steps()
    assert steps.index("script script") < steps.index("prestart completed")
    assert app.show("script", "ActiveState") == "active", "what somebody's `completed` waits for stays"

    before = {name: app.pid(name) for name in ("started", "healthy", "follows")}
    app.crash("slow")
    app.until_up("slow")
    assert {name: app.pid(name) for name in ("started", "healthy")} == {name: before[name] for name in ("started", "healthy")}
    app.systemctl("restart", "conditions-slow")
    app.until_up("follows", "slow")
    assert app.pid("follows") != before["follows"]
    assert app.pid("healthy") == before["healthy"]
    app.remove()


@pytest.mark.row("BX-3", "NK-11")
def test_each_kind_of_probe_holds_the_start_until_the_service_is_healthy(machine: Machine) -> None:
    app = App.on(machine, "probes")
    probes: dict[str, dict[str, Any]] = {
        "tcp": {"tcp": "127.0.0.1:7001"},
        "http": {"http": "http://127.0.0.1:7002/healthz"},
        "unix": {"unix": "/run/probes/unix/socket"},
        "file": {"file": "/run/probes/file/up"},
        "exec": {"exec": "test -e /run/probes/exec/up"},
        "notify": {"notify": True},
    }
    server = app.program("server.py", _SERVER)
    services = {
        name: app.service(name, hooks=("poststart",))
        | {"command": ["/usr/bin/python3", server, name], "health": probe | ({"interval": "50ms"} if name != "notify" else {})}
        for name, probe in probes.items()
    }
    app.write(services)
    apply = machine.popen(["nanod", "apply", app.spec])
    app_units = [app.unit(name) for name in probes]
    until(lambda: all(machine.path(f"/run/probes/{name}/runs").exists() for name in probes), "all run")
    assert {app.state(unit) for unit in app_units} == {"activating"}
    assert app.steps() == []
    machine.path(f"{DIRECTORY}/serve").touch()
    assert apply.wait(timeout=60) == 0
    assert sorted(app.steps()) == sorted(f"poststart {name}" for name in probes)
    app.remove()


_SERVER = f"""
import os, socket, sys, time, pathlib
from http.server import BaseHTTPRequestHandler, HTTPServer
kind, run = sys.argv[1], pathlib.Path(os.environ["NANOD_RUN_DIR"])
(run / "runs").touch()
def wait():
    while not os.path.exists("{DIRECTORY}/serve"):
        time.sleep(0.05)
if kind == "http":
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if os.path.exists("{DIRECTORY}/serve") and self.path == "/healthz" else 503)
            self.end_headers()
    HTTPServer(("127.0.0.1", 7002), Answer).serve_forever()
wait()
if kind == "tcp":
    kept = socket.create_server(("127.0.0.1", 7001))
elif kind == "unix":
    kept = socket.socket(socket.AF_UNIX); kept.bind(str(run / "socket")); kept.listen()
elif kind == "notify":
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\\0")); told.send(b"READY=1")
else:
    (run / "up").touch()
time.sleep(1e6)
"""


@pytest.mark.row("BX-3")
def test_the_gate_ends_with_the_service_it_watches(machine: Machine) -> None:
    """Systemd does not interrupt a prober when the main process dies; were the prober not to look, this would take an hour."""
    app = App.on(machine, "watch")
    health = {"tcp": "127.0.0.1:9", "interval": "50ms", "start_timeout": "1h"}
    dies = app.service("web", hooks=(), restart={"policy": "no"}) | {"command": "sleep 0.3; exit 5", "health": health}
    done = app.leave({"web": dies})
    assert "cannot start watch-web: it exited with status 5" in done.out
    assert app.state("web") == "failed"
    app.remove()


@pytest.mark.row("BX-11", "BX-7")
def test_the_exit_code_of_a_script_is_part_of_the_verdict(machine: Machine) -> None:
    app = App.on(machine, "script")
    script = {"kind": "script", "command": [STEP, "script"], "user": "root"}
    app.apply({"job": script})
    assert app.steps() == ["script job"]
    app.apply()
    assert app.steps() == ["script job"], "a finished script runs again only when it changed"
    app.exits("job", "script", 9)
    done = app.apply({"job": script | {"environment": {"A": "1"}}}, status=4)
    assert "script-job failed: it exited with status 9" in done.out
    assert app.steps() == ["script job"] * 2, "the old script is not run again on the way back"
    assert (app.state("job"), app.last()["rolled_back_to"]) == ("inactive", 1)
    app.apply({"job": script})
    assert app.steps() == ["script job"] * 2, "nor by the next apply"
    app.remove()


@pytest.mark.row("BX-24")
def test_ready_hooks_are_asynchronous_and_harmless(machine: Machine) -> None:
    app = App.on(machine, "ready")
    app.exits("web", "ready", 7)
    slow = app.service("slow", hooks=()) | {"hooks": {"ready": f"{STEP}; sleep infinity"}}
    app.apply({"web": app.service("web", hooks=("ready", "poststart")), "slow": slow})
    app.until_step("ready slow")
    app.until_step("ready web")
    assert app.systemctl("list-jobs") == "No jobs running."
    assert app.systemctl("is-system-running", status=None) in ("running", "degraded")
    assert app.is_up("web")
    before = app.pid("web")
    app.crash("web")
    app.until_step("ready web", 2)
    app.until_up("web")
    assert app.pid("web") != before
    assert "ready" in app.nanod("status", "ready").out
    app.systemctl("stop", "ready-slow")
    assert app.show("ready-slow-ready.service", "ActiveState") == "inactive"
    assert app.state("slow") == "inactive"
    app.remove()


@pytest.mark.row("BX-23")
def test_a_service_that_gives_up_calls_for_help_once(machine: Machine) -> None:
    app = App.on(machine, "gives")
    page = f"echo $NANOD_FAILED_UNIT $NANOD_RESULT >>{DIRECTORY}/page; cat >>{DIRECTORY}/page.lines"
    web = app.service("web", hooks=("poststop",), restart=GIVES_UP, on_failure=page)
    app.apply({"web": web})
    for crash in range(3):
        app.until_up("web")
        app.crash("web")
        until(lambda crash=crash: app.steps().count("poststop web") > crash, "poststop")  # type: ignore[misc]
    until(lambda: app.state("web") == "failed", "it has given up")
    assert app.steps().count("poststop web") == 3, "at every round"
    until(machine.path(f"{DIRECTORY}/page").exists, "the call for help")
    app.jobs_done()
    assert machine.path(f"{DIRECTORY}/page").read_text().split()[0] == "gives-web.service"
    assert len(machine.path(f"{DIRECTORY}/page").read_text().splitlines()) == 1
    assert "gives-web" in machine.path(f"{DIRECTORY}/page.lines").read_text()
    shown = app.nanod("status", "gives", status=4).out
    assert "web" in shown
    app.apply()
    assert app.is_up("web"), "apply clears the start limit"
    app.remove()


@pytest.mark.row("BX-6", "NK-4")
def test_provisioning_in_a_sandbox_of_its_own(machine: Machine) -> None:
    app = App.on(machine, "inside")
    install = "touch made; touch /etc/never 2>/dev/null || true; touch /tmp/inside-never"
    app.apply({"web": app.service("web", hooks=(), volume="/srv/inside", provisioning={"install": install, "context": "sandbox"})})
    assert machine.path("/srv/inside/made").exists()
    assert not machine.path("/etc/never").exists()
    assert not machine.path("/tmp/inside-never").exists()
    app.remove()


@pytest.mark.row("BX-16")
def test_every_hook_leaves_a_record(machine: Machine) -> None:
    app = App.on(machine, "record")
    app.exits("web", "poststart", 4)
    app.apply({"web": app.service("web", hooks=()) | {"hooks": {"prestart": {"run": STEP, "name": "greet"}, "poststart": f"echo oops >&2; {STEP}"}}})
    lines = app.journal("--output=json", "NANOD_UNIT=record-web.service").splitlines()
    records = {(item["NANOD_PHASE"], item["NANOD_HOOK"]): item for item in map(json.loads, lines)}
    greet, second = records["prestart", "greet"], records["poststart", "1"]
    assert (greet["NANOD_STATUS"], second["NANOD_STATUS"]) == ("0", "4")
    assert greet["NANOD_APP"] == "record"
    assert greet["NANOD_INVOCATION"] == app.show("web", "InvocationID")
    assert int(greet["NANOD_DURATION_MS"]) >= 0
    text = app.journal("--unit=record-web")
    assert "oops" in text
    assert "poststart/1 failed, status 4" in text
    assert "poststart/1" in app.systemctl("status", "record-web")
    assert "exited with status 4" in app.nanod("status", "record").out
    # Unlike systemd's own record of a line, this one outlives a reload.
    app.systemctl("daemon-reload")
    assert "poststart" in app.nanod("status", "record").out
    app.remove()


@pytest.mark.row("BX-7", "BX-16")
def test_main_output_and_terminal_escapes(machine: Machine) -> None:
    """What a failed service printed is shown without what it would do to the terminal."""
    app = App.on(machine, "escape")
    shout = r"printf '\033[31mred\033]0;title\007 alert\n' >&2; exit 3"
    done = app.apply({"web": app.service("web", hooks=(), restart={"policy": "no"}, settle="1s") | {"command": shout, "health": None}}, status=4)
    assert "red" in done.out
    assert "\x1b" not in done.out
    assert MAIN not in done.err
    history = app.nanod("history", "escape").out
    assert "exited with status 3" in history
    assert "\x1b" not in history
    assert app.traces() == []
