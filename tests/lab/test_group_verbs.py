"""Groups as people see and steer them: status, start, stop, restart, run, logs, provision, plan and explain of services with tasks, processes and replicas."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from tests.lab.steps import App, until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

_HEAD = "defaults: {user: root, sandbox: 'off', settle: 0s, restart: {delay: 100ms, limit: 3}}\n"
AROUND = """\
services:
  db: {command: exec sleep infinity}
  web:
    requires: [db]
    working_dir: /srv/steps
    command: "echo main >>LOG; exec sleep infinity"
    hooks: {prestart: "echo prestart >>LOG", poststop: "echo poststop >>LOG"}
    tasks:
      init: {lifecycle: {hook: prestart}, restart: {limit: 3, delay: 50ms}, command: "echo init $NANOD_TASK >>LOG"}
      side: {lifecycle: {hook: prestart, sidecar: true}, command: "echo side >>LOG; exec sleep infinity"}
      ship: {lifecycle: {hook: poststart, sidecar: true}, command: "until grep -q main LOG; do sleep 0.05; done; exec sleep infinity"}
      hello: {lifecycle: {hook: poststart}, command: "echo hello >>LOG"}
      bye: {lifecycle: {hook: poststop}, command: "echo bye $NANOD_RESULT >>LOG"}
  front: {command: exec sleep infinity, requires: [web]}
"""
PROCESSES = """\
services:
  web:
    working_dir: /srv/steps
    processes: {api: {command: exec sleep infinity}, worker: {command: exec sleep infinity}}
    hooks: {prestart: "echo prestart >>LOG", poststart: "echo poststart >>LOG", prestop: "echo prestop >>LOG", poststop: "echo poststop >>LOG"}
    tasks: {bye: {lifecycle: {hook: poststop}, command: "echo bye >>LOG"}}
"""
REPLICAS = """\
services:
  web:
    working_dir: /srv/steps
    replicas: 3
    rolling: {max_parallel: 1, min_healthy_time: 200ms}
    volume: /srv/VOLUME
    provisioning: {install: "echo install >>/srv/VOLUME/installed"}
    command: "test ! -e bad-$NANOD_REPLICA; echo main $NANOD_REPLICA >>LOG; exec sleep infinity"
    health: {exec: "test ! -e /srv/steps/bad-$NANOD_REPLICA"}
    hooks: {prestart: "echo prestart $NANOD_REPLICA >>LOG"}
    environment: {VALUE: "1"}
    tasks:
      init: {lifecycle: {hook: prestart}, command: "echo init $NANOD_REPLICA >>LOG"}
      bye: {lifecycle: {hook: poststop}, command: "echo bye $NANOD_REPLICA >>LOG"}
