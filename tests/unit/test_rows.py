"""The table of acceptance rows tells what is proved from what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.rows import TITLES, Result, keep, kept, table

if TYPE_CHECKING:
    from pathlib import Path

LAB = "tests/lab/test_x.py::test_"
ALL = {f"{LAB}everything": Result(tuple(TITLES), "passed")}


def test_all_rows_proved() -> None:
    text, proved = table(ALL)
    assert proved
    assert text.endswith(f"{len(TITLES)} rows, all proved")


def test_a_row_without_a_test() -> None:
    text, proved = table({f"{LAB}most": Result(tuple(row for row in TITLES if row != "NK-4"), "passed")})
    assert not proved
    assert "\n! NK-4      no test       one lock" in text


@pytest.mark.parametrize(("result", "word"), [("failed", "failed"), ("not run", "not run")])
def test_a_row_with_a_test_that_did_not_pass(result: str, word: str) -> None:
    text, proved = table(ALL | {"tests/unit/test_y.py::test_more": Result(("NK-4",), result)})
    assert not proved
    assert f"! NK-4      {word} " in text


def test_in_brief_only_what_is_not_proved() -> None:
    assert table(ALL, brief=True) == (f"{len(TITLES)} rows, all proved", True)
    text, proved = table(ALL | {"tests/unit/test_y.py::test_more": Result(("NK-4",), "failed")}, brief=True)
    assert not proved
    assert [line.split()[:2] for line in text.splitlines()] == [
        ["!", "NK-4"],
        ["failed", "tests/unit/test_y.py::test_more"],
        [str(len(TITLES)), "rows,"],
    ]


def test_a_row_is_proved_on_a_real_systemd() -> None:
    most = {f"{LAB}most": Result(tuple(row for row in TITLES if row not in ("NK-4", "BX-12")), "passed")}
    text, proved = table(most | {"tests/unit/test_y.py::test_more": Result(("NK-4", "BX-12"), "passed")})
    assert not proved
    assert "! NK-4      no lab test" in text
    assert "\n  BX-12     passed" in text


def test_virtual_machines_count_where_they_ran() -> None:
    for result, is_well in {"not run": True, "skipped": True, "passed": True, "failed": False}.items():
        assert table(ALL | {"tests/vm/test_z.py::test_more": Result(("NK-4",), result)})[1] is is_well


def test_skipped_tests_prove_nothing() -> None:
    skipped = {f"{LAB}more": Result(("NK-4",), "skipped")}
    assert table(ALL | skipped)[1]
    assert not table({f"{LAB}most": Result(tuple(row for row in TITLES if row != "NK-4"), "passed")} | skipped)[1]


def test_rows_of_later_versions_may_be_open_but_not_refuted() -> None:
    text, proved = table(ALL | {f"{LAB}a": Result(("FAULTS-2", "FAULTS-10"), "not run")})
    assert proved
    assert text.index("FAULTS-2 ") < text.index("FAULTS-10 ")
    assert not table(ALL | {f"{LAB}a": Result(("FAULTS-2",), "failed")})[1]


def test_runs_add_up(tmp_path: Path) -> None:
    file = tmp_path / "cache/rows.json"
    keep({"tests/a.py::one": ("NK-1",), "tests/a.py::two": ("NK-2",)}, {"tests/a.py::one": "passed"}, file)
    keep({"tests/b.py::three": ("NK-3",)}, {"tests/b.py::three": "failed"}, file)
    assert {test: item.result for test, item in kept(file).items()} == {
        "tests/a.py::one": "passed",
        "tests/a.py::two": "not run",
        "tests/b.py::three": "failed",
    }
    keep({"tests/a.py::one": ("NK-1", "NK-4")}, {}, file)
    assert kept(file)["tests/a.py::one"] == Result(("NK-1", "NK-4"), "passed")
    assert "tests/a.py::two" not in kept(file)
