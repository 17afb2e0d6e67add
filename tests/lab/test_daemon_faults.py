"""What befalls the daemon is nothing to services: kills, a hang, its removal. And who is not root gets nothing from it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.lab.daemons import SPECS, UNITS, Daemon, pids, sleeping, version
from tests.lab.steps import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine

COUNT, ROUNDS = (100, 60) if os.environ.get("NANOD_DAEMON_SPECS") == "all" else (12, 8)
"""Specs, and how often one of them is edited; NANOD_DAEMON_SPECS=all takes a minute of it with a hundred."""


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    """Its services live through everything."""
    before = pids(running, "keeps-s0.service", "keeps-s1.service")
    yield running
    assert pids(running, "keeps-s0.service", "keeps-s1.service") == before
    for path in running.machine.path(SPECS).iterdir():
        if path.name != "keeps.yaml":
            path.unlink()
    running.reload()
    assert len(running.status()["specs"]) == 1


def kill(daemon: Daemon, signal: str = "KILL") -> None:
    """And wait until systemd has brought another one."""
    before = daemon.pid
    assert daemon.machine.run(["kill", f"-{signal}", str(before)]).status == 0
    until(lambda: daemon.pid not in (0, before) and daemon.show("ActiveState") == "active", "another daemon", timeout=30)


@pytest.mark.row("FAULTS-49", "BX-28")
def test_killed_while_nothing_happens(daemon: Daemon) -> None:
    daemon.put("web", sleeping("web", services=2))
    daemon.until_state("web", "applied")
    daemon.systemctl("stop", "web-s1.service")
    before = pids(daemon, "web-s0.service", "web-s1.service")
    for _ in range(3):
        kill(daemon)
    assert daemon.applies("web") == 1
    assert pids(daemon, "web-s0.service", "web-s1.service") == before
    daemon.put("web", sleeping("web", 2, services=2))
    until(lambda: version(daemon, "web") == "2", "it works on")


@pytest.mark.row("FAULTS-49", "BX-28")
def test_killed_during_an_apply_which_goes_on_and_is_picked_up(daemon: Daemon) -> None:
    before = daemon.applies("web")
    daemon.put("web", sleeping("web", hooks={"prestart": "sleep 4"}))
    until(lambda: daemon.show("ActiveState", "web-s0.service") == "activating", "it is at work")
    work = pids(daemon, "nanod-apply@web.service")
    assert daemon.machine.run(["kill", "-KILL", str(daemon.pid)]).status == 0
    until(lambda: daemon.state("web") == "applying", "another daemon", timeout=30)
    assert pids(daemon, "nanod-apply@web.service") == work, "the same process"
    until(lambda: daemon.show("ActiveState") == "active", "it is ready when that has ended", timeout=30)
    assert daemon.state("web") == "applied"
    assert (version(daemon, "web"), daemon.applies("web")) == ("1", before + 1)


@pytest.mark.row("FAULTS-49")
def test_what_ended_while_no_daemon_ran_is_known_to_the_next(daemon: Daemon) -> None:
    before = daemon.applies("web")
    daemon.put("web", sleeping("web", 2, hooks={"prestart": "sleep 2"}))
    daemon.put("bad", "services: {web: {comand: x}}\n")
    until(lambda: daemon.state("web") == "applying" or daemon.state("bad") == "applying", "it is at work")
    daemon.stop()
    until(
        lambda: "Starting" not in daemon.machine.run(["systemctl", "list-jobs"]).out and daemon.machine.run(["pgrep", "-f", "nanod apply"]).status,
        "it has ended",
    )
    daemon.start()
    assert (daemon.state("web"), daemon.state("bad")) == ("applied", "refused")
    assert daemon.applies("web") == before + 1
    assert daemon.applies("bad") == 1


@pytest.mark.row("FAULTS-49")
def test_an_apply_that_is_killed_is_begun_again(daemon: Daemon) -> None:
    daemon.put("web", sleeping("web", 3, hooks={"prestart": "sleep 3"}))
    until(lambda: daemon.state("web") == "applying" and daemon.show("MainPID", "nanod-apply@web.service") != "0", "it is at work")
    daemon.systemctl("kill", "--signal=KILL", "nanod-apply@web.service")
    daemon.until_state("web", "applied", timeout=40)
    assert version(daemon, "web") == "3"
    assert "apply killed: nanod-apply@web.service: killed by KILL; once more" in daemon.journal("--unit=nanod.service")


@pytest.mark.thorough
@pytest.mark.row("FAULTS-49")
def test_a_job_that_is_cancelled_is_noticed(daemon: Daemon) -> None:
    """Nothing is ever run then, and so nothing says how it ended."""
    daemon.machine.write("/etc/systemd/system/nanod-apply@.service.d/late.conf", "[Unit]\nAfter=late.service\n")
    daemon.machine.write("/etc/systemd/system/late.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep infinity\n")
    daemon.systemctl("daemon-reload")
    daemon.systemctl("start", "--no-block", "late.service")
    daemon.put("web", sleeping("web", 4))
    until(lambda: "nanod-apply@web.service" in daemon.systemctl("list-jobs"), "it waits")
    daemon.machine.path("/etc/systemd/system/nanod-apply@.service.d/late.conf").unlink()
    daemon.systemctl("stop", "nanod-apply@web.service")
    daemon.systemctl("stop", "late.service")
    daemon.systemctl("daemon-reload")
    until(lambda: version(daemon, "web") == "4", "it is begun once more", timeout=90)
    daemon.until_state("web", "applied")


@pytest.mark.row("FAULTS-49", "BX-28")
def test_a_hang_is_found_by_the_watchdog(daemon: Daemon) -> None:
    daemon.machine.write("/etc/systemd/system/nanod.service.d/short.conf", "[Service]\nWatchdogSec=2s\n")
    daemon.systemctl("daemon-reload")
    daemon.restart()
    before = daemon.pid
    daemon.machine.run(["kill", "-STOP", str(before)])
    until(lambda: daemon.pid not in (0, before) and daemon.show("ActiveState") == "active", "another daemon", timeout=40)
    assert "Watchdog timeout" in daemon.journal("--unit=nanod.service")
    quiet = daemon.pid
    daemon.put("web", sleeping("web", 5, hooks={"prestart": "sleep 5"}))
    daemon.until_state("web", "applied", timeout=30)
    assert daemon.pid == quiet, "long work is no hang"
    daemon.machine.path("/etc/systemd/system/nanod.service.d/short.conf").unlink()
    daemon.systemctl("daemon-reload")
    daemon.restart()


@pytest.mark.thorough
@pytest.mark.row("FAULTS-33")
def test_a_pid_1_that_is_slow_to_reload(daemon: Daemon) -> None:
    """40 s in a generator: longer than any answer is waited for by default."""
    generator = "/etc/systemd/system-generators/slow"
    daemon.machine.write(generator, "#!/bin/sh\nsleep 40\n", mode=0o755)
    try:
        reloading = daemon.machine.popen(["systemctl", "daemon-reload"])
        daemon.put("web", sleeping("web", 6))
        until(lambda: reloading.poll() is not None, "the reload has ended", timeout=90)
    finally:
        daemon.machine.path(generator).unlink()
    until(lambda: version(daemon, "web") == "6", "it is applied all the same", timeout=90)
    assert daemon.show("NRestarts") == "0"


@pytest.mark.thorough
@pytest.mark.row("FAULTS-49", "BX-28", "BX-4")
def test_many_specs_of_which_one_is_edited_all_the_time(daemon: Daemon) -> None:
    """The last content is in force, each that was in force on the way was whole, and nobody else is touched."""
    names = [f"m{number:03}" for number in range(COUNT)]
    for name in names:
        daemon.put(name, sleeping(name))
    until(lambda: all(daemon.state(name) == "applied" for name in names[-1:]), "all are applied", timeout=3 * COUNT)
    daemon.reload()
    others = [f"{name}-s0.service" for name in names[1:]]
    before = pids(daemon, *others)
    edited = names[0]
    for number in range(2, ROUNDS + 2):
        with daemon.file(edited).open("w") as file:  # not at once: truncated, half of it, all of it
            text = sleeping(edited, number)
            file.write(text[: len(text) // 2])
            file.flush()
            daemon.machine.run(["sleep", "0.5"])
            file.write(text[len(text) // 2 :])
        daemon.machine.run(["sleep", "0.5"])
    until(lambda: version(daemon, edited) == str(ROUNDS + 1), "the last one", timeout=60)
    daemon.until_state(edited, "applied", timeout=60)
    assert pids(daemon, *others) == before
    verdicts = daemon.machine.run(["sh", "-c", f"cat /var/lib/nanod/apps/{edited}/history.jsonl"]).out.splitlines()
    assert all('"verdict": "healthy"' in line for line in verdicts), verdicts
    assert "refused" not in daemon.journal("--unit=nanod.service", f"--grep={edited}")


@pytest.mark.row("FAULTS-45")
def test_who_is_not_root_gets_nothing(daemon: Daemon) -> None:
    machine = daemon.machine
    as_user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
    ask = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/nanod/control'); s.sendall(b'{\"do\": \"reload\"}\\n'); print(s.makefile().read())"
    done = machine.run([*as_user, daemon.python, "-c", ask])
    assert "PermissionError" in done.err
    daemon.put("web", sleeping("web", 7, hooks={"prestart": "sleep 3"}))
    until(lambda: daemon.state("web") == "applying", "it is at work")
    assert machine.run([*as_user, "cat", "/run/nanod/daemon/apply-web.out"]).status != 0
    for path in ("/run/nanod/daemon/x", "/var/lib/nanod/daemon/x", "/etc/nanod/specs.d/x.yaml", "/run/nanod/x"):
        assert machine.run([*as_user, "touch", path]).status != 0, path
    assert machine.run([*as_user, "nanod", "reload"]).status == 1
    for verb in (["start", "nanod-apply@keeps.service"], ["stop", "nanod.service"], ["reload", "nanod.service"]):
        assert machine.run([*as_user, "systemctl", "--no-ask-password", *verb]).status != 0, verb
    # Somebody has opened the socket to all: the kernel still tells who it is.
    machine.run(["chmod", "0666", "/run/nanod/control"])
    done = machine.run([*as_user, daemon.python, "-c", ask])
    assert "only root may ask" in done.out or "BrokenPipe" in done.err, done
    until(lambda: "control: uid 1000, gid 1000, pid " in daemon.journal("--unit=nanod.service"), "the try is told of")
    assert daemon.status()["denied"] == 1
    machine.run(["chmod", "0600", "/run/nanod/control"])


@pytest.mark.row("FAULTS-45")
def test_the_socket_is_bounded(daemon: Daemon) -> None:
    """Long requests, nonsense, many connections, and none of them is a way to keep others out for long."""
    assert "at most 8192 bytes" in daemon.ask("x" * 10000)["error"]["message"]
    assert "one line of JSON" in daemon.ask("reload")["error"]["message"]
    assert "mapping with 'do'" in daemon.ask("[1]")["error"]["message"]
    assert "'stop' cannot be asked" in daemon.ask({"do": "stop"})["error"]["message"]
    many = """
