"""Two sides measured in turns, and what is said of them: medians, and the ratio of each round with its quartiles."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Side = Callable[[], float]
"""Does its work once and returns the seconds that it took; what it prepares and undoes is not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`rounds` of each figure; `services` of the spec that is checked and compiled, `applied` of the one that is applied."""

    rounds: int = 9
    services: int = 1000
    applied: int = 100

    @property
    def few(self) -> int:
        """Rounds of what mostly waits; with a round or two it is left out."""
        return self.rounds // 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Something counted and not timed, the same in every round or the worst of them; `goal` is the most it may be, None for no goal."""

    name: str
    value: float
    goal: float | None = None

    @property
    def is_met(self) -> bool:
        return self.goal is None or self.value <= self.goal


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. `goal` is the largest ratio of ours to the baseline, None for one that is only told; `unit` is of what is not a time."""

    name: str
    ours: str
    baseline: str
    goal: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds of each round, in pairs; a warm-up round is not among them."""

    figure: Figure
    ours: tuple[float, ...]
    baseline: tuple[float, ...]
    counts: tuple[Count, ...] = field(default=())

    @property
    def ratios(self) -> list[float]:
        return [ours / baseline for ours, baseline in zip(self.ours, self.baseline, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Of the ratios; a single round is its own."""
        if len(self.ratios) < 2:
            return self.ratio, self.ratio
        low, _, high = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return low, high

    @property
    def is_met(self) -> bool:
        return (self.figure.goal is None or self.ratio <= self.figure.goal) and all(count.is_met for count in self.counts)


def in_turns(rounds: int, ours: Side, baseline: Side) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(seconds of ours, seconds of the baseline). After one round to warm up, each side goes first in every other round."""
    pairs = []
    for number in range(rounds + 1):
        first, second = (ours, baseline) if number % 2 else (baseline, ours)
        seconds = (first(), second())
        pairs.append(seconds if number % 2 else seconds[::-1])
    return tuple(pair[0] for pair in pairs[1:]), tuple(pair[1] for pair in pairs[1:])


def called(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def spawned(argv: Sequence[str], env: Mapping[str, str] | None = None) -> float:
    """From the start of a program, given by its path, to its end; its output is dropped. Raises RuntimeError when it fails."""
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    begin = time.perf_counter()
    pid = os.posix_spawn(argv[0], list(argv), {**os.environ, **(env or {})}, file_actions=null)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    seconds = time.perf_counter() - begin
    if status:
        raise RuntimeError(f"{' '.join(argv)} ended with {status}")
    return seconds


VENV = Path(__file__).resolve().parents[1] / ".venv/bin"
PYTHON = str(VENV / "python")
NANOD = str(VENV / "nanod")
