"""A verdict to text and to JSON: what a tired person needs to know, in one line, and what to look at next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from nanod.errors import ExitCode
from nanod.verdict import Status, Why
from nanod.view.tty import clean, columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.apply import Outcome
    from nanod.verdict import Reason, ServiceVerdict, Verdict
    from nanod.view.tty import Style

_ASIDE = (Why.CRASHED, Why.RETRIES)
"""Links of the chain that say when, and not why."""


def outcome_text(outcome: Outcome, style: Style) -> str:
    lines = [_head(outcome, style), *_verdict(outcome.verdict, style)]
    if outcome.interrupted:
        lines.append(style.warn(f"interrupted; {_left(outcome)}"))
    elif outcome.left:
        lines.append(style.warn(f"stopped before anything that runs was touched; {_left(outcome)}"))
    return "\n".join(lines)


def outcome_data(outcome: Outcome) -> dict[str, object]:
    manifest = outcome.plan.manifest
    return {
        **verdict_data(outcome.verdict),
        "verdict": _word(outcome),
        "generation": manifest.generation if manifest else None,
        "seconds": round(outcome.seconds, 3),
        "interrupted": outcome.interrupted,
        "left": len(outcome.left),
    }


def verdict_data(verdict: Verdict) -> dict[str, object]:
    return {
        "app": verdict.app,
        "verdict": str(verdict.status),
        "services": [_service_data(item) for item in verdict.services],
        "warnings": [reason_data(reason) for reason in verdict.warnings],
    }


def sentence(item: ServiceVerdict) -> str:
    """`cannot start shop-web: hook prestart/migrate exited with status 3 (given up after 5 failed starts)`."""
    chain = ": ".join(reason.text for reason in item.reasons if reason.kind not in _ASIDE)
    aside = "".join(f" ({reason.text})" for reason in item.reasons if reason.kind in _ASIDE)
    return ": ".join(part for part in (item.headline, chain) if part) + aside


def apply_command(spec: str, env: str | None) -> str:
    """What a person types to apply the spec again."""
    return shlex.join(["nanod", "apply", *(["-e", env] if env else []), "-" if spec == "<stdin>" else spec])


def _word(outcome: Outcome) -> str:
    if outcome.plan.wanted is None:
        return "unfinished" if outcome.left else "removed"
    return str(outcome.verdict.status)


def _head(outcome: Outcome, style: Style) -> str:
    paint = style.good if outcome.exit_code is ExitCode.OK else style.bad
    count = len(outcome.verdict.services)
    facts = [f"{count} service{'s' if count != 1 else ''}"] if count else []
    return f"{style.strong(outcome.plan.app)}: {paint(_word(outcome))}" + style.faint(f" ({', '.join([*facts, f'{outcome.seconds:.1f} s'])})")


def _verdict(verdict: Verdict, style: Style) -> Iterator[str]:
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
