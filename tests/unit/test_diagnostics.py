from __future__ import annotations

from nanod.diagnostics import Diagnostic, Mark, Report, Severity


def test_a_finding_shows_its_line_with_a_caret_and_its_path() -> None:
    item = Diagnostic(Mark("a.yaml", 2, 12, 16), Severity.ERROR, "'timeout' must be a time span", "services.web.stop.timeout")
    assert item.text({"a.yaml": "x:\n  timeout: soon\ny:"}).split("\n") == [
        "a.yaml:2:12: error: 'timeout' must be a time span",
        "    2 |   timeout: soon",
        "      |            ^^^^   services.web.stop.timeout",
    ]


def test_a_finding_without_its_text_is_one_line() -> None:
    mark = Mark("a.yaml", 2, 12, 16)
    assert Diagnostic(mark, Severity.NOTE, "so").text() == "a.yaml:2:12: note: so"
    assert Diagnostic(Mark("a.yaml"), Severity.WARNING, "so").text({"a.yaml": "x"}) == "a.yaml: warning: so"
    assert Diagnostic(mark, Severity.ERROR, "so").text({"a.yaml": "only one line"}) == "a.yaml:2:12: error: so"
    assert Diagnostic(mark, Severity.ERROR, "so").text({"a.yaml": "\n" + "x" * 300}) == "a.yaml:2:12: error: so"


def test_lines_are_counted_as_editors_count_them() -> None:
    text = "a\x0cb\x85c\u2028d\nsecond"
    assert "    2 | second" in Diagnostic(Mark("a", 2, 1, 2), Severity.ERROR, "m").text({"a": text})


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    shown = Diagnostic(Mark("a", 1, 1, 2), Severity.ERROR, "m").text({"a": "\x1b[31mred\x9b0m\r"})
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "\r" not in shown


def test_a_report_is_sorted_and_says_things_once() -> None:
    report = Report()
    report.warning(Mark("a", 3, 1), "later")
    report.error(Mark("a", 1, 5), "first")
    report.error(Mark("a", 1, 5), "first")
    report.note(Mark("a", 2, 1), "between")
    assert [item.message for item in report] == ["first", "between", "later"]
    assert report.has_errors
    assert len(report) == 4


def test_warnings_are_no_errors() -> None:
    report = Report()
    report.warning(Mark("a"), "careful")
    assert not report.has_errors


def test_reports_merge() -> None:
    one, two = Report(), Report()
    two.error(Mark("b"), "x")
    one.merge(two)
    assert [item.message for item in one] == ["x"]


def test_a_finding_is_data() -> None:
    assert Diagnostic(Mark("a", 1, 2, 3), Severity.ERROR, "m", "p").data() == {
        "file": "a",
        "line": 1,
        "column": 2,
        "severity": "error",
        "message": "m",
        "path": "p",
    }
