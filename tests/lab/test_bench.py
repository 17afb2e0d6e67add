"""The benchmarks that need a machine of their own run there; how fast anything is, no test asks."""

from __future__ import annotations

import json

import pytest

from bench import keeping
from bench.__main__ import main


@pytest.mark.parametrize("figure", ["P6", "hook", *(pytest.param(figure, marks=pytest.mark.thorough) for figure in ("P4", "P5", "answer"))])
def test_each_figure_runs(figure: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rounds", "1", "--applied", "3", "--json", figure]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]


@pytest.mark.thorough
def test_the_daemon_figure_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for nothing to happen, which need not be long to be seen."""
    monkeypatch.setattr(keeping, "_IDLE", 1.0)
    monkeypatch.setattr(keeping, "_CALM", 0.1)
    assert main(["--rounds", "1", "--applied", "3", "--json", "daemon"]) == 0
    assert [item["figure"] for item in json.loads(capsys.readouterr().out)["figures"]][-2:] == ["saved", "saved"]
