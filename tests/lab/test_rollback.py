"""The way back: by itself when a change fails or is interrupted, and by `nanod rollback`; and what `nanod history` tells of both."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.seen import RECORDS, UNITS, assert_as_before, look, records, runs
from tests.lab.steps import DIRECTORY, MAIN, STEP, App, until

if TYPE_CHECKING:
    import subprocess

    from nanod.rehearse.machine import Machine

ONCE = {"policy": "no"}
DOWN = ["prestop web", "signal web", "poststop web"]
AGAIN = ["prestart web", "main web", "poststart web"]


def web(app: App, version: int, **keys: Any) -> dict[str, Any]:
    return app.service("web", command=[MAIN, f"v{version}"], **keys)


def sick(app: App, version: int, **keys: Any) -> dict[str, Any]:
    """It never becomes healthy."""
    return web(app, version, restart=ONCE, health={"file": "/run/never", "interval": "20ms", "start_timeout": "200ms"}, **keys)


def argv(app: App) -> tuple[str, str]:
    """What systemd would start, and what runs."""
    shown = app.show("web", "ExecStart")
    line = app.machine.path(f"/proc/{app.pid('web')}/cmdline").read_bytes().decode().split("\0")
    wanted = re.search(r" (v\d+) ;", shown)
    return wanted[1] if wanted else shown, next((word for word in line if re.fullmatch(r"v\d+", word)), " ".join(line))


def in_force(app: App) -> str:
    return app.machine.path(f"{RECORDS}/{app.name}/current").readlink().name


def kept(app: App) -> list[int]:
    return sorted(int(path.name) for path in app.machine.path(f"{RECORDS}/{app.name}/generations").iterdir())


def history(app: App) -> list[dict[str, Any]]:
    return list(json.loads(app.nanod("history", app.name, "--json", "-n", "0").out)["entries"])


def assert_nothing_to_do(app: App, services: dict[str, Any]) -> None:
    """Applying what is there: no step, and no process is touched."""
    before = look(app, services)
    app.clear()
    done = app.apply(services)
    assert "nothing to do" in done.out, done.out
    assert look(app, services) == before
    assert app.steps() == []


@pytest.mark.row("BX-4", "FAULTS-24", "FAULTS-40")
def test_a_gate_that_fails_brings_the_old_process_back(machine257: Machine) -> None:
    """Each stop by the hooks of the file that started it, and each hook once; also when the old file is the older one by its time."""
    app = App.on(machine257, "gate")
    services = {"web": web(app, 1), "db": app.service("db")}
    app.apply(services)
    future = time.time() + 1e8
    os.utime(app.machine.path(f"{UNITS}/gate-web.service"), (future, future))
    app.systemctl("daemon-reload")
    before = look(app, services)
    app.clear()
    new = {"web": sick(app, 2, hooks=()) | {"hooks": {"prestart": f"{STEP} new-start", "poststop": f"{STEP} new-stop"}}, "db": services["db"]}
    done = app.apply(new, status=4)
    assert "cannot start gate-web: it did not become healthy (file /run/never)" in done.out.splitlines()
    assert done.out.splitlines()[-1] == "rolled back to generation 1"
    assert [step for step in app.steps() if step != "signal web"] == [
        *["prestop web", "poststop web", "new-start web", "main web", "new-stop web"],
        *["prestart web", "main web", "poststart web"],
    ]
    assert_as_before(app, before, {"web"})
    assert argv(app) == ("v1", "v1")
    assert kept(app) == [1]
    assert_nothing_to_do(app, services)
    app.remove()


@pytest.mark.row("BX-4")
def test_without_rollback_what_was_done_stays(machine: Machine) -> None:
    app = App.on(machine, "stays")
    services = {"web": web(app, 1), "db": app.service("db")}
    app.apply(services)
    before = look(app, services)
    app.write({"web": sick(app, 2), "db": services["db"]})
    done = app.nanod("apply", app.spec, "--no-rollback", status=4)
    assert "rolled back" not in done.out
    assert in_force(app) == "2"
    assert "v2" in app.show("web", "ExecStart")
    assert not app.is_up("web")
    app.nanod("status", "stays", status=4)
    assert history(app)[-1]["verdict"] == "failed"
    # By hand it goes back all the same.
    done = app.nanod("rollback", "stays")
    assert argv(app) == ("v1", "v1")
    assert look(app, services).files == before.files
    assert runs(app, ["db"]) == {"db": before.runs["db"]}
    assert in_force(app) == "1"
    app.remove()


@pytest.mark.row("BX-4", "FAULTS-40")
def test_back_to_any_generation_and_forward_again(machine: Machine) -> None:
    app = App.on(machine, "any")
    units = []
    for version in (1, 2, 3):
        app.apply({"web": web(app, version), "db": app.service("db")})
        units.append(look(app, ["db"]).files)
    database = runs(app, ["db"])
    future = time.time() + 1e8
    for path in app.machine.path(UNITS).glob("any-*"):
        os.utime(path, (future, future))
    app.systemctl("daemon-reload")

    def is_at(number: int, newest: int = 3) -> None:
        assert look(app, ["db"]).files == units[number - 1]
        assert argv(app) == (f"v{number}", f"v{number}")
        assert in_force(app) == str(number)
        assert kept(app) == list(range(1, newest + 1)), "a rollback makes no generation"
        assert runs(app, ["db"]) == database
        assert "nothing to do" in app.nanod("rollback", "any", str(number)).out

    app.clear()
    done = app.nanod("rollback", "any", "1")
    assert re.search(r"any-web\.service +restart +ExecStart= changed", done.out)
    assert app.steps() == [*DOWN, *AGAIN]
    is_at(1)
    app.nanod("rollback", "any", "3")
    is_at(3)
    # Without a number, the one before; and the one before that.
    app.nanod("rollback", "any")
    is_at(2)
    app.nanod("rollback", "any")
    is_at(1)
    refused = app.nanod("rollback", "any", status=1)
    assert refused.err.splitlines()[0] == "nanod: cannot roll back any: generation 1 is the oldest there is"
    assert "generation 9" in app.nanod("rollback", "any", "9", status=1).err
    assert "cannot roll back nobody: there is no such app here" in app.nanod("rollback", "nobody", status=1).err
    is_at(1)
    # The spec goes by itself, as a generation of its own.
    app.apply()
    assert argv(app) == ("v3", "v3")
    assert in_force(app) == "4"
    # Back is where it came from, and not the number before.
    app.nanod("rollback", "any")
    is_at(1, 4)
    assert [entry["action"] for entry in history(app)].count("rollback") == 5, "where there was nothing to do nothing is told"
    app.remove()


@pytest.mark.row("BX-4")
def test_ten_generations_are_kept(machine: Machine) -> None:
    app = App.on(machine, "kept")
    small = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s"}
    for number in range(1, 13):
        app.apply({"web": small | {"description": f"number {number}"}})
    assert kept(app) == list(range(3, 13))
    pid = app.pid("web")
    assert "generation 2" in app.nanod("rollback", "kept", "2", status=1).err
    app.nanod("rollback", "kept", "3")
    assert app.show("web", "Description") == "number 3"
    assert (app.pid("web"), in_force(app)) == (pid, "3"), "a description costs no process"
    # What fails makes no room for itself.
    app.apply({"web": small | {"hooks": {"prestart": "exit 3"}, "restart": ONCE}}, status=4)
    assert (kept(app), in_force(app)) == (list(range(3, 13)), "3")
    app.apply({"web": small | {"description": "number 13"}})
    assert (kept(app), in_force(app)) == ([3, *range(4, 14)], "13"), "the one that it would go back to stays as well"
    app.nanod("rollback", "kept")
    assert in_force(app) == "3"
    app.remove()


@pytest.mark.row("BX-4", "BX-5")
def test_hooks_of_a_deployment_run_on_a_rollback_that_somebody_asked_for(machine: Machine) -> None:
    app = App.on(machine, "deployed")

    def version(number: int, make: Any = web) -> dict[str, Any]:
        return {"web": make(app, number, hooks=()) | {"hooks": {"prestart": {"run": f"{STEP} deploy-{number}", "scope": "deploy"}}}}

    app.apply(version(1))
    app.clear()
    before = look(app, ["web"])
    app.apply(version(2, sick), status=4)
    assert [step for step in app.steps() if step.startswith("deploy")] == ["deploy-2 web"], (
        "by itself it runs none: what they did cannot be taken back by running others"
    )
    assert_as_before(app, before, {"web"})
    assert_nothing_to_do(app, version(1))

    # One that fails comes before anything is touched.
    app.exits("web", "deploy-3", 5)
    before = look(app, ["web"])
    done = app.apply(version(3), status=4)
    assert "cannot start deployed-web: hook prestart/1 exited with status 5" in done.out.splitlines()
    assert_as_before(app, before, ())
    assert_nothing_to_do(app, version(1))

    # A person's rollback is a deployment.
    app.apply(version(4))
    app.clear()
    app.nanod("rollback", "deployed")
    assert [step for step in app.steps() if step.startswith("deploy")] == ["deploy-1 web"]
    assert argv(app) == ("v1", "v1")
    assert_nothing_to_do(app, version(1))
    app.remove()


@pytest.mark.row("BX-4", "NK-8", "NK-12")
def test_a_first_apply_that_fails_leaves_data_and_sentinels(machine257: Machine) -> None:
    app = App.on(machine257, "fresh")
    machine = app.machine
    files = {name for name in look(app, []).files if "fresh" in name}
    full = app.service("web", restart=ONCE, volume="/srv/fresh", provisioning={"install": f"{STEP}; echo data >/srv/fresh/data"})
    app.exits("web", "prestart", 3)
    services = {"web": full, "db": app.service("db"), "empty": app.service("empty", "web", volume="/srv/fresh-empty")}
    done = app.apply(services, status=4)
    assert done.out.splitlines()[-1] == "rolled back: fresh is not there, as before"
    assert {name for name in look(app, []).files if "fresh" in name} == files
    assert records(app) == {}
    assert app.systemctl("list-units", "--all", "--plain", "--no-legend", "fresh*") == ""
    assert "fresh" not in app.nanod("status").out
    assert machine.path("/srv/fresh/data").read_text() == "data\n"
    assert len(list(machine.path("/srv/fresh").glob(".nanod-installed-*"))) == 1
    assert not machine.path("/srv/fresh-empty").exists(), "what it made and nobody used"
    [entry] = history(app)
    assert (entry["verdict"], entry["rolled_back_to"]) == ("failed", 0)
    assert "taken away again" in app.nanod("history", "fresh").out
    # Nothing is left that the next one would trip over, and what was installed is not installed again.
    app.exits("web", "prestart", 0)
    app.clear()
    app.apply(services)
    assert "install web" not in app.steps()
    app.remove("--purge")


@pytest.mark.row("BX-4")
def test_what_the_administrator_did_before_is_as_it_was(machine: Machine) -> None:
    """A service that was stopped stays down, a drop-in stays in force."""
    app = App.on(machine, "admin")
    services = {"web": web(app, 1), "down": app.service("down"), "db": app.service("db")}
    app.apply(services)
    drop_in = machine.write(f"{UNITS}/admin-web.service.d/admin.conf", "[Service]\nEnvironment=ADMIN=1\n")
    app.systemctl("daemon-reload")
    app.systemctl("restart", "admin-web")
    app.systemctl("stop", "admin-down")
    before = look(app, services)
    app.clear()
    app.apply({"web": sick(app, 2), "down": app.service("down", environment={"A": "1"}), "db": services["db"]}, status=4)
    assert "main down" in app.steps(), "apply starts what should run"
    assert_as_before(app, before, {"web", "down"})
    assert app.state("down") == "inactive"
    assert "ADMIN=1" in app.show("web", "Environment")
    # The same file is there for a rollback that somebody asks for, which starts what should run.
    app.apply({"web": web(app, 2), "down": services["down"], "db": services["db"]})
    app.nanod("rollback", "admin")
    assert "ADMIN=1" in app.show("web", "Environment")
    assert app.is_up("down")
    assert drop_in.read_text() == "[Service]\nEnvironment=ADMIN=1\n"
    app.remove()
    drop_in.unlink()
    drop_in.parent.rmdir()
    app.systemctl("daemon-reload")


@pytest.mark.row("BX-4", "FAULTS-23")
def test_what_could_not_come_up_again_is_not_stopped(machine: Machine) -> None:
    """Its dependency is masked and down: that is known before anything is touched, so there is nothing to take back."""
    app = App.on(machine, "strands")
    one = {"db": app.service("db"), "web": app.service("web", "db"), "side": app.service("side")}
    app.apply(one)
    app.systemctl("stop", "strands-db")
    machine.path(f"{UNITS}/strands-db.service").unlink()
    app.systemctl("mask", "strands-db")
    before = look(app, one)
    done = app.apply(one | {"web": app.service("web", "db", environment={"A": "1"})}, status=1)
    words = "cannot restart strands-web.service: it requires strands-db.service, which is down and masked, and so would not come up again"
    assert done.err.splitlines()[0] == f"nanod: {words}"
    assert look(app, one) == before
    # What needs no restart of it goes on.
    app.apply(one | {"web": app.service("web", "db", description="another")}, status=None)
    assert runs(app, one) == before.runs
    app.systemctl("unmask", "strands-db")
    app.apply(one)
    app.remove()


@pytest.mark.row("BX-4", "BX-8")
def test_a_watched_file_that_changed(machine: Machine) -> None:
    """The file is the administrator's, and stays; who took it in keeps its process."""
    app = App.on(machine, "watched")
    machine.write("/etc/watched.toml", "1")
    services = {"web": web(app, 1), "reads": app.service("reads", reload_on=["/etc/watched.toml"])}
    app.apply(services)
    before = look(app, services)
    machine.write("/etc/watched.toml", "2")
    app.clear()
    app.apply({"web": sick(app, 2), "reads": services["reads"]}, status=4)
    assert "reload reads" in app.steps()
    assert_as_before(app, before, {"web"})
    # The next one is not sure that it was taken in for good, and says so once more.
    app.clear()
    app.apply(services)
    assert app.steps() == ["reload reads"]
    assert runs(app, ["reads"]) == {"reads": before.runs["reads"]}
    assert_nothing_to_do(app, services)
    app.remove()


