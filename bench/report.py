"""What was measured, as a table and as data."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.measure import Count, Measured

HEAD = ("figure", "ours", "baseline", "ratio (quartiles)", "goal", "")


def heading() -> str:
    return _row(HEAD, "")


def line(found: Measured) -> str:
    """One figure, and below it what is counted and what the baseline is."""
    low, high = found.quartiles
    figure = found.figure
    cells = (
        figure.name,
        _value(statistics.median(found.ours), figure.unit),
        _value(statistics.median(found.baseline), figure.unit),
        f"{found.ratio:.2f} ({low:.2f} - {high:.2f})",
        f"{figure.goal:g}" if figure.goal is not None else "",
        "" if found.is_met else "missed",
    )
    counts = "".join(f"; {_counted(count)}" for count in found.counts)
    return _row(cells, f"    {figure.ours} / {figure.baseline}{counts}")


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def _value(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if unit else seconds(value)


def data(found: Sequence[Measured]) -> list[dict[str, object]]:
    return [
        {
            "figure": item.figure.name,
            "ours": {"what": item.figure.ours, item.figure.unit or "seconds": item.ours},
            "baseline": {"what": item.figure.baseline, item.figure.unit or "seconds": item.baseline},
            "ratio": item.ratio,
            "quartiles": item.quartiles,
            "goal": item.figure.goal,
            "counts": [{"name": count.name, "value": count.value, "goal": count.goal} for count in item.counts],
            "met": item.is_met,
        }
        for item in found
    ]


def _counted(count: Count) -> str:
    return f"{count.name} {count.value:g}{f' (goal {count.goal:g})' if count.goal is not None else ''}"


def _row(cells: Sequence[str], below: str) -> str:
    name, ours, baseline, ratio, goal, verdict = cells
    text = f"{name:14} {ours:>10} {baseline:>10}  {ratio:22} {goal:>5}  {verdict}".rstrip()
    return f"{text}\n{below}" if below else text
