"""A machine with the daemon, as its package would have it there, and what an administrator does with it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import inotify_simple
import sdnotify

from nanod.rehearse.machine import SOURCE
from tests.lab.steps import App, until

if TYPE_CHECKING:
    from nanod.host.process import Completed
    from nanod.rehearse.machine import Machine

UNITS = ("nanod.service", "nanod-apply@.service", "nanod-remove@.service", "nanod-recover.service")
SPECS = "/etc/nanod/specs.d"
CONFIG = "/etc/nanod/daemon.yaml"
_ASK = """
import json, socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(60)
client.connect(sys.argv[1])
client.sendall(sys.argv[2].encode() + b"\\n")
print(client.makefile().readline())
"""


@dataclass(slots=True, kw_only=True)
class Daemon:
    machine: Machine
    python: str = field(default=sys.executable)

    @classmethod
    def on(cls, machine: Machine, python: str = sys.executable) -> Daemon:
        """Units as the package brings them; nothing runs yet."""
        for name in UNITS:
            machine.write(f"/etc/systemd/system/{name}", (SOURCE / "units" / name).read_text())
        machine.path(SPECS).mkdir(parents=True, exist_ok=True)
        made = cls(machine=machine, python=python)
        if python != sys.executable:
            made.bring_libraries()
        made.systemctl("daemon-reload")
        return made

    def bring_libraries(self) -> None:
        """What Debian has no package of."""
        found = self.machine.run([self.python, "-c", "import site; print(site.getsitepackages()[0])"]).out.strip()
        for module in (inotify_simple, sdnotify):
            source = Path(module.__file__)
            target = Path(found, source.name) if source.name != "__init__.py" else Path(found, source.parent.name, source.name)
            self.machine.write(target, source.read_text())

    def systemctl(self, *argv: str, status: int | None = 0, timeout: float = 120) -> str:
        done = self.machine.run(["systemctl", *argv], timeout=timeout)
        assert status is None or done.status == status, f"systemctl {' '.join(argv)}: {done.status}\n{done.out}\n{done.err}\n{self.journal()}"
        return done.out.strip()

    def start(self) -> None:
        self.systemctl("start", "nanod.service")

    def stop(self) -> None:
        self.systemctl("stop", "nanod.service")

    def restart(self) -> None:
        self.systemctl("restart", "nanod.service")

    def show(self, key: str, unit: str = "nanod.service") -> str:
        return self.systemctl("show", f"--property={key}", "--value", unit)

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    def app(self, name: str) -> App:
        return App.on(self.machine, name)

    # Specs

    def file(self, stem: str) -> Path:
        return self.machine.path(f"{SPECS}/{stem}.yaml")

    def put(self, stem: str, text: str) -> None:
        """At once, as most editors do it."""
        temporary = self.machine.path(f"{SPECS}/.{stem}.new")
        temporary.write_text(text)
        temporary.rename(self.file(stem))

    def configure(self, text: str) -> None:
        self.machine.write(CONFIG, text)

    def reload(self, status: int = 0) -> Completed:
        done = self.machine.run(["nanod", "reload"], timeout=120)
        assert done.status == status, f"{done}\n{self.journal()}"
        return done

    # What it says

    def ask(self, request: str | dict[str, Any], *, user: str = "") -> dict[str, Any]:
        text = request if isinstance(request, str) else json.dumps(request)
        done = self.machine.run([self.python, "-c", _ASK, "/run/nanod/control", text], user=user)
        assert done.status == 0, f"{done}\n{self.journal()}"
        answer: dict[str, Any] = json.loads(done.out)
        return answer

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.ask({"do": "status"})["status"]
        return status

    def state(self, stem: str) -> str:
        """Of a spec; "" for one that it does not know, and "down" while there is no daemon."""
        if not self.answers():
            return "down"
        return next((str(item["state"]) for item in self.status()["specs"] if item["spec"] == f"{SPECS}/{stem}.yaml"), "")

    def answers(self) -> bool:
        """Whether anybody serves the socket."""
        return self.machine.run([self.python, "-c", "import socket; socket.socket(socket.AF_UNIX).connect('/run/nanod/control')"]).status == 0

    def until_state(self, stem: str, state: str, timeout: float = 20) -> None:
        until(lambda: self.state(stem) == state, f"{stem} is {state}: {self.status()}", timeout=timeout)

    def journal(self, *matches: str) -> str:
        self.machine.run(["journalctl", "--sync"])
        words = matches or ("--unit=nanod.service", "--unit=nanod-apply@*", "--unit=nanod-remove@*")
        return self.machine.run(["journalctl", "--quiet", "--no-pager", "--output=cat", *words]).out

    def applies(self, stem: str) -> int:
        """How often work on it was begun since the machine booted."""
        escaped = self.machine.run(["systemd-escape", "--template=nanod-apply@.service", stem]).out.strip()
        return self.journal(f"--unit={escaped}", "--boot").count("Starting nanod-apply@")


def sleeping(app: str, version: object = 1, *, services: int = 1, **keys: Any) -> str:
    """A spec whose services do nothing, with `version` in their environment."""
    made = {
        "command": ["/bin/sleep", "infinity"],
        "user": "root",
        "settle": "0s",
        "environment": {"VERSION": str(version)},
        "stop": {"timeout": "5s"},
    }
    return json.dumps({"project": app, "services": {f"s{number}": made | keys for number in range(services)}})


def version(daemon: Daemon, app: str, service: str = "s0") -> str:
    """Of the process that runs, and not of its unit file; "" for none."""
    pid = int(daemon.show("MainPID", f"{app}-{service}.service"))
    try:
        environment = daemon.machine.path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except OSError:
        return ""
    return dict(line.partition("=")[::2] for line in environment).get("VERSION", "")


def pids(daemon: Daemon, *units: str) -> dict[str, str]:
    """Main processes with the invocation that they are of."""
    blocks = daemon.systemctl("show", "--property=Id,MainPID,InvocationID", *units).split("\n\n")
    found = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]
    return {unit["Id"]: f"{unit['MainPID']} {unit['InvocationID']}" for unit in found}
