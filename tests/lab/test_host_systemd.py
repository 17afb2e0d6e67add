"""The adapters of nanod/host against a real PID 1: what they promise holds on 252 and 257."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nanod.rehearse.machine import SOURCE

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

_PRELUDE = """
import json, subprocess, threading, time
from dataclasses import asdict
from pathlib import Path
from nanod.errors import NanodError
from nanod.host.systemd import DBusSystemd
def sh(text): return subprocess.run(text, shell=True, check=False, capture_output=True, text=True)
def unit(name, text):
    Path("/etc/systemd/system", name).write_text(text)
def wait(reached, what="it"):
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
def refusal(action, *words):
    try:
        action(*words)
    except NanodError as refused:
        return [refused.message, refused.hint]
systemd = DBusSystemd()
"""
SLEEPER = "[Service]\nExecStart=sleep 1000\n"


def inside(any_machine: Machine, code: str, *, user: str = "root") -> Any:
    """What `code` leaves in `result`. Runs on Debian's own Python, with Debian's own pystemd."""
    script = f"{_PRELUDE}\n{code}\nprint(json.dumps(result))"
    done = any_machine.run(["/usr/bin/python3", "-c", script], env={"PYTHONPATH": str(SOURCE)}, user=user, timeout=120)
    assert done.status == 0, done.err
    return json.loads(done.out.splitlines()[-1])


def test_the_version_of_what_runs(any_machine: Machine) -> None:
    found = inside(any_machine, 'result = [systemd.version(), sh("systemctl --version").stdout.split()[1]]')
    assert str(found[0]) == found[1].partition(".")[0]


def test_a_unit_from_start_to_stop(any_machine: Machine) -> None:
    any_machine.write("/etc/systemd/system/t-one.service", SLEEPER)
    found = inside(
        any_machine,
        """
systemd.daemon_reload()
states = []
def look(): states.append(systemd.states(["t-one.service"])["t-one.service"])
look(); systemd.start("t-one.service"); wait(lambda: systemd.states(["t-one.service"])["t-one.service"].is_up); look()
first = systemd.detail("t-one.service")
systemd.restart("t-one.service"); wait(lambda: (s := systemd.states(["t-one.service"])["t-one.service"]).is_up and not s.job); look()
second = systemd.detail("t-one.service")
systemd.stop("t-one.service"); wait(lambda: systemd.states(["t-one.service"])["t-one.service"].active == "inactive"); look()
result = [[[s.load, s.active, s.sub, s.job] for s in states], asdict(first), asdict(second)]
""",
    )
    states, first, second = found
    assert [state[:3] for state in states] == [
        ["loaded", "inactive", "dead"],
        ["loaded", "active", "running"],
        ["loaded", "active", "running"],
        ["loaded", "inactive", "dead"],
    ]
    assert len(first["invocation"]) == 32
    assert first["main_pid"] > 1
    assert first["active_since"] > 10**15
    assert first["need_daemon_reload"] is False
    assert (first["main_pid"], first["invocation"]) != (second["main_pid"], second["invocation"])


def test_jobs_and_their_types_are_seen(any_machine: Machine) -> None:
    any_machine.write("/etc/systemd/system/t-slow.service", "[Service]\nType=oneshot\nExecStart=sleep 1000\nExecStopPost=true\n")
    assert inside(
        any_machine,
        """
systemd.daemon_reload(); systemd.start("t-slow.service")
wait(lambda: systemd.states(["t-slow.service"])["t-slow.service"].active == "activating")
s = systemd.states(["t-slow.service"])["t-slow.service"]
result = [s.active, s.job > 0, s.job_type]
systemd.stop("t-slow.service")
""",
    ) == ["activating", True, "start"]


def test_how_a_service_ended(any_machine: Machine) -> None:
    any_machine.write(
        "/etc/systemd/system/t-bad.service", "[Service]\nExecStart=sh -c 'exit 7'\nRestart=on-failure\nRestartSec=0\nStartLimitBurst=3\n"
    )
    found = inside(
        any_machine,
        """
