"""The daemon on systemd 257: what differs there is notifications, `Type=notify-reload`, and how a unit is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.daemons import SPECS, Daemon, pids, sleeping, version
from tests.lab.steps import until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine


@pytest.fixture(scope="module")
def daemon(machine257: Machine) -> Daemon:
    daemon = Daemon.on(machine257, "/usr/bin/python3")
    daemon.put("keeps", sleeping("keeps"))
    daemon.start()
    return daemon


@pytest.mark.row("BX-28", "RV-6")
def test_start_change_reload_refusal_removal(daemon: Daemon) -> None:
    assert version(daemon, "keeps") == "1"
    before = pids(daemon, "keeps-s0.service")
    daemon.put("web", sleeping("web"))
    until(lambda: version(daemon, "web") == "1", "the first version")
    daemon.put("web", sleeping("web", 2))
    daemon.systemctl("reload", "nanod.service")
    assert version(daemon, "web") == "2"
    daemon.put("web", "services: {web: {comand: x}}\n")
    daemon.systemctl("reload", "nanod.service", status=1)
    assert "web refused: the spec has errors" in daemon.show("StatusText")
    assert (daemon.show("ActiveState"), daemon.show("SubState")) == ("active", "running")
    pid = daemon.pid
    for _ in range(100):
        daemon.machine.run(["kill", "-HUP", str(pid)])
    daemon.file("web").unlink()
    daemon.reload()
    assert daemon.show("LoadState", "web-s0.service") == "not-found"
    assert daemon.pid == pid
    assert pids(daemon, "keeps-s0.service") == before


@pytest.mark.row("FAULTS-49", "BX-28")
def test_killed_and_hung(daemon: Daemon) -> None:
    before = pids(daemon, "keeps-s0.service")
    daemon.machine.write("/etc/systemd/system/nanod.service.d/short.conf", "[Service]\nWatchdogSec=2s\n")
    daemon.systemctl("daemon-reload")
    daemon.restart()
    for signal in ("KILL", "STOP"):
        old = daemon.pid
        daemon.machine.run(["kill", f"-{signal}", str(old)])

        def is_there(old: int = old) -> bool:
            return daemon.pid not in (0, old) and daemon.show("ActiveState") == "active"

        until(is_there, f"another one after {signal}", timeout=40)
    assert pids(daemon, "keeps-s0.service") == before
    assert daemon.applies("keeps") == 1


@pytest.mark.row("FAULTS-45")
def test_its_sandbox_holds_there_too(daemon: Daemon) -> None:
    done = daemon.machine.run(["systemd-analyze", "security", "--threshold=35", "--no-pager", "nanod.service"])
    assert done.status == 0, done.out[-500:]
    assert "CapEff:\t0000000000000000" in daemon.machine.path(f"/proc/{daemon.pid}/status").read_text()
    assert daemon.machine.path(SPECS).is_dir()


@pytest.mark.row("BX-22")
def test_drift_and_metrics(daemon: Daemon) -> None:
    daemon.machine.write("/etc/systemd/system/keeps-s0.service.d/own.conf", "[Service]\nNice=3\n")
    daemon.systemctl("daemon-reload")
    until(lambda: "is a drop-in of the administrator" in daemon.journal("--unit=nanod.service"), "the drop-in")
    text = daemon.ask({"do": "metrics"})["metrics"]
    assert 'nanod_drift{app="keeps",kind="override",subject="/etc/systemd/system/keeps-s0.service.d/own.conf"} 1\n' in text
    assert text.endswith("# EOF\n")
