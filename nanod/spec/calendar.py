"""What a calendar expression of systemd.time(7) may look like, so that a mistake has its line on a machine without systemd too.

It takes all that systemd takes, and a little more (time zones that nobody has): `systemd-analyze verify` has the last word, at apply.
"""

from __future__ import annotations

import re
from typing import Final

_SHORT: Final = frozenset(
    "minutely hourly daily monthly weekly yearly annually anually quarterly biannually bi-annually semiannually semi-annually".split()
)
_WEEK: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "(?:mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)"
_DAYS = re.compile(rf"{_DAY}(?:(?:\.\.|-){_DAY})?(?:,{_DAY}(?:(?:\.\.|-){_DAY})?)*,?", re.IGNORECASE)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
_ITEM = re.compile(r"([0-9]+)(\.[0-9]+)?(?:\.\.([0-9]+)(\.[0-9]+)?)?(?:/([0-9]+)(\.[0-9]+)?)?")
_DATE = re.compile(r"(?:(?:([^-~]+)-)?([^-~]+)([-~]))?([^-~]+)")
_RANGES: Final = {"year": (1970, 2199), "month": (1, 12), "day": (1, 31), "hour": (0, 23), "minute": (0, 59), "second": (0, 59)}


def wrong(text: str) -> str:
    """What systemd would refuse in the expression, "" for nothing."""
    words = text.split()
    if len(words) > 1 and _ZONE.fullmatch(words[-1]) and not _DAYS.fullmatch(words[-1]):
        words.pop()
    if not words or text[:1] == " ":
        return "it is empty"
    if len(words) == 1 and (words[0].lower() in _SHORT or re.fullmatch(r"@[0-9]+", words[0])):
        return ""
    if _DAYS.fullmatch(words[0]) and (found := _wrong_days(words.pop(0))):
        return found
    if words and ":" not in words[0] and (found := _wrong_date(words.pop(0))):
        return found
    if words and (found := _wrong_time(words.pop(0))):
        return found
    return f"nothing can follow the time, and '{words[0]}' does" if words else ""


def has_zone(text: str) -> bool:
    words = text.split()
    return len(words) > 1 and _ZONE.fullmatch(words[-1]) is not None and _DAYS.fullmatch(words[-1]) is None


def _wrong_days(word: str) -> str:
    for item in word.rstrip(",").split(","):
        first, _, last = item.replace("..", "-").partition("-")
        if last and _WEEK.index(first[:3].lower()) > _WEEK.index(last[:3].lower()):
            return f"'{item}' ends before it begins: the week begins on Monday"
    return ""


def _wrong_date(word: str) -> str:
    match = _DATE.fullmatch(word)
    if match is None or match[2] is None:
        return f"'{word}' is no day of the week, date (*-*-01) or time (03:00)"
    year, month, mark, day = match.groups()
    parts = (("year", year), ("month", month), ("day", day))
    return next((found for name, part in parts if part and (found := _wrong_part(name, part, from_end=mark == "~" and name == "day"))), "")


def _wrong_time(word: str) -> str:
    parts = word.split(":")
    if not 2 <= len(parts) <= 3:
        return f"'{word}' is no time (03:00 or 03:00:00)"
    return next((found for name, part in zip(("hour", "minute", "second"), parts, strict=False) if (found := _wrong_part(name, part))), "")


def _wrong_part(name: str, part: str, *, from_end: bool = False) -> str:
    """A list of numbers and ranges, or `*`."""
    if part == "*":
        return ""
    low, high = _RANGES[name]
    high -= 3 * from_end
    for item in part.split(","):
        match = _ITEM.fullmatch(item)
        if match is None or (name != "second" and (match[2] or match[4] or match[6])):
            hint = f" (write 0{item[1:]})" if item.startswith("*/") and low == 0 else ""
            return f"'{item}' is no {name}{hint}"
        start, stop = _year(name, match[1]), _year(name, match[3])
        for number in (start, *([stop] if stop and not match[5] else [])):
            if not low <= int(number) <= high:
                return f"{name} {number} is not from {low} to {high}"
        if stop and int(stop) < int(start):
            return f"'{item}' ends before it begins"
        if match[5] and (found := _wrong_step(int(start), int(match[5]), low, high, item, from_end=from_end, is_open=not stop)):
            return found
    return ""


def _year(name: str, number: str | None) -> str:
    """Of two digits: 70 to 99 are of the last century."""
    if number is None:
        return ""
    return str(int(number) + (1900 if int(number) >= 70 else 2000)) if name == "year" and int(number) < 100 else number


def _wrong_step(start: int, step: int, low: int, high: int, item: str, *, from_end: bool, is_open: bool) -> str:
    """The first repetition must come before the next hour, day or month."""
    end = start - step if from_end else start + step
    if not step:
        return f"the step of '{item}' is 0"
    return f"the step of '{item}' is too long" if is_open and not low <= end <= high else ""
