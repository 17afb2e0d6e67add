"""The clock of this machine."""

from __future__ import annotations

import time


class SystemClock:
    """`now` is CLOCK_MONOTONIC: no jump of the wall clock shortens or lengthens a wait."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> int:
        return time.time_ns() // 1000

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
