"""Services that use nanod.lifecycle, in each of its fronts, and note what they do in the log of their app (tests/lab/steps.py).

The library lies in a directory of its own on the machine, with sdnotify and nothing else of nanod: as in a service's own venv. What a hook does beyond
its note is told by files, so that a test can change its mind while the service runs:

    /srv/steps/<app>-<service>.<hook>      `fail`, `hang`, or seconds to sleep
    /srv/steps/<app>-<service>.value       what the service answers with; read when it starts, and at each reload. `bad` is refused
    /srv/steps/<app>-<service>.slow        while it is there, a request is not answered
"""

from __future__ import annotations

import importlib.util
import shutil
from typing import TYPE_CHECKING, Any, Self

from nanod.rehearse.machine import SOURCE
from tests.lab.steps import DIRECTORY, App, until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

SITE = "/srv/site"
SERVICE = '''#!/usr/bin/python3
"""service FRONT PORT"""
import asyncio, os, pathlib, selectors, signal, socket, socketserver, sys, threading, time
from nanod.lifecycle import Lifecycle, refuse_changes

front, port = sys.argv[1], int(sys.argv[2])
name = os.environ["NANOD_SERVICE"]
app = f"/srv/steps/{os.environ['NANOD_APP']}"
base = f"{app}-{name}"

def note(step):
    with open(f"{app}.log", "a") as log:
        log.write(f"{step} {name}\\n")

def told(word):
    try:
        return pathlib.Path(f"{base}.{word}").read_text().strip()
    except FileNotFoundError:
        return ""

def act(step):
    note(step)
    match told(step):
        case "fail": raise ValueError(f"{step} is broken")
        case "hang": threading.Event().wait()
        case "late": life.on_stop(lambda: None, name="late")
        case "": pass
        case seconds: time.sleep(float(seconds))

life = Lifecycle(shutdown_timeout=float(os.environ["SECONDS"]), control=os.environ["NANOD_RUN_DIR"] + "/control")
config = {"value": "", "listen": ""}

def read():
    new = {"value": told("value"), "listen": told("listen")}
    if new["value"] == "bad":
        raise ValueError("bad is no value")
    return new

@life.on_start
def database():
    act("start-1")
    config.update(read())

@life.on_start
def queue(): act("start-2")

life.on_shutdown(lambda: act("shutdown-1"), name="database", undoes=database)
life.on_shutdown(lambda: act("shutdown-2"), name="queue", undoes=queue)
life.on_stop(lambda: act("stop-1"), name="logs")
life.on_stop(lambda: act("stop-2"), name="traces")
life.on_ready(lambda: act("ready-1"), name="cache")
life.on_ready(lambda: act("ready-2"), name="register")

if os.environ["RELOADS"]:
    @life.on_reload(name="values")
    def values():
        act("reload-1")
        new = read()
        refuse_changes(config, new, "listen")
        return lambda: config.update(new)
    life.on_reload(lambda: act("reload-2"), name="levels")

def answer():
    note("request")
    while told("slow"):
        time.sleep(0.02)
    return config["value"].encode()

def background():
    while not life.wait(0.05): pass
    note("background")

async def background_task():
    try:
        await asyncio.Event().wait()
    finally:
        note("background")

class Handler(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(answer())

class Server(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address = False, True
    def service_actions(self):
        if told("signs"): life.alive()
        if told("stuck"): time.sleep(3600)

def run():
    """A server of the standard library, which blocks, and has a thread for each request."""
    server = None
    @life.on_start
    def listen():
        nonlocal server
        server = Server(("127.0.0.1", port), Handler)
        life.spawn(background)
        note("listen")
    @life.on_shutdown(undoes=listen, name="listener")
    def drain():
        act("shutdown-3")
        server.shutdown()
        server.server_close()
        note("drained")
    def serve():
        note("serve")
        server.serve_forever(0.05)
        note("served")
    return life.run(serve)

def loop():
    """One thread for all: requests are answered by whoever selects."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    waiting = []
    @life.on_start
    def listen():
        listener.bind(("127.0.0.1", port))
        listener.listen()
        life.spawn(background)
        note("listen")
    @life.on_shutdown(undoes=listen, name="listener")
    def close():
        act("shutdown-3")
        listener.close()
    def finish(wait):
        while waiting and (wait or not told("slow")):
            with waiting.pop() as connection:
                connection.sendall(answer())
    def loop(turn):
        note("serve")
        with selectors.DefaultSelector() as selector:
            selector.register(turn, selectors.EVENT_READ)
            selector.register(listener, selectors.EVENT_READ)
            while turn():
                for key, _ in selector.select(turn.timeout):
                    if key.fileobj is listener:
                        waiting.append(listener.accept()[0])
                if told("stuck"): time.sleep(3600)
                finish(wait=False)
        finish(wait=True)
        note("drained")
        note("served")
    return life.run_loop(loop)

def serve():
    requests = set()
    server = None
    async def client(reader, writer):
        requests.add(asyncio.current_task())
        if told("stuck"): time.sleep(3600)
        note("request")
        while told("slow"):
            await asyncio.sleep(0.02)
        writer.write(config["value"].encode())
        await writer.drain()
        writer.close()
        requests.discard(asyncio.current_task())
    @life.on_start
    async def listen():
        nonlocal server
        server = await asyncio.start_server(client, "127.0.0.1", port, reuse_address=True)
        life.spawn(background_task)
        note("listen")
    @life.on_shutdown(undoes=listen, name="listener")
    async def drain():
        act("shutdown-3")
        server.close()
        await asyncio.gather(*requests)
        note("drained")
    async def main():
        note("serve")
        try:
            await asyncio.Event().wait()
        finally:
            note("served")
    return asyncio.run(life.serve(main))

sys.exit({"run": run, "loop": loop, "asyncio": serve}[front]())
'''
CLIENT = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); s.settimeout(60); print(s.recv(100).decode())"


