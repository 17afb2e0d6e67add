"""A service of several processes: hooks of each and hooks around all, what a crash and a change touch, and who is named when one is down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.crashes import seen
from tests.lab.steps import App, until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.rehearse.machine import Machine

AROUND = ("prestart", "poststart", "ready", "reload", "prestop", "poststop")
OWN = ("prestart", "poststart", "prestop", "poststop")
UP = ["prestart", "api-prestart", "worker-prestart", "api-poststart", "worker-poststart", "poststart", "ready"]
DOWN = ["prestop", "api-prestop", "worker-prestop", "api-poststop", "worker-poststop", "poststop"]


def process(app: App, name: str, **keys: Any) -> dict[str, Any]:
    return {"command": ["/bin/sleep", "infinity"], "hooks": {phase: f"echo {name}-{phase} >>{app.log}" for phase in OWN}} | keys


def web(app: App, *, api: Mapping[str, Any] | None = None, worker: Mapping[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """Two processes, one with health; each hook writes down whose it is."""
    found: dict[str, Any] = {
        "user": "root",
        "sandbox": "off",
        "settle": "0s",
        "restart": {"delay": "100ms", "limit": 2, "window": "20s"},
        "hooks": {phase: f"echo {phase} >>{app.log}" for phase in AROUND},
        "processes": {
            "api": process(app, "api", health={"exec": "true", "interval": "50ms"}) | dict(api or {}),
            "worker": process(app, "worker") | dict(worker or {}),
        },
    }
    return found | keys


def in_phases(steps: list[str], wanted: list[str]) -> None:
    """What is done once stands in its place; the processes' own hooks are beside one another."""
    assert sorted(steps) == sorted(wanted)
    for name in ("api", "worker"):
        mine = [step for step in wanted if step.startswith(name) or "-" not in step]
        assert [step for step in steps if step in mine] == mine


def took(app: App) -> list[str]:
    found = app.steps()
    app.clear()
    return found


@pytest.mark.row("NM-2")
def test_hooks_of_each_and_around_all(any_machine: Machine) -> None:
    app = App.on(any_machine, "hooks")
    app.apply({"web": web(app)})
    until(lambda: "ready" in app.steps(), "ready")
    in_phases(took(app), UP)
    assert app.is_up("web")
    app.systemctl("reload", "hooks-web")
    assert took(app) == ["reload"]
    app.systemctl("restart", "hooks-web")
    app.until_up("web")
    until(lambda: "ready" in app.steps(), "ready")
    steps = took(app)
    in_phases(steps[: len(DOWN)], DOWN)
    in_phases(steps[len(DOWN) :], UP)
    app.remove()
    in_phases(took(app), DOWN)
    assert app.traces() == []


@pytest.mark.row("NM-2")
def test_a_crash_and_a_change_touch_one(machine: Machine) -> None:
    app = App.on(machine, "alone")
    after = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s", "requires": ["web"]}
    app.apply({"web": web(app), "after": after})
    until(lambda: "ready" in app.steps(), "ready")
    pids = {name: app.pid(name) for name in ("web-api", "web-worker", "after")}
    app.clear()
    app.crash("web-api")
    app.until_up("web-api")
    until(lambda: "api-poststart" in app.steps(), "its hooks")
    assert took(app) == ["api-poststop", "api-prestart", "api-poststart"]
    pids["web-api"] = app.pid("web-api")
    app.apply({"web": web(app, worker={"environment": {"A": "1"}}), "after": after})
    assert took(app) == ["worker-prestop", "worker-poststop", "worker-prestart", "worker-poststart"]
    pids["web-worker"] = app.pid("web-worker")
    more = web(app, worker={"environment": {"A": "1"}})
    more["processes"]["extra"] = process(app, "extra")
    app.apply({"web": more, "after": after})
    assert took(app) == ["extra-prestart", "extra-poststart"]
    assert app.is_up("web-extra")
    app.apply({"web": web(app, worker={"environment": {"A": "1"}}), "after": after})
    assert took(app) == ["extra-prestop", "extra-poststop"]
    assert {name: app.pid(name) for name in pids} == pids
    assert "nothing to do" in app.apply().out
    app.remove()


def test_changed_hooks_around_all(machine: Machine) -> None:
    """Prestart comes before all of them, so they start after it; the other ones wait for their next time."""
    app = App.on(machine, "around")
    service = web(app)
    app.apply({"web": service})
    pids = app.pid("web-api"), app.pid("web-worker")
    until(lambda: "ready" in app.steps(), "ready")
    app.clear()
    service["hooks"] |= {phase: f"echo {phase}-2 >>{app.log}" for phase in ("poststart", "prestop", "poststop")}
    app.apply({"web": service})
    assert (app.pid("web-api"), app.pid("web-worker")) == pids
    assert took(app) == []
    service["hooks"] |= {"prestart": f"echo prestart-2 >>{app.log}"}
    app.apply({"web": service})
    until(lambda: "ready" in app.steps(), "ready")
    steps = [step for step in took(app) if not step.startswith(("api", "worker"))]
    assert steps == ["prestop-2", "poststop-2", "prestart-2", "poststart-2", "ready"]
    # What fails before all of them goes back, with the hooks of what ran.
    before = seen(app)
    bad = service | {"hooks": service["hooks"] | {"prestart": "exit 3"}}
    app.apply({"web": bad}, status=4)
    app.until_up("web")
    assert seen(app).same() == before.same()
    app.remove()


