"""The machines themselves: what works inside, what the power does, and that nothing is left, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.errors import NanodError
from nanod.rehearse import cgroup
from nanod.rehearse.machine import SOURCE, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nanod.host.process import Completed

CREDENTIAL = """\
[Service]
Type=oneshot
DynamicUser=yes
ProtectSystem=strict
PrivateTmp=yes
StateDirectory=sealed
LoadCredential=key:/etc/sealed.key
ExecStart=/bin/sh -c 'cat "$CREDENTIALS_DIRECTORY/key"; touch /etc/x || echo read-only; touch /var/lib/sealed/x && echo state'
"""

LIFE = """\
[Service]
ExecStartPre=/bin/sh -c 'echo pre >>/var/log/life'
ExecStart=/bin/sleep infinity
ExecStop=/bin/sh -c 'echo stop >>/var/log/life'
[Install]
WantedBy=multi-user.target
"""

LIST_UNITS = """\
import pystemd.systemd1
manager = pystemd.systemd1.Manager()
manager.load()
print(any(unit[0] == b"dbus.service" for unit in manager.Manager.ListUnits()))
"""


def test_another_boots_beside_it_and_nothing_fails(any_machine: Machine) -> None:
    with Machine.boot() as another:
        assert another.leader != any_machine.leader
    assert any_machine.run(["systemctl", "is-system-running"]).out == "running\n"


def test_sandbox_with_a_credential(any_machine: Machine) -> None:
    any_machine.write("/etc/sealed.key", "s3cret\n", mode=0o600)
    any_machine.write("/etc/systemd/system/sealed.service", CREDENTIAL)
    assert any_machine.run(["systemctl", "start", "sealed"]).status == 0
    said = any_machine.run(["journalctl", "--unit=sealed", "--output=cat"]).out
    assert {"s3cret", "read-only", "state"} <= set(said.splitlines())


def test_journal_takes_fields_and_knows_their_unit(any_machine: Machine) -> None:
    any_machine.write("/usr/local/bin/say", "#!/bin/sh\nprintf 'MESSAGE=hello\\nNANOD_HOOK=x\\n' | logger --journald\n", mode=0o755)
    assert any_machine.run(["systemd-run", "--wait", "--unit=say", "/usr/local/bin/say"]).status == 0
    assert any_machine.run(["journalctl", "NANOD_HOOK=x", "--output=cat"]).out == "hello\n"


def test_pystemd_reaches_pid_1(any_machine: Machine) -> None:
    assert any_machine.run(["/usr/bin/python3", "-c", LIST_UNITS]).out == "True\n"


def test_nanod_is_this_one(any_machine: Machine) -> None:
    assert any_machine.nanod("--version").out == subprocess.check_output([sys.executable, "-m", "nanod", "--version"], text=True)


def test_run_passes_everything_on(any_machine: Machine) -> None:
    done = any_machine.run(["sh", "-c", 'cat; echo "$A $(pwd) $(id -un)"; exit 7'], input="in ", env={"A": "b c"}, cwd=Path("/usr"), user="nobody")
    assert (done.status, done.out) == (7, "in b c /usr nobody\n")


def test_run_has_nothing_of_the_environment_outside(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTSIDE", "1")
    assert "OUTSIDE" not in machine.run(["env"]).out


def test_a_late_command_is_killed_with_its_children(machine: Machine) -> None:
    with pytest.raises(NanodError, match="no answer after"):
        machine.run(["sh", "-c", "sleep 77777 & sleep 77777"], timeout=0.3)
    assert machine.run(["pgrep", "-f", "^sleep 77777"]).status == 1


def test_what_is_written_inside_stays_inside(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "spec").write_text("outside")
    assert machine.path(tmp_path / "spec").read_text() == "outside"
    machine.write(tmp_path / "spec", "inside")
    assert machine.run(["cat", str(tmp_path / "spec")]).out == "inside"
    assert (tmp_path / "spec").read_text() == "outside"


def test_a_host_service_starts_by_name_only(machine: Machine) -> None:
    assert machine.run(["systemctl", "is-active", "redis-server"]).out == "inactive\n"
    assert machine.run(["systemctl", "start", "redis-server"]).status == 0
    assert machine.run(["redis-cli", "ping"]).out == "PONG\n"


def test_networks(machine: Machine) -> None:
    interfaces = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort"
    assert machine.run(["sh", "-c", interfaces]).out == "lo\n"
    assert machine.run(["cat", "/sys/class/net/lo/flags"]).out == "0x9\n"  # up, loopback
    with Machine.boot(network="host") as other:
        assert other.run(["sh", "-c", interfaces]).out == subprocess.check_output(["sh", "-c", interfaces], text=True)


def test_power(any_machine: Machine) -> None:
    """In order, ExecStop= runs and what is enabled comes back; in a power cut nothing runs. The disk and its journal stay."""
    any_machine.write("/etc/systemd/system/life.service", LIFE)
    assert any_machine.run(["systemctl", "enable", "--now", "life"]).status == 0
    any_machine.reboot()
    assert any_machine.run(["systemctl", "is-active", "life"]).out == "active\n"
    any_machine.kill()
    assert any_machine.path("/var/log/life").read_text().split() == ["pre", "stop", "pre"]
    any_machine.start()
    any_machine.poweroff()
    assert any_machine.path("/var/log/life").read_text().split() == ["pre", "stop", "pre", "pre", "stop"]
    with pytest.raises(NanodError, match="it is off"):
        any_machine.run(["true"])
    any_machine.start()
    assert any_machine.run(["systemctl", "is-active", "life"]).out == "active\n"
    boots = any_machine.run(["journalctl", "--unit=life", "--output=cat", "--grep=Started life"]).out
    assert boots.count("Started") == 4


def test_two_at_once_do_not_disturb_each_other(machine: Machine) -> None:
    machine.write("/etc/systemd/system/life.service", LIFE)
    assert machine.run(["systemctl", "start", "life"]).status == 0
    with Machine.boot() as other:
        other.write("/etc/systemd/system/life.service", LIFE)
        assert other.run(["systemctl", "start", "life"]).status == 0
        other.reboot()
    assert machine.run(["systemctl", "is-active", "life"]).out == "active\n"


def test_under_systemd_its_own_mounts_and_services_stay_untouched(machine: Machine) -> None:
    """Under systemd all mounts are shared: what a machine mounts must not show outside, on /run least of all."""
    rehearse = [sys.executable, "-m", "nanod.rehearse", "--", "systemctl", "is-system-running"]
    mounts = machine.run(["cat", "/proc/1/mountinfo"]).out
    assert " shared:" in mounts
    for entered in ([], ["systemd-run", "--wait", "--pipe", "--quiet", f"--working-directory={SOURCE}"]):
        assert machine.run([*entered, *rehearse], cwd=SOURCE).out == "running\n"
        assert machine.run(["cat", "/proc/1/mountinfo"]).out == mounts
    assert machine.run(["systemctl", "is-system-running"]).out == "running\n"
    assert machine.run(["find", "/sys/fs/cgroup", "-name", "nanod-rehearse-*"]).out == ""


def test_a_tree_that_cannot_boot_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NanodError, match="there is no systemd in"):
        Machine.boot(tree=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nanod.rehearse", "--", "sh", "-c", "ps -p 1 -o comm=; exit 5"], cwd=SOURCE, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (5, b"systemd\n")


SPEC = """\
project: trial
services:
  web:
    command: {command}
    user: root
    settle: 500ms
    restart: {{policy: "no"}}
    hooks:
      poststart: echo up > /srv/trial/hook
