"""The verbs as click knows them: what `nanod VERB --help` says, for a page."""

from __future__ import annotations

import inspect

import click

from nanod.cli.app import VERBS, nanod
from nanod.cli.options import Verb


def markdown() -> str:
    return "\n\n".join(_section(verb) for verb in VERBS)


def options(name: str) -> str:
    """A table of the options of a verb."""
    command, context = _command(name)
    rows = [found for item in command.get_params(context) if (found := item.get_help_record(context))]
    return "\n".join(["| option | means |", "|---|---|", *(f"| {_option(words)} | {_cell(text)} |" for words, text in rows)])


def _command(name: str) -> tuple[Verb, click.Context]:
    found = nanod.get_command(click.Context(nanod), name)
    assert isinstance(found, Verb)
    return found, click.Context(found, info_name=f"nanod {name}")


def _section(name: str) -> str:
    command, context = _command(name)
    words = " ".join(command.collect_usage_pieces(context)).removeprefix("[OPTIONS]").strip()
    about = inspect.cleandoc(command.help or "")
    examples = "\n".join(f"    {line}" for line in command.examples)
    return "\n\n".join([f"## nanod {name} {words}".rstrip(), about, options(name), examples])


def _option(words: str) -> str:
    """`-n, --lines N`, with its names in bold and its value in italics."""
    names = []
    for word in words.replace(" / ", ", ").split(", "):
        name, _, value = word.partition(" ")
        names.append(f"`{name}` *{value}*" if value else f"`{name}`")
    return ", ".join(names)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
