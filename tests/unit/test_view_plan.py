"""Plans as people read them: whole cases, from a spec (and the one that was applied before) to the text.

UPDATE_GOLDEN=1 writes the texts anew; read the difference before you commit it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nanod.compile import Target, compile_spec
from nanod.plan import plan
from nanod.spec.load import load
from nanod.state import UnitState
from nanod.steps import CauseKind, Plan
from nanod.view.plan import plan_data, plan_text
from nanod.view.tty import PLAIN, Style
from tests.fakes import EMPTY_HOST, snapshot_of

if TYPE_CHECKING:
    from nanod.units.unitset import UnitSet

CASES = sorted(path.parent for path in Path(__file__).parent.parent.glob("plans/*/spec.yaml"))


def compiled(file: Path) -> UnitSet:
    loaded = load("/srv/shop.yaml", file.read_text())
    assert loaded.spec is not None, loaded.report.text()
    units, report = compile_spec(loaded.spec, Target())
    assert units is not None, report.text()
    return units


def planned(case: Path) -> Plan:
    host: dict[str, Any] = json.loads((case / "host.json").read_text()) if (case / "host.json").exists() else {}
    wanted = compiled(case / "spec.yaml")
    before = case / "before.yaml"
    if not before.exists():
        return plan(wanted, None, replace(EMPTY_HOST, missing_directories=frozenset(host.get("missing", ()))))
    old = compiled(before)
    manifest = plan(old, None, EMPTY_HOST).manifest
    assert manifest is not None
    states = {name: UnitState(name=name, load="loaded", active=active) for name, active in host.get("states", {}).items()}
    there = snapshot_of(old, manifest, states=states)
    files = {name: text for name, text in there.files.items() if name not in host.get("deleted", ())}
    files |= {name: files[name].replace(*words) for name, words in host.get("edited", {}).items()}
    facts = {key: host[key] for key in ("digests", "drop_ins") if key in host}
    return plan(wanted, manifest, replace(there, files=files, masked=frozenset(host.get("masked", ())), **facts))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.row("BX-1")
def test_a_plan_reads_as_written_down(case: Path) -> None:
    golden = case / "plan.txt"
    text = plan_text(planned(case), PLAIN, diffs=case.name == "changed") + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_data_says_the_same_with_places_costs_and_diffs() -> None:
    data = plan_data(planned(CASES[0].parent / "changed"))
    assert json.loads(json.dumps(data)) == data
    steps = data["steps"]
    assert isinstance(steps, list)
    (write,) = [item for item in steps if item["action"] == "write" and item["unit"] == "shop-api.service"]
    assert write["causes"] == [
        {
            "kind": "changed",
            "text": "MemoryMax= changed",
            "subject": "MemoryMax",
            "cost": "daemon-reload",
            "file": "/srv/shop.yaml",
            "line": 10,
            "column": 87,
        }
    ]
    assert "+MemoryMax=512M" in write["diff"]
    assert {cause["kind"] for item in steps for cause in item["causes"]} <= {str(kind) for kind in CauseKind}


def test_colours_are_the_terminals_and_never_the_specs() -> None:
    found = planned(CASES[0].parent / "gone")
    assert "\x1b[" in plan_text(found, Style(colour=True))
    assert "\x1b[" not in plan_text(found, PLAIN, diffs=True)
