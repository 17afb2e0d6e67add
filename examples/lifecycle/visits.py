"""Counts visits in SQLite, and has a lifecycle: hooks around start, reload and stop, inside of the process (docs/library.md)."""

import configparser
import os
import sqlite3
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from nanod.lifecycle import Lifecycle, refuse_changes

VOLUME, SETTINGS = Path("/srv/visits"), Path("settings.ini")
REGISTRY = VOLUME / "registry"  # stands in for Consul and the like
life = Lifecycle(shutdown_timeout=20, control=os.environ["NANOD_RUN_DIR"] + "/control")


class Visits:
    """Counted in memory by the threads that serve, and written down now and then."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0

    def open(self) -> None:
        self.database = sqlite3.connect(VOLUME / "visits.db", check_same_thread=False)
        self.database.execute("CREATE TABLE IF NOT EXISTS visits (count INTEGER)")
        self.count = self.database.execute("SELECT max(count) FROM visits").fetchone()[0] or 0

    def add(self) -> int:
        with self.lock:
            self.count += 1
            return self.count

    def write_down(self) -> None:
        with self.lock, self.database:
            self.database.execute("DELETE FROM visits")
            self.database.execute("INSERT INTO visits VALUES (?)", (self.count,))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{settings['greeting']}, visitor {visits.add()}\n".encode())


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the requests that are under way

    def service_actions(self) -> None:
        life.alive()  # by the loop that accepts: when it hangs, systemd's watchdog restarts the service


settings: dict[str, str] = {}
visits = Visits()
server = Server(("127.0.0.1", 0), Handler, bind_and_activate=False)


def read_settings() -> dict[str, str]:
    """All of it is read and checked before any of it is in force. Raises KeyError, ValueError or configparser.Error."""
    parser = configparser.ConfigParser()
    parser.read_string(SETTINGS.read_text(encoding="utf-8"))
    new = {"port": str(parser.getint("visits", "port")), "greeting": parser["visits"]["greeting"]}
    if not new["greeting"]:
        raise ValueError("the greeting is empty")
    return new


# The start, in this order; the first error ends it.


@life.on_start
def configuration() -> None:
    settings.update(read_settings())


@life.on_start
def database() -> None:
    visits.open()


@life.on_start
def listener() -> None:
    server.server_address = ("127.0.0.1", int(settings["port"]))
    server.server_bind()
    server.server_activate()  # from here on connections wait, so that READY=1 is true
    life.spawn(write_down_now_and_then)


def write_down_now_and_then() -> None:
    while not life.wait(1.0):
        visits.write_down()


@life.on_ready
def register() -> None:
    REGISTRY.write_text(f"visits 127.0.0.1:{settings['port']}\n", encoding="utf-8")


# Reload: a hook reads and checks; what it gives back puts that in force, once no other hook has refused.


@life.on_reload(name="settings")
def reload_settings():
    new = read_settings()
    refuse_changes(settings, new, "port")
    return lambda: settings.update(new)


# The end, the last one first: out of the registry, no new requests and an answer to the others, what was counted on disk.


def serve() -> None:
    server.serve_forever(0.1)


@life.on_shutdown(undoes=database)
def write_down() -> None:
    visits.write_down()


@life.on_shutdown(undoes=serve)
def drain() -> None:
    server.shutdown()
    server.server_close()


@life.on_shutdown
def deregister() -> None:
    REGISTRY.unlink(missing_ok=True)


@life.on_stop
def say() -> None:
    print("counted", visits.count, flush=True)


sys.exit(life.run(serve))
