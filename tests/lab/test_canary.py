"""Secrets: one is planted, all that nanod does to a service is done, and then it is looked for wherever it must not be."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import App

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

CANARY = f"kanarienvogel-{secrets.token_hex(8)}"
"""New each time: this text itself, and what an earlier run left somewhere, does not count."""
OPEN = "sparrow-0815"
"""A value in `environment`, which is no secret: what looks like one only warns."""
FILE = "/etc/canary/token"
ONCE = {"restart": {"policy": "no"}}
PLACES = ("/etc/systemd", "/run/systemd/system", "/run/systemd/units", "/run/systemd/transient", "/run/nanod", "/var/lib/nanod", "/tmp", "/var/tmp")
_PROCESSES = f"""
for process in /proc/[0-9]*; do
    for file in environ cmdline; do
        if tr '\\0' '\\n' <$process/$file 2>/dev/null | grep -qf {FILE}; then grep ^0:: $process/cgroup; fi
    done
done
"""


@dataclass(slots=True, kw_only=True)
class Told:
    """An app, and all that nanod said about it."""

    app: App
    text: list[str] = field(default_factory=list)

    def nanod(self, *argv: str, status: int | None = 0, fault: str = "") -> str:
        done = self.app.machine.nanod(*argv, env={"NANOD_FAULT": fault} if fault else None)
        assert status is None or done.status == status, f"{argv}: {done.status}\n{done.out}\n{done.err}"
        self.text += [done.out, done.err]
        return done.out + done.err

    def both(self, *argv: str, status: int | None = 0) -> None:
        """As text and as data."""
        self.nanod(*argv, status=status)
        self.nanod(*argv, "--json", status=status)


@pytest.fixture(scope="module", params=["machine", "machine257"])
def told(request: pytest.FixtureRequest) -> Told:
    machine: Machine = request.getfixturevalue(request.param)
    app = App.on(machine, "canary")
    machine.write(FILE, CANARY, mode=0o600).parent.chmod(0o700)
    return Told(app=app)


def services(app: App, **web: Any) -> dict[str, dict[str, Any]]:
    credentials = {"token": {"file": FILE, "env": "TOKEN"}, "plain": FILE}
    # It reads its secret, so that one which did not get there would show.
    program = app.program("serve", "#!/bin/sh\nexec sleep 1000\n")
    command = f'test "$TOKEN" = "$(cat $CREDENTIALS_DIRECTORY/plain)" && test -n "$TOKEN" && exec {program}'
    given = app.service("web", hooks=(), command=command, health=None, user="www-data", settle="300ms", credentials=credentials) | ONCE
    return {"web": given | web}


def leaks(told: Told) -> dict[str, str]:
    """Where the canary is and must not be, and a line to tell by."""
    app, machine = told.app, told.app.machine
    machine.run(["journalctl", "--sync"])
    inside = machine.run(["sh", "-c", f"grep -rla -f {FILE} {' '.join(PLACES)} 2>/dev/null"]).out
    shown = machine.run(
        ["sh", "-c", "systemctl show 'canary*' 'nanod-canary*' canary-web.service; systemctl status -l 'canary*'; systemctl cat canary-web"]
    )
    processes = machine.run(["sh", "-c", _PROCESSES]).out.split()
    found = {
        "files": inside,
        "systemctl": shown.out + shown.err,
        "journal": machine.run(["journalctl", "--no-pager", "--all", "--output=export"]).out,
        "processes": " ".join(group for group in processes if not group.endswith(f"/{app.unit('web')}")),
        "nanod": "\n".join(told.text),
    }
    return {place: text for place, text in found.items() if text and (CANARY in text or place in ("files", "processes"))}


def is_given(told: Told) -> bool:
    """Whether the service itself has it, so that the search can find something at all."""
    groups = told.app.machine.run(["sh", "-c", _PROCESSES]).out.split()
    return any(group.endswith(f"/{told.app.unit('web')}") for group in groups)


@pytest.mark.row("FAULTS-44", "BX-18")
def test_a_secret_reaches_the_service_and_nobody_else(told: Told) -> None:
    app = told.app
    app.write(services(app, environment={"DB_PASSWORD": OPEN}))
    told.nanod("compile", app.spec)
    told.both("plan", app.spec)
    assert "every user of the host can read DB_PASSWORD" in told.nanod("apply", app.spec)
    assert is_given(told)
    assert leaks(told) == {}

    # It fails with the secret in hand, and is rolled back.
    script = app.program("fails", "#!/bin/sh\necho failed on purpose >&2\nexit 3\n")
    app.write(services(app, command=[script], hooks={"prestart": "true", "poststop": "true"}))
    told.both("apply", app.spec, status=4)
    assert is_given(told)

    # A killed apply leaves its intent, with the units as they were.
    told.nanod("apply", app.spec, status=None, fault="reloaded:kill")
    assert app.machine.path("/var/lib/nanod/apps/canary/intent.json").is_file()
    told.nanod("status", "canary", status=None)
    assert leaks(told) == {}

    app.write(services(app))
    told.nanod("apply", app.spec)
    for words in (("explain", "canary", "web"), ("logs", "canary"), ("doctor",)):
        told.nanod(*words, status=None)
    told.both("status", "canary")
    told.nanod("rollback", "canary", "--json")
    told.both("history", "canary")
    assert is_given(told)
    assert leaks(told) == {}
    assert CANARY not in app.systemctl("list-units", "--all", "--full")


@pytest.mark.row("FAULTS-44", "BX-18")
def test_errors_about_a_secret_do_not_show_it(told: Told) -> None:
    app, machine = told.app, told.app.machine
    machine.write("/etc/canary/open", CANARY, mode=0o666)
    machine.path("/etc/canary").chmod(0o777)
    app.write(services(app, credentials={"token": "/etc/canary/open"}))
    assert "cannot read a credential from /etc/canary/open" in told.nanod("apply", app.spec, status=2)
    machine.path("/etc/canary").chmod(0o700)
    app.write(services(app, credentials={"token": "/etc/canary/absent"}))
    assert "'/etc/canary/absent' does not exist" in told.nanod("apply", app.spec, status=2)
    assert leaks(told) == {}


@pytest.mark.row("FAULTS-44", "BX-18")
def test_an_encrypted_credential_stays_encrypted(told: Told) -> None:
    """As long as nanod has no LoadCredentialEncrypted=, it says so, and hands no ciphertext to a service as if it were the secret."""
    app, machine = told.app, told.app.machine
    made = machine.run(["systemd-creds", "encrypt", "--with-key=host", "--name=token", FILE, "/etc/canary/token.cred"])
    assert made.status == 0, made.err
    app.write(services(app, credentials={"token": {"file": "/etc/canary/token.cred", "encrypted": True}}))
    assert "encrypted credential" in told.nanod("apply", app.spec, status=2)
    assert json.loads(machine.nanod("check", app.spec, "--json").out)["ok"] is False
    assert leaks(told) == {}


@pytest.mark.row("FAULTS-44")
def test_a_removed_app_leaves_no_secret(told: Told) -> None:
    told.nanod("remove", "canary", "--purge", "--yes")
    assert not told.app.machine.path("/run/credentials/canary-web.service").exists()
    assert not is_given(told)
    assert leaks(told) == {}
    assert told.app.machine.path(FILE).read_text() == CANARY, "the file is not nanod's"


def test_the_search_finds_what_is_not_kept_secret(told: Told) -> None:
    """The control: the same value as plain `environment` of a root service."""
    app = told.app
    app.apply({"web": app.service("web", hooks=("prestart",), environment={"VALUE": CANARY})})
    app.machine.run(["systemd-run", "--quiet", "--unit=elsewhere", f"--setenv=VALUE={CANARY}", "sleep", "1000"])
    app.machine.run(["logger", CANARY])
    assert leaks(told).keys() == {"files", "systemctl", "journal", "processes"}
    app.machine.run(["systemctl", "stop", "elsewhere"])
    app.remove()
