"""Calendar expressions of systemd.time(7), for people who write cron's five fields."""

from __future__ import annotations

import re
from typing import Final

_DAYS: Final = "Sun Mon Tue Wed Thu Fri Sat Sun".split()
_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_RANGES: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_ITEM = re.compile(r"(?:\*|([A-Za-z0-9]+)(?:-([A-Za-z0-9]+))?)(?:/([0-9]+))?")
_SHORT: Final = {
    **{f"@{word}": word for word in ("hourly", "daily", "weekly", "monthly", "yearly")},
    "@midnight": "daily",
    "@annually": "yearly",
}


class CronError(ValueError):
    """Looks like cron and has no translation; says why."""


def from_cron(text: str) -> str | None:
    """The calendar expression for cron's five fields or an @word; None for other text. Raises CronError where systemd has no such expression."""
    fields = text.split()
    if text.startswith("@"):
        if text not in _SHORT:
            raise CronError(f"'{text}' is cron's and has no calendar expression")
        return _SHORT[text]
    if len(fields) != 5 or any(not all(_ITEM.fullmatch(item) for item in field.split(",")) for field in fields):
        return None
    minute, hour, day, month, weekday = (_field(field, place) for place, field in enumerate(fields))
    if day != "*" and weekday != "*":
        raise CronError("cron runs it on the day of the month or the day of the week; a calendar expression cannot say 'or', so write two services")
    days = "" if weekday == "*" else f"{weekday} "
    return f"{days}*-{month}-{day} {hour}:{minute}:00"


def _field(field: str, place: int) -> str:
    items = [_item(item, place) for item in field.split(",")]
    return "*" if "*" in items else ",".join(items)


def _item(item: str, place: int) -> str:
    match = _ITEM.fullmatch(item)
    assert match is not None, "the caller matched it"
    first, last, step = match.groups()
    low, high = _RANGES[place]
    if first is None:
        if step in (None, "1"):
            return "*"
        first, last = str(low), str(high) if place == 4 else None
    start = _number(first, place)
    end = _number(last, place) if last else None
    if place == 4:
        return _weekdays(start, end, step)
    if step and last is None and "*" not in item:
        end = high
    text = _printed(start, place) + (f"..{_printed(end, place)}" if end is not None else "")
    return f"{text}/{step}" if step else text


def _weekdays(start: int, end: int | None, step: str | None) -> str:
    """There are no steps over days of the week, and the week begins on Monday."""
    if end is None:
        return _DAYS[start]
    if step is None and 1 <= start <= end <= 7:
        return f"{_DAYS[start]}..{_DAYS[end]}"
    return ",".join(dict.fromkeys(_DAYS[day] for day in range(start, end + 1, int(step or 1))))


def _number(word: str, place: int) -> int:
    low, high = _RANGES[place]
    if word.isdigit():
        number = int(word)
    elif place == 3 and word.lower()[:3] in _MONTHS:
        number = _MONTHS.index(word.lower()[:3]) + 1
    elif place == 4 and word.title()[:3] in _DAYS:
        number = _DAYS.index(word.title()[:3])
    else:
        raise CronError(f"'{word}' is no value of cron's field {place + 1}")
    if not low <= number <= high:
        raise CronError(f"'{word}' in cron's field {place + 1} is not from {low} to {high}")
    return number


def _printed(number: int | None, place: int) -> str:
    return f"{number:02d}" if place < 4 else str(number)