"""


def given(machine: Machine, name: str, services: str, *, status: int = 0) -> App:
    app = App.on(machine, name)
    app.write_text(f"project: {name}\n{_HEAD}{services.replace('LOG', app.log).replace('VOLUME', name)}")
    app.apply(status=status)
    return app


def data(app: App, *words: str, status: int | None = 0) -> dict[str, Any]:
    found = json.loads(app.nanod(*words, "--json", status=status).out)
    assert isinstance(found, dict)
    return found


def rows(app: App, status: int | None = 0) -> dict[str, dict[str, Any]]:
    return {item["service"]: item for item in data(app, "status", app.name, status=status)["apps"][0]["services"]}


def ran(app: App) -> list[str]:
    found = app.steps()
    app.clear()
    return found


def in_order(found: list[str], *steps: str) -> bool:
    """Each of them once, and no other; those between which a `|` stands in any order."""
    left = found
    for step in steps:
        together = step.split("|")
        if sorted(left[: len(together)]) != sorted(together):
            return False
        left = left[len(together) :]
    return not left


UP = ("side", "init init", "prestart", "main", "hello")


@pytest.mark.row("BX-25")
def test_the_tree_of_a_group(machine: Machine) -> None:
    app = given(machine, "gtree", AROUND)
    lines = app.nanod("status", "gtree").out.splitlines()
    age = r"(?:\d+min )?\d+s"
    expected = [
        rf"gtree: healthy, generation 1, {app.spec}",
        rf"\|- db +run  healthy  {age} +pid \d+",
        rf"\|- web +run  healthy  {age} +pid \d+",
        rf"\|  \|- web/side +run  healthy +{age} +prestart sidecar, pid \d+",
        rf"\|  \|- web/init +-    finished +{age} +prestart task, took \d+ms",
        rf"\|  \|- web/hello +-    finished +{age} +poststart task, took \d+ms",
        rf"\|  \|- web/ship +run  healthy +{age} +poststart sidecar, pid \d+",
        rf"\|  \|- web/bye +-    waiting +{age} +poststop task, runs when web has ended",
        rf"\|  \|- ok         prestart/1  took \d+ms, {age} ago",
        r"\|  `- no record  poststop/1",
        rf"`- front +run  healthy  {age} +pid \d+",
    ]
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)
    found = rows(app)
    shown = {name: (item["group"], item["role"], item["replica"], item["task"], item["health"]) for name, item in found.items()}
    assert shown == {
        "db": (None, "main", None, None, "healthy"),
        "web": ("web", "main", None, None, "healthy"),
        "web/group": ("web", "group", None, None, "finished"),
        "web/side": ("web", "prestart-sidecar", None, "side", "healthy"),
        "web/init": ("web", "prestart-task", None, "init", "finished"),
        "web/hello": ("web", "poststart-task", None, "hello", "finished"),
        "web/ship": ("web", "poststart-sidecar", None, "ship", "healthy"),
        "web/bye": ("web", "poststop-task", None, "bye", "waiting"),
        "front": (None, "main", None, None, "healthy"),
    }
    app.systemctl("stop", "gtree-web-ship")
    shown_text = app.nanod("status", "gtree", status=4).out
    assert re.search(r"^\|  \|- web/ship +- +stopped +- +poststart sidecar$", shown_text, re.MULTILINE), shown_text
    # The companion shows when it is in trouble.
    app.systemctl("stop", "gtree-web-group")
    assert "web/group" in app.nanod("status", "gtree", status=4).out or not app.is_up("web")
    app.remove()


def _steered(machine: Machine) -> None:
    app = given(machine, "gsteer", AROUND)
    assert in_order(ran(app), *UP)
    db, front = app.pid("db"), app.pid("front")

    # A restart is that of the whole group, and the poststop task waits on.
    done = app.nanod("restart", "gsteer", "web")
    assert done.out.startswith("gsteer: healthy (1 service restarted")
    assert [line.split()[:2] for line in done.out.splitlines()[1:]] == [["web", "healthy"]]
    assert in_order(ran(app), "poststop", *UP)
    assert (app.pid("db"), app.pid("front")) == (db, front)

    done = app.nanod("stop", "gsteer", "web")
    assert [line.split()[:2] for line in done.out.splitlines()[1:]] == [["web", "stopped"], ["note:", "front"]], done.out
    assert in_order(ran(app), "poststop", "bye success")
    app.until_gone("web", "web-side", "web-ship", "web-init", "web-hello", "web-bye", "web-group")
    again = data(app, "stop", "gsteer", "web")
    assert {item["status"] for item in again["services"]} == {"was-down"}

    done = app.nanod("start", "gsteer", "web")
    assert done.out.startswith("gsteer: healthy (1 service started")
    assert in_order(ran(app), *UP)
    before = app.pid("web")
    assert "nothing to start" in app.nanod("start", "gsteer", "web").out
    assert (app.pid("web"), ran(app)) == (before, [])

    # What belongs to it and is down comes up with it, and the rest is left alone.
    app.nanod("stop", "gsteer", "web/ship")
    done = app.nanod("start", "gsteer", "web")
    assert [line.split()[:2] for line in done.out.splitlines()[1:]] == [["web/ship", "healthy"]]
    ship = app.pid("web-ship")
    app.nanod("restart", "gsteer", "web/ship")
    assert app.pid("web-ship") != ship
    assert (app.pid("web"), ran(app)) == (before, [])

    app.nanod("restart", "gsteer", "web", "db")
    assert in_order(ran(app), "poststop", "bye success", *UP)
    found = data(app, "restart", "gsteer")
    assert {item["service"] for item in found["services"] if not item["touched"]} <= {"web/bye"}
    app.remove()


def test_start_stop_and_restart_of_a_group_on_252(machine: Machine) -> None:
    _steered(machine)


def test_start_stop_and_restart_of_a_group_on_257(machine257: Machine) -> None:
    _steered(machine257)


def test_names_that_cannot_be_steered(machine: Machine) -> None:
    app = given(machine, "gnames", AROUND)
    for verb in ("start", "stop", "restart"):
        refused = app.nanod(verb, "gnames", "web/init", status=1).err
        assert f"cannot {verb} web/init: it is a prestart task, and comes and goes with web\nhint: 'nanod run gnames web init' runs it now" in refused
    wrong = app.nanod("restart", "gnames", "web/shp", status=2).err
    assert "cannot restart 'web/shp': gnames has no such service\nhint: did you mean web/ship" in wrong
    assert wrong.rstrip().endswith("services are: db, web, front")
    app.nanod("stop", "gnames", "web")
    assert "web is not running, and it comes up with that" in app.nanod("start", "gnames", "web/ship", status=1).err
    words = {"_NANOD_COMPLETE": "bash_complete", "COMP_WORDS": "nanod restart gnames web/", "COMP_CWORD": "3"}
    offered = machine.run(["nanod"], env=words).out.split()
    assert offered == [f"plain,web/{name}" for name in ("bye", "hello", "init", "ship", "side")]
    app.remove()


def test_several_processes(machine: Machine) -> None:
    app = given(machine, "gproc", PROCESSES)
    assert ran(app) == ["prestart", "poststart"]
    assert re.search(r"^`- web  run  healthy  \d+s  2 of 2 up$", app.nanod("status", "gproc").out, re.MULTILINE)
    done = app.nanod("restart", "gproc", "web")
    assert ran(app) == ["prestop", "poststop", "prestart", "poststart"]
    assert re.search(r"^  web  healthy  \S+ s  2 of 2 up$", done.out, re.MULTILINE), done.out
    api, worker = app.pid("web-api"), app.pid("web-worker")
    app.nanod("restart", "gproc", "web/api")
    assert app.pid("web-api") != api
    assert (app.pid("web-worker"), ran(app)) == (worker, [])

    app.nanod("stop", "gproc", "web/api")
    assert ran(app) == []
    found = rows(app, status=4)
    assert (found["web"]["health"], found["web"]["mains"], found["web/api"]["health"]) == ("degraded", {"up": 1, "of": 2}, "stopped")
    app.nanod("start", "gproc", "web")
    assert app.pid("web-worker") == worker
    app.nanod("stop", "gproc", "web")
    assert ran(app) == ["prestop", "bye", "poststop"]
    app.nanod("start", "gproc", "web")
    assert ran(app) == ["prestart", "poststart"]

    app.nanod("run", "gproc", "web", "prestart")
    app.nanod("run", "gproc", "web", "prestop")
    assert ran(app) == ["prestart", "prestop"], "the hooks of the service are those of what stands for its processes"
    assert "there is no such hook" in app.nanod("run", "gproc", "web/api", "prestart", status=125).err
    app.remove()


def test_instances_are_taken_a_few_at_a_time(machine: Machine) -> None:
    app = given(machine, "groll", REPLICAS)
    ran(app)
    done = app.nanod("restart", "groll", "web")
    assert ran(app) == [f"{step} {number}" for number in (1, 2, 3) for step in ("init", "prestart", "main")]
    assert re.search(r"^  web  healthy  \S+ s  3 of 3 up$", done.out, re.MULTILINE), done.out
    app.nanod("restart", "groll", "web@2")
    assert ran(app) == ["init 2", "prestart 2", "main 2"]

    # The first that is not healthy is the last.
    pids = [app.pid(f"web@{number}") for number in (1, 2, 3)]
    machine.path("/srv/steps/bad-2").touch()
    done = app.nanod("restart", "groll", "web", status=4)
    assert "cannot start groll-web@2" in done.out
    assert "note: left as they are: web@3" in done.out
    assert app.pid("web@3") == pids[2]
    found = rows(app, status=None)
    assert found["web"]["mains"] == {"up": 2, "of": 3}
    machine.path("/srv/steps/bad-2").unlink()
    app.nanod("start", "groll", "web")
    assert rows(app)["web"]["mains"] == {"up": 3, "of": 3}
    assert app.pid("web@3") == pids[2]
    ran(app)

    app.nanod("stop", "groll", "web@3")
    assert ran(app) == ["bye 3"]
    app.nanod("stop", "groll", "web")
    assert in_order(ran(app), "bye 1|bye 2")
    app.nanod("restart", "groll", "web")
    assert app.is_up("web"), "what stands for all instances is up again, too"
    done = app.nanod("restart", "groll")
    assert "note: all instances of web were down together" in done.out
    app.remove("--purge")


def test_tasks_by_hand(machine: Machine) -> None:
    app = given(machine, "ghand", AROUND)
    ran(app)
    app.nanod("run", "ghand", "web", "init")
    app.nanod("run", "ghand", "web", "bye")
    assert ran(app) == ["init init", "bye success"]
    assert app.is_up("web")
    assert rows(app)["web/init"]["hooks"][0]["result"] == "ok"
    found = data(app, "run", "ghand", "web", "hello")
    assert [(item["phase"], item["name"], item["unit"], item["status"]) for item in found["hooks"]] == [
        ("poststart", "hello", "ghand-web-hello.service", 0)
    ]
    assert "it is a poststart sidecar, which runs as long as its group" in app.nanod("run", "ghand", "web", "ship", status=125).err
    refused = app.nanod("run", "ghand", "web", "nope", status=125).err
    assert "there is no such phase or task" in refused
    assert "tasks are: bye, init, hello" in refused
    app.remove()


def test_of_several_instances_the_first_is_taken_by_hand(machine: Machine) -> None:
    app = given(machine, "gfirst", REPLICAS)
    ran(app)
    assert "nanod: in instance 1; web@1 names it" in app.nanod("run", "gfirst", "web", "init").err
    assert app.nanod("run", "gfirst", "web@3", "init").err == ""
    app.nanod("run", "gfirst", "web@2", "prestart")
    assert ran(app) == ["init 1", "init 3", "prestart 2"]
    # Installed once, for all of them.
    installed = machine.path("/srv/gfirst/installed")
    assert installed.read_text() == "install\n"
    found = data(app, "provision", "--force", "gfirst", "web")
    assert [(item["service"], item["unit"], item["status"]) for item in found["installs"]] == [("web", "gfirst-web-provision.service", "installed")]
    assert installed.read_text() == "install\ninstall\n"
    app.remove("--purge")


def test_logs_are_those_of_all_members(machine: Machine) -> None:
    services = REPLICAS.replace('command: "test', 'command: "echo speaks $NANOD_REPLICA; test')
    app = given(machine, "glogs", services)
    until(lambda: "speaks 3" in app.nanod("logs", "glogs", "web").out, "all have spoken")
    said = app.nanod("logs", "-n", "all", "glogs", "web").out
    for number in (1, 2, 3):
        assert re.search(rf"web@{number} +\| speaks {number}$", said, re.MULTILINE), said
        assert re.search(rf"web@{number}/init +\| hook prestart/init succeeded$", said, re.MULTILINE)
    one = app.nanod("logs", "-n", "all", "glogs", "web@2").out
    assert "speaks 2" in one
    assert "speaks 1" not in one
    entries = [json.loads(line) for line in app.nanod("logs", "--json", "-n", "all", "glogs", "web@2/init").out.splitlines()]
    assert {entry["service"] for entry in entries} == {"web@2/init"}
    app.remove("--purge")


def test_a_verdict_of_a_group_says_each_thing_once(machine: Machine) -> None:
    app = given(machine, "gsays", AROUND)
    good = machine.path(app.spec).read_text()
    app.write_text(good.replace("echo init", "echo no database; false; echo init"))
    done = app.apply(status=4)
    lines = done.out.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("gsays: failed (3 services, "))
    assert [line.split() for line in lines[begin + 1 : begin + 3]] == [["web/init", "failed"], ["web", "blocked"]]
    assert lines[begin + 3 : begin + 6] == [
        "prestart task web/init failed: it exited with status 1 (given up after 3 tries)",
        "    no database",
        "    nanod: hook prestart/init failed, status 1 (3 times)",
    ]
    assert "  1 more waits for it: web" in lines
    assert lines[-1] == "rolled back to generation 1"
    entry = app.last()
    assert list(entry["causes"]) == ["web/init"]
    app.remove()


def test_a_plan_says_who_restarts_with_its_instance(machine: Machine) -> None:
    app = given(machine, "gplan", REPLICAS)
    app.write_text(machine.path(app.spec).read_text().replace('VALUE: "1"', 'VALUE: "2"'))
    text = app.nanod("plan", app.spec).out
    for number in (1, 2, 3):
        assert re.search(rf"~  gplan-web@{number}\.service +roll {number} ", text), text
        assert re.search(rf"~  gplan-web-init@{number}\.service +with its instance ", text), text
        assert re.search(rf"~  gplan-web-bye@{number}\.service +no restart ", text), text
    steps = [step for step in data(app, "plan", app.spec)["steps"] if step["action"] == "roll"]
    assert [(step["unit"], step["via"], step["wave"], step["healthy_usec"]) for step in steps] == [
        (f"gplan-web@{number}.service", f"gplan-web-group@{number}.service", number, 200_000) for number in (1, 2, 3)
    ]
    app.apply()
    app.remove("--purge")


def test_the_timeline_of_a_group_is_what_happens(machine: Machine) -> None:
    app = given(machine, "gtold", AROUND)
    ups = ran(app)
    steps = data(app, "explain", "gtold", "web")["timeline"]

    def told(stage: str) -> list[str]:
        words = {"prestart sidecar": "side", "prestart task": "init init", "poststart task": "hello", "poststop task": "bye success"}
        named = [words.get(step["phase"], step["phase"]) for step in steps if step["stage"] == stage and "is stopped when" not in step["what"]]
        return [word for word in named if word in {*UP, "poststop", "bye success"}]

    assert ups == told("up")
    app.nanod("stop", "gtold", "web")
    assert ran(app) == told("down")
    for step in steps:
        installed = machine.path(f"/etc/systemd/system/{step['unit']}").read_text().splitlines()
        for line in step["lines"]:
            assert f"{line['key']}={line['text']}" in installed
    assert [step["waits"] for step in steps if step["phase"] == "prestart task"] == [["web/side", "db"]]
    for unit in sorted(path.name for path in machine.path("/etc/systemd/system").glob("*gtold*") if path.is_file()):
        found = data(app, "explain", unit)
        assert {(line["origin"] is None, line["wanted"]) for line in found["units"][unit]} == {(False, None)}, unit
        compiled = data(app, "explain", app.spec, unit)["units"][unit]
        assert [line["text"] for line in compiled] == [line["text"] for line in found["units"][unit]]
    one = data(app, "explain", "gtold", "web/init")
    assert [step["phase"] for step in one["timeline"]] == ["prestart task"]
    assert list(one["units"]) == ["gtold-web-init.service"]
    app.nanod("explain", "--svg", "/srv/gtold.svg", "gtold", "web")
    picture = ET.fromstring(machine.path("/srv/gtold.svg").read_text())
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    app.remove()


def test_doctor_sees_the_files_of_members(machine: Machine) -> None:
    app = given(machine, "gdoc", AROUND)
    unit = machine.path("/etc/systemd/system/gdoc-web-ship.service")
    unit.write_text(unit.read_text() + "# by hand\n")
    machine.path("/etc/systemd/system/gdoc-web-bye.service").unlink()
    found = [(item["id"], item["subject"]) for item in data(app, "doctor", status=4)["findings"] if item["app"] == "gdoc"]
    assert ("drift-edited", "gdoc-web-ship.service") in found
    assert ("drift-deleted", "gdoc-web-bye.service") in found
    assert "deleted  gdoc-web-bye.service is gone" in app.nanod("status", "gdoc", status=None).out
    app.remove()
