"""nanod.lifecycle in services that nanod applies: what happens inside of the process, and what systemd sees of it."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.lab.lives import CLIENT, Life
from tests.lab.steps import until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

UP = ["start-1 web", "start-2 web", "listen web", "serve web", "ready-1 web", "ready-2 web"]
DOWN = ["shutdown-3 web", "drained web", "shutdown-2 web", "shutdown-1 web", "served web", "background web", "stop-1 web", "stop-2 web"]
ENDS = {"limit": 1, "delay": "100ms", "window": "1min"}


PLACES = [("run", "machine"), ("loop", "machine"), ("asyncio", "machine257")]
"""Each front, on the one systemd or the other: which one it is, the library does not know."""


@pytest.fixture(params=PLACES, ids="-".join)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    front, name = request.param
    return str(front), str(name)


@pytest.fixture
def front(place: tuple[str, str]) -> str:
    return place[0]


@pytest.fixture
def any_machine(request: pytest.FixtureRequest, place: tuple[str, str]) -> Machine:
    found: Machine = request.getfixturevalue(place[1])
    return found


def in_order(steps: list[str], *parts: str) -> bool:
    return [step for step in steps if step in parts] == list(parts)


@pytest.mark.row("RV-2", "RV-4", "RV-13", "RV-15", "RV-16", "RV-19", "MK-7")
def test_the_whole_life(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"whole-{front}")
    app.tell("web", "value", "one")
    app.apply({"web": app.lives(front, 8200)})
    app.until_step("ready-2 web")
    assert in_order(app.steps(), "start-1 web", "start-2 web", "listen web", "ready-1 web", "ready-2 web")
    assert in_order(app.steps(), "listen web", "serve web")
    assert sorted(app.steps()) == sorted(UP)
    assert app.words("web") == "run"
    assert app.answers(8200) == "one"
    app.tell("web", "value", "two")
    app.systemctl("reload", "whole-run-web".replace("run", front))
    assert app.answers(8200) == "two", "in force when systemctl returns"
    assert app.words("web") == "run: reloaded values, levels"
    app.clear()
    app.systemctl("stop", app.unit("web"))
    steps = app.steps()
    assert sorted(steps) == sorted(DOWN)
    assert in_order(steps, "shutdown-3 web", "shutdown-2 web", "shutdown-1 web", "stop-1 web", "stop-2 web")
    assert (
        in_order(steps, "shutdown-1 web", "background web", "stop-1 web") if front == "asyncio" else in_order(steps, "background web", "stop-1 web")
    )
    assert in_order(steps, "served web", "stop-1 web")
    assert app.show("web", "Result") == "success"
    app.remove()


# The start


@pytest.mark.row("RV-2", "MK-7", "MK-6")
def test_a_failed_start_hook_is_the_error_of_the_start(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"failing-{front}")
    app.tell("web", "start-2", "fail")
    failed = app.apply({"web": app.lives(front, 8201, restart=ENDS)}, status=4)
    words = "cannot start: on_start hook 'queue' failed: ValueError: start-2 is broken"
    assert words in failed.out
    assert set(app.steps()) == {"start-1 web", "start-2 web", "shutdown-1 web", "stop-1 web", "stop-2 web"}, "what has begun is undone, and no more"
    app.clear()
    app.leave()
    assert app.state("web") == "failed"
    assert app.words("web") == words
    assert "serve web" not in app.steps()
    app.tell("web", "start-2", "")
    app.apply()
    app.until_step("serve web")
    app.remove()


@pytest.mark.row("RV-1")
def test_a_hook_that_comes_too_late_is_an_error(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"late-{front}")
    app.tell("web", "start-2", "late")
    failed = app.apply({"web": app.lives(front, 8202, restart=ENDS)}, status=4)
    assert "cannot register on_stop hook 'late': the service has started" in failed.out
    app.tell("web", "start-2", "")
    app.tell("web", "reload-1", "late")
    app.apply()
    done = app.machine.run(["systemctl", "reload", app.unit("web")])
    assert done.status == 1
    assert "on_reload hook 'values' failed: cannot register on_stop hook 'late': the service has started" in app.said("web")
    app.remove()


@pytest.mark.row("RV-4", "RV-5")
def test_ready_hooks_hold_up_nothing_and_harm_nothing(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"ready-{front}")
    app.tell("web", "ready-1", "fail")
    app.tell("web", "ready-2", "hang")
    app.tell("web", "value", "one")
    app.apply({"web": app.lives(front, 8203, seconds=1)})
    app.until_step("ready-2 web")
    assert app.is_up("web")
    assert app.answers(8203) == "one", "it serves although a hook hangs"
    assert "on_ready hook 'cache' failed: ValueError: ready-1 is broken" in app.said("web")
    app.systemctl("reload", app.unit("web"))
    pid = app.pid("web")
    app.systemctl("stop", app.unit("web"))
    assert not app.machine.path(f"/proc/{pid}").exists()
    assert "on_ready hook 'register' did not end within 1 s: it was abandoned" in app.said("web")
    app.remove()


# Reload


@pytest.mark.row("RV-6", "RV-7", "RV-11", "RV-12")
def test_a_reload_is_waited_for_and_its_error_is_told(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"reload-{front}")
    app.tell("web", "value", "one")
    app.apply({"web": app.lives(front, 8204)})
    app.until_step("ready-2 web")
    pid = app.pid("web")

    def refused(words: str) -> None:
        assert app.machine.run(["systemctl", "reload", app.unit("web")]).status == 1
        words = f"cannot reload: on_reload hook {words}; what was in force stays"
        assert words in app.said("web").splitlines()
        assert app.words("web") == f"run: {words}"
        assert app.answers(8204) == "one"
        assert (app.pid("web"), app.state("web")) == (pid, "active")

    app.tell("web", "value", "bad")
    refused("'values' failed: ValueError: bad is no value")
    assert "reload-2 web" not in app.steps(), "the first error stops the rest"
    app.tell("web", "value", "two")
    app.tell("web", "reload-2", "fail")
    refused("'levels' failed: ValueError: reload-2 is broken")
    app.tell("web", "reload-2", "")
    app.tell("web", "listen", "another port")
    refused("'values' failed: cannot change 'listen': only a restart can")
    app.tell("web", "listen", "")
    app.systemctl("reload", app.unit("web"))
    assert app.answers(8204) == "two"
    app.remove()


@pytest.mark.row("RV-6", "RV-9")
def test_sighup_and_a_call_are_the_same(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"call-{front}")
    app.apply({"web": app.lives(front, 8205)})
    app.tell("web", "value", "by signal")
    app.hangup("web")
    until(lambda: app.answers(8205) == "by signal", "it is reloaded")
    app.tell("web", "value", "by call")
    call = ["env", "PYTHONPATH=/srv/site", "python3", "-m", "nanod.lifecycle", "reload", f"/run/{app.name}/web/control"]
    assert app.machine.run(call).status == 0
    assert app.answers(8205) == "by call"
    app.tell("web", "value", "bad")
    done = app.machine.run(call)
    assert (done.status, done.err) == (1, "cannot reload: on_reload hook 'values' failed: ValueError: bad is no value; what was in force stays\n")
    assert app.machine.run(["stat", "--format=%a", call[-1]]).out.strip() == "600"
    app.remove()


@pytest.mark.row("RV-10")
def test_reloads_at_the_same_time_are_one_after_the_other(any_machine: Machine, front: str) -> None:
    """While one runs, those that come share the next: each sees what was there when it was asked for."""
    app = Life.on(any_machine, f"many-{front}")
    app.apply({"web": app.lives(front, 8206)})
    app.until_step("ready-2 web")
    app.clear()
    app.tell("web", "reload-1", "1")
    call = ["env", "PYTHONPATH=/srv/site", "python3", "-m", "nanod.lifecycle", "reload", f"/run/{app.name}/web/control"]
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(app.machine.run, call)
        app.until_step("reload-1 web")
        app.tell("web", "value", "two")
        others = [pool.submit(app.machine.run, call) for _ in range(6)]
        unit = pool.submit(app.machine.run, ["systemctl", "reload", app.unit("web")])
        assert [item.result().status for item in (first, *others, unit)] == [0] * 8
    assert app.answers(8206) == "two"
    runs = app.steps().count("reload-1 web")
    assert 2 <= runs <= 4, app.steps()
    pairs = [step for step in app.steps() if step.startswith("reload")]
    assert pairs == ["reload-1 web", "reload-2 web"] * runs, "none runs into another"
    app.remove()


@pytest.mark.row("RV-8")
def test_without_a_reload_hook_sighup_means_nothing(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"deaf-{front}")
    app.apply({"web": app.lives(front, 8207, reloads=False)})
    app.until_step("ready-2 web")
    pid = app.pid("web")
    for _ in range(20):
        app.hangup("web")
    app.answers(8207)
    assert (app.pid("web"), app.state("web"), app.words("web")) == (pid, "active", "run")
    app.remove()


STORM = """
import os, pathlib, signal, sys
group, target, count = pathlib.Path(sys.argv[1]) / "cgroup.procs", pathlib.Path(sys.argv[2]), 0
def ours():
    try:
        pids = [int(pid) for pid in group.read_text().split()]
        # Not before it is Python: env(1) itself has to come to the point where it ignores the signal.
        return [pid for pid in pids if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"/usr/bin/python3\\0")]
    except (OSError, ValueError):
        return []
