"""The timeline of a service, to text and to JSON."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from nanod.timeline import Stage
from nanod.view.explain import AGAIN_KEYS, place_data
from nanod.view.tree import wrapped
from nanod.view.tty import clean, columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nanod.timeline import Step
    from nanod.view.tty import Style

_STAGES = {
    Stage.UP: "On the way up",
    Stage.RUN: "While it runs",
    Stage.RELOAD: "At a reload",
    Stage.DOWN: "On the way down",
    Stage.GIVEN_UP: "When systemd has given up",
}
_INDENT = 4


def timeline_text(title: str, steps: Sequence[Step], style: Style) -> str:
    """`title`: whose it is, and from which text."""
    lines = [style.strong(clean(title))]
    heads = iter(columns([("", f"{step.phase}{'/' if step.name else ''}{step.name}", _timeout(step), _on_failure(step)) for step in steps]))
    for stage, group in groupby(steps, key=lambda step: step.stage):
        lines += ["", style.strong(_STAGES[stage])]
        of_stage = list(group)
        for step in of_stage:
            lines += _step(step, clean(next(heads)), _beside(step, of_stage), style)
    return "\n".join(lines)


def _beside(step: Step, others: Iterable[Step]) -> list[str]:
    """Members that are at work at the same time."""
    return list(dict.fromkeys(other.member for other in others if other.rank == step.rank and other.member != step.member))


def _step(step: Step, head: str, beside: Sequence[str], style: Style) -> Iterator[str]:
    yield head

    def shown(text: str) -> Iterator[str]:
        first, *more = wrapped(clean(text), style, _INDENT + 2)
        yield f"{'':{_INDENT}}{first}"
        yield from (f"{'':{_INDENT + 2}}{line}" for line in more)

    yield from shown(step.what)
    if step.waits:
        yield from shown(f"waits for {', '.join(step.waits)}")
    if beside:
        yield from shown(f"beside {', '.join(beside)}")
    if step.row and step.row.rerun[1] == "no":
        yield from shown(f"runs {step.row.when}")
    yield from shown(f"fails: {step.effect}" if step.on_failure else step.effect)
    yield from map(style.faint, shown(f"{step.origin}, {step.unit}"))
    for line in step.lines:
        yield from map(style.faint, shown(f"{line.key}={line.text}"))


def _timeout(step: Step) -> str:
    if step.timeout is None:
        return "-"
    return f"{step.timeout}, shared" if step.row and step.row.shared else str(step.timeout)


def _on_failure(step: Step) -> str:
    return step.on_failure.value if step.on_failure else "-"


def timeline_data(steps: Sequence[Step]) -> list[dict[str, object]]:
    return [_step_data(step) for step in steps]


def _step_data(step: Step) -> dict[str, object]:
    return {
        "stage": step.stage,
        "phase": step.phase,
        "scope": step.row.scope if step.row else None,
        "name": step.name or None,
        "member": step.member,
        "rank": step.rank,
        "waits": list(step.waits),
        "what": step.what,
        "unit": step.unit,
        "lines": [{"section": line.section, "key": line.key, "text": line.text, "origin": place_data(line.origin)} for line in step.lines],
        "origin": place_data(step.origin),
        "timeout": str(step.timeout) if step.timeout is not None else None,
        "on_failure": step.on_failure,
        "effect": step.effect,
        "again": dict(zip(AGAIN_KEYS, step.row.rerun, strict=True)) if step.row else None,
    }
