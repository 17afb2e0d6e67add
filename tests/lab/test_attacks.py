"""Attacks of an unprivileged user whose service nanod runs, tried on a real systemd."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.host.process import Completed
    from nanod.rehearse.machine import Machine

HOME = "/srv/safe"
"""What `safe` owns: its volume, working directory, and whatever it puts there."""
CANARY = "canary-7b1f0c"
SERVICE: dict[str, Any] = {"command": "exec sleep 999", "user": "safe", "working_dir": HOME, "restart": {"policy": "no"}}


class Attack:
    """A machine with two users: `safe`, whose service runs, and `eve`, who has none."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def sh(self, script: str, user: str = "") -> Completed:
        return self.machine.run(["/bin/sh", "-c", script], user=user)

    def spec(self, **changes: object) -> str:
        spec = {"project": "safe", "services": {"web": SERVICE | changes}}
        self.machine.write("/etc/nanod/safe.yaml", json.dumps(spec))
        return "/etc/nanod/safe.yaml"

    def apply(self, status: int = 0, *options: str, **changes: object) -> str:
        done = self.machine.nanod("apply", "--settle", "0", *options, self.spec(**changes))
        assert done.status == status, done.out + done.err
        return done.out + done.err


@pytest.fixture
def attack(machine: Machine) -> Iterator[Attack]:
    made = Attack(machine)
    made.sh(f"useradd --system safe; useradd --system eve; mkdir -p {HOME}; chown safe:safe {HOME}")
    yield made
    machine.nanod("remove", "safe")
    made.sh(f"rm -rf {HOME} /tmp/trap*")


@pytest.mark.row("FAULTS-42", "FAULTS-43")
@pytest.mark.parametrize(
    ("trap", "changes", "words"),
    [
        ("cp /bin/true hook", {"hooks": {"prestart": {"run": ["./hook"], "user": "root"}}}, f"cannot run {HOME}/hook as root"),
        ("cp /bin/true hook", {"hooks": {"prestart": {"run": "sh hook", "user": "root"}}}, f"cannot run {HOME}/hook as root"),
        ("ln -s /bin/true /tmp/trap", {"hooks": {"prestart": {"run": ["/tmp/trap"], "user": "root"}}}, "the link /tmp/trap belongs to"),
        (":", {"hooks": {"prestart": {"run": ["/tmp/trap-to-come"], "user": "root"}}}, "anybody may make /tmp/trap-to-come"),
        ("echo A=b >env", {"environment_files": [f"{HOME}/env"], "requires": ["dbus.service"]}, f"cannot give {HOME}/env"),
        (
            "echo A=b >env",
            {"environment_files": [f"{HOME}/env"], "hooks": {"prestart": {"run": "true", "user": "eve", "context": "service"}}},
            f"cannot give {HOME}/env",
        ),
        (":", {"environment": {"LD_LIBRARY_PATH": f"{HOME}/lib"}, "requires": ["dbus.service"]}, "cannot set LD_LIBRARY_PATH"),
        ("ln -s /etc/shadow secret", {"credentials": {"key": {"file": f"{HOME}/secret"}}}, f"cannot read a credential from {HOME}/secret"),
    ],
)
def test_what_root_would_run_or_read_of_others_is_refused(attack: Attack, trap: str, changes: dict[str, object], words: str) -> None:
    assert attack.sh(f"cd {HOME} && {trap}", user="safe").status == 0
    done = attack.machine.nanod("plan", attack.spec(**changes))
    assert done.status == 2, done.out + done.err
    assert words in done.err


@pytest.mark.row("FAULTS-45")
def test_a_spec_of_others_is_refused_and_others_may_not_apply(attack: Attack) -> None:
    spec = attack.spec()
    attack.sh(f"chown safe {spec}")
    done = attack.machine.nanod("apply", spec)
    assert (done.status, f"{spec} belongs to uid" in done.err) == (1, True)
    attack.sh(f"chown root {spec}")
    for verb in (["apply", spec], ["apply", "--root", HOME, spec], ["remove", "safe"]):
        done = attack.machine.run(["nanod", *verb], user="safe")
        assert (done.status, "only root may do that" in done.err) == (1, True)
    assert attack.sh("ls /var/lib/nanod/apps/* /var/lib/nanod/once /run/nanod/lock", user="safe").status != 0


@pytest.mark.row("FAULTS-42")
def test_no_hook_keeps_anything_of_the_root_that_started_it(attack: Attack) -> None:
    """Capabilities, groups, descriptors, a terminal, a way back: neither where `as` drops from root, nor with a user of the hook's own."""
    peek = "{ id; grep -E '^(Cap...|NoNewPrivs|Groups):' /proc/self/status; ls /proc/self/fd; ps -o tty= -p $$; } >/tmp/peek.$LIFECYCLE_PHASE"
    phases = {
        "prestart": {"run": peek, "context": "host"},
        "poststart": {"run": peek, "context": "host", "user": "eve"},
        "poststop": {"run": peek, "context": "host"},
    }
    attack.apply(hooks=phases, systemd={"Service": {"AmbientCapabilities": ["CAP_SYS_ADMIN"]}})
    attack.sh("systemctl stop safe-web")
    for phase, user in (("prestart", "safe"), ("poststart", "eve"), ("poststop", "safe")):
        seen = attack.sh(f"cat /tmp/peek.{phase}").out
        assert f"({user}) gid=" in seen
        assert "(root)" not in seen
        assert seen.count("\t0000000000000000\n") == 5, seen
        assert "NoNewPrivs:\t1\n" in seen
        assert seen.splitlines()[-5:] == ["0", "1", "2", "3", "?"], "the descriptors of ls, and no terminal"
    attack.sh("rm /tmp/peek.*")