systemd.daemon_reload(); systemd.start("t-bad.service")
wait(lambda: systemd.states(["t-bad.service"])["t-bad.service"].active == "failed")
d = systemd.detail("t-bad.service"); before = [d.result, d.exec_main_code, d.exec_main_status, d.restarts > 0]
systemd.reset_failed("t-bad.service")
result = [before, systemd.states(["t-bad.service"])["t-bad.service"].active, systemd.detail("multi-user.target").result]
""",
    )
    assert found == [["exit-code", 1, 7, True], "inactive", "success"]


def test_drop_ins_and_an_edited_file_are_seen(any_machine: Machine) -> None:
    any_machine.write("/etc/systemd/system/t-drop.service", SLEEPER)
    any_machine.path("/etc/systemd/system/t-drop.service.d").mkdir()
    any_machine.write("/etc/systemd/system/t-drop.service.d/a.conf", "[Service]\nNice=3\n")
    found = inside(
        any_machine,
        """
systemd.daemon_reload(); systemd.start("t-drop.service")
before = systemd.detail("t-drop.service")
time.sleep(0.01); unit("t-drop.service", "[Service]\\nExecStart=sleep 2000\\n")
result = [before.drop_ins, before.need_daemon_reload, systemd.detail("t-drop.service").need_daemon_reload]
systemd.stop("t-drop.service")
""",
    )
    assert found == [["/etc/systemd/system/t-drop.service.d/a.conf"], False, True]


def test_names_that_are_no_units(any_machine: Machine) -> None:
    found = inside(
        any_machine,
        """
names = ["missing.service", "im possible", "dbus.service", "a/b.service", "dbus.service"]
result = [[name, s.load, s.active] for name, s in systemd.states(names).items()]
systemd.stop("missing.service"); systemd.reset_failed("missing.service")
""",
    )
    assert found == [
        ["missing.service", "not-found", "inactive"],
        ["im possible", "not-found", "inactive"],
        ["dbus.service", "loaded", "active"],
        ["a/b.service", "not-found", "inactive"],
    ]


def test_refusals_name_the_unit_and_the_way_out(any_machine: Machine) -> None:
    any_machine.write("/etc/systemd/system/t-plain.service", SLEEPER)
    any_machine.write("/etc/systemd/system/t-broken.service", "[Service]\nRestart=no\n")
    found = inside(
        any_machine,
        """
sh("ln -s /dev/null /etc/systemd/system/t-masked.service")
systemd.daemon_reload(); systemd.start("t-plain.service")
result = [refusal(systemd.start, "t-masked.service"), refusal(systemd.start, "missing.service"), refusal(systemd.reload, "t-plain.service"),
          refusal(systemd.start, "t-broken.service"), refusal(systemd.detail, "im possible"), systemd.states(["t-masked.service"])["t-masked.service"].load]
systemd.stop("t-plain.service")
""",
    )
    masked, missing, plain, broken, impossible, load = found
    assert masked == [
        "cannot start t-masked.service: unit t-masked.service is masked",
        "an administrator masked it; 'systemctl unmask t-masked.service' lifts that",
    ]
    assert missing[0] == "cannot start missing.service: unit missing.service not found"
    assert plain[0] == "cannot reload t-plain.service: job type reload is not applicable for unit t-plain.service"
    assert broken[0] == "cannot start t-broken.service: unit t-broken.service has a bad unit file setting"
    assert "systemctl status t-broken.service" in broken[1]
    assert impossible
    assert load == "masked"


@pytest.mark.row("FAULTS-33")
def test_a_reload_longer_than_the_timeout_succeeds(any_machine: Machine) -> None:
    """PID 1 sleeps in a generator for longer than a call waits: the lost answer is looked up."""
    any_machine.write("/etc/systemd/system-generators/slow", "#!/bin/sh\n[ -e /run/slow ] && sleep 3\nexit 0\n", mode=0o755)
    any_machine.write("/etc/systemd/system/t-late.service", SLEEPER)
    found = inside(
        any_machine,
        """
impatient = DBusSystemd(timeout=1)
impatient.states(["dbus.service"])
sh("touch /run/slow"); begin = time.monotonic()
impatient.daemon_reload()
took = time.monotonic() - begin
sh("rm -f /run/slow /etc/systemd/system-generators/slow")
result = [took, impatient.states(["t-late.service"])["t-late.service"].load]
""",
    )
    took, load = found
    assert took > 2.5
    assert load == "loaded"


@pytest.mark.row("FAULTS-32")
def test_daemon_reexec_and_a_dead_dbus_do_not_matter(any_machine: Machine) -> None:
    """PID 1 has its socket open for a quarter of such a loop: whether a call is answered is luck, and each turn makes eleven."""
    any_machine.write("/etc/systemd/system/t-reexec.service", SLEEPER)
    found = inside(
        any_machine,
        """
