"""What the commands of README.md and docs/*.md print is what stands there. `tools/pages` puts it there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.shown import clear, pages_with_commands, play, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nanod.rehearse.machine import Machine


@pytest.fixture(scope="module")
def installed(machine: Machine) -> Machine:
    prepare(machine)
    return machine


@pytest.fixture
def cleared(installed: Machine) -> Iterator[Machine]:
    yield installed
    clear(installed)


@pytest.mark.parametrize("page", pages_with_commands(), ids=lambda page: page.name)
def test_a_page_shows_what_its_commands_print(cleared: Machine, page: Path) -> None:
    played = play(cleared, page)
    assert played.differences() == "", "after a look at it: tools/pages"
    for picture, text in played.images.items():
        assert picture.read_text() == text, f"{picture.name}: tools/pages draws it anew"