class Life(App):
    """An app whose services live that way."""

    @classmethod
    def on(cls, machine: Machine, name: str) -> Self:
        made = cls(machine=machine, name=App.on(machine, name).name)
        site = machine.path(SITE)
        if not site.exists():
            found = importlib.util.find_spec("sdnotify")
            assert found is not None
            assert found.submodule_search_locations is not None
            shutil.copytree(found.submodule_search_locations[0], site / "sdnotify")
            shutil.copytree(SOURCE / "nanod/lifecycle", site / "nanod/lifecycle")
            shutil.copy(SOURCE / "nanod/__init__.py", site / "nanod")
        made.program("service", SERVICE)
        for file in machine.path(DIRECTORY).glob(f"{name}-*"):
            file.unlink()
        return made

    def lives(self, front: str, port: int, *, reloads: bool = True, seconds: float = 20, **keys: Any) -> dict[str, Any]:
        """A service in that front, which may take `seconds` to end; `keys` win."""
        reload = '/usr/bin/python3 -m nanod.lifecycle reload "$NANOD_RUN_DIR/control"'
        return {
            "command": ["/usr/bin/env", "--ignore-signal=HUP", "/usr/bin/python3", "/usr/local/lib/steps/service", front, str(port)],
            "user": "root",
            "environment": {"PYTHONPATH": SITE, "SECONDS": str(seconds), "RELOADS": "yes" if reloads else ""},
            "runtime_dir": True,
            "health": {"notify": True},
            "restart": {"delay": "100ms", "limit": 20, "window": "20s"},
            "settle": "0s",
            "hooks": {"reload": reload} if reloads else {},
        } | keys

    def tell(self, service: str, word: str, text: str) -> None:
        """Write one of the files; empty means that it goes."""
        file = self.machine.path(f"{DIRECTORY}/{self.name}-{service}.{word}")
        if text:
            other = file.with_name(f"{file.name}.new")
            other.write_text(text)
            other.rename(file)
        else:
            file.unlink(missing_ok=True)

    def answers(self, port: int) -> str:
        done = self.machine.run(["python3", "-c", CLIENT, str(port)])
        assert done.status == 0, done.err
        return done.out.strip()

    def words(self, service: str) -> str:
        """What it told systemd that it is at."""
        return self.show(service, "StatusText")

    def until_words(self, service: str, words: str) -> None:
        until(lambda: self.words(service) == words, f"{words}; it says {self.words(service)}")

    def hangup(self, service: str) -> None:
        assert self.machine.run(["kill", "-HUP", str(self.pid(service))]).status == 0

    def said(self, service: str) -> str:
        return self.journal(f"--unit={self.unit(service)}")
