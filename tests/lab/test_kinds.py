"""The kinds of services, the phases that all of them go through, and what says that each is well."""

from __future__ import annotations

import importlib.util
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import typing_extensions

from tests.lab.steps import DIRECTORY, PROGRAMS, STEP, App, until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

GRPC = '''#!/usr/bin/python3
"""grpc PORT FILE: as much of a gRPC server as its health check takes; FILE says what it answers, and is read for each call."""
import socket, sys

def frame(kind, payload=b"", flags=0, stream=0):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            status = bytes([8, {"SERVING": 1, "NOT_SERVING": 2}[open(sys.argv[2]).read().strip()]])
            message = b"\\0" + len(status).to_bytes(4, "big") + status
            connection.sendall(frame(4) + frame(1, b"\\x88", 4, 1) + frame(0, message, 0, 1) + frame(1, b"\\x88", 5, 1))
'''
REAL_GRPC = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
server, servicer = grpc.server(ThreadPoolExecutor(2)), health.HealthServicer()
servicer.set("", health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start()
server.wait_for_termination()
"""
HTTP = [
    "/usr/bin/python3",
    "-c",
    "import http.server,os; http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), http.server.SimpleHTTPRequestHandler).serve_forever()",
]


def services(app: App) -> dict[str, dict[str, Any]]:
    data = json.loads(app.nanod("status", "--json", app.name, status=None).out)
    return {item["service"]: item for item in data["apps"][0]["services"]}


@pytest.mark.row("MK-2", "MK-3", "MK-11")
def test_every_kind_by_what_says_that_it_is_well(any_machine: Machine) -> None:
    """An http service by its own port when nothing else is said, grpc by its health service, a worker by its start, a script by its exit code."""
    app = App.on(any_machine, "kinds")
    program = app.program("grpc", GRPC)
    any_machine.write(f"{DIRECTORY}/answer", "SERVING")
    app.apply(
        {
            "web": app.service("web", kind="http", command=HTTP, ports=[8101], health=None),
            "pages": app.service("pages", kind="http", command=HTTP, ports=[8102], health={"http": "/"}, working_dir=DIRECTORY),
            "calls": app.service("calls", kind="grpc", command=[program, "8103", f"{DIRECTORY}/answer"], ports=[8103], health={"grpc": True}),
            "worker": app.service("worker", kind="native"),
            "import": app.service("import", kind="script", command=[STEP, "main"], health=None),
        }
    )
    found = services(app)
    assert {name: item["health"] for name, item in found.items()} == {
        "web": "healthy", "pages": "healthy", "calls": "healthy", "worker": "healthy", "import": "finished",
    }  # fmt: skip
    assert {name: item["probe"] for name, item in found.items() if name in ("web", "pages", "calls", "import")} == {
        "web": "tcp 127.0.0.1:8101", "pages": "http http://127.0.0.1:8102/", "calls": "grpc 127.0.0.1:8103", "import": None,
    }  # fmt: skip
    steps = app.steps()
    for name in ("web", "pages", "calls", "worker"):
        assert steps.index(f"prestart {name}") < steps.index(f"poststart {name}"), "the same lifecycle, whatever it is written in"
    app.nanod("stop", "kinds")
    for name in ("web", "pages", "calls", "worker"):
        assert app.steps()[-20:].index(f"prestop {name}") < app.steps()[-20:].index(f"poststop {name}")
    app.remove()


@pytest.mark.row("MK-3")
def test_the_exit_code_of_a_script_is_the_result(machine257: Machine) -> None:
    app = App.on(machine257, "result")
    app.exits("import", "main", 3)
    failed = app.apply({"import": app.service("import", kind="script", command=[STEP, "main"], health=None)}, status=4)
    assert "exited with status 3" in failed.out
    assert app.traces() == []
    app.exits("import", "main", 0)
    app.apply()
    assert app.steps().count("main import") == 2, "once each time: a script is not tried again"
    app.remove()


@pytest.mark.row("MK-6", "MK-11", "BX-3")
def test_a_grpc_service_that_does_not_serve_is_not_up(machine: Machine) -> None:
    app = App.on(machine, "deaf")
    program = app.program("grpc", GRPC)
    machine.write(f"{DIRECTORY}/answer", "NOT_SERVING")
    command = [program, "8110", f"{DIRECTORY}/answer"]
    health = {"grpc": "127.0.0.1:8110", "start_timeout": "1s", "interval": "50ms"}
    restart = {"delay": "100ms", "limit": 1, "window": "10s"}
    calls = app.service("calls", kind="grpc", command=command, health=health, restart=restart)
    failed = app.apply({"calls": calls}, status=4)
    assert "it did not become healthy (grpc 127.0.0.1:8110)" in failed.out
    assert "it says NOT_SERVING" in failed.out
    assert "poststart calls" not in app.steps()
    machine.write(f"{DIRECTORY}/answer", "SERVING")
    app.apply()
    app.remove()


@pytest.mark.row("MK-11")
@pytest.mark.skipif(importlib.util.find_spec("grpc_health") is None, reason="needs grpcio-health-checking")
def test_a_real_grpc_server(machine: Machine) -> None:
    app = App.on(machine, "real")
    program = app.program("real.py", REAL_GRPC)
    # The checkout may be where the machine has directories of its own.
    site = machine.path("/srv/site")
    for name in ("grpc", "grpc_health", "google.protobuf"):
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.submodule_search_locations is not None
        shutil.copytree(found.submodule_search_locations[0], site / name.replace(".", "/"))
    shutil.copy(typing_extensions.__file__, site)
    command = ["/usr/bin/env", "PYTHONPATH=/srv/site", "/usr/bin/python3", program, "8120"]
    app.apply({"calls": app.service("calls", kind="grpc", command=command, ports=[8120], health={"grpc": True, "start_timeout": "20s"})})
    assert services(app)["calls"]["health"] == "healthy"
    app.remove()


@pytest.mark.row("MK-6")
def test_what_goes_wrong_while_it_binds_its_port_comes_out_before_it_counts_as_up(machine257: Machine) -> None:
    app = App.on(machine257, "taken")
    first = app.service("first", kind="http", command=HTTP, ports=[8130], health={"http": "/"}, working_dir=DIRECTORY)
    app.apply({"first": first})
    again = {"delay": "100ms", "limit": 2, "window": "10s"}
    second = app.service(
        "second", kind="http", command=[*HTTP[:2], HTTP[2].replace("int(os.environ['PORT'])", "8130")], ports=[8131], health=None, restart=again
    )
    failed = app.apply({"first": first, "second": second}, status=4)
    assert "Address already in use" in failed.out
    assert "poststart second" not in app.steps()
    assert app.is_up("first")
    app.remove()


@pytest.mark.row("MK-7")
def test_an_error_on_the_way_up_is_told_and_the_way_down_has_its_hooks(machine: Machine) -> None:
    app = App.on(machine, "errors")
    again = {"delay": "100ms", "limit": 2, "window": "10s"}
    web = app.service("web", restart=again) | {"hooks": {"prestart": f"echo no database >&2; {STEP}", "prestop": STEP, "poststop": STEP}}
    app.exits("web", "prestart", 3)
    failed = app.apply({"web": web}, status=4)
    assert "cannot start errors-web: hook prestart/1 exited with status 3" in failed.out
    assert "    no database" in failed.out.splitlines()
    assert "main web" not in app.steps(), "the process never began"
    assert "prestop web" not in app.steps(), "and there was nothing to shut down"
    app.exits("web", "prestart", 0)
    app.apply()
    app.clear()
    app.systemctl("stop", "errors-web")
    assert app.steps() == ["prestop web", "signal web", "poststop web"]
    assert app.show("web", "Result") == "success"
    app.remove()


@pytest.mark.row("MK-1")
def test_the_phases_and_that_errors_come_early(machine: Machine) -> None:
    """Configure: nothing is touched for a spec that is wrong; build, start, run, shutdown are told by status while they last."""
    app = App.on(machine, "phases")
    app.write({"web": app.service("web", colour="red")})
    assert "unknown key 'colour'" in app.apply(status=2).err
    assert app.traces() == []

    waits = app.program("waits", f"#!/bin/sh\nwhile [ ! -e {DIRECTORY}/phases.go ]; do sleep 0.05; done\nrm {DIRECTORY}/phases.go\n")
    go = f"{DIRECTORY}/phases.go"
    web = app.service("web", provisioning={"install": [waits]}) | {"hooks": {"prestart": waits, "prestop": waits}}
    app.write({"web": web})
    apply = machine.popen(["nanod", "apply", app.spec])
    for phase in ("configure", "start"):
        until(lambda phase=phase: _phase(app) == phase, phase)  # type: ignore[misc]
        machine.write(go, "")
        until(lambda: not machine.path(go).exists(), "it went on")
    assert apply.wait(timeout=60) == 0
    assert _phase(app) == "run"
    stop = machine.popen(["systemctl", "stop", "phases-web"])
    until(lambda: _phase(app) == "shutdown", "shutdown")
    machine.write(go, "")
    assert stop.wait(timeout=30) == 0
    assert _phase(app) is None
    machine.path(go).unlink(missing_ok=True)
    app.remove("--purge")


def _phase(app: App) -> str | None:
    done = app.machine.run(["nanod", "status", "--json", app.name])
    found = json.loads(done.out or "{}").get("apps") or [{}]
    items = found[0].get("services") or [{}]
    phase: str | None = items[0].get("phase")
    return phase


@pytest.mark.row("MK-3")
def test_a_batch_job_with_tasks_of_every_kind(machine257: Machine) -> None:
    """A script in a group: what stands around it comes before it and goes after it, and its exit code is the result."""
    app = App.on(machine257, "batch")
    tasks = {
        "init": {"command": [STEP, "init"], "lifecycle": {"hook": "prestart"}},
        "ship": {"command": [f"{PROGRAMS}/main"], "lifecycle": {"hook": "prestart", "sidecar": True}},
        "tell": {"command": [STEP, "tell"], "lifecycle": {"hook": "poststart"}},
        "bye": {"command": [STEP, "bye"], "lifecycle": {"hook": "poststop"}},
    }
    slow = app.program("slow", f"#!/bin/sh\n{STEP} job\ncode=$?\nsleep 1\nexit $code\n")
    job = app.service("job", kind="script", command=[slow], health=None, hooks=(), tasks=tasks)
    app.apply({"job": job})
    app.until_step("bye job")
    steps = app.steps()
    assert [steps.index(f"{word} job") for word in ("init", "job", "bye")] == sorted(steps.index(f"{word} job") for word in ("init", "job", "bye"))
    assert "tell job" in steps
    assert steps.count("job job") == 1
    app.clear()
    app.exits("job", "job", 5)
    assert "exited with status 5" in app.apply({"job": job | {"environment": {"A": "1"}}}, status=4).out
    app.until_step("bye job")
    app.exits("job", "job", 0)
    app.remove()
    assert app.traces() == []