import socket
made = []
for _ in range(40):
    one = socket.socket(socket.AF_UNIX)
    one.connect("/run/nanod/control")
    made.append(one)
made[-1].settimeout(10)
print(made[-1].recv(1000).decode())
"""
    done = daemon.machine.run([daemon.python, "-c", many])
    assert "16 connections already" in done.out, done
    assert daemon.status()["ready"]


def test_its_sandbox(daemon: Daemon) -> None:
    done = daemon.machine.run(["systemd-analyze", "security", "--threshold=35", "--no-pager", "nanod.service"])
    assert done.status == 0, done.out[-500:]
    status = daemon.machine.path(f"/proc/{daemon.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert "Seccomp:\t2" in status


@pytest.mark.row("BX-28")
def test_without_nanod_every_service_runs_restarts_and_survives_a_reboot(machine: Machine) -> None:
    """All of it is gone: the daemon, its units, the program, its code, its state."""
    daemon = Daemon.on(machine)
    daemon.put("alone", sleeping("alone", hooks={"prestart": "touch /srv/prestart-ran"}, restart={"policy": "always", "delay": "100ms"}))
    daemon.start()
    daemon.until_state("alone", "applied")
    before = pids(daemon, "alone-s0.service")
    daemon.systemctl("kill", "--signal=KILL", "--kill-who=main", "nanod.service")
    daemon.systemctl("stop", "nanod.service")
    for name in UNITS:
        machine.path(f"/etc/systemd/system/{name}").unlink()
    machine.run(["rm", "-rf", "/usr/local/bin/nanod", "/run/nanod", "/var/lib/nanod/apps", "/var/lib/nanod/daemon"])
    daemon.systemctl("daemon-reload")
    assert pids(daemon, "alone-s0.service") == before
    machine.path("/srv/prestart-ran").unlink()
    machine.run(["kill", "-KILL", before["alone-s0.service"].split()[0]])
    until(lambda: version(daemon, "alone") == "1" and pids(daemon, "alone-s0.service") != before, "it restarts")
    assert machine.path("/srv/prestart-ran").exists()
    daemon.systemctl("restart", "alone-s0.service")
    machine.reboot()
    assert version(daemon, "alone") == "1"
