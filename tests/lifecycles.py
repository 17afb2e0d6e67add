"""Services around nanod.lifecycle, in each of its fronts, and a systemd that only listens."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nanod.lifecycle import Lifecycle, Turn

FRONTS = ("run", "loop", "asyncio")


class Systemd:
    """Hears what is said on NOTIFY_SOCKET. As a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)
        self._messages: list[str] = []
        # A sender waits for whoever does not read: the kernel keeps a few datagrams only.
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._say("END")
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        while (message := self._socket.recv(8192).decode()) != "END":
            self._messages.append("RELOADING=1" if message.startswith("RELOADING=1\nMONOTONIC_USEC=") else message)

    def _say(self, message: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(message.encode(), self._path)

    def heard(self) -> list[str]:
        """All messages so far, but for the time in them."""
        mark = f"MARK {time.monotonic_ns()}"
        self._say(mark)
        until(lambda: mark in self._messages, "everything is read")
        return [message for message in self._messages if not message.startswith("MARK")]

    def states(self) -> list[str]:
        return [message for message in self.heard() if not message.startswith("STATUS=")]

    def statuses(self) -> list[str]:
        return [message.removeprefix("STATUS=") for message in self.heard() if message.startswith("STATUS=")]


def run(front: str, life: Lifecycle, serve: Callable[[], object] | None = None, *, says_ready: bool = False) -> int:
    """Serve with one of the FRONTS until the end is asked for, and give the exit status; `serve` is called when that has begun."""
    serve = serve or (lambda: None)
    if front == "run":

        def block() -> None:
            serve()
            life.wait()

        return life.run(block, says_ready=says_ready)
    if front == "loop":

        def loop(turn: Turn) -> None:
            serve()
            with selectors.DefaultSelector() as selector:
                selector.register(turn, selectors.EVENT_READ)
                while turn():
                    selector.select(turn.timeout)

        return life.run_loop(loop, says_ready=says_ready)

    async def main() -> None:
        serve()
        await asyncio.Event().wait()

    return asyncio.run(life.serve(main, says_ready=says_ready))


def play(front: str, life: Lifecycle, script: Callable[[], object]) -> int:
    """Run the service while `script` runs beside it, in a thread, and end it with that. Raises what the script does."""
    errors: list[BaseException] = []

    def act() -> None:
        try:
            script()
        except BaseException as error:  # raised again by the test itself
            errors.append(error)
            raise
        finally:
            life.stop()

    life.on_ready(act, name="script")
    status = run(front, life)
    if errors:
        raise errors[0]
    return status


def until(reached: Callable[[], object], what: str) -> None:
    """Wait for a condition; the bound ends a broken test, and proves nothing."""
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


def note(steps: list[str], step: str) -> Callable[[], None]:
    """A hook that does nothing else."""
    return lambda: steps.append(step)


def fail(steps: list[str], step: str) -> Callable[[], None]:
    """A hook that notes itself and fails."""

    def hook() -> None:
        steps.append(step)
        raise ValueError(f"{step} is broken")

    return hook


class Gate:
    """Holds somebody up, until it is opened, and tells when it does."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.open.wait(20), "nobody opened"
