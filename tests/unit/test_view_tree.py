from __future__ import annotations

from nanod.view.tree import Branch, tree_lines, wrapped
from nanod.view.tty import PLAIN, Style

_TREE = (
    Branch(text="db", branches=(Branch(text="prestart/1", below=("no table",)),)),
    Branch(text="web", below=("first", "second")),
)


def test_ascii_elsewhere_and_boxes_where_a_terminal_has_them() -> None:
    assert list(tree_lines(_TREE, PLAIN)) == ["|- db", "|  `- prestart/1", "|        no table", "`- web", "      first", "      second"]
    assert next(tree_lines(_TREE, Style(terminal=True, unicode=True))) == "\u251c\u2500 db"


def test_colour_is_on_the_text_and_not_on_the_lines_of_the_tree() -> None:
    painted = Branch(text="db up", paint=lambda line: f"<{line}>")
    assert list(tree_lines([painted], PLAIN)) == ["`- <db up>"]
    assert list(tree_lines([_TREE[1]], Style(colour=True)))[1] == "      \x1b[2mfirst\x1b[0m"


def test_lines_are_wrapped_where_somebody_reads_them_as_they_come() -> None:
    text = "one two three four five six seven"
    assert wrapped(text, Style(width=20), 0) == [text]
    assert wrapped(text, Style(width=32, terminal=True), 2) == ["one two three four five six", "seven"]
    assert wrapped("", Style(terminal=True), 2) == [""]
    assert wrapped("x" * 90, Style(terminal=True), 2) == ["x" * 90], "a path can be copied whole"
