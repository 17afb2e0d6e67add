"""A verdict to text and to JSON: what a tired person needs to know, in one line, and what to look at next."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    lines = list(_verdict(outcome.verdict, style, outcome.seconds))
    if outcome.interrupted:
        lines.append(style.warn(f"interrupted; {_left(outcome)}"))
    elif outcome.left:
        lines.append(style.warn(f"stopped before anything that runs was touched; {_left(outcome)}"))
    return "\n".join(lines)


def verdict_text(verdict: Verdict, style: Style) -> str:
    return "\n".join(_verdict(verdict, style, None))


def outcome_data(outcome: Outcome) -> dict[str, object]:
    manifest = outcome.plan.manifest
    return {
        **verdict_data(outcome.verdict),
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
    return f"{item.headline}: {chain}{aside}" if chain else item.headline + aside


def _verdict(verdict: Verdict, style: Style, seconds: float | None) -> Iterator[str]:
    status = verdict.status
    paint = style.good if status is Status.HEALTHY else style.bad
    facts = [f"{len(verdict.services)} service{'s' if len(verdict.services) != 1 else ''}"] if verdict.services else []
    facts += [f"{seconds:.1f} s"] if seconds is not None else []
    word = str(status) if verdict.services else "removed"
    yield f"{style.strong(verdict.app)}: {paint(word)}" + style.faint(f" ({', '.join(facts)})" if facts else "")
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
    steps = len(outcome.left)
    if not steps:
        return "all steps were done, and what was started may not have settled"
    return f"{steps} of {len(outcome.plan.steps)} steps are not done, `nanod apply` goes on from here"


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
