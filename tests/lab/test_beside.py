"""What happens beside an apply: other applies, reloads, a systemd that restarts, a lost connection. Nothing hangs, and the answer is right.

By hand with more: NANOD_LAB_APPLIES=1000 beside each trouble, NANOD_LAB_AT_ONCE=50.
"""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from nanod.rehearse.machine import SOURCE
from tests.lab.steps import App, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nanod.rehearse.machine import Machine

UNITS = "/etc/systemd/system"
APPLIES = int(os.environ.get("NANOD_LAB_APPLIES", "2"))
AT_ONCE = int(os.environ.get("NANOD_LAB_AT_ONCE", "20"))
ONE: dict[str, Any] = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s"}
TROUBLES = {
    "daemon-reload": "systemctl daemon-reload; sleep 0.02",
    "daemon-reexec": "systemctl daemon-reexec; sleep 0.2",
    "dbus": "systemctl reset-failed dbus.service dbus.socket; systemctl restart dbus.service; sleep 0.2",
}
_CUT = """
import ctypes, os, socket, subprocess, sys, time
# Runs a command, and shuts its connection to PID 1 down every few milliseconds, whatever it is doing: pidfd_getfd(2), Linux 5.6.
syscall, cuts = ctypes.CDLL(None, use_errno=True).syscall, 0
child = subprocess.Popen(sys.argv[1:])
pid = os.pidfd_open(child.pid)
while child.poll() is None:
    time.sleep(0.015)
    try:
        numbers = [int(name) for name in os.listdir(f"/proc/{child.pid}/fd") if os.readlink(f"/proc/{child.pid}/fd/{name}").startswith("socket:")]
    except OSError:
        continue
    for number in numbers:
        if (taken := syscall(438, pid, number, 0)) >= 0:
            with socket.socket(fileno=taken) as found:
                try:
                    if found.getpeername() == "/run/systemd/private":
                        found.shutdown(socket.SHUT_RDWR)
                        cuts += 1
                except OSError:
                    pass
print("cuts", cuts)
sys.exit(child.returncode)
"""
_COUNTED = """
import sys
from nanod.cli.app import main
from nanod.host.systemd import DBusSystemd
call = DBusSystemd._call
def counted(self, action, path, interface, method, *words, **keys):
    with open("/run/calls", "a") as file:
        print(method.decode(), keys.get("unit", ""), file=file)
    return call(self, action, path, interface, method, *words, **keys)
DBusSystemd._call = counted
sys.exit(main(sys.argv[1:]))
"""


def write(app: App, path: str, services: Mapping[str, Mapping[str, Any]]) -> str:
    app.machine.write(path, json.dumps({"project": app.name, "services": services}))
    return path


def numbered(number: int) -> dict[str, dict[str, Any]]:
    """A spec whose units all tell which one they are of."""
    return {name: ONE | {"environment": {"G": str(number)}} for name in ("a", "b")}


def seen(app: App) -> set[str]:
    """The number that the files, the record, and the processes of the app's services have."""
    record = app.machine.path(f"/var/lib/nanod/apps/{app.name}/current")
    generation = app.machine.path(f"/var/lib/nanod/apps/{app.name}/{record.readlink()}")
    texts = [app.machine.path(f"{UNITS}/{app.unit(name)}").read_text() for name in ("a", "b")]
    texts += [(generation / "units" / app.unit(name)).read_text() for name in ("a", "b")]
    texts.append((generation / "spec.yaml").read_text().replace('"G": ', "G=").replace('"', ""))
    for name in ("a", "b"):
        group = f"/sys/fs/cgroup/nanod.slice/nanod-{app.name}.slice/{app.unit(name)}/cgroup.procs"
        texts.append(app.machine.run(["sh", "-c", f"for pid in $(cat {group}); do tr '\\0' '\\n' </proc/$pid/environ; done"]).out)
    return {number for text in texts for number in re.findall(r"\bG=([0-9]+)", text)}


@pytest.mark.row("FAULTS-20", "BX-2")
def test_the_second_of_two_waits_or_is_told_who_is_at_work(machine: Machine) -> None:
    app = App.on(machine, "two")
    web = app.service("web", hooks=(), restart={"policy": "no"})
    app.sick("web")
    said = machine.write("/run/second", "")
    app.write({"web": web})
    first = machine.popen(["sh", "-c", f"exec nanod apply {app.spec} >/run/first 2>&1"])
    until(lambda: app.show("web", "SubState") == "start-post", "the first waits for health")
    pid = machine.path("/run/nanod/lock").read_text().split()[0]
    for verb in (["apply", app.spec], ["rollback", "two"], ["remove", "two"]):
        done = app.nanod(*verb, "--lock-timeout", "0", status=5)
        assert f"busy: held by pid {pid} (nanod apply {app.spec})" in done.err
    error = json.loads(app.nanod("apply", app.spec, "--lock-timeout", "0", "--json", status=5).out)["error"]
    assert (error["kind"], f"pid {pid} " in error["message"]) == ("busy", True)
    assert app.nanod("status", "two", status=None).out, "who only looks does not wait"
    # The spec is read under the lock: what it says when its turn comes counts.
    second = machine.popen(["sh", "-c", f"exec nanod apply {app.spec} >/run/second 2>&1"])
    until(lambda: f"waiting for pid {pid}" in said.read_text(), "the second waits")
    app.write({"web": web | {"environment": {"A": "late"}}})
    app.well("web")
    assert (first.wait(), second.wait()) == (0, 0)
    assert "A=late" in machine.path(f"{UNITS}/two-web.service").read_text()
    assert [entry["verdict"] for entry in json.loads(app.nanod("history", "two", "--json").out)["entries"]] == ["healthy", "healthy"]
    app.remove()


