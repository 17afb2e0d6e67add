"""Stopping: what a stop hook is told, the pause before the signal, and what is left afterwards, which is nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.groups import STAYS, ends, stays
from tests.lab.groups import Group as App
from tests.lab.steps import DIRECTORY, until

if TYPE_CHECKING:
    from collections.abc import Callable


QUICK = {"delay": "100ms", "limit": 20, "window": "20s"}
SAYS = "echo $LIFECYCLE_PHASE $NANOD_STOP_REASON >>{}"
SERVER = """#!/usr/bin/python3
# server PORT NAME: answers what it was made as; `/slow` when the test lets it. Told to close or to end, it accepts no more, ends what is under way, and exits.
import http.server, os, pathlib, signal, sys, threading, time
base = pathlib.Path("/srv/steps/" + sys.argv[2])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            base.with_suffix(".begun").touch()
            while not base.with_suffix(".released").exists():
                time.sleep(0.02)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["MADE"].encode())
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    def service_actions(self):
        if base.with_suffix(".closing").exists():
            threading.Thread(target=self.shutdown).start()
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
# What is under way when the signal comes is answered, too: the test counts every answer.
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(0.05)
server.server_close()
"""
CLIENT = "import sys, urllib.request as r; print(r.urlopen('http://127.0.0.1:' + sys.argv[1], timeout=60).read().decode())"
BALANCER = """
import pathlib, sys, urllib.error, urllib.request
stop, ports, seen = pathlib.Path(sys.argv[1]), sys.argv[2:], []
while not stop.exists():
    for port in ports:
        try:
            seen.append(urllib.request.urlopen("http://127.0.0.1:" + port, timeout=10).read().decode())
            break
        except OSError:
            pass
    else:
        seen.append("nobody")
