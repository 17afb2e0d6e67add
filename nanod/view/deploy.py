"""What became of a deploy, to text and to JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.view.tty import clean, columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.deploy import Landing, Outcome
    from nanod.errors import NanodError
    from nanod.view.tty import Style


def outcome_text(outcome: Outcome, style: Style) -> str:
    """One line; of several targets, one for each below it."""
    well = [item for item in outcome.landings if item.code == 0]
    paint = style.good if outcome.exit_code == 0 else style.bad
    if len(outcome.landings) == 1:
        lines = [f"{style.strong(outcome.app)}: {paint(clean(f'{outcome.landings[0].fate} {_to(outcome.landings[0])}'))}{_took(outcome, style)}"]
    else:
        head = f"deployed to {len(well)} of {len(outcome.landings)} targets"
        rows = list(columns((item.target, str(item.fate), f"{item.seconds:.1f} s" if item.seconds else "") for item in outcome.landings))
        lines = [f"{style.strong(outcome.app)}: {paint(head)}{_took(outcome, style)}"]
        lines += [f"  {line}" if item.code == 0 else f"  {style.warn(line)}" for item, line in zip(outcome.landings, rows, strict=True)]
    return "\n".join(lines)


def trouble_text(outcome: Outcome, style: Style) -> str:
    """Why it is not done, for standard error; "" when it is."""
    return "\n".join(_trouble(outcome, style))


def outcome_data(outcome: Outcome) -> dict[str, object]:
    return {
        "action": "deploy",
        "app": outcome.app,
        "exit_code": outcome.exit_code,
        "interrupted": outcome.interrupted,
        "prepare": outcome.prepare,
        "seconds": round(outcome.seconds, 3),
        "targets": [_landing_data(item) for item in outcome.landings],
    }


def _to(item: Landing) -> str:
    return f"to {item.target}" if item.code == 0 else f"on {item.target}"


def _took(outcome: Outcome, style: Style) -> str:
    return style.faint(f" ({outcome.seconds:.1f} s)")


def _trouble(outcome: Outcome, style: Style) -> Iterator[str]:
    for item in outcome.landings:
        if item.error:
            yield f"nanod: {style.bad(clean(item.error.message))}"
            if item.error.hint:
                yield f"hint: {clean(item.error.hint)}"
    if outcome.prepare:
        yield f"nanod: {style.bad(clean(f'cannot deploy {outcome.app}: prepare exited with status {outcome.prepare}'))}"
        yield "hint: no target was touched"
    if outcome.interrupted:
        yield "nanod: interrupted"


def _landing_data(item: Landing) -> dict[str, object]:
    return {
        "target": item.target,
        "result": str(item.fate),
        "exit_code": item.code,
        "seconds": round(item.seconds, 3),
        "error": _error_data(item.error) if item.error else None,
        "apply": item.document,
    }


def _error_data(error: NanodError) -> dict[str, str]:
    return {"kind": error.kind, "message": error.message, "hint": error.hint}
