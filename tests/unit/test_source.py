"""YAML text to plain values with places."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nanod.diagnostics import Report
from nanod.spec import source
from nanod.spec.tree import Map, Place, Seq, Text, printable, shown


def values(text: str | bytes) -> object:
    report = Report()
    read = source.read("a.yaml", text, report)
    assert [item.message for item in report] == []
    return read.root


def messages(text: str | bytes) -> list[str]:
    report = Report()
    source.read("a.yaml", text, report)
    return [f"{item.mark.line}:{item.mark.column} {item.message}" for item in report]


def test_scalars_have_yaml_1_2_meaning() -> None:
    assert values("[true, false, null, ~, '', 0, 12, no, yes, on, off, 1e3, 0644, 0o7, 22:22, 2024-01-01, .inf, +1, -1, 1.0, 1_0]") == [
        True, False, None, None, "", 0, 12, "no", "yes", "on", "off", "1e3", "0644", "0o7", "22:22", "2024-01-01", ".inf", "+1", "-1", "1.0", "1_0",
    ]  # fmt: skip


def test_quotes_make_text() -> None:
    assert values("['true', \"12\", 'null', \"~\"]") == ["true", "12", "null", "~"]
    assert values("a: |\n  true\n") == {"a": "true\n"}


def test_nothing_written_is_null() -> None:
    assert values("a:\nb: ''\n") == {"a": None, "b": ""}


def test_keys_are_text() -> None:
    assert values("{1: a, true: b, no: c, ~: d}") == {"1": "a", "true": "b", "no": "c", "~": "d"}


def test_a_number_beyond_what_python_turns_back_stays_text() -> None:
    assert values(f"[{'9' * 5000}]") == ["9" * 5000]


def test_a_byte_order_mark_at_the_start_is_accepted() -> None:
    assert values("\ufeffa: b".encode()) == {"a": "b"}
    assert values("\ufeffa: b") == {"a": "b"}


def test_windows_line_ends_are_accepted() -> None:
    assert values(b"a: b\r\nc: d\r\n") == {"a": "b", "c": "d"}


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_refused(codec: str) -> None:
    assert messages("services: {}".encode(codec)) == ["0:0 a spec is UTF-8 text, this is UTF-16, UTF-32 or binary"]


def test_a_wrong_byte_has_a_place() -> None:
    assert messages("a: b\nc: ü".encode() + b"\xff") == ["2:5 a spec is UTF-8 text, and byte 0xff is not"]
    assert messages(b"\xc3") == ["1:1 a spec is UTF-8 text, and byte 0xc3 is not"]


def test_lone_surrogates_are_refused() -> None:
    assert messages("a: \ud800") == ['1:4 the character U+D800 cannot stand in a spec; inside double quotes write it as "\\ud800"']


def test_an_escaped_surrogate_is_refused() -> None:
    assert messages('a: "\\ud800"') != []


def test_one_byte_too_many() -> None:
    assert messages(b"#" * (1 << 20)) == []
    assert messages(b"#" * ((1 << 20) + 1)) == ["0:0 a spec is at most 1 MiB, this has 1048577 bytes"]


def test_depth_is_bounded() -> None:
    assert values("[" * 32 + "]" * 32) is not None
    assert messages("[" * 33 + "]" * 33) == ["1:33 nesting is at most 32 levels"]


def test_the_number_of_values_is_bounded() -> None:
    many = "- a\n" * 99_999
    assert isinstance(values(many), list)
    assert messages(many + "- a\n") == ["100000:3 a spec has at most 100000 values"]


def test_places_are_those_of_key_and_value() -> None:
    report = Report()
    read = source.read("a.yaml", "a:\n  b: [x, {c: d}]\n  ü: 'e f'\n", report)
    root = Place(Text("a.yaml", read.text), read.root)
    assert str(root("a")) == "a.yaml:1:1"
    assert str(root("a", "b")) == "a.yaml:2:3"
    assert str(root("a", "b", 0)) == "a.yaml:2:7"
    assert str(root("a", "b", 1)) == "a.yaml:2:10"
    assert str(root("a", "b", 1, "c")) == "a.yaml:2:14"
    mark = root("a", "ü")
    assert (mark.line, mark.column, mark.end) == (3, 6, 11)
    assert str(root.key_mark("a", "ü")) == "a.yaml:3:3"
    assert str(root("a", "nothing", "more")) == "a.yaml:1:1"
    assert root.child("a").child("b").child(1).path_of("c") == "a.b[1].c"


def test_a_place_knows_what_was_written() -> None:
    report = Report()
    read = source.read("a.yaml", "a: {b: null, c: x}\n", report)
    root = Place(Text("a.yaml", read.text), read.root)
    assert root.written("a", "c")
    assert not root.written("a", "b")
    assert not root.written("a", "d")
    assert not root.written("d", "a")


def test_messages_hold_no_control_characters_and_no_long_values() -> None:
    assert printable("a\x1b\n\u2028\u202eb") == "a\\x1b\\x0a\\u2028\\u202eb"
    assert shown("x" * 100) == "'" + "x" * 57 + "…'"
    assert [shown(value) for value in (None, True, 5, Map(), Seq())] == ["null", "true", "5", "an empty mapping", "an empty list"]


def test_mistakes_are_counted_no_further_than_fifty() -> None:
    assert len(messages("".join("a: b\n" for _ in range(1000)))) == source.MAX_FINDINGS


def same(ours: object, theirs: object) -> bool:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


TREES = st.recursive(
    st.text() | st.booleans() | st.none() | st.integers(0, 10**15),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(TREES, st.booleans())
def test_what_yaml_writes_reads_back(tree: object, flow: bool) -> None:
    text = yaml.safe_dump(tree, default_flow_style=flow, default_style='"', allow_unicode=False)
    read = yaml.load(text, Loader=yaml.BaseLoader)
    report = Report()
    ours = source.read("a", text.replace("!!int ", "").replace("!!bool ", "").replace("!!null ", ""), report).root
    if not report.has_errors:
        assert same(ours, read)


@settings(deadline=None)
@given(st.text() | st.binary())
def test_no_text_raises(text: str | bytes) -> None:
    report = Report()
    read = source.read("a", text, report)
    assert all(item.mark.file == "a" for item in report)
    assert read.root is None or len(text) > 0


@settings(deadline=None)
@given(st.lists(st.sampled_from([*"ab:-[]{}&*!|>'\"%@`?,# \n\t", "<<", "---", "...", "null", "\u2028"]), max_size=30).map("".join))
def test_no_yaml_like_text_raises(text: str) -> None:
    report = Report()
    source.read("a", text, report)
    lines = text.split("\n")
    for item in report:
        assert item.mark.line <= len(lines) + 1


def test_the_parser_in_python_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: {b: [1, 'x', true]}\nc: |\n  text\nd: ~\n"
    wrong = "a: &x 1\na: 2\nb: [\n"
    fast, fast_wrong = values(text), messages(wrong)
    monkeypatch.setattr(source, "_PARSER", yaml.SafeLoader)
    assert same(values(text), fast)
    assert [line.partition(" not valid")[0] for line in messages(wrong)] == [line.partition(" not valid")[0] for line in fast_wrong]
