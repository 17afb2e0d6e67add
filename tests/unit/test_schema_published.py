"""The schema as it is installed, and as editors use it: YAML 1.2's core schema, then jsonschema. It accepts what nanod accepts, and refuses what nanod's does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from nanod.cli import init
from nanod.cli.app import main
from nanod.diagnostics import Report
from nanod.spec import accept, source
from nanod.spec.schema import SCHEMA
from tools.man import files

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TEXT = files.made()["nanod/nanod.schema.json"]
PUBLISHED = jsonschema.Draft202012Validator(json.loads(TEXT))
ACCEPTS = accept.compiled(SCHEMA)
SPECS = [path for place in ("tests/corpus", "examples") for path in sorted((ROOT / place).glob("**/*.yaml"))]


class Core(yaml.SafeLoader):
    """YAML 1.2, 10.3.2; keys are text, as JSON has them."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (PyYAML's own, of YAML 1.1, would be changed otherwise)


def _integer(loader: Core, node: yaml.ScalarNode) -> int:
    del loader
    return int(node.value, 0) if re.match("0[ox]", node.value) else int(node.value)


def _mapping(loader: Core, node: yaml.MappingNode) -> Iterator[dict[str, Any]]:
    made: dict[str, Any] = {}
    yield made
    made.update({key.value: loader.construct_object(value, deep=True) for key, value in node.value})


for name, pattern, begins in (
    ("null", "~|null|Null|NULL|", "~nN"),
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.0123456789"),
):
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"^(?:{pattern})$"), ["", *begins] if name == "null" else [*begins])
Core.add_constructor("tag:yaml.org,2002:int", _integer)
Core.add_constructor("tag:yaml.org,2002:map", _mapping)

# What nanod reads otherwise than others, and refuses as text, or as a file: no schema sees it.
OTHERWISE = {"type-number-with-leading-zero", "yaml-lone-carriage-return", "yaml-stray-byte-order-mark", "yaml-merge-key"}
UNREADABLE = object()


def _read(path: Path) -> Any:
    """As an editor does; UNREADABLE for what is no YAML, or none of one document."""
    try:
        return yaml.load(path.read_bytes(), Core)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError):
        return UNREADABLE


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.parent.name + "/" + path.stem)
def test_an_editor_accepts_and_refuses_what_nanod_does(path: Path) -> None:
    report = Report()
    accepted = ACCEPTS(source.read(path.name, path.read_bytes(), report).root)
    read = _read(path)
    if read is UNREADABLE:
        assert report.has_errors, "nanod cannot read it either"
    elif path.stem not in OTHERWISE:
        assert PUBLISHED.is_valid(read) == accepted
    else:
        assert PUBLISHED.is_valid(read) != accepted, "it is an exception"


def test_both_kinds_are_among_them() -> None:
    found = [PUBLISHED.is_valid(read) for path in SPECS if (read := _read(path)) is not UNREADABLE]
    assert found.count(True) > 100
    assert found.count(False) > 30


@pytest.mark.parametrize("value", ["0.5", "1e3", "08", "yes", "true", "12", '"x"'])
def test_values_that_nanod_reads_as_text_are_no_errors_in_an_editor(value: str) -> None:
    text = f"services: {{web: {{command: [sleep, {value}], environment: {{A: {value}}}, systemd: {{Service: {{Nice: {value}}}}}}}}}\n"
    assert ACCEPTS(source.read("x.yaml", text.encode(), Report()).root)
    assert PUBLISHED.is_valid(yaml.load(text, Core))


def test_it_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(TEXT)


def test_init_tells_editors_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = tmp_path / "share" / "nanod.schema.json"
    monkeypatch.setattr(init, "_SCHEMA", schema)
    places = tmp_path / "without", tmp_path / "with"
    for place in places:
        place.mkdir()
    assert main(["init", str(places[0])]) == 0
    assert "yaml-language-server" not in (places[0] / "nanod.yaml").read_text()
    schema.parent.mkdir()
    schema.write_text(TEXT)
    assert main(["init", str(places[1])]) == 0
    text = (places[1] / "nanod.yaml").read_text()
    assert text.startswith(f"# yaml-language-server: $schema={schema}\n")
    assert jsonschema.Draft202012Validator(json.loads(schema.read_text())).is_valid(yaml.load(text, Core))
