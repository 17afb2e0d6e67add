"""Packages that bring plug-ins: found without being imported, and named in one sentence when they are broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nanod.cli import entrypoints, plugins
from nanod.cli.app import main
from nanod.errors import NanodError
from nanod.policies import BUILT_IN
from tests.plugin import EXAMPLE, describe, install_example

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLICY = "nanod.policies"
FEATURE = "nanod.features"
SPEC = "services:\n  web:\n    command: [/bin/true]\n    user: root\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of the import path, which the packages of this test lie in."""
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    plugins.load.cache_clear()
    yield place
    plugins.load.cache_clear()
    for name in [name for name in sys.modules if name.startswith(("acme", "nanod_example"))]:
        del sys.modules[name]


def spec_file(tmp_path: Path, more: str = "") -> str:
    file = tmp_path / "shop.yaml"
    file.write_text(SPEC + more)
    return str(file)


def test_without_packages_there_is_what_nanod_has() -> None:
    assert plugins.load().policies == BUILT_IN
    assert plugins.load().features == ()


def test_the_example_is_found_by_its_own_entry_points(site: Path) -> None:
    install_example(site)
    found = plugins.load()
    assert [policy.name for policy in found.policies[len(BUILT_IN) :]] == ["described"]
    assert [feature.name for feature in found.features] == ["cache"]
    assert found.called("policy", "described") == "the policy 'described' of nanod-example 1.0"


def test_the_example_is_a_package_that_pip_makes(site: Path, tmp_path: Path) -> None:
    """Its wheel, as `pip install .` makes it, brings both plug-ins."""
    source = tmp_path / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(source),
    ]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, site, "zip")
    found = plugins.load()
    assert [policy.name for policy in found.policies[len(BUILT_IN) :]] == ["described"]
    assert [feature.name for feature in found.features] == ["cache"]
    assert found.called("feature", "cache") == "the feature 'cache' of nanod-example 1.0"


def test_the_example_has_tests_of_its_own_that_pass(tmp_path: Path) -> None:
    install_example(tmp_path)
    path = os.pathsep.join([str(tmp_path), str(EXAMPLE.parents[1])])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(EXAMPLE / "tests")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.row("MK-4", "MK-14")
