"""The shape of the code: who imports whom, who touches the world, how long things get (docs/HACKING.md). All by ast: nothing is imported."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "nanod").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

ROWS = (
    ("errors", "diagnostics", "values"),
    ("phases", "scope"),
    ("state",),
    ("spec",),
    ("units",),
    ("extend",),
    ("compile",),
    ("policies", "features"),
    ("steps", "across", "changes", "listening", "colours", "decide", "refusals", "plan", "remove", "recorded", "restore"),
    (
        "groups",
        "results",
        "verdict",
        "told",
        "drift",
        "status",
        "checked",
        "doctor",
        "timeline",
        "lifelines",
        "trace",
        "draft",
        "byhand",
        "logs",
        "ended",
    ),
    ("view",),
    ("faults",),
    ("host",),
    ("transaction",),
    ("waiting", "settle", "execute", "undo", "recover", "apply", "stopping", "running", "run", "job", "provisioning"),
    ("release", "deploy"),
    ("rehearse",),
    ("probe",),
    ("lifecycle",),
    ("daemon",),
    ("cli",),
    ("__main__",),
)
"""Imports go upwards in this list, or stay in a row."""
PURE = ROWS[: ROWS.index(("view",)) + 1]
TYPES_OF_LATER_ROWS = {("drift", "nanod.host"), ("status", "nanod.host"), ("view", "nanod.apply"), ("view", "nanod.deploy"), ("view", "nanod.undo")}
"""Names for the type checker alone: a Protocol that is asked, a result that is shown."""
DOOR_OF_THE_SPEC = "nanod.spec.load"
"""The one pure part that reads a file: `read_spec`."""
WORLD = frozenset(
    "asyncio ctypes datetime fcntl fileinput getpass glob grp http importlib io locale logging mmap multiprocessing os platform pwd random secrets select"
    " selectors shutil socket subprocess sys tempfile threading time urllib.request uuid".split()
)
"""Modules that know the clock, the environment, the disk, or other processes."""
PACKAGE_OF = {"click": "nanod.cli"}
"""Third-party packages that belong to a package of ours; any other belongs to one module."""
ALONE = ("nanod.probe", "nanod.lifecycle")
"""Run or imported where the rest of nanod is not."""
BANNED = frozenset("manager helper helpers util utils handler processor data info".split())
FILE_LIMIT = 400
FUNCTION_LIMIT = 60


@dataclass(frozen=True)
class Import:
    module: str
    name: str
    """`nanod.spec.load`, `os`, `pathlib.Path`: as deep as it is written."""
    for_types: bool
    line: int

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.name}"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def part_of(module: str) -> str:
    """`spec` of `nanod.spec.load`."""
    return module.split(".")[1] if "." in module else ""


def row_of(module: str) -> int:
    return next(index for index, row in enumerate(ROWS) if part_of(module) in row)


def imports_of(path: Path) -> Iterator[Import]:
    tree = tree_of(path)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are written from the top"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(module_of(path), name, id(node) in for_types, node.lineno)


IMPORTS = [found for path in SOURCES for found in imports_of(path)]
MODULES = {module_of(path) for path in SOURCES}


def own_module(name: str) -> str | None:
    """The module of ours that `name` is, or is a name of."""
    if name in MODULES:
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in MODULES else None


def is_pure(module: str) -> bool:
    return any(part_of(module) in row for row in PURE)


def test_every_part_has_a_row() -> None:
    assert {part_of(module) for module in MODULES} - {""} <= {part for row in ROWS for part in row}


def test_imports_go_upwards() -> None:
    wrong = []
    for found in IMPORTS:
        other = own_module(found.name)
        if other is None or part_of(found.module) == "" or part_of(other) == "":
            continue
        if row_of(other) > row_of(found.module) and not (found.for_types and (part_of(found.module), other) in TYPES_OF_LATER_ROWS):
            wrong.append(str(found))
    assert wrong == []


def test_no_module_imports_itself_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for found in IMPORTS:
        other = own_module(found.name)
        if other and other != found.module and not found.for_types:
            graph.setdefault(found.module, set()).add(other)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_a_third_party_package_has_one_module_that_imports_it() -> None:
    owners: dict[str, set[str]] = {}
    for found in IMPORTS:
        if found.top not in sys.stdlib_module_names and found.top != "nanod" and not found.for_types:
            package = PACKAGE_OF.get(found.top)
            owners.setdefault(found.top, set()).add(package if package and found.module.startswith(package) else found.module)
    assert {"yaml", "click", "pystemd", "jsonschema"} <= owners.keys()
    assert {name: modules for name, modules in owners.items() if len(modules) > 1} == {}


def test_what_decides_does_not_touch_the_world() -> None:
    def is_of_the_world(name: str) -> bool:
        if name.startswith("pathlib."):
            return not name.startswith("pathlib.Pure")
        return name in WORLD or name.rpartition(".")[0] in WORLD

    wrong = [
        str(found)
        for found in IMPORTS
        if is_pure(found.module) and found.module != DOOR_OF_THE_SPEC and not found.for_types and is_of_the_world(found.name)
    ]
    wrong += [
        f"{module_of(path)}:{node.lineno} calls {node.func.id}()"
        for path in SOURCES
        if is_pure(module_of(path)) and module_of(path) != DOOR_OF_THE_SPEC
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("open", "input", "print", "exec", "eval", "__import__")
    ]
    assert wrong == []


@pytest.mark.parametrize("alone", ALONE)
def test_what_runs_alone_imports_nothing_of_ours(alone: str) -> None:
    own = [found for found in IMPORTS if found.module == alone or found.module.startswith(f"{alone}.")]
    assert [str(found) for found in own if found.top == "nanod" and not found.name.startswith(alone)] == []
    assert [str(found) for found in own if found.top not in sys.stdlib_module_names | {"nanod", "sdnotify"}] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_can_be_read_in_one_sitting(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= FILE_LIMIT
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LIMIT, f"{node.name} is longer than {FUNCTION_LIMIT} lines"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_catches_everything(path: Path) -> None:
    """Our own bugs keep their traceback; BaseException may be caught to clean up, and is raised again."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            names = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else {"everything"}
            last = node.body[-1]
            raised_again = names == {"BaseException"} and isinstance(last, ast.Raise) and last.exc is None
            assert raised_again or names.isdisjoint({"everything", "Exception", "BaseException"}), f"line {node.lineno}"


def test_names_say_what_a_thing_is() -> None:
    modules = [module for module in MODULES if BANNED & set(module.split(".")[-1].split("_"))]
    classes = [
        f"{module_of(path)}.{node.name}"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef) and any(node.name.lower().endswith(word) for word in BANNED)
    ]
    assert modules + classes == []
