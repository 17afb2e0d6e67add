"""A verdict to text and to JSON: what a tired person needs to know, in one line, and what to look at next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from nanod.errors import ExitCode
from nanod.verdict import Status, sentence
from nanod.view.tty import clean, columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.apply import Outcome
    from nanod.undo import Undone
    from nanod.verdict import Reason, ServiceVerdict, Verdict
    from nanod.view.tty import Style


def outcome_text(outcome: Outcome, style: Style) -> str:
    lines = [_head(outcome, style), *verdict_lines(outcome.verdict, style)]
    if outcome.undone:
        lines += _undone(outcome, outcome.undone, style)
    elif outcome.interrupted:
        lines.append(style.warn(f"interrupted; {_left(outcome)}"))
    elif outcome.left:
        lines.append(style.warn(f"stopped before anything that runs was touched; {_left(outcome)}"))
    return "\n".join(lines)


def outcome_data(outcome: Outcome) -> dict[str, object]:
    manifest = outcome.plan.manifest
    return {
        **verdict_data(outcome.verdict),
        "action": outcome.plan.action,
        "verdict": _word(outcome),
        "generation": outcome.undone.generation or None if outcome.undone else manifest.generation if manifest else None,
        "seconds": round(outcome.seconds, 3),
        "interrupted": outcome.interrupted,
        "left": len(outcome.left),
        "rolled_back": _undone_data(outcome.undone) if outcome.undone else None,
    }


def verdict_data(verdict: Verdict) -> dict[str, object]:
    return {
        "app": verdict.app,
        "verdict": str(verdict.status),
        "services": [_service_data(item) for item in verdict.services],
        "warnings": [reason_data(reason) for reason in verdict.warnings],
    }


def apply_command(spec: str, env: str | None) -> str:
    """What a person types to apply the spec again."""
    return shlex.join(["nanod", "apply", *(["-e", env] if env else []), "-" if spec == "<stdin>" else spec])


def _word(outcome: Outcome) -> str:
    if outcome.plan.wanted is None:
        return "unfinished" if outcome.left or outcome.undone else "removed"
    return str(outcome.verdict.status)


def _head(outcome: Outcome, style: Style) -> str:
    paint = style.good if outcome.exit_code is ExitCode.OK else style.bad
    count = len(outcome.verdict.services)
    facts = [f"{count} service{'s' if count != 1 else ''}"] if count else []
    return f"{style.strong(outcome.plan.app)}: {paint(_word(outcome))}" + style.faint(f" ({', '.join([*facts, f'{outcome.seconds:.1f} s'])})")


def verdict_lines(verdict: Verdict, style: Style) -> Iterator[str]:
    shown = [item for item in verdict.services if item.touched or item.status is not Status.HEALTHY]
    rows = [(item.service, str(item.status), f"{item.seconds:.1f} s" if item.status is Status.HEALTHY else "") for item in shown]
    for item, line in zip(shown, columns(rows) if rows else [], strict=True):
        yield "  " + (line if item.status in (Status.HEALTHY, Status.MASKED) else style.warn(line))
    for item in verdict.services:
        yield from _trouble(item, style)
    for reason in verdict.warnings:
        yield f"{style.warn('warning:')} {clean(f'{reason.unit}: {reason.text}')}"


def _trouble(item: ServiceVerdict, style: Style) -> Iterator[str]:
    if item.headline:
        yield style.bad(clean(sentence(item)))
        for reason in item.reasons:
            yield from (f"    {clean(line)}" for line in reason.lines)
        if item.status is not Status.BLOCKED and item.reasons:
            yield style.faint(f"  hint: journalctl -u {item.reasons[-1].unit or item.unit}")
    for reason in item.warnings:
        yield f"{style.warn('warning:')} {clean(f'{reason.unit}: {reason.text}')}"


def _undone(outcome: Outcome, undone: Undone, style: Style) -> Iterator[str]:
    begin = "interrupted; " if outcome.interrupted else ""
    if not undone.problems:
        back = f"rolled back to generation {undone.generation}" if undone.generation else f"rolled back: {outcome.plan.app} is not there, as before"
        words = back if outcome.plan.wanted else f"put back: {outcome.plan.app} is as it was"
        yield style.warn(f"{begin}{words}" + (f"; {undone.note}" if undone.note else ""))
        return
    yield style.bad(f"{begin}rollback failed, the host is neither old nor new:")
    yield from (f"  {clean(problem)}" for problem in undone.problems)
    yield style.faint(f"  hint: {_way_on(outcome, undone)}")


def _way_on(outcome: Outcome, undone: Undone) -> str:
    if not undone.is_over:
        return "the next nanod command goes on with the rollback, once its cause is gone"
    return f"'nanod status {outcome.plan.app}' shows how it is; the next apply repairs it"


def _undone_data(undone: Undone) -> dict[str, object]:
    return {
        "generation": undone.generation or None,
        "complete": not undone.problems,
        "problems": list(undone.problems),
        "services": verdict_data(undone.verdict)["services"] if undone.verdict else [],
    }


def _left(outcome: Outcome) -> str:
    steps, wanted, app = len(outcome.left), outcome.plan.wanted, outcome.plan.app
    if not steps:
        return f"all steps were done, and what was started may not have settled: `nanod status {app}` tells"
    command = apply_command(wanted.spec_file, wanted.env) if wanted else f"nanod remove {app}"
    return f"{steps} of {len(outcome.plan.steps)} steps are not done, `{clean(command)}` goes on from here"


def _service_data(item: ServiceVerdict) -> dict[str, object]:
    return {
        "service": item.service,
        "unit": item.unit,
        "status": str(item.status),
        "touched": item.touched,
        "seconds": round(item.seconds, 3),
        "message": sentence(item) if item.headline else "",
        "cause": reason_data(item.reasons[-1]) if item.reasons else None,
        "reasons": [reason_data(reason) for reason in item.reasons],
        "warnings": [reason_data(reason) for reason in item.warnings],
    }


def reason_data(reason: Reason) -> dict[str, object]:
    found: dict[str, object] = {"kind": str(reason.kind), "text": reason.text, "unit": reason.unit}
    if reason.hook:
        found["hook"] = reason.hook
    if reason.status is not None:
        found["status"] = reason.status
    if reason.lines:
        found["lines"] = list(reason.lines)
    return found
