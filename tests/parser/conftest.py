"""The parsers that unit files are tried on: this machine's, and the one of the Debian 13 tree where the laboratory has built it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from nanod.rehearse import tree
from nanod.units import quoting, unitfile
from tests.parser.oracle import Parser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _tree() -> Path | None:
    built = tree.CACHE / "trixie"
    return built if built.is_dir() else None


@pytest.fixture(scope="session", params=["own", "trixie"])
def parser(request: pytest.FixtureRequest) -> Parser:
    if request.param == "own":
        program = shutil.which("systemd-analyze")
        assert program, "install systemd: its parser is what unit files are tried on"
        return Parser(argv=(program,))
    built = _tree()
    if built is None:
        pytest.skip("the laboratory has not built its Debian 13 tree yet")
    return Parser.of_tree(built)


@pytest.fixture
def nothing_remembered() -> Iterator[None]:
    """What was written before a rule was broken, or while it was."""
    remembering = [function for module in (quoting, unitfile) for function in vars(module).values() if hasattr(function, "cache_clear")]
    for function in remembering:
        function.cache_clear()
    yield
    for function in remembering:
        function.cache_clear()
