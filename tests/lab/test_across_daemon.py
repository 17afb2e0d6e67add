"""Specs that require one another's apps, in the daemon's directory: any order will do, of coming and of going."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.daemons import SPECS, Daemon, sleeping
from tests.lab.steps import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine


@pytest.fixture(scope="module")
def daemon(machine: Machine) -> Iterator[Daemon]:
    host = Daemon.on(machine)
    host.put("aaa", sleeping("aaa", requires=["mail/s0"]))
    host.put("bbb", sleeping("bbb", requires=["aaa/s0"]))
    host.put("mail", sleeping("mail"))
    host.start()
    yield host
    host.stop()


def is_up(daemon: Daemon, unit: str) -> bool:
    return daemon.show("ActiveState", unit) == "active"


def test_at_its_first_start_the_order_of_names_means_nothing(daemon: Daemon) -> None:
    """`systemctl start nanod` returned when all were in force."""
    found = {item["spec"]: item["state"] for item in daemon.status()["specs"]}
    assert found == {f"{SPECS}/{stem}.yaml": "applied" for stem in ("aaa", "bbb", "mail")}
    assert all(is_up(daemon, f"{app}-s0.service") for app in ("aaa", "bbb", "mail"))


def test_a_boot_brings_all_up(daemon: Daemon) -> None:
    daemon.machine.reboot()
    until(lambda: all(is_up(daemon, f"{app}-s0.service") for app in ("aaa", "bbb", "mail")), "all are up")
    since = [int(daemon.show("ActiveEnterTimestampMonotonic", f"{app}-s0.service")) for app in ("mail", "aaa", "bbb")]
    assert since == sorted(since)
    daemon.start()


def test_what_is_applied_by_hand_is_seen_too(daemon: Daemon) -> None:
    daemon.put("late", sleeping("late", requires=["hand/s0"]))
    daemon.reload(status=4)
    assert daemon.state("late") == "refused"
    daemon.machine.write("/etc/nanod/hand.yaml", sleeping("hand"))
    assert daemon.machine.nanod("apply", "/etc/nanod/hand.yaml").status == 0
    daemon.until_state("late", "applied")
    assert daemon.machine.nanod("remove", "hand").status == 1
    daemon.file("late").unlink()
    until(lambda: not is_up(daemon, "late-s0.service"), "late is gone")
    daemon.reload()
    assert daemon.machine.nanod("remove", "hand").status == 0


def test_a_spec_that_goes_alone_leaves_its_app_and_says_who_needs_it(daemon: Daemon) -> None:
    text = daemon.file("mail").read_text()
    daemon.file("mail").unlink()
    until(lambda: "aaa/s0 requires mail/s0" in daemon.journal(), "the journal tells why mail stays")
    assert is_up(daemon, "mail-s0.service")
    daemon.put("mail", text)
    daemon.reload()


def test_all_may_go_at_once(daemon: Daemon) -> None:
    daemon.put("other", sleeping("other"))
    daemon.reload()
    for stem in ("mail", "aaa", "bbb"):
        daemon.file(stem).unlink()
    apps = daemon.machine.path("/var/lib/nanod/apps")
    until(lambda: [path.name for path in apps.iterdir()] == ["other"], "only other is left", timeout=60)
