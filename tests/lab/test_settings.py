"""Settings on a real systemd: a file that is part of the transaction, read by the service, its hooks and its tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.crashes import cut
from tests.lab.steps import DIRECTORY, GIVES_UP, App

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

UNITS = "/etc/systemd/system"


def settings_of(app: App, service: str = "web") -> Any:
    return json.loads(app.machine.path(f"{UNITS}/{app.name}-{service}.settings.json").read_text())


def reader(word: str) -> str:
    """A hook that notes what it reads of the settings."""
    return f'echo "{word} $(cat "$NANOD_SETTINGS" | tr -d " \\n")" >>{DIRECTORY}/$NANOD_APP.log'


@pytest.mark.row("MK-13", "MK-4")
def test_the_service_its_hooks_and_its_tasks_read_one_file(machine: Machine) -> None:
    app = App.on(machine, "reads")
    said = {"common": {"log": "info", "größe": 3}, "native": {"workers": [1, None, True]}, "own": {"deep": {"er": "50% $HOME"}}}
    command = f'test "$NANOD_CONFIG" = "$NANOD_SETTINGS"; {reader("main")}; exec sleep 99'
    hooks = {phase: reader(phase) for phase in ("prestart", "poststart", "prestop", "poststop")}
    task = {"command": reader("task"), "lifecycle": {"hook": "prestart"}}
    user = {"user": "nobody", "sandbox": "strict", "volume": DIRECTORY}
    app.apply({"web": {"command": command, "settings": said, "hooks": hooks, "tasks": {"look": task}, "settle": "1s", **user}})
    assert settings_of(app) == said
    file = machine.path(f"{UNITS}/reads-web.settings.json")
    assert file.stat().st_mode & 0o7777 == 0o644
    app.systemctl("stop", app.unit("web"))
    compact = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")).replace(" ", "")
    assert app.steps() == [f"{word} {compact}" for word in ("task", "prestart", "main", "poststart", "prestop", "poststop")]
    assert app.nanod("plan", app.spec).out  # it is stopped, and the file is none of the reasons
    app.remove()
    assert not file.exists()


@pytest.mark.row("MK-13", "BX-8")
def test_changed_settings_reload_where_there_is_a_reload_hook_and_restart_where_not(machine: Machine) -> None:
    app = App.on(machine, "takes")
    reloads = app.service("reloads", settings={"a": 1})
    restarts = app.service("restarts", settings={"a": 1}, hooks=())
    app.apply({"reloads": reloads, "restarts": restarts})
    pids = {name: app.pid(name) for name in ("reloads", "restarts")}
    app.clear()
    reloads["settings"], restarts["settings"] = {"a": 2, "b": None}, {"a": {"b": 2}}
    app.write({"reloads": reloads, "restarts": restarts})
    planned = json.loads(app.nanod("plan", "--json", app.spec).out)
    steps = {(step["action"], step.get("unit")): step for step in planned["steps"]}
    assert set(steps) == {
        ("write", "takes-reloads.settings.json"),
        ("write", "takes-restarts.settings.json"),
        ("reload", "takes-reloads.service"),
        ("restart", "takes-restarts.service"),
    }
    assert '+  "a": 2' in steps["write", "takes-reloads.settings.json"]["diff"]
    assert [cause["kind"] for cause in steps["reload", "takes-reloads.service"]["causes"]] == ["settings-changed"]
    app.apply()
    assert "reload reloads" in app.steps()
    assert app.pid("reloads") == pids["reloads"]
    assert app.pid("restarts") != pids["restarts"]
    assert (settings_of(app, "reloads"), settings_of(app, "restarts")) == ({"a": 2}, {"a": {"b": 2}})
    assert "nothing to do" in app.apply().out
    app.remove()


@pytest.mark.row("MK-13", "BX-2", "BX-4")
def test_settings_go_back_with_what_failed(machine: Machine) -> None:
    app = App.on(machine, "back")
    web, db = app.service("web", settings={"a": 1}), app.service("db", settings={"b": 1}, health=None)
    app.apply({"web": web, "db": db})
    pid = app.pid("db")
    db["settings"] = {"b": 2}
    worse = web | {"settings": {"a": 2}, "hooks": {"prestart": "exit 1"}, "restart": GIVES_UP}
    app.apply({"web": worse, "db": db}, status=4)
    assert (settings_of(app), settings_of(app, "db")) == ({"a": 1}, {"b": 1})
    assert app.pid("db") == pid
    # A reload that fails leaves the old settings in force, and on disk.
    app.exits("db", "reload", 1)
    app.apply({"web": web, "db": db}, status=4)
    assert settings_of(app, "db") == {"b": 1}
    app.exits("db", "reload", 0)
    app.apply()
    app.nanod("rollback", "back")
    assert settings_of(app, "db") == {"b": 1}
    app.remove()


@pytest.mark.row("MK-13")
def test_what_somebody_did_to_the_file_shows_and_is_put_right(machine: Machine) -> None:
    app = App.on(machine, "drift")
    web = app.service("web", settings={"a": 1, "b": "x"}, hooks=())
    app.apply({"web": web})
    file = machine.path(f"{UNITS}/drift-web.settings.json")
    file.write_text('{"a": 2}')
    shown = app.nanod("status", "drift", status=None).out
    assert "drift-web.settings.json" in shown
    said = app.apply().out
    assert "a, b was edited by hand" in said
    assert settings_of(app) == {"a": 1, "b": "x"}
    pid = app.pid("web")
    file.unlink()
    app.apply()
    assert settings_of(app) == {"a": 1, "b": "x"}
    assert app.pid("web") == pid, "what runs has read it"
    # A file of somebody else's is not taken over; that of a service whose settings are gone goes.
    web.pop("settings")
    app.apply({"web": web})
    assert not file.exists()
    file.write_text("mine")
    assert "drift-web.settings.json" in app.apply({"web": web | {"settings": {"a": 1}}}, status=1).err
    assert file.read_text() == "mine"
    app.remove()
    assert file.read_text() == "mine"
    file.unlink()


@pytest.mark.row("MK-13", "BX-2")
def test_without_its_records_the_file_is_still_the_app_s(machine: Machine) -> None:
    app = App.on(machine, "lost")
    app.apply({"web": app.service("web", settings={"a": 1})})
    machine.run(["rm", "-r", "/var/lib/nanod/apps/lost"])
    pid = app.pid("web")
    app.apply()
    assert app.pid("web") == pid
    machine.run(["rm", "-r", "/var/lib/nanod/apps/lost"])
    app.remove()
    assert app.traces() == []


@pytest.mark.row("MK-13", "BX-2")
def test_a_killed_apply_leaves_the_old_settings(machine: Machine) -> None:
    app = App.on(machine, "killed")
    web = app.service("web", settings={"a": 1})
    app.apply({"web": web})
    pid = app.pid("web")
    app.write({"web": web | {"settings": {"a": 2}}})
    for point in ("renamed", "installed", "started"):
        assert cut(app, point, "apply", app.spec), point
        app.nanod("recover")
        assert settings_of(app) == {"a": 1}, point
        assert app.pid("web") == pid, point
    app.apply()
    assert settings_of(app) == {"a": 2}
    app.remove()


@pytest.mark.row("MK-13")
def test_a_megabyte_of_settings(machine: Machine) -> None:
    app = App.on(machine, "large")
    said = {f"key{number}": {"text": "x" * 900, "list": [number, "é"]} for number in range(900)}
    app.apply({"web": app.service("web", settings=said, hooks=())})
    assert settings_of(app) == said
    assert "nothing to do" in app.apply().out
    assert json.loads(app.nanod("explain", "--json", "large").out)["units"]["large-web.settings.json"][0]["text"] == "{"
    app.remove()


@pytest.mark.row("MK-13")
def test_instances_and_sidecars_take_new_settings_in(machine: Machine) -> None:
    app = App.on(machine, "many")
    sidecar = {"command": ["/bin/sleep", "99"], "lifecycle": {"hook": "prestart", "sidecar": True}}
    web = app.service("web", settings={"a": 1}, hooks=(), replicas=2, health=None, tasks={"side": sidecar}, rolling={"min_healthy_time": "0s"})
    app.apply({"web": web})
    units = ("many-web@1.service", "many-web@2.service", "many-web-side@1.service", "many-web-side@2.service")
    before = [app.pid(unit) for unit in units]
    app.apply({"web": web | {"settings": {"a": 2}}})
    assert not set(before) & {app.pid(unit) for unit in units}
    app.remove()
