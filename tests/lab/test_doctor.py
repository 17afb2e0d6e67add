"""`nanod doctor` on real machines: what it finds, level and all, and that it changes nothing."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from nanod.host.records import VERSION
from tests.lab.steps import App

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nanod.rehearse.machine import Machine

UNITS = "/etc/systemd/system"
APPS = "/var/lib/nanod/apps"
_LIMITS = {"controller-memory", "controller-cpu", "controller-pids", "controller-io"}
"""A container has none of them, and there is no package of nanod in it."""


def found(machine: Machine, *, user: str = "", app: str | None = None) -> dict[str, dict[str, Any]]:
    """Findings by id that are not ok, of one app or of the host; the exit code fits them."""
    done = machine.run(["nanod", "doctor", "--json"], user=user)
    assert "Traceback" not in done.err
    answer = json.loads(done.out)
    assert done.status == (0 if answer["ok"] else 4)
    assert answer["ok"] is not any(item["level"] == "error" for item in answer["findings"])
    return {
        item["id"]: item
        for item in answer["findings"]
        if item["level"] != "ok" and item["app"] == app and item["id"] not in {*_LIMITS, "recover", "journal-persistent"}
    }


def levels(machine: Machine, app: str | None = None) -> dict[str, str]:
    return {name: item["level"] for name, item in found(machine, app=app).items()}


@contextmanager
def elsewhere(path: Path) -> Iterator[None]:
    """Something is not there for a while."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    yield
    aside.rename(path)


def applied(machine: Machine, name: str, **keys: Any) -> App:
    app = App.on(machine, name)
    web = app.service("web", health=None, runtime_dir=False, hooks=(), **keys)
    app.apply({"web": web})
    assert levels(machine, name) == {}
    return app


def proof(machine: Machine, version: str) -> None:
    app = applied(machine, "fine")
    assert levels(machine) == {}
    shown = app.nanod("doctor").out
    assert f"\n  ok       systemd {version}\n" in shown
    assert "\n  ok       PID 1 answers on its private socket\n" in shown
    assert "\n\nfine\n  ok       is as nanod left it\n" in shown
    assert max(map(len, shown.splitlines())) <= 80
    unit = machine.path(f"{UNITS}/fine-web.service")
    with elsewhere(unit):
        assert levels(machine, "fine")["drift-deleted"] == "error"
    unit.write_text(unit.read_text() + "Nice=5\n")
    assert {"drift-edited", "drift-not-loaded"} <= levels(machine, "fine").keys()
    app.apply()
    assert levels(machine, "fine") == {}
    app.remove()


def test_on_systemd_252(machine: Machine) -> None:
    proof(machine, "252")


def test_on_systemd_257(machine257: Machine) -> None:
    proof(machine257, "257")


def test_it_changes_nothing(machine: Machine) -> None:
    app = applied(machine, "still")
    machine.path(f"{UNITS}/.#nanod-0123456789abcdef").write_text("left")

    def everything() -> str:
        listed = machine.run(["find", UNITS, "/var/lib/nanod", "/run/nanod", "-printf", "%p %i %T@ %C@ %m %U %s\n"]).out
        return listed + app.systemctl("show", "--property=UnitsLoadTimestampMonotonic")

    before = everything()
    assert levels(machine) == {"leftover": "note"}
    app.nanod("doctor")
    app.nanod("status")
    assert everything() == before
    app.write({"web": app.service("web", health=None, runtime_dir=False, hooks=(), environment={"A": "1"})})
    app.apply()
    assert levels(machine) == {}, "the next apply has deleted it, as the remedy says"
    app.remove()


def of_version(record: bytes, number: int) -> bytes:
    return record.replace(b'"version": %d,' % VERSION, b'"version": %d,' % number)


@pytest.mark.row("FAULTS-22")
def test_records_of_other_versions_of_nanod(machine: Machine) -> None:
    """One of an earlier format is as good as any. What a newer nanod wrote is said to be that, and by apply, too."""
    app = applied(machine, "older")
    manifest = machine.path(f"{APPS}/older/generations/1/manifest.json")
    whole = manifest.read_bytes()
    earlier = of_version(whole, 1)
    assert earlier != whole
    manifest.write_bytes(b"".join(line for line in earlier.splitlines(keepends=True) if b'"outer"' not in line))
    assert levels(machine, "older") == {}
    done = app.apply()
    assert ("nothing to do" in done.out, "warning" in done.err) == (True, False)
    manifest.write_bytes(of_version(whole, VERSION + 1))
    cause = f"a newer nanod wrote it: its format is {VERSION + 1}, and this one reads up to {VERSION}"
    assert cause in found(machine, app="older")["record-unreadable"]["text"]
    assert cause in app.apply().err
    app.remove()