"""


def rehearse(machine: Machine, command: str, *inside: str) -> Completed:
    """Rehearse on a machine of the lab: what must not change is that machine's then, and not this one's."""
    machine.write("/srv/trial/trial.yaml", SPEC.format(command=command))
    return machine.nanod("rehearse", "trial.yaml", "--", *inside, cwd=Path("/srv/trial"))


def test_rehearse_applies_for_real_and_nothing_of_it_stays(machine: Machine) -> None:
    done = rehearse(machine, "sleep infinity", "sh", "-c", "pwd; cat hook; systemctl is-active trial-web; systemctl is-active redis-server")
    assert done.status == 0, done.err
    assert done.out.splitlines()[-4:] == ["/srv/trial", "up", "active", "inactive"]
    assert machine.run(["sh", "-c", "ls /srv/trial; ls -d /etc/systemd/system/trial*; ls /var/lib/nanod/apps"]).out == "trial.yaml\n"


def test_rehearse_exits_with_the_verdict(machine: Machine) -> None:
    failed = rehearse(machine, "/bin/false", "systemctl", "is-failed", "trial-web")
    assert failed.status == 4
    assert "trial: not healthy, generation 1" in failed.out, "what failed is there to be looked at"
    assert failed.out.splitlines()[-1] == "failed"
    assert rehearse(machine, "sleep infinity", "false").status == 0


def test_rehearse_starts_from_nothing_where_the_app_runs_already(machine: Machine) -> None:
    machine.write("/srv/trial/trial.yaml", SPEC.format(command="sleep infinity"))
    assert machine.nanod("apply", "/srv/trial/trial.yaml").status == 0
    state = "systemctl show --property=MainPID,NRestarts trial-web; find /etc/systemd/system /var/lib/nanod /srv/trial -printf '%p %T@\\n'"
    before = machine.run(["sh", "-c", state]).out
    words = ["rehearse", "trial.yaml", "--", "pgrep", "--count", "--full", "^sleep infinity"]
    done = machine.nanod(*words, cwd=Path("/srv/trial"))
    assert done.status == 0, done.err
    assert "generation 1" in done.out
    assert done.out.splitlines()[-1] == "1"
    assert machine.run(["sh", "-c", state]).out == before


def test_rehearse_needs_the_spec_inside(machine: Machine) -> None:
    machine.write("/run/trial.yaml", SPEC.format(command="sleep infinity"))
    done = machine.nanod("rehearse", "/run/trial.yaml")
    assert done.status == 1
    assert "cannot rehearse /run/trial.yaml: it is not there on the machine" in done.err


CALLER = """\
import os, time
from nanod.rehearse.machine import Machine
with Machine.boot() as machine:
    machine.write("/etc/systemd/system/life.service", "[Service]\\nExecStart=/bin/sleep infinity\\n")
    machine.run(["systemctl", "start", "life"])
    print(machine._keeper.pid, machine.leader, machine._group, flush=True)
    time.sleep(600)
