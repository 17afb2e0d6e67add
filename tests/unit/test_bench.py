"""The benchmarks run, and what they print can be read; how fast anything is, no test asks."""

from __future__ import annotations

import json

import pytest

from bench import report
from bench.__main__ import main
from bench.measure import Count, Figure, Measured, in_turns


def measured(ours: tuple[float, ...], baseline: tuple[float, ...], *, goal: float | None = 2.0, counts: tuple[Count, ...] = ()) -> Measured:
    return Measured(figure=Figure(name="P0 none", ours="this", baseline="that", goal=goal), ours=ours, baseline=baseline, counts=counts)


def test_sides_take_turns_and_the_first_round_is_a_warm_up() -> None:
    order: list[str] = []

    def side(name: str, seconds: float) -> float:
        order.append(name)
        return seconds

    assert in_turns(2, lambda: side("ours", 1.0), lambda: side("theirs", 2.0)) == ((1.0, 1.0), (2.0, 2.0))
    assert order == ["theirs", "ours", "ours", "theirs", "theirs", "ours"]


def test_a_ratio_is_of_rounds_and_not_of_medians() -> None:
    found = measured((1.0, 4.0, 9.0), (1.0, 2.0, 3.0))
    assert found.ratio == 2.0
    assert found.quartiles == (1.5, 2.5)
    assert measured((1.0,), (2.0,)).quartiles == (0.5, 0.5)


def test_a_goal_is_met_by_the_ratio_and_by_every_count() -> None:
    assert measured((2.0,), (1.0,)).is_met
    assert not measured((2.1,), (1.0,)).is_met
    assert measured((9.0,), (1.0,), goal=None).is_met
    assert not measured((1.0,), (1.0,), counts=(Count(name="reloads", value=2, goal=1),)).is_met


def test_a_line_of_the_table() -> None:
    found = measured((0.02, 0.03), (0.01, 0.01), counts=(Count(name="reloads", value=1, goal=1), Count(name="jobs", value=3)))
    assert report.line(found).splitlines() == [
        "P0 none           25.0 ms    10.0 ms  2.50 (2.25 - 2.75)         2  missed",
        "    this / that; reloads 1 (goal 1); jobs 3",
    ]


@pytest.mark.parametrize("figure", ["P1", "P2", "P3", "P7"])
def test_each_figure_runs(figure: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rounds", "1", "--services", "3", "--json", figure]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [item["figure"][:2] for item in said["figures"]] == [figure]


def test_a_figure_that_there_is_not() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["P9"])
    assert ended.value.code == 2
