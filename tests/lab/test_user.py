"""`--user` on a real manager of a real user: what services go through there, what survives a reboot, and that nothing is written elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nanod.compile.user import DROPPED, NEVER, ONLY_SINCE, SINCE
from tests.lab.steps import until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.host.process import Completed
    from nanod.rehearse.machine import Machine

pytestmark = pytest.mark.chained

UID = 1500
HOME = Path("/home/ann")
LOG = HOME / "log"
SPEC = HOME / "shop.yaml"
PLAIN: dict[str, Any] = {"command": ["sleep", "3600"], "settle": "0s", "restart": {"delay": "100ms"}}
NO_PAM = f"[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/{UID}\n"
"""A pristine tree has no libpam-systemd, which sets the variable; everything else is as Debian has it."""


def step(word: str) -> str:
    return f'echo "{word} $NANOD_SERVICE" >>{LOG}'


def hooks(**more: str) -> dict[str, str]:
    return {phase: step(phase) for phase in ("prestart", "poststart", "prestop", "poststop")} | more


def services(**web: Any) -> dict[str, dict[str, Any]]:
    """`web` waits for `db`, which is installed once, and has a sidecar; nobody touches `rest`."""
    return {
        "db": PLAIN
        | {
            "command": f"touch $NANOD_RUN_DIR/up; {step('main')}; exec sleep 3600",
            "runtime_dir": True,
            "volumes": [str(HOME / "data")],
            "provisioning": {"install": step("install")},
            "health": {"file": f"/run/user/{UID}/shop/db/up", "interval": "50ms"},
        },
        "web": PLAIN
        | {
            "requires": ["db"],
            "hooks": hooks(),
            "tasks": {"side": {"command": ["sleep", "3600"], "lifecycle": {"hook": "poststart", "sidecar": True}}},
        }
        | web,
        "rest": PLAIN,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Ann, who is not logged in, and whose manager runs since boot all the same."""

    machine: Machine

    def run(self, *argv: str, status: int = 0, env: Mapping[str, str] | None = None) -> Completed:
        done = self.machine.run(argv, user="ann", cwd=HOME, env={"XDG_RUNTIME_DIR": f"/run/user/{UID}", **(env or {})}, timeout=120)
        assert done.status == status, (argv, done.status, done.out, done.err)
        return done

    def apply(self, spec: Mapping[str, Any], *, status: int = 0) -> Completed:
        self.machine.write(SPEC, json.dumps({"project": "shop", "services": spec}))
        return self.run("nanod", "--user", "apply", str(SPEC), status=status)

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "--user", "show", f"--property={name}", "--value", f"shop-{unit}.service").out.strip()

    def pids(self, *units: str) -> dict[str, str]:
        return {unit: self.show(unit, "MainPID") for unit in units}

    def steps(self) -> list[str]:
        return self.machine.path(LOG).read_text().splitlines()

    def clear(self) -> None:
        self.machine.path(LOG).write_text("")

    def until_up(self) -> None:
        """Its manager, and the apps with it."""
        until(lambda: self.machine.path(f"/run/user/{UID}/systemd/private").exists(), "the manager runs", timeout=60)
        self.run("systemctl", "--user", "is-system-running", "--wait")


@pytest.fixture(scope="module")
def ann(any_machine: Machine) -> User:
    machine = any_machine
    machine.run(["useradd", "--create-home", f"--uid={UID}", "ann"])
    if not list(machine.path("/usr/lib").glob("*/security/pam_systemd.so")):
        machine.write("/etc/systemd/system/user@.service.d/no-pam.conf", NO_PAM)
    # The machines of the lab boot without it, and it is what starts the managers of those who linger.
    machine.run(["systemctl", "add-wants", "multi-user.target", "systemd-logind.service"])
    machine.run(["loginctl", "enable-linger", "ann"])
    machine.run(["systemctl", "daemon-reload"])
    assert machine.run(["systemctl", "start", f"user@{UID}.service"]).status == 0
    user = User(machine=machine)
    user.run("touch", str(LOG))
    user.until_up()
    return user


def elsewhere(user: User) -> list[str]:
    """Files of hers that are neither below her home nor her runtime directory: she can write with no other owner."""
    told = user.machine.run(["sh", "-c", "find /etc /run /var/lib /var/cache /var/tmp /tmp /dev/shm -xdev -maxdepth 3 -user ann 2>/dev/null"]).out
    return [path for path in told.splitlines() if not path.startswith(f"/run/user/{UID}")]


@pytest.mark.row("BX-31")
def test_an_app_goes_through_its_lifecycle(ann: User) -> None:
    ann.apply(services())
    assert sorted(ann.steps()) == sorted(["install db", "main db", "prestart web", "poststart web"])
    assert ann.steps().index("main db") < ann.steps().index("prestart web"), "web waits until db is healthy"
    assert ann.show("web-side", "ActiveState") == "active"
    shown = ann.run("nanod", "status", "--user", "shop").out
    assert "shop: healthy, generation 1" in shown
    assert "no record" not in shown.partition("rest")[0].replace("no record  prestop/1", "").replace("no record  poststop/1", "")
    before = ann.pids("db", "web", "rest")
    assert "nothing to do" in ann.apply(services()).out
    assert ann.pids("db", "web", "rest") == before
    assert ann.run("systemctl", "--user", "is-enabled", "shop.target").out.strip() == "enabled"


