"""A plan to text and to JSON."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

from nanod.steps import (
    Arm,
    Build,
    CauseKind,
    DaemonReload,
    Decide,
    Forget,
    ForgetApp,
    Link,
    MakeDirectory,
    Purge,
    Reload,
    RemoveUnit,
    Restart,
    Roll,
    RunPostDeploy,
    RunPrestart,
    Stamp,
    Start,
    Stop,
    StopBefore,
    Switch,
    UnitStep,
    Unlink,
    Unstamp,
    WriteUnit,
)
from nanod.units.unitset import Role
from nanod.view.tree import wrapped
from nanod.view.tty import clean, columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nanod.steps import Cause, Plan, PlanStep
    from nanod.view.tty import Style

ACTIONS: dict[type[object], str] = {
    MakeDirectory: "make-directory",
    StopBefore: "stop-first",
    WriteUnit: "write",
    RemoveUnit: "delete",
    Link: "link",
    Unlink: "unlink",
    DaemonReload: "daemon-reload",
    RunPrestart: "run",
    Build: "build",
    Arm: "deploy",
    RunPostDeploy: "post-deploy",
    Stop: "stop",
    Reload: "reload",
    Restart: "restart",
    Roll: "roll",
    Switch: "switch",
    Start: "start",
    Forget: "forget",
    Stamp: "stamp",
    Unstamp: "unstamp",
    Decide: "decide",
    ForgetApp: "forget-app",
    Purge: "purge",
}
"""What each step is called in JSON; people read the same words."""
_QUIET = (WriteUnit, Forget, Stamp)
"""Said only where nothing else happens to the unit."""
_ROOM = 20
"""Columns that causes need to be read in."""


def plan_text(plan: Plan, style: Style, *, diffs: bool = False) -> str:
    """One line for each unit and path: what happens to it, and why; with `diffs` also what changes in each file."""
    first, *more = wrapped(f"{plan.app}: {summary(plan)}", style, 2)
    lines = [f"{style.strong(plan.app)}{first.removeprefix(plan.app)}", *(f"  {line}" for line in more), *_table(plan, style, diffs=diffs)]
    for note in plan.notes:
        first, *more = wrapped(clean(f"{note.subject} {note.text}"), style, 8)
        lines += [f"  {style.warn('note:')} {first}", *(f"        {line}" for line in more)]
    return "\n".join(lines)


def summary(plan: Plan) -> str:
    """`2 units written, 1 daemon-reload, 1 restart`."""
    if plan.is_empty:
        return "nothing to do"
    if not plan.steps and not plan.builds:
        return "post_deploy only"
    counts: Counter[type[object]] = Counter(type(step) for step in _all_steps(plan))
    words: tuple[tuple[type[object], str, str], ...] = (
        (Build, "release built", "releases built"),
        (MakeDirectory, "directory made", "directories made"),
        (WriteUnit, "unit written", "units written"),
        (RemoveUnit, "unit deleted", "units deleted"),
        (Purge, "path purged", "paths purged"),
        (DaemonReload, "daemon-reload", "daemon-reloads"),
        (RunPrestart, "prestart run", "prestart runs"),
        (Arm, "deploy hook", "deploy hooks"),
        (Stop, "stop", "stops"),
        (Reload, "reload", "reloads"),
        (Restart, "restart", "restarts"),
        (Roll, "rolling restart", "rolling restarts"),
        (Switch, "switch", "switches"),
        (Start, "start", "starts"),
        (RunPostDeploy, "post_deploy hook", "post_deploy hooks"),
    )
    found = [f"{counts[kind]} {one if counts[kind] == 1 else many}" for kind, one, many in words if counts[kind]]
    return ", ".join(found) or "only links and records"


def plan_data(plan: Plan) -> dict[str, object]:
    return {
        "app": plan.app,
        "generation": plan.manifest.generation if plan.manifest else None,
        "token": plan.token,
        "empty": plan.is_empty,
        "steps": [_step_data(step) for step in _all_steps(plan)],
        "notes": [{"kind": note.kind, "subject": note.subject, "text": note.text} for note in plan.notes],
    }


def _all_steps(plan: Plan) -> tuple[PlanStep, ...]:
    """In the order of their execution."""
    return (*plan.builds, *plan.steps, *plan.afterwards)


def _step_data(step: PlanStep) -> dict[str, object]:
    found: dict[str, object] = {"action": ACTIONS[type(step)], "causes": [_cause_data(cause) for cause in step.causes]}
    subject = _subject(step)
    if subject:
        found["unit" if isinstance(step, UnitStep) else "path"] = subject
    if isinstance(step, WriteUnit | RemoveUnit):
        found["diff"] = step.diff()
    if isinstance(step, Build):
        found |= {"service": step.release.service, "release": step.release.name}
    if isinstance(step, Arm):
        found |= {"service": step.service, "irreversible": step.irreversible}
    if isinstance(step, RunPostDeploy):
        found["service"] = step.service
    if isinstance(step, Restart) and step.via:
        found["via"] = step.via
    if isinstance(step, Roll):
        found |= {"wave": step.wave + 1, "healthy_usec": step.healthy_usec}
    return found


def _cause_data(cause: Cause) -> dict[str, object]:
    found: dict[str, object] = {"kind": str(cause.kind), "text": cause.text}
    if cause.subject:
        found["subject"] = cause.subject
    if cause.cost is not None:
        found["cost"] = cause.cost.name.lower().replace("_", "-")
    if cause.mark:
        found |= {"file": cause.mark.file, "line": cause.mark.line, "column": cause.mark.column}
    return found


def _subject(step: PlanStep) -> str:
    match step:
        case MakeDirectory(directory=item):
            return item.path
        case Build(release=release):
            return release.path
        case Link(path=path) | Unlink(path=path) | Purge(path=path) | Unstamp(path=path):
            return path
        case UnitStep(unit=unit):
            return unit
        case _:
            return ""


def _table(plan: Plan, style: Style, *, diffs: bool) -> Iterator[str]:
    by_subject: dict[str, list[PlanStep]] = {}
    for step in _all_steps(plan):
        if subject := _subject(step):
            by_subject.setdefault(subject, []).append(step)
    if not by_subject:
        return
    beside = _beside(plan)
    rows = [
        (_symbol(steps), clean(subject), _action(steps, beside.get(subject, "")), clean(causes_text(_causes(steps))))
        for subject, steps in by_subject.items()
    ]
    paint = {"+": style.good, "-": style.bad, "~": style.warn}
    for row, lines, steps in zip(rows, _fitting(rows, style), by_subject.values(), strict=True):
        first, *more = lines
        yield "  " + paint.get(row[0], style.strong)(first[:1]) + first[1:]
        yield from (f"  {line}" for line in more)
        if diffs:
            yield from _diff(steps, style)


def _fitting(rows: Sequence[tuple[str, str, str, str]], style: Style) -> list[list[str]]:
    """The lines of each row.

    On a narrow terminal causes are wrapped below themselves, or, where that leaves them no room, stand below it all; a name that takes half of the
    width has a line of its own.
    """
    whole = columns(rows)
    if not style.terminal or max(map(len, whole)) <= style.width - 2:
        return [[line] for line in whole]
    heads = columns([(f"{symbol}  {subject}", action) for symbol, subject, action, _ in rows], narrow=style.width // 2)
    column = max(len(head.rpartition("\n")[2]) for head in heads) + 2
    return [_hanging(head, row[-1], column, style) for head, row in zip(heads, rows, strict=True)]


def _hanging(head: str, causes: str, column: int, style: Style) -> list[str]:
    *names, line = head.split("\n")
    if style.width - column < _ROOM:
        return [*names, line, *(f"      {part}" for part in wrapped(causes, style, 8))]
    first, *more = wrapped(causes, style, column + 2)
    return [*names, f"{line:{column}}{first}".rstrip(), *(f"{'':{column}}{part}" for part in more)]


def _symbol(steps: Sequence[PlanStep]) -> str:
    for step in steps:
        match step:
            case WriteUnit(old=None) | MakeDirectory() | Link() | Build():
                return "+"
            case WriteUnit():
                return "~"
            case RemoveUnit() | Unlink() | Purge() | Unstamp():
                return "-"
            case _:
                pass
    return "-" if isinstance(steps[0], Stop) else " "


def _beside(plan: Plan) -> dict[str, str]:
    """What becomes of units whose group restarts as one, and that have no step of their own: they restart with it."""
    anew = {step.via: "instance" if isinstance(step, Roll) else "group" for step in plan.steps if isinstance(step, Restart) and step.via}
    return {
        item.main: f"with its {anew[item.companion]}"
        for item in plan.services
        if item.companion in anew and item.role.is_pulled and item.role is not Role.POSTSTOP_TASK
    }


def _action(steps: Sequence[PlanStep], beside: str) -> str:
    """`beside`: what happens to it without a step of its own."""
    words = [_word(step) for step in steps if not isinstance(step, _QUIET)]
    if words:
        return ", ".join(words)
    if beside and isinstance(steps[0], WriteUnit):
        return beside
    # The file alone: what it changes, PID 1 reads at the daemon-reload, and nothing that runs is disturbed.
    return "write" if isinstance(steps[0], WriteUnit) and steps[0].old is None else "no restart"


def _word(step: PlanStep) -> str:
    word = ACTIONS[type(step)].replace("-", " ")
    if isinstance(step, Roll) and not isinstance(step, Switch):
        return f"{word} {step.wave + 1}"
    return f"{word} with its group" if isinstance(step, Restart) and step.via else word


def _causes(steps: Iterable[PlanStep]) -> list[Cause]:
    return list(dict.fromkeys(cause for step in steps for cause in step.causes))


def causes_text(causes: Sequence[Cause]) -> str:
    """`Environment=, ExecStart= changed (shop.yaml:12); not running`: what weighs most comes first, and each place is said once."""
    directives = [cause for cause in causes if cause.kind in (CauseKind.CHANGED, CauseKind.EDITED) and cause.subject]
    rest = [cause for cause in causes if cause not in directives]
    parts = []
    if directives:
        # A key may change in two sections: Service= of a socket, and of its stamp.
        directives = [cause for number, cause in enumerate(directives) if cause.subject not in {other.subject for other in directives[:number]}]
        heaviest = directives[:4]
        more = f" and {len(directives) - len(heaviest)} more" if len(directives) > len(heaviest) else ""
        verb = directives[0].text.removeprefix(f"{directives[0].subject}=")
        parts.append(f"{', '.join(f'{cause.subject}=' for cause in heaviest)}{more}{verb}{_place(heaviest)}")
    parts += [f"{cause.text}{_place([cause])}" for cause in rest]
    return "; ".join(parts)


def _place(causes: Iterable[Cause]) -> str:
    places = dict.fromkeys(f"{PurePath(cause.mark.file).name}:{cause.mark.line}" for cause in causes if cause.mark and cause.mark.line)
    return f" ({', '.join(places)})" if places else ""


def _diff(steps: Iterable[PlanStep], style: Style) -> Iterator[str]:
    for step in steps:
        if isinstance(step, WriteUnit | RemoveUnit):
            for line in step.diff().splitlines():
                paint = {"+": style.good, "-": style.bad, "@": style.faint}.get(line[:1])
                text = clean(line)
                yield "      " + (paint(text) if paint else text) if text.strip() else ""
