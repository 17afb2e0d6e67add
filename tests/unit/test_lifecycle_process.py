"""nanod.lifecycle as a process of its own: what it imports, the signals of its first moments, its exit, and the watchdog."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.lifecycle import Lifecycle
from nanod.lifecycle.watchdog import Watchdog
from tests.lifecycles import Gate, play, run, until

if TYPE_CHECKING:
    from nanod.lifecycle import Turn
    from tests.lifecycles import Systemd

ROOT = Path(__file__).parents[2]


def python(text: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["env", "--ignore-signal=HUP", sys.executable, "-c", text, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def result(text: str, *arguments: str) -> tuple[int, str, str]:
    process = python(text, *arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


# What it needs


def test_it_needs_the_standard_library_and_sdnotify_alone() -> None:
    """Also where nothing else of nanod is: in a directory with this package and no other."""
    text = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        ours = name in ("nanod", "sdnotify") or name.startswith("nanod.lifecycle")
        if not ours and name.partition(".")[0] not in sys.stdlib_module_names:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Nothing())
import asyncio
from nanod.lifecycle import Lifecycle

async def main(): life.stop()
life = Lifecycle()
sys.exit(asyncio.run(life.serve(main)))
"""
    assert result(text) == (0, "", "")


def test_a_plain_service_does_not_pay_for_asyncio() -> None:
    text = """
import sys
from nanod.lifecycle import Lifecycle
life = Lifecycle()
life.on_ready(life.stop)
status = life.run()
sys.exit(status or [name for name in ("asyncio", "inspect", "dataclasses", "nanod.errors") if name in sys.modules] or 0)
"""
    assert result(text) == (0, "", "")


# SIGHUP


STORM = """
import sys, time
time.sleep(float(sys.argv[2]))      # as a program that imports much before this
from nanod.lifecycle import Lifecycle
life, read = Lifecycle(), lambda: open(sys.argv[1]).read()
value = None
@life.on_start
@life.on_reload
def config():
    global value
    value = read()
    print(value, flush=True)
life.on_stop(lambda: print("at the end", value))
sys.exit(life.run())
"""


@pytest.mark.parametrize("imports", ["0", "0.1"])
def test_a_storm_of_hangups_from_the_first_moment_on(tmp_path: Path, imports: str) -> None:
    """What is in force in the end is the file that was there when the last one came, and nobody died of one."""
    file = tmp_path / "config"
    file.write_text("0")
    process = python(STORM, str(file), imports)
    # `env` itself can be hit before it ignores it, and so can what the fork has not yet made of it.
    until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(sys.executable.encode()), "it is Python")
    for number in range(1, 1001):
        if number % 50 == 0:
            other = tmp_path / "other"
            other.write_text(str(number))
            other.rename(file)
        process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    assert process.stdout is not None
    for line in process.stdout:
        if line == "1000\n":
            break
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.splitlines()[-1], err) == (0, "at the end 1000", "")


# The exit


def test_a_thread_of_somebody_else_does_not_hold_up_the_exit() -> None:
    text = """
import sys, threading
from nanod.lifecycle import Lifecycle
life = Lifecycle()
life.on_start(lambda: threading.Thread(target=threading.Event().wait, name="forgotten").start())
life.on_ready(life.stop)
status = life.run()
print("over", status)
sys.exit(status)
"""
    assert result(text) == (0, "over 0\n", "thread 'forgotten' has not ended: the process exits without it\n")


def test_a_thread_that_ends_by_itself_is_waited_for() -> None:
    text = """
import sys, threading, time
from nanod.lifecycle import Lifecycle
life = Lifecycle()
life.on_start(lambda: threading.Thread(target=lambda: (time.sleep(0.2), print("has ended"))).start())
life.on_ready(life.stop)
sys.exit(life.run())
"""
    assert result(text) == (0, "has ended\n", "")


