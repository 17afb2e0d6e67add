"""Touch only what changed: a hundred services, and what PID 1 is asked to do is counted on its bus."""

from __future__ import annotations

import re
from contextlib import contextmanager
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


_LISTEN = """
import socket, sys
bus = socket.socket(socket.AF_UNIX)
bus.connect("/run/systemd/private")
bus.sendall(b"\\0AUTH EXTERNAL 30\\r\\nBEGIN\\r\\n")
with open(sys.argv[1], "wb", buffering=0) as out:
    while said := bus.recv(65536):
        out.write(said)
"""
_JOB = re.compile(rb"/org/freedesktop/systemd1/job/([0-9]+)\0.{1,11}?([a-z0-9@.\\\\-]+[.](?:service|target|slice))\0", re.DOTALL)


@contextmanager
def done_by_systemd(app: App) -> Iterator[list[str]]:
    """What PID 1 does meanwhile, in order: "reload", and the unit of each job. It tells everybody who listens on its private socket (JobNew, Reloading).

    Complete when the block has ended.
    """
    found: list[str] = []
    heard = app.machine.path("/run/heard")
    heard.unlink(missing_ok=True)
    listener = app.machine.popen(["python3", "-c", _LISTEN, "/run/heard"])
    until(lambda: heard.exists() and b"OK" in heard.read_bytes(), "PID 1 lets us listen")
    yield found
    app.systemctl("start", "end-of-the-block.service")
    until(lambda: b"end-of-the-block" in heard.read_bytes(), "the end is heard")
    listener.kill()
    listener.wait()
    said = heard.read_bytes()
    events = {match[1]: (match.start(), match[2].decode()) for match in reversed(list(_JOB.finditer(said)))}
    reloads = [match.start() for match in re.finditer(rb"Reloading\0", said)][::2]  # one signal when it begins, one when it is done
    found.extend(name for _, name in sorted([*events.values(), *((at, "reload") for at in reloads)]) if not name.startswith("end-of"))


@pytest.fixture(scope="module", autouse=True)
def _end_unit(machine: Machine) -> None:
    machine.path("/etc/systemd/system/end-of-the-block.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    machine.run(["systemctl", "daemon-reload"])


def test_the_listener_hears(hundred: App) -> None:
    with done_by_systemd(hundred) as done:
        hundred.systemctl("daemon-reload")
        hundred.systemctl("restart", "hundred-s00")
    assert done == ["reload", "hundred-s00.service"]


@pytest.mark.row("BX-8", "NK-19", "FAULTS-37", "FAULTS-38")
def test_nothing_changed_nothing_done(hundred: App) -> None:
    """Also when only comments, the order of keys, or the way of writing changed."""
    files_before, pids_before = files(hundred), pids(hundred)
    services = "".join(
        f"  {name}: {{stop: {{timeout: 5000ms}}, settle: 0, user: 'root', command: [/bin/sleep, infinity]}}\n" for name in reversed(NAMES)
    )
    with done_by_systemd(hundred) as done:
        hundred.apply()
        hundred.write_text(f"# A comment\nservices:\n{services}project: hundred # and another\n")
        hundred.apply()
    assert done == []
    assert files(hundred) == files_before
    assert pids(hundred) == pids_before
    assert hundred.nanod("plan", hundred.spec, "--detailed-exitcode").status == 0


@pytest.mark.row("BX-8", "FAULTS-36")
def test_one_changed_service_of_a_hundred(hundred: App) -> None:
    """One reload, one job, one file, ninety-nine main processes as they were."""
    files_before, pids_before = files(hundred), pids(hundred)
    with done_by_systemd(hundred) as done:
        hundred.apply(dict.fromkeys(NAMES, ONE) | {"s42": ONE | {"environment": {"A": "1"}}})
    assert done == ["reload", "hundred-s42.service"]
    assert {name for name, identity in files(hundred).items() if files_before[name] != identity} == {"hundred-s42.service"}
    after = pids(hundred)
    assert {name for name in NAMES if after[name] != pids_before[name]} == {"s42"}


@pytest.mark.row("BX-13", "FAULTS-39")
def test_one_removed_service_of_a_hundred(hundred: App) -> None:
    hundred.apply(dict.fromkeys(NAMES, ONE))
    files_before, pids_before = files(hundred), pids(hundred)
    with done_by_systemd(hundred) as done:
        hundred.apply(dict.fromkeys(NAMES[:-1], ONE))
    assert sorted(done) == ["hundred-s99.service", "reload"]
    gone = files_before.keys() - files(hundred).keys()
    assert gone == {"hundred-s99.service"}
    changed = {name for name, identity in files(hundred).items() if files_before[name] != identity}
    assert changed == {"hundred.target"}
    after = hundred.systemctl("show", "--property=MainPID", "--value", *(hundred.unit(name) for name in NAMES[:-1])).split()
    assert after == [pids_before[name] for name in NAMES[:-1]]


@pytest.mark.row("BX-13", "FAULTS-39")
def test_the_whole_app_goes_and_leaves_nothing(hundred: App) -> None:
    hundred.remove()
    assert files(hundred) == {}
    assert hundred.systemctl("list-units", "--all", "--plain", "--no-legend", "*hundred*") == ""
