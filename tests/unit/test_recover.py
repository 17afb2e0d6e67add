"""Recovery after a death at any step, with a PID 1 that only remembers; and that these tests turn red for each thing that keeps it safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .crashing import SCENARIOS, Scenario, crash_everywhere

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.row("FAULTS-16", "BX-2")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda item: item.name)
def test_any_step_may_be_the_last(scenario: Scenario, tmp_path: Path) -> None:
    assert crash_everywhere(scenario, tmp_path) > 30
