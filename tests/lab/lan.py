"""Two machines on one wire, with a real sshd on the second, and root's key of the first let in there."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanod.host.process import Completed
    from nanod.rehearse.machine import Machine

OPERATOR = "10.77.{}.1"
TARGET = "10.77.{}.2"
NOBODY_THERE = "10.77.{}.99"
KEY = "/root/.ssh/lab"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lan:
    operator: Machine
    target: Machine
    number: int

    @classmethod
    def join(cls, operator: Machine, target: Machine, number: int) -> Lan:
        """The `number` tells wires of one operator apart."""
        name = f"lan{number}"
        _ip("link", "add", name, "netns", f"{operator.leader}", "type", "veth", "peer", "name", name, "netns", f"{target.leader}")
        for machine, address in ((operator, OPERATOR), (target, TARGET)):
            _ip("address", "add", f"{address.format(number)}/24", "dev", name, of=machine)
            _ip("link", "set", name, "up", of=machine)
        lan = cls(operator=operator, target=target, number=number)
        lan._let_in()
        return lan

    @property
    def address(self) -> str:
        return TARGET.format(self.number)

    @property
    def root(self) -> str:
        return f"root@{self.address}"

    def _let_in(self) -> None:
        operator, target = self.operator, self.target
        if not operator.path(KEY).exists():
            _done(operator.run(["mkdir", "-p", "-m", "0700", "/root/.ssh"]))
            _done(operator.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY]))
        _done(target.run(["mkdir", "-p", "-m", "0700", "/root/.ssh"]))
        self.authorize("/root")
        # An ssh that people have: a key for these hosts, and their host keys, which somebody has compared.
        host_key = target.path("/etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
        self._add("/root/.ssh/config", f"Host {self.address}\n  IdentityFile {KEY}\n  IdentitiesOnly yes\n")
        self._add("/root/.ssh/known_hosts", f"{self.address} {' '.join(host_key)}\n")
        _done(target.run(["systemctl", "start", "ssh.service"]))

    def _add(self, path: str, text: str) -> None:
        file = self.operator.path(path)
        file.write_text((file.read_text() if file.exists() else "") + text)
        file.chmod(0o600)

    def authorize(self, home: str) -> None:
        """Let the operator's key in to the account with this home."""
        self.target.write(f"{home}/.ssh/authorized_keys", self.operator.path(f"{KEY}.pub").read_text(), mode=0o600)


def _ip(*words: str, of: Machine | None = None) -> None:
    enter = ["nsenter", f"--target={of.leader}", "--net", "--"] if of else []
    subprocess.run([*enter, "ip", *words], check=True)


def _done(done: Completed) -> None:
    assert done.status == 0, done.err
