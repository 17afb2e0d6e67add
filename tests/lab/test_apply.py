"""Plan and apply on a real systemd: order among restarted services, applies that are cut short, and what a removal leaves."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.lab.steps import DIRECTORY, STEP, App, until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

UNITS = "/etc/systemd/system"


def unit_texts(app: App) -> dict[str, str]:
    found = app.machine.path(UNITS).glob(f"*{app.name}*")
    return {path.name: path.read_text() for path in found if path.is_file()}


@pytest.mark.row("BX-2")
def test_restarted_together_they_stop_in_reverse_before_the_first_starts(machine: Machine) -> None:
    app = App.on(machine, "together")
    hooks = ("prestart", "prestop")
    chain = {"db": app.service("db", hooks=hooks), "web": app.service("web", "db", hooks=hooks), "api": app.service("api", "web", hooks=hooks)}
    app.apply(chain)
    app.clear()
    app.apply({name: item | {"environment": {"A": "1"}} for name, item in chain.items()})
    down = [f"{step} {name}" for name in ("api", "web", "db") for step in ("prestop", "signal")]
    up = [f"{step} {name}" for name in ("db", "web", "api") for step in ("prestart", "main")]
    assert app.steps() == down + up
    app.remove()


@pytest.mark.row("BX-5")
def test_restart_true_takes_the_dependent_along_in_order(machine: Machine) -> None:
    app = App.on(machine, "along")
    web = app.service("web", hooks=()) | {"requires": {"db": {"restart": True}}}
    other = app.service("other", "db", hooks=())
    app.apply({"db": app.service("db", hooks=()), "web": web, "other": other})
    before = app.pid("other")
    app.clear()
    done = app.apply({"db": app.service("db", hooks=(), environment={"A": "1"}), "web": web, "other": other})
    assert app.steps() == ["signal web", "signal db", "main db", "main web"]
    assert app.pid("other") == before
    assert "db restarts, and this one with it" in done.out
    app.remove()


@pytest.mark.row("NK-12")
def test_a_failed_deploy_hook_leaves_the_old_processes_serving(machine: Machine) -> None:
    app = App.on(machine, "migrates")
    plain = {"db": app.service("db", hooks=()), "web": app.service("web", "db", hooks=())}
    app.apply(plain)
    before = {name: app.pid(name) for name in plain}
    hook = {"prestart": [{"run": f"echo 'no such table' >&2; {STEP} migrate", "scope": "deploy", "name": "migrate"}]}
    app.exits("web", "migrate", 3)
    changed = {"db": plain["db"] | {"environment": {"A": "1"}}, "web": plain["web"] | {"hooks": hook}}
    done = app.apply(changed, status=4)
    assert "cannot start migrates-web: hook prestart/migrate exited with status 3" in done.out
    assert "no such table" in done.out
    assert "rolled back to generation 1" in done.out
    assert {name: app.pid(name) for name in plain} == before
    assert (app.last()["generation"], app.last()["rolled_back_to"]) == (2, 1)
    app.nanod("plan", app.spec, "--detailed-exitcode", status=3)
    app.exits("web", "migrate", 0)
    app.apply(changed)
    assert all(app.pid(name) != before[name] for name in plain)
    assert app.steps().count("migrate web") == 2
    app.apply(changed)
    assert app.steps().count("migrate web") == 2
    app.remove()


@pytest.mark.parametrize("moment", ["install", "settle"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.row("BX-2")
def test_an_apply_that_is_cut_short_is_undone(machine: Machine, how: signal.Signals, moment: str) -> None:
    """By itself when it can, else by the next. The stop of the old process holds it up: before the install where its stop hooks change, else while it
    waits for all to settle.
    """
    app = App.on(machine, f"cut-{how.value}-{moment}")
    hold = machine.path(f"{DIRECTORY}/{app.name}-hold")
    web = app.service("web", hooks=()) | {"hooks": {"prestop": f"{STEP} prestop; while [ -e {DIRECTORY}/{app.name}-hold ]; do sleep 0.05; done"}}
    old = {"web": web, "db": app.service("db", hooks=())}
    app.apply(old)
    untouched, before, files = app.pid("db"), app.pid("web"), unit_texts(app)
    hold.touch()
    app.clear()
    hooks = {"prestop": f"{STEP} prestop"} if moment == "install" else web["hooks"]
    app.write({**old, "web": web | {"environment": {"A": "1"}, "hooks": hooks}})
    running = machine.popen(["nanod", "apply", app.spec], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    app.until_step("prestop web")
    pids = machine.run(["pgrep", "--full", f"apply {app.spec}"]).out.split()
    assert machine.run(["kill", f"-{how.value}", *pids]).status == 0
    hold.unlink()
    out, _ = running.communicate(timeout=20)
    app.write(old)
    again = app.apply()
    if how is signal.SIGINT:
        assert running.returncode == 130
        assert "interrupted; rolled back to generation 1" in out.decode()
        assert again.err == ""
    else:
        assert f"an apply of {app.name} that was cut off is undone: back to generation 1" in again.err
    assert f"{app.name}: nothing to do" in again.out
    assert unit_texts(app) == files
    assert app.pid("db") == untouched
    assert app.pid("web") not in (0, before), "its stop had begun"
    assert app.is_up("web")
    assert "A=1" not in machine.path(f"/proc/{app.pid('web')}/environ").read_text().split("\0")
    told = [entry["verdict"] for entry in json.loads(app.nanod("history", "--json", app.name).out)["entries"]]
    assert told == ["healthy", "interrupted" if how is signal.SIGINT else "recovered"]
    app.remove()


@pytest.mark.row("BX-13")
def test_a_removal_leaves_nothing_but_data_and_a_purge_not_even_that(machine: Machine) -> None:
    app = App.on(machine, "leaves")
    web = app.service("web", volume="/srv/leaves", provisioning={"install": "touch /srv/leaves/data"})
    web |= {"hooks": {"prestart": {"run": STEP, "scope": "deploy"}}}
    dynamic = {"command": ["/bin/sleep", "infinity"], "dynamic_user": True, "volume": "/var/lib/leaves-state", "settle": "0s"}
    app.apply({"web": web, "dyn": dynamic})
    assert machine.path("/var/lib/private/leaves-state").is_dir()
    app.remove()
    assert unit_texts(app) == {}
    assert app.systemctl("list-units", "--all", "--plain", "--no-legend", "*leaves*") == ""
    assert machine.path("/srv/leaves/data").exists()
    assert machine.path("/var/lib/private/leaves-state").is_dir()

    machine.run(["rm", "-r", "/srv/leaves"])
    app.apply()
    app.remove("--purge")
    assert not machine.path("/srv/leaves").exists()
    assert not machine.path("/var/lib/private/leaves-state").exists()
    assert list(machine.path("/var/lib/nanod/once").glob("leaves*")) == []
    assert not machine.path("/var/lib/nanod/apps/leaves").exists()
    assert app.nanod("remove", "leaves", status=1).err.count("there is no such app") == 1


def test_a_purge_keeps_what_was_there_before(machine: Machine) -> None:
    app = App.on(machine, "older")
    machine.path("/srv/older").mkdir()
    machine.path("/srv/older/precious").touch()
    app.apply({"web": app.service("web", volume="/srv/older")})
    app.remove("--purge")
    assert machine.path("/srv/older/precious").exists()


@pytest.mark.row("BX-7")
def test_causes_are_data(machine: Machine) -> None:
    app = App.on(machine, "causes")
    app.exits("db", "prestart", 5)
    services = {"db": app.service("db", restart={"policy": "no"}), "web": app.service("web", "db")}
    app.write(services)
    found = json.loads(app.nanod("apply", "--json", app.spec, status=4).out)
    assert (found["verdict"], found["generation"], found["left"]) == ("failed", None, 0)
    assert found["rolled_back"] == {"generation": None, "complete": True, "problems": [], "services": []}
    by_name = {item["service"]: item for item in found["services"]}
    assert by_name["db"]["cause"] | {"lines": []} == {
        "kind": "hook",
        "text": "hook prestart/1 exited with status 5",
        "unit": "causes-db.service",
        "hook": "prestart/1",
        "status": 5,
        "lines": [],
    }
    assert [reason["kind"] for reason in by_name["web"]["reasons"]] == ["dependency", "hook"]
    assert by_name["web"]["status"] == "blocked"
    assert app.traces() == []
    assert app.last()["causes"]["db"] == "cannot start causes-db: hook prestart/1 exited with status 5"


def test_a_slow_dependency_is_waited_for_longer_than_the_gates_of_its_dependents(machine: Machine) -> None:
    """The gate of `web` gives up and is tried again more often than its limit, while `db` is still on its way."""
    app = App.on(machine, "slow")
    app.sick("db")
    quick = {"delay": "100ms", "limit": 2, "window": "1s"}
    db = app.service("db", hooks=(), restart={"delay": "100ms", "limit": 30, "window": "60s"})
    db["health"] = db["health"] | {"start_timeout": "2s"}
    app.write({"db": db, "web": app.service("web", "db", hooks=(), restart=quick)})
    running = machine.popen(["nanod", "apply", app.spec], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: int(app.show("db", "NRestarts") or 0) >= 3, "db has failed thrice", timeout=30)
    app.well("db")
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, (out, err)
    assert app.is_up("web")
    app.remove()


@pytest.mark.row("FAULTS-23")
def test_a_masked_dependency_blocks_and_is_left_alone(machine: Machine) -> None:
    app = App.on(machine, "masks")
    services = {"db": app.service("db", hooks=()), "web": app.service("web", "db", hooks=(), restart={"delay": "100ms", "limit": 2, "window": "1s"})}
    app.apply(services)
    app.systemctl("stop", "masks.target")
    machine.path(f"{UNITS}/masks-db.service").unlink()
    machine.path(f"{UNITS}/masks-db.service").symlink_to("/dev/null")
    app.systemctl("daemon-reload")
    done = app.apply(status=4)
    assert "masks-db.service is masked: left alone" in done.out
    assert "cannot start masks-web: it waits for db, which is masked" in done.out
    assert machine.path(f"{UNITS}/masks-db.service").is_symlink()
    app.systemctl("unmask", "masks-db.service")
    app.apply()
    assert app.is_up("db")
    assert app.is_up("web")
    app.remove()


def test_into_a_tree_and_booted_from_there(machine: Machine) -> None:
    """`--root`: what an image build does. The link brings the app up at the next boot, and apply there finds nothing to do."""
    app = App.on(machine, "image")
    app.write({"web": app.service("web", hooks=())})
    assert machine.run(["mount", "--bind", "/", "/mnt"]).status == 0  # the tree that it boots from next
    app.nanod("apply", "--root", "/mnt", app.spec)
    assert app.state("web") == "inactive"
    machine.reboot()
    machine.path(DIRECTORY).mkdir(exist_ok=True)
    app.until_up("web")
    before = app.pid("web")
    assert "nothing to do" in app.apply().out
    assert app.pid("web") == before
    app.remove()


@pytest.mark.row("BX-2", "BX-7")
def test_restarts_in_order_on_257(machine257: Machine) -> None:
    test_restarted_together_they_stop_in_reverse_before_the_first_starts(machine257)
    test_restart_true_takes_the_dependent_along_in_order(machine257)
    test_a_failed_deploy_hook_leaves_the_old_processes_serving(machine257)
