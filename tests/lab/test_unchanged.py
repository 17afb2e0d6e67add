"""A no-op that does not read its spec, on a real systemd: the same as the long way, and never where there is something to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.lab.steps import App

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanod.rehearse.machine import Machine

UNITS = "/etc/systemd/system"
MASK = "/etc/systemd/system.control/same-web.service"
REMEMBERED = "/var/lib/nanod/apps/same/current/made-from"
WATCHED, INPUT, SECRET = "/etc/same-watched", "/etc/same-input", "/etc/same-secret"


@pytest.fixture
def app(machine: Machine) -> App:
    """Applied, and the next plan would not read the spec."""
    found = App.on(machine, "same")
    for path in (WATCHED, INPUT, SECRET):
        machine.write(path, "1", mode=0o600)
    web = found.service("web", hooks=("prestart",), reload_on=[], restart_on=[WATCHED], credentials={"key": SECRET}, volumes=["/srv/same"])
    found.apply({"web": web | {"provisioning": {"install": "true", "inputs": [INPUT]}}, "db": found.service("db", hooks=())})
    assert is_quick(found)
    return found


def is_quick(app: App) -> bool:
    """Whether a plan does without what reads a spec, as Python tells what it imports."""
    done = app.machine.run(["env", "PYTHONPROFILEIMPORTTIME=1", "nanod", "plan", app.spec])
    assert "nanod.recorded" in done.err
    return "nanod.spec.load" not in done.err


def both_ways(app: App, *argv: str) -> str:
    """What plan says, which does not depend on whether the spec was read."""
    quick = app.nanod("plan", app.spec, *argv)
    remembered = app.machine.path(REMEMBERED)
    content = remembered.read_bytes()
    remembered.unlink()
    long = app.nanod("plan", app.spec, *argv)
    remembered.write_bytes(content)
    assert (quick.out, quick.err) == (long.out, long.err)
    return quick.out


@pytest.mark.row("FAULTS-37", "BX-1")
def test_both_ways_say_the_same_and_share_their_tokens(app: App) -> None:
    token = json.loads(both_ways(app, "--json"))["token"]
    both_ways(app)
    app.nanod("apply", app.spec, "--expect", token)
    content = app.machine.path(REMEMBERED).read_bytes()
    app.machine.path(REMEMBERED).unlink()
    app.nanod("apply", app.spec, "--expect", token)
    assert not app.machine.path(REMEMBERED).exists(), "what finds nothing to do writes nothing"
    app.machine.path(REMEMBERED).write_bytes(content)


def test_a_no_op_writes_nothing(app: App) -> None:
    def files() -> list[tuple[str, int, int]]:
        found = [path for top in (UNITS, "/var/lib/nanod") for path in app.machine.path(top).rglob("*")]
        return sorted((str(path), path.lstat().st_ino, path.lstat().st_mtime_ns) for path in found)

    before = files()
    assert "nothing to do" in app.apply().out
    assert files() == before


def _mask(app: App) -> None:
    app.machine.path(MASK).parent.mkdir(exist_ok=True)
    app.machine.path(MASK).symlink_to("/dev/null")
    app.systemctl("daemon-reload")


def _edit(app: App) -> None:
    file = app.machine.path(f"{UNITS}/same-web.service")
    file.write_text(file.read_text() + "# mine\n")


CHANGES: dict[str, Callable[[App], object]] = {
    "edited": _edit,
    "deleted": lambda app: app.machine.path(f"{UNITS}/same-web.service").unlink(),
    "masked": _mask,
    "watched file": lambda app: app.machine.write(WATCHED, "2"),
    "input": lambda app: app.machine.write(INPUT, "2"),
    "stopped": lambda app: app.systemctl("stop", "same-db"),
    "target stopped": lambda app: app.systemctl("stop", "same.target"),
    "disabled": lambda app: app.systemctl("disable", "same.target"),
    "drop-in": lambda app: app.machine.write(f"{UNITS}/same-web.service.d/own.conf", "[Service]\nNice=3\n"),
    "volume gone": lambda app: app.machine.run(["mv", "/srv/same", "/srv/moved"]),
    "spec": lambda app: app.write_text(app.machine.path(app.spec).read_text() + "# comment\n"),
}


@pytest.mark.row("FAULTS-23")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_changed_is_seen(app: App, change: Callable[[App], object]) -> None:
    change(app)
    assert not is_quick(app)
    app.machine.path(MASK).unlink(missing_ok=True)
    app.machine.path(f"{UNITS}/same-web.service.d/own.conf").unlink(missing_ok=True)
    app.systemctl("daemon-reload")
    wrote = "nothing to do" not in app.apply().out
    assert is_quick(app) == (wrote or "# comment" not in app.machine.path(app.spec).read_text())


@pytest.mark.parametrize("path", [SECRET, "/srv/own-program"], ids=["credential", "program"])
def test_what_changed_hands_is_refused(app: App, path: str) -> None:
    program = app.machine.path("/srv/own-program")
    program.write_text("#!/bin/sh\nexec sleep infinity\n")
    program.chmod(0o755)
    app.apply({"web": {"command": ["/srv/own-program"], "user": "root", "sandbox": "off", "settle": "0s", "credentials": {"key": SECRET}}})
    assert is_quick(app)
    app.machine.run(["chmod", "o+w", path])
    done = app.nanod("apply", app.spec, status=2)
    assert "writable by others" in done.err
    app.machine.run(["chmod", "o-w", path])
    assert is_quick(app)
