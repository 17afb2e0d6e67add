"""Releases as they compile: the units around them word for word, what a release is named by, and what of a service moves into it.

UPDATE_GOLDEN=1 writes the units anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.compile import Target, compile_spec
from nanod.scope import SYSTEM
from nanod.spec.load import load
from nanod.units.unitfile import parse

if TYPE_CHECKING:
    from nanod.units.unitset import UnitSet

CASE = Path(__file__).parents[1] / "corpus/ok/releases"
TARGET = Target(sources={"web": "a" * 64, "worker": "b" * 64})
SPEC = """\
project: shop
services:
  web:
    kind: http
    ports: [8080]
    user: shop
    source: ./web
    command: [./server]
"""


def compiled(text: str, target: Target = TARGET) -> UnitSet:
    loaded = load("/srv/shop.yaml", text, directory="/srv")
    assert loaded.spec is not None, loaded.report.text(loaded.sources)
    units, report = compile_spec(loaded.spec, target)
    assert units is not None, report.text(loaded.sources)
    return units


def name(text: str, target: Target = TARGET) -> str:
    (found,) = compiled(text, target).releases
    assert found.path == f"{SYSTEM.releases}/shop/web/{found.name}"
    return found.name


def lines(units: UnitSet, unit: str, key: str) -> list[str]:
    (found,) = [item for item in units.units if item.name == unit]
    return [value for _, word, value in parse(found.render()) if word == key]


@pytest.mark.row("UP-1", "UP-4", "UP-7", "UP-8", "UP-10", "UP-13", "BX-17")
def test_the_units_read_as_written_down() -> None:
    units = compiled((CASE / "spec.yaml").read_text())
    builds = [(f"build of {item.service}", item.build) for item in units.releases if item.build]
    around = [(unit.name, unit) for unit in units.units if unit.name.startswith(("shop-web", "shop-worker"))]
    text = "\n".join(f"#### {title}\n{unit.render()}" for title, unit in [*builds, *around])
    golden = CASE / "units.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


class TestName:
    @pytest.mark.parametrize(
        "change",
        [
            "    group: www\n",
            "    build: {environment: {A: '1'}}\n",
            "    hooks: {build: make}\n",
            "    hooks: {build: {run: make, environment: {A: '1'}}}\n",
            "    hooks: {build: {run: make, user: root}}\n",
            "    hooks: {build: {run: make, shell: [/bin/bash, -c]}}\n",
        ],
    )
    @pytest.mark.row("UP-17")
    def test_is_by_what_it_is_made_of(self, change: str) -> None:
        assert name(SPEC) != name(SPEC + change)

    @pytest.mark.parametrize(
        "change",
        [
            "    environment: {A: '1'}\n",
            "    hooks: {deploy: ./migrate}\n",
            "    build: {keep: 7}\n",
            "    volumes: [/srv/data]\n",
            "    replicas: 2\n",
        ],
    )
    @pytest.mark.row("UP-17")
    def test_is_not_by_how_it_runs(self, change: str) -> None:
        assert name(SPEC) == name(SPEC + change)

    def test_is_by_user_and_files(self) -> None:
        assert name(SPEC) != name(SPEC.replace("user: shop", "user: www"))
        assert name(SPEC) != name(SPEC.replace("user: shop", "dynamic_user: true"))
        assert name(SPEC) != name(SPEC, Target(sources={"web": "c" * 64}))

    @pytest.mark.row("UP-22")
    def test_one_built_once_more_counts_as_the_same(self) -> None:
        first = name(SPEC)
        again = replace(TARGET, rebuilds=True)
        assert name(SPEC, again) == first
        there = {"web": ["0000", first]}
        assert name(SPEC, replace(again, releases=there)) == f"{first}.2"
        there = {"web": [f"{first}.4", first, f"{first}.2", "0000.9"]}
        assert name(SPEC, replace(again, releases=there)) == f"{first}.5"
        assert name(SPEC, replace(TARGET, releases=there)) == f"{first}.4", "the one in force comes first"


class TestMoved:
    def test_programs_and_directories_below_the_source_are_those_of_the_release(self) -> None:
        units = compiled(
            SPEC
            + "    hooks:\n      prestart: [{run: [./check, ./x]}, {run: [/srv/web2/check]}]\n      poststart: ./text\n"
            + "    tasks: {ship: {lifecycle: {hook: poststart}, command: [./ship]}, own: {lifecycle: {hook: poststop}, working_dir: /srv/x, command: [./own]}}\n"
        )
        (release,) = units.releases
        main = "shop-web.service"
        assert lines(units, main, "WorkingDirectory") == [release.path]
        assert lines(units, main, "ExecStart")[0].endswith(f" {release.path}/server")
        prestart = lines(units, main, "ExecStartPre")
        assert any(line.endswith(f" {release.path}/check ./x") for line in prestart), "arguments are the program's own"
        assert any(line.endswith(" /srv/web2/check") for line in prestart)
        assert lines(units, "shop-web-ship.service", "ExecStart")[0].endswith(f" {release.path}/ship")
        assert lines(units, "shop-web-ship.service", "WorkingDirectory") == [release.path]
        assert any("/srv/x/own" in unit.render() for unit in units.units if unit.name == "shop-web-own.service")
        assert release.source == "/srv/web"
        assert "/srv/web/" not in "".join(unit.render() for unit in units.units)

    def test_processes_too(self) -> None:
        processes = "    processes: {api: {command: [./api]}, worker: {command: ./worker}}\n"
        units = compiled(SPEC.replace("    command: [./server]\n", processes).replace("    ports: [8080]\n", ""))
        (release,) = units.releases
        for process in ("api", "worker"):
            assert lines(units, f"shop-web-{process}.service", "WorkingDirectory") == [release.path]
            assert lines(units, f"shop-web-{process}.service", "ReadOnlyPaths") == [release.path]
        assert lines(units, "shop-web-api.service", "ExecStart")[0].endswith(f" {release.path}/api")

    def test_another_working_directory_stays(self) -> None:
        units = compiled(SPEC + "    working_dir: /srv/elsewhere\n    hooks: {build: make}\n")
        assert lines(units, "shop-web.service", "WorkingDirectory") == ["/srv/elsewhere"]

    @pytest.mark.row("UP-11")
    def test_a_build_works_in_the_release_whatever_the_service_does(self) -> None:
        units = compiled(SPEC + "    working_dir: /srv/elsewhere\n    hooks: {build: make}\n")
        (release,) = units.releases
        assert release.build is not None
        assert release.build.values("Service", "WorkingDirectory") == [release.path]


def test_which_deployment_is_due_does_not_follow_limits() -> None:
    spec = SPEC + "    hooks: {deploy: ./migrate}\n"

    def content(text: str) -> list[str]:
        return lines(compiled(text), "shop-web-deploy.service", "Content")

    assert content(spec) == content(spec + "    resources: {memory_max: 1G}\n") == content(spec + "    description: other\n")
    assert content(spec) != content(spec + "    environment: {A: '1'}\n")
    assert content(spec) != content(spec.replace("./migrate", "./other"))


@pytest.mark.row("UP-12")
def test_environments_build_with_one_cache_and_run_with_their_own() -> None:
    found = {env: compiled(f"env: {env}\n{SPEC}    hooks: {{build: make}}\n") for env in ("stage", "test")}
    for env, units in found.items():
        build = units.releases[0].build
        assert build is not None
        assert build.values("Service", "CacheDirectory") == ["nanod/shop/web.build"]
        assert lines(units, f"shop-{env}-web.service", "CacheDirectory") == [f"nanod/shop-{env}/web"]


def test_without_a_hook_there_is_nothing_to_build() -> None:
    (release,) = compiled(SPEC).releases
    assert release.build is None
    assert (release.keep, release.inputs, release.user, release.group) == (5, ("**",), "shop", None)
