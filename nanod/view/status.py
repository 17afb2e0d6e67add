"""AppStatus to text and JSON. `now`: microseconds since the epoch, for ages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.status import AppStatus, DriftKind, Health, HookStatus, ServiceStatus
from nanod.values import TimeSpan
from nanod.verdict import end_text, sentence
from nanod.view.tree import Branch, tree_lines
from nanod.view.tty import clean, columns
from nanod.view.verdict import apply_command, reason_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nanod.status import Drift
    from nanod.view.tty import Style

_DRIFT = {
    DriftKind.EDITED: "is not what nanod left there; '{apply}' puts it back",
    DriftKind.DELETED: "is gone; '{apply}' puts it back",
    DriftKind.MASKED: "is masked; 'systemctl unmask {subject}' lifts that",
    DriftKind.UNFINISHED: "is from an apply that did not finish; '{apply}' finishes it",
    DriftKind.NOT_LOADED: "changed on disk since systemd read it; 'systemctl daemon-reload' reads it",
    DriftKind.OVERRIDE: "is a drop-in of the administrator, which wins",
}


def status_text(apps: Iterable[AppStatus], style: Style, *, now: int) -> str:
    return "\n\n".join("\n".join(_app(app, style, now)) for app in apps)


def _app(app: AppStatus, style: Style, now: int) -> Iterator[str]:
    word = style.good("healthy") if app.is_healthy else style.bad("not healthy")
    facts = [f"generation {app.generation}" if app.generation else "generation unknown", clean(app.spec), f"env {app.env}" if app.env else ""]
    yield f"{style.strong(app.app)}: {word}, {', '.join(filter(None, facts))}"
    again = apply_command(app.spec, app.env)
    rows = [[item.name, item.phase or "-", item.health, age(now - item.since) if item.since else "-"] for item in app.services]
    heads = columns(rows) if rows else []
    widest = max(map(len, heads), default=0)
    services = (_service(item, head.ljust(widest), again, style, now) for item, head in zip(app.services, heads, strict=True))
    yield from tree_lines([*_intent(app, style), *services, *_drift(app.drift, again, style)], style)


def _intent(app: AppStatus, style: Style) -> Iterator[Branch]:
    """The transaction that has not ended: somebody is at it, or it was cut short."""
    if found := app.intent:
        word = "under way" if app.is_under_way else "interrupted"
        then = "" if app.is_under_way else "; the next command that changes something ends it, or 'nanod recover'"
        yield _word(word, clean(f"{found.action} begun {found.at} ({found.command}){then}"), style.warn)


def _service(item: ServiceStatus, head: str, again: str, style: Style, now: int) -> Branch:
    extra = clean(", ".join(_facts(item)))

    def paint(line: str) -> str:
        return f"{_paint(item.health, line[: len(head)], style)}{style.faint(line[len(head) :])}" if line.startswith(head.rstrip()) else line

    branches = (*_reasons(item, style), *_hooks(item, style, now), *_drift(item.drift, again, style))
    return Branch(text=f"{head}  {extra}".rstrip(), paint=paint, branches=branches)


def _paint(health: Health, head: str, style: Style) -> str:
    """Only the word of health has a colour; a service may be called `failed`, so the last such word of the line is it."""
    bad = dict.fromkeys((Health.FAILED, Health.RESTARTING, Health.BLOCKED), style.bad)
    paint = {Health.HEALTHY: style.good, Health.FINISHED: style.good, **bad}
    before, _, after = head.rpartition(health)
    return f"{before}{paint.get(health, style.warn)(health)}{after}"


def _facts(item: ServiceStatus) -> Iterator[str]:
    if item.detail.main_pid:
        yield f"pid {item.detail.main_pid}"
    if item.probe and item.state.is_up:
        yield item.probe
    if item.detail.restarts:
        yield f"restarts {item.detail.restarts}"
    if item.detail.status_text:
        yield f'"{item.detail.status_text}"'


def _reasons(item: ServiceStatus, style: Style) -> Iterator[Branch]:
    if item.verdict.reasons:
        lines = tuple(clean(line) for reason in item.verdict.reasons for line in reason.lines)
        yield Branch(text=clean(sentence(item.verdict)), paint=style.bad, below=lines)


def _hooks(item: ServiceStatus, style: Style, now: int) -> Iterator[Branch]:
    rows = [[_result(hook), f"{hook.hook.phase}/{hook.hook.name}", _ran(hook, now)] for hook in item.hooks]
    for hook, line in zip(item.hooks, columns(rows), strict=True):
        bad = style.bad if hook.hook.on_failure == "fail" else style.warn
        word = _result(hook)
        paint = {"ok": style.good, "failed": bad}.get(word, style.faint)
        yield _word(word, clean(line[len(word) :]), paint, gap="", below=tuple(map(clean, hook.lines)))


def _word(word: str, text: str, paint: Callable[[str], str], *, gap: str = "  ", below: tuple[str, ...] = ()) -> Branch:
    """A line that begins with a word in colour."""
    return Branch(text=f"{word}{gap}{text}", paint=lambda line: f"{paint(word)}{line[len(word) :]}", below=below)


def _result(hook: HookStatus) -> str:
    if hook.record is None:
        return "no record"
    return "failed" if hook.record.status else "ok"


def _ran(hook: HookStatus, now: int) -> str:
    if hook.record is None:
        return ""
    how = f"{end_text(hook.record)}, " if hook.record.status else ""
    return f"{how}took {_took(hook.record.duration_ms)}, {age(now - hook.record.at)} ago"


def _took(milliseconds: int) -> str:
    return f"{milliseconds}ms" if milliseconds < 1000 else age(milliseconds * 1000)


def _drift(drift: Iterable[Drift], again: str, style: Style) -> tuple[Branch, ...]:
    return tuple(_word(item.kind, clean(drift_text(item, again)), style.warn) for item in drift)


def drift_text(item: Drift, again: str) -> str:
    """What differs, and what to do; `again` is the command that applies the spec once more."""
    return f"{item.subject} {_DRIFT[item.kind].format(apply=again, subject=item.subject)}"


def age(usec: int) -> str:
    """A length of time in at most two units, as a person says it: `3h 12min`, `45s`, `2d 4h`."""
    seconds = max(0, usec) // 1_000_000
    days, rest = divmod(seconds, 86_400)
    if days:
        return f"{days}d {rest // 3600}h" if rest >= 3600 else f"{days}d"
    return " ".join(str(TimeSpan.seconds(rest)).split()[:2])


def status_data(apps: Iterable[AppStatus]) -> dict[str, object]:
    return {"apps": [_app_data(app) for app in apps]}


def _app_data(app: AppStatus) -> dict[str, object]:
    return {
        "app": app.app,
        "healthy": app.is_healthy,
        "generation": app.generation,
        "spec": app.spec,
        "env": app.env,
        "services": [_service_data(item) for item in app.services],
        "drift": [_drift_data(item) for item in app.drift],
        "transaction": _intent_data(app),
    }


def _intent_data(app: AppStatus) -> dict[str, object] | None:
    found = app.intent
    if found is None:
        return None
    return {
        "action": found.action,
        "generation": found.generation or None,
        "at": found.at,
        "command": found.command,
        "under_way": app.is_under_way,
    }


def _service_data(item: ServiceStatus) -> dict[str, object]:
    return {
        "service": item.name,
        "unit": item.unit,
        "health": item.health,
        "phase": item.phase,
        "active": item.state.active,
        "sub": item.state.sub,
        "since_usec": item.since or None,
        "main_pid": item.detail.main_pid or None,
        "restarts": item.detail.restarts,
        "probe": item.probe or None,
        "status_text": item.detail.status_text or None,
        "reasons": [reason_data(reason) for reason in item.verdict.reasons],
        "hooks": [_hook_data(hook) for hook in item.hooks],
        "drift": [_drift_data(found) for found in item.drift],
    }


def _hook_data(item: HookStatus) -> dict[str, object]:
    found: dict[str, object] = {
        "phase": item.hook.phase,
        "name": item.hook.name,
        "unit": item.hook.unit,
        "on_failure": item.hook.on_failure,
        "result": {"no record": "unknown"}.get(_result(item), _result(item)),
    }
    if item.record:
        found |= {"status": item.record.status, "duration_ms": item.record.duration_ms, "at_usec": item.record.at}
    if item.lines:
        found["lines"] = list(item.lines)
    return found


def _drift_data(item: Drift) -> dict[str, object]:
    return {"kind": item.kind, "subject": item.subject}
