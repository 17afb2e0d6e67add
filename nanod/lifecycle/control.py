"""A socket on which the unit's own `ExecReload=` asks for a reload and waits for what comes of it: `python3 -m nanod.lifecycle reload PATH`.

A signal has no answer: `ExecReload=kill -HUP $MAINPID` is over before the service has even heard of it, and cannot fail.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.lifecycle.errors import LifecycleError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_PATIENCE = 10.0
"""Seconds in which a client has to say what it wants."""
_LONGEST = 4096
_OK = b"ok"


class Control:
    """Listens while it is entered, in threads, for the service's own user and root. `reload` is called for each client. `path` may be relative."""

    def __init__(self, path: str, reload: Callable[[], None]) -> None:
        self._path = Path(path)
        self._reload = reload
        self._listener: socket.socket | None = None

    def __enter__(self) -> None:
        """Raises StateError when it cannot listen there. A socket that another process left is replaced."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if self._path.is_socket():
                self._path.unlink()
            listener.bind(str(self._path))
            self._path.chmod(0o600)  # nobody can connect before listen()
            listener.listen()
        except OSError as refused:
            listener.close()
            raise StateError(f"cannot listen at {self._path}: {refused.strerror or refused}") from refused
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="control", daemon=True).start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._listener is not None
        self._path.unlink(missing_ok=True)
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # it is closed
            # One each: those who ask during a reload share the next one.
            threading.Thread(target=self._answer, args=(connection,), name="control", daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # whoever goes away needs no answer
            connection.settimeout(_PATIENCE)
            wanted = connection.recv(_LONGEST)
            if wanted != b"reload\n":
                connection.sendall(b"cannot do that: 'reload' is all that there is")
                return
            connection.settimeout(None)
            try:
                self._reload()
            except LifecycleError as failed:
                connection.sendall(failed.message.encode("utf-8", "replace"))
            else:
                connection.sendall(_OK)


def ask_reload(path: str) -> str:
    """Have the service that listens at `path` reload; "" or what went wrong. Raises OSError when nobody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        connection.sendall(b"reload\n")
        answer = b""
        while part := connection.recv(_LONGEST):
            answer += part
    if answer == _OK:
        return ""
    return answer.decode(errors="replace") or "cannot reload: the service ended meanwhile"
