"""`nanod apply --expect`: the token that plan printed is good for that plan, and for no other."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import App, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanod.rehearse.machine import Machine

UNITS = "/etc/systemd/system"
WATCHED = "/etc/token-watched"
CHANGED = {"environment": {"A": "1"}}


@pytest.fixture(scope="module")
def app(machine: Machine) -> App:
    found = App.on(machine, "token")
    machine.write(WATCHED, "1")
    return found


def services(app: App, **web: Any) -> dict[str, dict[str, Any]]:
    """web, whose spec the tests change, and db, which no plan of theirs touches."""
    return {"db": app.service("db", hooks=()), "web": app.service("web", hooks=("reload",), reload_on=[WATCHED], **web)}


def token(app: App) -> str:
    found: str = json.loads(app.nanod("plan", app.spec, "--json").out)["token"]
    return found


def host(app: App) -> list[object]:
    """Unit files with their identity, what runs, and the record."""
    units, apps = app.machine.path(UNITS), app.machine.path("/var/lib/nanod/apps/token")
    paths = sorted(path for path in [*units.rglob("*token*"), *apps.rglob("*")] if not path.is_dir())
    runs = app.systemctl("show", "--property=InvocationID,Job", "token-db.service", "token-web.service", "token.target")
    return [*((str(path), path.lstat().st_ino, path.lstat().st_mtime_ns) for path in paths), runs]


def refused(app: App, expected: str) -> str:
    """Exit code 1, a message, what to do, and nothing touched. The token that is good now."""
    before = host(app)
    done = app.nanod("apply", app.spec, "--expect", expected, status=1)
    assert host(app) == before
    assert done.out == ""
    message, hint = done.err.strip().splitlines()[-2:]
    assert message == f"nanod: cannot apply token: the plan is not the expected one ({expected}), the spec or the host has changed since"
    found = re.fullmatch(r"hint: 'nanod plan' shows what would happen now; its token is now ([0-9a-f]{16})", hint)
    assert found, hint
    return found[1]


@pytest.mark.row("BX-1")
def test_each_unit_with_its_action_its_cause_and_its_diff(app: App) -> None:
    app.apply(services(app))
    assert app.nanod("plan", app.spec, "--detailed-exitcode").out == "token: nothing to do\n"
    app.write(services(app, **CHANGED, resources={"memory_max": "512M"}) | {"new": app.service("new", hooks=())})
    app.systemctl("stop", "token-db")
    done = app.nanod("plan", app.spec, "--detailed-exitcode", status=3)
    rows = [line[5:].split() for line in done.out.splitlines() if line[5:].startswith("token")]
    lines = {name: " ".join(words) for name, *words in rows}
    assert lines["token-new.service"].startswith("start new (token.yaml:1)")
    assert lines["token-web.service"].startswith("restart Environment=, MemoryMax= changed (token.yaml:1)")
    assert lines["token-db.service"].startswith("start not running")
    assert "+Environment=A=1" in done.out.replace('"', "")
    assert "+MemoryMax=" in done.out
    assert "+MemoryMax=" not in app.nanod("plan", app.spec, "--no-diff").out

    data = json.loads(app.nanod("plan", app.spec, "--json", "--detailed-exitcode", status=3).out)
    steps = {(step["action"], step.get("unit", step.get("path", ""))): step for step in data["steps"]}
    assert steps.keys() == {
        ("write", "token-new.service"),
        ("write", "token-web.service"),
        ("write", "token.target"),
        ("daemon-reload", ""),
        ("restart", "token-web.service"),
        ("start", "token-db.service"),
        ("start", "token-new.service"),
    }
    assert "+MemoryMax=" in steps["write", "token-web.service"]["diff"]
    kinds = {unit: {cause["kind"] for cause in step["causes"]} for (_, unit), step in steps.items() if unit}
    assert kinds["token-db.service"] == {"not-running"}
    assert kinds["token-new.service"] == {"new"}
    causes = {cause["subject"]: cause for cause in steps["restart", "token-web.service"]["causes"]}
    assert {subject: cause["cost"] for subject, cause in causes.items()} == {"Environment": "restart", "MemoryMax": "daemon-reload"}
    assert (causes["Environment"]["file"], causes["Environment"]["line"]) == (app.spec, 1)
    app.apply(services(app))


@pytest.mark.row("BX-1")
def test_the_token_is_good_for_what_was_planned(app: App) -> None:
    app.apply(services(app))
    app.write(services(app, **CHANGED))
    expected = token(app)
    assert app.nanod("plan", app.spec).out.splitlines()[-1] == f"'nanod apply --expect {expected}' does this, or refuses"
    before = app.pid("db"), app.pid("web")
    app.nanod("apply", app.spec, "--expect", expected)
    assert app.pid("db") == before[0]
    assert app.pid("web") != before[1]
    nothing = refused(app, expected)
    app.nanod("apply", app.spec, "--expect", nothing)
    # Of a rollback there is no plan to see before: the refusal says what it would be.
    done = app.nanod("rollback", "token", "--expect", "0", status=1)
    back = re.search(r"cannot rollback token: .*\nhint: the token is now ([0-9a-f]{16})$", done.err.strip())
    assert back, done.err
    app.nanod("rollback", "token", "--expect", back[1])


def _edit(app: App) -> None:
    with app.machine.path(f"{UNITS}/token-db.service").open("a") as file:
        file.write("# by hand\n")


def _mask(app: App) -> None:
    app.systemctl("mask", "token-db")
    app.systemctl("start", "token-web")


MOVES: dict[str, Callable[[App], object]] = {
    "spec changed": lambda app: app.write(services(app, environment={"A": "2"})),
    "spec changed only in what is recorded": lambda app: app.write(services(app, environment={"A": "2"}, settle="1s")),
    "drop-in of a unit": lambda app: app.machine.write(f"{UNITS}/token-web.service.d/admin.conf", "[Service]\nNice=3\n"),
    "that drop-in edited": lambda app: app.machine.write(f"{UNITS}/token-web.service.d/admin.conf", "[Service]\nNice=4\n"),
    "drop-in of a prefix": lambda app: app.machine.write(f"{UNITS}/token-.service.d/admin.conf", "[Service]\nNice=3\n"),
    "drop-in of all services": lambda app: app.machine.write(f"{UNITS}/service.d/token.conf", "[Service]\nNice=3\n"),
    "watched file changed": lambda app: app.machine.write(WATCHED, "2"),
    "unit stopped": lambda app: app.systemctl("stop", "token-db"),
    "unit file edited": _edit,
    "unit file deleted": lambda app: app.machine.path(f"{UNITS}/token-db.service").unlink(),
    "unit masked": _mask,
    "boot link gone": lambda app: app.machine.path(f"{UNITS}/multi-user.target.wants/token.target").unlink(),
    "another apply": lambda app: app.nanod("apply", app.spec, status=None),
}


@pytest.mark.row("BX-1")
def test_the_token_is_good_for_nothing_else(app: App) -> None:
    app.apply(services(app))
    app.write(services(app, **CHANGED))
    tokens = [token(app)]
    for move in MOVES.values():
        move(app)
        tokens.append(refused(app, tokens[-1]))
    assert len(set(tokens)) == len(MOVES) + 1
    for path in (f"{UNITS}/token-web.service.d", f"{UNITS}/token-.service.d", f"{UNITS}/service.d"):
        app.machine.run(["rm", "-r", path])
    app.systemctl("unmask", "token-db")
    app.nanod("apply", app.spec, "--expect", token(app))
    assert app.is_up("db")


@pytest.mark.row("BX-1")
def test_what_moved_while_apply_waited_for_the_lock_counts(app: App) -> None:
    """The plan is made under the lock: the token is compared with what is there then."""
    app.apply(services(app))
    expected = token(app)
    hold, said = app.machine.write("/run/hold", ""), app.machine.write("/run/said", "")
    holder = app.machine.popen(["flock", "/run/nanod/lock", "sh", "-c", ": >/run/held; while [ -e /run/hold ]; do sleep 0.05; done"])
    until(app.machine.path("/run/held").exists, "the lock is held")
    late = app.machine.popen(["sh", "-c", f"exec nanod apply {app.spec} --expect {expected} 2>/run/said"])
    until(lambda: "waiting for" in said.read_text(), "it waits")
    app.systemctl("stop", "token-db")
    hold.unlink()
    assert (holder.wait(), late.wait()) == (0, 1)
    assert "is not the expected one" in said.read_text()
    assert not app.is_up("db")
    app.remove()
