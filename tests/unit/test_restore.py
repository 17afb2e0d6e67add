"""The way back, from an intent and a host: what runs and was not touched is left alone, whatever became of its file."""

from __future__ import annotations

from dataclasses import replace

from nanod.restore import Now, file_differences, restore_steps
from nanod.state import Before, Intent, UnitState
from nanod.steps import DaemonReload, RemoveUnit, StopBefore, UnitStep, WriteUnit

WEB, TARGET = "shop-web.service", "shop.target"
UP = Before(active="active", invocation="a")
INTENT = Intent(
    app="shop",
    action="apply",
    generation=2,
    before=1,
    staged=True,
    at="",
    command="",
    unit_dir="",
    files={WEB: None, TARGET: None},
    links={},
    directories=(),
    stamps={},
    new_stamps=(),
    units={WEB: UP, TARGET: UP},
    reloads=(),
)


def now(active: str, invocation: str) -> Now:
    return Now(
        files={WEB: "new", TARGET: "new"},
        links={},
        there=frozenset(),
        states={WEB: UnitState(name=WEB, active=active), TARGET: UnitState(name=TARGET, active="active")},
        invocations={WEB: invocation, TARGET: "a"},
    )


def test_what_ran_on_without_its_file_runs_on() -> None:
    """Somebody had deleted the files; an apply had put them back, and fails: they go again, and no process with them."""
    assert [type(step) for step in restore_steps(INTENT, now("active", "a"))] == [RemoveUnit, RemoveUnit, DaemonReload]
    gone = Now(files={}, links={}, there=frozenset(), states=now("active", "a").states, invocations={})
    assert file_differences(INTENT, gone) == []


def test_what_was_started_from_the_new_file_and_had_none_is_said_to_be_lost() -> None:
    steps = restore_steps(INTENT, now("active", "b"))
    assert [(type(step), step.unit) for step in steps if isinstance(step, UnitStep)] == [(StopBefore, WEB), (RemoveUnit, WEB), (RemoveUnit, TARGET)]
    gone = Now(files={}, links={}, there=frozenset(), states=now("inactive", "").states, invocations={})
    assert file_differences(INTENT, gone) == [f"{WEB}: it ran, and its file had been deleted: it cannot be started again"]


def test_a_mask_that_came_meanwhile_stays_and_is_not_worked_against() -> None:
    intent = replace(INTENT, files={WEB: "old"}, units={WEB: UP})
    masked = UnitState(name=WEB, load="masked")
    instead = replace(now("inactive", ""), files={}, states={WEB: masked})
    assert [type(step) for step in restore_steps(intent, instead)] == [DaemonReload]
    assert file_differences(intent, instead) == []
    beside = replace(instead, files={WEB: "new"})
    assert [type(step) for step in restore_steps(intent, beside)] == [WriteUnit, DaemonReload]
