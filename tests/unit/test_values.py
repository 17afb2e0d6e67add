from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanod.values import Size, TimeSpan, digest, parse_percent


@pytest.mark.parametrize(
    ("text", "usec", "printed"),
    [
        ("30s", 30_000_000, "30s"),
        ("30", 30_000_000, "30s"),
        ("500ms", 500_000, "500ms"),
        ("1h 30min", 5_400_000_000, "1h 30min"),
        ("1h30m", 5_400_000_000, "1h 30min"),
        ("1.5s", 1_500_000, "1s 500ms"),
        ("2 weeks", 1_209_600_000_000, "336h"),
        ("0", 0, "0s"),
        (" 5 min ", 300_000_000, "5min"),
        ("1us", 1, "1us"),
    ],
)
def test_time_spans_are_systemds(text: str, usec: int, printed: str) -> None:
    assert TimeSpan.parse(text).usec == usec
    assert str(TimeSpan.parse(text)) == printed


@pytest.mark.parametrize("text", ["", " ", "soon", "-5", "5X", "1e3", "22:22", "5 fortnights", "infinity5", "1y", "9" * 30, "5M"])
def test_other_texts_are_no_time_span(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time span"):
        TimeSpan.parse(text)


@given(st.integers(0, 10**15))
def test_a_printed_time_span_reads_back(usec: int) -> None:
    assert TimeSpan.parse(str(TimeSpan(usec))).usec == usec


def test_infinity_swallows() -> None:
    forever = TimeSpan.parse("infinity")
    assert forever.is_forever
    assert str(forever) == "infinity"
    assert (forever + TimeSpan.seconds(1)).is_forever
    assert (forever * 3).is_forever
    assert forever.in_seconds == "0"
    assert forever > TimeSpan.seconds(10**9)


def test_seconds_are_written_as_coreutils_reads_them() -> None:
    assert TimeSpan.parse("500ms").in_seconds == "0.5"
    assert TimeSpan.parse("2min").in_seconds == "120"
    assert TimeSpan.parse("1us").in_seconds == "0.000001"


@pytest.mark.parametrize(
    ("text", "printed"),
    [("512M", "512M"), ("1024K", "1M"), ("1000", "1000"), ("80%", "80%"), ("12.50%", "12.5%"), ("infinity", "infinity"), ("1B", "1")],
)
def test_sizes_are_systemds(text: str, printed: str) -> None:
    assert str(Size.parse(text)) == printed


@pytest.mark.parametrize("text", ["", "0", "5X", "-1", "101%", "1.5G", "1 G", "1e3", "512MB", "16E"])
def test_other_texts_are_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        Size.parse(text)


def test_a_quota_may_be_more_than_one_cpu() -> None:
    assert parse_percent("250%") == "250%"
    assert parse_percent("12.50%") == "12.5%"


@pytest.mark.parametrize("text", ["50", "0%", "-5%", "%", "1e2%"])
def test_other_texts_are_no_quota(text: str) -> None:
    with pytest.raises(ValueError, match="must be a percentage"):
        parse_percent(text)


def test_a_digest_knows_where_its_parts_end() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ü") == digest("ü".encode())
