"""What a unit is given by systemd: sandbox, limits, secrets; and the same on 252 and on 257."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.steps import DIRECTORY, HOOKS, MAIN, STEP, App, until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

CANARY = "canary-7f3a9c"


@pytest.mark.row("BX-18")
def test_secrets_reach_the_process_and_nothing_else(machine: Machine) -> None:
    app = App.on(machine, "secret")
    secret = machine.path("/etc/secret.pw")
    secret.write_text(CANARY)
    secret.chmod(0o600)
    check = f'[ "$(cat $CREDENTIALS_DIRECTORY/pw)" = {CANARY[:6]}* ] || test -s $CREDENTIALS_DIRECTORY/pw'
    web = app.service("web", hooks=(), user="www-data") | {
        "credentials": {"pw": {"file": "/etc/secret.pw", "env": "PASSWORD"}},
        "command": f'test -n "$PASSWORD" && test -s "$CREDENTIALS_DIRECTORY/pw" && exec {MAIN}',
        "hooks": {"prestart": check, "poststart": STEP, "prestop": STEP},
    }
    app.apply({"web": web})
    environ = machine.path(f"/proc/{app.pid('web')}/environ").read_bytes()
    assert f"PASSWORD={CANARY}".encode() in environ.split(b"\0")
    seen = [
        app.nanod("apply", app.spec).out,
        app.nanod("plan", app.spec).out,
        app.nanod("compile", app.spec).out,
        app.nanod("status", "secret", "--json").out,
        app.systemctl("show", "secret-web"),
        app.systemctl("status", "secret-web"),
        app.journal(),
        machine.run(["ps", "-eo", "args"]).out,
        machine.run(["grep", "-rl", CANARY, "/etc/systemd", "/var/lib/nanod", "/run/systemd/system", "/etc/nanod"]).out,
    ]
    assert not [text for text in seen if CANARY in text]
    assert seen[-1] == ""
    # Once sandboxed, systemd shows a credential to nothing after the start: a hook that would find nothing is refused.
    late = web | {"hooks": {"poststop": "cat $CREDENTIALS_DIRECTORY/pw"}}
    app.write({"web": late})
    assert "credentials" in app.nanod("check", app.spec, status=2).err
    app.write({"web": late | {"sandbox": "off"}})
    app.nanod("check", app.spec)
    app.remove()


@pytest.mark.row("BX-18", "BX-8")
def test_a_rotated_secret_restarts_what_says_so(machine: Machine) -> None:
    app = App.on(machine, "rotate")
    machine.path("/etc/rotate.pw").write_text("one")
    web = app.service("web", credentials={"pw": "/etc/rotate.pw"}, restart_on=["/etc/rotate.pw"])
    app.apply({"web": web})
    before = app.pid("web")
    app.apply()
    assert app.pid("web") == before
    machine.path("/etc/rotate.pw").write_text("two")
    app.apply()
    assert app.pid("web") != before
    app.remove()


TRIES = {
    "etc": "touch /etc/platform-tried",
    "usr": "touch /usr/platform-tried",
    "var": "touch /var/platform-tried",
    "volume": "touch /srv/platform-$NANOD_SERVICE/tried",
    "home": "ls /root",
}


@pytest.mark.row("BX-20")
def test_sandbox_profiles(machine: Machine) -> None:
    app = App.on(machine, "platform")
    machine.path("/root/seen").touch()
    script = "; ".join(f"if {command} 2>/dev/null; then echo {name}; fi" for name, command in TRIES.items())
    services = {
        name: app.service(name, hooks=(), sandbox=name)
        | {
            "command": f"({script}) >/srv/platform-{name}/new; mv /srv/platform-{name}/new /srv/platform-{name}/report; exec {MAIN}",
            "volume": f"/srv/platform-{name}",
            "health": None,
        }
        for name in ("strict", "default", "off")
    }
    app.apply(services)
    report = {name: machine.path(f"/srv/platform-{name}/report") for name in services}
    until(lambda: all(path.exists() for path in report.values()), "all have tried")
    got = {name: set(path.read_text().split()) & set(TRIES) for name, path in report.items()}
    assert got["off"] == set(TRIES)
    assert got["default"] == {"var", "volume", "home"}
    assert got["strict"] == {"volume"}
    assert app.show("strict", "NoNewPrivileges") == "yes"
    assert app.show("off", "NoNewPrivileges") == "no"
    app.remove("--purge")


@pytest.mark.row("BX-20", "BX-26")
def test_an_opt_out_is_explicit_and_shown(machine: Machine) -> None:
    app = App.on(machine, "optout")
    web = app.service("web", sandbox="strict")
    app.apply({"web": web})
    app.write({"web": web | {"systemd": {"Service": {"ProtectHome": "no"}}}})
    assert "ProtectHome" in app.nanod("plan", app.spec).out
    app.apply()
    assert app.show("web", "ProtectHome") == "no"
    app.remove()


@pytest.mark.row("BX-21")
def test_limits_reach_systemd(machine: Machine) -> None:
    """Their effect needs cgroup controllers, which a container has not."""
    app = App.on(machine, "limits")
    limits = {"memory_max": "512M", "memory_high": "400M", "cpu_quota": "50%", "cpu_weight": 200, "tasks_max": 64, "io_weight": 50}
    app.apply({"web": app.service("web", resources=limits)})
    shown = {key: app.show("web", key) for key in ("MemoryMax", "MemoryHigh", "CPUQuotaPerSecUSec", "CPUWeight", "TasksMax", "IOWeight", "Slice")}
    assert shown == {
        "MemoryMax": str(512 << 20),
        "MemoryHigh": str(400 << 20),
        "CPUQuotaPerSecUSec": "500ms",
        "CPUWeight": "200",
        "TasksMax": "64",
        "IOWeight": "50",
        "Slice": "nanod-limits.slice",
    }
    app.remove()


def everything(app: App) -> dict[str, dict[str, object]]:
    """One service with nearly all that the language has, and one that waits for it."""
    return {
        "db": app.service("db", hooks=(*HOOKS, "ready"))
        | {
            "user": None,
            "dynamic_user": True,
            "sandbox": "strict",
            "runtime_dir": True,
            "volume": f"/var/lib/{app.name}",
            "credentials": {"pw": "/etc/version.pw"},
            "provisioning": {"install": f"{STEP}; mkdir -p made", "creates": ["made"]},
            "systemd": {"Service": {"ReadWritePaths": DIRECTORY}},
            "on_failure": "true",
            "resources": {"memory_max": "1G"},
        },
        "web": app.service("web", "db") | {"hooks": {"prestart": [{"run": f"{STEP} migrate", "scope": "deploy"}, STEP], "prestop": [STEP, STEP]}},
    }


def proof(machine: Machine, version: int) -> None:
    """The same spec, compiled for this version, without a word from systemd, through the whole life."""
    app = App.on(machine, "version")
    machine.path("/etc/version.pw").write_text("x")
    app.write(everything(app))
    told = app.nanod("compile", app.spec, "--systemd-version", str(version)).out
    app.apply()
    for unit in ("version-web.service", "version-db.service"):
        text = machine.path(f"/etc/systemd/system/{unit}").read_text()
        assert text in told, "what the running systemd gets is what its version number gets"
    app.until_step("ready db")
    order = [step for step in app.steps() if not step.startswith("ready")]
    assert order == ["install db", "prestart db", "main db", "poststart db", "migrate web", "prestart web", "main web"]
    app.clear()
    app.crash("db")
    app.until_step("ready db")
    assert [step for step in app.steps() if not step.startswith("ready")] == ["poststop db", "prestart db", "main db", "poststart db"]
    app.systemctl("reload", "version-db")
    app.clear()
    app.systemctl("stop", "version.target")
    app.until_gone("db", "web")
    assert app.steps() == ["prestop web", "prestop web", "signal web", "prestop db", "signal db", "poststop db"]
    complaints = [line for line in app.journal("_PID=1").splitlines() if "version-" in line and ("Unknown" in line or "ignoring" in line)]
    assert complaints == []
    app.remove("--purge")


@pytest.mark.row("BX-19")
def test_a_directive_that_this_systemd_does_not_know_is_refused(machine: Machine) -> None:
    """PID 1 itself would warn in the journal and do without."""
    app = App.on(machine, "newer")
    app.write({"web": app.service("web", systemd={"Service": {"RestartMode": "direct"}})})
    assert "RestartMode=direct" in app.nanod("compile", app.spec, "--systemd-version", "254").out
    for verb in (["compile", app.spec, "--systemd-version", "252"], ["apply", app.spec]):
        err = app.nanod(*verb, status=2).err
        assert "RestartMode" in err
        assert "254" in err


@pytest.mark.row("BX-19", "BX-20")
def test_on_systemd_252(machine: Machine) -> None:
    proof(machine, 252)


@pytest.mark.row("BX-19", "BX-20")
def test_on_systemd_257(machine257: Machine) -> None:
    proof(machine257, 257)
