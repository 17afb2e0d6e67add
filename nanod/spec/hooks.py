"""Hooks: commands around the life of a process, by phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nanod.phases import HOOK_PHASES, Context, OnFailure, Scope, phase_of
from nanod.spec import read
from nanod.spec.model import Hook
from nanod.spec.shapes import alternatives
from nanod.spec.tree import Map, Place, Seq, shown

if TYPE_CHECKING:
    from nanod.phases import Phase

_ENDLESS: Final = frozenset(["poststop"])
"""Phases with a limit of their own that allow `infinity`; where the phase has no limit at all it is allowed too."""


def hooks(context: read.Context, service: Place, shell: tuple[str, ...], base: str | None) -> dict[str, tuple[Hook, ...]]:
    found = {}
    written = service.below("hooks")
    for phase in HOOK_PHASES:
        if written is not None and written.get(phase) is not None:
            places = enumerate(_places(context, written.child(phase)), 1)
            made = tuple(hook for number, place in places if (hook := _hook(context, place, (phase, number), shell, base)))
            _check_names(context, made)
            if made:
                found[phase] = made
    return found


def _places(context: read.Context, phase: Place) -> list[Place]:
    """The hooks of a phase. A list of words is most likely meant to be one command, and a dash in front of a word never starts one."""
    if not isinstance(phase.node, Seq):
        return [phase]
    items = phase.items()
    texts = [item.node for item in items if isinstance(item.node, str)]
    form = f"one command with arguments is written {{run: [{', '.join(str(item) for item in texts[:3])}{', …' if len(texts) > 3 else ''}]}}"
    dashes = [item for item in items if isinstance(item.node, str) and item.node.startswith("-")]
    for item in dashes:
        context.findings.error(item, f"{shown(item.node)} cannot be a hook: a list holds several hooks; {form}")
    if not dashes and len(texts) > 1 and len(texts) == len(items) and not any(set(text.strip()) & set("/ \t\n;|&") for text in texts):
        context.findings.warning(phase, f"these are {len(texts)} hooks, run one by one; {form}")
    return items


def _hook(context: read.Context, place: Place, position: tuple[str, int], shell: tuple[str, ...], base: str | None) -> Hook | None:
    """None where what it runs was found wrong already, and left out."""
    phase, number = position
    scope = read.choice(place, "scope", Scope, "start")
    if scope is Scope.DEPLOY and phase != "prestart":
        context.findings.error(place, f"'scope: deploy' is for prestart hooks; {phase} hooks run at every start", "scope")
        scope = Scope.START
    row = phase_of(phase, scope)
    own_shell = read.shell(context, place, shell, base)
    run = read.command(context, place.child("run") if isinstance(place.node, Map) else place, own_shell, base)
    if run is None:
        return None
    is_irreversible = read.flag(place, "irreversible")
    if is_irreversible and phase != "deploy" and scope is not Scope.DEPLOY:
        message = "'irreversible' is for hooks that run once per content: deploy, and prestart with 'scope: deploy'"
        context.findings.error(place, message, "irreversible")
    return Hook(
        at=place,
        phase=phase,
        name=read.text(place, "name") or str(number),
        run=run,
        timeout=read.span(context, place, "timeout", row.timeout, forever=row.timeout.is_forever or phase in _ENDLESS),
        on_failure=_on_failure(context, place, row),
        scope=scope,
        context=read.choice(place, "context", Context, row.context),
        user=read.text(place, "user"),
        environment=read.environment(context, place),
        irreversible=is_irreversible,
    )


def _on_failure(context: read.Context, place: Place, row: Phase) -> OnFailure:
    chosen = read.choice(place, "on_failure", OnFailure, row.default)
    if chosen not in row.allowed:
        name = f"{row.name} hook{f' with scope: {row.scope}' if row.scope is Scope.DEPLOY else ''}"
        allowed = alternatives([word.value for word in row.allowed])
        context.findings.error(place, f"'on_failure' of a {name} must be {allowed}, not '{chosen}'", "on_failure")
    return chosen


def _check_names(context: read.Context, made: tuple[Hook, ...]) -> None:
    names: set[str] = set()
    for hook in made:
        if hook.name in names:
            context.findings.error(_place_of(hook), f"two {hook.phase} hooks are called '{hook.name}'", "name")
        names.add(hook.name)


def _place_of(hook: Hook) -> Place:
    assert isinstance(hook.at, Place)
    return hook.at