def test_a_crash_is_a_restart_of_one_service(ann: User) -> None:
    before, side = ann.pids("db", "web", "rest"), ann.show("web-side", "MainPID")
    ann.clear()
    ann.run("kill", "-KILL", before["web"])
    until(lambda: "poststart web" in ann.steps(), "web is up again")
    assert ann.steps() == ["poststop web", "prestart web", "poststart web"]
    until(lambda: ann.show("web", "ActiveState") == "active", "systemd says so")
    assert ann.pids("db", "rest") == {name: before[name] for name in ("db", "rest")}
    assert ann.show("web-side", "MainPID") == side


def test_a_hook_that_fails_brings_back_what_there_was(ann: User) -> None:
    before = ann.pids("db", "rest")
    units = ann.run("sh", "-c", "cat .config/systemd/user/shop*").out
    failed = ann.apply(services(hooks=hooks(prestart="echo no migration; exit 3"), restart={"policy": "no"}), status=4)
    assert "no migration" in failed.out
    assert "prestart/1 failed, status 3" in failed.out
    assert ann.run("sh", "-c", "cat .config/systemd/user/shop*").out == units
    assert ann.pids("db", "rest") == before
    assert "shop: healthy, generation 1" in ann.run("nanod", "--user", "status", "shop").out


def test_what_is_cut_off_is_put_back_by_the_next_command(ann: User) -> None:
    units = ann.run("sh", "-c", "cat .config/systemd/user/shop*").out
    ann.machine.write(SPEC, json.dumps({"project": "shop", "services": services(environment={"NEW": "1"})}))
    argv, env = ["nanod", "--user", "apply", str(SPEC)], {"XDG_RUNTIME_DIR": f"/run/user/{UID}", "NANOD_FAULT": "reloaded:kill"}
    assert ann.machine.run(argv, user="ann", cwd=HOME, env=env).status != 0
    assert "was cut off is undone: back to generation 1" in ann.run("nanod", "--user", "recover").out
    assert ann.run("sh", "-c", "cat .config/systemd/user/shop*").out == units
    assert "shop: healthy, generation 1" in ann.run("nanod", "--user", "status", "shop").out


def test_it_is_stopped_and_started_with_its_hooks_and_installed_no_more(ann: User) -> None:
    ann.clear()
    ann.run("nanod", "--user", "stop", "shop", "web")
    assert ann.steps() == ["prestop web", "poststop web"]
    assert ann.show("web-side", "ActiveState") == "inactive"
    ann.run("nanod", "--user", "start", "shop")
    assert ann.steps()[2:] == ["prestart web", "poststart web"]
    ann.run("nanod", "--user", "restart", "shop", "db")
    assert "install db" not in ann.steps()
    ann.clear()
    ann.run("nanod", "--user", "run", "shop", "web", "poststart")
    assert ann.steps() == ["poststart web"]
    assert "hook poststart/1 succeeded" in ann.run("nanod", "--user", "logs", "shop", "web").out


def test_a_proxy_takes_connections_for_her_service(ann: User) -> None:
    command = ["/usr/bin/python3", "-m", "http.server", "--bind=127.0.0.1", "8082"]
    door = PLAIN | {"command": command, "ports": [8082], "sockets": [{"listen": "127.0.0.1:8081", "via": "proxy"}]}
    ann.apply(services() | {"door": door})
    asked = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8081/', timeout=60).status)"
    assert ann.run("/usr/bin/python3", "-c", asked).out == "200\n"
    assert ann.show("door-proxy", "ActiveState") == "active"
    ann.apply(services())


def test_secrets_and_failures_are_hers(ann: User) -> None:
    key, told = HOME / "key", HOME / "told"
    ann.machine.write(key, "s3cret")
    ann.run("sh", "-c", f"cat {key} >/dev/null")
    only = {
        "db": services()["db"],
        "web": services(
            credentials={"key": {"file": str(key), "env": "KEY"}},
            hooks=hooks(prestart=f'echo "$KEY" >{told}', poststart=f'cat "$CREDENTIALS_DIRECTORY/key" >>{told}'),
        )["web"],
        "rest": PLAIN,
        "bad": PLAIN | {"command": "echo last words; exit 7", "restart": {"policy": "no"}, "on_failure": f"cat >{HOME}/failure"},
    }
    ann.apply(only, status=4)
    ann.apply({name: item for name, item in only.items() if name != "bad"})
    assert ann.machine.path(told).read_text() == "s3cret\ns3cret"
    failure = ann.machine.path(HOME / "failure")
    until(lambda: failure.exists() and "last words" in failure.read_text(), "who is told of the failure has its last words")
    ann.apply(services())