systemd.daemon_reload(); systemd.start("t-reexec.service"); wait(lambda: systemd.states(["t-reexec.service"])["t-reexec.service"].is_up)
pids, stop = [], threading.Event()
def loop():
    while not stop.is_set(): sh("systemctl daemon-reexec")
disturber = threading.Thread(target=loop); disturber.start()
for turn in range(10):
    pids.append(systemd.detail("t-reexec.service").main_pid)
    if turn % 4 == 0: systemd.daemon_reload()
systemd.restart("t-reexec.service"); wait(lambda: (s := systemd.states(["t-reexec.service"])["t-reexec.service"]).is_up and not s.job)
stop.set(); disturber.join()
after = systemd.detail("t-reexec.service").main_pid
sh("systemctl stop dbus.socket dbus.service"); gone = systemd.states(["dbus.service"])["dbus.service"].active
systemd.stop("t-reexec.service"); sh("systemctl start dbus.socket dbus.service")
result = [len(set(pids)), after != pids[0], gone]
""",
    )
    assert found == [1, True, "inactive"]


@pytest.mark.row("FAULTS-31")
def test_reloads_of_others_beside_ours(any_machine: Machine) -> None:
    any_machine.write("/etc/systemd/system/t-beside.service", SLEEPER)
    assert (
        inside(
            any_machine,
            """
stop = threading.Event()
def loop():
    while not stop.is_set(): sh("systemctl daemon-reload")
disturber = threading.Thread(target=loop); disturber.start()
up = 0
for turn in range(15):
    systemd.daemon_reload(); systemd.reset_failed("t-beside.service"); systemd.start("t-beside.service")
    wait(lambda: (s := systemd.states(["t-beside.service"])["t-beside.service"]).is_up and not s.job); up += 1
    systemd.stop("t-beside.service"); wait(lambda: (s := systemd.states(["t-beside.service"])["t-beside.service"]).active == "inactive" and not s.job)
stop.set(); disturber.join()
result = up
""",
        )
        == 15
    )


def test_polling_for_long_takes_no_memory(any_machine: Machine) -> None:
    """A look at a unit that is not loaded loads it and drops it: signals to every private connection, 2 KB each when nobody takes them in."""
    assert (
        inside(
            any_machine,
            """
def resident(): return int(Path("/proc/self/statm").read_text().split()[1]) * 4
names = [f"t-none{n}.service" for n in range(20)]
for turn in range(100): systemd.states(names)
before = resident()
for turn in range(500): systemd.states(names)
result = resident() - before
""",
        )
        < 2000
    )


@pytest.mark.row("FAULTS-45")
def test_others_than_root_may_look_and_not_touch(any_machine: Machine) -> None:
    any_machine.write("/etc/systemd/system/t-theirs.service", SLEEPER)
    inside(any_machine, "systemd.daemon_reload(); result = 0")
    found = inside(
        any_machine,
        """
result = [systemd.states(["t-theirs.service"])["t-theirs.service"].load, refusal(systemd.start, "t-theirs.service"), refusal(systemd.daemon_reload)]
""",
        user="nobody",
    )
    load, start, reload = found
    assert load == "loaded"
    assert start[0].startswith("cannot start t-theirs.service: ")
    assert start[1] == reload[1] == "run it as root"


@pytest.mark.row("FAULTS-34")
def test_a_reload_without_space_in_run_is_refused_in_advance(any_machine: Machine) -> None:
    found = inside(
        any_machine,
        """
from nanod.host import facts
facts.require_run_space()
sh("mount -t tmpfs -o size=1m small /mnt")
import os
real = os.statvfs
os.statvfs = lambda path: real("/mnt")
result = refusal(facts.require_run_space)
sh("umount /mnt")
""",
    )
    message, hint = found
    assert message == "cannot apply: /run has 1024 KiB left, and systemd reloads unit files only with 16384 KiB or more"
    assert hint


def test_the_journal_tells_a_hooks_result_and_a_units_last_words(any_machine: Machine) -> None:
    any_machine.write(
        "/etc/systemd/system/t-words.service",
        """[Service]
