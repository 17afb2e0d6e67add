"""Status and plan at 80 columns, with names as long as people write them: nothing runs over the edge, columns stay, and colours change no letter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from nanod.cli import console
from nanod.state import UnitDetail
from nanod.status import Health, Phase
from nanod.verdict import Reason, ServiceVerdict, Status, Why
from nanod.view.plan import plan_text
from nanod.view.status import status_text
from nanod.view.tty import PLAIN, Style, columns
from tests.unit.test_view_plan import CASES, planned
from tests.unit.test_view_status import _FAILED, _NOW, _app, _hook, _service

if TYPE_CHECKING:
    from pathlib import Path

NARROW = Style(terminal=True, unicode=True, width=80)
COLOURED = Style(terminal=True, unicode=True, width=80, colour=True)
_LONG = "a-service-with-a-rather-long-name-that-people-do-write-in-practice"
_TRACE = ("Traceback:", '  File "/srv/shop/a/path/that/is/long/index.js", line 4711, in a_function_with_a_name')
_CRASH = ServiceVerdict(
    service="worker",
    unit="shop-worker.service",
    status=Status.FAILED,
    headline="cannot start shop-worker",
    reasons=(Reason(kind=Why.HOOK, text="hook prestart/migrate exited with status 3 after it had waited for the database", lines=_TRACE),),
)
APP = _app(
    _service("db", Health.HEALTHY, Phase.RUN, probe="tcp 127.0.0.1:6379"),
    _service(_LONG, Health.HEALTHY, Phase.RUN, probe="http http://127.0.0.1:8080/healthz/that/is/long", hooks=(_hook("prestart", "migrate", 0),)),
    _FAILED,
    _service("worker", Health.RESTARTING, Phase.START, verdict=_CRASH, detail=UnitDetail(name="x", restarts=7)),
)


def _bare(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_status_with_a_long_name_keeps_its_columns() -> None:
    lines = status_text([APP], NARROW, now=_NOW).split("\n")
    assert lines[1:6] == [
        "├─ db      run    healthy     3h 12min  pid 812, tcp 127.0.0.1:6379",
        f"├─ {_LONG}",
        "│  │          run    healthy     3h 12min  pid 812, http",
        "│  │          http://127.0.0.1:8080/healthz/that/is/long",
        "│  └─ ok  prestart/migrate  took 250ms, 1min 30s ago",
    ]
    assert max(map(len, lines)) <= 80


def test_lines_that_were_printed_stay_indented() -> None:
    lines = status_text([APP], NARROW, now=_NOW).split("\n")
    assert lines[-6:] == [
        "└─ worker  start  restarting  -         restarts 7",
        "   └─ cannot start shop-worker: hook prestart/migrate exited with status 3 after",
        "         it had waited for the database",
        "         Traceback:",
        '           File "/srv/shop/a/path/that/is/long/index.js", line 4711, in',
        "           a_function_with_a_name",
    ]


def test_all_of_a_sentence_is_in_colour_and_nothing_of_the_tree() -> None:
    lines = status_text([APP], COLOURED, now=_NOW).split("\n")
    assert "   └─ \x1b[1;31mcannot start shop-worker: hook prestart/migrate exited with status 3 after\x1b[0m" in lines
    assert "         \x1b[1;31mit had waited for the database\x1b[0m" in lines
    assert f"├─ {_LONG}" in lines
    assert "│  │          run    \x1b[32mhealthy\x1b[0m     3h 12min\x1b[2m  pid 812, http\x1b[0m" in lines
    assert _bare("\n".join(lines)) == status_text([APP], NARROW, now=_NOW)


def test_elsewhere_than_on_a_terminal_a_service_is_one_line() -> None:
    text = status_text([APP], PLAIN, now=_NOW)
    assert re.search(rf"^\|- {_LONG}  run    healthy     3h 12min  pid 812, http http://127\S+$", text, re.MULTILINE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_plan_fits_and_says_the_same_words(case: Path) -> None:
    plan = planned(case)
    narrow, whole = plan_text(plan, NARROW), plan_text(plan, PLAIN)
    assert max(len(line) for line in narrow.split("\n") if not re.fullmatch(r" *\S+", line)) <= 80, "but for a path alone, which is copied whole"
    assert sorted(narrow.split()) == sorted(whole.split())
    assert _bare(plan_text(plan, COLOURED)) == narrow
    assert plan_text(plan, Style(terminal=True, width=200)) == whole, "a wide terminal shows what a file gets"


def test_causes_of_a_plan_are_wrapped_below_themselves() -> None:
    changed = planned(next(case for case in CASES if case.name == "changed"))
    lines = plan_text(changed, NARROW).split("\n")
    start = next(number for number, line in enumerate(lines) if "stop first" in line)
    column = lines[start].index("ExecStop=")
    assert lines[start + 1].index("(shop.yaml") == column
    assert plan_text(changed, Style(terminal=True, width=60)).split("\n")[2:6] == [
        "  ~  shop-web.service   stop first, start",
        "        ExecStop=, Environment= changed (shop.yaml:9,",
        "        shop.yaml:8); db restarts, and this one with it",
        "        (shop.yaml:4)",
    ], "below it, where a column would be too narrow"
    assert plan_text(changed, Style(terminal=True, width=36)).split("\n")[3:5] == [
        "  ~  shop-web.service",
        "                      stop first, start",
    ], "a name as wide as half of it stands alone"


def test_a_long_first_cell_pushes_no_others_aside() -> None:
    assert columns([("a", "1", "x"), ("a-long-one", "22", "y")], narrow=5) == ["a  1   x", "a-long-one\n   22  y"]
    assert columns([("a-long-one", "22")], narrow=5) == ["a-long-one\n  22"]
    assert columns([], narrow=5) == []


_SOURCE = "   39 |     environment: {A: " + "x" * 80 + ", B: 1.5.2}"


@pytest.mark.parametrize(("column", "shows"), [(14, "environment: {A: xxx"), (len(_SOURCE) - 10, "xxx, B: 1.5.2}")])
def test_a_caret_points_at_its_word_where_the_line_is_too_long(column: int, shows: str) -> None:
    pointer = f"      | {'':{column - 8}}^^^   services.web.environment"
    source, below = console.fitting([_SOURCE, pointer], NARROW)
    assert max(len(source), len(below)) <= 80
    assert source.startswith("   39 | ")
    assert shows in source
    at = below.index("^^^")
    assert source[at : at + 3] == _SOURCE[column : column + 3]
    assert console.fitting([_SOURCE, pointer], PLAIN) == [_SOURCE, pointer], "elsewhere than on a terminal it is whole"
    assert console.fitting([], NARROW) == []