def test_a_command_uses_them(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install_example(site)
    path = spec_file(tmp_path, "    features: {cache: {megabytes: lots}}\n")
    assert main(["check", "--json", path]) == 2
    said = json.loads(capsys.readouterr().out)["diagnostics"]
    assert [item["message"] for item in said] == ["'megabytes' must be a number from 1 to 1024, not 'lots'"]
    path = spec_file(tmp_path, "    runtime_dir: true\n    features: {cache: {megabytes: 1}}\n")
    assert main(["check", path]) == 0
    assert "'web' has no description [described]" in capsys.readouterr().err
    assert main(["compile", "--json", path]) == 0
    assert "shop-web-cache.service" in json.loads(capsys.readouterr().out)["units"]
    assert main(["explain", "--json", path, "web"]) == 0


def test_the_schema_has_the_blocks_of_installed_features(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install_example(site)
    assert main(["schema"]) == 0
    service = json.loads(capsys.readouterr().out)["$defs"]["service"]
    assert list(service["properties"]["features"]["properties"]["cache"]["properties"]) == ["megabytes", "program"]


BROKEN = {
    "import": ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "missing": ("", "AttributeError: module 'acme' has no attribute 'Naming'"),
    "syntax": ("def (", "SyntaxError"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "needs": ("import acme_licence", "ModuleNotFoundError: No module named 'acme_licence'"),
    "constructor": ("class Naming:\n    def __init__(self, x): pass", "TypeError"),
    "name": (
        "class Naming:\n    name = 'other'\n    def check(self, subject): return ()",
        "its entry point says 'naming', and it calls itself 'other'",
    ),
    "check": ("class Naming:\n    name = 'naming'", "AttributeError"),
    "raises": ("class Naming:\n    name = 'naming'\n    def check(self, subject):\n        return 1 / 0", "ZeroDivisionError: division by zero"),
    "late": ("class Naming:\n    name = 'naming'\n    def check(self, subject):\n        yield 1 / 0", "ZeroDivisionError"),
    "none": ("class Naming:\n    name = 'naming'\n    def check(self, subject): return None", "TypeError"),
    "words": (
        "class Naming:\n    name = 'naming'\n    def check(self, subject): return ['bad name']",
        "what warn() and refuse() make, not 'bad name'",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_policy_is_one_error_that_names_it(kind: str, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = BROKEN[kind]
    (site / "acme.py").write_text(code)
    describe(site, "nanod-acme", {POLICY: {"naming": "acme:Naming"}}, "1.2")
    assert main(["check", spec_file(tmp_path)]) == 1
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("nanod: cannot use the policy 'naming' of nanod-acme 1.2: ")
    assert said in first
    assert [line[:17] for line in rest] == ([] if kind == "syntax" else ["hint: raised at /"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("name = 'cache'", "AttributeError"),
        ("name = 'cache'; schema = 1\n    def add(self, block): pass", "its schema must be a mapping"),
        ("name = 'cache'; schema = {'type': 'nothing'}\n    def add(self, block): pass", "UnknownType"),
        ("name = 'cache'; schema = {}\n    def add(self, block): raise KeyError('size')", "KeyError: 'size'"),
        ("name = 'cache'; schema = {}\n    def add(self, block): return {}", "add() must return an Addition, not {}"),
    ],
)
def test_so_is_a_broken_feature(body: str, said: str, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "acme.py").write_text(f"class Cache:\n    {body}\n")
    describe(site, "nanod-acme", {FEATURE: {"cache": "acme:Cache"}})
    assert main(["check", spec_file(tmp_path, "    features: {cache: {a: b}}\n")]) == 1
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("nanod: cannot use the feature 'cache' of nanod-acme 1.0: ")
    assert said in first


def test_two_of_one_name_are_refused(site: Path) -> None:
    (site / "acme.py").write_text("class Root:\n    name = 'root'\n    def check(self, subject): return ()\n")
    describe(site, "nanod-acme", {POLICY: {"root": "acme:Root"}})
    with pytest.raises(NanodError, match=r"'root' of nanod-acme 1\.0: nanod itself has one of that name"):
        plugins.load()


def test_packages_that_say_nothing_of_nanod_are_not_looked_at(site: Path) -> None:
    describe(site, "other", {"console_scripts": {"nanod-like": "other:main"}})
    (site / "torn-1.dist-info").mkdir()
    (site / "torn-1.dist-info/entry_points.txt").write_bytes(b"\xff[nanod.policies]")
    (site / "empty-1.dist-info").mkdir()
    assert list(entrypoints.entry_points()) == []
    assert entrypoints.identity() == repr(([], []))


def test_the_identity_tells_one_set_of_plug_ins_from_another(site: Path) -> None:
    (site / "acme").mkdir()
    code = site / "acme/__init__.py"
    code.write_text("")
    seen = {entrypoints.identity()}
    place = describe(site, "nanod-acme", {POLICY: {"naming": "acme:Naming"}})
    seen.add(entrypoints.identity())
    os.utime(code, ns=(1, 1))
    seen.add(entrypoints.identity())
    place.rename(site / "nanod_acme-1.1.dist-info")
    seen.add(entrypoints.identity())
    describe(site, "nanod-gone", {POLICY: {"gone": "gone:Gone"}})
    seen.add(entrypoints.identity())
    assert len(seen) == 5
    assert entrypoints.identity() in seen
    assert "acme" not in sys.modules


def test_of_one_package_the_first_on_the_path_counts(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    describe(site, "nanod-acme", {POLICY: {"naming": "acme:Naming"}}, "1.0")
    describe(tmp_path / "first", "nanod-acme", {POLICY: {"naming": "acme:Naming"}}, "2.0")
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    assert [entry.origin for entry in entrypoints.entry_points()] == ["nanod-acme 2.0"]