Type=oneshot
Environment=NANOD_APP=t NANOD_SERVICE=words NANOD_UNIT=t-words.service LIFECYCLE_PHASE=prestart NANOD_HOOK=migrate
ExecStart=:printf "plain\\n\\033[31mred\\033[0m\\n\\377\\n"
ExecStart=:/var/lib/nanod/lib/1/hook fail 5 /bin/sh -c "echo words; exit 3"
""",
    )
    found = inside(
        any_machine,
        """
from nanod.host.store import LocalStore
from nanod.host.journal import Journalctl
from nanod.host.clock import SystemClock
LocalStore().install_lib()
systemd.daemon_reload(); begin = SystemClock().wall()
for turn in range(2):
    systemd.start("t-words.service"); wait(lambda: (s := systemd.states(["t-words.service"])["t-words.service"]).active == "failed" and not s.job)
journal, invocation = Journalctl(), systemd.detail("t-words.service").invocation
results = journal.hook_results(["t-words.service", "other.service"], since=begin)
sh("logger --journald <<E\\nMESSAGE_ID=5d7e1c1f8d0a4b6c9a4b54c6a2f0d9e3\\nNANOD_UNIT=t-words.service\\nNANOD_STATUS=0\\nE")
result = [[asdict(r) for r in results], invocation, journal.last_lines("t-words.service", invocation=invocation), journal.last_lines("t-words.service", count=3),
          len(journal.hook_results(["t-words.service"], since=results[0].at + 1)), journal.last_lines("missing.service")]
""",
    )
    results, invocation, lines, last, later, missing = found
    assert [(item["phase"], item["name"], item["status"], item["unit"]) for item in results] == [("prestart", "migrate", 3, "t-words.service")] * 2
    assert results[1]["invocation"] == invocation != results[0]["invocation"]
    assert lines == ["plain", "red", "\N{REPLACEMENT CHARACTER}", "words", "nanod: hook prestart/migrate failed, status 3"]
    assert last == lines[-3:]
    assert (later, missing) == (1, [])


def test_a_snapshot_of_a_host(any_machine: Machine) -> None:
    """A mask, a generator's unit, a transient one and a drop-in, as a real systemd has them."""
    found = inside(
        any_machine,
        """
from nanod.diagnostics import Mark
from nanod.host.snapshot import snapshot
from nanod.host.store import LocalStore
from nanod.scope import SYSTEM
from nanod.units.unitfile import UnitFile
from nanod.units.unitset import UnitSet
sh("systemd-run --unit=shop-transient sleep 100; ln -s /dev/null /etc/systemd/system/shop-masked.service")
Path("/run/systemd/system/shop-web.service.d").mkdir(parents=True, exist_ok=True)
Path("/run/systemd/system/shop-web.service.d/x.conf").write_text("[Service]\\n")
systemd.daemon_reload()
units = tuple(UnitFile(name=name, service="", head="", directives=()) for name in ("shop-masked.service", "shop-transient.service", "shop-web.service", "dbus.service"))
wanted = UnitSet(app="shop", spec_file="s", env=None, target="shop.target", slice="x", units=units, services=(), directories=(), users=(), files=(),
                 host_units=(("multi-user.target", Mark("s")),))
seen = snapshot(systemd, LocalStore(), wanted, None)
path = [item.decode() for item in systemd._property(b"/org/freedesktop/systemd1", b"org.freedesktop.systemd1.Manager", "UnitPath")]
result = [sorted(seen.masked), seen.foreign, seen.drop_ins, seen.units["multi-user.target"].active, [item for item in path if item not in SYSTEM.load_path]]
sh("systemctl stop shop-transient")
""",
    )
    masked, foreign, drop_ins, target, unknown = found
    assert masked == ["shop-masked.service"]
    assert set(foreign) == {"shop-transient.service", "dbus.service"}
    assert drop_ins == {"shop-web.service": ["/run/systemd/system/shop-web.service.d/x.conf"]}
    assert target == "active"
    assert unknown == [], "systemd looks for units where nanod does not"
