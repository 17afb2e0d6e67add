"""P1, P2: commands that look at nothing but their words, as processes from start to end."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench import specs
from bench.measure import NANOD, PYTHON, Figure, Measured, in_turns, spawned
from nanod.spec.schema import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.measure import Options

_VALIDATE = """
import json, sys
import jsonschema, yaml
with open(sys.argv[1]) as file:
    schema = json.load(file)
with open(sys.argv[2]) as file:
    spec = yaml.load(file, yaml.CSafeLoader)
errors = list(jsonschema.Draft202012Validator(schema).iter_errors(spec))
assert not errors, errors
"""
"""The usual way to check a YAML file: nothing but its shape, and no line numbers."""


def version(options: Options) -> Iterator[Measured]:
    ours, baseline = in_turns(options.rounds * 5, lambda: spawned([NANOD, "--version"]), lambda: spawned([PYTHON, "-c", "pass"]))
    yield Measured(figure=Figure(name="P1 version", ours="nanod --version", baseline="python3 -c pass", goal=2.0), ours=ours, baseline=baseline)


def check(options: Options) -> Iterator[Measured]:
    with tempfile.TemporaryDirectory(prefix="nanod-bench-") as made:
        spec, schema = Path(made, "large.yaml"), Path(made, "schema.json")
        spec.write_text(specs.large(options.services))
        schema.write_text(json.dumps(SCHEMA))
        ours, baseline = in_turns(
            options.rounds,
            lambda: spawned([NANOD, "check", str(spec)]),
            lambda: spawned([PYTHON, "-c", _VALIDATE, str(schema), str(spec)]),
        )
    figure = Figure(
        name="P2 check", ours=f"nanod check of {options.services} services", baseline="CSafeLoader + jsonschema of the same file", goal=0.25
    )
    yield Measured(figure=figure, ours=ours, baseline=baseline)
