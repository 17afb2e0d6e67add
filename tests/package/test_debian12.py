from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.lab.steps import until
from tests.package.life import Life

if TYPE_CHECKING:
    from tests.package.hosts import Host

SPEC = "/srv/half.yaml"
TEXT = "services: {web: {command: [sleep, infinity], environment: {WHICH: %s}}}\n"
UNIT = "half-web.service"


class TestDebian12(Life):
    suite = "bookworm"

    @pytest.mark.thorough
    def test_nothing_is_removed_under_an_apply_that_does_not_end(self, host: Host) -> None:
        host.settled()
        host.machine.write(SPEC, TEXT % "first")
        apply = host.machine.popen(["nanod", "apply", SPEC], env={"NANOD_FAULT": "renamed:stop"})
        until(lambda: host.is_stopped("apply", SPEC), "it stands in the middle")
        said = host.apt("remove", "nanod", status=100)
        assert f"busy: held by pid {host.pid_of('apply', SPEC)} (nanod apply {SPEC})" in said
        assert host.is_installed()
        assert host.run("dpkg", "--audit").out == ""
        assert host.run("dpkg", "--verify", "nanod").out == ""
        host.ready()
        apply.send_signal(signal.SIGCONT)  # to nsenter, which has stopped with it, and passes it on
        assert apply.wait() == 0
        host.run("nanod", "status", "half")
        host.run("nanod", "remove", "half")

    def test_what_was_cut_off_is_undone_before_nanod_goes(self, host: Host) -> None:
        host.settled()
        host.machine.write(SPEC, TEXT % "first")
        host.run("nanod", "apply", SPEC)
        unit, intent = host.machine.path(f"/etc/systemd/system/{UNIT}"), host.machine.path("/var/lib/nanod/apps/half/intent.json")
        before, pid = unit.read_text(), host.show(UNIT, "MainPID")
        host.machine.write(SPEC, TEXT % "second")
        cut = host.machine.run(["nanod", "apply", SPEC], env={"NANOD_FAULT": "installed:kill"})
        assert cut.status != 0
        assert intent.exists()
        assert unit.read_text() != before
        host.apt("remove", "nanod")
        assert not intent.exists()
        assert (unit.read_text(), host.show(UNIT, "MainPID")) == (before, pid)
        assert host.show(UNIT, "NeedDaemonReload") == "no"
        host.apt("install", str(host.older))
        host.run("nanod", "remove", "half")
