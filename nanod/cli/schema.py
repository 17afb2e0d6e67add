"""`nanod schema`."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from nanod.cli import console, plugins
from nanod.cli.options import verb
from nanod.errors import ExitCode
from nanod.spec.schema import SCHEMA

if TYPE_CHECKING:
    from nanod.spec.shapes import Shape


@verb(
    "schema",
    "nanod schema > nanod.schema.json",
    "",
    "# yaml-language-server: $schema=nanod.schema.json",
    "project: shop",
)
def command() -> int:
    """Print the JSON Schema of the spec language, for editors; with the blocks of the features that are installed."""
    console.out_json(_with_features())
    return ExitCode.OK


def _with_features() -> Shape:
    schema, features = deepcopy(SCHEMA), plugins.load().features
    for name in ("service", "runtime") if features else ():
        schema["$defs"][name]["properties"]["features"]["properties"] = {feature.name: dict(feature.schema) for feature in features}
    return schema
