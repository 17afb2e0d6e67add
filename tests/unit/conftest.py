"""Fixtures of the tests of nanod.lifecycle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lifecycles import FRONTS, Systemd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with Systemd(tmp_path / "notify") as systemd:
        yield systemd
