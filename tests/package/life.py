"""The life of the package on a host, for each Debian: a class of it has the tests of this one."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING, ClassVar

import pytest

from nanod import __version__
from tests.lab.steps import until
from tests.package.conftest import NEXT
from tests.package.hosts import EXAMPLE, SPEC, UNITS, Host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Life:
    suite: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls, older: Path, newer: Path) -> Iterator[Host]:
        with Host.boot(cls.suite, older, newer) as booted:
            yield booted

    def test_apt_installs_all_that_an_app_needs(self, host: Host) -> None:
        host.settled()
        host.run("nanod", "apply", EXAMPLE)
        for unit in ("nanod.service", "nanod-recover.service"):
            assert host.run("systemctl", "is-enabled", unit).out == "enabled\n"
        assert "Active: active (running)" in host.run("systemctl", "status", "nanod.service").out
        assert "Active: active (running)" in host.run("systemctl", "status", "visits-web.service").out
        host.run("nanod", "status")
        host.run("nanod", "doctor")
        host.run("nanod", "remove", "--purge", "visits")
        # The library is everybody's, what nanod alone needs is nobody else's.
        host.run("python3", "-c", "import nanod.lifecycle")
        assert "No module named 'inotify_simple'" in host.run("python3", "-c", "import inotify_simple", status=1).err
        assert host.run("dpkg", "--verify", "nanod").out == ""
        assert host.run("stat", "--format=%a %U:%G", "/etc/nanod/specs.d", "/var/lib/nanod").out == "755 root:root\n" * 2

    @pytest.mark.row("BX-28")
    def test_upgrades_and_downgrades_touch_no_service(self, host: Host) -> None:
        pids = host.settled()
        daemon = host.show("nanod.service", "MainPID")
        for package, version in ((host.newer, NEXT), (host.older, __version__)):
            host.apt("install", "--allow-downgrades", str(package))
            host.ready()
            assert host.run("nanod", "--version").out == f"nanod {version}\n"
            assert host.show("nanod.service", "MainPID") != daemon
            assert host.pids() == pids
            host.run("nanod", "plan", "--detailed-exitcode", SPEC)
            daemon = host.show("nanod.service", "MainPID")

    def test_a_service_that_is_off_stays_off(self, host: Host) -> None:
        host.settled()
        host.run("systemctl", "disable", "--now", "nanod.service")
        host.apt("install", str(host.newer))
        assert host.run("systemctl", "is-enabled", "nanod.service", status=1).out == "disabled\n"
        assert host.show("nanod.service", "ActiveState") == "inactive"
        host.run("systemctl", "enable", "--now", "nanod.service")

    def test_the_daemon_is_as_it_was_before(self, host: Host) -> None:
        host.settled()
        host.run("systemctl", "stop", "nanod.service")
        host.apt("install", str(host.newer))
        assert host.show("nanod.service", "ActiveState") == "inactive", "somebody has stopped it on purpose"
        host.run("systemctl", "start", "nanod.service")
        host.run("systemctl", "disable", "nanod.service")
        host.apt("install", "--allow-downgrades", str(host.older))
        host.ready()
        assert host.run("systemctl", "is-enabled", "nanod.service", status=1).out == "disabled\n"
        host.run("systemctl", "enable", "nanod.service")

    @pytest.mark.row("BX-28")
    def test_without_nanod_services_go_on_restart_and_come_back(self, host: Host) -> None:
        pids = host.settled()
        said = host.apt("remove", "nanod")
        assert "nanod: the services of these apps go on, under systemd alone: tick\n" in said
        host.apt("autoremove")
        for gone in ("/usr/bin/nanod", "/usr/bin/python3"):
            assert not host.machine.path(gone).exists()
        assert host.show("nanod.service", "ActiveState") == "inactive"
        assert host.pids() == pids
        host.crash()
        host.machine.reboot()
        assert host.run("systemctl", "is-active", *UNITS).out == "active\n" * 2
        pids = host.pids()
        host.apt("install", str(host.older))
        host.ready()
        host.run("nanod", "status")
        host.run("nanod", "plan", "--detailed-exitcode", SPEC)
        assert host.pids() == pids

    def test_what_is_at_work_is_waited_for(self, host: Host) -> None:
        host.settled()
        host.machine.write(
            "/srv/slow.yaml", "services: {web: {command: sleep infinity, hooks: {prestart: 'until [ -e /run/go ]; do sleep 0.1; done'}}}\n"
        )
        host.machine.write("/srv/next.yaml", "services: {web: {command: [sleep, infinity]}}\n")
        apply = host.machine.popen(["nanod", "apply", "/srv/slow.yaml"])
        until(lambda: host.show("slow-web.service", "ActiveState") == "activating", "slow is on its way")
        behind = host.machine.popen(["nanod", "apply", "/srv/next.yaml"], stderr=subprocess.PIPE)
        assert behind.stderr is not None
        assert b"waiting for" in behind.stderr.readline()
        host.run("sh", "-ec", f"kill -STOP {host.pid_of('/srv/next.yaml')}")
        upgrade = host.machine.popen(["apt-get", "--yes", "install", str(host.newer)], env={"DEBIAN_FRONTEND": "noninteractive"})
        until(lambda: host.pid_of("recover"), "the upgrade waits for the lock", timeout=60)
        assert upgrade.poll() is None
        host.machine.write("/run/go", "")
        assert apply.wait() == 0
        # It has had the lock, and lets go of it; who waits behind would begin.
        until(lambda: host.pid_of("sleep", "1"), "the upgrade waits for who waits", timeout=60)
        assert host.run("nanod", "--version").out == f"nanod {__version__}\n"
        behind.send_signal(signal.SIGCONT)  # to nsenter, which has stopped with it, and passes it on
        assert (behind.wait(), upgrade.wait()) == (0, 0)
        behind.stderr.close()
        assert host.run("nanod", "--version").out == f"nanod {NEXT}\n"
        host.run("nanod", "remove", "slow")
        host.run("nanod", "remove", "next")

    def test_a_purge_breaks_no_app_that_is_still_there(self, host: Host) -> None:
        pids = host.settled()
        host.machine.write("/srv/elsewhere.yaml", "services: {web: {command: [sleep, infinity]}}\n")
        elsewhere = ("--unit-dir", "/usr/local/lib/systemd/system")
        host.run("nanod", "apply", *elsewhere, "/srv/elsewhere.yaml")
        said = host.apt("purge", "nanod")
        assert "nanod: kept for the services of these apps, which go on: /var/lib/nanod (elsewhere tick)\n" in said
        assert host.pids() == pids
        host.crash()
        pids = host.pids()
        host.apt("install", str(host.older))
        host.ready()
        host.run("nanod", "status")
        assert host.pids() == pids
        host.run("nanod", "remove", *elsewhere, "elsewhere")

    def test_a_purge_leaves_nothing_once_the_apps_are_gone(self, host: Host) -> None:
        host.settled()
        host.machine.path(SPEC).unlink()
        host.run("nanod", "remove", "--purge", "tick")
        host.apt("purge", "nanod")
        for path in ("/etc/nanod", "/var/lib/nanod", "/usr/share/nanod", "/usr/lib/python3/dist-packages/nanod"):
            assert not host.machine.path(path).exists()
        assert "nanod" not in host.run("find", "/etc/systemd", "/lib/systemd/", "-name", "*nanod*").out
