"""A service behind a socket that nanod owns, and a client that opens a connection every few milliseconds, whatever became of those before.

What the server does is its VERSION: it answers with it, and `refuse` ends at once, `sick` never says that it is ready and takes no connection, `dies` ends
badly two seconds after its start.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.lab.steps import DIRECTORY, PROGRAMS, App, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine

_SERVER = """#!/usr/bin/python3 -IS
# server [PORT]: answers with its version, by the descriptors that it is given or on PORT. It ends between two requests, and never in one.
import os, select, signal, socket, sys, time
version, ends, begun = os.environ["VERSION"], [], time.monotonic()
if version == "refuse":
    sys.exit(3)
signal.signal(signal.SIGTERM, lambda *_: ends.append(1))
awake, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
if len(sys.argv) > 1:
    doors = [socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=512)]
else:
    assert os.environ["LISTEN_PID"] == str(os.getpid())
    doors = [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]
for door in doors:
    door.setblocking(False)
time.sleep(float(os.environ.get("BOOT", "0")))
while version == "sick" and not ends:
    time.sleep(0.1)
if "NOTIFY_SOCKET" in os.environ:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while not ends:
    if version == "dies" and time.monotonic() - begun > 2:
        sys.exit(1)
    for door in select.select([*doors, awake], [], [], 0.1)[0]:
        if door == awake:
            continue
        try:
            caller, _ = door.accept()
        except BlockingIOError:
            continue
        with caller:
            try:
                caller.settimeout(5)
                caller.recv(4096)
                caller.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(version), version.encode()))
            except OSError:
                pass
"""
_CLIENT = """#!/usr/bin/python3 -IS
# client FILE ADDRESS PORT: open a connection every few milliseconds until FILE is there; prints what came of them.
import collections, errno, json, os, selectors, socket, sys, time
stop, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
watch, begun, got = selectors.DefaultSelector(), {}, {}
failed, versions, worst, asked, turn = collections.Counter(), collections.Counter(), 0.0, 0, 0.0

def end(link, why=""):
    global worst
    watch.unregister(link)
    version = got.pop(link).partition(b"\\r\\n\\r\\n")[2].decode()
    worst = max(worst, time.monotonic() - begun.pop(link))
    link.close()
    if why or not version:
        failed[why or "no answer"] += 1
    else:
        versions[version] += 1

while got or not os.path.exists(stop):
    if time.monotonic() >= turn and not os.path.exists(stop):
        turn = time.monotonic() + 0.004
        link = socket.socket()
        link.setblocking(False)
        begun[link], got[link] = time.monotonic(), b""
        link.connect_ex((host, port))
        watch.register(link, selectors.EVENT_WRITE)
        asked += 1
    for key, events in watch.select(0.002):
        link = key.fileobj
        try:
            if events & selectors.EVENT_WRITE:
                link.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                watch.modify(link, selectors.EVENT_READ)
            elif piece := link.recv(4096):
                got[link] += piece
            else:
                end(link)
        except OSError as why:
            end(link, errno.errorcode.get(why.errno, str(why)))
    for link in [link for link, at in begun.items() if time.monotonic() - at > 60]:
        end(link, "too late")
print(json.dumps({"asked": asked, "failed": dict(failed), "versions": dict(versions), "worst": round(worst, 3)}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front(App):
    """An app with one service, `web`, behind a socket at `port`."""

    port: int = 8000

    @classmethod
    def made(cls, machine: Machine, name: str, port: int = 8000) -> Front:
        app = App.on(machine, name)
        app.program("server", _SERVER)
        app.program("client", _CLIENT)
        return cls(machine=machine, name=name, port=port)

    def web(self, version: str = "one", **keys: Any) -> dict[str, Any]:
        """Ready when it says so. `keys` win."""
        return {
            "command": [f"{PROGRAMS}/server"],
            "user": "root",
            "sockets": [f"127.0.0.1:{self.port}"],
            "environment": {"VERSION": version},
            "health": {"notify": True, "start_timeout": "5s"},
            "restart": {"delay": "1s", "limit": 5, "window": "60s"},
            "settle": "0s",
        } | keys

    def proxied(self, version: str = "one", **keys: Any) -> dict[str, Any]:
        """On a port of its own, behind a proxy."""
        own = self.port + 1000
        sockets = [{"listen": f"127.0.0.1:{self.port}", "via": "proxy"}]
        health = {"tcp": True, "interval": "50ms", "start_timeout": "5s"}
        return self.web(version) | {"command": f"exec {PROGRAMS}/server $PORT", "sockets": sockets, "ports": [own], "health": health} | keys

    def says(self, port: int | None = None) -> str:
        """What a request is answered with; "" for none."""
        done = self.machine.run(["curl", "--silent", "--max-time", "10", f"http://127.0.0.1:{port or self.port}/"])
        return done.out

    def listens(self, port: int | None = None) -> bool:
        """Whether the port is open, without asking for anything: a connection would start what is behind it."""
        line = f"0100007F:{port or self.port:04X} 00000000:0000 0A"
        return line in self.machine.run(["cat", "/proc/net/tcp"]).out

    @contextmanager
    def asked(self, what: str) -> Iterator[dict[str, Any]]:
        """Ask all the time; what came of it is in the mapping afterwards, and is printed."""
        stop, out = f"{DIRECTORY}/{self.name}.stop", self.machine.path(f"{DIRECTORY}/{self.name}.asked")
        self.machine.path(stop).unlink(missing_ok=True)
        found: dict[str, Any] = {}
        words = [f"{PROGRAMS}/client", stop, "127.0.0.1", str(self.port)]
        with out.open("w") as to, self.machine.popen(words, stdout=to.fileno()) as client:
            try:
                yield found
            finally:
                self.machine.path(stop).touch()
                client.wait(90)
        found |= json.loads(out.read_text())
        print(f"{what}: {found}")  # noqa: T201  the worst latency is for people: no test looks at it

    def until_says(self, version: str) -> None:
        until(lambda: self.says() == version, f"{self.name} says {version}")
