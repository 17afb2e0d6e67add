"""Reloads: what is wrong is refused and the old stays; whoever waits is told; and no hangup is ever the end of it."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from tests.lab.daemons import CONFIG, SPECS, Daemon, sleeping, version
from tests.lab.steps import until

if TYPE_CHECKING:
    from collections.abc import Iterator

BAD = "services: {web: {comand: x}}\n"


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    running.put("web", sleeping("web"))
    running.until_state("web", "applied")
    yield running
    running.configure("")
    for path in running.machine.path(SPECS).iterdir():
        if path.name != "keeps.yaml":
            path.unlink()
    running.restart()
    until(lambda: len(running.status()["specs"]) == 1, "the others are gone")


def reload(daemon: Daemon, status: int) -> None:
    """As an administrator does it."""
    daemon.systemctl("reload", "nanod.service", status=status)
    assert daemon.show("ActiveState") == "active"


@pytest.mark.row("RV-6", "RV-9")
def test_a_reload_returns_when_all_is_in_force(daemon: Daemon) -> None:
    daemon.configure("debounce: 2s\n")
    daemon.put("web", sleeping("web", 2))
    reload(daemon, 0)
    assert version(daemon, "web") == "2"
    daemon.put("web", sleeping("web", 3))
    assert daemon.reload().err == ""
    assert version(daemon, "web") == "3"
    assert json.loads(daemon.machine.run(["nanod", "reload", "--json"]).out) == {"reload": {"problems": []}}


@pytest.mark.row("FAULTS-48", "RV-7", "RV-9")
def test_a_bad_spec_is_refused_and_the_old_one_serves_on(daemon: Daemon) -> None:
    daemon.put("web", BAD)
    reload(daemon, 1)
    assert daemon.show("StatusText") == "2 specs: 1 applied, 1 refused; web refused: the spec has errors"
    assert daemon.show("SubState") == "running", "READY=1 came again"
    assert version(daemon, "web") == "1"
    done = daemon.reload(status=4)
    assert f"nanod: web: {SPECS}/web.yaml:1:18: error: unknown key 'comand' in 'web': did you mean 'command'?" in done.err.splitlines()
    daemon.put("web", sleeping("web", 2))
    reload(daemon, 0)
    assert version(daemon, "web") == "2"


@pytest.mark.row("FAULTS-48", "RV-7", "RV-11")
def test_a_bad_configuration_is_refused_as_a_whole_and_comes_first(daemon: Daemon) -> None:
    """No spec is looked at for its sake, and nothing of it is in force: not what is right in it either."""
    daemon.configure("debounce: soon\nheal: true\nmetric: 1\n")
    daemon.put("other", BAD)
    daemon.until_state("other", "refused")
    before = daemon.applies("other")
    reload(daemon, 1)
    done = daemon.reload(status=2)
    assert [line.partition(": error: ")[0] for line in done.err.splitlines()] == [f"nanod: {CONFIG}:1:11", f"nanod: {CONFIG}:3:1"]
    assert daemon.status()["heal"] is False
    assert daemon.applies("other") == before
    said = daemon.journal("--unit=nanod.service")
    assert "cannot reload: " in said
    assert "reload hook 'configuration'" in said or "configuration" in said
    assert "Traceback" not in said
    assert "last reload refused" in daemon.show("StatusText")
    daemon.configure("heal: true\n")
    daemon.reload(status=4)
    assert daemon.status()["heal"] is True
    assert "last reload refused" not in daemon.show("StatusText")


@pytest.mark.row("RV-12")
def test_what_only_a_restart_changes_is_refused_with_a_word(daemon: Daemon) -> None:
    daemon.configure("specs: /srv/specs\nsocket: /run/nanod/other\nheal: true\n")
    done = daemon.reload(status=2)
    assert "cannot change 'specs' (/etc/nanod/specs.d to /srv/specs), 'socket' (/run/nanod/control to /run/nanod/other) by a reload" in done.err
    assert "systemctl restart nanod.service" in done.err
    assert (daemon.status()["directory"], daemon.status()["heal"]) == (SPECS, False)
    daemon.machine.path("/srv/specs").mkdir()
    daemon.restart()
    assert daemon.reload().status == 0, "whose socket is elsewhere"
    assert not daemon.machine.path("/run/nanod/control").exists()
    daemon.configure("")
    daemon.restart()
    assert daemon.state("web") == "applied"


def test_a_bad_configuration_keeps_it_from_starting_and_says_why(daemon: Daemon) -> None:
    daemon.configure("socket: relative\n")
    daemon.stop()
    daemon.systemctl("start", "nanod.service", status=1)
    assert f"{CONFIG}:1:9: error: 'socket' must be an absolute path" in daemon.journal("--unit=nanod.service")
    assert daemon.show("ActiveState") == "failed", "and it is not tried again"
    assert version(daemon, "web") == "1"
    daemon.configure("")
    daemon.start()


@pytest.mark.row("RV-10")
def test_reloads_at_the_same_time_are_serialised_and_each_is_answered(daemon: Daemon) -> None:
    daemon.put("web", sleeping("web", 2, hooks={"prestart": "sleep 1"}))
    found: list[int] = []
    before = daemon.applies("web")
    threads = [threading.Thread(target=lambda: found.append(daemon.machine.run(["nanod", "reload"]).status)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0] * 8
    assert version(daemon, "web") == "2"
    assert daemon.applies("web") == before + 1


def test_who_asks_before_the_first_reconcile_has_ended_is_answered_after_it(daemon: Daemon) -> None:
    daemon.stop()
    daemon.put("web", sleeping("web", 2, hooks={"prestart": "sleep 3"}))
    daemon.systemctl("start", "--no-block", "nanod.service")
    until(lambda: daemon.state("web") == "applying", "it is at work")
    asking = daemon.machine.popen(["nanod", "reload"])
    assert daemon.status()["ready"] is False
    assert asking.wait() == 0
    assert (version(daemon, "web"), daemon.show("ActiveState")) == ("2", "active")


@pytest.mark.row("FAULTS-46", "RV-6", "RV-8")
def test_a_hangup_asks_for_a_reload_and_waits_for_nothing(daemon: Daemon) -> None:
    daemon.configure("debounce: 2s\n")
    daemon.reload()
    daemon.put("web", sleeping("web", 2))
    daemon.systemctl("kill", "--signal=HUP", "--kill-who=main", "nanod.service")
    until(lambda: version(daemon, "web") == "2", "the new version")
    daemon.configure("debounce: soon\n")
    pid = daemon.pid
    daemon.systemctl("kill", "--signal=HUP", "--kill-who=main", "nanod.service")
    until(lambda: "last reload refused" in daemon.show("StatusText"), "it is refused")
    assert daemon.pid == pid


@pytest.mark.row("FAULTS-46", "RV-10")
def test_a_storm_of_hangups_during_an_apply_is_one_reload_afterwards(daemon: Daemon) -> None:
    pid, before = daemon.pid, daemon.status()["reload"]["accepted"]
    daemon.put("web", sleeping("web", 2, hooks={"prestart": "sleep 2"}))
    until(lambda: daemon.state("web") == "applying", "it is being applied")
    script = f"i=0; while [ $i -lt 1000 ]; do kill -HUP {pid}; i=$((i + 1)); done"
    assert daemon.machine.run(["sh", "-ec", script]).status == 0
    daemon.put("web", sleeping("web", 3))
    until(lambda: version(daemon, "web") == "3", "the last version", timeout=30)
    daemon.until_state("web", "applied")
    assert daemon.pid == pid
    assert daemon.show("NRestarts") == "0"
    until(lambda: daemon.show("SubState") == "running", "no reload is left")
    assert daemon.status()["reload"]["accepted"] - before <= 200, "they are merged"
    reload(daemon, 0)


@pytest.mark.thorough
@pytest.mark.row("FAULTS-46")
def test_hangups_from_the_first_moment_on_kill_nothing(daemon: Daemon) -> None:
    """At 0, 5, … 150 ms after env has begun to ignore them, which is the first that anything of ours does; it is up with what the file says by then."""
    daemon.stop()
    for number, milliseconds in enumerate(range(0, 155, 5), 2):
        daemon.put("web", sleeping("web", number))
        script = f"""
            systemctl start --no-block nanod.service
            pid=0
            while [ "$pid" = 0 ]; do pid=$(systemctl show --property=MainPID --value nanod.service); done
            until grep -q "^Sig[IC][a-z]*:.*[13579bdf]$" /proc/$pid/status; do :; done
            sleep {milliseconds / 1000}
            kill -HUP "$pid"
            echo "$pid"
        """
        done = daemon.machine.run(["sh", "-ec", script])
        assert done.status == 0, done
        until(lambda: daemon.show("ActiveState") == "active", f"up after a hangup at {milliseconds} ms")
        assert str(daemon.pid) == done.out.strip(), "it is the same process"
        daemon.stop()
        assert daemon.show("Result") == "success"
    daemon.start()
    assert version(daemon, "web") == str(number)


@pytest.mark.row("FAULTS-46")
def test_a_hangup_before_anything_of_ours_runs_is_a_restart(daemon: Daemon) -> None:
    """What systemd has forked and not yet executed dies of it, whoever the service is."""
    daemon.machine.write(
        "/etc/systemd/system/nanod.service.d/slow.conf", "[Service]\nExecStartPre=\nExecStart=\nExecStart=/bin/sh -c 'sleep 1; exec nanod daemon'\n"
    )
    daemon.systemctl("daemon-reload")
    daemon.stop()
    daemon.systemctl("start", "--no-block", "nanod.service")
    until(lambda: daemon.pid, "the shell that stands for it")
    daemon.machine.run(["kill", "-HUP", str(daemon.pid)])
    until(lambda: daemon.show("ActiveState") == "active", "it is up")
    assert daemon.show("NRestarts") == "1"
    daemon.machine.path("/etc/systemd/system/nanod.service.d/slow.conf").unlink()
    daemon.systemctl("daemon-reload")


@pytest.mark.row("FAULTS-46")
def test_a_hangup_together_with_the_end_is_an_orderly_end(daemon: Daemon) -> None:
    for first, second in (("HUP", "TERM"), ("TERM", "HUP")):
        daemon.machine.run(["sh", "-ec", f"kill -{first} {daemon.pid}; kill -{second} {daemon.pid}"])
        until(lambda: daemon.show("ActiveState") == "inactive", "it has ended")
        assert (daemon.show("Result"), daemon.show("ExecMainStatus")) == ("success", "0")
        assert version(daemon, "web") == "1"
        daemon.start()