while count < 1000:
    for pid in ours():
        count += 1
        if count % 100 == 0:
            new = target.with_suffix(".next")
            new.write_text(str(count))
            new.rename(target)
        os.kill(pid, signal.SIGHUP)
for pid in ours():
    os.kill(pid, signal.SIGHUP)
print("sent")
"""


@pytest.mark.row("RV-6", "RV-8")
def test_a_thousand_hangups_from_the_first_moment_on(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"storm-{front}")
    app.tell("web", "value", "0")
    app.apply({"web": app.lives(front, 8208)})
    app.systemctl("stop", app.unit("web"))
    app.clear()
    slice_ = app.show("web", "Slice")
    group = f"/sys/fs/cgroup/nanod.slice/{slice_}/{app.unit('web')}"
    storm = app.machine.popen(["python3", "-c", STORM, group, f"/srv/steps/{app.name}-web.value"])
    app.systemctl("start", app.unit("web"))
    pid = app.pid("web")
    assert storm.wait(timeout=60) == 0
    until(lambda: app.answers(8208) == "1000", "the last file is in force")
    assert (app.pid("web"), app.state("web"), app.show("web", "NRestarts")) == (pid, "active", "0")
    app.remove()


def test_the_type_that_waits_for_sighup(machine257: Machine, front: str) -> None:
    """Type=notify-reload, of systemd 253 and newer: PID 1 sends SIGHUP itself, and waits for the answer."""
    app = Life.on(machine257, f"type-{front}")
    app.tell("web", "value", "one")
    app.apply({"web": app.lives(front, 8209, hooks={})})
    app.machine.write(f"/etc/systemd/system/{app.unit('web')}.d/type.conf", "[Service]\nType=notify-reload\n")
    app.systemctl("daemon-reload")
    app.systemctl("restart", app.unit("web"))
    for value in ("two", "three"):
        app.tell("web", "value", value)
        app.systemctl("reload", app.unit("web"))
        assert app.answers(8209) == value
    app.tell("web", "value", "bad")
    app.systemctl("reload", app.unit("web"))
    assert app.answers(8209) == "three"
    assert app.words("web").startswith("run: cannot reload: on_reload hook 'values' failed")
    app.machine.path(f"/etc/systemd/system/{app.unit('web')}.d/type.conf").unlink()
    app.remove()


# The end


@pytest.mark.row("RV-13", "RV-14", "RV-16")
def test_shutdown_hooks_share_a_deadline(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"deadline-{front}")
    app.tell("web", "shutdown-2", "hang")
    app.tell("web", "stop-1", "fail")
    app.apply({"web": app.lives(front, 8210, seconds=1)})
    app.until_step("ready-2 web")
    app.clear()
    app.systemctl("stop", app.unit("web"))
    steps = app.steps()
    assert in_order(steps, "shutdown-3 web", "shutdown-2 web", "stop-1 web", "stop-2 web"), "stop hooks run, whatever becomes of one"
    assert "shutdown-1 web" not in steps
    said = app.said("web")
    for words in (
        "on_shutdown hook 'queue' took too long: it was abandoned",
        "on_shutdown hook 'database' did not run: no time was left for it",
        "on_stop hook 'logs' failed: ValueError: stop-1 is broken",
    ):
        assert words in said.splitlines()
    assert (app.show("web", "Result"), app.show("web", "ExecMainStatus")) == ("exit-code", "1"), "it was no clean end, and was not killed either"
    app.remove()


@pytest.mark.row("RV-17")
def test_stop_hooks_have_no_deadline(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"patient-{front}")
    app.tell("web", "stop-1", "2")
    app.apply({"web": app.lives(front, 8211, seconds=0.5)})
    app.until_step("ready-2 web")
    app.systemctl("stop", app.unit("web"))
    assert app.steps()[-2:] == ["stop-1 web", "stop-2 web"]
    assert app.show("web", "Result") == "success"
    app.remove()


@pytest.mark.row("MK-8", "RV-15")
def test_it_lets_nobody_new_in_and_ends_what_is_under_way(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"drain-{front}")
    app.tell("web", "value", "answered")
    app.apply({"web": app.lives(front, 8212)})
    app.until_step("ready-2 web")
    app.tell("web", "slow", "yes")
    app.clear()
    with ThreadPoolExecutor(2) as pool:
        under_way = pool.submit(app.answers, 8212)
        until(lambda: connected(app, 8212), "the request is under way")
        stopping = pool.submit(app.systemctl, "stop", app.unit("web"))
        app.until_step("shutdown-3 web")
        until(lambda: app.machine.run(["python3", "-c", CLIENT, "8212"]).status != 0, "nobody new")
        assert app.state("web") == "deactivating"
        app.tell("web", "slow", "")
        assert under_way.result() == "answered"
        stopping.result()
    assert in_order(app.steps(), "drained web", "stop-1 web", "stop-2 web")
    assert app.show("web", "Result") == "success"
    app.remove()


def connected(app: Life, port: int) -> bool:
    """Whether somebody is, on this side of the port (proc(5), state 01)."""
    lines = app.machine.run(["cat", "/proc/net/tcp"]).out.splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


@pytest.mark.row("MK-9")
def test_the_end_can_be_asked_for_again(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"again-{front}")
    app.tell("web", "shutdown-3", "1")
    app.apply({"web": app.lives(front, 8213)})
    app.until_step("ready-2 web")
    pid = app.pid("web")
    app.clear()
    with ThreadPoolExecutor(4) as pool:
        stops = [pool.submit(app.systemctl, "stop", app.unit("web")) for _ in range(3)]
        app.until_step("shutdown-3 web")
        for number in ("TERM", "INT", "HUP") * 5:
            app.machine.run(["kill", f"-{number}", str(pid)])
        for stop in stops:
            stop.result()
    assert sorted(app.steps()) == sorted(DOWN), "each once"
    assert app.show("web", "Result") == "success"
    app.systemctl("stop", app.unit("web"))
    app.remove()


@pytest.mark.row("MK-10")
def test_nothing_that_it_began_outlives_it(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"beside-{front}")
    app.apply({"web": app.lives(front, 8214)})
    app.until_step("ready-2 web")
    group = app.machine.path("/sys/fs/cgroup") / app.show("web", "ControlGroup").lstrip("/")
    assert (group / "cgroup.procs").read_text().split()
    app.systemctl("stop", app.unit("web"))
    assert "background web" in app.steps(), "it was asked to end, and did"
    assert in_order(app.steps(), "background web", "stop-1 web", "stop-2 web")
    assert not group.exists()
    assert "abandoned" not in app.said("web")
    app.remove()


# What systemd sees


@pytest.mark.row("MK-9", "RV-19")
def test_the_phases_are_told_while_they_last(any_machine: Machine, front: str) -> None:
    app = Life.on(any_machine, f"phases-{front}")
    for step in ("start-1", "reload-1", "shutdown-2", "stop-2"):
        app.tell("web", step, "1")
    app.write({"web": app.lives(front, 8215)})
    with ThreadPoolExecutor(1) as pool:
        begins = pool.submit(app.nanod, "apply", app.spec)
        app.until_words("web", "build: database")
        assert app.state("web") == "activating"
        begins.result()
        app.until_words("web", "run")
        reloads = pool.submit(app.systemctl, "reload", app.unit("web"))
        app.until_words("web", "reload: values")
        assert app.state("web") == "reloading"
        reloads.result()
        ends = pool.submit(app.systemctl, "stop", app.unit("web"))
        app.until_words("web", "shutdown: queue")
        app.until_words("web", "shutdown: traces")
        assert app.state("web") == "deactivating"
        ends.result()
    app.remove()


def test_the_end_that_it_decides_on_itself_is_one_that_systemd_waits_for(any_machine: Machine, front: str) -> None:
    """STOPPING=1: the unit is deactivating from then on, and what comes after it starts when it has ended."""
    app = Life.on(any_machine, f"itself-{front}")
    app.tell("web", "shutdown-2", "1")
    app.apply({"web": app.lives(front, 8216)})
    app.until_step("ready-2 web")
    app.machine.run(["kill", "-TERM", str(app.pid("web"))])
    app.until_step("shutdown-2 web")
    until(lambda: app.state("web") == "deactivating", "systemd knows")
    app.systemctl("stop", app.unit("web"))
    assert app.steps()[-2:] == ["stop-1 web", "stop-2 web"]
    assert app.state("web") == "inactive"
    assert app.show("web", "Result") == "success"
    app.remove()


def test_a_service_that_hangs_is_found_by_the_watchdog(any_machine: Machine, front: str) -> None:
    """The loop that serves gives the signs; where threads serve, the server gives them."""
    app = Life.on(any_machine, f"hangs-{front}")
    app.tell("web", "signs", "yes")
    app.apply({"web": app.lives(front, 8217, systemd={"Service": {"WatchdogSec": "2s"}})})
    app.until_step("ready-2 web")
    first = app.pid("web")
    for _ in range(3):
        app.answers(8217)
    app.tell("web", "stuck", "yes")
    with app.machine.popen(["python3", "-c", CLIENT, "8217"], stderr=subprocess.DEVNULL):
        until(lambda: app.pid("web") not in (0, first), "it was killed, and started again", timeout=30)
    app.tell("web", "stuck", "")
    assert "Watchdog timeout" in app.journal(f"UNIT={app.unit('web')}", "_PID=1")
    app.until_up("web")
    app.remove()