@pytest.mark.row("BX-4", "BX-13")
def test_services_that_came_and_went(machine: Machine) -> None:
    """With the units beside them, the app's target, and the directory that a new one needs."""
    app = App.on(machine, "moves")
    keeps = app.service("keeps")
    goes = app.service("goes", hooks=("prestart", "prestop", "poststop"), volume="/srv/moves", provisioning={"install": STEP}, on_failure="true")
    goes["hooks"] |= {"ready": "sleep infinity"}
    services = {"keeps": keeps, "goes": goes, "web": web(app, 1)}
    app.apply(services)
    ready = "moves-goes-ready.service"
    until(lambda: app.state(ready) == "active", "its ready hook runs")
    before = look(app, ["keeps", "goes", "web"])
    assert {"moves-goes-provision.service", "moves-goes-failure.service", ready} <= set(before.files)
    app.clear()
    new = {"keeps": keeps, "web": web(app, 1), "comes": app.service("comes", volume="/srv/moves-new", restart=ONCE)}
    app.exits("comes", "prestart", 7)
    done = app.apply(new, status=4)
    assert "cannot start moves-comes: hook prestart/1 exited with status 7" in done.out.splitlines()
    told = app.steps()
    assert told[:3] == ["prestop goes", "signal goes", "poststop goes"]
    assert sorted(told[3:]) == sorted(["prestart comes", "poststop comes", "prestart goes", "main goes"]), "and it is not installed again"
    after = look(app, before.runs)
    assert after.files == before.files
    assert after.records == before.records
    assert (after.runs["keeps"], after.runs["web"]) == (before.runs["keeps"], before.runs["web"])
    assert after.runs["goes"].state == "active"
    until(lambda: app.state(ready) == "active", "its ready hook runs again")
    assert not machine.path("/srv/moves-new").exists()
    assert app.systemctl("list-units", "--all", "--plain", "--no-legend", "moves-comes*") == ""
    assert_nothing_to_do(app, services)

    # The same there and back by hand.
    app.exits("comes", "prestart", 0)
    app.apply(new)
    app.nanod("rollback", "moves")
    assert look(app, []).files == before.files
    assert machine.path("/srv/moves-new").is_dir(), "it was in use"
    assert_nothing_to_do(app, services)
    app.remove("--purge")


