"""What systemd is told: sd_notify(3), by the package sdnotify. Nothing is sent where NOTIFY_SOCKET is not set.

sdnotify writes latin-1 and drops what has no such letter without a word (tried, 0.3.2), while systemd reads UTF-8. It gets the bytes of UTF-8,
each as the letter that latin-1 makes of it.
"""

from __future__ import annotations

import os
import time

import sdnotify

_LONGEST = 1000
"""Characters of a status; PID 1 drops a datagram that is longer than its buffer of 4096 bytes."""


class Notifier:
    def __init__(self) -> None:
        # Without a socket the package would leave an open one to the garbage collector.
        self._systemd = sdnotify.SystemdNotifier() if os.environ.get("NOTIFY_SOCKET") else None

    def __del__(self) -> None:
        """The package leaves its socket open; it has none where it could not connect."""
        if self._systemd is not None and self._systemd.socket is not None:
            self._systemd.socket.close()

    def ready(self) -> None:
        self._send("READY=1")

    def reloading(self) -> None:
        """With the time, without which a unit of Type=notify-reload does not believe it; others do not mind."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def status(self, words: str) -> None:
        """One line; apart from READY=1 and the like, so that none of them depends on what an error says."""
        line = " ".join(words.split())
        self._send(f"STATUS={line if len(line) <= _LONGEST else line[: _LONGEST - 1] + '…'}")

    def _send(self, message: str) -> None:
        if self._systemd is not None:
            self._systemd.notify(message.encode("utf-8", "replace").decode("latin-1"))
