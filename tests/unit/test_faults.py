"""Fault points are inert unless they are asked for, and break exactly where they are told to."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nanod.faults import Point

CODE = """
from nanod.faults import Point, reach
for _ in range(3):
    reach(Point.WRITTEN)
    reach(Point.RENAMED)
print("through")
"""


def reached(fault: str) -> subprocess.CompletedProcess[str]:
    environment = {"NANOD_FAULT": fault} if fault else {}
    return subprocess.run(
        [sys.executable, "-c", CODE], check=False, env={"PYTHONPATH": str(Path(__file__).parents[2])} | environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("fault", ["", "committed:kill", "renamed@4:kill", "written@9:EIO"])
def test_nothing_breaks_elsewhere(fault: str) -> None:
    assert (reached(fault).stdout, reached(fault).stderr) == ("through\n", "")


@pytest.mark.row("FAULTS-16")
def test_the_list_has_each_point_with_its_number() -> None:
    assert reached("list").stderr.splitlines() == [f"fault point {point}@{number}" for number in (1, 2, 3) for point in ("written", "renamed")]


@pytest.mark.row("FAULTS-16", "FAULTS-17")
def test_a_point_kills_interrupts_or_fails_as_the_kernel_would() -> None:
    assert reached("renamed:kill").returncode == -signal.SIGKILL
    assert "KeyboardInterrupt" in reached("renamed@2:interrupt").stderr
    assert "OSError: [Errno 28] No space left on device" in reached("written@3:ENOSPC").stderr


def test_every_point_is_reached_somewhere() -> None:
    source = "".join(path.read_text() for path in (Path(__file__).parents[2] / "nanod").rglob("*.py"))
    assert set(re.findall(r"(?:_reach|\breach)\(Point\.([A-Z]+)\)", source)) == {point.name for point in Point}