@pytest.mark.row("BX-4")
def test_a_rollback_that_fails_goes_back_to_where_it_was(machine: Machine) -> None:
    app = App.on(machine, "back")
    one = {"web": web(app, 1, restart=ONCE), "db": app.service("db")}
    two = {"web": web(app, 2, hooks=("poststop",), restart=ONCE), "db": one["db"]}
    app.apply(one)
    app.apply(two)
    before = look(app, one)
    app.exits("web", "prestart", 3)
    done = app.nanod("rollback", "back", status=4)
    assert "cannot start back-web: hook prestart/1 exited with status 3" in done.out.splitlines()
    assert done.out.splitlines()[-1] == "rolled back to generation 2"
    assert_as_before(app, before, {"web"})
    assert argv(app) == ("v2", "v2")
    assert history(app)[-1] | {"action": "rollback", "generation": 1, "verdict": "failed", "rolled_back_to": 2} == history(app)[-1]
    assert_nothing_to_do(app, two)
    # Without a way back it stays where it got to; the one after it is as good as any.
    app.nanod("rollback", "back", "--no-rollback", status=4)
    assert in_force(app) == "1"
    app.exits("web", "prestart", 0)
    app.nanod("rollback", "back", "2")
    assert argv(app) == ("v2", "v2")
    assert runs(app, ["db"]) == {"db": before.runs["db"]}
    app.remove()