@pytest.mark.row("FAULTS-42")
@pytest.mark.parametrize("kind", ["mkfifo v", ": >v", "ln -s /etc v", "ln -s /etc/trap v"])
def test_a_volume_that_its_owner_turned_into_something_else_costs_only_its_owner(attack: Attack, kind: str) -> None:
    assert attack.sh(f"cd {HOME} && {kind}", user="safe").status == 0
    said = attack.apply(4, volumes=[f"{HOME}/v"], provisioning={"install": "true"})
    assert "install exited with status 1" in said
    assert attack.sh("ls /etc/.nanod* /etc/trap").out == ""


@pytest.mark.row("FAULTS-42")
def test_a_sentinel_that_is_something_else_harms_nobody(attack: Attack) -> None:
    step: dict[str, Any] = {"volumes": [f"{HOME}/v"], "provisioning": {"install": "echo ran >>log"}, "restart": {"limit": 50}}
    attack.apply(**step)
    sentinel = attack.sh(f"ls {HOME}/v/.nanod-installed-*").out.strip()
    for trap in (f"ln -sfn /etc/trap {sentinel}", f"mkfifo {HOME}/v/.nanod-installed-old", f"rm {sentinel}; ln {HOME}/log {sentinel}"):
        assert attack.sh(trap, user="safe").status == 0
        assert attack.sh("systemctl restart safe-web && systemctl is-active safe-web").out == "active\n"
    assert attack.sh(f"cat {HOME}/log").out == "ran\nran\n", "the dangling link is no sentinel, the hard link is one"
    assert attack.sh("ls /etc/trap").out == ""


@pytest.mark.row("FAULTS-44")
def test_a_secret_is_nowhere_but_in_the_service(attack: Attack) -> None:
    attack.machine.write("/etc/safe.key", f"{CANARY}\n", mode=0o600)
    spec = attack.spec(credentials={"key": {"file": "/etc/safe.key", "env": "KEY"}}, command='test -n "$KEY" && exit 3', restart={"policy": "no"})
    words = (
        ["apply", spec],
        ["apply", "--no-rollback", "--json", spec],
        ["status", "--json"],
        ["plan", "--json", spec],
        ["explain", spec],
        ["history", "safe"],
    )
    said = [attack.machine.nanod(*argv) for argv in words]
    assert [done.status for done in said] == [4, 4, 4, 0, 0, 0]
    said.append(attack.sh("journalctl --sync; journalctl --all --output=json; systemctl show 'safe*'; ps axe"))
    assert [done.argv for done in said if CANARY in done.out + done.err] == []
    assert attack.sh(f"grep -rl {CANARY} /etc/systemd /var/lib/nanod /run/nanod /run/systemd /var/cache").out == ""


def test_nobody_else_can_say_that_a_hook_failed(attack: Attack) -> None:
    """Of a process that ends at once journald often learns no unit: such a record counts from the service's own user alone."""
    attack.apply(hooks={"poststart": {"run": "true", "name": "honest"}})
    fields = {
        "MESSAGE_ID": "5d7e1c1f8d0a4b6c9a4b54c6a2f0d9e3",
        "NANOD_APP": "safe",
        "NANOD_UNIT": "safe-web.service",
        "NANOD_PHASE": "poststart",
        "NANOD_HOOK": "honest",
        "NANOD_STATUS": "1",
        "NANOD_INVOCATION": attack.sh("systemctl show --property=InvocationID --value safe-web").out.strip(),
        "NANOD_DURATION_MS": "1",
    }
    words = " ".join(f"{name}={value}" for name, value in fields.items())
    forge = f"printf '%s\\n' {words} | logger --journald"
    attack.sh(f"for i in $(seq 40); do setpriv --reuid=eve --regid=eve --clear-groups sh -c '{forge.replace(chr(39), chr(34))}'; done")
    lost = attack.sh("journalctl --sync; journalctl --output=json _UID=$(id -u eve) NANOD_HOOK=honest | grep --count --invert-match _SYSTEMD_UNIT")
    assert attack.sh("journalctl --output=json _UID=$(id -u eve) NANOD_HOOK=honest | wc -l").out == "40\n"
    assert "failed" not in attack.machine.nanod("status", "safe").out, f"{lost.out.strip()} of 40 without a unit"


def test_what_a_service_prints_does_nothing_to_a_terminal(attack: Attack) -> None:
    said = attack.apply(4, "--no-rollback", "--settle", "10s", command=r"printf '\033]0;title\007\033[31mred \302\233 \342\200\256 end'; exit 1")
    said += attack.machine.nanod("status", "safe").out
    assert said.count("red") == 2
    assert not set(said) & set("\x1b\x07\x9b\u202e")
