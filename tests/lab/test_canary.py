"""Secrets: one is planted, all that nanod does to a service is done, and then it is looked for wherever it must not be."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import DIRECTORY, App, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine

CANARY, SEALED = (f"{name}-{secrets.token_hex(8)}" for name in ("kanarienvogel", "wellensittich"))
"""New each time: this text itself, and what an earlier run left somewhere, does not count. The second one is in an encrypted file."""
SECRETS = tuple(
    form
    for text in (CANARY, SEALED)
    for form in (text, b64encode(text.encode()).decode(), *(hashlib.sha256(f"{text}{end}".encode()).hexdigest() for end in ("", "\n")))
)
"""What must be nowhere: the texts, and what gives them away to who guesses."""
OPEN = "sparrow-0815"
"""A value in `environment`, which is no secret: what looks like one only warns."""
FILE, SEALED_FILE = "/etc/canary/token", "/etc/canary/sealed.cred"
PATTERNS = "/etc/canary/patterns"
ONCE = {"restart": {"policy": "no"}}
PLACES = (
    *("/etc/systemd", "/run/systemd/system", "/run/systemd/units", "/run/systemd/transient", "/run/nanod", "/var/lib/nanod", "/tmp", "/var/tmp"),
    *("/etc/nanod", "/var/lib/systemd", "/var/log", "/var/cache/nanod", "/srv"),
)
_PROCESSES = f"""
for file in $(grep -lzaFf {PATTERNS} /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null); do
    grep ^0:: "${{file%/*}}/cgroup"
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


@pytest.fixture(scope="module")
def told(any_machine: Machine) -> Told:
    machine = any_machine
    app = App.on(machine, "canary")
    machine.write(FILE, CANARY, mode=0o600).parent.chmod(0o700)
    machine.write(PATTERNS, "\n".join(SECRETS), mode=0o600)
    made = machine.run(["systemd-creds", "encrypt", "--with-key=host", "--name=sealed", "-", SEALED_FILE], input=SEALED)
    assert made.status == 0, made.err
    return Told(app=app)


GIVEN = 'test "$TOKEN" = "$(cat $CREDENTIALS_DIRECTORY/plain)" && test "$SEALED" = "$(cat $CREDENTIALS_DIRECTORY/sealed)" && test -n "$TOKEN$SEALED"'


def services(app: App, **web: Any) -> dict[str, dict[str, Any]]:
    credentials = {"token": {"file": FILE, "env": "TOKEN"}, "plain": FILE, "sealed": {"file": SEALED_FILE, "env": "SEALED", "encrypted": True}}
    # It reads its secret, so that one which did not get there would show.
    program = app.program("serve", "#!/bin/sh\nexec sleep 1000\n")
    command = f"{GIVEN} && exec {program}"
    given = app.service("web", hooks=(), command=command, health=None, user="www-data", settle="300ms", credentials=credentials) | ONCE
    shown = app.program("shown", _SHOWN)
    around = {"hooks": {"prestart": [f"{GIVEN} && {shown}", {"run": GIVEN, "scope": "deploy"}], "ready": GIVEN}, "provisioning": {"install": GIVEN}}
    return {"web": given | around | web}


HOLDERS = ("web", "web-one", "web-side", "web-bye")
"""Whose processes have it, and nobody else's."""


ROUNDS = f"{DIRECTORY}/canary.rounds"
"""A line for each look at all processes, while somebody looks."""
_SHOWN = f"""#!/bin/sh
# Go on when somebody who looks has begun to and ended since.
[ -e {ROUNDS} ] || exit 0
seen=$(wc -l <{ROUNDS})
while [ -e {ROUNDS} ] && [ "$(wc -l <{ROUNDS})" -lt $((seen + 2)) ]; do sleep 0.05; done
"""


@contextmanager
def watched(machine: Machine) -> Iterator[list[str]]:
    """What every user sees meanwhile of all processes: their arguments, again and again."""
    said: list[str] = []
    stop = machine.path("/run/canary.stop")
    looking = (
        f"while [ ! -e /run/canary.stop ]; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; echo >>{ROUNDS}; sleep 0.05; done | sort -u"
    )
    rounds = machine.path(ROUNDS)
    with machine.popen(["sh", "-c", looking], user="nobody", stdout=subprocess.PIPE) as started:
        try:
            until(rounds.exists, "somebody looks")
            yield said
        finally:
            stop.touch()
            said.append(started.communicate()[0].decode(errors="replace"))
            stop.unlink()
            rounds.unlink()


