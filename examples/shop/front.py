"""The front of the shop: greets, and counts its visits in Redis. SIGHUP reads the greeting again, SIGTERM ends it in order."""

import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def redis(*words: str) -> str:
    """Send one command to Redis and return the answer without its type, such as 42 for an INCR."""
    host, port = os.environ["REDIS"].split(":")
    request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with socket.create_connection((host, int(port)), timeout=2) as connection:
        connection.sendall(request.encode("ascii"))
        return connection.makefile("r").readline()[1:].strip()


class Shop(BaseHTTPRequestHandler):
    greeting = ""

    @classmethod
    def read_greeting(cls) -> None:
        cls.greeting = Path(os.environ["GREETING"]).read_text(encoding="utf-8").strip()

    def do_GET(self) -> None:
        """`/healthz` is healthy when Redis is; any other page is a visit."""
        try:
            text = redis("PING") if self.path == "/healthz" else f"{self.greeting}, visitor {redis('INCR', 'visits')}"
            status = 200
        except OSError as error:
            text, status = f"no Redis: {error}", 503
        self.send_response(status)
        self.end_headers()
        self.wfile.write(f"{text}\n".encode())


def main() -> None:
    Shop.read_greeting()
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Shop)
    signal.signal(signal.SIGHUP, lambda *_: Shop.read_greeting())
    # shutdown() waits for the loop that this very thread runs, so another thread has to call it.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)


main()
