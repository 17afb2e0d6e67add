"""What the pages show is true: each block is run or says why not, specs check, fragments and commands within the text are of the language, links lead somewhere.

What commands print is compared in tests/lab/test_docs.py; tests/pages.py says what can stand in a page.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from nanod.cli.app import main
from nanod.spec.schema import SCHEMA
from tests.pages import LINK, MANUAL, PAGES, ROOT, Block, commands, read
from tests.shown import misspelt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALL = (*PAGES, *MANUAL)
BLOCKS = [block for page in ALL for block in read(page)]
PROSE = [block for page in (*ALL, ROOT / "CHANGELOG.md") for block in read(page) if block.kind == "prose"]
ANCHOR = re.compile(r"\]\(((?!https?:)[^)#]*)#([^)]+)\)")
FILE = re.compile(r"(?<![\w/.~-])(?:nanod|tests|tools|docs|examples|packaging|bench)/[\w./-]*\w")
ELSEWHERE = {
    ("extending.md", "python"): "tests/unit/test_extend.py",
    ("extending.md", "toml"): "tests/unit/test_extend.py",
    ("library.md", "python"): "tests/unit/test_lifecycle_docs.py",
    ("sandbox.md", "ini"): "tests/unit/test_compile.py",
}
"""Blocks of a page that have a test of their own."""


def each(kind: str) -> list[Any]:
    return [pytest.param(block, id=block.place) for block in BLOCKS if block.kind == kind]


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    blocks = [block for block in BLOCKS if block.page == page and block.kind not in {"prose", "image", "hidden"}]
    left = [block.place for block in blocks if not (_is_tried(block) or _has_reason(block))]
    assert left == [], "a comment in front of a block says what it is: tests/pages.py"


def _is_tried(block: Block) -> bool:
    if test := ELSEWHERE.get((block.page.name, block.kind)):
        return f"docs/{block.page.name}" in (ROOT / test).read_text() or f'"docs" / "{block.page.name}"' in (ROOT / test).read_text()
    return block.kind == "yaml" or block.is_marked("file") or bool(commands(block))


def _has_reason(block: Block) -> bool:
    return block.mark is not None and block.mark.word == "not run" and len(block.mark.value.split()) > 1


@pytest.mark.parametrize("block", each("yaml"))
def test_every_spec_that_is_shown_checks_and_compiles(block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / f"{block.page.stem.lower()}.yaml"
    spec.write_text(block.text)
    for verb in ("check", "compile"):
        code = main([verb, str(spec)])
        said = capsys.readouterr().err
        assert code == 0, said
        assert "warning" not in said


def test_every_fragment_within_a_text_is_of_the_language() -> None:
    """`health: {tcp: true}`: somewhere in a spec there is this key, and it takes this value."""
    fragments = [(block, key, value) for block in PROSE for key, value in fragment(block.text)]
    assert len(fragments) > 40, "they are found"
    assert [f"{block.place}: {block.text}" for block, key, value in fragments if not any(takes(shape, value) for shape in places(key))] == []


def fragment(text: str) -> Iterator[tuple[str, object]]:
    """The key and the value, of a text that is a mapping with one key of the language."""
    if re.match(r"[a-z_.]+: \S", text) and "…" not in text:
        for key, value in yaml.load(text, yaml.BaseLoader).items():
            *outer, last = key.split(".")
            if places((outer or [last])[0]):
                yield (outer[0], {last: plain(value)}) if outer else (last, plain(value))


def plain(value: object) -> object:
    """As nanod reads it: YAML 1.2's words and numbers, and `off` is a text."""
    match value:
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case str() if re.fullmatch(r"true|false|null|0|[1-9]\d*", value):
            return json.loads(value)
        case _:
            return value


def places(key: str, shape: object = SCHEMA) -> list[Any]:
    """What the schema says of this key, wherever it can stand."""
    if isinstance(shape, list):
        return [found for item in shape for found in places(key, item)]
    if not isinstance(shape, dict):
        return []
    here = shape.get("properties", {}).get(key)
    return ([here] if here else []) + [found for item in shape.values() for found in places(key, item)]


def takes(shape: object, value: object) -> bool:
    return bool(jsonschema.Draft202012Validator({"$defs": SCHEMA["$defs"], "allOf": [shape]}).is_valid(value))


def test_a_fragment_that_is_not_of_the_language_is_seen() -> None:
    assert list(fragment("listens: 80")) == []
    ((key, value),) = fragment("health: {tpc: true}")
    assert not any(takes(shape, value) for shape in places(key))


@pytest.mark.parametrize("block", [block for block in PROSE if block.text.startswith("nanod ")], ids=lambda block: f"{block.place}-{block.text}")
def test_a_command_within_a_text_has_a_verb_and_options_that_there_are(block: Block) -> None:
    assert misspelt(block.text) == ""


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links {target}"


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_heading_finds_it(page: Path) -> None:
    for target, anchor in ANCHOR.findall(page.read_text()):
        assert anchor in anchors((page.parent / target) if target else page), f"{page.name} links {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """As the usual viewers of Markdown make them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_is_there(page: Path) -> None:
    named = set(FILE.findall(page.read_text()))
    assert {name for name in named if not any((base / name).exists() for base in (ROOT, page.parent))} == set()


def test_the_readme_has_what_the_page_of_a_project_needs() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") < 160
    for command in ("tools/demo", "tools/test"):
        assert command in text
        assert (ROOT / command).stat().st_mode & 0o111, f"{command} can be run"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_is_reached_from_the_readme(page: Path) -> None:
    known = {ROOT / "README.md"}
    while more := {(at.parent / target).resolve() for at in known if at.suffix == ".md" for target in LINK.findall(at.read_text())} - known:
        known |= more
    assert page in known
