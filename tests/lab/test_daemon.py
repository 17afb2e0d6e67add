"""The daemon on a real systemd: what lies in its directory is in force, and what it was not asked for stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.daemons import SPECS, Daemon, pids, sleeping, version
from tests.lab.steps import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine


@pytest.fixture(scope="module")
def host(machine: Machine) -> Daemon:
    return Daemon.on(machine)


@pytest.fixture
def daemon(host: Daemon) -> Iterator[Daemon]:
    """With an empty directory at first, and nothing on the host at the end."""
    host.start()
    yield host
    host.configure("")
    host.stop()
    for path in [*host.machine.path(SPECS).iterdir()]:
        path.unlink()
    for app in host.machine.run(["ls", "/var/lib/nanod/apps"]).out.split():
        host.machine.nanod("remove", app)
    host.machine.run(["rm", "-rf", "/var/lib/nanod/daemon/specs.json"])
    host.systemctl("reset-failed")


@pytest.mark.row("BX-28", "FAULTS-48")
def test_it_is_ready_when_each_spec_has_been_applied_or_refused(host: Daemon) -> None:
    host.put("good", sleeping("good"))
    host.put("bad", "services: {web: {comand: x}}\n")
    host.put("worse", sleeping("worse", command=["/bin/false"], restart={"policy": "no"}, settle="2s"))
    host.start()
    assert version(host, "good") == "1"
    found = {item["spec"]: (item["state"], item["last"]["lines"]) for item in host.status()["specs"]}
    assert found[f"{SPECS}/good.yaml"] == ("applied", [])
    state, lines = found[f"{SPECS}/bad.yaml"]
    assert state == "refused"
    assert any(f"{SPECS}/bad.yaml:1:18: error: unknown key 'comand'" in line for line in lines), lines
    state, lines = found[f"{SPECS}/worse.yaml"]
    assert state == "failed"
    assert any("s0" in line for line in lines), lines
    assert "bad refused" in host.show("StatusText")
    for stem in ("good", "bad", "worse"):
        host.file(stem).unlink()
    host.stop()
    host.machine.nanod("remove", "good")


def test_a_saved_file_comes_into_force_and_nothing_else_is_touched(daemon: Daemon) -> None:
    daemon.put("one", sleeping("one"))
    daemon.put("two", sleeping("two"))
    daemon.until_state("one", "applied")
    daemon.until_state("two", "applied")
    before = pids(daemon, "two-s0.service")
    daemon.put("one", sleeping("one", 2))
    until(lambda: version(daemon, "one") == "2", "the new version")
    daemon.until_state("one", "applied")
    assert pids(daemon, "two-s0.service") == before
    assert (daemon.applies("one"), daemon.applies("two")) == (2, 1)


def test_the_same_bytes_are_nothing_to_do(daemon: Daemon) -> None:
    daemon.put("same", sleeping("same"))
    daemon.until_state("same", "applied")
    daemon.systemctl("stop", "same-s0.service")
    daemon.put("same", sleeping("same"))
    daemon.machine.run(["touch", f"{SPECS}/same.yaml"])
    daemon.put("other", sleeping("other"))
    daemon.until_state("other", "applied")
    assert daemon.applies("same") == 1
    assert daemon.show("ActiveState", "same-s0.service") == "inactive"


@pytest.mark.row("FAULTS-49")
def test_what_was_stopped_stays_stopped_over_a_restart_and_a_reboot(daemon: Daemon) -> None:
    """Also when the last change was one that leaves no generation behind, and after a rollback by hand."""
    daemon.put("down", sleeping("down", services=2))
    daemon.until_state("down", "applied")
    daemon.put("down", sleeping("down", services=2) + "\n# another comment\n")
    until(lambda: daemon.applies("down") == 2, "the comment")
    daemon.until_state("down", "applied")
    daemon.put("back", sleeping("back"))
    daemon.until_state("back", "applied")
    daemon.put("back", sleeping("back", 2))
    until(lambda: version(daemon, "back") == "2", "the new version")
    daemon.until_state("back", "applied")
    daemon.machine.nanod("rollback", "back")
    daemon.systemctl("stop", "down-s0.service")
    daemon.systemctl("disable", "down.target", status=None)
    daemon.restart()
    assert daemon.state("down") == "applied"
    assert daemon.show("ActiveState", "down-s0.service") == "inactive"
    assert version(daemon, "back") == "1"
    daemon.systemctl("enable", "nanod.service")
    daemon.machine.reboot()
    until(lambda: daemon.show("ActiveState") == "active", "the daemon after the boot")
    assert daemon.show("ActiveState", "down-s1.service") == daemon.show("ActiveState", "down-s0.service") == "inactive"
    assert version(daemon, "back") == "1"
    assert "Starting nanod-apply@" not in daemon.journal("--unit=nanod-apply@*", "--boot")
    daemon.systemctl("disable", "nanod.service")


def test_what_was_applied_by_hand_before_is_taken_for_applied(host: Daemon) -> None:
    host.put("hand", sleeping("hand"))
    assert host.machine.nanod("apply", f"{SPECS}/hand.yaml").status == 0
    host.systemctl("stop", "hand-s0.service")
    host.start()
    assert host.state("hand") == "applied"
    assert host.show("ActiveState", "hand-s0.service") == "inactive"
    host.file("hand").unlink()
    host.stop()
    host.machine.nanod("remove", "hand")


def test_a_spec_that_is_deleted_takes_its_app_along_and_leaves_others(daemon: Daemon) -> None:
    daemon.put("stays", sleeping("stays"))
    daemon.put("goes", sleeping("goes", volume="/srv/goes"))
    daemon.machine.write("/srv/theirs.yaml", sleeping("theirs"))
    daemon.machine.nanod("apply", "/srv/theirs.yaml")
    daemon.until_state("stays", "applied")
    daemon.until_state("goes", "applied")
    before = pids(daemon, "stays-s0.service", "theirs-s0.service")
    daemon.file("goes").unlink()
    until(lambda: daemon.show("LoadState", "goes-s0.service") == "not-found", "goes is gone")
    until(lambda: daemon.state("goes") == "", "it is forgotten")
    assert daemon.machine.path("/srv/goes").is_dir(), "data stays"
    assert pids(daemon, "stays-s0.service", "theirs-s0.service") == before


def test_a_spec_that_is_renamed_keeps_its_app_running(daemon: Daemon) -> None:
    """When its name comes from the text; otherwise the new name makes a new app, and the old one goes, port and all."""
    daemon.put("stays", sleeping("stays"))
    daemon.put("old", sleeping("named"))
    daemon.until_state("old", "applied")
    before = pids(daemon, "named-s0.service")
    daemon.machine.run(["mv", f"{SPECS}/old.yaml", f"{SPECS}/new.yaml"])
    daemon.until_state("new", "applied")
    until(lambda: daemon.state("old") == "", "the old name is forgotten")
    assert pids(daemon, "named-s0.service") == before
    listens = (
        '{"command": ["/usr/bin/python3", "-m", "http.server", "8199"], "user": "root", "ports": [8199], "settle": "2s", "restart": {"policy": "no"}}'
    )
    daemon.put("first", f'{{"services": {{"web": {listens}}}}}')
    daemon.until_state("first", "applied")
    daemon.machine.run(["mv", f"{SPECS}/first.yaml", f"{SPECS}/second.yaml"])
    daemon.until_state("second", "applied", timeout=60)
    assert daemon.show("LoadState", "first-web.service") == "not-found"
    assert daemon.show("ActiveState", "second-web.service") == "active"


def test_an_app_that_came_from_elsewhere_is_not_removed(daemon: Daemon) -> None:
    """Taken over since: the file that made it is not this one any more."""
    daemon.put("stays", sleeping("stays"))
    daemon.put("moved", sleeping("moved"))
    daemon.until_state("moved", "applied")
    daemon.machine.write("/srv/moved.yaml", sleeping("moved"))
    daemon.machine.nanod("apply", "--take-over", "/srv/moved.yaml")
    before = pids(daemon, "moved-s0.service")
    daemon.file("moved").unlink()
    until(lambda: daemon.state("moved") == "", "it is forgotten")
    assert pids(daemon, "moved-s0.service") == before


def test_an_emptied_a_missing_and_an_unmounted_directory_remove_nothing(daemon: Daemon) -> None:
    run = daemon.machine.run
    assert run(["mount", "-t", "tmpfs", "tmpfs", SPECS]).status == 0
    daemon.restart()
    for name in ("one", "two"):
        daemon.put(name, sleeping(name))
        daemon.until_state(name, "applied")
    before = pids(daemon, "one-s0.service", "two-s0.service")

    def nothing_is_removed(problem: str) -> None:
        until(lambda: problem in daemon.status()["problem"], f"{problem}: {daemon.status()}")
        done = daemon.reload(status=4)
        assert problem in done.err
        assert problem in daemon.show("StatusText")
        assert f"{problem}" in daemon.journal("--unit=nanod.service")
        assert pids(daemon, "one-s0.service", "two-s0.service") == before

    assert run(["sh", "-c", f"mkdir /srv/kept; mv {SPECS}/*.yaml /srv/kept/"]).status == 0
    nothing_is_removed("has no spec any more, and one, two came from there")
    assert run(["sh", "-c", f"mv /srv/kept/*.yaml {SPECS}/"]).status == 0
    until(lambda: daemon.status()["problem"] == "", "all is well again")
    assert run(["umount", "--lazy", SPECS]).status == 0
    daemon.put("other", sleeping("other"))
    nothing_is_removed("is on another file system")
    daemon.until_state("other", "applied")
    assert run(["mv", SPECS, "/etc/nanod/elsewhere"]).status == 0
    nothing_is_removed("cannot read /etc/nanod/specs.d: No such file or directory")
    assert run(["mv", "/etc/nanod/elsewhere", SPECS]).status == 0
    daemon.put("one", sleeping("one", 3))
    until(lambda: version(daemon, "one") == "3", "it goes on")
    assert pids(daemon, "two-s0.service") == {"two-s0.service": before["two-s0.service"]}
