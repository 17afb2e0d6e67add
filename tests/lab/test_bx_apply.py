"""Apply: least touch, verdicts that name the cause, garbage, names, and what the administrator says."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import STEP, App, until

if TYPE_CHECKING:
    from pathlib import Path

    from nanod.rehearse.machine import Machine

UNITS = "/etc/systemd/system"


def files(app: App) -> list[str]:
    """What of the app lies in the unit directory, enablement links included."""
    root = app.machine.path(UNITS)
    found = [path.relative_to(root).as_posix() for path in root.rglob("*")]
    return sorted(name for name in found if app.name in name)


@pytest.mark.row("BX-27", "NK-1")
def test_the_units_of_an_app(machine: Machine) -> None:
    app = App.on(machine, "names")
    app.apply({"web": app.service("web", volume="/srv/names", provisioning={"install": "true"}), "db-main": app.service("db-main")})
    expected = [
        "multi-user.target.wants/names.target",
        "names-db-main.service",
        "names-web-provision.service",
        "names-web.service",
        "names.target",
        "nanod-names.slice",
    ]
    assert files(app) == expected
    first = machine.path(f"{UNITS}/names-web.service").read_text().splitlines()[0]
    assert first.startswith("#")
    assert app.spec in first
    assert app.show("web", "Slice") == "nanod-names.slice"
    assert app.show("nanod-names.slice", "ControlGroup") == "/nanod.slice/nanod-names.slice"
    assert app.systemctl("show", "--property=NeedDaemonReload", "--value", "names-web") == "no"
    # A person goes on with systemctl: one bad service does not block the target.
    app.exits("db-main", "prestart", 1)
    app.systemctl("stop", "names.target")
    app.systemctl("start", "names.target")
    app.until_up("web")
    assert app.show("names.target", "ActiveState") == "active"
    app.remove()


@pytest.mark.row("BX-8")
def test_each_change_costs_what_it_must_and_no_more(machine: Machine) -> None:
    app = App.on(machine, "cost")
    for name in ("reloads", "restarts"):
        machine.path(f"/etc/cost-{name}").write_text("1")
    web = app.service("web", reload_on=["/etc/cost-reloads"], restart_on=["/etc/cost-restarts"])
    app.apply({"web": web})

    def change(what: dict[str, Any], steps: list[str], *, same: bool) -> None:
        web.update(what)
        before = app.pid("web")
        app.clear()
        app.apply({"web": web})
        assert app.steps() == steps, what
        assert (app.pid("web") == before) is same, what

    again = ["prestop web", "signal web", "poststop web", "prestart web", "main web", "poststart web"]
    change({"resources": {"memory_max": "512M"}}, [], same=True)
    assert app.show("web", "MemoryMax") == str(512 << 20)
    change({"description": "The front"}, [], same=True)
    change({"stop": {"timeout": "45s"}}, [], same=True)
    change({"hooks": web["hooks"] | {"reload": f"{STEP}; true"}}, [], same=True)
    change({"environment": {"A": "1"}}, again, same=False)
    assert app.nanod("status", "cost").status == 0

    machine.path("/etc/cost-reloads").write_text("2")
    change({}, ["reload web"], same=True)
    change({}, [], same=True)
    machine.path("/etc/cost-restarts").write_text("2")
    change({}, again, same=False)
    # Both at once: a restart takes in what a reload would.
    machine.path("/etc/cost-reloads").write_text("3")
    machine.path("/etc/cost-restarts").write_text("3")
    change({}, again, same=False)

    # The process that runs is stopped by the hooks that it was started with.
    change({"hooks": web["hooks"] | {"prestop": f"{STEP} new-prestop"}}, again, same=False)
    app.clear()
    app.systemctl("stop", "cost-web")
    assert app.steps() == ["new-prestop web", "signal web", "poststop web"]
    app.remove()


@pytest.mark.row("BX-8")
def test_the_plan_says_action_and_cause_and_touches_nothing(machine: Machine) -> None:
    app = App.on(machine, "planned")
    app.write({"web": app.service("web")})
    assert app.nanod("plan", app.spec, "--detailed-exitcode", status=3).out.count("planned-web.service") >= 1
    assert files(app) == []
    app.apply()
    app.nanod("plan", app.spec, "--detailed-exitcode")
    app.write({"web": app.service("web", environment={"A": "1"})})
    text = app.nanod("plan", app.spec, "--detailed-exitcode", status=3).out
    line = next(line for line in text.splitlines() if "planned-web.service" in line)
    assert "restart" in line
    assert "Environment" in text
    assert app.nanod("plan", app.spec).status == 0
    data = json.loads(app.nanod("plan", app.spec, "--json").out)
    assert "planned-web.service" in json.dumps(data)
    app.remove()


@pytest.mark.row("BX-13", "FAULTS-39")
def test_what_the_spec_no_longer_has_is_stopped_with_its_hooks_and_deleted(machine: Machine) -> None:
    app = App.on(machine, "garbage")
    keeps = app.service("keeps")
    goes = app.service("goes", volume="/srv/garbage", provisioning={"install": STEP})
    app.apply({"keeps": keeps, "goes": goes})
    assert app.show("goes", "ActiveState") == "active"
    before = app.pid("keeps")
    app.clear()
    app.apply({"keeps": keeps})
    assert app.steps() == ["prestop goes", "signal goes", "poststop goes"]
    assert app.pid("keeps") == before
    assert files(app) == ["garbage-keeps.service", "garbage.target", "multi-user.target.wants/garbage.target", "nanod-garbage.slice"]
    assert "garbage-goes" not in app.systemctl("list-units", "--all", "--plain", "--no-legend", "garbage*")
    assert list(machine.path("/srv/garbage").glob(".nanod-installed-*")), "data and sentinels stay"

    # A renamed service is one that goes and one that comes; the provisioning of one that comes back is not run again.
    app.clear()
    app.apply({"keeps": keeps, "goes": goes})
    assert "install goes" not in app.steps()
    app.clear()
    app.remove()
    assert [step for step in app.steps() if step.endswith("keeps")] == ["prestop keeps", "signal keeps", "poststop keeps"]
    assert files(app) == []
    assert app.systemctl("list-units", "--all", "--plain", "--no-legend", "*garbage*") == ""
    assert not machine.path("/var/lib/nanod/apps/garbage").exists()
    assert machine.path("/srv/garbage").is_dir()
    app.nanod("remove", "garbage", status=1)


@pytest.mark.row("BX-13", "FAULTS-39")
def test_a_removed_hook_or_step_goes_with_its_unit(machine: Machine) -> None:
    app = App.on(machine, "less")
    full = app.service("web", hooks=("ready", "prestart"), volume="/srv/less", provisioning={"install": STEP}, on_failure="true")
    app.apply({"web": full})
    assert {"less-web-provision.service", "less-web-ready.service", "less-web-failure.service"} <= set(files(app))
    app.apply({"web": app.service("web", hooks=("prestart",), volume="/srv/less")})
    assert files(app) == ["less-web.service", "less.target", "multi-user.target.wants/less.target", "nanod-less.slice"]
    assert app.is_up("web")
    app.remove("--purge")
    assert not machine.path("/srv/less").exists()


@pytest.mark.row("BX-7")
def test_the_verdict_names_what_really_failed(machine: Machine) -> None:
    app = App.on(machine, "verdict")
    once = {"policy": "no"}
    app.exits("hook", "prestart", 3)
    app.exits("installed", "install", 6)
    missing = app.service("missing", restart=once, hooks=()) | {"command": ["/no/such/program"]}
    exits = app.service("exits", restart=once, settle="1s", hooks=()) | {"command": "echo 'no configuration' >&2; exit 78", "health": None}
    killed = app.service("killed", restart=once, settle="1s", hooks=()) | {"command": "kill -KILL $$", "health": None}
    unhealthy = app.service("unhealthy", restart=once, hooks=()) | {"health": {"tcp": "127.0.0.1:9", "interval": "50ms", "start_timeout": "300ms"}}
    services = {
        "hook": app.service("hook", restart=once),
        "installed": app.service("installed", provisioning={"install": f"echo 'no space left' >&2; {STEP}"}),
        "missing": missing,
        "exits": exits,
        "killed": killed,
        "unhealthy": unhealthy,
        "waits": app.service("waits", "hook", restart={"delay": "100ms", "limit": 2, "window": "1s"}),
        "fine": app.service("fine"),
    }
    done = app.apply(services, status=4)
    blocks = _by_service(done.out, "verdict")
    expected = {
        "hook": ["prestart", "3"],
        "installed": ["install", "6", "no space left"],
        "missing": ["/no/such/program"],
        "exits": ["78", "no configuration"],
        "killed": ["KILL"],
        "unhealthy": ["tcp", "127.0.0.1:9"],
        "waits": ["hook"],
    }
    assert blocks.keys() == expected.keys()
    for name, words in expected.items():
        for word in words:
            assert word in blocks[name], f"{name}: {word}\n{done.out}"
    data = json.loads(app.nanod("apply", app.spec, "--json", status=4).out)
    assert data["rolled_back"]["complete"] is True
    kinds = {item["service"]: item["cause"]["kind"] for item in data["services"] if item["status"] != "healthy"}
    assert kinds == {
        "hook": "hook",
        "installed": "hook",
        "missing": "missing-executable",
        "exits": "exited",
        "killed": "signal",
        "unhealthy": "probe",
        "waits": "hook",
    }
    assert app.traces() == [], "also of what was fine"
    assert "there is no such app here" in app.nanod("remove", "verdict", status=1).err


def _by_service(text: str, app: str) -> dict[str, str]:
    """What a verdict says of each service that did not come up."""
    parts = re.split(rf"^(?:cannot start )?{app}-([a-z]+)(?: did not stay up)?:", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.row("BX-7", "BX-23", "FAULTS-29")
def test_a_fixed_spec_starts_what_had_given_up_and_leaves_other_failures_alone(machine: Machine) -> None:
    app = App.on(machine, "fixed")
    machine.path(f"{UNITS}/elsewhere.service").write_text("[Service]\nExecStart=/bin/false\n")
    app.systemctl("daemon-reload")
    app.systemctl("start", "elsewhere", status=None)
    until(lambda: app.state("elsewhere.service") == "failed", "the foreign unit has failed")
    broken = app.service("web", hooks=(), settle="1s") | {"command": ["/bin/false"], "health": None}
    app.leave({"web": broken})
    assert app.show("web", "Result") in ("start-limit-hit", "exit-code")
    assert app.state("web") == "failed"
    app.apply({"web": app.service("web")})
    assert app.is_up("web")
    assert app.state("elsewhere.service") == "failed"
    machine.path(f"{UNITS}/elsewhere.service").unlink()
    app.remove()


@pytest.mark.row("BX-8", "FAULTS-23")
def test_apply_converges_and_respects_a_mask(machine: Machine) -> None:
    app = App.on(machine, "converge")
    services = {"web": app.service("web"), "db": app.service("db")}
    app.apply(services)
    before = app.pid("db")
    app.systemctl("stop", "converge-web")
    assert "not running" in app.nanod("plan", app.spec).out.replace("not-running", "not running")
    app.apply()
    assert app.is_up("web")
    assert app.pid("db") == before

    # A file edited by hand is put back, and the plan says why.
    unit = machine.path(f"{UNITS}/converge-web.service")
    wanted = unit.read_text()
    unit.write_text(wanted + "# edited\n")
    assert "edited" in app.nanod("plan", app.spec).out
    app.apply()
    assert unit.read_text() == wanted

    # A mask is the administrator's word; without it the file comes back, and the service is started.
    app.systemctl("stop", "converge-web")
    unit.unlink()
    app.systemctl("mask", "converge-web")
    assert "masked" in app.apply(status=None).out
    assert app.machine.run(["readlink", f"{UNITS}/converge-web.service"]).out.strip() == "/dev/null"
    assert "masked" in app.nanod("status", "converge", status=None).out
    app.systemctl("unmask", "converge-web")
    app.apply()
    assert unit.read_text() == wanted
    assert app.is_up("web")
    assert app.pid("db") == before
    app.remove()


@pytest.mark.row("BX-26", "BX-8", "FAULTS-23")
def test_raw_directives_and_the_drop_ins_of_the_administrator(machine: Machine) -> None:
    app = App.on(machine, "raw")
    web = app.service("web", systemd={"Service": {"Nice": "5", "OOMScoreAdjust": "100"}, "Unit": {"Documentation": ["man:a", "man:b"]}})
    app.apply({"web": web})
    assert app.show("web", "Nice") == "5"
    assert app.show("web", "Documentation") == "man:a man:b"
    drop_in = machine.path(f"{UNITS}/raw-web.service.d/admin.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nNice=7\n")
    app.systemctl("daemon-reload")
    app.systemctl("restart", "raw-web")
    app.apply({"web": web | {"environment": {"A": "1"}}})
    assert app.show("web", "Nice") == "7"
    assert "admin.conf" in app.nanod("status", "raw").out
    app.remove()
    assert drop_in.exists(), "what the administrator wrote is never deleted"
    bad = app.service("web", systemd={"Service": {"ExecStart": "/bin/true"}})
    app.write({"web": bad})
    assert "ExecStart" in app.nanod("check", app.spec, status=2).err
    app.write({"web": app.service("web", systemd={"Service": {"Nicee": "5"}})})
    assert "Nicee" in app.nanod("apply", app.spec, status=2).err, "what systemd would only warn about is refused"
    assert not machine.path(f"{UNITS}/raw-web.service").exists()


@pytest.mark.row("BX-12")
def test_a_bad_spec_is_refused_whole_and_with_its_places(machine: Machine) -> None:
    app = App.on(machine, "strict")
    app.write_text(
        "project: strict\n"
        "services:\n"
        "  web:\n"
        "    comand: /bin/true\n"
        "    requires: [db, nosuch]\n"
        "  db:\n"
        "    command: [/bin/true]\n"
        "    requires: [db]\n"
        "    restart: {delay: soon}\n"
        "    environment: {A: 1, A: 2}\n"
    )
    for verb in ("check", "plan", "apply"):
        err = app.nanod(verb, app.spec, status=2).err
        for place in (":4:5: error", ":5:", ":8:", ":9:", ":10:"):
            assert f"{app.spec}{place}" in err, f"{place}\n{err}"
        assert "command" in err
    assert files(app) == []


@pytest.mark.row("BX-12")
def test_what_only_the_host_knows_is_checked_before_anything_is_touched(machine: Machine) -> None:
    app = App.on(machine, "facts")
    unknown: list[tuple[dict[str, Any], str]] = [
        ({"user": "nosuchuser"}, "nosuchuser"),
        ({"credentials": {"token": "/no/such/secret"}}, "/no/such/secret"),
        ({"requires": ["nosuch.service"]}, "nosuch.service"),
        ({"environment_files": ["/no/such/file.env"]}, "/no/such/file.env"),
    ]
    for keys, word in unknown:
        done = app.apply({"web": app.service("web") | keys}, status=None)
        assert done.status in (1, 2), done.out
        assert word in done.err
        assert files(app) == []


@pytest.mark.row("BX-27", "FAULTS-12")
@pytest.mark.parametrize("where", ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system"])
def test_a_foreign_unit_is_never_overwritten(machine: Machine, where: str) -> None:
    app = App.on(machine, "foreign")
    unit = machine.path(f"{where}/foreign-web.service")
    unit.parent.mkdir(exist_ok=True)
    unit.write_text("[Service]\nExecStart=/bin/sleep infinity\n")
    before = _identity(unit)
    app.systemctl("daemon-reload")
    app.systemctl("start", "foreign-web")
    pid = app.pid("web")
    done = app.apply({"web": app.service("web")}, status=1)
    assert "foreign-web.service" in done.err
    assert _identity(unit) == before
    assert app.pid("web") == pid
    app.systemctl("stop", "foreign-web")
    unit.unlink()
    assert [name for name in files(app) if "nanod" in name or "target" in name] == []


@pytest.mark.row("BX-27", "FAULTS-12")
@pytest.mark.parametrize("name", ["network", "multi-user", "sockets"])
def test_an_app_cannot_take_a_name_of_systemd(machine: Machine, name: str) -> None:
    app = App.on(machine, name)
    done = app.apply({"web": app.service("web")}, status=2)
    assert name in done.err
    assert not machine.path(f"{UNITS}/{name}.target").exists()


def _identity(path: Path) -> tuple[int, int, bytes]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, path.read_bytes()
