"""A verdict to text and to JSON: what a tired person needs to know, in one line, and what to look at next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanod.errors import ExitCode
from nanod.groups import count, replica
from nanod.told import told
from nanod.units.unitset import Role
from nanod.verdict import Status, sentence
from nanod.view.members import member_data
from nanod.view.tty import clean, columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nanod.apply import Outcome
    from nanod.undo import Undone
    from nanod.verdict import Reason, ServiceVerdict, Verdict
    from nanod.view.tty import Style


_NAMED = 4
"""Members that are named; of a large group more of them say nothing new."""


def outcome_text(outcome: Outcome, style: Style) -> str:
    lines = [_head(outcome, style), *verdict_lines(outcome.verdict, style)]
    if outcome.undone:
        lines += _undone(outcome, outcome.undone, style)
    elif outcome.kept:
        lines.append(
            style.warn(clean(f"not rolled back: {outcome.kept}; {_left(outcome, style)}" if outcome.left else f"not rolled back: {outcome.kept}"))
        )
    elif outcome.interrupted:
        lines.append(style.warn(f"interrupted; {_left(outcome, style)}"))
    elif outcome.left:
        lines.append(style.warn(f"stopped before anything that runs was touched; {_left(outcome, style)}"))
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
        "kept": outcome.kept,
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
    services = [item.whose for item in outcome.verdict.services]
    facts = [count(services)] if services else []
    return f"{style.strong(outcome.plan.app)}: {paint(_word(outcome))}" + style.faint(f" ({', '.join([*facts, f'{outcome.seconds:.1f} s'])})")


def verdict_lines(verdict: Verdict, style: Style) -> Iterator[str]:
    rows = [row for members in _by_service(verdict).values() for row in _rows(members)]
    cells = [(row.name, str(row.status), f"{row.seconds:.1f} s" if row.status is Status.HEALTHY else "", row.note) for row in rows]
    for row, line in zip(rows, columns(cells) if cells else [], strict=True):
        yield "  " + (line if row.status in (Status.HEALTHY, Status.MASKED) else style.warn(line))
    for item, waiting in told(verdict):
        yield from _trouble(item, waiting, style)
    for item in verdict.services:
        for reason in item.warnings:
            yield f"{style.warn('warning:')} {clean(f'{reason.unit}: {reason.text}')}"
    for reason in verdict.warnings:
        yield f"{style.warn('warning:')} {clean(f'{reason.unit}: {reason.text}')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    name: str
    status: Status
    seconds: float = 0.0
    note: str = ""


def _by_service(verdict: Verdict) -> dict[str, list[ServiceVerdict]]:
    found: dict[str, list[ServiceVerdict]] = {}
    for item in verdict.services:
        found.setdefault(item.whose, []).append(item)
    return found


def _rows(members: Sequence[ServiceVerdict]) -> Iterator[_Row]:
    """A service, or an instance, that is well as a whole is one row, whatever belongs to it; else whoever is not, and who was touched beside that."""
    shown = [item for item in members if item.touched or item.status is not Status.HEALTHY]
    mains = [item for item in members if item.role is Role.MAIN]
    well = [item for item in shown if item.status is Status.HEALTHY]
    if len(members) > 1 and well == shown and mains and all(item in well for item in mains):
        whose = members[0].whose
        # Of an instance alone there is nothing that stands for the whole service.
        name = whose if any(item.service == whose for item in members) else mains[0].service.partition("/")[0]
        note = f"{len(mains)} of {len(mains)} up" if len(mains) > 1 else ""
        yield _Row(name=name, status=Status.HEALTHY, seconds=max(item.seconds for item in shown), note=note)
        return
    waiting = [item for item in shown if item.group and item.status in (Status.BLOCKED, Status.PENDING)]
    for item in shown:
        same = [other for other in waiting if other.status is item.status]
        if (item in same and item is not min(same, key=_rank)) or (item in well and _is_beside(item, mains, well)):
            continue
        more = len(same) - 1 if item in same else 0
        yield _Row(name=item.service, status=item.status, seconds=item.seconds, note=f"and {more} more of {item.whose}" if more else "")


def _is_beside(item: ServiceVerdict, mains: Sequence[ServiceVerdict], well: Sequence[ServiceVerdict]) -> bool:
    """Of a member that is well: whether it goes without saying, because the mains that it stands beside are well, too."""
    if item.role in (Role.GROUP, Role.ALL):
        return bool(item.group)
    beside = [main for main in mains if replica(item.service) in (0, replica(main.service))]
    return item.role.is_pulled and bool(beside) and all(main in well for main in beside)


def _rank(item: ServiceVerdict) -> tuple[bool, bool]:
    """The service itself first, then its mains."""
    return item.role is not Role.ALL, item.role is not Role.MAIN


def _trouble(item: ServiceVerdict, waiting: Sequence[ServiceVerdict], style: Style) -> Iterator[str]:
    yield style.bad(clean(sentence(item)))
    for reason in item.reasons:
        yield from (f"    {clean(line)}" for line in folded(reason.lines))
    if item.status is not Status.BLOCKED and item.reasons:
        yield style.faint(style.hint(f"  hint: journalctl -u {item.reasons[-1].unit or item.unit}"))
    if shown := [other.service for other in waiting if other.role is not Role.GROUP]:
        names = ", ".join(shown[:_NAMED]) + (", …" if len(shown) > _NAMED else "")
        waits = "waits" if len(shown) == 1 else "wait"
        yield style.faint(f"  {len(shown)} more {waits} for {'the same' if item.status is Status.BLOCKED else 'it'}: {names}")


def folded(lines: Sequence[str]) -> list[str]:
    """What repeats itself to the end, as the output of a command that was tried again and again does, is said once."""
    for size in range(1, len(lines) // 2 + 1):
        if all(line == lines[place + size] for place, line in enumerate(lines[:-size])):
            return [*lines[-size:-1], f"{lines[-1]} ({len(lines) // size} times)"]
    return list(lines)


def _undone(outcome: Outcome, undone: Undone, style: Style) -> Iterator[str]:
    begin = "interrupted; " if outcome.interrupted else ""
    if not undone.problems:
        back = f"rolled back to generation {undone.generation}" if undone.generation else f"rolled back: {outcome.plan.app} is not there, as before"
        words = back if outcome.plan.wanted else f"put back: {outcome.plan.app} is as it was"
        yield style.warn(f"{begin}{words}" + (f"; {undone.note}" if undone.note else ""))
        return
    yield style.bad(f"{begin}rollback failed, the host is neither old nor new:")
    yield from (f"  {clean(problem)}" for problem in undone.problems)
    yield style.faint(style.hint(f"  hint: {_way_on(outcome, undone)}"))


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


def _left(outcome: Outcome, style: Style) -> str:
    steps, wanted, app = len(outcome.left), outcome.plan.wanted, outcome.plan.app
    if not steps:
        return style.hint(f"all steps were done, and what was started may not have settled: `nanod status {app}` tells")
    command = apply_command(wanted.spec_file, wanted.env) if wanted else f"nanod remove {app}"
    return f"{steps} of {len(outcome.plan.steps)} steps are not done, `{clean(style.hint(command))}` goes on from here"


def _service_data(item: ServiceVerdict) -> dict[str, object]:
    return {
        "service": item.service,
        "unit": item.unit,
        **member_data(item.service, item),
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
