"""docs/commands.md and the commands say the same, in both directions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

from nanod.cli.app import VERBS, nanod
from nanod.cli.scope import USER
from nanod.errors import ExitCode
from nanod.steps import CauseKind
from nanod.verdict import Why
from nanod.view.plan import ACTIONS

_PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
_SECTIONS = {text.split(maxsplit=2)[1]: text for text in re.split(r"^## ", _PAGE, flags=re.MULTILINE) if text.startswith("nanod ")}


def _command(verb: str) -> click.Command:
    found = nanod.get_command(click.Context(nanod), verb)
    assert found is not None
    return found


def test_every_verb_has_a_section_and_every_section_a_verb() -> None:
    assert set(_SECTIONS) == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_documented_and_every_documented_option_exists(verb: str) -> None:
    options = [item for item in _command(verb).params if isinstance(item, click.Option) and not item.hidden]
    exist = {word for item in options for word in (*item.opts, *item.secondary_opts)}
    listed = re.findall(r"^- (`.*?)(?::|$)", _SECTIONS[verb], flags=re.MULTILINE)
    documented = {word for line in listed for word in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line)}
    assert documented - exist == set()
    assert {word for word in exist if word.startswith("--")} - documented - {"--user"} == set()


def test_the_verbs_that_are_not_for_users_are_named() -> None:
    about = re.search(r"^`--user`.*?\n\n", _PAGE, flags=re.MULTILINE | re.DOTALL)
    assert about
    assert set(re.findall(r"`([a-z]+)`", about[0])) == {verb for verb in VERBS if USER not in _command(verb).params}


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_that_begins_with_the_verb(verb: str) -> None:
    command = _command(verb)
    text = command.get_help(click.Context(command, info_name=f"nanod {verb}"))
    examples = text.partition("Example")[2]
    assert f"nanod {verb}" in examples
    assert max(map(len, text.split("\n"))) <= 100


def test_every_word_of_the_json_is_documented() -> None:
    """Keys of what `…_data` functions make, and the words that plans use."""
    words = set(re.findall(r'[`"]([a-z_-]+)[`"]', _PAGE))
    made = {word for path in _VIEWS for function in ast.walk(ast.parse(path.read_text())) for word in _keys(function)}
    assert {"wave", "mains", "next_usec", "rank"} <= made, "they are found"
    said = {str(kind) for kind in CauseKind} | {str(kind) for kind in Why} | set(ACTIONS.values()) - _OF_A_REMOVAL
    assert (made | said) - words == set()


_VIEWS = [path for name in ("view", "cli") for path in sorted((Path(__file__).parents[2] / "nanod" / name).glob("*.py"))]
_OF_A_REMOVAL = {"decide", "forget-app"}


def _keys(function: ast.AST) -> set[str]:
    if not isinstance(function, ast.FunctionDef) or not function.name.endswith("_data"):
        return set()
    keys = [key for item in ast.walk(function) if isinstance(item, ast.Dict) for key in item.keys]
    keys += [item.slice for item in ast.walk(function) if isinstance(item, ast.Subscript) and isinstance(item.ctx, ast.Store)]
    return {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str) and " " not in key.value}


def test_exit_codes_are_those_of_the_code() -> None:
    table = _PAGE.partition("## Exit codes")[2].partition("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE)} == {int(code) for code in ExitCode}