print(" ".join(sorted(set(seen))), len(seen))
"""


def service(**keys: Any) -> dict[str, Any]:
    return {"command": [STAYS], "user": "root", "settle": "0s", "restart": QUICK} | keys


def both(app: App) -> dict[str, Any]:
    says = SAYS.format(app.log)
    return {"prestop": says, "poststop": says}


def file(app: App, suffix: str) -> str:
    return f"{DIRECTORY}/{app.name}.{suffix}"


@pytest.mark.row("MK-8", "BX-15")
def test_the_pause_stands_between_prestop_and_the_signal(on257: Callable[[str], App]) -> None:
    app = on257("pause")
    app.apply({"web": service(hooks=both(app), stop={"drain": "500ms"})})
    app.systemctl("stop", "pause-web")
    assert app.steps() == ["web up", "prestop stop", "web down", "poststop stop"]
    lines = app.systemctl("show", "--property=ExecStop", "pause-web").splitlines()
    assert ["drain" in line for line in lines] == [False, False, True]
    assert app.show("web", "Result") == "success"


@pytest.mark.row("MK-8", "BX-15")
def test_the_pause_ends_with_the_process_and_there_is_none_when_it_ended_by_itself(on: Callable[[str], App]) -> None:
    """An hour would be longer than anybody waits."""
    app = on("short")
    command = f"while [ ! -e {file(app, 'over')} ]; do sleep 0.1; done"
    web = service(command=command, hooks=both(app), stop={"drain": "1h"}, health=None)
    app.apply({"web": web | {"user": "www-data"}})
    assert app.show("web", "TimeoutStopUSec") == "1h 10s"
    app.systemctl("--no-block", "stop", "short-web")
    app.until_step("prestop stop")
    until(lambda: app.show("web", "SubState") == "stop", "it drains")
    assert app.pid("web")
    app.machine.path(file(app, "over")).touch()
    app.until_gone("web")
    assert app.steps() == ["prestop stop", "poststop stop"]
    app.machine.path(file(app, "over")).unlink()
    app.clear()
    app.systemctl("start", "short-web")
    app.machine.path(file(app, "over")).touch()
    app.until_gone("web")
    assert app.steps() == ["prestop exit", "poststop exit"]
    assert app.show("web", "Result") == "success"


@pytest.mark.row("MK-8", "BX-15")
def test_a_request_under_way_is_answered(on257: Callable[[str], App]) -> None:
    """It was begun before the stop and ends in the pause; nobody new is let in meanwhile, and the end is a clean one."""
    app = on257("flight")
    server = app.program("server", SERVER)
    prestop = f"touch {file(app, 'closing')}; {SAYS.format(app.log)}"
    web = service(command=[server, "8090", "flight"], environment={"MADE": "old"}, health={"tcp": 8090, "interval": "50ms"})
    app.apply({"web": web | {"hooks": {"prestop": prestop}, "stop": {"drain": "10min"}}})
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(app.machine.run, ["python3", "-c", CLIENT, "8090/slow"])
        until(app.machine.path(file(app, "begun")).exists, "the request is there")
        app.systemctl("--no-block", "stop", "flight-web")
        app.until_step("prestop stop")
        until(lambda: app.machine.run(["python3", "-c", CLIENT, "8090"]).status != 0, "nobody is let in")
        assert app.state("web") == "deactivating"
        app.machine.path(file(app, "released")).touch()
        assert slow.result().out.strip() == "old"
    app.until_gone("web")
    assert (app.show("web", "Result"), app.show("web", "ExecMainCode"), app.show("web", "ExecMainStatus")) == ("success", "1", "0")


@pytest.mark.row("MK-8", "BX-15")
def test_an_instance_drains_while_the_others_serve(on252: Callable[[str], App]) -> None:
    """One request is under way in the instance that restarts first: it is answered by what it was begun with, and everybody else by another."""
    app = on252("rolls")
    server = app.program("server", SERVER)

    def web(made: str) -> dict[str, Any]:
        name = "rolls.$NANOD_REPLICA"
        command = f"rm -f {DIRECTORY}/rolls.closing; exec {server} $PORT rolls"
        return service(
            command=command,
            environment={"MADE": made},
            replicas=2,
            ports=[8070],
            health={"tcp": True, "interval": "50ms"},
            hooks={"prestop": f"touch {DIRECTORY}/{name}"},
            stop={"drain": "1s", "timeout": "5s"},
            rolling={"min_healthy_time": "100ms"},
        )

    app.apply({"web": web("old")})
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(app.machine.run, ["python3", "-c", CLIENT, "8070/slow"])
        until(app.machine.path(file(app, "begun")).exists, "the request is there")
        others = pool.submit(app.machine.run, ["python3", "-c", BALANCER, file(app, "enough"), "8071", "8070"])
        app.write({"web": web("new")})
        applying = pool.submit(app.nanod, "apply", app.spec)
        until(app.machine.path(f"{DIRECTORY}/rolls.1").exists, "the first one stops")
        assert app.is_up("web@2")
        app.machine.path(file(app, "released")).touch()
        assert slow.result().out.strip() == "old"
        applying.result()
        app.machine.path(file(app, "enough")).touch()
        words, count = others.result().out.rsplit(maxsplit=1)
    assert words == "new old"
    assert int(count) > 2


@pytest.mark.row("BX-15", "MK-8")
def test_stop_hooks_are_told_why(on: Callable[[str], App]) -> None:
    """A crash runs no prestop hook (systemd.service(5), ExecStop=: not when the service failed)."""
    app = on("why")
    ends_at = f"trap 'exit 0' TERM; while [ ! -e {file(app, 'over')} ]; do sleep 0.1; done"
    app.apply(
        {"web": service(command=ends_at, hooks=both(app), user="www-data", sandbox="strict", systemd={"Service": {"ReadWritePaths": DIRECTORY}})}
    )

    def said(expected: list[str]) -> None:
        until(lambda: len(app.steps()) >= len(expected), str(expected))
        app.jobs_done()
        assert app.steps() == expected
        app.clear()

    app.systemctl("restart", "why-web")
    said(["prestop restart", "poststop restart"])
    app.systemctl("restart", "why.target")
    app.until_up("web")
    said(["prestop restart", "poststop restart"])
    app.crash("web")
    app.until_up("web")
    said(["poststop crash"])
    app.machine.path(file(app, "over")).touch()
    app.until_gone("web")
    said(["prestop exit", "poststop exit"])
    app.machine.path(file(app, "over")).unlink()
    app.systemctl("start", "why-web")
    app.systemctl("stop", "why.target")
    said(["prestop stop", "poststop stop"])
    app.nanod("start", "why")
    app.nanod("restart", "why", "web")
    said(["prestop restart", "poststop restart"])


@pytest.mark.row("BX-15")
def test_hooks_around_several_mains_are_told_too(on252: Callable[[str], App]) -> None:
    app = on252("around")
    quick = {"delay": "50ms", "limit": 4, "window": "1min"}  # three starts, then two crashes
    group = {"user": "root", "settle": "0s", "processes": {"api": stays(restart=quick), "worker": stays(restart=quick)}, "hooks": both(app)}
    app.apply({"web": group})
    app.clear()
    app.systemctl("restart", "around-web")
    app.jobs_done()
    assert [line for line in app.steps() if "stop" in line] == ["prestop restart", "poststop restart"]
    app.clear()
    app.systemctl("stop", "around-web")
    app.until_step("poststop stop")
    assert [line for line in app.steps() if "stop" in line] == ["prestop stop", "poststop stop"]
    app.systemctl("start", "around-web")
    app.until_up("web")
    app.clear()
    for name in ("web-api", "web-worker"):
        for _ in range(2):
            app.until_up(name)
            app.crash(name)
        until(lambda name=name: app.state(name) == "failed", f"{name} has given up")  # type: ignore[misc]
    app.until_step("poststop crash")


@pytest.mark.row("MK-9")
def test_a_stop_is_repeatable_and_the_end_by_its_signal_a_good_one(on257: Callable[[str], App]) -> None:
    app = on257("twice")
    app.apply(
        {
            "handles": service(),
            "dies": service(command=["/usr/bin/sleep", "1000"]),
            "hup": service(command=["/usr/bin/sleep", "1000"], stop={"signal": "INT"}),
        }
    )
    for _ in range(2):
        app.systemctl("stop", "twice-handles", "twice-dies", "twice-hup")
        for name in ("handles", "dies", "hup"):
            assert (app.state(name), app.show(name, "Result")) == ("inactive", "success"), name
        app.systemctl("stop", "twice.target")
        app.nanod("stop", "twice")
    assert app.systemctl("list-units", "--failed", "--plain", "--no-legend", "twice-*") == ""
    app.nanod("start", "twice")
    app.nanod("stop", "twice")
    app.nanod("stop", "twice")


@pytest.mark.row("MK-9")
def test_a_stop_is_bounded_also_where_the_process_and_its_hooks_hang(on252: Callable[[str], App]) -> None:
    app = on252("hangs")
    deaf = "trap '' TERM; while :; do sleep 0.1; done"
    hooks = {"prestop": {"run": deaf, "timeout": "500ms"}, "poststop": {"run": deaf, "timeout": "500ms"}}
    app.apply({"web": service(command=deaf, hooks=hooks, stop={"timeout": "1s", "drain": "100ms"})})
    app.systemctl("stop", "hangs-web")
    assert app.state("web") == "failed", "it had to be killed"
    assert app.machine.run(["systemctl", "stop", "hangs-web"]).status == 0
    assert app.show("web", "MainPID") == "0"


@pytest.mark.row("MK-10")
def test_nothing_of_a_service_outlives_it(on: Callable[[str], App]) -> None:
    """Children in the background, also those that left the session and ignore SIGTERM, and those of its hooks."""
    app = on("rests")
    leave = "setsid sh -c 'trap \"\" TERM HUP; exec sleep 1001.5' >/dev/null 2>&1 &"
    web = service(command=f"{leave} (sleep 1001.5 &) ; exec {STAYS}", hooks={"prestart": leave, "poststart": leave}, stop={"timeout": "1s"})
    app.apply({"web": web})

    def left() -> int:
        return len(app.machine.run(["pgrep", "-f", "sleep 1001.5"]).out.split())

    until(lambda: left() >= 4, "its children are there")
    app.systemctl("stop", "rests-web")
    until(lambda: left() == 0, "nothing is left")
    app.systemctl("start", "rests-web")
    until(lambda: left() >= 4, "its children are there")
    app.systemctl("kill", "--kill-whom=main", "--signal=KILL", "rests-web")
    until(lambda: app.show("web", "NRestarts") == "1", "it crashed")
    app.until_up("web")
    until(lambda: left() == 4, "only those of this run")


@pytest.mark.row("MK-12", "MK-8")
def test_sidecars_go_last_and_in_reverse(on: Callable[[str], App]) -> None:
    """The main drains and ends with its sidecars still there; what started first stops last, and what cleans up comes after all."""
    app = on("sides")
    tasks = {"side": stays("prestart"), "ship": stays("poststart"), "clean": ends("poststop")}
    app.apply({"web": service(tasks=tasks, hooks=both(app), stop={"drain": "300ms"})})
    app.until_step("ship up")
    assert app.steps() == ["side up", "web up", "ship up"]
    app.clear()
    app.systemctl("stop", "sides.target")
    app.until_step("clean success")
    app.in_order("prestop stop", "web down", "poststop stop", "ship down|side down", "clean success")
    for member in ("side", "ship"):
        assert app.show(f"sides-web-{member}.service", "Result") == "success", "told to stop, and given the time"


PAGE = "echo $NANOD_FAILED_UNIT $NANOD_RESULT $NANOD_EXIT_CODE $NANOD_EXIT_STATUS >>{0}; cat >>{0}.lines"


def page(app: App) -> list[str]:
    found = app.machine.path(file(app, "page"))
    return sorted(found.read_text().splitlines()) if found.exists() else []


@pytest.mark.row("BX-23")
def test_each_member_that_gives_up_calls_once(on: Callable[[str], App]) -> None:
    """A process by its signal, an instance by its status, a sidecar that has a limit; whoever goes on is left alone."""
    app = on("calls")
    limit = {"delay": "100ms", "limit": 2, "window": "1min"}
    fails = f"[ ! -e {file(app, 'bad')}.$NANOD_REPLICA ] || {{ echo last words; exit 7; }}; exec {STAYS}"
    handler = PAGE.format(file(app, "page"))
    group = {"user": "root", "settle": "0s", "on_failure": handler, "processes": {"api": stays(restart=limit), "worker": stays()}}
    group["tasks"] = {"side": stays("prestart", restart=limit)}
    app.apply({"group": group, "many": service(command=fails, replicas=2, restart=limit, on_failure=handler)})
    others = app.run_of("group-worker", "many@1")
    for name in ("group-api", "group-side"):
        for _ in range(2):
            app.until_up(name)
            app.crash(name)
        until(lambda name=name: app.state(name) == "failed", f"{name} has given up")  # type: ignore[misc]
    app.machine.path(file(app, "bad") + ".2").touch()
    app.crash("many@2")
    until(lambda: app.state("many@2") == "failed", "the instance has given up")
    wanted = [
        "calls-group-api.service signal killed KILL",
        "calls-group-side.service signal killed KILL",
        "calls-many@2.service exit-code exited 7",
    ]
    until(lambda: len(page(app)) >= 3, "three calls")
    app.jobs_done()
    assert page(app) == wanted
    assert "last words" in app.machine.path(file(app, "page") + ".lines").read_text()
    assert app.run_of("group-worker", "many@1") == others
    shown = app.nanod("status", "calls", status=4).out
    assert "group/api" in shown or "api" in shown


@pytest.mark.row("BX-23")
def test_who_could_not_begin_calls_too(on257: Callable[[str], App]) -> None:
    """Its prestart task failed: systemd says nothing of it but that it did not start."""
    app = on257("begin")
    app.tells("init", 3)
    web = service(on_failure=PAGE.format(file(app, "page")), tasks={"init": ends("prestart", restart={"policy": "no"})})
    app.leave({"web": web})
    until(lambda: page(app), "the call")
    app.jobs_done()
    assert page(app) == ["begin-web.service dependency"]


@pytest.mark.row("BX-23")
@pytest.mark.parametrize(("policy", "comes_back"), [("no", ()), ("on-failure", ("crash",)), ("always", ("crash", "end"))])
def test_the_restart_policy_says_who_comes_back(on: Callable[[str], App], policy: str, comes_back: tuple[str, ...]) -> None:
    app = on(f"policy-{policy}")
    over = file(app, "over")
    command = f"[ ! -e {over} ] || rm {over}; while [ ! -e {over} ]; do sleep 0.1; done"
    web = {"processes": {"api": {"command": command}, "worker": stays()}, "user": "root", "settle": "0s"}
    app.apply({"web": web | {"restart": QUICK | {"policy": policy}}})
    for how in ("crash", "end"):
        before, other = app.run_of("web-api"), app.run_of("web-worker")
        if how == "crash":
            app.crash("web-api")
        else:
            app.machine.path(over).touch()
        if how in comes_back:
            until(lambda before=before: app.run_of("web-api") != before and app.is_up("web-api"), "it is back")  # type: ignore[misc]
        else:
            app.until_gone("web-api")
            app.jobs_done()
            assert app.state("web-api") == ("failed" if how == "crash" else "inactive")
            app.machine.path(over).unlink(missing_ok=True)
            app.systemctl("reset-failed", "*")
            app.systemctl("start", app.unit("web-api"))
        assert app.run_of("web-worker") == other
