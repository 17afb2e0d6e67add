"""Liveness: what is found sick is restarted, or stopped, once; and nothing else is touched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.groups import STAYS
from tests.lab.groups import Group as App
from tests.lab.steps import DIRECTORY, until

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.row("BX-14")
QUICK = {"delay": "100ms", "limit": 20, "window": "20s"}
FOREVER = "while [ -e {0} ]; do sleep 0.1; done"


def flag(app: App, name: str = "web") -> str:
    """The file that a service is healthy by, told by the test."""
    return f"{DIRECTORY}/{app.name}.{name}.ok"


def well(app: App, name: str = "web") -> None:
    app.machine.path(flag(app, name)).touch()


def sick(app: App, name: str = "web") -> None:
    app.machine.path(flag(app, name)).unlink()


def probed(app: App, name: str = "web", **liveness: Any) -> dict[str, Any]:
    """The keys of what is well while its file is there."""
    return {"file": flag(app, name), "interval": "50ms", "liveness": {"interval": "100ms", "failures": 2} | liveness}


def service(app: App, name: str = "web", **keys: Any) -> dict[str, Any]:
    return {"command": [STAYS], "user": "root", "settle": "0s", "restart": QUICK, "health": probed(app, name)} | keys


def noted(app: App) -> dict[str, Any]:
    """A probe that says when it fails, and goes on for a while."""
    probe = f"test -e {flag(app)} || {{ echo sick >>{app.log}; exit 1; }}"
    return {"exec": probe, "interval": "50ms", "liveness": {"interval": "100ms", "failures": 15}}


def alive(app: App, row: str = "web") -> str:
    return f"{app.name}-{row}-alive"


def probes(app: App, row: str = "web") -> None:
    """Wait until three more probes have ended."""
    for _ in range(3):
        before = app.show(f"{alive(app, row)}.service", "InvocationID")
        until(lambda before=before: app.show(f"{alive(app, row)}.service", "InvocationID") != before, "another probe")  # type: ignore[misc]


def actions(app: App, row: str = "web") -> list[str]:
    lines = app.journal("--output=json", "NANOD_PHASE=liveness", f"NANOD_UNIT={app.unit(row)}").splitlines()
    return [json.loads(line)["NANOD_TEXT"] for line in lines]


def units(app: App) -> list[str]:
    """What the host has of liveness: files, and units that PID 1 knows."""
    return [name for name in app.traces() if "alive" in name and not name.startswith("generations/")]


def test_a_sick_service_is_restarted_once_and_nothing_else_is(on: Callable[[str], App]) -> None:
    app = on("sick")
    for name in ("web", "other"):
        well(app, name)
    web = service(app, hooks={"prestop": f"echo prestop $NANOD_STOP_REASON >>{app.log}"})
    app.apply({"web": web, "other": service(app, "other", requires=["web"])})
    probes(app)
    before, other = app.pid("web"), app.run_of("other")
    sick(app)
    app.until_step("prestop restart")
    until(lambda: app.state("web") == "activating", "it waits for health again")
    well(app)
    app.until_up("web")
    probes(app)
    assert app.pid("web") != before
    assert app.run_of("other") == other
    assert app.steps().count("prestop restart") == 1
    why = f"file {flag(app)}: no such file (2 times in a row); restarted it"
    assert actions(app) == [why]
    assert actions(app, "other") == []
    # Where an administrator looks.
    assert f"nanod: liveness: {why}" in app.journal("--unit=sick-web", "--priority=err")
    assert why in app.nanod("status", "sick").out
    assert why in app.nanod("history", "sick").out
    assert [item["text"] for item in json.loads(app.nanod("history", "--json", "sick").out)["liveness"]] == [why]
    data = json.loads(app.nanod("status", "--json", "sick").out)["apps"][0]["services"][0]
    found = next(hook for hook in data["hooks"] if hook["phase"] == "liveness")
    assert (found["name"], found["result"], found["text"]) == ("file", "failed", why)
    assert app.journal("--unit=sick-web-alive.service", "--output=short", "_PID=1") == "", "each probe leaves no lines of its own"


def test_one_good_probe_is_health_again(on252: Callable[[str], App]) -> None:
    """Every second one fails, and two in a row would have to."""
    app = on252("flaky")
    count = f"{DIRECTORY}/flaky.count"
    probe = f"n=$(cat {count} 2>/dev/null || echo 0); echo $((n + 1)) >{count}; [ $((n % 2)) -eq 0 ]"
    health = {"exec": probe, "interval": "50ms", "liveness": {"interval": "50ms", "failures": 2}}
    app.apply({"web": service(app, health=health)})
    before = app.run_of("web")
    until(lambda: int(app.machine.path(count).read_text() or 0) > 12, "a dozen probes")
    assert app.run_of("web") == before
    assert actions(app) == []


def test_what_is_on_its_way_down_does_not_come_back(on: Callable[[str], App]) -> None:
    """The probe has begun, the stop comes, and its prestop hook takes longer than the probe."""
    app = on("down")
    well(app)
    held = f"{DIRECTORY}/down.held"
    app.machine.path(held).touch()
    hooks = {"prestop": f"echo prestop $NANOD_STOP_REASON >>{app.log}; " + FOREVER.format(held)}
    app.apply({"web": service(app, hooks=hooks, health=noted(app))})
    probes(app)
    sick(app)
    app.until_step("sick")
    app.systemctl("--no-block", "stop", "down-web")
    app.until_step("prestop stop")
    until(lambda: app.state("down-web-alive.service") == "inactive", "the probe has ended")
    assert app.state("web") == "deactivating"
    assert actions(app) == []
    app.machine.path(held).unlink()
    app.until_gone("web")
    app.jobs_done()
    assert app.state("web") == "inactive"
    assert app.state("down-web-alive.timer") == "inactive"
    assert "down up" not in app.steps()[1:]


def test_beside_a_job_of_somebody_else_nothing_is_done(on: Callable[[str], App]) -> None:
    """The whole app stops, and the sick service still waits for another one to go: its job must stay what it is."""
    app = on("beside")
    held = f"{DIRECTORY}/beside.held"
    app.machine.path(held).touch()
    for name in ("web", "front"):
        well(app, name)
    front = service(app, "front", requires=["web"], hooks={"prestop": f"echo front stops >>{app.log}; " + FOREVER.format(held)})
    app.apply({"web": service(app, health=noted(app)), "front": front})
    probes(app)
    sick(app)
    app.until_step("sick")
    app.systemctl("--no-block", "stop", "beside.target")
    app.until_step("front stops")
    until(lambda: app.state("beside-web-alive.service") == "inactive", "the probe has ended")
    assert app.state("web") == "active"
    (action,) = actions(app)
    assert "left it alone, for the try-restart was refused" in action
    app.machine.path(held).unlink()
    app.until_gone("web", "front")
    app.jobs_done()
    assert app.state("web") == "inactive"


def test_restarts_are_bounded_by_the_start_limit(on: Callable[[str], App]) -> None:
    """Healthy at its start and sick soon after, each time: it gives up, and on_failure says so."""
    app = on("again")
    page = f"echo $NANOD_FAILED_UNIT $NANOD_RESULT >>{DIRECTORY}/again.page"
    web = service(app, restart={"delay": "100ms", "limit": 3, "window": "1min"}, on_failure=page)
    web["command"] = f"touch {flag(app)}; sleep 0.5; rm {flag(app)}; exec {STAYS}"
    app.apply({"web": web})
    until(lambda: app.state("web") == "failed", "it has given up", timeout=30)
    until(app.machine.path(f"{DIRECTORY}/again.page").exists, "the call for help")
    app.jobs_done()
    assert app.machine.path(f"{DIRECTORY}/again.page").read_text() == "again-web.service start-limit-hit\n"
    assert len(actions(app)) == 3


def test_the_action_stop_stops_and_none_only_says(on257: Callable[[str], App]) -> None:
    app = on257("acts")
    for name in ("web", "api"):
        well(app, name)
    hooks = {"prestop": f"echo prestop $NANOD_STOP_REASON >>{app.log}"}
    app.apply(
        {"web": service(app, hooks=hooks, health=probed(app, action="stop")), "api": service(app, "api", health=probed(app, "api", action="none"))}
    )
    before = app.run_of("api")
    for name in ("web", "api"):
        sick(app, name)
    app.until_gone("web")
    app.jobs_done()
    assert app.state("web") == "inactive"
    assert app.steps().count("prestop stop") == 1
    until(lambda: len(actions(app, "api")) > 1, "said again while it lasts")
    assert app.run_of("api") == before
    assert "left it alone" in app.systemctl("status", "acts-api")
    assert actions(app, "api")[0].endswith("(2 times in a row); left it alone")
    assert actions(app)[0].endswith("stopped it")


def test_members_of_a_group_each_have_their_own(on252: Callable[[str], App]) -> None:
    """A process, a sidecar and an instance: only the sick one restarts."""
    app = on252("parts")
    for name in ("api", "side", "web"):
        well(app, name)
    processes = {"api": {"command": [STAYS], "health": probed(app, "api")}, "worker": {"command": [STAYS]}}
    side = {"command": [STAYS], "lifecycle": {"hook": "prestart", "sidecar": True}, "health": probed(app, "side")}
    command = f"touch {DIRECTORY}/parts.$NANOD_REPLICA; exec {STAYS}"
    there = f"test -e {DIRECTORY}/parts.$NANOD_REPLICA"
    many = service(app, replicas=2, health={"exec": there, "interval": "50ms", "liveness": {"interval": "100ms", "failures": 2}})
    group = {"user": "root", "settle": "0s", "restart": QUICK, "processes": processes, "tasks": {"side": side}}
    app.apply({"group": group, "many": many | {"command": command}})
    rows = ("group-api", "group-worker", "group-side", "many@1", "many@2")
    for name, file in (("group-api", flag(app, "api")), ("group-side", flag(app, "side")), ("many@2", f"{DIRECTORY}/parts.2")):
        before = app.run_of(*rows)
        app.machine.path(file).unlink()
        until(lambda name=name, before=before: app.run_of(name)[name] != before[name], f"{name} restarts")  # type: ignore[misc]
        app.machine.path(file).touch()
        app.until_up(name)
        app.jobs_done()
        after = app.run_of(*rows)
        assert {row for row in rows if after[row] != before[row]} == {name}
    assert "liveness/exec" in app.nanod("status", "parts").out


def test_it_comes_to_a_running_service_and_goes_again(on252: Callable[[str], App]) -> None:
    """Without touching the process: at the first apply, when it changes, and when a hand has stopped the timer."""
    app = on252("later")
    well(app)
    plain = service(app) | {"health": {"file": flag(app), "interval": "50ms"}}
    app.apply({"web": plain})
    before = app.run_of("web")
    app.apply({"web": service(app)})
    probes(app)
    assert "nothing to do" in app.apply().out
    app.apply({"web": service(app, health=probed(app, interval="150ms"))})
    probes(app)
    app.systemctl("stop", "later-web-alive.timer")
    assert "later-web-alive.timer" in app.apply().out
    probes(app)
    # A failed apply takes away what it brought, and nothing else.
    app.apply({"web": plain})
    assert units(app) == []
    app.apply({"web": service(app), "bad": {"command": ["/bin/false"], "user": "root", "restart": {"policy": "no"}}}, status=4)
    assert units(app) == []
    assert app.run_of("web") == before


def test_it_sees_what_the_service_sees(on257: Callable[[str], App]) -> None:
    """Its /tmp, behind PrivateTmp=, and as its user."""
    app = on257("inside")
    web = service(app, command=f"touch /tmp/inside; exec {STAYS}", user="www-data")
    web["health"] = {"exec": "test -e /tmp/inside && test $(id -un) = www-data", "liveness": {"interval": "100ms", "failures": 1}}
    app.apply({"web": web})
    before = app.run_of("web")
    probes(app)
    assert app.run_of("web") == before
    assert actions(app) == []
    assert not app.machine.path("/tmp/inside").exists()


@pytest.mark.parametrize(
    ("any_machine", "user"),
    [("machine257", {"user": "www-data"}), ("machine", {"dynamic_user": True, "sandbox": "strict"})],
    indirect=["any_machine"],
    ids=["named", "dynamic"],
)
def test_a_command_asks_with_what_the_service_has(on: Callable[[str], App], user: dict[str, Any]) -> None:
    """Its variables, those of its files, and its runtime directory; but no secret, which the start gate has not either."""
    app = on(f"asks-{len(user)}")
    app.machine.write("/etc/nanod/asks.secret", "sesame", mode=0o600)
    app.machine.write("/etc/nanod/asks.env", "FROM=file\n")
    ask = 'test "$FROM $SAID" = "file so" && test -e "$NANOD_RUN_DIR/up"'
    web = service(app, command='touch "$NANOD_RUN_DIR/up"; exec sleep infinity', runtime_dir=True, environment={"SAID": "so"}) | user
    web |= {"environment_files": ["asks.env"], "credentials": {"key": "asks.secret"}}
    web["health"] = {"exec": ask, "interval": "50ms", "liveness": {"interval": "100ms", "failures": 1}}
    if "dynamic_user" in user:
        del web["user"]
    health = web["health"]
    refused = app.apply({"web": web | {"health": health | {"exec": f'cat "$CREDENTIALS_DIRECTORY/key"; {ask}'}}}, status=2).err
    assert "a probe cannot read credentials: it runs beside the service, and without its secrets" in refused
    app.apply({"web": web})
    before = app.run_of("web")
    probes(app)
    assert app.run_of("web") == before
    assert actions(app) == []
    app.machine.path(f"/run/{app.name}/web/up").unlink()
    until(lambda: app.run_of("web") != before, "sick without its file")
    assert actions(app)[0].endswith("; restarted it")


def test_it_goes_on_after_a_crash_and_without_nanod(on257: Callable[[str], App]) -> None:
    app = on257("goes")
    well(app)
    app.apply({"web": service(app)})
    app.crash("web")
    app.until_up("web")
    probes(app)
    assert actions(app) == [], "a crash is systemd's"
    before = app.pid("web")
    sick(app)
    until(lambda: actions(app), "found sick")
    well(app)
    app.until_up("web")
    assert app.pid("web") != before
