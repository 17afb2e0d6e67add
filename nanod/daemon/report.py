"""What the daemon says of itself: the line that `systemctl status` shows, the answer to "status", and its own metrics. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanod.daemon.metrics import Family, states
from nanod.daemon.state import Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.daemon.config import Config
    from nanod.daemon.drift import DriftState
    from nanod.daemon.state import Spec, State

WORDS = ("applied", "refused", "failed", "degraded", "applying", "removing", "waiting", "writing", "unreadable", "gone")
"""How a spec can be."""


class Counts:
    """Since the daemon began. `error`: of the last reload, "" when that went well; `started`: seconds since the epoch."""

    __slots__ = ("denied", "error", "refused_reloads", "reloads", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        self.reloads = self.refused_reloads = self.denied = 0
        self.error = ""


def word(stem: str, spec: Spec, state: State) -> str:
    if state.running and state.running.stem == stem:
        return "applying" if state.running.verb is Verb.APPLY else "removing"
    if spec.problem or spec.is_busy:
        return "unreadable" if spec.problem else "writing"
    if spec.wants:
        return "waiting"
    if spec.gone is not None or (not spec.seen and spec.app):
        return "gone"
    if spec.last is None:
        return "applied" if spec.tried else "waiting"
    return {"killed": "failed", "removed": "gone", "changed": "waiting"}.get(spec.last.result, str(spec.last.result))


def status_line(state: State, drift: DriftState, counts: Counts) -> str:
    """Short, and ASCII for the most part."""
    found = [word(stem, spec, state) for stem, spec in state.specs.items()]
    parts = [f"{found.count(name)} {name}" for name in WORDS if name in found and name not in ("applying", "removing")]
    text = f"{len(found)} spec{'' if len(found) == 1 else 's'}" + (f": {', '.join(parts)}" if parts else "")
    if state.running:
        text += f"; {'applying' if state.running.verb is Verb.APPLY else 'removing'} {state.running.stem}"
    if bad := next(((stem, spec.last) for stem, spec in sorted(state.specs.items()) if spec.last and not spec.last.result.is_good), None):
        text += f"; {bad[0]} {bad[1].text}"
    if drift.found:
        text += f"; drifted: {', '.join(sorted(drift.found))}"
    if state.problem:
        text += f"; {state.problem}"
    return f"{text}; last reload refused: {counts.error}" if counts.error else text


def status_data(state: State, drift: DriftState, counts: Counts, config: Config) -> dict[str, Any]:
    return {
        "ready": state.is_ready,
        "directory": config.specs,
        "problem": state.problem,
        "specs": [_spec(stem, spec, state, config) for stem, spec in sorted(state.specs.items())],
        "drift": [{"app": app, "kind": item.kind, "subject": item.subject} for app, items in sorted(drift.found.items()) for item in sorted(items)],
        "reload": {"accepted": counts.reloads, "refused": counts.refused_reloads, "error": counts.error},
        "denied": counts.denied,
        "heal": config.heal,
        "started": counts.started,
    }


def _spec(stem: str, spec: Spec, state: State, config: Config) -> dict[str, Any]:
    last = spec.last
    return {
        "spec": f"{config.specs}/{stem}.yaml",
        "state": word(stem, spec, state),
        "app": spec.app,
        "digest": spec.seen,
        "applied_digest": spec.tried,
        "problem": spec.problem,
        "last": {"result": last.result, "at": last.at, "seconds": last.seconds, "exit_code": last.exit_code, "lines": list(last.lines)}
        if last
        else None,
    }


def families(state: State, drift: DriftState, counts: Counts) -> list[Family]:
    specs = [
        sample for stem, spec in sorted(state.specs.items()) for sample in states("nanod_spec_state", {"spec": stem}, word(stem, spec, state), WORDS)
    ]
    drifted: list[tuple[Mapping[str, str], float]] = [
        ({"app": app, "kind": item.kind, "subject": item.subject}, 1.0) for app, items in sorted(drift.found.items()) for item in sorted(items)
    ]
    reloads: tuple[tuple[Mapping[str, str], float], ...] = (({"result": "accepted"}, counts.reloads), ({"result": "refused"}, counts.refused_reloads))
    return [
        Family(
            name="nanod_daemon_start_time_seconds",
            kind="gauge",
            unit="seconds",
            help="When the daemon began, in seconds since the epoch.",
            samples=(({}, counts.started),),
        ),
        Family(name="nanod_daemon_reloads", kind="counter", help="Reloads of its configuration.", samples=reloads),
        Family(name="nanod_daemon_denied", kind="counter", help="Connections of others than root.", samples=(({}, counts.denied),)),
        Family(name="nanod_spec_state", kind="stateset", help="What became of each spec of the directory.", samples=tuple(specs)),
        Family(name="nanod_drift", kind="gauge", help="What is not as nanod left it.", samples=tuple(drifted)),
    ]
