"""Secrets: plain and encrypted, as files and as variables, in everything that a service runs; changed, missing and unreadable ones. On 252 and 257."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import DIRECTORY, App, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine

HOME = "/etc/safe"
PLAIN, SEALED, OTHER = "open sesame", "swordfish", "another sesame"
TELL = f'echo "$LIFECYCLE_PHASE $PASSWORD, $(cat "$CREDENTIALS_DIRECTORY/token")" >>{DIRECTORY}/$NANOD_APP.log'
"""What a command saw of both: one by its variable, one by its file."""
BOTH = f"{PLAIN}, {SEALED}"
ONCE = {"restart": {"policy": "no"}, "stop": {"timeout": "2s"}, "settle": "200ms", "user": "www-data"}


@pytest.fixture(scope="module")
def host(any_machine: Machine) -> Machine:
    any_machine.write(f"{HOME}/password", PLAIN, mode=0o600)
    seal(any_machine, "token", SEALED)
    return any_machine


@pytest.fixture
def app(host: Machine, request: pytest.FixtureRequest) -> Iterator[App]:
    made = App.on(host, request.node.name.removeprefix("test_").partition("[")[0].replace("_", "-")[:24].rstrip("-"))
    yield made
    made.nanod("remove", made.name, status=None)


def seal(machine: Machine, name: str, content: str, *, file: str = "") -> None:
    """Encrypt for this machine."""
    machine.write("/root/plain", content, mode=0o600)
    target = f"{HOME}/{file or name}.cred"
    made = machine.run(["systemd-creds", "encrypt", "--with-key=host", f"--name={name}", "/root/plain", target])
    assert made.status == 0, made.err
    machine.path("/root/plain").unlink()


def credentials() -> dict[str, Any]:
    return {"password": {"file": f"{HOME}/password", "env": "PASSWORD"}, "token": {"file": f"{HOME}/token.cred", "encrypted": True}}


def service(**keys: Any) -> dict[str, Any]:
    return ONCE | {"credentials": credentials(), "command": f"{TELL}; exec sleep 3600"} | keys


@pytest.mark.row("BX-18")
def test_who_sees_them(app: App) -> None:
    """All that systemd shows them to in both versions; what is refused, is so because it would find nothing."""
    hooks = {
        "prestart": [
            {"run": TELL.replace("$LIFECYCLE_PHASE", "host")},
            {"run": TELL.replace("$LIFECYCLE_PHASE", "inside"), "context": "service"},
            {"run": TELL.replace("$LIFECYCLE_PHASE", "root"), "user": "root"},
            {"run": TELL.replace("$LIFECYCLE_PHASE", "once"), "scope": "deploy"},
        ],
        "ready": TELL,
    }
    app.apply({"web": service(hooks=hooks, provisioning={"install": TELL})})
    app.until_step(f"ready {BOTH}")
    words = ("install", "once", "host", "inside", "root", "", "ready")
    assert app.steps() == [f"{word} {BOTH}" for word in words]
    app.nanod("remove", app.name)

    app.clear()
    late = ("poststart", "reload", "prestop", "poststop")
    for phase in late:
        app.write({"web": service(hooks={phase: TELL})})
        assert f"a {phase} hook cannot read credentials" in app.nanod("check", app.spec, status=2).err
    # Without a sandbox they are there to the end.
    told = {"command": f"{TELL}; touch $NANOD_RUN_DIR/told; exec sleep 3600", "runtime_dir": True, "health": {"file": f"/run/{app.name}/web/told"}}
    app.apply({"web": service(hooks=dict.fromkeys(("prestart", *late), TELL), sandbox="off", **told)})
    app.systemctl("reload", app.unit("web"))
    app.systemctl("stop", app.unit("web"))
    assert app.steps() == [f"{word} {BOTH}" for word in ("prestart", "", *late)]


@pytest.mark.row("BX-18", "NM-1")
def test_tasks_and_processes(app: App) -> None:
    def named(name: str) -> str:
        return TELL.replace("$LIFECYCLE_PHASE", name)

    tasks = {
        "init": {"command": named("init"), "lifecycle": {"hook": "prestart"}},
        "side": {"command": f"{named('side')}; exec sleep 3600", "lifecycle": {"hook": "prestart", "sidecar": True}},
        "hello": {"command": named("hello"), "lifecycle": {"hook": "poststart"}},
        "bye": {"command": named("bye"), "lifecycle": {"hook": "poststop"}},
    }
    processes = {name: {"command": f"{named(name)}; exec sleep 3600"} for name in ("one", "two")}
    group = service(tasks=tasks, processes=processes, hooks={"prestart": named("around")})
    del group["command"]
    app.apply({"web": group})
    app.until_step(f"hello {BOTH}")
    app.systemctl("stop", f"{app.name}.target")
    app.until_step(f"bye {BOTH}")
    assert sorted(app.steps()) == sorted(f"{name} {BOTH}" for name in ("init", "side", "hello", "bye", "one", "two", "around"))
    lent = app.machine.path(f"/run/nanod/lent/{app.name}-web-bye/token")
    until(lambda: not lent.exists(), "what was lent is gone")


@pytest.mark.row("BX-18")
@pytest.mark.parametrize("any_machine", ["machine"], indirect=True)
def test_a_changed_one_restarts_what_uses_it_and_nothing_else(app: App) -> None:
    machine = app.machine
    machine.write(f"{HOME}/password", PLAIN, mode=0o600)
    other = {"db": ONCE | {"command": [*"sleep 3600".split()]}, "job": ONCE | {"kind": "script", "schedule": "yearly", "command": TELL}}
    app.write({"web": service(), **other, "side": service(credentials={"token": credentials()["token"]})})
    token = json.loads(app.nanod("plan", "--json", app.spec).out)["token"]
    app.nanod("apply", "--expect", token, app.spec)
    before = {name: app.pid(name) for name in ("web", "db", "side")}
    assert json.loads(app.nanod("plan", "--json", app.spec).out)["empty"]
    assert machine.path("/var/lib/nanod/digest.key").stat().st_mode & 0o7777 == 0o600

    machine.write(f"{HOME}/password", OTHER, mode=0o600)
    planned = json.loads(app.nanod("plan", "--json", app.spec).out)
    step = next(item for item in planned["steps"] if item.get("unit") == app.unit("web"))
    assert [(item["kind"], item["text"], item["subject"]) for item in step["causes"]] == [
        ("credential-changed", "credential password changed", "password")
    ]
    assert [item["action"] for item in planned["steps"]] == ["restart"]
    assert f"credential password changed ({app.name}.yaml:1)" in app.nanod("plan", app.spec).out
    app.nanod("apply", "--expect", planned["token"], app.spec)
    app.until_step(f" {OTHER}, {SEALED}")
    after = {name: app.pid(name) for name in before}
    assert after == before | {"web": after["web"]}
    assert after["web"] != before["web"]
    assert json.loads(app.nanod("plan", "--json", app.spec).out)["empty"]

    seal(machine, "token", "new fish")
    app.apply()
    app.until_step(f" {OTHER}, new fish")
    assert {name: app.pid(name) for name in before} == {"web": app.pid("web"), "db": before["db"], "side": app.pid("side")}
    assert app.pid("side") != before["side"]
    machine.write(f"{HOME}/password", PLAIN, mode=0o600)
    seal(machine, "token", SEALED)


@pytest.mark.row("BX-18")
@pytest.mark.parametrize("any_machine", ["machine257"], indirect=True)
def test_a_lost_key_restarts_nothing(app: App) -> None:
    app.apply({"web": service()})
    before = app.pid("web")
    app.machine.path("/var/lib/nanod/digest.key").unlink()
    app.apply()
    app.machine.write(f"{HOME}/password", OTHER, mode=0o600)
    assert app.pid("web") == before
    app.apply()
    assert app.pid("web") != before
    app.machine.write(f"{HOME}/password", PLAIN, mode=0o600)


def refusals(machine: Machine) -> dict[str, tuple[dict[str, Any], str]]:
    seal(machine, "other", SEALED)
    seal(machine, "torn", SEALED)
    machine.write(f"{HOME}/torn.cred", machine.path(f"{HOME}/torn.cred").read_text()[:40])
    machine.write(f"{HOME}/large", "x" * (2**20 + 1), mode=0o600)
    secret = {"encrypted": True}
    return {
        "missing": ({"file": f"{HOME}/absent"}, f"'{HOME}/absent' does not exist on this host"),
        "a directory": ({"file": HOME}, "is a directory, and a credential is one file"),
        "too large": ({"file": f"{HOME}/large"}, "is larger than the 1 MiB that systemd takes"),
        "another name": (secret | {"file": f"{HOME}/other.cred"}, "Embedded credential name 'other' does not match filename 'password'"),
        "torn": (secret | {"file": f"{HOME}/torn.cred"}, "Encrypted file too short"),
        "plain": (secret | {"file": f"{HOME}/password"}, "it was not made by systemd-creds (it must be made on this machine and for this name"),
    }


@pytest.mark.row("BX-18")
@pytest.mark.parametrize("any_machine", ["machine"], indirect=True)
def test_what_cannot_be_loaded_is_refused_before_anything_is_touched(app: App) -> None:
    app.apply({"web": service()})
    before, files = app.pid("web"), app.traces()
    for name, (credential, message) in refusals(app.machine).items():
        app.write({"web": service(credentials=credentials() | {"password": credential | {"env": "PASSWORD"}})})
        for verb in ("plan", "apply"):
            done = app.nanod(verb, app.spec, status=2)
            assert message in done.err, name
            assert f"{app.spec}:1:" in done.err, name
            assert PLAIN not in done.out + done.err
    app.write({"web": service()})
    key, away = app.machine.path("/var/lib/systemd/credential.secret"), app.machine.path("/root/away")
    key.rename(away)
    # What is up and unchanged needs no key; what would start does.
    app.apply()
    app.write({"web": service(environment={"A": "b"})})
    assert "this machine has no key of its own yet: 'systemd-creds setup' makes one" in app.nanod("apply", app.spec, status=2).err
    away.rename(key)
    assert (app.pid("web"), app.traces()) == (before, files)


@pytest.mark.row("BX-18", "BX-4")
@pytest.mark.parametrize("any_machine", ["machine257"], indirect=True)
def test_a_rollback_looks_first_too(app: App) -> None:
    app.machine.write(f"{HOME}/old", PLAIN, mode=0o600)
    seal(app.machine, "token", SEALED, file="old")
    old = {"password": credentials()["password"] | {"file": f"{HOME}/old"}, "token": {"file": f"{HOME}/old.cred", "encrypted": True}}
    app.apply({"web": service(credentials=old)})
    app.apply({"web": service()})
    before = app.pid("web")
    app.machine.path(f"{HOME}/old").rename(app.machine.path(f"{HOME}/away"))
    assert f"'{HOME}/old' does not exist on this host" in app.nanod("rollback", app.name, status=1).err
    app.machine.path(f"{HOME}/away").rename(app.machine.path(f"{HOME}/old"))
    seal(app.machine, "wrong", SEALED, file="old")
    assert "cannot decrypt credential 'token'" in app.nanod("rollback", app.name, status=2).err
    assert app.pid("web") == before
    seal(app.machine, "token", SEALED, file="old")
    app.nanod("rollback", app.name)
    assert app.pid("web") != before
    assert app.steps()[-1] == f" {BOTH}"


@pytest.mark.row("BX-18")
@pytest.mark.parametrize("any_machine", ["machine257"], indirect=True)
def test_a_file_that_everybody_can_read_is_warned_of_each_time(app: App) -> None:
    app.machine.write(f"{HOME}/loose", PLAIN, mode=0o644)
    app.write({"web": service(credentials={"password": {"file": f"{HOME}/loose", "env": "PASSWORD"}, "token": credentials()["token"]})})
    said = f"warning: everybody on this host can read credential 'password': {HOME}/loose has mode 0644 (chmod o-r)"
    for _ in range(2):
        assert said in app.nanod("apply", app.spec).err
    app.machine.path(f"{HOME}/loose").chmod(0o640)
    assert "everybody" not in app.nanod("apply", app.spec).err
    app.machine.path(f"{HOME}/loose").chmod(0o644)
    app.machine.path(HOME).chmod(0o700)
    assert "everybody" not in app.nanod("apply", app.spec).err
    app.machine.path(HOME).chmod(0o755)


@pytest.mark.row("BX-18")
def test_one_that_goes_bad_while_it_runs_is_named(app: App) -> None:
    app.apply({"web": service()})
    app.machine.path(f"{HOME}/password").rename(app.machine.path(f"{HOME}/away"))
    done = app.nanod("restart", app.name, "web", status=4)
    assert "its credentials cannot be read" in done.out
    app.machine.path(f"{HOME}/away").rename(app.machine.path(f"{HOME}/password"))
    app.nanod("start", app.name)
    until(lambda: app.is_up("web"), "web up again")
