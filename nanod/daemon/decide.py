"""What the daemon does next: `decide(state, event) -> (state, actions)`. Pure; the loop does what it says, and tells it what happened.

One piece of work at a time: whoever changes the host holds its lock anyway. The bytes of a file decide whether there is anything to do; an event
only says when to look. Whatever is lost or comes in another order, the next look at everything finds the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.daemon.state import (
    GONE,
    LONGEST,
    START,
    Answer,
    Asked,
    Configured,
    Drifted,
    Ended,
    Keep,
    Look,
    Looked,
    Moved,
    Result,
    Running,
    Spec,
    Start,
    State,
    Stopping,
    Tell,
    Touched,
    Verb,
    Waiter,
    Woke,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nanod.daemon.state import Action, Event, File, Settings

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6
_TRIES = 2
"""How often work that is ended from outside is begun."""
_CHANGES = 20
"""How often in a row a file may be another one by the time it is read."""


def first(settings: Settings, specs: Mapping[str, Spec], at: float, running: Running | None = None) -> State:
    """Before anything was looked at. `specs` and `running`: what is known from before."""
    return State(settings=settings, specs=specs, running=running, is_all_dirty=True, since=at, due=at, waiters=(Waiter(token=START),))


def decide(state: State, event: Event) -> tuple[State, tuple[Action, ...]]:
    deciding = _Deciding(state)
    deciding.take(event)
    deciding.go_on()
    return deciding.state, tuple(deciding.actions)


class _Deciding:
    def __init__(self, state: State) -> None:
        self.state = state
        self.actions: list[Action] = []

    def take(self, event: Event) -> None:
        match event:
            case Touched():
                self._touched(event)
            case Woke():
                self._woke(event.at)
            case Looked():
                self._looked(event)
            case Ended():
                self._ended(event)
            case Asked():
                self._asked(event)
            case Drifted():
                self._again([event.stem])
            case Moved():
                self._moved(event.apps)
            case Configured():
                self._set(settings=event.settings)
            case Stopping():
                self._set(is_stopping=True)

    def _set(self, **changes: object) -> None:
        self.state = self.state._replace(**changes)  # type: ignore[arg-type]  # the names are those of State, and mypy sees only a mapping

    def _put(self, stem: str, spec: Spec | None) -> None:
        specs = dict(self.state.specs)
        specs.pop(stem, None)
        if spec:
            specs[stem] = spec
        self._set(specs=specs)

    def _tell(self, priority: int, text: str) -> None:
        self.actions.append(Tell(priority, text))

    # When to look

    def _touched(self, event: Touched) -> None:
        state = self.state
        since = event.at if state.since is None else state.since
        due = min(event.at + state.settings.debounce, since + LONGEST)
        names = event.names or frozenset()
        self._set(since=since, due=due, dirty=state.dirty | names, is_all_dirty=state.is_all_dirty or event.names is None)

    def _woke(self, at: float) -> None:
        state = self.state
        if state.due is not None and at >= state.due:
            self._look(None if state.is_all_dirty else state.dirty)
        elif state.wake is not None and at >= state.wake:
            # Whether something is still missing: what has to be looked at otherwise has its own time.
            self.actions.append(Look(frozenset()))

    def _look(self, names: frozenset[str] | None) -> None:
        self._set(dirty=frozenset(), is_all_dirty=False, since=None, due=None)
        self.actions.append(Look(names))

    def _asked(self, event: Asked) -> None:
        self._set(waiters=(*self.state.waiters, Waiter(token=event.token)))
        bad = [stem for stem, spec in self.state.specs.items() if spec.is_stuck or (spec.last and not spec.last.result.is_good)]
        self._again(bad)
        for stem in bad:
            # The look that follows tells whether it is gone still; until then nothing of it is removed.
            self._put(stem, self.state.specs[stem]._replace(leaves=False))
        self._look(None)

    def _again(self, stems: Iterable[str]) -> None:
        for stem in stems:
            if spec := self.state.specs.get(stem):
                self._put(stem, spec._replace(again=True, is_stuck=False, kills=0))

    # What was seen

    def _looked(self, event: Looked) -> None:
        problem = event.problem or self._emptied(event.files)
        if problem and problem != self.state.problem:
            self._tell(WARNING, f"{problem}: nothing is removed")
        if self.state.problem and not problem:
            self._tell(NOTICE, f"{self.state.settings.directory} can be gone by again")
        self._set(problem=problem)
        at_once = any(waiter.token != START and not waiter.has_looked for waiter in self.state.waiters)
        for stem in sorted({*self.state.specs, *event.files}):
            if found := event.files.get(stem):
                self._found(stem, found)
            elif problem:
                self._put(stem, self.state.specs[stem]._replace(seen="", gone=None, leaves=False, is_unseen=False, is_busy=False))
            else:
                self._missing(stem, event.at, at_once=at_once)
        self._set(waiters=tuple(self._waits(waiter)._replace(problem=problem or waiter.problem) for waiter in self.state.waiters))

    def _emptied(self, files: Mapping[str, File]) -> str:
        """All gone at once is a lost mount or a slip of the hand more often than it is meant."""
        apps = sorted(spec.app for spec in self.state.specs.values() if spec.app)
        if files or not apps:
            return ""
        return f"{self.state.settings.directory} has no spec any more, and {', '.join(apps)} came from there"

    def _found(self, stem: str, file: File) -> None:
        before = self.state.specs.get(stem, Spec())
        spec = before._replace(gone=None, leaves=False, is_stuck=False, is_unseen=False, is_busy=file.is_busy)
        if file.problem:
            if file.problem != before.problem:
                self._tell(ERROR, f"{stem}: {file.problem}")
            spec = spec._replace(problem=file.problem, seen="")
        elif not file.is_busy:
            spec = spec._replace(problem="", seen=file.digest, kills=spec.kills if file.digest == before.seen else 0)
        self._put(stem, spec)

    def _missing(self, stem: str, at: float, *, at_once: bool) -> None:
        spec = self.state.specs[stem]
        if spec.leaves:
            return
        gone = at if spec.gone is None else spec.gone
        leaves = at_once or at - gone >= GONE
        self._put(stem, spec._replace(gone=gone, leaves=leaves, problem="", is_unseen=False, is_busy=False))

    # What was done

    def _ended(self, event: Ended) -> None:
        run, outcome = event.running, event.outcome
        self._set(running=None)
        spec = self.state.specs.get(run.stem, Spec())
        if outcome.result is Result.CHANGED and spec.changes + 1 < _CHANGES:
            # What is there now may be in the middle of being written; then an event follows.
            self._put(run.stem, spec._replace(seen="", is_unseen=True, changes=spec.changes + 1))
            self._set(waiters=tuple(_without(waiter, run.stem, is_over=False) for waiter in self.state.waiters))
            self.actions.append(Look(frozenset({run.stem})))  # others that have changed wait for their own time
            return
        if outcome.result is Result.KILLED and spec.kills + 1 < _TRIES:
            self._put(run.stem, spec._replace(kills=spec.kills + 1, last=outcome))
            self._tell(WARNING, f"{run.stem}: {run.verb} {outcome.text}; once more")
            self._set(waiters=tuple(_without(waiter, run.stem, is_over=False) for waiter in self.state.waiters))
            return
        spec = spec._replace(changes=0)
        self._tell(NOTICE if outcome.result.is_good else ERROR, _told(run, outcome.text))
        for line in outcome.lines[1:]:
            self._tell(ERROR, f"{run.stem}: {line}")
        if run.verb is Verb.REMOVE:
            done = outcome.result is Result.REMOVED
            spec = spec._replace(last=outcome, again=False, is_stuck=not done, app="" if done else spec.app, tried="" if done else spec.tried)
        else:
            app = outcome.app if outcome.result is Result.APPLIED else spec.app
            if spec.app and app != spec.app:
                self._tell(WARNING, f"{run.stem}: its app is now {app}; {spec.app}, which came from it, stays: 'nanod remove {spec.app}' removes it")
            spec = spec._replace(last=outcome, again=False, tried=run.digest, app=app)
        self._put(run.stem, spec)
        self.actions.append(Keep())
        if outcome.result is Result.REMOVED:
            # A name or a port that it had may have been in the way of another.
            self._again([stem for stem, other in self.state.specs.items() if other.seen and other.last and not other.last.result.is_good])
        self._set(waiters=tuple(_without(waiter, run.stem, is_over=True) for waiter in self.state.waiters))

        if outcome.result.is_good:
            self._moved(frozenset({outcome.app or run.app}))

    def _moved(self, apps: frozenset[str]) -> None:
        """Who was refused because of one of these is tried again, and who waits for all to be done waits for that, too."""
        run = self.state.running
        held = {stem: spec.last for stem, spec in self.state.specs.items() if spec.last and not (run and run.stem == stem)}
        stems = frozenset(stem for stem, last in held.items() if last.result is Result.REFUSED and apps.intersection(last.awaits))
        self._again(stems)
        self._set(waiters=tuple(waiter._replace(pending=waiter.pending | stems) if waiter.has_looked else waiter for waiter in self.state.waiters))

    # What follows

    def go_on(self) -> None:
        """Forget what has left, begin the next piece of work, tell those who wait."""
        for stem, spec in list(self.state.specs.items()):
            is_busy = self.state.running is not None and self.state.running.stem == stem
            if spec.leaves and not spec.app and not is_busy:
                self._put(stem, None)
                self.actions.append(Keep())
        self._line_up()
        self._begin()
        for waiter in self.state.waiters:
            if waiter.has_looked and not any(map(self._is_pending, waiter.pending)):
                self.actions.append(Answer(waiter.token, self._problems(waiter)))
                self._set(waiters=tuple(other for other in self.state.waiters if other is not waiter), is_ready=True)

    def _line_up(self) -> None:
        """First come, first served."""
        run = self.state.running
        wanting = {stem for stem, spec in self.state.specs.items() if spec.wants and not (run and run.stem == stem)}
        kept = [stem for stem in self.state.queue if stem in wanting]
        self._set(queue=(*kept, *sorted(wanting - set(kept))))

    def _begin(self) -> None:
        # What is about to be looked at may be another thing to do, or none.
        is_to_look = any(isinstance(action, Look) for action in self.actions)
        if self.state.running or self.state.is_stopping or is_to_look or not self.state.queue:
            return
        stem, *rest = self.state.queue
        spec = self.state.specs[stem]
        assert spec.wants
        is_apply = spec.wants is Verb.APPLY
        run = Running(
            stem=stem,
            verb=spec.wants,
            digest=spec.seen if is_apply else "",
            app="" if is_apply else spec.app,
            takes_over=is_apply and any(other.gone is not None and other.app and other.tried == spec.seen for other in self.state.specs.values()),
        )
        self._set(running=run, queue=tuple(rest))
        self.actions.append(Start(run))

    # Those who wait

    def _waits(self, waiter: Waiter) -> Waiter:
        if waiter.has_looked:
            return waiter
        run = self.state.running
        wanting = {stem for stem, spec in self.state.specs.items() if spec.wants}
        stale = run.stem if run and run.stem in self.state.specs and not self._is_for(run) else ""
        pending = frozenset(wanting | ({run.stem} if run else set()))
        return waiter._replace(has_looked=True, specs=frozenset(self.state.specs), pending=pending, stale=stale)

    def _is_for(self, run: Running) -> bool:
        """Whether it does what is wanted now."""
        spec = self.state.specs[run.stem]
        return run.verb is Verb.REMOVE if spec.leaves else run.verb is Verb.APPLY and run.digest == spec.seen

    def _is_pending(self, stem: str) -> bool:
        run, spec = self.state.running, self.state.specs.get(stem)
        return (run is not None and run.stem == stem) or (spec is not None and (spec.wants is not None or spec.is_unseen))

    def _problems(self, waiter: Waiter) -> tuple[str, ...]:
        found = [waiter.problem] if waiter.problem else []
        for stem in sorted(waiter.specs & self.state.specs.keys()):
            spec = self.state.specs[stem]
            if spec.problem:
                found.append(f"{stem}: {spec.problem}")
            elif spec.last and not spec.last.result.is_good:
                found.append(_told(Running(stem=stem, verb=Verb.REMOVE if spec.leaves else Verb.APPLY), spec.last.text))
                found.extend(f"{stem}: {line}" for line in spec.last.lines[1:])
        return tuple(found)


def _told(run: Running, text: str) -> str:
    return f"{run.stem}: {'its app ' + run.app + ' ' if run.verb is Verb.REMOVE and run.app else ''}{text}"


def _without(waiter: Waiter, stem: str, *, is_over: bool) -> Waiter:
    """After a run of it has ended; `is_over`: and no further one is begun for the same bytes."""
    if waiter.stale == stem:
        return waiter._replace(stale="")
    return waiter._replace(pending=waiter.pending - {stem}) if is_over else waiter