@pytest.mark.row("NK-8", "NK-12", "BX-4")
@pytest.mark.parametrize(("phase", "words"), [("install", "install exited with status 6"), ("prestart", "hook prestart/1 exited with status 6")])
def test_install_and_prestart_halt_their_service_and_take_the_change_back(machine: Machine, phase: str, words: str) -> None:
    app = App.on(machine, "halts")
    one = {"web": web(app, 1, hooks=(), restart=ONCE, volume="/srv/halts"), "db": app.service("db"), "side": app.service("side")}
    app.apply(one)
    before = look(app, one)
    app.exits("web", phase, 6)
    new = web(app, 2, restart=ONCE, volume="/srv/halts", provisioning={"install": STEP})
    two = one | {"web": new, "side": app.service("side", environment={"A": "1"})}
    app.clear()
    done = app.apply(two, status=4)
    assert f"cannot start halts-web: {words}" in done.out.splitlines()
    assert app.steps().count(f"{phase} web") == 1, "it is not tried again for a service that is taken back"
    assert_as_before(app, before, {"web", "side"})
    assert len(list(machine.path("/srv/halts").glob(".nanod-installed-*"))) == (phase == "prestart"), "what was installed is installed"
    app.write(two)
    app.nanod("apply", app.spec, "--no-rollback", status=4)
    assert (app.is_up("web"), app.is_up("side"), app.is_up("db")) == (False, True, True), "its siblings carry on"
    assert runs(app, ["db"]) == {"db": before.runs["db"]}
    app.exits("web", phase, 0)
    app.remove("--purge")


