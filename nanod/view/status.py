"""AppStatus to text and JSON. `now`: microseconds since the epoch, for ages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.status import AppStatus, DriftKind, Health, HookStatus, ServiceStatus
from nanod.values import TimeSpan
from nanod.verdict import end_text
from nanod.view.tty import clean, columns
from nanod.view.verdict import apply_command, reason_data, sentence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    facts = [f"generation {app.generation}" if app.generation else "generation unknown", clean(app.spec), *([f"env {app.env}"] if app.env else [])]
    yield f"{style.strong(app.app)}: {word}, {', '.join(facts)}"
    again = apply_command(app.spec, app.env)
    heads = columns([[item.name, item.phase or "-", item.health, age(now - item.since) if item.since else "-"] for item in app.services])
    for item, head in zip(app.services, heads, strict=True):
        extra = ", ".join(_facts(item))
        yield f"  {_paint(item.health, head, style)}{style.faint(f'  {clean(extra)}') if extra else ''}"
        yield from _reasons(item, style)
        yield from _hooks(item, style, now)
        yield from _drift(item.drift, again, style)
    yield from _drift(app.drift, again, style)


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


def _reasons(item: ServiceStatus, style: Style) -> Iterator[str]:
    if item.verdict.reasons:
        yield f"    {style.bad(clean(sentence(item.verdict)))}"
        for reason in item.verdict.reasons:
            yield from (style.faint(f"      {clean(line)}") for line in reason.lines)


def _hooks(item: ServiceStatus, style: Style, now: int) -> Iterator[str]:
    rows = [[_result(hook), f"{hook.hook.phase}/{hook.hook.name}", _ran(hook, now)] for hook in item.hooks]
    for hook, line in zip(item.hooks, columns(rows), strict=True):
        bad = style.bad if hook.hook.on_failure == "fail" else style.warn
        word = _result(hook)
        paint = {"ok": style.good, "failed": bad}.get(word, style.faint)
        yield f"    {paint(word)}{clean(line[len(word) :])}"


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


def _drift(drift: Iterable[Drift], again: str, style: Style) -> Iterator[str]:
    for item in drift:
        yield f"    {style.warn(item.kind)}  {clean(f'{item.subject} {_DRIFT[item.kind].format(apply=again, subject=item.subject)}')}"


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
    return found


def _drift_data(item: Drift) -> dict[str, object]:
    return {"kind": item.kind, "subject": item.subject}