@pytest.mark.row("FAULTS-22")
def test_torn_records(machine: Machine) -> None:
    app = applied(machine, "torn")
    manifest = machine.path(f"{APPS}/torn/generations/1/manifest.json")
    whole = manifest.read_bytes()
    for content in (b"", b"\0" * 100, whole[:50], of_version(whole, 99)):
        manifest.write_bytes(content)
        seen = levels(machine, "torn")
        assert (seen["record-torn"], seen["record-unreadable"]) == ("error", "note")
    manifest.write_bytes(whole)
    with elsewhere(machine.path(f"{APPS}/torn/current")):
        assert levels(machine, "torn")["record-torn"] == "error"
    machine.path(f"{APPS}/torn/generations/7").mkdir()
    assert levels(machine, "torn") == {"uncommitted": "note", "record-unreadable": "note"}
    machine.path(f"{APPS}/torn/generations/7").rmdir()
    manifest.write_bytes(b"")
    app.apply()
    assert set(levels(machine, "torn")) <= {"set-aside", "record-unreadable"}, "the apply has made a new one"
    app.remove()


@pytest.mark.row("FAULTS-18", "FAULTS-23")
def test_unit_files_and_links_that_are_not_as_they_were(machine: Machine) -> None:
    app = applied(machine, "files")
    unit, link = machine.path(f"{UNITS}/files-web.service"), machine.path(f"{UNITS}/multi-user.target.wants/files.target")
    text = unit.read_text()
    unit.write_text("")
    app.systemctl("daemon-reload")
    assert levels(machine, "files")["empty-unit"] == "error"
    app.apply()
    assert (unit.read_text(), levels(machine, "files")) == (text, {})
    link.unlink()
    assert levels(machine, "files") == {"link": "warning"}
    app.apply()
    assert levels(machine, "files") == {}
    drop_in = machine.path(f"{UNITS}/files-web.service.d/admin.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nNice=3\n")
    app.systemctl("daemon-reload")
    assert levels(machine, "files") == {"drift-override": "note"}
    drop_in.unlink()
    drop_in.parent.rmdir()
    app.systemctl("daemon-reload")
    with elsewhere(machine.path(app.spec)):
        assert levels(machine, "files") == {"spec-gone": "warning"}
    app.systemctl("stop", "files-web")
    assert levels(machine, "files") == {"unhealthy": "warning"}
    app.systemctl("start", "files-web")
    unit.unlink()
    app.systemctl("mask", "files-web")
    assert levels(machine, "files") == {"drift-masked": "note"}
    app.systemctl("unmask", "files-web")
    app.apply()
    app.remove()


def test_units_that_nothing_is_on_record_of(machine: Machine) -> None:
    app = applied(machine, "lost")
    with elsewhere(machine.path(f"{APPS}/lost")):
        seen = found(machine)
        assert seen["orphan"]["level"] == "warning"
        assert seen["orphan"]["remedy"].startswith("nanod remove lost")
    dangling = machine.path(f"{UNITS}/multi-user.target.wants/gone.target")
    dangling.symlink_to("../gone.target")
    assert levels(machine) == {"dangling-link": "warning"}
    dangling.unlink()
    app.remove()


@pytest.mark.row("FAULTS-16", "FAULTS-28")
def test_transactions_that_went_wrong(machine: Machine) -> None:
    app = applied(machine, "wrong")
    web = app.service("web", health=None, runtime_dir=False, hooks=())
    app.write({"web": web | {"environment": {"A": "1"}}})
    machine.run(["nanod", "apply", app.spec], env={"NANOD_FAULT": "installed:kill"})
    seen = found(machine, app="wrong")
    assert (seen["interrupted"]["level"], seen["interrupted"]["remedy"]) == ("error", "nanod recover")
    app.nanod("recover")
    assert levels(machine, "wrong") == {}
    app.write({"web": web | {"hooks": {"prestart": "exit 3"}, "restart": {"delay": "100ms", "limit": 2, "window": "10s"}}})
    app.apply(status=4)
    seen = found(machine, app="wrong")
    assert {name: item["level"] for name, item in seen.items()} == {"last-failed": "warning"}
    assert seen["last-failed"]["text"].endswith(", ended failed, and generation 1 is back")
    history = machine.path(f"{APPS}/wrong/history.jsonl")
    entries = history.read_text()
    history.write_text(entries + json.dumps({"at": "now", "action": "apply", "verdict": "failed", "problems": ["wrong-web.service is down"]}) + "\n")
    seen = found(machine, app="wrong")
    assert (seen["degraded"]["level"], seen["degraded"]["text"]) == ("error", "apply of now could not be undone: wrong-web.service is down")
    history.write_text(entries)
    app.remove()


