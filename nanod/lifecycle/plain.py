"""The front without asyncio: the lifecycle in the main thread, and the service in a thread of its own, or as a loop that takes turns with it.

The flow is written once, as a coroutine, for both fronts. Here it awaits nothing but rests, and whoever rests for it resumes it: no event loop
is needed.
"""

from __future__ import annotations

import time
from functools import partial
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING

from nanod.lifecycle.errors import HookError, Interrupted, StateError
from nanod.lifecycle.front import Attempt, Front, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from nanod.lifecycle.flow import Flow
    from nanod.lifecycle.front import Tell

    Routine = Coroutine[float | None, None, int]


@coroutine
def _rest(seconds: float | None) -> Generator[float | None, None, None]:
    yield seconds


class PlainFront(Front):
    """`serve` is what `begin` runs in a thread; None: there is nothing to run."""

    def __init__(self, serve: Callable[[], object] | None = None) -> None:
        super().__init__()
        self._serve = serve

    async def call(self, step: Step, function: Callable[[], object]) -> object:
        given = self.call_now(step, function)
        if isinstance(given, CoroutineType):
            given.close()
            raise HookError(f"cannot run {step.name}: it is async, and run() has no event loop", hint="use `await life.serve(main)`")
        return given

    async def rest(self, seconds: float | None) -> None:
        await _rest(seconds)

    async def begin(self, tell: Tell) -> None:
        if self._serve is not None:
            self.beside("serve", self._serve, tell)


def run(flow: Flow, front: PlainFront) -> int:
    """The exit status."""
    routine: Routine = flow.run()
    try:
        while True:
            front.bell.wait(routine.send(None))
            front.bell.hush()
    except StopIteration as over:
        status: int = over.value
        return status


class LoopFront(PlainFront):
    """`begin` leaves it to `run_loop` to call the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.turn: Turn | None = None
        self.tell: Tell | None = None
        """None before the loop is called, and once it has ended."""

    async def begin(self, tell: Tell) -> None:
        self.tell = tell

    def running(self) -> list[str]:
        return [*(["the loop"] if self.tell is not None else []), *super().running()]

    def may_take_turn(self) -> bool:
        return self.turn is not None and not self.turn.is_taken

    def take_turn(self) -> None:
        assert self.turn is not None
        self.turn()


class Turn:
    """The lifecycle's share of a loop. Select it for reading: it becomes readable when there is something to do. Call it once for each round."""

    def __init__(self, flow: Flow, front: LoopFront) -> None:
        self._flow = flow
        self._front = front
        self._routine: Routine = flow.run()
        self._due: float | None = None
        self.is_taken = True
        """Whether it is the lifecycle that the main thread is at."""
        self.status: int | None = None
        """Once all is over."""

    def fileno(self) -> int:
        return self._front.bell.fileno()

    @property
    def timeout(self) -> float | None:
        """The seconds after which to call it although it is not readable; None: it may wait."""
        return None if self._due is None else max(0.0, self._due - time.monotonic())

    def __call__(self) -> bool:
        """Do what is due: reload, the watchdog's sign, shutdown hooks. False when the loop should end."""
        if self.is_taken:
            raise StateError("cannot take a turn: this is one already")
        self.is_taken, self._front.step = True, None
        try:
            self.resume()
        finally:
            self.is_taken, self._front.step = False, self.step()
        if self.status is not None:
            raise Interrupted  # it was told, and did not end
        return not self._flow.is_ending()

    def step(self) -> Step:
        """What the loop is, for those who may want to cut it short: once it knows of the end, it has all of the time for that."""
        return Step("the loop", patient=self._flow.is_ending())

    def resume(self) -> None:
        self._front.bell.hush()
        try:
            timeout = self._routine.send(None)
        except StopIteration as over:
            self.status = over.value
        else:
            self._due = None if timeout is None else time.monotonic() + timeout


def run_loop(flow: Flow, front: LoopFront, loop: Callable[[Turn], object]) -> int:
    """The exit status."""
    turn = front.turn = Turn(flow, front)
    turn.resume()
    while turn.status is None:
        if front.tell is not None:
            turn.is_taken = False
            with Attempt() as attempt:
                front.call_now(turn.step(), partial(loop, turn))
            turn.is_taken = True
            tell, front.tell = front.tell, None
            if turn.status is None:
                tell(attempt.error)
        else:
            front.bell.wait(turn.timeout)
        if turn.status is None:
            turn.resume()
    return turn.status
