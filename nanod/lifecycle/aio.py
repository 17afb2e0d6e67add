"""The front with asyncio: everything in the running event loop, with hooks that may be async. The one module of this package that imports asyncio."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from nanod.lifecycle.errors import HookError, Interrupted, LifecycleError, StateError
from nanod.lifecycle.front import Attempt, Front, Step
from nanod.lifecycle.registry import is_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nanod.lifecycle.bell import Bell
    from nanod.lifecycle.flow import Flow
    from nanod.lifecycle.front import Tell

    Outcome = tuple[object, BaseException | None]

_GRACE = 0.5
"""Seconds that a task has to end after it was cancelled for taking too long."""


class AsyncFront(Front):
    """`main` is what `begin` runs."""

    def __init__(self, main: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self._serve = main
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._ending = asyncio.Event()
        self._tasks: dict[asyncio.Task[Outcome], str] = {}
        self._serving: asyncio.Task[Outcome] | None = None
        self._ends_by_itself = False
        self._was_told = False
        """That what runs should end; a task that is cancelled without that has failed."""
        self._hook: tuple[Step, asyncio.Task[Outcome], asyncio.Future[None]] | None = None
        """An async hook under way, and what cuts it short."""
        self._bells: tuple[int, ...] = ()

    def listen(self, ending: Bell) -> None:
        """To both bells, until `close`."""
        self._bells = (self.bell.fileno(), ending.fileno())
        self._loop.add_reader(self.bell.fileno(), self._hear)
        self._loop.add_reader(ending.fileno(), self._hear_the_end, ending.fileno())

    def close(self) -> None:
        for bell in self._bells:
            self._loop.remove_reader(bell)

    def _hear(self) -> None:
        self.bell.hush()
        self._rung.set()

    def _hear_the_end(self, bell: int) -> None:
        self._loop.remove_reader(bell)
        self._ending.set()

    async def rest(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return
        self._rung.clear()

    # Hooks

    def at(self) -> Step | None:
        hook = self._hook
        return self.step if hook is None else hook[0]

    async def call(self, step: Step, function: Callable[[], object]) -> object:
        given = self.call_now(step, function)
        if not hasattr(given, "__await__"):
            return given
        task = self._loop.create_task(_outcome(lambda: given), name=step.name)
        cut = self._loop.create_future()
        self._hook = (step, task, cut)
        try:
            await asyncio.wait({task, cut}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hook = None
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_GRACE)
            if not task.done():
                _forget(task)
            raise Interrupted
        if task.cancelled():
            raise HookError(f"{step.name} has cancelled itself")
        value, error = task.result()
        if error is not None:
            raise error
        return value

    def interrupt(self, step: Step) -> None:
        """An async hook is cancelled; one that is not, and holds up the loop, is interrupted as without asyncio."""
        hook = self._hook
        if hook is None:
            super().interrupt(step)
        elif hook[0] is step:
            self._loop.call_soon_threadsafe(_cut, hook[2])

    # The service, and what runs beside it

    async def begin(self, tell: Tell) -> None:
        self._serving = self._start("main", self._served, tell)
        for _ in range(2):  # until it awaits something, and an end before that is known
            await asyncio.sleep(0)

    async def _served(self) -> object:
        serving = self._serve()
        if not hasattr(serving, "__await__"):
            raise HookError("cannot serve: main is no async function", hint="what blocks is for run()")
        return await serving

    def beside(self, name: str, function: Callable[[], object], tell: Tell) -> None:
        if not is_async(function):
            super().beside(name, function, tell)
        elif self.is_main():
            self._start(name, function, tell)
        else:
            self._loop.call_soon_threadsafe(self._start_late, name, function, tell)

    def told(self, tell: Tell, error: BaseException | None) -> None:
        if not self._loop.is_closed():  # or the thread was abandoned long ago
            self._loop.call_soon_threadsafe(tell, error)

    def _start(self, name: str, function: Callable[[], object], tell: Tell) -> asyncio.Task[Outcome]:
        task = self._loop.create_task(_outcome(function), name=name)
        self._tasks[task] = name
        task.add_done_callback(partial(self._ended, tell))
        return task

    def _start_late(self, name: str, function: Callable[[], object], tell: Tell) -> None:
        if not self._was_told:  # or the end has come meanwhile
            self._start(name, function, tell)

    def _ended(self, tell: Tell, task: asyncio.Task[Outcome]) -> None:
        self._tasks.pop(task, None)
        if task.cancelled():
            tell(None if self._was_told else asyncio.CancelledError())
        else:
            tell(task.result()[1])
        self.bell.ring()

    def running(self) -> list[str]:
        return [*self._tasks.values(), *super().running()]

    def end(self, *, all_of_it: bool) -> bool:
        self._was_told = True
        asked = [task for task in self._tasks if all_of_it or task is not self._serving or not self._ends_by_itself]
        for task in asked:
            task.cancel()
        return bool(asked)

    def abandon(self) -> None:
        for task in self._tasks:
            _forget(task)

    # For tasks of the service

    async def wait(self, seconds: float | None) -> bool:
        """Whether the end is asked for, after `seconds` at most."""
        if asyncio.current_task() is self._serving:
            self._ends_by_itself = True
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            return False
        return True

    async def reload(self, flow: Flow) -> None:
        if self._hook is not None and asyncio.current_task() is self._hook[1]:
            raise StateError("cannot reload: a hook would wait for itself")
        answer: asyncio.Future[LifecycleError | None] = self._loop.create_future()
        flow.ask_reload(lambda error: None if answer.done() else answer.set_result(error))
        if flow.is_ending():
            raise StateError("cannot reload: the service is about to end")
        error = await answer
        if error is not None:
            raise error


async def run(flow: Flow, front: AsyncFront) -> int:
    """The exit status. A cancellation asks for the end, and is handed on after it."""
    front.listen(flow.ending)
    task = asyncio.create_task(flow.run(), name="lifecycle")
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
            flow.ask()
    front.close()
    status = task.result()
    if cancelled:
        raise asyncio.CancelledError
    return status


async def _outcome(function: Callable[[], Any]) -> Outcome:
    """What an async function gives, and what it raises: a task that raised SystemExit would take the event loop along."""
    with Attempt() as attempt:
        return await function(), None
    return None, attempt.error


def _cut(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _forget(task: asyncio.Task[Outcome]) -> None:
    """It has been cancelled and goes on all the same: asyncio.run() would wait for it for ever, and complain of it."""
    asyncio.tasks._unregister_task(task)  # noqa: SLF001  # for third parties, says asyncio's own page on extending it
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  # as asyncio.gather() does
