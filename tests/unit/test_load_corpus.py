"""Specs that are wrong, each with what is expected of it in its first lines; and specs that are right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.compile import Target, compile_spec
from nanod.spec.load import Loaded, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.diagnostics import Report

CORPUS = Path(__file__).parents[1] / "corpus"
BAD = sorted((CORPUS / "bad").glob("*.yaml"))
OK = [*sorted((CORPUS / "ok").glob("*/spec.yaml")), *sorted((CORPUS / "later").glob("*.yaml"))]
EXPECT = re.compile(r'## expect (\d+):(\d+) (error|warning) "(.*)"')


def loaded(path: Path) -> Loaded:
    """`## env X` and `## stdin` in the first lines say how it is loaded."""
    text = path.read_bytes().decode()
    head = [line for line in text.split("\n") if line.startswith("## ")]
    env = next((line.removeprefix("## env ") for line in head if line.startswith("## env ")), None)
    from_stdin = "## stdin" in head
    directory = None if from_stdin else "/etc/nanod"
    return load("<stdin>" if from_stdin else path.name, text, env=env, directory=directory)


def findings(path: Path) -> Report:
    """`## compiled`: what is wrong shows when it is compiled."""
    found = loaded(path)
    if b"## compiled\n" not in path.read_bytes():
        return found.report
    assert found.spec is not None
    return compile_spec(found.spec, Target())[1]


def expected(path: Path) -> Iterator[tuple[int, int, str, str]]:
    for line in path.read_bytes().decode().split("\n"):
        if match := EXPECT.fullmatch(line):
            yield int(match[1]), int(match[2]), match[3], match[4]


@pytest.mark.row("BX-12")
@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_every_finding_is_made_at_its_place_and_no_other(path: Path) -> None:
    found = [(item.mark.line, item.mark.column, item.severity.name.lower(), item.message) for item in findings(path)]
    wanted = list(expected(path))
    assert wanted, "a bad spec says what is expected"
    assert [row[:3] for row in found] == [row[:3] for row in wanted]
    for (*_, message), (*_, part) in zip(found, wanted, strict=True):
        assert part in message


@pytest.mark.parametrize("path", [path for path in BAD if b"## compiled\n" not in path.read_bytes()], ids=lambda path: path.stem)
def test_a_spec_with_errors_has_no_model_and_one_with_warnings_has(path: Path) -> None:
    result = loaded(path)
    assert (result.spec is None) == any(severity == "error" for _, _, severity, _ in expected(path))


def test_there_are_enough_bad_specs() -> None:
    assert len(BAD) >= 120


@pytest.mark.parametrize("path", OK, ids=lambda path: path.parent.name if path.stem == "spec" else path.stem)
def test_good_specs_load_without_a_finding(path: Path) -> None:
    result = loaded(path)
    assert [str(item.mark) + ": " + item.message for item in result.report] == []
    assert result.spec is not None
