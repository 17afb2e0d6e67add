"""What once went wrong on a real systemd, where everything looked right in the unit files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.steps import DIRECTORY, STEP, App

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

PLAIN = {"command": "sleep infinity", "working_dir": "/", "settle": "0s", "user": "www-data"}
ONCE = {"restart": {"policy": "no"}}
NOTES = f"{DIRECTORY}/odd"
CAPABILITIES = f"grep CapEff /proc/self/status >{NOTES}/"
LATE = "import time; time.sleep(600)"


@pytest.fixture(scope="module")
def app(any_machine: Machine) -> App:
    found = App.on(any_machine, "odd")
    any_machine.path(NOTES).mkdir()
    any_machine.path(NOTES).chmod(0o777)
    return found


def note(app: App, name: str) -> str:
    return app.machine.path(f"{NOTES}/{name}").read_text()


@pytest.mark.row("NK-10", "BX-16")
def test_root_keeps_its_capabilities_in_a_service_with_a_group(app: App) -> None:
    hooks = {"prestart": {"run": f"{CAPABILITIES}asked", "user": "root"}, "poststart": f"{CAPABILITIES}dropped"}
    app.apply(
        {
            "named": PLAIN | {"group": "nogroup", "hooks": hooks},
            "root": PLAIN | {"user": "root", "group": "nogroup", "hooks": {"prestart": f"{CAPABILITIES}own; id -gn >>{NOTES}/own"}},
        }
    )
    none = "CapEff:\t0000000000000000"
    assert note(app, "dropped").strip() == none
    assert not note(app, "asked").startswith(none)
    assert not note(app, "own").startswith(none)
    assert note(app, "own").endswith("nogroup\n")
    app.remove()


@pytest.mark.row("NK-13")
def test_prestop_hooks_of_a_service_with_a_umask_share_their_deadline(app: App) -> None:
    """/run is empty after a boot, so it is the first stop that makes the directory, under the unit's UMask=."""
    app.machine.run(["rm", "-rf", "/run/nanod/stopping"])
    hooks = [{"name": name, "run": f"cat /run/nanod/stopping/$NANOD_UNIT >{NOTES}/{name}"} for name in ("second", "first")]
    app.apply({"web": PLAIN | {"systemd": {"Service": {"UMask": "0077"}}, "hooks": {"prestop": hooks}}})
    app.systemctl("stop", app.unit("web"))
    first, second = (note(app, name).split() for name in ("first", "second"))
    assert first == second
    assert first[0].isdecimal()
    assert first[1] == "stop"
    app.remove()


@pytest.mark.row("BX-7")
def test_a_short_deploy_scoped_hook_behind_a_gate_says_what_it_waited_for(machine: Machine) -> None:
    app = App.on(machine, "gated")
    done = app.apply(
        {
            "db": PLAIN | ONCE | {"health": {"file": "/nonexistent", "interval": "100ms", "start_timeout": "1s"}},
            "web": PLAIN
            | {
                "requires": ["db"],
                "restart": {"window": "12s", "limit": 1},
                "hooks": {"prestart": {"run": "true", "scope": "deploy", "timeout": "100ms"}},
            },
        },
        status=4,
    )
    assert "gated-db.service did not come up" in done.out, done.out
    assert app.traces() == []


@pytest.mark.row("BX-3", "BX-7")
def test_ready_is_waited_for_as_long_as_asked_and_a_taken_port_is_no_health(app: App) -> None:
    """A start of 90 s would be no answer to 1 s, and a poststart hook would register a service that is dead."""
    app.machine.run(["systemd-run", "--quiet", "--unit=taken", "/usr/bin/python3", "-m", "http.server", "8123"])
    app.machine.run(
        [
            "sh",
            "-c",
            "until curl -so /dev/null http://127.0.0.1:8123/ || python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8123))' 2>/dev/null; do sleep 0.1; done",
        ]
    )
    done = app.apply(
        {
            "late": PLAIN | ONCE | {"command": ["/usr/bin/python3", "-c", LATE], "health": {"notify": True, "start_timeout": "1s"}},
            "port": PLAIN | ONCE | {"command": "exit 98", "health": {"tcp": 8123}, "hooks": {"poststart": f"touch {NOTES}/registered"}},
            "always": PLAIN | {"command": "exit 0", "restart": {"policy": "always", "delay": "50ms", "limit": 2, "window": "60s"}, "settle": "1s"},
        },
        status=4,
    )
    assert "did not say that it is ready (READY=1)" in done.out
    assert "exited with status 98" in done.out
    assert "exited with status 0" in done.out
    assert not app.machine.path(f"{NOTES}/registered").exists()
    app.machine.run(["systemctl", "stop", "taken"])
    assert app.traces() == []


@pytest.mark.row("BX-7")
def test_an_empty_unit_file_is_put_back_and_its_service_runs_on(app: App) -> None:
    app.apply({"web": PLAIN})
    before = app.pid("web")
    app.machine.path("/etc/systemd/system/odd-web.service").write_text("")
    app.apply()
    assert app.pid("web") == before
    assert app.show("web", "NeedDaemonReload") == "no"
    app.remove()


@pytest.mark.row("BX-24")
def test_ready_hooks_run_once_per_start_whoever_else_starts(app: App) -> None:
    """A start of what runs already is no job, but the start of all that it Wants= is; and a dependent's crash restart wants its dependency."""
    app.clear()
    hooks = {"ready": [STEP, {"name": "bad", "run": "exit 3"}]}
    app.apply({"db": PLAIN | {"hooks": hooks}, "web": PLAIN | {"requires": ["db"], "hooks": hooks, "restart": {"delay": "50ms"}}})
    app.until_step("ready db")
    app.until_step("ready web")
    app.systemctl("start", "odd.target", app.unit("db"))
    app.crash("web")
    app.until_step("ready web", 2)
    app.apply()
    assert sorted(app.steps()) == ["ready db", "ready web", "ready web"]
    app.crash("db")
    app.until_step("ready db", 2)
    assert app.steps().count("ready web") == 2
    app.remove()