@pytest.mark.row("FAULTS-20", "BX-2")
def test_of_many_at_once_one_wins_whole(machine: Machine) -> None:
    """Of three apps, each from specs of many places: all end well, one after the other, and every trace of an app is of one spec."""
    apps = [App.on(machine, name) for name in ("many", "more", "most")]
    running = []
    for number in range(AT_ONCE):
        app = apps[number % 3]
        path = write(app, f"/etc/nanod/at-once/{app.name}-{number}.yaml", numbered(number))
        running.append(machine.popen(["sh", "-c", f"exec nanod apply {path} --take-over --lock-timeout infinity >/run/{number} 2>&1"]))
    assert [command.wait() for command in running] == [0] * AT_ONCE
    for app in apps:
        assert len(seen(app)) == 1
        history = json.loads(app.nanod("history", app.name, "--json").out)["entries"]
        generations = [entry["generation"] for entry in history]
        assert sorted(generations) == list(range(1, len(generations) + 1))
        assert app.nanod("status", app.name).status == 0
        assert not list(machine.path(f"/var/lib/nanod/apps/{app.name}").glob("intent*"))
        app.remove()


@contextmanager
def beside(machine: Machine, command: str) -> Iterator[None]:
    """The command again and again, and at least once in the block."""
    goes, gone = machine.write("/run/goes", ""), machine.path("/run/gone")
    gone.unlink(missing_ok=True)
    loop = machine.popen(["sh", "-c", f"while [ -e /run/goes ]; do {command}; : >/run/gone; done"])
    try:
        until(gone.exists, f"{command} once")
        yield
    finally:
        goes.unlink()
        loop.wait()


@pytest.mark.row("FAULTS-31", "FAULTS-32", "FAULTS-20", "BX-2")
@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_without_a_pause(any_machine: Machine, trouble: str) -> None:
    app = App.on(any_machine, f"beside{trouble.replace('-', '')}")
    hooked = app.service("b", hooks=("prestart", "poststart"))
    with beside(any_machine, TROUBLES[trouble]):
        for number in range(APPLIES):
            app.clear()
            app.apply({"a": numbered(number)["a"], "b": hooked | {"environment": {"G": str(number)}}})
            assert seen(app) == {str(number)}
            assert app.steps().count("prestart b") == app.steps().count("poststart b") == 1
        bad = hooked | {"environment": {"G": "9999"}, "hooks": {"prestart": "exit 3"}, "restart": {"policy": "no"}}
        done = app.apply({"a": numbered(9999)["a"], "b": bad}, status=4)
        assert "hook prestart/1 exited with status 3" in done.out
        assert "rolled back to generation" in done.out
        assert seen(app) == {str(APPLIES - 1)}
        app.remove()
    assert files(app) == []


def files(app: App) -> list[str]:
    return [path.name for path in app.machine.path(UNITS).rglob(f"*{app.name}*")]


@pytest.mark.row("FAULTS-32", "BX-2")
def test_a_connection_that_is_cut_in_every_call(machine: Machine) -> None:
    app = App.on(machine, "cut")
    machine.write("/run/cut.py", _CUT)

    def cut(*argv: str) -> tuple[int, int]:
        done = machine.run(["python3", "/run/cut.py", "nanod", *argv], timeout=120)
        assert "Traceback" not in done.err
        return done.status, int(re.findall("cuts ([0-9]+)", done.out)[-1])

    for number in range(APPLIES):
        write(app, app.spec, numbered(number))
        status, cuts = cut("apply", app.spec)
        assert (status, seen(app)) == (0, {str(number)})
        assert cuts > 0
    pids = app.pid("a"), app.pid("b")
    write(app, app.spec, numbered(9999) | {"b": {**numbered(9999)["b"], "command": ["/bin/false"], "restart": {"policy": "no"}, "settle": "5s"}})
    assert cut("apply", app.spec)[0] == 4
    assert seen(app) == {str(APPLIES - 1)}
    assert (app.pid("a") != pids[0], app.pid("b") != pids[1]) == (True, True)
    assert cut("remove", "cut")[0] == 0
    assert files(app) == []


