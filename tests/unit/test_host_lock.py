"""One writer at a time, and the loser knows who it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nanod.errors import BusyError, ExitCode, NanodError
from nanod.host.lock import host_lock

if TYPE_CHECKING:
    from pathlib import Path

_HOLD = (
    "import sys, time; from nanod.host.lock import host_lock\n"
    "with host_lock(root=sys.argv[1], command='nanod apply shop.yaml'):\n"
    "    print('held', flush=True); sys.stdin.read()"
)


def holder(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.row("FAULTS-20")
def test_the_loser_names_the_holder(tmp_path: Path) -> None:
    told: list[str] = []
    with holder(tmp_path) as process:
        with pytest.raises(BusyError) as caught, host_lock(root=str(tmp_path), timeout=0.05, on_wait=told.append):
            pytest.fail("the lock was had twice")
        process.communicate("")
    assert caught.value.message == f"busy: held by pid {process.pid} (nanod apply shop.yaml)"
    assert caught.value.exit_code is ExitCode.BUSY
    assert told == [f"pid {process.pid} (nanod apply shop.yaml)"]


def test_waiting_ends_with_the_holder(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        told: list[str] = []

        def let_go(words: str) -> None:
            told.append(words)
            assert process.stdin
            process.stdin.close()

        with host_lock(root=str(tmp_path), timeout=30, on_wait=let_go):
            pass
        assert len(told) == 1
        process.wait()


@pytest.mark.row("FAULTS-21")
def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "nanod apply" in (tmp_path / "run/nanod/lock").read_text()
    with host_lock(root=str(tmp_path), timeout=0, command="nanod plan"):
        assert (tmp_path / "run/nanod/lock").read_text() == f"{os.getpid()} nanod plan\n"
    assert (tmp_path / "run/nanod/lock").read_text() == ""


def test_a_command_cannot_forge_lines(tmp_path: Path) -> None:
    with host_lock(root=str(tmp_path), command="nanod\n1 x\x1b[31m" + "y" * 1000):
        text = (tmp_path / "run/nanod/lock").read_text()
    assert text.startswith(f"{os.getpid()} nanod?1 x?[31myyy")
    assert text.count("\n") == 1
    assert len(text) < 250


@pytest.mark.row("FAULTS-42")
@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
def test_something_else_than_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    lock, target = tmp_path / "run/nanod/lock", tmp_path / "target"
    lock.parent.mkdir(parents=True)
    target.write_text("untouched")
    if kind == "link":
        lock.symlink_to(target)
    elif kind == "directory":
        lock.mkdir()
    else:
        os.mkfifo(lock)
    with pytest.raises(NanodError, match=f"cannot lock {tmp_path}/run/nanod/lock"), host_lock(root=str(tmp_path)):
        pytest.fail("locked it")
    assert target.read_text() == "untouched"


def test_the_lock_frees_when_its_body_raises(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), host_lock(root=str(tmp_path)):
        raise ZeroDivisionError
    with host_lock(root=str(tmp_path), timeout=0):
        assert (tmp_path / "run/nanod/lock").stat().st_mode & 0o777 == 0o600


_COUNT = (
    "import sys; from pathlib import Path; from nanod.host.lock import host_lock\n"
    "counter = Path(sys.argv[1], 'counter')\n"
    "for _ in range(5):\n"
    "    with host_lock(root=sys.argv[1], timeout=60): counter.write_text(str(int(counter.read_text()) + 1))"
)


@pytest.mark.row("FAULTS-20")
def test_many_at_once_each_have_their_turn(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", _COUNT, str(tmp_path)]) for _ in range(10)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 10
    assert (tmp_path / "counter").read_text() == "50"
