from __future__ import annotations

import pytest

from nanod.view.tty import PLAIN, Style, clean, columns


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 日本 → text", "plain äöü 日本 → text"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("over\rwritten", "over\\rwritten"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        ("\0\x7f", "\\x00\\x7f"),
    ],
)
def test_clean_shows_what_a_terminal_would_obey(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_style_paints_only_with_colour() -> None:
    assert PLAIN.bad("x") == "x"
    assert Style(colour=True).bad("x") == "\x1b[1;31mx\x1b[0m"
    assert Style(colour=True).good("") == ""


def test_columns_align_and_leave_no_blanks_at_the_end() -> None:
    assert columns([["a", "b", "c"], ["long", "", "x"], ["y", "z", ""]]) == ["a     b  c", "long     x", "y     z"]
    assert columns([]) == []
