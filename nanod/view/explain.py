"""The lifecycle table and a compiled spec, for a reader: text of 80 columns, Markdown, data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.phases import PHASES, Scope
from nanod.view.tty import clean, columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nanod.phases import Phase
    from nanod.units.unitfile import UnitFile
    from nanod.view.tty import Style

AGAIN = ("crash restart", "stop, start", "reboot", "redeploy")
"""What `Phase.rerun` answers, in its order."""


def phase_title(phase: Phase) -> str:
    return f"{phase.name} (deploy)" if phase.scope is Scope.DEPLOY else phase.name


def lifecycle_text(style: Style) -> str:
    """Three tables, one question each, so that every line fits a terminal of 80 columns."""
    when = [(_title(phase), phase.when, phase.context, str(phase.timeout)) for phase in PHASES]
    failure = [(_title(phase), _on_failure(phase), _listing(phase)) for phase in PHASES]
    again = [(_title(phase), *phase.rerun) for phase in PHASES]
    realised = [(_title(phase), phase.directive) for phase in PHASES]
    parts = (
        _table(style, "When does it run, where, and how long may it take?", ("phase", "when", "runs in", "timeout"), when),
        _table(style, "What does a failure do (what may be written instead)?", ("phase", "on failure", "several hooks run"), failure),
        _table(style, "What runs again?", ("phase", *AGAIN), again),
        _table(style, "What does systemd see?", ("phase", "realised as"), realised),
        "fail halts the service; warn shows in verdict, status and history; ignore in\nhistory only. * not supported yet",
    )
    return "\n\n".join(parts)


def lifecycle_markdown() -> str:
    """One wide table; docs/lifecycle.md holds it word for word."""
    head = ("phase", "when", "on failure (allowed)", "runs in", "timeout", "several hooks run", *AGAIN, "realised as")
    rows = [head, tuple("---" for _ in head)]
    rows.extend(
        (
            f"**{phase_title(phase)}**{_mark(phase)}",
            phase.when,
            _on_failure(phase),
            phase.context,
            _timeout(phase),
            _listing(phase),
            *phase.rerun,
            f"`{phase.directive}`",
        )
        for phase in PHASES
    )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def lifecycle_data() -> dict[str, object]:
    return {"phases": [_phase_data(phase) for phase in PHASES]}


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
        "again": dict(zip(("crash_restart", "stop_start", "reboot", "redeploy"), phase.rerun, strict=True)),
        "realised_as": phase.directive,
        "available": phase.available,
    }


def _title(phase: Phase) -> str:
    return phase_title(phase) + _mark(phase)


def _mark(phase: Phase) -> str:
    return "" if phase.available else " *"


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
    return "\n\n".join(_unit_origins(unit, style) for unit in units)


def _unit_origins(unit: UnitFile, style: Style) -> str:
    lines = [style.strong(f"# ---- {unit.name}")]
    width = max(len(str(item.origin)) for item in unit.directives)
    section = ""
    for item in unit.directives:
        if item.section != section:
            section = item.section
            lines.append(f"{'':{width}}  [{section}]")
        lines.append(f"{style.faint(f'{item.origin!s:{width}}')}  {item.key}={clean(item.text)}")
    return "\n".join(lines)


def origins_data(units: Iterable[UnitFile]) -> dict[str, object]:
    return {"units": {unit.name: [_line_data(unit, index) for index in range(len(unit.directives))] for unit in units}}


def _line_data(unit: UnitFile, index: int) -> dict[str, object]:
    item = unit.directives[index]
    place = {"file": item.origin.file, "line": item.origin.line, "column": item.origin.column}
    return {"section": item.section, "key": item.key, "text": item.text, "origin": place}
