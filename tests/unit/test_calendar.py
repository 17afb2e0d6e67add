"""Calendar expressions, against systemd's own reading of them."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest

from nanod.spec.calendar import has_zone, wrong

GOOD = (
    *("daily", "Daily utc", "quarterly", "Mon *-*-* 03:00:00", "Mon..Fri 9:00", "Mon-Fri 9:00", "mon..sun", "Mon,", "Mon..Fri,Sun 3:00", "*:0/2"),
    *("*-02~03", "*-*~1", "Mon", "*:*:0.5/2.5", "@123", "*-*-* 0,3/4:00", "*-*-*  03:00", "00/23:00", "12-1-1", "5..10/6:00", "1-5", "2020-*~07/1"),
    *("*-2-29", "Mon *-*-* 3:00 Europe/Berlin", "05:40:23.4200004/3.1700005", "3:00 UTC", "003:0001", "*-*-01/3", "*-*~28", "*-*~7/3"),
)
BAD = (
    *(
        "*-*-* */2:00",
        "2020-01-01T10:00",
        "Mon, Tue 3:00",
        "3:00 Mon",
        "12",
        "*",
        "25:00",
        "24:00",
        "03:60",
        "*-13-01",
        "*-1-32",
        "every day",
        "0/25:00",
    ),
    *(
        "01/23:00",
        "2200-1-1",
        "1969-1-1",
        "5:4:3:2",
        "10..5:00",
        "sunday..monday",
        "Fri..Tue 3:00",
        "Mo 3:00",
        "*:59/1",
        "*-*~29",
        "3:",
        ":3",
        "Mon..",
    ),
    *("*-*-*~1", "0x3:00", "Mon;Tue", "#3", "03:00 04:00", "0/0:00", " Mon", "UTC"),
)
NEEDS_SYSTEMD = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def accepts(text: str) -> bool:
    """What systemd says of it."""
    return subprocess.run(["systemd-analyze", "calendar", "--", text], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("text", GOOD)
def test_good(text: str) -> None:
    assert wrong(text) == ""


@pytest.mark.parametrize("text", BAD)
def test_bad(text: str) -> None:
    assert wrong(text)


@NEEDS_SYSTEMD
def test_systemd_agrees_with_the_lists() -> None:
    assert [text for text in GOOD if not accepts(text)] == []
    assert [text for text in BAD if accepts(text)] == []


@NEEDS_SYSTEMD
def test_nothing_is_refused_that_systemd_takes() -> None:
    pick = random.Random(3)

    def part(low: int, high: int) -> str:
        number = pick.choice([low, high, high + 1, pick.randint(low, high)])
        end = f"..{pick.randint(low, high)}" if pick.random() < 0.3 else ""
        step = f"/{pick.randint(0, high)}" if pick.random() < 0.3 else ""
        return pick.choice(["*", f"{number}{end}{step}"])

    texts = [f"{part(1, 12)}{pick.choice('-~')}{part(1, 31)} {part(0, 23)}:{part(0, 59)}" for _ in range(150)]
    assert [text for text in texts if wrong(text) and accepts(text)] == []


def test_zones() -> None:
    assert [has_zone(text) for text in ("daily UTC", "Mon 3:00 Europe/Berlin", "daily", "3:00", "Mon Tue")] == [True, True, False, False, False]
