"""AppStatus to text and JSON. `now`: microseconds since the epoch, for ages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.drift import DriftKind
from nanod.groups import TASKS, WORDS
from nanod.phases import HOOK_PHASES
from nanod.status import AppStatus, Health, HookStatus, ServiceStatus
from nanod.values import TimeSpan
from nanod.verdict import end_text, sentence
from nanod.view.members import Node, member_data, nodes
from nanod.view.tree import Branch, tree_lines
from nanod.view.tty import clean, columns
from nanod.view.verdict import apply_command, reason_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nanod.drift import Drift
    from nanod.view.tty import Style

_DRIFT = {
    DriftKind.EDITED: "is not what nanod left there; '{apply}' puts it back",
    DriftKind.DELETED: "is gone; '{apply}' puts it back",
    DriftKind.MASKED: "is masked; 'systemctl unmask {subject}' lifts that",
    DriftKind.UNFINISHED: "is from an apply that did not finish; '{apply}' finishes it",
    DriftKind.NOT_LOADED: "changed on disk since systemd read it; 'systemctl daemon-reload' reads it",
    DriftKind.OVERRIDE: "is a drop-in of the administrator, which wins",
}


_ORDER = {phase: number for number, phase in enumerate(HOOK_PHASES)}


def status_text(apps: Iterable[AppStatus], style: Style, *, now: int) -> str:
    return "\n\n".join("\n".join(_app(app, style, now)) for app in apps)


def _app(app: AppStatus, style: Style, now: int) -> Iterator[str]:
    word = style.good("healthy") if app.is_healthy else style.bad("not healthy")
    facts = [f"generation {app.generation}" if app.generation else "generation unknown", clean(app.spec), f"env {app.env}" if app.env else ""]
    yield f"{style.strong(app.app)}: {word}, {', '.join(filter(None, facts))}"
    again = style.hint(apply_command(app.spec, app.env))
    services = _nodes(nodes(app.services), again, style, now)
    yield from tree_lines([*_intent(app, style), *services, *_drift(app.drift, again, style)], style)


def _intent(app: AppStatus, style: Style) -> Iterator[Branch]:
    """The transaction that has not ended: somebody is at it, or it was cut short."""
    if found := app.intent:
        word = "under way" if app.is_under_way else "interrupted"
        then = "" if app.is_under_way else "; the next command that changes something ends it, or 'nanod recover'"
        yield _word(word, clean(f"{found.action} begun {found.at} ({found.command}){style.hint(then)}"), style.warn)


def _nodes(found: Sequence[Node], again: str, style: Style, now: int) -> list[Branch]:
    """Of one level, whose columns are aligned."""
    rows = [[node.name, node.worst.phase or "-", node.worst.health, _since(node, now)] for node in found]
    heads = columns(rows, narrow=style.width // 3 if style.terminal else 0)
    parts = [head.rpartition("\n") for head in heads]
    widest = max((len(line) for _, _, line in parts), default=0)
    return [_node(node, f"{name}{end}{line:{widest}}", again, style, now) for node, (name, end, line) in zip(found, parts, strict=True)]


def _since(node: Node, now: int) -> str:
    """Of what stands for several mains, since when all are up."""
    return age(now - node.item.since) if node.item and node.item.since and node.up == node.of else "-"


def _node(node: Node, head: str, again: str, style: Style, now: int) -> Branch:
    """`head`: name, phase, health and age in columns; a name that is too long stands in a line before."""
    extra = clean(", ".join([*_gathered(node), *_facts(node.item, now)] if node.item else _gathered(node)))
    name, _, aligned = head.rpartition("\n")

    def paint(line: str) -> str:
        if line.startswith(aligned.rstrip()):
            return f"{_paint(node.worst.health, line[: len(aligned)], style)}{style.faint(line[len(aligned) :])}"
        return line if line == name else style.faint(line)

    own = [node.item] if node.item else []
    troubled = _nodes([Node(name=item.name, item=item, worst=item) for item in node.beside if not item.is_good], again, style, now)
    branches = (
        *(branch for item in own for branch in _reasons(item, style)),
        *troubled,
        *_nodes(node.below, again, style, now),
        *_hooks(_hooks_of(node), style, now),
        *(branch for item in (*own, *node.beside) if item.is_good or item in own for branch in _drift(item.drift, again, style)),
    )
    return Branch(text=f"{head}  {extra}".rstrip(), paint=paint, branches=branches)


def _gathered(node: Node) -> list[str]:
    return [f"{node.up} of {node.of} up"] if node.of else []


def _hooks_of(node: Node) -> list[HookStatus]:
    """With several mains, those of the service itself are lines of more than one unit."""
    items = [*(item for item in node.beside if item.is_good), *([node.item] if node.item else [])]
    found = [hook for item in items for hook in shown_hooks(item)]
    return sorted(found, key=lambda hook: _ORDER.get(hook.hook.phase, len(_ORDER))) if node.beside else found


def shown_hooks(item: ServiceStatus) -> tuple[HookStatus, ...]:
    """What a task left is told beside its name, unless it went wrong."""
    if item.role in TASKS:
        return tuple(hook for hook in item.hooks if hook.record and hook.record.status)
    return item.hooks


def _paint(health: Health, head: str, style: Style) -> str:
    """Only the word of health has a colour; a service may be called `failed`, so the last such word of the line is it."""
    bad = dict.fromkeys((Health.FAILED, Health.RESTARTING, Health.BLOCKED), style.bad)
    good = dict.fromkeys((Health.HEALTHY, Health.FINISHED, Health.WAITING), style.good)
    paint = {**good, **bad}
    before, _, after = head.rpartition(health)
    return f"{before}{paint.get(health, style.warn)(health)}{after}"


def _facts(item: ServiceStatus, now: int) -> Iterator[str]:
    if word := WORDS.get(item.role):
        yield f"{word} of all instances" if item.is_shared else word
    if item.detail.main_pid:
        yield f"pid {item.detail.main_pid}"
    if item.probe and item.state.is_up:
        yield item.probe
    if item.socket:
        listens = " and ".join(item.sockets) or item.socket.name
        yield f"{item.socket.name} listens at {listens}" if item.socket.is_up else f"{item.socket.name} is {item.socket.active}: {listens} is closed"
    if item.detail.restarts:
        yield f"restarts {item.detail.restarts}"
    if item.detail.status_text:
        yield f'"{item.detail.status_text}"'
    if item.role in TASKS:
        yield from _task(item)
    if item.job and item.state.is_up:
        yield f"next in {age(item.detail.next_elapse - now)}" if item.detail.next_elapse else "no next time"


def _task(item: ServiceStatus) -> Iterator[str]:
    record = item.hooks[0].record if item.hooks else None
    if item.health is Health.WAITING:
        yield f"runs when {item.name.rpartition('/')[0]} has ended"
    elif item.health is Health.FINISHED and record is None:
        yield "no record"
    elif record and not record.status:
        yield f"took {_took(record.duration_ms)}"


def _reasons(item: ServiceStatus, style: Style) -> Iterator[Branch]:
    if item.verdict.reasons:
        lines = tuple(clean(line) for reason in item.verdict.reasons for line in reason.lines)
        yield Branch(text=clean(sentence(item.verdict)), paint=style.bad, below=lines)


def _hooks(hooks: Sequence[HookStatus], style: Style, now: int) -> Iterator[Branch]:
    rows = [[_result(hook), f"{hook.hook.phase}/{hook.hook.name}", _ran(hook, now)] for hook in hooks]
    for hook, line in zip(hooks, columns(rows) if rows else [], strict=True):
        bad = style.bad if hook.hook.on_failure == "fail" else style.warn
        word = _result(hook)
        paint = {"ok": style.good, "failed": bad}.get(word, style.faint)
        yield _word(word, clean(line[len(word) :]), paint, gap="", below=tuple(map(clean, hook.lines)))


def _word(word: str, text: str, paint: Callable[[str], str], *, gap: str = "  ", below: tuple[str, ...] = ()) -> Branch:
    """A line that begins with a word in colour."""
    return Branch(text=f"{word}{gap}{text}", paint=lambda line: f"{paint(word)}{line[len(word) :]}" if line.startswith(word) else line, below=below)


def _result(hook: HookStatus) -> str:
    if hook.record is None:
        return "no record"
    return "failed" if hook.record.status else "ok"


def _ran(hook: HookStatus, now: int) -> str:
    if hook.record is None:
        return ""
    if hook.record.text:
        return f"{hook.record.text}, {age(now - hook.record.at)} ago"
    how = f"{end_text(hook.record)}, " if hook.record.status else ""
    return f"{how}took {_took(hook.record.duration_ms)}, {age(now - hook.record.at)} ago"


def _took(milliseconds: int) -> str:
    return f"{milliseconds}ms" if milliseconds < 1000 else age(milliseconds * 1000)


def _drift(drift: Iterable[Drift], again: str, style: Style) -> tuple[Branch, ...]:
    return tuple(_word(item.kind, clean(style.hint(drift_text(item, again))), style.warn) for item in drift)


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
        **member_data(item.name, item),
        "mains": {"up": item.up, "of": item.of} if item.of else None,
        "schedule": {"unit": item.job.name, "active": item.job.active, "next_usec": item.detail.next_elapse or None} if item.job else None,
        "socket": {"unit": item.socket.name, "active": item.socket.active, "listen": list(item.sockets)} if item.socket else None,
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
        found |= {"text": item.record.text} if item.record.text else {}
    if item.lines:
        found["lines"] = list(item.lines)
    return found


def _drift_data(item: Drift) -> dict[str, object]:
    return {"kind": item.kind, "subject": item.subject}
