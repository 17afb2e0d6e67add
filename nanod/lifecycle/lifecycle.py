"""The Lifecycle that a service uses; `nanod.lifecycle` has it, with an overview."""

from __future__ import annotations

import math
import os
import signal
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from nanod.lifecycle import leaving, plain
from nanod.lifecycle.errors import StateError, words_of
from nanod.lifecycle.flow import Flow, Phase, log_error
from nanod.lifecycle.hooks import Hooks
from nanod.lifecycle.notify import Notifier
from nanod.lifecycle.registry import Kind, name_of
from nanod.lifecycle.reloads import Waiting
from nanod.lifecycle.signals import Signals
from nanod.lifecycle.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from nanod.lifecycle.aio import AsyncFront
    from nanod.lifecycle.front import Front


class Lifecycle(Hooks):
    """`shutdown_timeout`: seconds, from the wish to end until the on_stop hooks begin. Raises ValueError unless it is above 0.

    `control`: the path of a socket on which `python3 -m nanod.lifecycle reload PATH` asks for a reload, and waits for it.
    """

    def __init__(self, *, shutdown_timeout: float = 30.0, control: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        if not (shutdown_timeout > 0 and math.isfinite(shutdown_timeout)):
            raise ValueError(f"cannot use shutdown_timeout={shutdown_timeout!r}: it must be a number of seconds above 0")
        self._timeout = shutdown_timeout
        self._control = None if control is None else os.fspath(control)
        self._notifier = Notifier()
        self._watchdog = Watchdog()
        self._early_stop: int | None = None
        self._flow: Flow | None = None
        self._aio: AsyncFront | None = None

    # The ways to serve

    def run(self, serve: Callable[[], object] | None = None, *, says_ready: bool = False) -> int:
        """Run the service to its end, and give the exit status: 0 after a clean end, 1 when anything failed, or that of `stop`.

        `serve` is called in a thread of its own and may block; its return is the end of the service. None: until the end is asked for.
        READY=1 is said once it has been called; with `says_ready` once it has called `ready()`.
        Raises HookError when a hook is async, and StateError outside of the main thread, or when it has been called before.
        """
        self._registry.refuse_async()
        front = plain.PlainFront(serve)
        with Signals(self._signalled), self._listening():
            return self._over(plain.run(self._begin(front, serve, says_ready=says_ready), front))

    def run_loop(self, loop: Callable[[plain.Turn], object], *, says_ready: bool = False) -> int:
        """As `run`, with a loop in the main thread, which calls the Turn that it is given in each round. Hooks run within these calls."""
        self._registry.refuse_async()
        front = plain.LoopFront()
        with Signals(self._signalled), self._listening():
            return self._over(plain.run_loop(self._begin(front, loop, says_ready=says_ready), front, loop))

    async def serve(self, main: Callable[[], Awaitable[object]], *, says_ready: bool = False) -> int:
        """As `run`, in the running event loop; hooks may be async. When the end is asked for, `main` is cancelled after the on_shutdown hooks.

        A `main` that has called `wait_async` ends by itself instead. A cancellation of this call asks for the end, too, and is handed on after it.
        """
        from nanod.lifecycle.aio import AsyncFront, run  # noqa: PLC0415  # asyncio costs a plain service 4 MB

        with Signals(self._signalled), self._listening():
            front = AsyncFront(main)
            flow = self._begin(front, main, says_ready=says_ready)
            self._aio = front
            return self._over(await run(flow, front))

    def _begin(self, front: Front, serve: Callable[..., object] | None, *, says_ready: bool) -> Flow:
        if self._flow is not None:
            raise StateError("cannot run: this service has been run already", hint="make another Lifecycle")
        self._registry.freeze(serve)
        notifier, watchdog = self._notifier, self._watchdog
        self._flow = Flow(self._registry, front, notifier, watchdog, timeout=self._timeout, says_ready=says_ready, serve=serve)
        if Signals.early() and self._registry.of(Kind.RELOAD):
            self._flow.ask_reload()
        if self._early_stop is not None:
            self._flow.ask(self._early_stop)
        return self._flow

    def _listening(self) -> AbstractContextManager[None]:
        if self._control is None:
            return nullcontext()
        from nanod.lifecycle.control import Control  # noqa: PLC0415  # most services have none

        return Control(self._control, self.reload)

    @staticmethod
    def _over(status: int) -> int:
        leaving.in_bounds(status)
        return status

    def _signalled(self, number: int) -> None:
        """In the main thread, between any two of its instructions."""
        flow = self._flow
        if flow is None:
            if number == signal.SIGHUP:
                Signals.note_hangup()
            else:
                self.stop()
            return
        flow.front.obey()
        if number == signal.SIGHUP:
            if not self._registry.of(Kind.RELOAD):
                return
            flow.ask_reload()
        elif number == signal.SIGINT and flow.is_asked() and os.isatty(0):
            flow.hurry()
        else:
            flow.ask()

    # While it runs

    @property
    def phase(self) -> Phase:
        return Phase.CONFIGURE if self._flow is None else self._flow.phase

    @property
    def stopping(self) -> bool:
        """Whether the end has been asked for."""
        return self._early_stop is not None or (self._flow is not None and self._flow.is_asked())

    def ready(self) -> None:
        """The service listens, with `says_ready`. From any thread; more often than once means nothing."""
        self._running("say that it is ready").say_ready()

    def stop(self, status: int = 0) -> None:
        """Ask for the end. From any thread and from signal handlers, at any time, any number of times; the first `status` counts."""
        if self._flow is not None:
            self._flow.ask(status)
        elif self._early_stop is None:
            self._early_stop = status

    def status(self, words: str) -> None:
        """Tell systemd, as STATUS=, what the service is at. From any thread; one line, of which 1000 characters count."""
        self._notifier.status(words)

    def alive(self) -> None:
        """A sign of life from what serves, where that is not the main thread; from any thread.

        From the first call on WATCHDOG=1 is sent only while such signs come, at least one in each half of WatchdogSec=.
        """
        self._watchdog.alive()

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep, until the end is asked for at the latest; whether it has been. From threads; `wait_async` is for tasks."""
        return self._running("wait").ending.wait(seconds)

    async def wait_async(self, seconds: float | None = None) -> bool:
        return await self._async_front("wait").wait(seconds)

    def spawn(self, function: Callable[..., object], *arguments: object, name: str = "") -> None:
        """Run something beside the service: a thread, or a task when it is async. Errors are logged, and the service goes on.

        From on_start hooks on, from any thread. The end of the service waits for it, within its deadline: tasks are cancelled after the on_shutdown
        hooks, threads look at `stopping` or use `wait`.
        """
        called = name or name_of(function)
        flow = self._running(f"spawn '{called}'")
        if flow.is_ending():
            raise StateError(f"cannot spawn '{called}': the service is about to end")

        def ended(error: BaseException | None) -> None:
            if error is not None:
                log_error(f"background task '{called}' failed: {words_of(error)}", error)

        flow.front.beside(called, partial(function, *arguments), ended)

    def reload(self) -> None:
        """Run the reload hooks, and wait until they have run. From any thread; in a loop between two turns, from there at once.

        Raises ReloadError when a hook fails, and StateError when there is nothing to reload, or when this call would wait for itself.
        """
        flow = self._reloadable()
        front, waiting = flow.front, Waiting()
        if front.is_main() and not front.may_take_turn():
            hint = "use `await life.reload_async()`" if self._aio else "in a hook the service is at it already; elsewhere ask from another thread"
            raise StateError("cannot reload: the main thread would wait for itself", hint=hint)
        flow.ask_reload(waiting)
        if front.is_main():
            front.take_turn()
            if not waiting.is_over():
                raise StateError("cannot reload: the service is not ready yet")
        elif flow.is_ending():
            raise StateError("cannot reload: the service is about to end")
        waiting.wait()

    async def reload_async(self) -> None:
        """As `reload`, from a task."""
        await self._async_front("reload").reload(self._reloadable())

    def _reloadable(self) -> Flow:
        flow = self._running("reload")
        if not self._registry.of(Kind.RELOAD):
            raise StateError("cannot reload: the service has no reload hook")
        return flow

    def _running(self, what: str) -> Flow:
        if self._flow is None:
            raise StateError(f"cannot {what}: the service does not run yet")
        return self._flow

    def _async_front(self, what: str) -> AsyncFront:
        self._running(what)
        if self._aio is None:
            raise StateError(f"cannot {what}: the service has no event loop", hint=f"use {what}()")
        return self._aio
