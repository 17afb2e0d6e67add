"""Touch only what changed: a hundred services, and what PID 1 is asked to do is counted on the bus."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import App, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine

NAMES = [f"s{number:02}" for number in range(100)]
ONE: dict[str, Any] = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s", "stop": {"timeout": "5s"}}


@pytest.fixture(scope="module")
def hundred(machine: Machine) -> App:
    app = App.on(machine, "hundred")
    app.apply(dict.fromkeys(NAMES, ONE))
    return app


def pids(app: App) -> dict[str, str]:
    out = app.systemctl("show", "--property=MainPID", "--value", *(app.unit(name) for name in NAMES))
    return dict(zip(NAMES, out.split(), strict=True))


def files(app: App) -> dict[str, tuple[int, int, int]]:
    root = app.machine.path("/etc/systemd/system")
    found = {path.relative_to(root).as_posix(): path.lstat() for path in root.rglob("*") if "hundred" in path.name}
    return {name: (status.st_ino, status.st_mtime_ns, status.st_size) for name, status in found.items()}


@contextmanager
def calls(app: App) -> Iterator[list[str]]:
    """What PID 1 is asked over the bus meanwhile: each daemon-reload and each job, as method and unit. Complete when the block has ended."""
    match = "type='method_call',destination='org.freedesktop.systemd1'"
    made: list[str] = []
    with tempfile.NamedTemporaryFile() as out:
        monitor = app.machine.popen(["busctl", "monitor", "--json=short", f"--match={match}"], stdout=out.fileno(), stderr=out.fileno())
        heard = Path(out.name)
        until(lambda: "Monitoring" in heard.read_text(), "the monitor listens")
        yield made
        # A question whose answer does not matter: what was asked before it has been heard when it is heard.
        manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
        app.machine.run(["busctl", "call", *manager, "GetUnit", "s", "end-of-the-block.service"])
        until(lambda: "end-of-the-block" in heard.read_text(), "the end is heard")
        monitor.kill()
        monitor.wait()
        messages = [json.loads(line) for line in heard.read_text().splitlines() if line.startswith("{")]
    for message in messages:
        member = message["member"]
        if member == "Reload" or (member.endswith("Unit") and not member.startswith(("Get", "Load", "ResetFailed"))):
            made.append(" ".join([member, *message["payload"].get("data", [])[:1]]))


def test_the_monitor_hears(hundred: App) -> None:
    manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    with calls(hundred) as made:
        hundred.machine.run(["busctl", "call", *manager, "Reload"])
        hundred.machine.run(["busctl", "call", *manager, "RestartUnit", "ss", "hundred-s00.service", "replace"])
    assert made == ["Reload", "RestartUnit hundred-s00.service"]
    hundred.jobs_done()


@pytest.mark.row("BX-8", "NK-19")
def test_nothing_changed_nothing_done(hundred: App) -> None:
    """FAULTS 37 and 38: also when only comments, the order of keys, or the way of writing changed."""
    files_before, pids_before = files(hundred), pids(hundred)
    services = "".join(
        f"  {name}: {{stop: {{timeout: 5000ms}}, settle: 0, user: 'root', command: [/bin/sleep, infinity]}}\n" for name in reversed(NAMES)
    )
    with calls(hundred) as made:
        hundred.apply()
        hundred.write_text(f"# A comment\nservices:\n{services}project: hundred # and another\n")
        hundred.apply()
    assert made == []
    assert files(hundred) == files_before
    assert pids(hundred) == pids_before
    assert hundred.nanod("plan", hundred.spec, "--detailed-exitcode").status == 0


@pytest.mark.row("BX-8")
def test_one_changed_service_of_a_hundred(hundred: App) -> None:
    """FAULTS 36: one reload, one job, one file, ninety-nine main processes as they were."""
    files_before, pids_before = files(hundred), pids(hundred)
    with calls(hundred) as made:
        hundred.apply(dict.fromkeys(NAMES, ONE) | {"s42": ONE | {"environment": {"A": "1"}}})
    assert made == ["Reload", "RestartUnit hundred-s42.service"]
    assert {name for name, identity in files(hundred).items() if files_before[name] != identity} == {"hundred-s42.service"}
    after = pids(hundred)
    assert {name for name in NAMES if after[name] != pids_before[name]} == {"s42"}


@pytest.mark.row("BX-13")
def test_one_removed_service_of_a_hundred(hundred: App) -> None:
    """FAULTS 39."""
    hundred.apply(dict.fromkeys(NAMES, ONE))
    files_before, pids_before = files(hundred), pids(hundred)
    with calls(hundred) as made:
        hundred.apply(dict.fromkeys(NAMES[:-1], ONE))
    assert sorted(made) == ["Reload", "StopUnit hundred-s99.service"]
    gone = files_before.keys() - files(hundred).keys()
    assert gone == {"hundred-s99.service"}
    changed = {name for name, identity in files(hundred).items() if files_before[name] != identity}
    assert changed == {"hundred.target"}
    after = hundred.systemctl("show", "--property=MainPID", "--value", *(hundred.unit(name) for name in NAMES[:-1])).split()
    assert after == [pids_before[name] for name in NAMES[:-1]]


@pytest.mark.row("BX-13")
def test_the_whole_app_goes_and_leaves_nothing(hundred: App) -> None:
    hundred.remove()
    assert files(hundred) == {}
    assert hundred.systemctl("list-units", "--all", "--plain", "--no-legend", "*hundred*") == ""
