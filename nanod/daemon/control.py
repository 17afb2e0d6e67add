"""Who asks over a socket: root, with one JSON request a line; and on loopback, when configured, whoever wants metrics. Bounded in every way.

    {"do": "status"}     {"do": "reload"}     {"do": "metrics"}     {"do": "history"}

Each is answered with one line of JSON, which has "error" when it was refused.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 8192
"""Bytes of a request."""
MOST = 16
"""Connections at once, of each socket."""
IDLE = 30.0
"""Seconds that a connection may be without a request, or without taking in an answer."""
_PEER = struct.Struct("3i")
"""pid, uid, gid (unix(7), SO_PEERCRED)."""
_PART = 65536
_PARTS = 16
"""That are thrown away of somebody who goes on talking."""


class Connection:
    """One that was accepted. `waits`: for the answer to its request, which may take as long as an apply does; `deadline` holds otherwise."""

    __slots__ = ("deadline", "ends", "is_http", "left", "socket", "taken", "waits", "who")

    def __init__(self, accepted: socket.socket, who: str, deadline: float, *, is_http: bool = False) -> None:
        self.socket, self.who, self.deadline, self.is_http = accepted, who, deadline, is_http
        self.waits = self.ends = False
        """`ends`: once all is sent, it is closed."""
        self.taken, self.left = bytearray(), bytearray()

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def is_open(self) -> bool:
        return self.socket.fileno() >= 0

    def receive(self) -> bool:
        """Take in what has come; False when the other side is gone."""
        try:
            part = self.socket.recv(_PART)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.taken += part
        return bool(part)

    def request(self) -> str | None:
        """The next one that is whole, while none is being answered. Raises ValueError for one that is too long."""
        if self.waits or self.ends:
            return None
        end = b"\r\n\r\n" if self.is_http else b"\n"
        head, found, rest = self.taken.partition(end)
        if len(head) > LONGEST:
            raise ValueError(f"a request has at most {LONGEST} bytes")
        if not found:
            return None
        self.taken = rest
        return head.decode(errors="replace")

    def answer(self, content: bytes, now: float, *, ends: bool = False) -> None:
        self.left += content
        self.waits, self.ends = False, self.ends or ends
        self.deadline = now + IDLE
        self.send()

    def send(self) -> None:
        """As much as the other side takes now."""
        with suppress(BlockingIOError):
            try:
                while self.left:
                    del self.left[: self.socket.send(self.left)]
            except BlockingIOError:
                raise
            except OSError:
                self.close()
                return
        if self.ends and not self.left:
            self.close()

    def close(self) -> None:
        """What was sent arrives: with something unread, the other side would find the connection reset instead (tried)."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            for _ in range(_PARTS):
                if not self.socket.recv(_PART):
                    break
        self.socket.close()


class Server:
    """A listening socket and its connections. `tell` is told, as text, who was denied."""

    def __init__(self, listening: socket.socket, tell: Callable[[str], None], *, is_http: bool = False) -> None:
        self.socket = listening
        self.connections: list[Connection] = []
        self._tell, self._is_http = tell, is_http

    def fileno(self) -> int:
        return self.socket.fileno()

    def accept(self, now: float) -> Connection | None:
        """The next one who is let in."""
        try:
            accepted, address = self.socket.accept()
        except OSError:
            return None
        accepted.setblocking(False)
        who = "" if self._is_http else _peer(accepted)
        connection = Connection(accepted, who or str(address), now + IDLE, is_http=self._is_http)
        if not self._is_http and not who.startswith("uid 0,"):
            self._tell(f"control: {who} was denied")
            connection.answer(refusal("only root may ask"), now, ends=True)
        elif len(self.connections) >= MOST:
            connection.answer(refusal(f"there are {MOST} connections already") if not self._is_http else http(503, "busy\n"), now, ends=True)
        if connection.is_open and not connection.ends:
            self.connections.append(connection)
            return connection
        connection.close()
        return None

    def due(self) -> float | None:
        """When the first of them has been idle for too long."""
        return min((item.deadline for item in self.connections if not item.waits), default=None)

    def sweep(self) -> None:
        self.connections = [item for item in self.connections if item.is_open]

    def close(self) -> None:
        for item in self.connections:
            item.close()
        self.socket.close()


def listen_unix(path: str) -> socket.socket:
    """A socket that root alone may connect to. One that a killed daemon left is replaced. Raises OSError."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            raise FileExistsError(None, "there is something that is no socket")
        Path(path).unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        made.bind(path)
        made.listen(MOST)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


def listen_loopback(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(MOST)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def line(answer: Any) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def refusal(message: str) -> bytes:
    return line({"error": {"kind": "refused", "message": message}})


def asked(text: str) -> str:
    """What a line asks for. Raises ValueError."""
    try:
        request = json.loads(text)
    except ValueError:
        raise ValueError("a request is one line of JSON") from None
    if isinstance(request, dict) and isinstance(word := request.get("do"), str):
        return word
    raise ValueError("a request is a mapping with 'do'")


def http(status: int, body: str, kind: str = "text/plain; charset=utf-8") -> bytes:
    reason = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}[status]
    content = body.encode()
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    return head.encode() + content


def _peer(accepted: socket.socket) -> str:
    pid, uid, gid = _PEER.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return f"uid {uid}, gid {gid}, pid {pid}"