@pytest.mark.parametrize(
    ("path", "name", "level"),
    [
        ("/usr/bin/flock", "program", "error"),
        ("/usr/bin/logger", "program", "error"),
        ("/var/lib/nanod/lib/1/hook", "lib", "error"),
        ("/run/dbus/system_bus_socket", "bus", "warning"),
    ],
)
def test_what_units_run_and_nanod_needs(machine: Machine, path: str, name: str, level: str) -> None:
    app = applied(machine, "needs")
    with elsewhere(machine.path(path)):
        seen = found(machine)
        assert {key: item["level"] for key, item in seen.items()} == {name: level}
        assert path.rpartition("/")[2].split("_")[0] in seen[name]["text"]
    assert levels(machine) == {}
    app.remove()


def test_programs_that_were_edited_are_renewed_as_the_remedy_says(machine: Machine) -> None:
    app = applied(machine, "renew")
    program = machine.path("/var/lib/nanod/lib/1/hook")
    program.chmod(0o644)
    assert levels(machine) == {"lib": "error"}
    app.apply()
    assert levels(machine) == {}
    program.write_text(program.read_text() + "# edited\n")
    assert levels(machine) == {"lib": "note"}
    app.apply()
    assert levels(machine) == {}
    app.remove()


def test_a_host_that_others_could_change_or_that_has_no_room(machine: Machine) -> None:
    app = applied(machine, "host")
    units = machine.path(UNITS)
    units.chmod(0o777)
    assert levels(machine) == {"directory": "error"}
    units.chmod(0o755)
    machine.run(["mount", "--options", "remount,size=12M", "/run"])
    assert levels(machine) == {"run-space": "error"}
    machine.run(["mount", "--options", "remount,size=50%", "/run"])
    switch = machine.path("/etc/nsswitch.conf")
    before = switch.read_text()
    switch.write_text(before.replace("passwd:         files systemd", "passwd:         files"))
    assert levels(machine) == {"nss-systemd": "note"}
    switch.write_text(before)
    app.systemctl("stop", "systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald-audit.socket", "systemd-journald")
    assert levels(machine)["journald"] == "warning"
    app.systemctl("start", "systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald")
    assert levels(machine) == {}
    app.remove()


def test_limits_and_dynamic_users_that_a_unit_asks_for(machine: Machine) -> None:
    app = App.on(machine, "asks")
    web = {"command": ["/bin/sleep", "infinity"], "dynamic_user": True, "working_dir": "/", "settle": "0s", "resources": {"memory_max": "1G"}}
    app.apply({"web": web})
    answer = json.loads(app.nanod("doctor", "--json").out)["findings"]
    memory = next(item for item in answer if item["id"] == "controller-memory")
    assert (memory["level"], memory["text"].endswith(", and asks-web.service asks for it")) == ("warning", True)
    app.remove()


def test_without_root_what_cannot_be_seen_is_unknown(machine: Machine) -> None:
    app = applied(machine, "seen")
    seen = found(machine, user="nobody", app="seen")
    assert {name: (item["level"], item["known"], item["remedy"]) for name, item in seen.items()} == {"records": ("note", False, "run it as root")}
    host = found(machine, user="nobody")
    assert {name: item["known"] for name, item in host.items()} == {"journal-readable": False}
    shown = machine.run(["nanod", "doctor"], user="nobody")
    assert (shown.status, shown.err) == (0, "")
    assert "  note     unknown: its records are readable to root alone\n           -> run it as root\n" in shown.out
    assert "2 unknown" in shown.out.splitlines()[-1]
    app.remove()


def names(findings: Sequence[dict[str, Any]]) -> set[str]:
    return {item["id"] for item in findings}


def test_on_a_machine_without_systemd(machine: Machine) -> None:
    """A PID namespace of its own, in which something else is the first process."""
    app = applied(machine, "bare")
    done = machine.run(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", "nanod doctor --json; exit $?"])
    assert (done.status, done.err) == (4, "")
    answer = json.loads(done.out)["findings"]
    pid1 = answer[0]
    assert (pid1["id"], pid1["level"], pid1["text"]) == ("pid1", "error", "PID 1 of this machine is sh, and not systemd")
    assert "nanod rehearse" in pid1["remedy"]
    assert {"systemd-version", "run-space", "program", "lib", "directory"} - {"lib"} <= names(answer)
    assert not {"manager", "bus", "recover", "journald"} & names(answer)
    with elsewhere(machine.path(f"{UNITS}/bare-web.service")):
        done = machine.run(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", "nanod doctor --json; exit $?"])
        assert "drift-deleted" in names(json.loads(done.out)["findings"])
    app.remove()