@pytest.mark.parametrize("front", ["run", "serve"])
def test_what_hears_no_signal_is_left_behind(front: str) -> None:
    """A hook that swallows whatever interrupts it: stop hooks run all the same, and the process exits."""
    text = """
import asyncio, sys, threading
from nanod.lifecycle import Lifecycle
life = Lifecycle(shutdown_timeout=0.2)

@life.on_shutdown
def deaf():
    while True:
        try:
            threading.Event().wait()
        except BaseException:
            print("no")

async def main(): await asyncio.Event().wait()
async def cannot(): ...

life.on_stop(lambda: print("stop"))
life.on_stop(lambda: 1 / 0, name="broken")
life.on_stop(lambda: print("and stop"))
life.on_ready(life.stop)
sys.exit(life.run() if sys.argv[1] == "run" else asyncio.run(life.serve(main)))
"""
    status, out, err = result(text, front)
    assert (status, out) == (1, "no\nstop\nand stop\n")
    assert "on_shutdown hook 'deaf' cannot be interrupted: the process ends without it\n" in err
    assert "on_stop hook 'broken' failed: ZeroDivisionError: division by zero\n" in err


def test_a_task_that_blocks_the_loop_is_left_behind() -> None:
    text = """
import asyncio, sys, threading
from nanod.lifecycle import Lifecycle
life = Lifecycle(shutdown_timeout=0.2)

async def main():
    life.stop()
    threading.Event().wait()

async def flush(): ...

life.on_stop(lambda: print("stop"))
life.on_stop(flush)
sys.exit(asyncio.run(life.serve(main)))
"""
    status, out, err = result(text)
    assert (status, out) == (1, "stop\n")
    assert err.splitlines() == [
        "the main thread cannot be interrupted: the process ends without it",
        "on_stop hook 'flush' did not run: it is async, and the event loop hangs",
    ]


# The watchdog


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"WATCHDOG_USEC": "4000000"}, True),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({"WATCHDOG_USEC": "-5"}, False),
    ],
)
def test_who_is_watched(environment: dict[str, str], expected: bool) -> None:
    watchdog = Watchdog(environment)
    assert (watchdog.left() is not None, watchdog.due()) == (expected, expected)
    left = watchdog.left()
    assert left is None or 1.0 < left <= 2.0, "half of it"
    assert not watchdog.due()


def watched(monkeypatch: pytest.MonkeyPatch) -> Lifecycle:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    return Lifecycle()


def signs(systemd: Systemd) -> int:
    return systemd.states().count("WATCHDOG=1")


def test_signs_of_life_are_sent(front: str, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    life = watched(monkeypatch)
    assert play(front, life, lambda: until(lambda: signs(systemd) > 3, "signs")) == 0


def test_a_hanging_hook_gives_none(front: str, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    life = watched(monkeypatch)
    gate = Gate()
    life.on_reload(gate)

    def script() -> None:
        life.spawn(life.reload)
        assert gate.reached.wait(20)
        before = signs(systemd)
        time.sleep(0.1)
        assert signs(systemd) == before
        gate.open.set()
        until(lambda: signs(systemd) > before, "it lives again")

    assert play(front, life, script) == 0


def test_a_hanging_loop_gives_none(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    life = watched(monkeypatch)
    counts: list[int] = []

    def loop(turn: Turn) -> None:
        assert turn()
        assert turn.timeout is not None
        assert 0 < turn.timeout <= 0.01
        counts.append(signs(systemd))
        time.sleep(0.1)
        counts.append(signs(systemd))
        turn()
        counts.append(signs(systemd))
        life.stop()

    assert life.run_loop(loop) == 0
    assert counts == [1, 1, 2]


def test_who_gives_signs_itself_has_to_go_on_with_it(front: str, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    life = watched(monkeypatch)

    def script() -> None:
        def sign() -> bool:
            life.alive()
            return signs(systemd) > 3

        until(sign, "signs")

        def quiet() -> bool:
            before = signs(systemd)
            time.sleep(0.05)
            return signs(systemd) == before

        until(quiet, "no more of them")
        before = signs(systemd)
        life.alive()
        until(lambda: signs(systemd) > before, "it lives again")

    assert play(front, life, script) == 0


def test_without_a_watchdog_nothing_is_said(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    life = Lifecycle()
    life.alive()
    assert run("run", life, life.stop) == 0
    assert signs(systemd) == 0
