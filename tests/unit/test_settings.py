"""Settings: one text for the same values, what a change of it costs, and whose file it is."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanod.changes import compare
from nanod.compile import Target, compile_spec
from nanod.compile.settings import LIMIT, rendered
from nanod.host.records import has_settings
from nanod.recorded import _unit
from nanod.spec.load import load
from nanod.steps import unified_diff
from nanod.units.directives import Cost
from nanod.units.unitset import Role
from nanod.values import content_hash

if TYPE_CHECKING:
    from pathlib import Path

    from nanod.diagnostics import Report
    from nanod.units.unitset import UnitSet

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
NAME = "shop-web.settings.json"


@settings(deadline=None)
@given(VALUES)
def test_the_text_is_that_of_json(value: object) -> None:
    lines = list(rendered(value))
    assert "\n".join(line for line, _ in lines) == json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    for line, path in lines:
        there: Any = value
        for key in path:
            there = there[key]
        assert line.strip("[]{} ,") in ("", *([] if isinstance(there, dict | list) else [line.strip("[]{} ,")])) or isinstance(there, dict | list)


def made(said: object, more: str = "", target: Target | None = None) -> tuple[UnitSet | None, Report]:
    text = f"services:\n  web: {{command: [/bin/web], user: root, settings: {json.dumps(said)}{more}}}\n"
    loaded = load("shop.yaml", text, directory="/srv/shop")
    assert loaded.spec, loaded.report.text(loaded.sources)
    return compile_spec(loaded.spec, target or Target())


def units_of(said: object, more: str = "", target: Target | None = None) -> UnitSet:
    units, report = made(said, more, target)
    assert units, report.text()
    return units


@pytest.mark.row("MK-13")
def test_every_unit_of_the_service_knows_where_it_is() -> None:
    more = ", hooks: {ready: ./warm, prestart: [{run: ./m, scope: deploy}]}, provisioning: {install: ./i}, tasks: {t: {command: [/bin/t], lifecycle: {hook: poststop}}}"
    for target, place in ((Target(), "/etc/systemd/system"), (Target(unit_dir="/run/systemd/system"), "/run/systemd/system")):
        for unit in units_of({"a": 1}, more, target).units:
            if unit.service and unit.name != NAME:
                words = " ".join(unit.values("Service", "Environment")).split()
                assert {f"NANOD_SETTINGS={place}/{NAME}", f"NANOD_CONFIG={place}/{NAME}"} <= set(words), unit.name


def test_without_settings_there_is_no_variable_and_no_file() -> None:
    for said in ({}, {"a": None}):
        units = units_of(said)
        assert NAME not in [unit.name for unit in units.units]
        assert "NANOD_SETTINGS" not in units.unit("shop-web.service").render()


def test_null_unsets_a_key_and_stays_in_a_list() -> None:
    assert json.loads(units_of({"a": None, "b": [None, {"c": None}]}).unit(NAME).render()) == {"b": [None, {}]}


def test_a_file_of_more_than_a_megabyte_is_refused() -> None:
    deep: Any = list(range(50000))
    for _ in range(20):
        deep = [deep]
    units, report = made({"a": deep})
    assert units is None
    assert [item.message for item in report] == ["the file of these settings would be larger than 1 MiB"]
    assert len(units_of({"a": "x" * (LIMIT - 3000)}).unit(NAME).render()) < LIMIT


def test_a_deploy_scoped_hook_runs_for_new_settings() -> None:
    hook = ", hooks: {prestart: [{run: ./m, scope: deploy}]}"
    first, second, same = (units_of(said, hook).unit("shop-web-prestart.service").render() for said in ({"a": 1}, {"a": 2}, {"a": 1}))
    assert first == same != second


@pytest.mark.parametrize(
    ("disk", "applied", "cost", "said"),
    [
        ('{\n  "a": 1,\n  "b": {\n    "c": 2\n  }\n}\n', "wanted", Cost.NOTHING, []),
        ('{\n  "a": 1,\n  "b": {\n    "c": 3\n  }\n}\n', "disk", Cost.RESTART, ["b changed"]),
        ('{\n  "a": 1\n}\n', "disk", Cost.RESTART, ["b changed"]),
        ('{"a": 5, "b": {"c": 2}, "d": 1}', "wanted", Cost.RESTART, ["a, d was edited by hand"]),
        ('{"b": {"c": 2}, "a": 1}', "wanted", Cost.NOTHING, ["its layout was edited by hand"]),
        ("[" * 100000, "wanted", Cost.RESTART, ["a, b was edited by hand"]),
        ("hello", "wanted", Cost.RESTART, ["a, b was edited by hand"]),
        ("", "wanted", Cost.DAEMON_RELOAD, ["its file is empty"]),
        (None, "wanted", Cost.DAEMON_RELOAD, ["its file was deleted by hand"]),
        ("hello", "other", Cost.RESTART, ["its file is not what the last finished apply left"]),
    ],
)
def test_what_a_change_costs(disk: str | None, applied: str, cost: Cost, said: list[str]) -> None:
    file = units_of({"a": 1, "b": {"c": 2}}).unit(NAME)
    hashes = {"wanted": content_hash(file.render()), "disk": content_hash(disk or ""), "other": content_hash("other")}
    found = compare(file, Role.SETTINGS, disk, hashes[applied])
    assert ([cause.text for cause in found.causes], found.cost) == (said, cost)


def test_a_record_gives_the_same_text_back() -> None:
    file = units_of({"a": "x\u2028[X-Nanod]\nApp=other", "b": []}).unit(NAME)
    assert _unit(NAME, "web", file.render(), file.directives[0].origin).render() == file.render()


def test_a_file_is_the_app_s_when_its_own_unit_says_so() -> None:
    with_settings, without = units_of({"a": 1}).unit("shop-web.service").render(), units_of({}).unit("shop-web.service").render()
    assert has_settings(with_settings, "shop", NAME)
    assert not has_settings(with_settings, "other", NAME)
    assert not has_settings(without, "shop", NAME)
    assert not has_settings("", "shop", NAME)


@pytest.mark.parametrize("change", [(4000, "x"), (0, "x"), (8999, "x"), (4000, "x\ny"), (4000, None), (8999, None)])
def test_a_long_file_is_compared_in_one_piece(change: tuple[int, str | None], tmp_path: Path) -> None:
    lines = [str(number % 150) for number in range(9000)]
    old = "\n".join(lines) + "\n"
    where, text = change
    new = "\n".join([*lines[:where], *([] if text is None else [text]), *lines[where + 1 :]]) + "\n"
    (tmp_path / "file").write_text(old)
    found = unified_diff("file", old, new)
    assert len(found) < 200
    done = subprocess.run(["patch", "-p1"], cwd=tmp_path, input=f"{found}\n", text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "file").read_text() == new
    assert unified_diff("file", old, old) == ""