"""


class Caller:
    """Another process with a machine of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", CALLER], stdout=subprocess.PIPE, text=True, cwd=SOURCE)
        assert self.process.stdout is not None
        with self.process.stdout as said:
            keeper, leader, group = said.readline().split()
        self.keeper, self.leader, self.group = int(keeper), int(leader), Path(group)
        self.members = [int(pid) for procs in self.group.rglob("cgroup.procs") for pid in procs.read_text().split()]

    def running(self) -> list[int]:
        return [pid for pid in (self.keeper, *self.members) if Path(f"/proc/{pid}/exe").exists()]


@pytest.fixture
def caller() -> Iterator[Caller]:
    made = Caller()
    yield made
    made.process.kill()
    made.process.wait()


def _soon(reached: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.02)
    return reached()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_caller_is_killed(caller: Caller, sent: signal.Signals) -> None:
    assert caller.leader in caller.members
    assert len(caller.running()) > 5
    caller.process.send_signal(sent)
    assert _soon(lambda: caller.running() == [] and not caller.group.exists())


def test_nothing_is_left_when_the_keeper_is_told_to_end(caller: Caller) -> None:
    os.kill(caller.keeper, signal.SIGTERM)
    assert _soon(lambda: set(caller.running()) <= {caller.keeper} and not caller.group.exists())


SWEPT = """\
import os, time
from nanod.rehearse.machine import Machine
killed = Machine.boot()
members = [int(pid) for procs in killed._group.rglob("cgroup.procs") for pid in procs.read_text().split()]
killed._keeper.kill()
killed.close()
for pid in members:
    while os.path.exists(f"/proc/{pid}/exe"):
        time.sleep(0.01)
assert members and killed._group.exists()
with Machine.boot() as other:
    assert not killed._group.exists() and other._group.exists()
"""


def test_when_the_keeper_is_killed_only_cgroups_are_left_and_the_next_sweeps_them(machine: Machine) -> None:
    """On a machine of the lab: the next one out here may be another worker's, at any time."""
    done = machine.run([sys.executable, "-c", SWEPT], cwd=SOURCE)
    assert done.status == 0, done.err


def test_a_live_machine_is_not_swept(machine: Machine) -> None:
    """Nor by those in another PID namespace, where its keeper's PID is nobody's."""
    empty = machine._group / "machine/empty"
    empty.mkdir()
    cgroup.sweep()
    elsewhere = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m", "nanod.rehearse", "--", "true"]
    assert subprocess.run(elsewhere, cwd=SOURCE, check=False).returncode == 0
    assert empty.is_dir()
    assert machine.run(["true"]).status == 0
