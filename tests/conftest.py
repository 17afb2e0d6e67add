"""Results by acceptance row, for `tools/rows`."""

from __future__ import annotations

import pytest

from tests import rows

_COLLECTED = pytest.StashKey[dict[str, tuple[str, ...]]]()
_RESULTS = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_COLLECTED] = {}
    config.stash[_RESULTS] = {}
    config.pluginmanager.register(_Results(config.stash[_RESULTS]))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Before any choice by -k or -m."""
    if ids := tuple(str(row) for mark in item.iter_markers("row") for row in mark.args):
        item.config.stash[_COLLECTED][item.nodeid] = ids


class _Results:
    """Setup, call and teardown of a test report apart; any of them can fail."""

    def __init__(self, results: dict[str, str]) -> None:
        self.results = results

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.results[report.nodeid] = "failed"
        elif report.skipped:
            self.results.setdefault(report.nodeid, "skipped")
        elif report.when == "call":
            self.results.setdefault(report.nodeid, "passed")


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if not config.option.collectonly:
        rows.keep(config.stash[_COLLECTED], config.stash[_RESULTS])
