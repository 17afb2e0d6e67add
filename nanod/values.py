"""Values with a unit, parsed once and printed in one canonical form that every systemd since 252 reads the same way."""

from __future__ import annotations

import hashlib
import re
import signal
from dataclasses import dataclass
from typing import ClassVar, Self

_TIME_WORDS = {
    "usec us µs": 1,
    "msec ms": 1_000,
    "seconds second sec s": 1_000_000,
    "minutes minute min m": 60_000_000,
    "hours hour hr h": 3_600_000_000,
    "days day d": 86_400_000_000,
    "weeks week w": 604_800_000_000,
}
_TIME_UNITS = {word: factor for words, factor in _TIME_WORDS.items() for word in words.split()}
_TIME_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zµ]*)\s*")
_TIME_PRINTED = (("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1))
_TIME_LIMIT = 100 * 365 * 86_400_000_000


@dataclass(frozen=True, slots=True, order=True)
class TimeSpan:
    """A time in microseconds; `FOREVER` is systemd's `infinity`. Syntax: systemd.time(7), "Parsing time spans", without months and years."""

    usec: int
    FOREVER: ClassVar[TimeSpan]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError with a text that says what is allowed."""
        if text.strip() == "infinity":
            return cls(2**63)
        total = position = 0
        while position < len(text):
            part = _TIME_PART.match(text, position)
            if part is None or (part[2] or "s") not in _TIME_UNITS:
                position = 0
                break
            total += round(float(part[1]) * _TIME_UNITS[part[2] or "s"])
            position = part.end()
        if position == 0 or total > _TIME_LIMIT:
            raise ValueError(f"must be a time span such as '30s', '5min' or '1h 30min', not '{text}'")
        return cls(total)

    @classmethod
    def seconds(cls, seconds: float) -> Self:
        return cls(round(seconds * 1_000_000))

    @property
    def is_forever(self) -> bool:
        return self.usec >= 2**63

    def __add__(self, other: TimeSpan) -> TimeSpan:
        return TimeSpan.FOREVER if self.is_forever or other.is_forever else TimeSpan(self.usec + other.usec)

    def __mul__(self, times: int) -> TimeSpan:
        return TimeSpan.FOREVER if self.is_forever else TimeSpan(self.usec * times)

    def __str__(self) -> str:
        if self.is_forever:
            return "infinity"
        parts, rest = [], self.usec
        for unit, factor in _TIME_PRINTED:
            count, rest = divmod(rest, factor)
            if count:
                parts.append(f"{count}{unit}")
        return " ".join(parts) or "0s"

    @property
    def in_seconds(self) -> str:
        """Seconds as timeout(1) and sleep(1) read them: `0.5`, `30`; `0`, which is "no limit" to timeout(1), for `infinity`."""
        return "0" if self.is_forever else f"{self.usec / 1_000_000:.6f}".rstrip("0").rstrip(".")


TimeSpan.FOREVER = TimeSpan(2**63)

_SIZE_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50, "E": 2**60}
_SIZE = re.compile(r"([0-9]+)([BKMGTPE]?)")
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]{1,2})?)%")


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes, `infinity`, or a share of what the machine has (`percent`, in hundredths). Syntax: systemd.resource-control(5), MemoryMax=."""

    count: int | None = None
    percent: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError with a text that says what is allowed."""
        if text == "infinity":
            return cls()
        if (share := _PERCENT.fullmatch(text)) and float(share[1]) <= 100:
            return cls(percent=round(float(share[1]) * 100))
        plain = _SIZE.fullmatch(text)
        if plain is None or (count := int(plain[1]) * _SIZE_UNITS[plain[2]]) >= 2**63 or count == 0:
            raise ValueError(f"must be a size such as '512M', '2G', '80%' or 'infinity', not '{text}'")
        return cls(count=count)

    def __str__(self) -> str:
        if self.percent is not None:
            return f"{self.percent / 100:g}%"
        if self.count is None:
            return "infinity"
        for unit in "EPTGMK":
            if self.count % _SIZE_UNITS[unit] == 0:
                return f"{self.count // _SIZE_UNITS[unit]}{unit}"
        return str(self.count)


def parse_percent(text: str) -> str:
    """A CPU quota such as `50%` or `250%` (of one CPU), canonical. Raises ValueError with a text that says what is allowed."""
    share = _PERCENT.fullmatch(text)
    if share is None or not 0 < float(share[1]) <= 100_000:
        raise ValueError(f"must be a percentage of one CPU such as '50%' or '200%', not '{text}'")
    return f"{float(share[1]):g}%"


def content_hash(text: str) -> str:
    """SHA-256, hexadecimal, of a file's text; bytes that are no UTF-8 stand in it as surrogates."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def digest(*parts: str | bytes) -> str:
    """SHA-256, hexadecimal, over the parts and their lengths, so that ("ab", "c") and ("a", "bc") differ."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(b"%d:" % len(raw))
        total.update(raw)
    return total.hexdigest()


def signal_name(number: int) -> str:
    """`SIGKILL` of 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
