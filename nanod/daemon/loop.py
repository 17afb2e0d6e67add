"""The daemon at work: waits for what happens, asks `decide` what follows, and does it. It polls nothing and holds nothing up.

Everything that takes time is a child or a unit; only a reload waits, for the child that reads the configuration.
"""

from __future__ import annotations

import json
import selectors
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanod.daemon import drift, kept, report
from nanod.daemon.children import Child
from nanod.daemon.decide import ERROR, NOTICE, WARNING, decide, first
from nanod.daemon.sight import Sight
from nanod.daemon.state import (
    Answer,
    Asked,
    Drifted,
    Ended,
    Keep,
    Look,
    Looked,
    Moved,
    Outcome,
    Result,
    Running,
    Spec,
    Start,
    Stopping,
    Tell,
    Touched,
    Woke,
)
from nanod.daemon.work import PLACE, Work, unit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nanod.daemon.children import Done
    from nanod.daemon.config import Config
    from nanod.daemon.state import Action, Event

_PATIENCE = 60.0
"""Seconds between two questions whether a unit is still at work. Its end is told by a file, unless it was never begun."""
_CHILD_TIMEOUT = 900.0
_REMEMBERED = 200


class Daemon:
    """`status` is called with STATUS= whenever it is another one."""

    def __init__(self, config: Config, *, status: Callable[[str], None]) -> None:
        self.config = config
        self.counts = report.Counts(time.time())
        self.history: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self.selector = selectors.DefaultSelector()
        self.drift = drift.DriftState()
        self.state = first(config.settings, {}, time.monotonic())
        self._status, self._said = status, ""
        self._sight = Sight(config.specs)
        self._work = Work()
        self._events: deque[Event] = deque()
        self._children: dict[Child, tuple[Callable[[Done], None], float]] = {}
        self.answers: dict[int, Callable[[tuple[str, ...]], None]] = {}
        self._token = 0
        self._asks_at: float | None = None
        self._problem = ""
        self._apps: dict[str, str] = {}

    # Its life

    def begin(self, adopted: dict[str, Spec]) -> None:
        """Pick up what an earlier daemon left, and watch. `adopted`: what records of apps tell of specs that no daemon knows of. Raises OSError."""
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # `leases`
        for place in (PLACE, kept.PLACE):
            Path(place).mkdir(mode=0o755, parents=True, exist_ok=True)  # nanod.service has made them
        known, problem = kept.load(self.config.specs)
        if problem:
            self.tell(WARNING, f"{problem}; what apps were made from tells instead")
        left = next(self._work.left(), None)
        self.state = first(self.config.settings, {**adopted, **known}, time.monotonic(), left)
        self.selector.register(self._sight, selectors.EVENT_READ, self._news)
        self.selector.register(self._sight.mounts, selectors.EVENT_READ, self._mounted)
        self._sight.follow_units()
        if left:
            self._pick_up(left)
        self.drift = drift.touched(self.drift, time.monotonic())
        self.show()

    def end(self) -> None:
        """What runs goes on without it."""
        self.feed(Stopping())
        for child in self._children:
            child.kill()
            child.finish()
        self._sight.close()
        self.selector.close()

    def turn(self, timeout: float | None) -> None:
        """Wait for something to happen, `timeout` seconds at most, and see to it."""
        for key, _ in self.selector.select(self._wait(timeout)):
            key.data()
        self.see_to_time(time.monotonic())

    def _wait(self, timeout: float | None) -> float | None:
        now = time.monotonic()
        waits = [max(0.0, at - now) for at in self.deadlines() if at is not None]
        return min([*waits, *([] if timeout is None else [timeout])], default=None)

    def deadlines(self) -> list[float | None]:
        """When something is to be done even if nothing happens."""
        looks = None if self.drift.is_looking or self.state.running else self.drift.due
        return [self.state.wake, looks, self._asks_at, *(deadline for _, deadline in self._children.values())]

    def see_to_time(self, now: float) -> None:
        if self.state.wake is not None and now >= self.state.wake:
            self.feed(Woke(now))
        if drift.is_due(self.drift, now) and not self.state.running:
            self.drift = drift.looking(self.drift)
            self.spawn(["nanod", "inspect"], self._inspected)
        if self._asks_at is not None and now >= self._asks_at:
            self._ask_after_work(now)
        for child, (_, deadline) in self._children.items():
            if now >= deadline:
                child.kill()

    # What happens, and what follows

    def feed(self, event: Event) -> None:
        """One after the other: what is done about one may be another."""
        self._events.append(event)
        if len(self._events) > 1:
            return
        while self._events:
            self.state, actions = decide(self.state, self._events[0])
            for action in actions:
                self._do(action)
            self._events.popleft()
        self.show()

    def _do(self, action: Action) -> None:
        match action:
            case Look():
                files, problem = self._sight.look(action.names)
                self._tell_problem()
                self.feed(Looked(files, time.monotonic(), problem))
            case Start():
                self._start(action.running)
            case Keep():
                self._keep()
            case Tell():
                self.tell(action.priority, action.text)
            case Answer():
                if answer := self.answers.pop(action.token, None):
                    answer(action.problems)

    def tell(self, priority: int, text: str) -> None:
        """To the journal, which reads the priority (sd-daemon(3)); a person at a terminal does without."""
        prefix = "" if sys.stderr.isatty() else f"<{priority}>"
        with suppress(OSError):
            sys.stderr.write("".join(f"{prefix}{line}\n" for line in text.splitlines()))
            sys.stderr.flush()
        self.history.append({"at": _utc(), "priority": priority, "text": text})

    def ask(self, answer: Callable[[tuple[str, ...]], None]) -> None:
        """Look at everything, and call `answer` with what is not in force once all is done."""
        self._token += 1
        self.answers[self._token] = answer
        self.drift = drift.touched(drift.asked_again(self.drift), time.monotonic())
        self.feed(Asked(self._token, time.monotonic()))

    def spawn(self, argv: Sequence[str], ended: Callable[[Done], None]) -> None:
        """Run a program, and call `ended` afterwards. Raises OSError when it cannot be started."""
        child = Child(argv)
        self._children[child] = (ended, time.monotonic() + _CHILD_TIMEOUT)
        self.selector.register(child, selectors.EVENT_READ, lambda: self._reap(child))

    def _reap(self, child: Child) -> None:
        self.selector.unregister(child)
        ended, _ = self._children.pop(child)
        ended(child.finish())

    def show(self, *, again: bool = False) -> None:
        """`again`: somebody else has said something meanwhile."""
        line = report.status_line(self.state, self.drift, self.counts)
        if again or line != self._said:
            self._said = line
            self._status(line)

    def _news(self) -> None:
        """Something has happened in a directory."""
        news, now = self._sight.news(), time.monotonic()
        if news.is_partial:
            self.tell(NOTICE, "more has happened than could be told: all is looked at")
        if news.specs is None or news.specs:
            self.feed(Touched(news.specs, now))
        if news.units:
            self.drift = drift.touched(self.drift, now)
        if news.results:
            self._see_result()

    def _mounted(self) -> None:
        if self._sight.has_moved():
            self.feed(Touched(None, time.monotonic()))

    def _tell_problem(self) -> None:
        if self._sight.problem and self._sight.problem != self._problem:
            self.tell(WARNING, f"{self._sight.problem}: changes there are seen by 'nanod reload' alone")
        self._problem = self._sight.problem

    def _keep(self) -> None:
        try:
            kept.save(self.config.specs, self.state.specs)
        except OSError as failed:
            self.tell(WARNING, f"cannot write {kept.PLACE}: {failed.strerror}; after a reboot specs may be applied once more")

    # Work

    def _start(self, running: Running) -> None:
        try:
            self._work.prepare(running, self._sight.path_of(running.stem))
            self._start_unit(running)
        except (OSError, ValueError) as failed:
            self._ended(running, _failure(f"cannot start {running.verb} of {running.stem}: {failed}"))

    def _start_unit(self, running: Running) -> None:
        self._asks_at = time.monotonic() + _PATIENCE
        unit = unit_of(running.verb, running.stem)
        self.spawn(["systemctl", "--no-block", "start", unit], lambda done: self._started(running, done))

    def _started(self, running: Running, done: Done) -> None:
        if done.status and not self._work.has_ended(running):
            why = done.err.strip().splitlines() or [f"systemctl ended with status {done.status}"]
            self._ended(running, _failure(*why))

    def _pick_up(self, left: Running) -> None:
        """What was begun before this daemon was. Should it still run, a start of it is the same job; should it never have begun, this begins it."""
        self.tell(NOTICE, f"{left.stem}: {left.verb} was begun by an earlier daemon")
        if self._work.has_ended(left):
            self._see_result()
            return
        try:
            self._start_unit(left)
        except OSError as failed:
            self._ended(left, _failure(f"cannot see whether {left.verb} of {left.stem} is under way: {failed}"))

    def _see_result(self) -> None:
        running = self.state.running
        if running and self._work.has_ended(running):
            self._ended(running, self._work.outcome(running, _utc()))

    def _ended(self, running: Running, outcome: Outcome) -> None:
        if running != self.state.running:
            return
        self._asks_at = None
        self._work.clear(running)
        self.drift = drift.touched(self.drift, time.monotonic())
        self.feed(Ended(running, outcome))

    def _ask_after_work(self, now: float) -> None:
        """A job that was cancelled leaves nothing behind."""
        self._asks_at = now + _PATIENCE
        if running := self.state.running:
            unit = unit_of(running.verb, running.stem)
            self.spawn(["systemctl", "show", "--property=ActiveState,Job", unit], lambda done: self._asked_after(running, done))

    def _asked_after(self, running: Running, done: Done) -> None:
        shown = dict(line.partition("=")[::2] for line in done.out.splitlines())
        is_idle = shown.get("ActiveState") in ("inactive", "failed") and shown.get("Job", "0") in ("", "0")
        if done.status == 0 and is_idle and self.state.running == running and not self._work.has_ended(running):
            lines = (f"{unit_of(running.verb, running.stem)} was cancelled",)
            self._ended(running, Outcome(result=Result.KILLED, at=_utc(), lines=lines))

    # Drift

    def _inspected(self, done: Done) -> None:
        seen = read_inspection(done)
        if seen is None:
            self.tell(ERROR, f"cannot look for drift: {(done.err.strip().splitlines() or [f'it ended with {done.status}'])[-1]}")
        heals = {spec.app: stem for stem, spec in self.state.specs.items() if spec.app and not spec.wants} if self.config.heal else {}
        self.drift, told, stems = drift.looked(self.drift, seen, time.monotonic(), heals=heals)
        for item in told:
            self.tell(item.priority, item.text)
        for stem in stems:
            self.tell(NOTICE, f"{stem}: is put back")
            self.feed(Drifted(stem))
        if seen is not None:
            self._compare_apps(seen)
        self._sight.follow_units()
        self.show()

    def _compare_apps(self, seen: Iterable[drift.Seen]) -> None:
        """With what was there at the last look; at the first one, all may be new. While somebody is at work, another look follows."""
        now = {item.app: item.digest for item in seen}
        if not any(item.is_under_way for item in seen):
            moved = frozenset(app for app in {*now, *self._apps} if now.get(app) != self._apps.get(app))
            self._apps = now
            if moved:
                self.feed(Moved(moved))


def read_inspection(done: Done) -> list[drift.Seen] | None:
    """What `nanod inspect` found; None when it did not get that far."""
    try:
        answer: Any = json.loads(done.out)
        return [
            drift.Seen(
                app=item["app"],
                spec=item["spec"],
                items=frozenset(drift.Item(one["kind"], one["subject"]) for one in item["drift"]),
                is_under_way=bool(item["under_way"]),
                digest=str(item["digest"]),
            )
            for item in answer["apps"]
        ]
    except (ValueError, KeyError, TypeError):
        return None


def _failure(*lines: str) -> Outcome:
    return Outcome(result=Result.FAILED, at=_utc(), exit_code=1, lines=lines)


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
