"""The lifecycle, once for both fronts: configure, build, start, run, shutdown.

    build       on_start hooks, in order; the first error ends it
    start       the service begins to serve
    run         READY=1, on_ready hooks beside it, reloads
    shutdown    STOPPING=1, on_shutdown hooks in reverse, the end of the service and of what runs beside it, all within one deadline;
                then on_stop hooks

The flow runs in the main thread. `ask`, `ask_reload`, `say_ready` and `served` may be called by signal handlers and other threads: they leave a note
and ring the bell.
"""

from __future__ import annotations

import logging
import time
from enum import StrEnum
from typing import TYPE_CHECKING

from nanod.lifecycle import leaving
from nanod.lifecycle.bell import Bell
from nanod.lifecycle.errors import Interrupted, LifecycleError, ReloadError, StateError, words_of
from nanod.lifecycle.front import Attempt, Step
from nanod.lifecycle.guard import Guard
from nanod.lifecycle.registry import Hook, Kind, is_async
from nanod.lifecycle.reloads import Reloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanod.lifecycle.front import Front
    from nanod.lifecycle.notify import Notifier
    from nanod.lifecycle.registry import Registry
    from nanod.lifecycle.reloads import Answer
    from nanod.lifecycle.watchdog import Watchdog

LAST_MOMENT = 1.0
"""Seconds that what is told to end has for that, also when no time is left."""
log = logging.getLogger("nanod.lifecycle")


class Phase(StrEnum):
    """Where a service is; the words that Mikros has for it, and `nanod status`."""

    CONFIGURE = "configure"
    BUILD = "build"
    START = "start"
    RUN = "run"
    SHUTDOWN = "shutdown"


