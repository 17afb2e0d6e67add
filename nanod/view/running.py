"""What became of a start, stop or restart, to text and to JSON."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nanod.ended import Down
from nanod.errors import ExitCode
from nanod.groups import count
from nanod.units.unitset import Role
from nanod.view.members import member_data
from nanod.view.tty import clean, columns
from nanod.view.verdict import reason_data, verdict_data, verdict_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.ended import Started, Stopped, StoppedService
    from nanod.view.tty import Style

_WORDS = {
    Down.STOPPED: "stopped",
    Down.WAS_DOWN: "was stopped already",
    Down.AGAIN: "started again by something else",
    Down.STOPPING: "still stopping",
}


def started_text(end: Started, style: Style) -> str:
    verdict = end.verdict
    touched = [item.whose for item in verdict.services if item.touched]
    done = f"{count(touched)} {end.action}ed" if touched else f"nothing to {end.action}"
    paint = style.good if end.exit_code is ExitCode.OK else style.bad
    head = f"{style.strong(verdict.app)}: {paint(verdict.status)}" + style.faint(f" ({done}, {end.seconds:.1f} s)")
    notes = [style.faint(f"note: {note}") for note in end.notes]
    return "\n".join([head, *verdict_lines(verdict, style), *notes, *_interrupted(verdict.app, style, interrupted=end.interrupted)])


def started_data(end: Started) -> dict[str, object]:
    seconds = round(end.seconds, 3)
    return {"action": str(end.action), **verdict_data(end.verdict), "seconds": seconds, "interrupted": end.interrupted, "notes": list(end.notes)}


def stopped_text(end: Stopped, style: Style) -> str:
    return "\n".join(_stopped(end, style))


def stopped_data(end: Stopped) -> dict[str, object]:
    return {
        "action": "stop",
        "app": end.app,
        "verdict": _word(end),
        "services": [
            {
                "service": item.service,
                "unit": item.unit,
                **member_data(item.service, item),
                "status": str(item.word),
                "seconds": round(item.seconds, 3),
                "message": item.text,
                "warnings": [reason_data(reason) for reason in item.warnings],
            }
            for item in end.services
        ],
        "seconds": round(end.seconds, 3),
        "interrupted": end.interrupted,
    }


def _word(end: Stopped) -> str:
    return "stopped" if end.exit_code is ExitCode.OK else "not stopped"


def _stopped(end: Stopped, style: Style) -> Iterator[str]:
    paint = style.good if end.exit_code is ExitCode.OK else style.bad
    stopped = [item.whose for item in end.services if item.word is Down.STOPPED]
    done = f"{count(stopped)} stopped" if stopped else "nothing to stop"
    yield f"{style.strong(end.app)}: {paint(_word(end))}" + style.faint(f" ({done}, {end.seconds:.1f} s)")
    shown = _shown(end)
    rows = [(item.service, _WORDS[item.word], f"{item.seconds:.1f} s" if item.word is Down.STOPPED else "") for item in shown]
    for item, line in zip(shown, columns(rows) if rows else [], strict=True):
        yield "  " + (line if item.word is Down.STOPPED else style.warn(line))
    for item in end.services:
        if item.text and item.word is Down.STOPPED:
            yield f"{style.warn('warning:')} {clean(f'{item.unit}: it {item.text}')}"
        for reason in item.warnings:
            yield f"{style.warn('warning:')} {clean(f'{reason.unit}: {reason.text}')}"
    for name, need in end.waiting:
        yield style.faint(f"note: {name} runs on and requires {need}; when {name} starts again, so does {need}")
    for name, need in end.taken:
        app = name.partition("/")[0]
        yield style.faint(style.hint(f"note: {name} restarts with {need}, and so stopped with it; 'nanod start {app}' starts it"))
    yield from _interrupted(end.app, style, interrupted=end.interrupted)


def _shown(end: Stopped) -> list[StoppedService]:
    """A service that has stopped as a whole is one row; else those of its members that were to stop."""
    found: list[StoppedService] = []
    for whose in dict.fromkeys(item.whose for item in end.services):
        members = [item for item in end.services if item.whose == whose and item.word is not Down.WAS_DOWN]
        mains = [item for item in members if item.role is Role.MAIN]
        if len(members) > 1 and mains and all(item.word is Down.STOPPED for item in members):
            whole = any(item.service == whose for item in members)
            name = whose if whole else ", ".join(item.service for item in mains)
            found.append(replace(mains[0], service=name, seconds=max(item.seconds for item in members)))
        else:
            found += [item for item in members if item.role is not Role.GROUP or item.word is not Down.STOPPED]
    return found


def _interrupted(app: str, style: Style, *, interrupted: bool) -> Iterator[str]:
    if interrupted:
        yield style.warn(style.hint(f"interrupted; systemd goes on with it: `nanod status {app}` tells"))
