"""When to say WATCHDOG=1: at half of the time that the unit's WatchdogSec= gives (sd_watchdog_enabled(3))."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Watchdog:
    """Asked by the loop that waits: `left()` seconds until the next sign, `due()` when it is time for it."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._interval = _interval(environment)
        self._next = 0.0
        self._by_hand = False
        self._alive = False

    def alive(self) -> None:
        """From the first call on, only a service that goes on calling it counts as alive."""
        self._by_hand = self._alive = True

    def left(self) -> float | None:
        """Seconds; None without a watchdog."""
        return None if self._interval is None else max(0.0, self._next - time.monotonic())

    def due(self) -> bool:
        """Whether to send a sign now; each that is due is told once."""
        if self._interval is None or time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._interval
        alive, self._alive = self._alive or not self._by_hand, False
        return alive


def _interval(environment: Mapping[str, str]) -> float | None:
    """Seconds between two signs; None where none is expected of this process."""
    microseconds, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 2_000_000
