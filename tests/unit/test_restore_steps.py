"""The steps of a way back follow from the intent and from what the host is now."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nanod.restore import Now, differences, restore_steps, return_steps
from nanod.state import Before, Intent, UnitState
from nanod.steps import DaemonReload, Link, Reload, RemoveUnit, Start, StopBefore, Unlink, WriteUnit

from .host_records import INTENT

WEB, DB, NEW = "shop-web.service", "shop-db.service", "shop-new.service"
CHANGE = replace(
    INTENT,
    files={WEB: "old web", NEW: None},
    links={"multi-user.target.wants/shop.target": None, "a.wants/b.target": "../b.target"},
    units={DB: Before(active="active", invocation="db1"), WEB: Before(active="active", invocation="web1"), NEW: Before(active="inactive")},
)
"""One file changes, one comes; db only restarts."""


def up(name: str) -> UnitState:
    return UnitState(name=name, load="loaded", active="active", sub="running")


def now(*states: UnitState, files: dict[str, str] | None = None, links: dict[str, str] | None = None, **invocations: str) -> Now:
    runs = {f"shop-{name}.service": run for name, run in invocations.items()}
    known = {state.name: state for state in states}
    return Now(files=files or {}, links=links or {}, there=frozenset(), states=known, invocations=runs)


def steps(intent: Intent, found: Now, after: Now | None = None) -> list[tuple[str, str]]:
    made = [*restore_steps(intent, found), *return_steps(intent, after or found)]
    return [(type(step).__name__, getattr(step, "unit", getattr(step, "path", ""))) for step in made]


@pytest.mark.row("FAULTS-27")
def test_what_was_not_touched_is_not_touched() -> None:
    found = now(up(DB), up(WEB), files={WEB: "old web"}, links={"a.wants/b.target": "../b.target"}, db="db1", web="web1")
    assert steps(CHANGE, found) == [("DaemonReload", "")]
    assert differences(CHANGE, found) == []


def test_what_runs_the_new_file_is_stopped_before_the_old_one_is_back() -> None:
    found = now(
        up(DB), up(WEB), up(NEW), files={WEB: "new web", NEW: "new"}, links={"multi-user.target.wants/shop.target": "x"}, db="db1", web="web2"
    )
    after = now(up(DB), db="db1")
    assert steps(CHANGE, found, after) == [
        (StopBefore.__name__, NEW),
        (StopBefore.__name__, WEB),
        (WriteUnit.__name__, WEB),
        (RemoveUnit.__name__, NEW),
        (Unlink.__name__, "multi-user.target.wants/shop.target"),
        (Link.__name__, "a.wants/b.target"),
        (DaemonReload.__name__, ""),
        (Start.__name__, WEB),
    ]


@pytest.mark.row("FAULTS-16")
@pytest.mark.parametrize(
    ("state", "is_started"),
    [
        (UnitState(name=DB, active="inactive"), True),
        (UnitState(name=DB, active="failed"), True),
        (UnitState(name=DB, active="deactivating", sub="stop", job=7, job_type="stop"), True),
        (UnitState(name=DB, active="active", sub="running", job=7, job_type="stop"), True),
        (UnitState(name=DB, active="inactive", job=7, job_type="start"), False),
        (UnitState(name=DB, active="activating", sub="start-pre", job=7, job_type="start"), False),
        (UnitState(name=DB, active="active", sub="running"), False),
    ],
)
def test_what_is_down_or_going_down_is_started(state: UnitState, *, is_started: bool) -> None:
    """Nobody but the dead nanod wanted that stop."""
    found = now(state, up(WEB), files={WEB: "old web"}, db="db1", web="web1")
    assert (("Start", DB) in steps(CHANGE, found)) is is_started


def test_a_service_that_took_the_new_file_in_by_a_reload_takes_the_old_one_in() -> None:
    intent = replace(CHANGE, reloads=(WEB,))
    found = now(up(DB), up(WEB), files={WEB: "old web"}, db="db1", web="web1")
    assert (Reload.__name__, WEB) in steps(intent, found)
    assert [step for step in return_steps(intent, found, keeps_configuration=[WEB]) if isinstance(step, Reload)] == []


@pytest.mark.row("FAULTS-16")
@pytest.mark.parametrize(("role", "is_started"), [("job", False), ("alive", False), ("failure", False), ("main", True)])
def test_a_run_that_has_ended_by_itself_is_not_begun_again(role: str, *, is_started: bool) -> None:
    """A scheduled script, a probe or a handler happened to run when it began."""
    found = now(UnitState(name=DB), files={DB: f"[X-Nanod]\nRole={role}\n", WEB: "old web"}, links={"a.wants/b.target": "../b.target"}, db="db1")
    intent = replace(CHANGE, units={DB: CHANGE.units[DB]})
    assert ((Start.__name__, DB) in steps(intent, found)) is is_started
    assert (f"{DB}: it ran, and does not run now" in differences(intent, found)) is is_started


def test_what_is_not_as_it_was_is_said_exactly() -> None:
    found = now(up(DB), UnitState(name=WEB, active="failed"), up(NEW), files={WEB: "new web", NEW: "new"}, db="db1")
    assert differences(CHANGE, found) == [
        "shop-web.service: its file is not as it was",
        "shop-new.service: its file is still there",
        "a.wants/b.target: the link is not as it was",
        "shop-web.service: it ran, and does not run now",
        "shop-new.service: it still runs",
    ]
