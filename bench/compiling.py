"""P3: from text to the text of units, in process, beside the least that any reader of YAML must do."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import yaml

from bench import specs
from bench.measure import Figure, Measured, called, in_turns
from nanod.compile import Target, compile_spec
from nanod.spec.load import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.measure import Options


def render(text: str) -> dict[str, str]:
    """Parse, validate, compile and render; the text of every unit by its name."""
    loaded = load("large.yaml", text, directory="/srv")
    assert loaded.spec is not None, loaded.report.text()
    units, report = compile_spec(loaded.spec, Target())
    assert units is not None, report.text()
    return {unit.name: unit.render() for unit in units.units}


def events(text: str) -> int:
    count = 0
    for _ in yaml.parse(text, yaml.CSafeLoader):
        count += 1
    return count


def compiling(options: Options) -> Iterator[Measured]:
    text = specs.large(options.services)
    ours, baseline = in_turns(options.rounds, lambda: _alone(lambda: render(text)), lambda: _alone(lambda: events(text)))
    figure = Figure(
        name="P3 compile",
        ours=f"parse, validate, compile, render {options.services} services",
        baseline="libyaml's events of the same text",
        goal=2.5,
    )
    yield Measured(figure=figure, ours=ours, baseline=baseline)


def _alone(work: Callable[[], object]) -> float:
    """Without the garbage of the other side, and without the collector, as in the command."""
    gc.collect()
    gc.disable()
    try:
        return called(work)
    finally:
        gc.enable()
