"""What a change that is taken back must leave as it was: all unit files, nanod's records, and each process that was not touched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from tests.lab.steps import App

UNITS = "/etc/systemd/system"
RECORDS = "/var/lib/nanod/apps"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a service: no two have the same."""

    state: str
    invocation: str
    pid: str


@dataclass(frozen=True, slots=True)
class Seen:
    files: dict[str, str]
    records: dict[str, str]
    runs: dict[str, Run]


def look(app: App, services: Iterable[str]) -> Seen:
    return Seen(files=tree(app, UNITS), records=records(app), runs=runs(app, services))


def tree(app: App, top: str) -> dict[str, str]:
    """Every file and link below, with its bytes or its target."""
    root = app.machine.path(top)
    return {
        path.relative_to(root).as_posix(): os.fspath(path.readlink()) if path.is_symlink() else path.read_bytes().hex()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def records(app: App) -> dict[str, str]:
    """Generations, the one in force, and an intent; the history is meant to grow."""
    return {name: text for name, text in tree(app, f"{RECORDS}/{app.name}").items() if name != "history.jsonl"}


def runs(app: App, services: Iterable[str]) -> dict[str, Run]:
    units = {app.unit(name): name for name in services}
    if not units:
        return {}
    out = app.systemctl("show", "--property=Id,ActiveState,InvocationID,MainPID", *units)
    shown = [dict(line.split("=", 1) for line in block.splitlines()) for block in out.split("\n\n")]
    return {units[item["Id"]]: Run(item["ActiveState"], item["InvocationID"], item["MainPID"]) for item in shown}


def processes(app: App) -> dict[str, int]:
    """How many processes each control group of the app has, but for empty ones."""
    top = app.machine.path(f"/sys/fs/cgroup/nanod.slice/nanod-{app.name}.slice")
    counts = {path.parent.name: len(path.read_text().split()) for path in top.rglob("cgroup.procs")}
    return {name: count for name, count in counts.items() if count}


def assert_as_before(app: App, before: Seen, touched: Container[str]) -> None:
    """What was `touched` runs again if it ran, and is down if it was; all else is the same process."""
    after = look(app, before.runs)
    assert after.files == before.files
    assert after.records == before.records
    assert "intent.json" not in after.records
    for name, run in before.runs.items():
        if name not in touched:
            assert after.runs[name] == run, name
        else:
            assert (after.runs[name].state == "active") is (run.state == "active"), name
    assert set(processes(app)) == {app.unit(name) for name, run in before.runs.items() if run.state == "active"}
    stale = app.systemctl("show", "--property=NeedDaemonReload", "--value", *map(app.unit, before.runs))
    assert set(stale.split()) == {"no"}
