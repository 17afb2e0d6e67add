"""Reloads that are asked for, by SIGHUP or by somebody who waits: all that come before one begins are one, those that come later another."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanod.lifecycle.errors import LifecycleError

    Answer = Callable[[LifecycleError | None], None]
    """Is called once, in the main thread, with what went wrong, or None."""


class Reloads:
    """Asked from signal handlers and any thread; taken by the main thread."""

    def __init__(self) -> None:
        self._wanted = False
        self._answers: deque[Answer] = deque()

    def ask(self, answer: Answer | None = None) -> None:
        if answer is not None:
            self._answers.append(answer)
        self._wanted = True

    def are_wanted(self) -> bool:
        return self._wanted

    def take(self) -> list[Answer]:
        """All that the reload which begins now is an answer to."""
        self._wanted = False
        taken = []
        while self._answers:
            taken.append(self._answers.popleft())
        return taken


class Waiting:
    """The answer for a thread that waits."""

    def __init__(self) -> None:
        self._given = threading.Event()
        self._error: LifecycleError | None = None

    def __call__(self, error: LifecycleError | None) -> None:
        self._error = error
        self._given.set()

    def is_over(self) -> bool:
        return self._given.is_set()

    def wait(self) -> None:
        """Raises the error."""
        self._given.wait()
        if self._error is not None:
            raise self._error
