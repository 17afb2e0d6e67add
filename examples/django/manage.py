"""What a Django project offers on its command line, with the standard library alone: collectstatic, migrate, serve, worker."""

import os
import shutil
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any
from wsgiref.simple_server import make_server

HERE = Path(__file__).parent
MIGRATIONS = (
    "create table visit (id integer primary key, path text not null)",
    "alter table visit add column counted integer not null default 0",
)


def database() -> sqlite3.Connection:
    return sqlite3.connect(os.environ["DATABASE"], timeout=10, isolation_level=None)


def redis(*words: str) -> list[str]:
    """Send one command to Redis; the lines of the answer without their type marks."""
    host, port = os.environ["REDIS"].split(":")
    request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(request.encode("ascii"))
        answer = connection.makefile("r", newline="\r\n")
        first = answer.readline().strip()
        # An array of two strings, as BRPOP gives: each is a length and the text.
        lines = [answer.readline().strip() for _ in range(4)] if first == "*2" else [first[1:]]
        return [line for line in lines if not line.startswith("$")]


def collectstatic() -> None:
    shutil.copytree(HERE / "static", os.environ["STATIC_ROOT"], dirs_exist_ok=True)


def migrate() -> None:
    """Apply what is missing; SQLite's user_version counts what has been applied."""
    with database() as connection:
        (done,) = connection.execute("pragma user_version").fetchone()
        for number, statement in enumerate(MIGRATIONS[done:], start=done + 1):
            connection.execute(statement)
            connection.execute(f"pragma user_version = {number}")
            print(f"applied migration {number}", flush=True)


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """`/health` asks the database, `/counted` says how many visits the worker has counted, any other page is a visit to count."""
    path = environ["PATH_INFO"]
    with database() as connection:
        if path in ("/health", "/counted"):
            (count,) = connection.execute("select count(*) from visit where counted").fetchone()
            text = str(count)
        else:
            number = connection.execute("insert into visit (path) values (?)", (path,)).lastrowid
            redis("LPUSH", "visits", str(number))
            text = "thank you"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{text}\n".encode()]


def serve() -> None:
    with make_server("127.0.0.1", int(os.environ["PORT"]), application) as server:
        server.serve_forever()


def worker() -> None:
    """Take visits from the queue, one at a time; a job that is under way is finished before SIGTERM ends the worker."""
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    while not stopping:
        answer = redis("BRPOP", "visits", "1")
        if len(answer) == 2:
            with database() as connection:
                connection.execute("update visit set counted = 1 where id = ?", (int(answer[1]),))


COMMANDS = {"collectstatic": collectstatic, "migrate": migrate, "serve": serve, "worker": worker}
COMMANDS[sys.argv[1]]()
