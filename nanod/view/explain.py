"""The lifecycle table and a compiled spec, for a reader: text of 80 columns, Markdown, data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.phases import PHASES, TASKS, Scope
from nanod.trace import trace
from nanod.view.tty import clean, columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nanod.diagnostics import Mark
    from nanod.phases import Phase
    from nanod.trace import Traced
    from nanod.units.unitfile import Directive, UnitFile
    from nanod.view.tty import Style

AGAIN = ("crash restart", "stop, start", "reboot", "redeploy")
"""What `Phase.rerun` answers, in its order."""
AGAIN_KEYS = ("crash_restart", "stop_start", "reboot", "redeploy")
"""The same as keys of JSON."""
_ROWS = (*PHASES, *TASKS)
_NOT_OF_THE_SPEC = "not of the spec"


def phase_title(phase: Phase) -> str:
    return f"{phase.name} (deploy)" if phase.scope is Scope.DEPLOY else phase.name


def lifecycle_text(style: Style) -> str:
    """Three tables, one question each, so that every line fits a terminal of 80 columns."""
    when = [(phase_title(phase), phase.when, phase.context, str(phase.timeout)) for phase in _ROWS]
    failure = [(phase_title(phase), _on_failure(phase), _listing(phase)) for phase in _ROWS]
    again = [(phase_title(phase), *phase.rerun) for phase in _ROWS]
    realised = [(phase_title(phase), phase.directive) for phase in _ROWS]
    parts = (
        _table(style, "When does it run, where, and how long may it take?", ("phase", "when", "runs in", "timeout"), when),
        _table(style, "What does a failure do (what may be written instead)?", ("phase", "on failure", "several hooks run"), failure),
        _table(style, "What runs again?", ("phase", *AGAIN), again),
        _table(style, "What does systemd see?", ("phase", "realised as"), realised),
        "fail halts the service; warn shows in verdict, status and history; ignore in\nhistory only.",
    )
    return "\n\n".join(parts)


def lifecycle_markdown() -> str:
    """One wide table; docs/lifecycle.md holds it word for word."""
    head = ("phase", "when", "on failure (allowed)", "runs in", "timeout", "several hooks run", *AGAIN, "realised as")
    rows = [head, tuple("---" for _ in head)]
    rows.extend(
        (
            f"**{phase_title(phase)}**",
            phase.when,
            _on_failure(phase),
            phase.context,
            _timeout(phase),
            _listing(phase),
            *phase.rerun,
            f"`{phase.directive}`",
        )
        for phase in _ROWS
    )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def lifecycle_data() -> dict[str, object]:
    return {"phases": [_phase_data(phase) for phase in _ROWS]}


def _phase_data(phase: Phase) -> dict[str, object]:
    return {
        "phase": phase.name,
        "scope": phase.scope,
        "when": phase.when,
        "on_failure": phase.default,
        "on_failure_allowed": list(phase.allowed),
        "context": phase.context,
        "timeout": str(phase.timeout),
        "timeout_shared": phase.shared,
        "listing": phase.listing,
        "again": dict(zip(AGAIN_KEYS, phase.rerun, strict=True)),
        "realised_as": phase.directive,
    }


def _timeout(phase: Phase) -> str:
    return f"{phase.timeout}, shared" if phase.shared else str(phase.timeout)


def _listing(phase: Phase) -> str:
    return phase.listing if phase.is_list else "\u2013"


def _on_failure(phase: Phase) -> str:
    others = ", ".join(item for item in phase.allowed if item is not phase.default)
    return f"{phase.default} ({others})" if others else phase.default


def _table(style: Style, title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    first, *rest = columns([[cell.upper() for cell in head], *rows])
    return "\n".join([style.strong(title), style.faint(first), *rest])


def origins_text(units: Iterable[UnitFile], style: Style) -> str:
    """Every line of the units beside the place in the spec that made it."""
    return "\n\n".join(traced_text(trace(unit.name, unit.render(), unit), style) for unit in units)


def traced_text(found: Traced, style: Style) -> str:
    """A unit, each line behind the place that made it, and where the spec makes another line now, that one after it."""
    text = [style.strong(f"# ---- {found.unit}")]
    places = [clean(str(item.origin)) if item.origin else _NOT_OF_THE_SPEC for item in found.lines]
    width = max(map(len, places), default=0)
    section = ""
    for item, place in zip(found.lines, places, strict=True):
        if item.line.section != section:
            section = item.line.section
            text.append(f"{'':{width}}  [{section}]")
        paint = style.faint if item.origin else style.warn
        text.append(f"{paint(f'{place:{width}}')}  {clean(_written(item.line))}")
        if item.wanted is not None:
            text.append(f"{'':{width}}  {style.warn('the spec makes')} {clean(_written(item.line._replace(text=item.wanted)))}")
    text += [f"{style.warn('missing')} {clean(_written(item))} of {clean(str(item.origin))}" for item in found.missing]
    return "\n".join(text)


def _written(line: Directive) -> str:
    """A line of settings has no key."""
    return f"{line.key}={line.text}" if line.key else line.text


def origins_data(units: Iterable[UnitFile]) -> dict[str, object]:
    return {"units": {unit.name: [_line_data(item) for item in unit.directives] for unit in units}}


def traced_data(units: Iterable[Traced]) -> dict[str, object]:
    """As `origins_data`; `origin` is null for a line that the spec does not make, `wanted` has what it makes instead."""
    found = list(units)
    lines = {
        unit.unit: [
            {**_line_data(item.line), "origin": place_data(item.origin) if item.origin else None, "wanted": item.wanted} for item in unit.lines
        ]
        for unit in found
    }
    return {"units": lines, "missing": {unit.unit: [_line_data(item) for item in unit.missing] for unit in found if unit.missing}}


def _line_data(item: Directive) -> dict[str, object]:
    return {"section": item.section, "key": item.key, "text": item.text, "origin": place_data(item.origin)}


def place_data(mark: Mark) -> dict[str, object]:
    return {"file": mark.file, "line": mark.line, "column": mark.column}
