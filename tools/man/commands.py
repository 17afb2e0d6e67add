"""The verbs as click knows them: what `nanod VERB --help` says, for a page."""

from __future__ import annotations

import inspect
import re

import click

from nanod.cli.app import VERBS, nanod
from nanod.cli.options import Verb


def markdown() -> str:
    return "\n\n".join(_section(verb) for verb in VERBS)


def about(name: str) -> str:
    command, _ = _command(name)
    examples = "\n".join(f"    {line}" for line in command.examples)
    return "\n\n".join([inspect.cleandoc(command.help or ""), options(name), examples])


def options(name: str) -> str:
    """A table of the options of a verb, without `--help`, which all have."""
    command, context = _command(name)
    found = [item for item in command.get_params(context) if isinstance(item, click.Option) and "--help" not in item.opts]
    rows = [item.get_help_record(context) for item in found]
    return "\n".join(["| option | means |", "|---|---|", *(f"| {_option(row[0])} | {_cell(row[1])} |" for row in rows if row)]) if rows else ""


def _command(name: str) -> tuple[Verb, click.Context]:
    found = nanod.get_command(click.Context(nanod), name)
    assert isinstance(found, Verb)
    return found, click.Context(found, info_name=f"nanod {name}")


def _section(name: str) -> str:
    command, context = _command(name)
    words = " ".join(command.collect_usage_pieces(context)).removeprefix("[OPTIONS]").strip()
    return f"## nanod {name} {words}".rstrip() + f"\n\n{about(name)}"


def _option(words: str) -> str:
    """`-n, --lines N`, with its names in bold and its value in italics."""
    names = []
    for word in words.replace(" / ", ", ").split(", "):
        name, _, value = word.partition(" ")
        names.append(f"`{name}` *{value}*" if value else f"`{name}`")
    return ", ".join(names)


def _cell(text: str) -> str:
    """Without the range that click adds to the help of a number, which says it already."""
    return re.sub(r" *\[x>=.*\]$", "", " ".join(text.split())).replace("|", "\\|")
