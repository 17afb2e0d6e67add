"""What `nanod doctor` says of the daemon, judged from its own answer. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanod.doctor import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BAD = ("refused", "failed", "degraded", "unreadable")


def findings(status: Mapping[str, Any] | None, enabled: str, *, can_ask: bool) -> Iterator[Finding]:
    """`status`: its answer, None for none; `enabled`: what `systemctl is-enabled nanod.service` says; `can_ask`: the socket is this user's to use.

    Nothing on a host that does without.
    """
    is_wanted = enabled.startswith("enabled")
    if not can_ask:
        if is_wanted:
            yield Finding(id="daemon", level=Level.NOTE, text="unknown: only root may ask the daemon", remedy="run it as root", is_known=False)
    elif status is not None:
        yield from _up(status)
    elif is_wanted:
        text = "nanod.service is enabled, and no daemon answers"
        yield Finding(id="daemon", level=Level.ERROR, text=text, remedy="systemctl status nanod.service; systemctl start nanod.service")


def _up(status: Mapping[str, Any]) -> Iterator[Finding]:
    found = list(_wrong(status))
    if not found:
        count = len(status["specs"])
        text = f"the daemon keeps {status['directory']} applied: {count} spec{'' if count == 1 else 's'}"
        yield Finding(id="daemon", level=Level.OK, text=text)
    yield from found


def _wrong(status: Mapping[str, Any]) -> Iterator[Finding]:
    if error := status["reload"]["error"]:
        remedy = "'nanod daemon --check' shows all that is wrong; then nanod reload"
        yield Finding(id="daemon-reload", level=Level.WARNING, text=f"the daemon refused its last reload: {error}", remedy=remedy)
    if problem := status["problem"]:
        text = f"{problem}: the daemon removes nothing meanwhile"
        yield Finding(id="daemon-directory", level=Level.WARNING, text=text, remedy="put it back; what is to go, 'nanod remove' takes away")
    for spec in status["specs"]:
        if spec["state"] in _BAD:
            last = spec["last"] or {}
            why = spec["problem"] or ": ".join([last.get("result", ""), *last.get("lines", [])[:1]])
            text = f"the daemon could not apply {spec['spec']}: {why}"
            yield Finding(id="daemon-spec", level=Level.WARNING, text=text, remedy=f"nanod check {spec['spec']}; nanod reload", subject=spec["spec"])
