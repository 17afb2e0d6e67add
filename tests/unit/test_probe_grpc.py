"""The gRPC probe: against a real server where there is one (grpcio), and against what is none."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nanod import probe
from nanod.probe import DATA, END_STREAM, GOAWAY, HEADERS, PADDED, PING, RST_STREAM, SETTINGS, frame, probe_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDS_GRPC = pytest.mark.skipif(importlib.util.find_spec("grpc_health") is None, reason="needs grpcio-health-checking")
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"
NO_SERVICE = "it has no health service (grpc.health.v1.Health)"


@contextmanager
def grpc_server(status: str | None) -> Iterator[str]:
    """A real one; with None it has no health service."""
    import grpc  # noqa: PLC0415
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # noqa: PLC0415

    server: Any = grpc.server(ThreadPoolExecutor(2))
    if status:
        servicer = health.HealthServicer()
        servicer.set("", getattr(health_pb2.HealthCheckResponse, status))
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@NEEDS_GRPC
@pytest.mark.parametrize(
    ("status", "expected"),
    [("SERVING", None), ("NOT_SERVING", "it says NOT_SERVING"), ("UNKNOWN", "it says UNKNOWN"), (None, NO_SERVICE)],
)
def test_a_real_server(status: str | None, expected: str | None) -> None:
    with grpc_server(status) as address:
        assert probe_grpc([address], 5.0) == expected


@NEEDS_GRPC
def test_a_server_that_changes_its_mind() -> None:
    with grpc_server("SERVING") as address:
        assert [probe_grpc([address], 5.0) for _ in range(20)] == [None] * 20


@contextmanager
def listening(answer: bytes, *, hangs: bool = False, pieces: bool = False) -> Iterator[str]:
    """Somebody who takes what comes, answers this, and goes; or stays and says no more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):  # who has heard enough closes the door
                connection.recv(65536)
                for part in [bytes([byte]) for byte in answer] if pieces else [answer]:
                    connection.sendall(part)
                if hangs:
                    over.wait(10)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def answer(status: bytes, *, padding: int = 0) -> bytes:
    message = b"\0" + len(status).to_bytes(4, "big") + status
    data = bytes([padding]) + message + bytes(padding) if padding else message
    return frame(HEADERS, b"\x88", 4, 1) + frame(DATA, data, PADDED if padding else 0, 1)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (frame(SETTINGS) + answer(SERVING), None),
        (frame(SETTINGS) + frame(PING, bytes(8)) + frame(8, bytes(4)) + answer(SERVING, padding=9), None),
        (frame(SETTINGS, bytes(6)) + answer(NOT_SERVING), "it says NOT_SERVING"),
        (frame(SETTINGS) + answer(SERVICE_UNKNOWN), "it says SERVICE_UNKNOWN"),
        (frame(SETTINGS) + answer(b""), "it says UNKNOWN"),
        (frame(SETTINGS) + frame(HEADERS, b"\x88", 4 | END_STREAM, 1), NO_SERVICE),
        (frame(SETTINGS) + frame(RST_STREAM, bytes(4), 0, 1), "the connection was closed"),
        (frame(SETTINGS) + frame(GOAWAY, bytes(8)), "the connection was closed"),
        (frame(SETTINGS), "the connection was closed"),
        (b"", "the connection was closed"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "the answer is not HTTP/2"),
        (b"\xff" * 64, "the answer is not HTTP/2"),
        (frame(SETTINGS) + frame(DATA, bytes(3), 0, 1), "the connection was closed"),
    ],
)
@pytest.mark.parametrize("pieces", [False, True])
def test_what_a_server_may_say(said: bytes, expected: str | None, pieces: bool) -> None:
    with listening(said, pieces=pieces) as address:
        assert probe_grpc([address], 5.0) == expected


def test_a_server_that_hangs_is_left_in_time() -> None:
    begin = time.monotonic()
    with listening(frame(SETTINGS), hangs=True) as address:
        assert probe_grpc([address], 0.3) == "no answer within 0.3 s"
    assert time.monotonic() - begin < 5


def test_a_closed_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert probe_grpc([f"127.0.0.1:{port}"], 1.0) == "Connection refused"


def test_the_gate_waits_for_it() -> None:
    with listening(frame(SETTINGS) + answer(SERVING)) as address:
        argv = [sys.executable, "-I", "-S", str(Path(probe.__file__)), "grpc", "0.1", "1", "5", address]
        assert subprocess.run(argv, env={"MAINPID": "1"}, check=False).returncode == 0
