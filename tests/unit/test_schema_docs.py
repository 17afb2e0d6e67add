"""docs/language.md against the schema, in both directions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nanod.spec.schema import SCHEMA
from tools.man.language import ROW, SECTIONS, SERVICE, SHARED, TASK, keys_of

PAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text()


def section(title: str) -> str:
    """The text under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found[1]


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_has_the_keys_of_the_schema_and_no_other(title: str) -> None:
    documented = [match[1] for match in ROW.finditer(section(title))]
    assert sorted(documented) == sorted(SECTIONS[title])


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_has_the_defaults_of_the_schema(title: str) -> None:
    shown = {match[1]: match[2].strip() for match in ROW.finditer(section(title))}
    for key, shape in SECTIONS[title].items():
        if "default" in shape:
            default = str(shape["default"])
            assert shown[key].startswith(f"`{default.lower() if isinstance(shape['default'], bool) else default}`"), key


def test_every_mapping_of_the_schema_has_a_section() -> None:
    def walk(shape: Any) -> None:
        if isinstance(shape, dict):
            if shape.get("properties"):
                mappings.add(frozenset(shape["properties"]))
            for inner in shape.values():
                walk(inner)
        elif isinstance(shape, list):
            for inner in shape:
                walk(inner)

    mappings: set[frozenset[str]] = set()
    walk({key: value for key, value in SCHEMA.items() if key != "properties"})
    walk(SCHEMA["properties"])
    known = {frozenset(keys) for keys in SECTIONS.values()}
    known |= {frozenset(TASK), frozenset((set(TASK) - SHARED) | {"ports", "hooks"}), (frozenset(SERVICE) - {"runtime"}) | {"install"}}
    known.add(frozenset(keys_of(SERVICE["build"])) | {"run"})
    known.add(frozenset(keys_of(SCHEMA["properties"]["environments"])))
    assert mappings <= known


def test_what_a_task_shares_with_a_service_is_listed() -> None:
    listed = set(re.findall(r"`([a-z_]+)`", section("`tasks`").partition("Beside the keys below they take")[2].partition("| key")[0]))
    assert listed == set(TASK) - SHARED