def leaks(told: Told) -> dict[str, str]:
    """Where the canary is and must not be, and a line to tell by."""
    app, machine = told.app, told.app.machine
    machine.run(["journalctl", "--sync"])
    inside = machine.run(["sh", "-c", f"grep -rlaF -f {PATTERNS} {' '.join(PLACES)} 2>/dev/null"]).out
    shown = machine.run(
        ["sh", "-c", "systemctl show 'canary*' 'nanod-canary*' canary-web.service; systemctl status -l 'canary*'; systemctl cat canary-web"]
    )
    processes = machine.run(["sh", "-c", _PROCESSES]).out.split()
    found = {
        "files": inside,
        "systemctl": shown.out + shown.err,
        "journal": machine.run(["journalctl", "--no-pager", "--all", "--output=export"]).out,
        "processes": " ".join(group for group in processes if not group.endswith(tuple(f"/{app.unit(name)}" for name in HOLDERS))),
        "nanod": "\n".join(told.text),
    }
    return {place: text for place, text in found.items() if text and (place in ("files", "processes") or any(form in text for form in SECRETS))}


def is_given(told: Told, *names: str) -> bool:
    """Whether the service itself has it, and each of `names`, so that the search can find something at all."""
    groups = told.app.machine.run(["sh", "-c", _PROCESSES]).out.split()
    return all(any(group.endswith(f"/{told.app.unit(name)}") for group in groups) for name in names or ("web",))


@pytest.mark.row("FAULTS-44", "BX-18")
def test_a_secret_reaches_the_service_and_nobody_else(told: Told) -> None:
    app = told.app
    app.write(services(app, environment={"DB_PASSWORD": OPEN}))
    told.nanod("compile", app.spec)
    told.both("plan", app.spec)
    with watched(app.machine) as seen:
        assert "every user of the host can read DB_PASSWORD" in told.nanod("apply", app.spec)
        told.nanod("run", "canary", "web", "prestart")
    assert "lib/1/hook" in seen[0]
    assert not [form for form in SECRETS if form in seen[0]]
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
@pytest.mark.parametrize("any_machine", ["machine257"], indirect=True)
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
@pytest.mark.parametrize("any_machine", ["machine"], indirect=True)
def test_what_cannot_be_decrypted_is_not_shown_either(told: Told) -> None:
    app = told.app
    for file, name in ((SEALED_FILE, "another"), (FILE, "sealed")):
        app.write(services(app, credentials={name: {"file": file, "encrypted": True}}))
        for verb in ("plan", "apply"):
            assert f"cannot decrypt credential '{name}'" in told.nanod(verb, app.spec, status=2)
    assert leaks(told) == {}


@pytest.mark.row("FAULTS-44", "BX-18")
@pytest.mark.parametrize("any_machine", ["machine"], indirect=True)
def test_neither_do_tasks_handlers_and_a_new_secret(told: Told) -> None:
    app, machine = told.app, told.app.machine
    group = services(app)["web"]
    main = group.pop("command")
    group |= {
        "processes": {"one": {"command": main}},
        "tasks": {
            "init": {"command": GIVEN, "lifecycle": {"hook": "prestart"}},
            "side": {"command": main, "lifecycle": {"hook": "prestart", "sidecar": True}},
            "hello": {"command": GIVEN, "lifecycle": {"hook": "poststart"}},
            "bye": {"command": f"{GIVEN} && echo bye >>{app.log}", "lifecycle": {"hook": "poststop"}},
        },
    }
    app.write({"web": group})
    told.nanod("apply", app.spec)
    assert is_given(told, "web-one", "web-side")
    assert leaks(told) == {}
    for words in (("plan", app.spec), ("status", "canary"), ("history", "canary"), ("explain", "canary", "web")):
        told.both(*words)

    # The same with a line break: a variable has none, a file has.
    machine.write(FILE, f"{CANARY}\n", mode=0o600)
    told.both("plan", app.spec)
    assert "credential token changed" in told.nanod("apply", app.spec)
    assert leaks(told) == {}
    machine.write(FILE, CANARY, mode=0o600)
    app.systemctl("stop", "canary.target")
    until(lambda: "bye" in app.steps(), "the cleanup had its secrets")
    until(lambda: not list(machine.path("/run/nanod/lent/canary-web-bye").iterdir()), "what was lent is gone")
    assert leaks(told) == {}

    # It fails with the secret in hand, and its last lines are read out.
    page = f"{DIRECTORY}/canary.page"
    failing = services(app, command=f"{GIVEN} && echo it is here && exit 3", on_failure=f"cat >{page}")["web"]
    app.write({"web": failing})
    told.both("apply", "--no-rollback", app.spec, status=4)
    until(lambda: machine.path(page).exists() and "it is here" in machine.path(page).read_text(), "the handler ran")
    told.both("status", "canary", status=None)
    told.nanod("logs", "canary")
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
