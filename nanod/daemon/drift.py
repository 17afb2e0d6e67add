"""When to look for what drifted from what nanod left there, whom to tell, and what to put back. Pure, as `decide`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nanod.daemon.state import Tell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

QUIET = 1.0
"""Seconds without a further change of a unit directory before it is looked at."""
LONGEST = 5.0
HEALED = frozenset({"edited", "deleted", "unfinished", "not-loaded"})
"""What an apply puts back. Masks and drop-ins are the administrator's, and stay."""
MOST = 5
WINDOW = 600.0
"""So often in so many seconds an app is put back; whoever changes it more often than that means it, or is another program."""

_WARNING, _NOTICE, _ERROR = 4, 5, 3
_WORDS = {
    "edited": "was edited by hand",
    "deleted": "is gone",
    "masked": "is masked",
    "unfinished": "is from an apply that did not finish",
    "not-loaded": "changed on disk since systemd read it",
    "override": "is a drop-in of the administrator, which wins",
}


class Item(NamedTuple):
    """`kind` and `subject` as `nanod status --json` has them."""

    kind: str
    subject: str

    def __str__(self) -> str:
        return f"{self.subject} {_WORDS.get(self.kind, self.kind)}"


class Seen(NamedTuple):
    """An app as it was found; `is_under_way`: a transaction of it has not ended. `digest`: of the text that it was made from, "" when unknown."""

    app: str
    spec: str
    items: frozenset[Item] = frozenset()
    is_under_way: bool = False
    digest: str = ""


class Tries(NamedTuple):
    """To put an app back: when, and what was wrong the last time. `is_told`: that it is given up."""

    at: tuple[float, ...] = ()
    items: frozenset[Item] = frozenset()
    is_told: bool = False


class DriftState(NamedTuple):
    """`due`: when to look, None for not at all."""

    due: float | None = None
    since: float | None = None
    is_looking: bool = False
    found: Mapping[str, frozenset[Item]] = {}
    tries: Mapping[str, Tries] = {}


def touched(state: DriftState, at: float) -> DriftState:
    """A unit directory changed, or a nanod command has ended."""
    since = at if state.since is None else state.since
    return state._replace(since=since, due=min(at + QUIET, since + LONGEST))


def is_due(state: DriftState, at: float) -> bool:
    return state.due is not None and at >= state.due and not state.is_looking


def looking(state: DriftState) -> DriftState:
    return state._replace(due=None, since=None, is_looking=True)


def looked(state: DriftState, seen: Iterable[Seen] | None, at: float, *, heals: Mapping[str, str]) -> tuple[DriftState, list[Tell], list[str]]:
    """What was found, None when nobody could look; what to tell of it, and which specs to apply once more. `heals`: of each app that may be put
    back, its spec; nothing for none.
    """
    state = state._replace(is_looking=False)
    if seen is None:
        return state, [], []
    now = {item.app: item for item in seen}
    # What a transaction under way is about to change is not drift; its end is another look.
    found = {app: state.found.get(app, frozenset()) if item.is_under_way else item.items for app, item in now.items()}
    told = [tell for app in sorted(found.keys() | state.found.keys()) for tell in _news(app, state.found.get(app), found.get(app))]
    tries, stems = dict(state.tries), []
    for app, stem in heals.items():
        wrong = frozenset(item for item in found.get(app, ()) if item.kind in HEALED)
        before = tries.get(app, Tries())
        recent = tuple(when for when in before.at if when > at - WINDOW)
        if not wrong:
            tries[app] = Tries(at=recent)
        elif wrong <= before.items or len(recent) >= MOST:
            if not before.is_told:
                told.append(Tell(_ERROR, f"{app}: gives up putting it back: {', '.join(map(str, sorted(wrong)))}"))
            tries[app] = before._replace(at=recent, is_told=True)
        elif app in now and not now[app].is_under_way:
            tries[app] = Tries(at=(*recent, at), items=wrong)
            stems.append(stem)
    return state._replace(found={app: items for app, items in found.items() if items}, tries=tries), told, stems


def asked_again(state: DriftState) -> DriftState:
    """A person has asked for a look at everything: what was given up is tried again."""
    return state._replace(tries={})


def _news(app: str, before: frozenset[Item] | None, after: frozenset[Item] | None) -> list[Tell]:
    if after is None:
        return []
    old = before or frozenset()
    told = [Tell(_WARNING, f"{app}: {item}") for item in sorted(after - old)]
    if old and not after:
        told.append(Tell(_NOTICE, f"{app}: all is as nanod left it again"))
    return told