# Interrupted


def begun(app: App, services: dict[str, Any], step: str) -> subprocess.Popen[bytes]:
    """An apply of services that do not settle, as soon as the new process has done `step`."""
    app.write(services)
    app.clear()
    apply = app.machine.popen(["nanod", "apply", app.spec])
    app.until_step(step)
    return apply


def tell(app: App, number: int) -> None:
    """To nanod inside, whose pid the lock has."""
    pid = app.machine.path("/run/nanod/lock").read_text().split()[0]
    assert app.machine.run(["kill", f"-{number}", pid]).status == 0


@pytest.mark.row("BX-4")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_takes_the_change_back(machine: Machine, number: int) -> None:
    app = App.on(machine, "cut")
    one = {"web": web(app, 1), "db": app.service("db")}
    app.apply(one)
    before = look(app, one)
    app.sick("web")
    apply = begun(app, {"web": web(app, 2, hooks=("poststop",)), "db": one["db"]}, "main web")
    tell(app, number)
    app.well("web")
    assert apply.wait(timeout=60) == 130
    assert_as_before(app, before, {"web"})
    assert argv(app) == ("v1", "v1")
    assert history(app)[-1] | {"verdict": "interrupted", "rolled_back_to": 1} == history(app)[-1]
    assert_nothing_to_do(app, one)
    app.remove()


@pytest.mark.row("BX-4", "FAULTS-28")
def test_who_insists_on_leaving_in_the_middle_of_the_way_back(machine257: Machine) -> None:
    """A second interrupt is answered, the third is obeyed: what is left is said, and the next command does it."""
    app = App.on(machine257, "insists")
    one = {"web": web(app, 1), "db": app.service("db")}
    app.apply(one)
    before = look(app, one)
    app.sick("web")
    apply = begun(app, {"web": web(app, 2, hooks=("poststop",)), "db": one["db"]}, "main web")
    tell(app, signal.SIGINT)
    # The old one does not become healthy either, so the way back waits.
    until(lambda: app.steps().count("main web") == 2, "the old process is back")
    tell(app, signal.SIGINT)
    tell(app, signal.SIGINT)
    assert apply.wait(timeout=60) == 6
    assert "intent.json" in look(app, one).records
    app.well("web")
    done = app.nanod("recover")
    assert "an apply of insists that was cut off is undone: back to generation 1" in done.out
    assert_as_before(app, before, {"web"})
    assert_nothing_to_do(app, one)
    app.remove()


# What is told


