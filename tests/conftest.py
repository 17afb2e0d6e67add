"""Which tests run, their results by acceptance row, for `tools/rows`; and what the laboratory may leave on this machine: nothing.

With workers (pytest-xdist) each of them collects all tests and runs some; the process that was called, which has no tests of its own, hears the
results of all of them.
"""

from __future__ import annotations

import os
import signal
import time
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Protocol

import pytest

from nanod.rehearse import cgroup
from tests import rows

HERE = Path(__file__).parent
LAB = (HERE / "lab", HERE / "package")
VM = HERE / "vm"
SYSTEMDS = ("machine", "machine257")
"""What `any_machine` of the lab is."""

_COLLECTED = pytest.StashKey[dict[str, tuple[str, ...]]]()
_RESULTS = pytest.StashKey[dict[str, str]]()


class _Worker(Protocol):
    """What the controller knows of a worker: `workeroutput` once it has ended, unless it crashed."""

    config: pytest.Config
    workeroutput: dict[str, dict[str, tuple[str, ...]]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough", action="store_true", help="also tests that show more of what others show: each on both systemds, grids of failures"
    )


def pytest_configure(config: pytest.Config) -> None:
    # Whoever starts this by nohup(1) has it ignored, and a shell that is born so cannot undo it: what tests send would come to nobody.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.stash[_COLLECTED] = {}
    config.stash[_RESULTS] = {}
    config.pluginmanager.register(_Results(config.stash[_RESULTS]))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Virtual machines are for those who name them: tools/vm."""
    if collection_path != VM:
        return None
    named = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
    return None if any(path.resolve().is_relative_to(VM) for path in named) else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(place) for place in LAB):
            item.add_marker(pytest.mark.lab)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="only root can boot a machine"))
    if not config.getoption("--thorough"):
        for item in {*_second_twins(items), *(item for item in items if item.get_closest_marker("thorough"))}:
            # Skipped and not deselected: a row that nothing else proves is then not proved.
            item.add_marker(pytest.mark.skip(reason="shows more of what others show: --thorough"))


def _second_twins(items: list[pytest.Item]) -> list[pytest.Item]:
    """Of each two that differ in nothing but the systemd one; its name settles which, so that both systemds have about half of each module."""
    twins = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and (systemd := str(item.callspec.params.get("any_machine", ""))):
            twins[item.path, item.originalname, item.callspec.id.replace(systemd, "")].append(item)
    found: list[pytest.Item] = []
    for both in twins.values():
        if len(both) == len(SYSTEMDS):
            name = both[0].path.name if both[0].get_closest_marker("chained") else both[0].nodeid
            found.append(both[zlib.crc32(name.encode()) % 2])
    return found


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


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: _Worker) -> None:
    node.config.stash[_COLLECTED].update(getattr(node, "workeroutput", {}).get("rows", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    output: dict[str, object] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output["rows"] = config.stash[_COLLECTED]
    elif not config.option.collectonly:
        rows.keep(config.stash[_COLLECTED], config.stash[_RESULTS])
        _fail_for_what_is_left(session)


def _fail_for_what_is_left(session: pytest.Session) -> None:
    """Once, when no worker has a machine any more: another worker's keeper may be killed for a test, and the cgroup swept by its next boot."""
    results = session.config.stash[_RESULTS]
    if not any(test.startswith(rows.LAB) and result != "skipped" for test, result in results.items()):
        return
    deadline = time.monotonic() + 5
    while (left := cgroup.stale()) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        session.config.get_terminal_writer().line(f"\nFAILED: a machine left {', '.join(map(str, left))}", red=True)