@pytest.mark.row("BX-31")
def test_after_a_reboot_it_is_there_before_anybody_logs_in(ann: User) -> None:
    ann.clear()
    ann.machine.reboot()
    ann.until_up()
    until(lambda: "poststart web" in ann.steps(), "web is up")
    until(lambda: ann.run("nanod", "--user", "status", "shop", "--json").out.count('"healthy": true'), "the app is healthy")
    assert [line for line in ann.steps() if line.endswith(" db")] == ["main db"], "and it is not installed again"


def test_what_her_systemd_cannot_do_is_refused_all_at_once(ann: User) -> None:
    spec = {"web": PLAIN | {"user": "root", "ports": [80], "systemd": {"Service": {"AmbientCapabilities": "CAP_NET_BIND_SERVICE"}}}}
    before = ann.run("sh", "-c", "cat .config/systemd/user/shop*").out
    refused = ann.apply(spec, status=2).err
    assert refused.count("error: cannot be had with --user: ") == 3
    assert ann.run("sh", "-c", "cat .config/systemd/user/shop*").out == before


FAILING = {
    "Group": "daemon",
    "SupplementaryGroups": "daemon",
    "DynamicUser": "yes",
    "CapabilityBoundingSet": "CAP_CHOWN",
    "AmbientCapabilities": "CAP_NET_BIND_SERVICE",
    "LoadCredentialEncrypted": f"key:{HOME}/key",
    "LogNamespace": "ann",
    "NetworkNamespacePath": "/proc/1/ns/net",
}
DROPPING = {
    "ProtectProc=invisible": "ls -d /proc/1",
    "ProcSubset=pid": "ls /proc/cpuinfo",
    "DevicePolicy=strict": "head --bytes=1 /dev/zero",
    "IPAddressDeny=any": """/usr/bin/python3 -c 'import socket as s; s.socket(type=s.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))'""",
}
"""What succeeds only where its directive does nothing."""
SINCE_257 = {
    "ProtectSystem=strict": "touch /var/tmp/by-ann",
    "InaccessiblePaths=/etc/passwd": "cat /etc/passwd",
    "NoExecPaths=/usr/bin/true": "/usr/bin/true",
}
"""The same on 252, and 257 obeys."""


def test_a_place_where_her_systemd_does_not_look_is_refused(ann: User) -> None:
    refused = ann.run("nanod", "--user", "apply", str(SPEC), status=1, env={"XDG_CONFIG_HOME": str(HOME / "elsewhere")}).err
    assert f"cannot use {HOME}/elsewhere/systemd/user: your systemd does not look for units there" in refused
    assert not ann.machine.path(HOME / "elsewhere").exists()


def test_what_is_refused_is_what_her_systemd_cannot_do(ann: User) -> None:
    """The facts that the table of refusals stands on, asked of systemd itself."""
    assert set(FAILING) <= set(NEVER)
    assert {line.partition("=")[0] for line in DROPPING} <= set(DROPPED)
    assert {line.partition("=")[0] for line in SINCE_257} <= set(SINCE)
    for key, value in FAILING.items():
        ann.machine.write(HOME / f".config/systemd/user/try-{key}.service", f"[Service]\nType=oneshot\n{key}={value}\nExecStart=true\n")
    for line, command in (DROPPING | SINCE_257).items():
        probe = f"[Service]\nType=oneshot\n{line}\nExecStart={command}\n"
        ann.machine.write(HOME / f".config/systemd/user/try-{line.partition('=')[0]}.service", probe)
    ann.run("systemctl", "--user", "daemon-reload")
    argv, env = ["systemctl", "--user", "start"], {"XDG_RUNTIME_DIR": f"/run/user/{UID}"}
    dropping, since = ({line.partition("=")[0] for line in lines} for lines in (DROPPING, SINCE_257))
    tried = (*FAILING, *dropping, *since)
    started = {key: ann.machine.run([*argv, f"try-{key}.service"], user="ann", env=env).status == 0 for key in tried}
    version = int(ann.machine.run(["systemctl", "--version"]).out.split()[1])
    assert started == dict.fromkeys(FAILING, False) | dict.fromkeys(dropping, True) | dict.fromkeys(since, version < ONLY_SINCE)
    ann.run("sh", "-c", "rm -f .config/systemd/user/try-* /var/tmp/by-ann; systemctl --user daemon-reload; systemctl --user reset-failed")


def test_removed_and_nothing_of_it_was_ever_anywhere_else(ann: User) -> None:
    assert "nothing is wrong" in ann.run("nanod", "--user", "doctor").out
    assert elsewhere(ann) == []
    assert not ann.machine.path("/var/lib/nanod").exists() or "shop" not in [path.name for path in ann.machine.path("/var/lib/nanod/apps").glob("*")]
    ann.run("nanod", "--user", "remove", "--purge", "shop")
    left = ann.run(
        "sh", "-c", "find .config/systemd .cache .local/share/systemd data -type f; systemctl --user list-units --all --plain --no-legend 'shop*'"
    ).out
    assert left == ""