@pytest.mark.row("BX-4")
def test_history_tells_what_was_done_and_why_it_was_taken_back(machine: Machine) -> None:
    app = App.on(machine, "told")
    app.apply({"web": web(app, 1)})
    app.apply({"web": sick(app, 2)}, status=4)
    app.apply({"web": web(app, 3)})
    app.nanod("rollback", "told")
    text = app.nanod("history", "told").out.splitlines()
    at = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
    expected = [
        rf"{at} +apply +generation 1 +healthy +\d+\.\d s",
        rf" +\$ nanod apply {app.spec}",
        rf"{at} +apply +generation 2 +failed, back to 1 +\d+\.\d s",
        rf" +\$ nanod apply {app.spec}",
        r" +cannot start told-web: it did not become healthy \(file /run/never\)",
        rf"{at} +apply +generation \d +healthy +\d+\.\d s",
        rf" +\$ nanod apply {app.spec}",
        rf"{at} +rollback +generation 1 +healthy +\d+\.\d s",
        r" +\$ nanod rollback told",
    ]
    assert len(text) == len(expected) + 1, text
    for pattern, line in zip(expected, text, strict=False):
        assert re.fullmatch(pattern, line), text
    numbers = kept(app)
    assert text[-1] == f"told: generations on disk: 1 (in force), {numbers[1]}"
    data = json.loads(app.nanod("history", "told", "--json").out)
    assert (data["app"], data["generation"], data["generations"]) == ("told", 1, numbers)
    failed = data["entries"][1]
    assert failed["services"] == {"web": "failed"}
    assert failed["causes"] == {"web": "cannot start told-web: it did not become healthy (file /run/never)"}
    assert (failed["rolled_back_to"], failed["problems"]) == (1, [])
    assert len(app.nanod("history", "-n", "1", "told").out.splitlines()) == 3
    assert "cannot read the history of nobody: there is none" in app.nanod("history", "nobody", status=1).err
    app.remove()


@pytest.mark.row("BX-4")
def test_rollback_tells_what_apply_would(machine: Machine) -> None:
    app = App.on(machine, "json")
    app.apply({"web": web(app, 1)})
    app.apply({"web": web(app, 2)})
    failed = json.loads(app.nanod("rollback", "json", "--json", "--settle", "0s").out)
    assert failed | {"app": "json", "action": "rollback", "verdict": "healthy", "generation": 1, "rolled_back": None} == failed
    app.write({"web": sick(app, 3)})
    done = json.loads(app.nanod("apply", app.spec, "--json", status=4).out)
    assert (done["verdict"], done["generation"]) == ("failed", 1)
    assert done["rolled_back"] | {"generation": 1, "complete": True, "problems": []} == done["rolled_back"]
    assert [(item["service"], item["status"]) for item in done["rolled_back"]["services"]] == [("web", "healthy")]
    refused = json.loads(app.nanod("rollback", "json", "9", "--json", status=1).out)
    assert refused["error"]["kind"] == "refused"
    app.remove()


# A reload in the middle of a list of commands


@pytest.mark.row("FAULTS-35", "BX-4")
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_chain_that_changes_while_it_runs(any_machine: Machine, ends: str) -> None:
    """A daemon-reload amid an edited list of commands skips or repeats some: so the unit is stopped first, there and back."""
    app = App.on(any_machine, "chain")
    wait = f"while [ -e {DIRECTORY}/chain.wait ]; do sleep 0.02; done"

    def chain(word: str, **keys: Any) -> dict[str, Any]:
        return {
            "web": web(app, 1, hooks=("poststop",), **keys)
            | {"hooks": {"prestart": [f"{STEP} {word}-a", f"{wait}; {STEP} {word}-b", f"{STEP} {word}-c"]}}
        }

    one = chain("old")
    app.apply(one)
    before = look(app, ["web"])
    app.machine.path(f"{DIRECTORY}/chain.wait").touch()
    app.clear()
    app.systemctl("restart", "--no-block", "chain-web")
    app.until_step("old-a web")
    app.exits("web", "new-c", 0 if ends == "well" else 3)
    apply = begun(app, chain("new", restart=ONCE), "new-a web")
    app.machine.path(f"{DIRECTORY}/chain.wait").unlink()
    assert apply.wait(timeout=60) == (0 if ends == "well" else 4)
    app.until_up("web")  # it was on its way before, and is again
    told = [step for step in app.steps() if step.startswith(("old", "new"))]
    back = ["old-a web", "old-b web", "old-c web"] if ends == "badly" else []
    assert told == ["new-a web", "new-b web", "new-c web", *back], "the log begins anew with this apply"
    if ends == "badly":
        assert look(app, ["web"]).files == before.files
    app.exits("web", "new-c", 0)
    app.remove()
