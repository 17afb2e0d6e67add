"""The schema itself, and the acceptor that stands in for jsonschema where nothing is wrong."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanod.diagnostics import Report
from nanod.phases import HOOK_PHASES
from nanod.spec import accept, source
from nanod.spec.defaults import DEFAULTS
from nanod.spec.schema import SCHEMA
from nanod.spec.tree import Findings, Map, Place, Seq, Text
from nanod.spec.words import explain

if TYPE_CHECKING:
    from collections.abc import Iterator

CORPUS = Path(__file__).parents[1] / "corpus"
ACCEPTS = accept.compiled(SCHEMA)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def shapes(shape: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside the schema, with a name."""
    if isinstance(shape, dict):
        yield path, shape
        for key in ("items", "additionalProperties", "propertyNames"):
            yield from shapes(shape.get(key), f"{path}.{key}")
        for key in ("properties", "patternProperties", "$defs"):
            for name, inner in shape.get(key, {}).items():
                yield from shapes(inner, f"{path}.{name}")
        for position, inner in enumerate(shape.get("anyOf", [])):
            yield from shapes(inner, f"{path}[{position}]")


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_shape_can_complete_a_message() -> None:
    assert [path for path, shape in shapes(SCHEMA) if path and not {"title", "$ref"} & set(shape) and shape != {"type": "null"}] == []


def test_every_key_is_described() -> None:
    keys = [(f"{path}.{key}", shape) for path, outer in shapes(SCHEMA) for key, shape in outer.get("properties", {}).items()]
    assert [path for path, shape in keys if not shape.get("description")] == []


def test_every_phase_is_a_hook() -> None:
    assert tuple(SCHEMA["$defs"]["service"]["properties"]["hooks"]["properties"]) == HOOK_PHASES


def test_every_default_is_shown() -> None:
    shown = {(path.split(".")[-1], str(shape["default"])) for path, shape in shapes(SCHEMA) if "default" in shape}
    assert {(name.split(".")[-1], str(value)) for name, value in DEFAULTS.items()} <= shown


def test_patterns_hold_the_whole_text() -> None:
    """Python's `$` matches before a last line feed: a pattern that forgets it lets one into a unit file."""
    for path, shape in shapes(SCHEMA):
        pattern = shape.get("pattern")
        if pattern and path and re.search(pattern, "a\n") and not re.search(pattern, "a\nb\n"):
            pytest.fail(f"{path} lets a line feed through")


@pytest.mark.parametrize("path", sorted(CORPUS.glob("**/*.yaml")), ids=lambda path: path.stem)
def test_the_acceptor_agrees_over_the_corpus(path: Path) -> None:
    root = source.read(path.name, path.read_bytes(), Report()).root
    assert ACCEPTS(root) == VALIDATOR.is_valid(root)


SEEDS = [source.read(path.name, path.read_bytes(), Report()).root for path in sorted(CORPUS.glob("[ol]*/**/*.yaml"))]
JUNK = st.sampled_from(
    [None, True, False, 0, 1, -1, 10**12, "", "x", "no", "30s", "a\n", "a\0", "\u2028", [], {}, [None], ["x"], {"run": "x"}, {"x": None}]
)
KEYS = st.sampled_from(["x", "x-y", "run", "http", "tcp", "timeout", "hooks", "services", "command", "web", "", "A B", "a\n"])


def mutated(tree: Any, draw: Any) -> Any:
    """The tree with one value or key changed somewhere."""
    if isinstance(tree, (dict, list)) and tree and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(tree))) if isinstance(tree, dict) else draw(st.integers(0, len(tree) - 1))
        tree[key] = mutated(tree[key], draw)
    elif isinstance(tree, dict) and draw(st.booleans()):
        tree[draw(KEYS)] = deepcopy(draw(JUNK))
    else:
        return deepcopy(draw(JUNK))
    return tree


@settings(deadline=None)
@given(st.data())
def test_the_acceptor_agrees_with_jsonschema(data: st.DataObject) -> None:
    tree = plain(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(0, 3))):
        tree = mutated(tree, data.draw)
    assert ACCEPTS(tree) == VALIDATOR.is_valid(tree)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def placed(value: Any) -> Any:
    """Plain values as the reader makes them, without places."""
    if isinstance(value, dict):
        made = Map()
        for key, item in value.items():
            made[key] = placed(item)
        return made
    if isinstance(value, list):
        items = Seq()
        items.extend(map(placed, value))
        return items
    return value


@settings(deadline=None)
@given(st.data())
def test_what_is_left_after_cutting_is_accepted(data: st.DataObject) -> None:
    tree = plain(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 4))):
        tree = mutated(tree, data.draw)
    root = placed(tree)
    if ACCEPTS(root):
        return
    report = Report()
    if explain(Place(Text("a", ""), root), SCHEMA, Findings(report)):
        assert ACCEPTS(root)
    assert report.has_errors


def test_an_unknown_keyword_is_our_bug() -> None:
    with pytest.raises(KeyError, match="uniqueItems"):
        accept.compiled({"type": "array", "uniqueItems": True})


def test_one_in_a_definition_is_when_a_value_comes_to_it() -> None:
    accepts = accept.compiled({"items": {"$ref": "#/$defs/set"}, "$defs": {"set": {"type": "array", "uniqueItems": True}}})
    assert accepts([])
    with pytest.raises(KeyError, match="uniqueItems"):
        accepts([[1]])


@pytest.mark.parametrize("name", SCHEMA["$defs"])
def test_no_definition_has_a_keyword_that_the_acceptor_does_not_know(name: str) -> None:
    """They are compiled when they are used, and no spec uses all."""
    accept.compiled({**SCHEMA["$defs"][name], "$defs": SCHEMA["$defs"]})
