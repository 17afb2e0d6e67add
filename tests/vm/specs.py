"""What the specs here have in common."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.vm.guest import Guest

PROGRAMS = "/usr/local/lib/vm"


@dataclass(frozen=True, slots=True)
class App:
    """An app on a machine."""

    guest: Guest
    name: str

    @property
    def spec(self) -> str:
        return f"/etc/nanod/{self.name}.yaml"

    def program(self, name: str, text: str) -> str:
        path = f"{PROGRAMS}/{name}"
        self.guest.write(path, text, mode=0o755)
        return path

    def text(self, services: dict[str, Any]) -> str:
        return json.dumps({"project": self.name, "services": {name: {"user": "root", "settle": "0s"} | keys for name, keys in services.items()}})

    def apply(self, services: dict[str, Any], *, status: int = 0) -> dict[str, Any]:
        """What apply says as data."""
        self.guest.write(self.spec, self.text(services))
        done = self.guest.nanod("apply", "--json", self.spec, status=status)
        found: dict[str, Any] = json.loads(done.out)
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.guest.nanod("status", "--json", self.name, status=None).out)
        return found

    def unit(self, service: str) -> str:
        return f"{self.name}-{service}.service"

    def pid(self, service: str) -> int:
        return int(self.guest.show(self.unit(service), "MainPID")[0])

    def state(self, service: str) -> str:
        return self.guest.show(self.unit(service), "ActiveState")[0]

    def cgroup(self, service: str, file: str) -> str:
        """What the kernel has, of the control group of a service."""
        (group,) = self.guest.show(self.unit(service), "ControlGroup")
        return self.guest.run("cat", f"/sys/fs/cgroup{group}/{file}").out.strip()

    def counts(self, service: str, file: str) -> dict[str, int]:
        """The same of a file of keys and numbers."""
        return {key: int(value) for key, value in (line.split() for line in self.cgroup(service, file).splitlines())}
