"""Serves over TLS, and takes in a new certificate without a restart: `systemctl reload certified-web`, or an edit of it and `nanod apply`."""

import os
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from nanod.lifecycle import Lifecycle

CERTIFICATE, KEY = os.environ["CERTIFICATE"], os.environ["KEY"]
life = Lifecycle(shutdown_timeout=20, control=os.environ["NANOD_RUN_DIR"] + "/control")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


class Handler(BaseHTTPRequestHandler):
    token = ""

    def setup(self) -> None:
        self.request.do_handshake()  # in the thread of the request: the one that accepts waits for nobody
        super().setup()

    def do_GET(self) -> None:
        is_friend = self.headers.get("Authorization") == f"Bearer {self.token}"
        self.send_response(200 if is_friend else 401)
        self.end_headers()
        self.wfile.write(b"welcome\n" if is_friend else b"who are you?\n")


class Server(ThreadingHTTPServer):
    daemon_threads = False

    def get_request(self):
        connection, address = super().get_request()
        connection.settimeout(10)
        # Each new connection has the certificate that the context has by then.
        return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address


server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler, bind_and_activate=False)


@life.on_start
def credentials() -> None:
    Handler.token = Path(os.environ["CREDENTIALS_DIRECTORY"], "token").read_text(encoding="utf-8").strip()


@life.on_start
def certificate() -> None:
    context.load_cert_chain(CERTIFICATE, KEY)


@life.on_start
def listen() -> None:
    server.server_bind()
    server.server_activate()


@life.on_reload(name="certificate")
def reload_certificate():
    # A pair that does not fit, or is half written, is refused by a context that nobody uses.
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(CERTIFICATE, KEY)
    return certificate


def serve() -> None:
    server.serve_forever(0.1)


@life.on_shutdown(undoes=serve)
def drain() -> None:
    server.shutdown()
    server.server_close()


sys.exit(life.run(serve))
