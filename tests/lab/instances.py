"""A replicated service whose instances answer requests, and a client that never stops asking.

Each instance writes down when it comes up and when it is down, so that the order of these lines tells how many were down at once; the client
does what a balancer does: it asks one port after the other until one answers.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.lab.crashes import UNITS
from tests.lab.steps import DIRECTORY, App, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pytest

    from nanod.rehearse.machine import Machine

_SERVER = """#!/usr/bin/python3 -IS
# server: answers on PORT with its version and number. Of the version `refuse` it ends at once, of `refuse-5` as number 5.
import os, signal, socket, sys
if os.environ["VERSION"] in ("refuse", "refuse-" + os.environ["NANOD_REPLICA"]):
    sys.exit(3)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
door = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=64)
said = f"{os.environ.get('VERSION')} {os.environ['NANOD_REPLICA']} {os.environ['PORT']}".encode()
while True:
    caller, _ = door.accept()
    with caller:
        try:
            caller.recv(4096)
            caller.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(said), said))
        except OSError:
            pass
"""
_CLIENT = """#!/usr/bin/python3 -IS
# client FILE PORT…: ask until FILE is there; prints how often all ports were tried in vain, how often one answered, and by which versions.
import json, os, socket, sys
stop, ports = sys.argv[1], [int(word) for word in sys.argv[2:]]
answered, in_vain, versions, turn = 0, 0, [], 0
while not os.path.exists(stop):
    for number in range(len(ports)):
        turn += 1
        try:
            with socket.create_connection(("127.0.0.1", ports[turn % len(ports)]), timeout=10) as link:
                link.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                text = b""
                while piece := link.recv(4096):
                    text += piece
                version = text.partition(b"\\r\\n\\r\\n")[2].split()[0].decode()
                if version not in versions:
                    versions.append(version)
        except (OSError, IndexError):
            continue
        answered += 1
        break
    else:
        in_vain += 1
print(json.dumps({"answered": answered, "in_vain": in_vain, "versions": versions}))
"""


@dataclass(frozen=True, slots=True)
class Instance:
    """What tells whether anybody touched it."""

    pid: str
    invocation: str
    file: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet(App):
    """An app with one replicated service, `web`, from `port` on."""

    port: int = 8000

    @classmethod
    def made(cls, machine: Machine, name: str, port: int = 8000) -> Fleet:
        app = App.on(machine, name)
        app.program("server", _SERVER)
        app.program("client", _CLIENT)
        return cls(machine=machine, name=name, port=port)

    def web(self, replicas: int | None, version: str = "one", *, rolling: Mapping[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
        """Without min_healthy_time: an instance that is healthy is healthy. `keys` win."""
        note = f"echo $LIFECYCLE_PHASE $NANOD_REPLICA >>{self.log}"
        found: dict[str, Any] = {
            "command": ["/usr/local/lib/steps/server"],
            "user": "root",
            "sandbox": "off",
            "ports": [self.port],
            "health": {"http": "/", "interval": "50ms", "start_timeout": "20s"},
            "environment": {"VERSION": version},
            "restart": {"delay": "100ms", "limit": 2, "window": "20s"},
            "settle": "0s",
            "hooks": {"poststart": note, "poststop": note},
        }
        if replicas is not None:
            found |= {"replicas": replicas, "rolling": {"min_healthy_time": "0s"} | dict(rolling or {})}
        return found | keys

    def instances(self, numbers: Sequence[int]) -> dict[int, Instance]:
        return {number: self.instance(number) for number in numbers}

    def instance(self, number: int) -> Instance:
        unit = self.unit(f"web@{number}")
        shown = dict(line.partition("=")[::2] for line in self.systemctl("show", "--property=MainPID,InvocationID", unit).splitlines())
        return Instance(pid=shown["MainPID"], invocation=shown["InvocationID"], file=self.machine.path(f"{UNITS}/{unit}").read_bytes())

    def answers(self, number: int) -> str:
        """What the instance says: version, number and port."""
        done = self.machine.run(["curl", "--silent", "--max-time", "5", f"http://127.0.0.1:{self.port + number - 1}/"])
        return done.out

    @contextmanager
    def asked(self, replicas: int) -> Iterator[dict[str, Any]]:
        """Ask all the time; what came of it is in the mapping afterwards."""
        stop, out = f"{DIRECTORY}/{self.name}.stop", self.machine.path(f"{DIRECTORY}/{self.name}.asked")
        self.machine.path(stop).unlink(missing_ok=True)
        found: dict[str, Any] = {}
        ports = [str(self.port + number) for number in range(replicas)]
        with out.open("w") as to, self.machine.popen(["/usr/local/lib/steps/client", stop, *ports], stdout=to.fileno()) as client:
            try:
                yield found
            finally:
                self.machine.path(stop).touch()
                client.wait(60)
        found |= json.loads(out.read_text())

    def most_down(self, replicas: Sequence[int]) -> int:
        """How many of them were down at once, by the lines since the log was cleared."""
        down: set[str] = set()
        most = 0
        for line in self.steps():
            phase, number = line.split()
            if int(number) in replicas:
                (down.discard if phase == "poststart" else down.add)(number)
                most = max(most, len(down))
        return most

    def until_log(self, line: str) -> None:
        until(lambda: line in self.steps(), line)


def machine_of(request: pytest.FixtureRequest) -> Machine:
    """The one that a test takes."""
    found: Machine = request.getfixturevalue(next(name for name in ("any_machine", "machine257", "machine") if name in request.fixturenames))
    return found


def clean(machine: Machine) -> None:
    """All of them take the same ports: what a test that failed has left would fail the next."""
    for path in machine.path("/var/lib/nanod/apps").iterdir():
        if (path / "current").is_symlink():
            machine.nanod("remove", "--purge", "--yes", path.name)
