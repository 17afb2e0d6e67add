"""What every verb that changes the host does around its plan: refuse in time, show the plan, carry it out, show what came of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from nanod.apply import apply
from nanod.cli import console, host, progress
from nanod.errors import BuildError, DegradedError, ExitCode, NanodError
from nanod.host import facts
from nanod.view.plan import plan_text
from nanod.view.verdict import outcome_data, outcome_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanod.cli.host import Here, Planned
    from nanod.settle import Progress
    from nanod.steps import Plan
    from nanod.values import TimeSpan


def carry_out(planned: Planned, here: Here, *, span: TimeSpan | None = None, rolls_back: bool = True, as_json: bool) -> int:
    """The caller holds the lock. Raises NanodError for a host that would refuse in the middle, before anything has changed."""
    plan = planned.plan
    _require_whole(plan, here)
    if plan.steps:
        _require_running(plan, here)
        facts.require_run_space()
    if not as_json:
        console.out(plan_text(plan, console.style()))
    with host.interruptible() as signals, progress.shown() as tell:
        if plan.builds:
            _build(plan, here, tell)
        outcome = apply(plan, replace(here, interrupts=signals), spec_text=planned.spec_text, span=span, rolls_back=rolls_back, tell=tell)
    if planned.made and plan.records and outcome.exit_code is ExitCode.OK and not outcome.left:
        # It only saves time; a full disk is no reason to fail now.
        with suppress(NanodError):
            here.store.remember(plan.app, planned.made.encode())
    if as_json:
        console.out_json(outcome_data(outcome))
    else:
        console.out(outcome_text(outcome, console.style()))
    return outcome.exit_code


def _build(plan: Plan, here: Here, tell: Callable[[Progress], None]) -> None:
    """Raises BuildError, which history knows of, too."""
    from nanod.release import make_releases  # noqa: PLC0415  (few plans have something to build)

    try:
        make_releases(plan, here, host.runtime_store(), tell)
    except BuildError as failed:
        with suppress(NanodError):
            generation = plan.before.generation if plan.before else 0
            entry = {"action": plan.action, "command": here.command, "generation": generation, "verdict": "failed", "error": failed.message}
            here.store.record(plan.app, entry)
        raise


def require_expected(plan: Plan, token: str | None) -> None:
    """Raises NanodError when the plan is not the one that `nanod plan` printed this token of."""
    if token is not None and token != plan.token:
        shows = "'nanod plan' shows what would happen now; its" if plan.action == "apply" else "the"
        raise NanodError(
            f"cannot {plan.action} {plan.app}: the plan is not the expected one ({token}), the spec or the host has changed since",
            hint=f"{shows} token is now {plan.token}",
        )


def _require_whole(plan: Plan, here: Here) -> None:
    """Raises DegradedError while an earlier transaction of the app is neither finished nor undone."""
    if intent := here.store.intents().get(plan.app):
        raise DegradedError(
            f"cannot {plan.action} {plan.app}: its {intent.action} that began at {intent.at} is neither finished nor undone",
            (),
            hint="the warning before this says why; 'nanod doctor' helps with the cause",
        )


def _require_running(plan: Plan, here: Here) -> None:
    """At shutdown jobs are irreversible: ours would be refused one by one (systemd.special(7), shutdown.target)."""
    if here.systemd.system_state() == "stopping":
        raise NanodError(f"cannot {plan.action} {plan.app}: the machine is shutting down", hint="do it after the next boot")