@pytest.mark.row("NM-2", "BX-8")
def test_what_a_process_does_not_say_its_service_says(machine: Machine) -> None:
    app = App.on(machine, "shared")
    for name in ("reloads", "restarts"):
        machine.path(f"/etc/shared-{name}").write_text("1")
    keys: dict[str, Any] = {
        "stop": {"timeout": "7s"},
        "resources": {"tasks_max": 50},
        "systemd": {"Service": {"Nice": "5"}},
        "reload_on": ["/etc/shared-reloads"],
        "restart_on": ["/etc/shared-restarts"],
        "runtime_dir": True,
    }
    # The hooks have time of their own, which is longer.
    app.apply({"web": web(app, api={"hooks": {}}, worker={"stop": {"timeout": "9s"}, "hooks": {}}, **keys)})
    assert (app.show("web-api", "TimeoutStopUSec"), app.show("web-worker", "TimeoutStopUSec")) == ("7s", "9s")
    assert (app.show("web-api", "Nice"), app.show("web-worker", "TasksMax")) == ("5", "50")
    assert machine.path("/run/shared/web").is_dir()
    before = app.pid("web-api"), app.pid("web-worker")
    until(lambda: "ready" in app.steps(), "ready")
    app.clear()
    machine.path("/etc/shared-reloads").write_text("2")
    app.apply()
    assert took(app) == ["reload"]
    assert (app.pid("web-api"), app.pid("web-worker")) == before
    machine.path("/etc/shared-restarts").write_text("2")
    app.apply()
    assert app.pid("web-api") != before[0]
    assert app.pid("web-worker") != before[1]
    assert "nothing to do" in app.apply().out
    app.remove()
    assert not machine.path("/run/shared/web").exists()


@pytest.mark.row("NM-2", "BX-11", "BX-7")
def test_who_is_down_is_named(machine: Machine) -> None:
    """A service is healthy when all its processes are; who requires it waits for all of them, and hears which one it was."""
    app = App.on(machine, "named")
    after = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s", "requires": {"web": {"condition": "healthy"}}}
    said = app.leave({"web": web(app, worker={"command": ["/bin/false"]}), "after": after})
    assert "cannot start named-web-worker: it exited with status 1" in said.out
    assert app.is_up("web-api")
    assert not app.is_up("after")
    until(lambda: app.state("web") == "failed", "it waits for nothing more")
    assert app.is_up("web-api")
    assert [reason.partition(",")[0] for reason in app.last()["causes"].values()]
    app.systemctl("stop", "named.target")
    app.apply({"web": web(app), "after": after})
    assert app.is_up("after")
    # By systemctl too: the gate of who requires it names the one.
    machine_unit = app.unit("web-worker")
    app.systemctl("stop", "named-after", machine_unit)
    app.systemctl("start", "--no-block", "named-after")
    until(lambda: app.show("after", "SubState") == "start-pre", "its gate")
    app.systemctl("start", machine_unit)
    app.until_up("after")
    app.remove()


def test_several_processes_instead_of_one_and_back(machine257: Machine) -> None:
    app = App.on(machine257, "become")
    plain = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s", "hooks": {"prestop": f"echo plain-prestop >>{app.log}"}}
    app.apply({"web": plain})
    before = seen(app)
    app.clear()
    app.apply({"web": web(app, worker={"command": ["/bin/false"], "hooks": {}})}, status=4)
    assert seen(app).same() == before.same()
    assert took(app)[0] == "plain-prestop"
    said = app.apply({"web": web(app)})
    assert "stands for several from now on" in said.out
    until(lambda: "ready" in app.steps(), "ready")
    steps = took(app)
    assert steps[0] == "plain-prestop"
    in_phases(steps[1:], UP)
    said = app.apply({"web": plain})
    assert "runs by itself from now on" in said.out
    in_phases(took(app), DOWN)
    assert seen(app).same() == before.same()
    app.remove()


@pytest.mark.row("NM-2", "BX-3")
def test_what_comes_late_is_waited_for_and_nobody_restarts(machine: Machine) -> None:
    """One fails again and again: what stands for all says so and waits on, and passes on no restart."""
    app = App.on(machine, "late")
    machine.write(
        "/etc/systemd/system/late-web.service.d/soon.conf",
        "[Service]\nExecStart=\nExecStart=+/var/lib/nanod/lib/1/await 1 coming of:late-web.service\n",
    )
    machine.path("/srv/steps/late-open").unlink(missing_ok=True)
    worker = {
        "command": "test -e /srv/steps/late-open || exit 1; exec sleep infinity",
        "health": {"exec": "test -e /srv/steps/late-open", "interval": "50ms"},
        "restart": {"delay": "500ms", "limit": 100, "window": "2min"},
        "hooks": {},
    }
    app.write({"web": web(app, worker=worker)})
    nanod = machine.popen(["nanod", "apply", app.spec])
    until(lambda: app.journal("--boot", "--unit=late-web.service").count("is not active") >= 2, "two waits", timeout=40)
    pid = app.pid("web-api")
    assert "poststart" not in app.steps()
    machine.path("/srv/steps/late-open").touch()
    assert nanod.wait(60) == 0
    app.until_up("web")
    assert app.pid("web-api") == pid
    until(lambda: "ready" in app.steps(), "ready")
    assert app.steps().count("api-prestart") == 1
    assert [step for step in app.steps() if "-" not in step] == ["prestart", "poststart", "ready"]
    app.remove()
    assert app.traces() == ["late-web.service.d"]
    machine.path("/etc/systemd/system/late-web.service.d/soon.conf").unlink()
    machine.path("/etc/systemd/system/late-web.service.d").rmdir()
