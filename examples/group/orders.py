"""Takes an order for each request, counted by Redis, and writes a log beside the service's other files of this run."""

import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOG = Path(os.environ["NANOD_RUN_DIR"], "access.log")


def counted() -> int:
    host, _, port = os.environ["REDIS"].partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as redis:
        redis.sendall(b"INCR orders\r\n")
        return int(redis.recv(64).strip(b":\r\n"))


class Orders(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer("ready")

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(f"order {counted()}")

    def answer(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{text}\n".encode())

    def log_message(self, form, *values):
        with LOG.open("a") as file:
            print(form % values, file=file)


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Orders).serve_forever()