@pytest.mark.row("BX-16", "BX-7")
def test_a_hook_that_prints_much_takes_no_record_along(machine257: Machine) -> None:
    """The journal drops what a unit says too much, counted by priority (docs/systemd-facts.md)."""
    app = App.on(machine257, "loud")
    hooks = {
        "prestart": ["yes x | head -c 250000", "sleep 0.3", {"name": "quiet", "run": "exit 1", "on_failure": "ignore"}],
        "poststart": ["sleep 0.3", "true"],
    }
    done = app.apply({"web": ONE | {"hooks": hooks}})
    assert "left no record" not in done.out
    found = json.loads(app.nanod("status", "loud", "--json").out)["apps"][0]["services"][0]["hooks"]
    assert [hook["result"] for hook in found] == ["ok", "ok", "failed", "ok", "ok"]
    assert app.journal("--unit=loud-web").count("x\n") < 125000, "it was too much"
    app.remove()


@pytest.mark.row("FAULTS-30", "BX-2")
def test_what_systemd_refuses_is_asked_for_once(machine: Machine) -> None:
    """A job that nothing may replace stands against the start: one call, and the way back, and no storm of tries."""
    app = App.on(machine, "refused")
    app.apply(numbered(1))
    before = seen(app), app.pid("a")
    machine.write(f"{UNITS}/against.service", "[Unit]\nConflicts=refused-b.service\n[Service]\nType=oneshot\nExecStart=sleep 1000\n")
    app.systemctl("daemon-reload")
    app.systemctl("start", "--no-block", "--job-mode=replace-irreversibly", "against.service")
    until(lambda: app.show("against.service", "ActiveState") == "activating", "the job stands")
    machine.write("/run/counted.py", _COUNTED)
    machine.path("/run/calls").unlink(missing_ok=True)
    write(app, app.spec, numbered(2))
    done = machine.run([sys.executable, "/run/counted.py", "apply", app.spec], env={"PYTHONPATH": str(SOURCE)}, timeout=120)
    assert done.status in (1, 6), done.out + done.err
    assert "cannot start refused-b.service: transaction for refused-b.service/start is destructive" in done.err + done.out
    calls = machine.path("/run/calls").read_text().splitlines()
    for method in ("StartUnit", "RestartUnit", "StopUnit"):
        assert calls.count(f"{method} refused-b.service") <= 2, calls
    assert calls.count("Reload ") == 2
    app.systemctl("kill", "--signal=KILL", "against.service")
    until(lambda: app.show("against.service", "ActiveState") == "failed", "nothing stands against it any more")
    machine.path(f"{UNITS}/against.service").unlink()
    app.systemctl("daemon-reload")
    app.nanod("apply", app.spec)
    assert seen(app) == {"2"}
    assert before[0] == {"1"}
    app.remove()


@pytest.mark.row("FAULTS-30", "FAULTS-12", "BX-27", "BX-4")
def test_a_rollback_takes_no_name_that_is_not_its_own_any_more(machine: Machine) -> None:
    app = App.on(machine, "names")
    app.apply(numbered(1))
    app.apply({"a": numbered(2)["a"]})
    text = "[Service]\nExecStart=/bin/sleep infinity\n"
    for where in (UNITS, "/run/systemd/system"):
        unit = machine.write(f"{where}/names-b.service", text)
        app.systemctl("daemon-reload")
        app.systemctl("start", "names-b")
        before = unit.stat().st_ino, app.pid("a"), app.pid("b")
        done = app.nanod("rollback", "names", status=1)
        assert f"names-b.service ({where}/names-b.service)" in done.err
        assert (unit.stat().st_ino, app.pid("a"), app.pid("b")) == before
        assert unit.read_text() == text
        app.systemctl("stop", "names-b")
        unit.unlink()
        app.systemctl("daemon-reload")
    app.nanod("rollback", "names")
    assert seen(app) == {"1"}
    app.remove()


@pytest.mark.row("FAULTS-27", "BX-4", "BX-2")
def test_a_take_over_that_fails_leaves_the_app_to_its_owner(machine: Machine) -> None:
    app = App.on(machine, "owned")
    app.apply(numbered(1))
    other = write(
        app, "/etc/nanod/elsewhere/owned.yaml", numbered(2) | {"b": ONE | {"command": ["/bin/false"], "restart": {"policy": "no"}, "settle": "5s"}}
    )
    assert "belongs to" in app.nanod("apply", other, status=1).err
    assert "rolled back" in app.nanod("apply", other, "--take-over", status=4).out

    def is_the_owners() -> bool:
        assert app.nanod("plan", app.spec, "--detailed-exitcode").status == 0
        return "belongs to" in app.nanod("plan", other, status=1).err and seen(app) == {"1"}

    assert is_the_owners()
    # Also when it is killed in the middle.
    write(app, other, numbered(3))
    assert machine.nanod("apply", other, "--take-over", env={"NANOD_FAULT": "started:kill"}).status != 0
    app.nanod("recover")
    assert is_the_owners()
    app.nanod("apply", other, "--take-over")
    assert seen(app) == {"3"}
    assert "belongs to" in app.nanod("apply", app.spec, status=1).err
    app.remove()
