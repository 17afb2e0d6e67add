"""The benchmarks that need a machine of their own run there; how fast anything is, no test asks."""

from __future__ import annotations

import json

import pytest

from bench.__main__ import main


@pytest.mark.parametrize("figure", ["P4", "P5", "P6", "answer", "hook"])
def test_each_figure_runs(figure: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rounds", "1", "--applied", "3", "--json", figure]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]
