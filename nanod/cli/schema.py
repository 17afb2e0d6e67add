"""`nanod schema`."""

from __future__ import annotations

from nanod.cli import console
from nanod.cli.options import verb
from nanod.errors import ExitCode
from nanod.spec.schema import SCHEMA


@verb("schema", "nanod schema > nanod.schema.json", "# yaml-language-server: $schema=nanod.schema.json    (first line of the spec)")
def command() -> int:
    """Print the JSON Schema of the spec language, for editors."""
    console.out_json(SCHEMA)
    return ExitCode.OK
