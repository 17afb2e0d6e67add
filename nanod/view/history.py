"""The history of an app to text and to JSON. Entries were written by any version of nanod, so nothing in them is taken for granted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanod.state import LIVENESS
from nanod.verdict import end_text
from nanod.view.tty import clean, columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nanod.state import HookResult
    from nanod.view.tty import Style

Entry = dict[str, object]
_GOOD = frozenset({"healthy", "recovered", "removed", "succeeded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a scheduled script, or what was done about a service that its liveness probe found sick."""

    service: str
    at: str
    """When it ended, UTC, ISO 8601."""
    result: HookResult

    @property
    def is_liveness(self) -> bool:
        return self.result.phase == LIVENESS

    @property
    def entry(self) -> Entry:
        """As one of history."""
        if self.is_liveness:
            return {"at": self.at, "action": LIVENESS, "service": self.service, "verdict": self.result.text}
        verdict = end_text(self.result) if self.result.status else "succeeded"
        return {"at": self.at, "action": "run", "service": self.service, "verdict": verdict, "seconds": self.result.duration_ms / 1000}


def history_text(app: str, entries: Sequence[Entry], generations: Sequence[int], in_force: int, style: Style, *, runs: Sequence[Run] = ()) -> str:
    """Newest last, as in a log: the end of it is what is on the screen."""
    entries = sorted([*entries, *(run.entry for run in runs)], key=lambda entry: _text(entry, "at"))
    rows = [(_text(entry, "at"), _text(entry, "action") or "apply", _subject(entry), _verdict(entry), _seconds(entry)) for entry in entries]
    lines: list[str] = []
    for entry, line in zip(entries, columns(rows) if rows else [], strict=True):
        is_good = entry.get("verdict") in _GOOD and not entry.get("problems")
        lines += [clean(line) if is_good else style.bad(clean(line)), *(style.faint(f"    {clean(text)}") for text in _below(entry))]
    kept = ", ".join(f"{number} (in force)" if number == in_force else str(number) for number in generations) or "none"
    return "\n".join([*lines, f"{style.strong(app)}: generations on disk: {kept}"])


def history_data(
    app: str, entries: Sequence[Mapping[str, object]], generations: Sequence[int], in_force: int, *, runs: Sequence[Run] = ()
) -> dict[str, object]:
    return {
        "app": app,
        "generation": in_force or None,
        "generations": list(generations),
        "entries": [dict(entry) for entry in entries],
        "runs": [_run_data(run) for run in runs if not run.is_liveness],
        "liveness": [{"service": run.service, "at": run.at, "text": run.result.text} for run in runs if run.is_liveness],
    }


def _run_data(run: Run) -> dict[str, object]:
    found = run.result
    return {"service": run.service, "at": run.at, "status": found.status, "duration_ms": found.duration_ms, "invocation": found.invocation}


def _text(entry: Entry, key: str) -> str:
    found = entry.get(key)
    return found if isinstance(found, str) else ""


def _subject(entry: Entry) -> str:
    found = entry.get("generation")
    return f"generation {found}" if found else _text(entry, "service")


def _verdict(entry: Entry) -> str:
    word = _text(entry, "verdict")
    if entry.get("problems"):
        return f"{word}, degraded"
    back = entry.get("rolled_back_to")
    if back is None:
        return word
    return f"{word}, back to {back}" if back else f"{word}, taken away again"


def _seconds(entry: Entry) -> str:
    found = entry.get("seconds")
    return f"{found:.1f} s" if isinstance(found, int | float) else ""


def _below(entry: Entry) -> Iterator[str]:
    if command := _text(entry, "command"):
        yield f"$ {command}"
    if error := _text(entry, "error"):
        yield error
    for key in ("causes", "interrupted"):
        found = entry.get(key)
        if isinstance(found, dict) and key == "causes":
            yield from (str(text) for text in found.values())
        elif isinstance(found, dict):
            yield f"cut off: {found.get('command') or found.get('action')}, begun {found.get('at')}"
    for key in ("warnings", "problems"):
        listed = entry.get(key)
        if isinstance(listed, list):
            yield from (str(text) for text in listed)
