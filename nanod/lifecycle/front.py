"""What the fronts, with and without asyncio, have in common: how a hook is called and cut short, and what runs beside the main thread."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, NamedTuple, Self

from nanod.lifecycle.bell import Bell
from nanod.lifecycle.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    Tell = Callable[[BaseException | None], None]
    """Hears that something has ended, and by which error."""


class Attempt:
    """Keeps what goes wrong inside of it, as `error`: what a service's own functions raise is theirs, and the lifecycle goes on.

    SystemExit too: a function that calls sys.exit() has failed.
    """

    error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if isinstance(error, (Exception, SystemExit, Interrupted)):
            self.error = error.with_traceback(_without_ours(trace))
            return True
        return False


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """From where the service's own code begins: how it came to be called is not what went wrong. All of it, when it is all ours."""
    own = trace
    while own is not None and own.tb_frame.f_globals.get("__package__") == __package__:
        own = own.tb_next
    return own or trace


class Step(NamedTuple):
    """What the main thread does that is not ours. Once the end is asked for, a `patient` step has all of the time, any other half of it."""

    name: str
    patient: bool


class Front:
    """One for each run; made in the main thread."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.step: Step | None = None
        """None while the code of this package runs: nothing may be raised into that."""
        self._cut: Step | None = None
        self._main = threading.get_ident()
        self._threads: dict[threading.Thread, str] = {}

    # Hooks

    def at(self) -> Step | None:
        """What the service is at, if it is not our own code."""
        return self.step

    async def call(self, step: Step, function: Callable[[], object]) -> object:
        """What the function gives. Raises what it raises, and Interrupted."""
        raise NotImplementedError

    def call_now(self, step: Step, function: Callable[[], object]) -> object:
        """As `call`, for what needs no event loop."""
        before = self.step
        try:
            try:
                self.step = step
                return function()
            finally:
                self.step = before
        except Interrupted:
            self.step = before  # it may have come between the two
            raise

    def interrupt(self, step: Step) -> None:
        """Raise Interrupted in this step, if it is still under way, as soon as it is back from what does not hear signals. From any thread."""
        self._cut = step
        if threading.get_ident() == self._main:
            self.obey()
        else:
            # The one signal of ours that means nothing to a service which ends, and that is never without a handler.
            signal.pthread_kill(self._main, signal.SIGHUP)

    def obey(self) -> None:
        """By every signal handler, in the main thread."""
        cut, self._cut = self._cut, None
        if cut is not None and cut is self.step:
            raise Interrupted

    def is_main(self) -> bool:
        return threading.get_ident() == self._main

    def may_take_turn(self) -> bool:
        """Whether the main thread is at what may call `take_turn`."""
        return False

    def take_turn(self) -> None:
        """Do what is due, within what calls it."""
        raise NotImplementedError

    # The service itself, and what runs beside it

    async def begin(self, tell: Tell) -> None:
        """Begin to serve."""
        raise NotImplementedError

    def beside(self, name: str, function: Callable[[], object], tell: Tell) -> None:
        """Run it in a thread of its own, which keeps no interpreter from exiting."""
        thread = threading.Thread(target=self._thread, args=(function, tell), name=name, daemon=True)
        self._threads[thread] = name
        try:
            thread.start()
        except BaseException:
            del self._threads[thread]
            raise

    def _thread(self, function: Callable[[], object], tell: Tell) -> None:
        with Attempt() as attempt:
            function()
        try:
            self.told(tell, attempt.error)
        finally:
            del self._threads[threading.current_thread()]
            self.bell.ring()

    def told(self, tell: Tell, error: BaseException | None) -> None:
        tell(error)

    def running(self) -> list[str]:
        """The names of what has not ended yet."""
        return list(self._threads.values())

    def end(self, *, all_of_it: bool) -> bool:  # noqa: ARG002  # threads cannot be asked
        """Ask what runs to end; `all_of_it`: also what is known to end by itself. Whether there is anything that can be asked."""
        return False

    def abandon(self) -> None:
        """Keep what still runs from holding up the exit."""

    async def rest(self, seconds: float | None) -> None:
        """Until the bell rings, or for so many seconds."""
        raise NotImplementedError
