"""The clock of this machine."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """`now` is CLOCK_MONOTONIC: no jump of the wall clock shortens or lengthens a wait."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> int:
        return time.time_ns() // 1000

    def utc(self) -> str:
        return datetime.now(UTC).isoformat(timespec="seconds")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