class Flow:
    """`timeout` is that of the shutdown, in seconds; `says_ready`: the service calls `say_ready` itself; `serve` is what shutdown hooks may undo."""

    def __init__(
        self,
        registry: Registry,
        front: Front,
        notifier: Notifier,
        watchdog: Watchdog,
        *,
        timeout: float,
        says_ready: bool,
        serve: Callable[..., object] | None,
    ) -> None:
        self.phase = Phase.CONFIGURE
        self.front = front
        self.ending = Bell()
        """Rung when the end is asked for, and never hushed."""
        self.reloads = Reloads()
        self._registry = registry
        self._notifier = notifier
        self._watchdog = watchdog
        self._timeout = timeout
        self._guard = Guard(timeout, self._halfway, self._cut_short, self._hopeless)
        self._serve_function = serve
        self._begun: list[Callable[..., object]] = []
        """The start hooks that have succeeded, and the service, once that is begun."""
        self._asked: int | None = None
        self._is_ready = not says_ready
        self._problems: list[str] = []

    # What anybody may call

    def ask(self, status: int = 0) -> None:
        """Ask for the end. The first status counts."""
        if self._asked is None:
            self._asked = status
        self._guard.begin()
        self.ending.ring()
        self.front.bell.ring()

    def is_asked(self) -> bool:
        return self._asked is not None

    def is_ending(self) -> bool:
        return self.phase is Phase.SHUTDOWN

    def hurry(self) -> None:
        """Whoever asked for the end waits no longer: what is under way is cut short."""
        self._guard.hurry()
        self._cut_short()

    def ask_reload(self, answer: Answer | None = None) -> None:
        self.reloads.ask(answer)
        self.front.bell.ring()

    def say_ready(self) -> None:
        self._is_ready = True
        self.front.bell.ring()

    def served(self, error: BaseException | None) -> None:
        """The service has ended by itself, or because it was told to."""
        if isinstance(error, SystemExit) and isinstance(error.code, int | None):
            self.ask(error.code or 0)
            return
        if isinstance(error, Interrupted):
            self.problem("the loop took too long to end: it was cut short", error)
        elif error is not None:
            self.problem(f"the service failed: {words_of(error)}", error)
        elif not self._is_ready and self._asked is None:
            self.problem("the service has ended before it was ready")
        self.ask()

    def problem(self, words: str, error: BaseException | None = None) -> None:
        """What makes the exit status 1."""
        self._problems.append(words)
        log_error(words, error)

    # The flow

    async def run(self) -> int:
        """The exit status."""
        try:
            await self._build()
            if self._asked is None:
                await self._serve()
            self.ask()
            await self._shut_down()
        finally:
            self._guard.finish()
        await self._stop()
        if self._problems:
            self._notifier.status(self._problems[0])
        return 1 if self._problems else (self._asked or 0)

    async def _build(self) -> None:
        self._enter(Phase.BUILD)
        for hook in self._registry.of(Kind.START):
            if self._asked is not None:
                break
            _, error = await self._call(hook)
            if error is not None:
                self.problem(f"cannot start: {_failed(hook, error)}", error)
                self.ask()
                break
            self._begun.append(hook.function)

    async def _serve(self) -> None:
        """Until the end is asked for."""
        self._enter(Phase.START)
        if self._serve_function is not None:
            self._begun.append(self._serve_function)
        await self.front.begin(self.served)
        if self._is_ready and not self._problems:
            self._run()  # also when it has ended meanwhile: systemd takes a service that ends without READY=1 for one that failed
        while self._asked is None:
            if self._watchdog.due():
                self._notifier.watchdog()
            if self.phase is Phase.START and self._is_ready:
                self._run()
            elif self.phase is Phase.RUN and self.reloads.are_wanted():
                await self._reload()
            else:
                await self.front.rest(self._watchdog.left())

    def _run(self) -> None:
        self._notifier.ready()
        self._enter(Phase.RUN)
        self._after_ready(list(self._registry.of(Kind.READY)))

    def _after_ready(self, hooks: list[Hook]) -> None:
        """One after the other, beside the service."""
        if not hooks or self._asked is not None:
            return
        hook, *others = hooks

        def ended(error: BaseException | None) -> None:
            if error is not None:
                log_error(_failed(hook, error), error)
            self._after_ready(others)

        self.front.beside(str(hook), hook.function, ended)

    async def _reload(self) -> None:
        answers = self.reloads.take()
        hooks = self._registry.of(Kind.RELOAD)
        self._notifier.reloading()
        error = await self._read(hooks)
        if error is None:
            words = f"reloaded {', '.join(hook.name for hook in hooks)}"
            log.info("%s", words)
        else:
            words = error.message
            if isinstance(error, ReloadError):
                log_error(words, error.__cause__)
        self._notifier.ready()
        self._notifier.status(f"{self.phase}: {words}")
        for answer in answers:
            answer(error)

    async def _read(self, hooks: tuple[Hook, ...]) -> LifecycleError | None:
        """All hooks, and then what those of them gave that have something to put in force. The first error ends it."""
        commits: list[Hook] = []
        for hook in hooks:
            if self._asked is not None:
                return StateError("cannot reload: the service is about to end")
            given, error = await self._call(hook)
            if error is not None:
                return _reload_error(hook, error, "what was in force stays")
            if callable(given):
                commits.append(hook._replace(function=given))
        for hook in commits:
            _, error = await self._call(hook)
            if error is not None:
                return _reload_error(hook, error, "what comes before it is in force")
        return None

    async def _shut_down(self) -> None:
        self._enter(Phase.SHUTDOWN)
        self._notifier.stopping()
        self.refuse_reloads()
        for hook in reversed(self._registry.of(Kind.SHUTDOWN)):
            if hook.undoes is not None and hook.undoes not in self._begun:
                continue
            if self._guard.left() <= 0:
                self.problem(f"{hook} did not run: no time was left for it")
                continue
            _, error = await self._call(hook, patient=True)
            if error is not None:
                self.problem(_failed(hook, error), error)
        self.front.end(all_of_it=False)
        if await self._has_ended(max(LAST_MOMENT, self._guard.left())):
            return
        if self.front.end(all_of_it=True) and await self._has_ended(LAST_MOMENT):
            return
        for name in self.front.running():
            self.problem(f"{name} did not end within {self._timeout:g} s: it was abandoned")
        self.front.abandon()

    async def _has_ended(self, seconds: float) -> bool:
        """Whether everything has that runs, after at most `seconds`."""
        deadline = time.monotonic() + seconds
        while self.front.running() and (left := deadline - time.monotonic()) > 0:
            await self.front.rest(left)
        return not self.front.running()

    async def _stop(self) -> None:
        """All of them, whatever becomes of one, and for as long as they take."""
        for hook in self._registry.of(Kind.STOP):
            _, error = await self._call(hook, patient=True)
            if error is not None:
                self.problem(_failed(hook, error), error)

    async def _call(self, hook: Hook, *, patient: bool = False) -> tuple[object, BaseException | None]:
        """What it gives, and what it raises."""
        self._notifier.status(f"{'reload' if hook.kind is Kind.RELOAD else self.phase}: {hook.name}")
        with Attempt() as attempt:
            return await self.front.call(Step(str(hook), patient), hook.function), None
        return None, attempt.error

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._notifier.status(phase)

    def refuse_reloads(self) -> None:
        for answer in self.reloads.take():
            answer(StateError("cannot reload: the service is about to end"))

    # What the guard does, in its own thread

    def _halfway(self) -> None:
        """A start hook, a reload, or a loop that takes no turns: what is left of the time is for the shutdown hooks."""
        step = self.front.at()
        if step is not None and not step.patient:
            self.front.interrupt(step)

    def _cut_short(self) -> None:
        step = self.front.at()
        if step is not None:
            self.front.interrupt(step)

    def _hopeless(self) -> None:
        """The main thread hears nothing: what can be done without it is done here, and then the process exits."""
        step = self.front.at()
        self.problem(f"{step.name if step else 'the main thread'} cannot be interrupted: the process ends without it")
        for hook in self._registry.of(Kind.STOP):
            if is_async(hook.function):
                self.problem(f"{hook} did not run: it is async, and the event loop hangs")
                continue
            with Attempt() as attempt:
                hook.function()
            if attempt.error is not None:
                self.problem(_failed(hook, attempt.error), attempt.error)
        leaving.at_once(1)


def log_error(words: str, error: BaseException | None) -> None:
    """With the traceback, unless the error is one of ours, whose words say all."""
    log.error("%s", words, exc_info=None if isinstance(error, LifecycleError) else error)


def _failed(hook: Hook, error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return f"{hook} took too long: it was abandoned"
    return f"{hook} failed: {words_of(error)}"


def _reload_error(hook: Hook, error: BaseException, rest: str) -> ReloadError:
    failed = ReloadError(f"cannot reload: {_failed(hook, error)}; {rest}", hook=hook.name)
    failed.__cause__ = error
    return failed
