"""The programs that units run, and time, privilege and what is left behind: found by trying them against a real systemd."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.unit.test_programs import LIB, probe, program

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def test_the_deadline_of_a_stop_is_no_matter_of_the_wall_clock(tmp_path: Path) -> None:
    """`date` would be an hour off if somebody set it; milliseconds since boot cannot be."""
    note = tmp_path / "stopping"
    assert program("stopping", note).returncode == 0
    assert abs(int(note.read_text().split()[0]) - time.clock_gettime(time.CLOCK_BOOTTIME) * 1000) < 60_000


def test_whoever_the_service_runs_as_can_read_when_the_stop_began(tmp_path: Path) -> None:
    """A `+` line keeps the unit's UMask=."""
    note = tmp_path / "stopping" / "unit"
    subprocess.run([LIB / "stopping", note], umask=0o077, check=True)
    assert (note.parent.stat().st_mode & 0o777, note.stat().st_mode & 0o777) == (0o755, 0o644)


@ROOT_ONLY
def test_root_with_another_group_is_still_root() -> None:
    done = program("as", "root", "daemon", "/bin/sh", "-c", "id -un; id -gn; grep CapEff /proc/self/status")
    assert done.stdout.split()[:3] == ["root", "daemon", "CapEff:"], done.stderr
    assert done.stdout.split()[3] == capabilities()


def capabilities() -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("CapEff:"))


@pytest.mark.row("BX-3")
def test_an_answer_of_something_else_is_no_health_of_a_dead_service() -> None:
    """The port was taken: the service ended for that, and whoever has the port answers."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = probe("tcp", "0.05", "1", "5", f"127.0.0.1:{other.getsockname()[1]}", pid=gone.pid)
    assert done.returncode == 1
    assert "the main process is gone (and something else answers)" in done.stderr
    # A command that succeeds tells of nobody else.
    done = probe("exec", "0.05", "1", "5", "true", pid=gone.pid)
    assert done.returncode == 1
    assert "the main process is gone (the probe succeeds)" in done.stderr


def test_a_probe_that_is_late_goes_with_its_children(tmp_path: Path) -> None:
    """In the cgroup of the service they would live as long as it does, one more for each try."""
    pids = tmp_path / "pids"
    late = f"sleep 617 & echo $! >>{pids}; wait"
    assert probe("exec", "0.05", "0.3", "0.5", "/bin/sh", "-c", late).returncode == 1
    children = [int(word) for word in pids.read_text().split()]
    assert children
    assert [child for child in children if lives(child)] == []


def lives(pid: int) -> bool:
    """Killed ones stay as zombies until whoever is their parent now looks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_gate_waits_its_time_by_the_clock_however_long_a_look_takes(tmp_path: Path) -> None:
    """On a busy machine `systemctl show` takes a tenth of a second and more; TimeoutStartSec= leaves the gate ten seconds in all."""
    text = (LIB / "await").read_text()
    slow = tmp_path / "systemctl"
    slow.write_text(f"#!/bin/sh\n[ $1 = show ] || exit 3\necho look >>{tmp_path}/looks\nsleep 0.6\necho ActiveState=inactive\n")
    slow.chmod(0o755)
    copy = tmp_path / "await"
    copy.write_text(text.replace("/usr/bin/systemctl", str(slow)))
    copy.chmod(0o755)
    (tmp_path / "record").write_text((LIB / "record").read_text())
    done = subprocess.run([copy, "2", "active", "shop-db.service"], capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 1
    assert "dependency shop-db.service is not active" in done.stderr
    assert len((tmp_path / "looks").read_text().split()) <= 3, "four half seconds and their looks would be five"
