"""SIGHUP, SIGTERM and SIGINT.

Python's default for SIGHUP is the kernel's: the process dies. From the import of this package on it does not. What arrives before the service
serves is a reload that is done once it does. A handler, unlike SIG_IGN, is not inherited by the programs that the service starts.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Self

from nanod.lifecycle.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

ENDING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Tells `listener` of every signal while a service runs; as a context manager. It is called in the main thread, between any two steps of it."""

    _listening: Signals | None = None
    _early = False

    def __init__(self, listener: Callable[[int], None]) -> None:
        self._listener = listener
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Raises StateError outside of the main thread, which is the one that Python gives signals to."""
        if threading.current_thread() is not threading.main_thread():
            raise StateError("cannot run: signals reach the main thread only, and this is another")
        if Signals._listening is not None:
            raise StateError("cannot run: another service runs in this process")
        Signals._listening = self
        for number in ENDING:
            # Somebody who starts it in the background of a shell without job control wants Ctrl-C to pass it by.
            if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, Signals.arrived)
        hangup = signal.signal(signal.SIGHUP, Signals.arrived)
        if callable(hangup):  # a handler of the program's own, or ours; never the default again
            self._before[signal.SIGHUP] = hangup
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        Signals._listening = None
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)

    @classmethod
    def note_hangup(cls) -> None:
        cls._early = True

    @classmethod
    def early(cls) -> bool:
        """Whether a SIGHUP has come since the import that nobody was told of; each is told once."""
        early, cls._early = cls._early, False
        return early

    @classmethod
    def arrived(cls, number: int, _frame: object) -> None:
        """The one handler."""
        if cls._listening is not None:
            cls._listening._listener(number)  # noqa: SLF001  # our own
        elif number == signal.SIGHUP:
            cls.note_hangup()

    @classmethod
    def forget(cls) -> None:
        """In a forked child: it is not the service, and SIGTERM has to end it."""
        if cls._listening is not None:
            cls._listening.__exit__(None, None, None)


def survive_hangups() -> None:
    """Done at import. A handler of the program's own stays, and so does everything when it is not the main thread that imports."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) in (signal.SIG_DFL, signal.SIG_IGN):
        signal.signal(signal.SIGHUP, Signals.arrived)


os.register_at_fork(after_in_child=Signals.forget)
