"""Serve the pages that the build has made, and count the visits. The socket is systemd's, and open before and after this process."""

import os
import signal
import socket
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

FIRST = 3
"""The descriptor of the first socket (sd_listen_fds(3))."""


class Book(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = Path("site", f"{Path(self.path).name or 'index'}.html")
        if not page.is_file():
            self.send_error(404)
            return
        with sqlite3.connect(os.environ["DATABASE"]) as book:
            book.execute("INSERT INTO visits DEFAULT VALUES")
            (visits,) = book.execute("SELECT count(*) FROM visits").fetchone()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{page.read_text(encoding='utf-8')}<p>Visit {visits}</p>\n".encode())


def say_ready() -> None:
    """As sd_notify(3)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])


def main() -> None:
    server = HTTPServer(("", 0), Book, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=FIRST)
    # The request that is under way is answered first. shutdown() waits for the loop that this very thread runs, so another thread has to call it.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    say_ready()
    server.serve_forever(poll_interval=0.1)


main()
