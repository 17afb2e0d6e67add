"""Waits without an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.extend import warn
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.extend import Opinion, Subject


class EndlessStop:
    """stop.timeout: infinity. The timeouts of hooks that others wait for have an end: the language sees to it."""

    name = "endless-stop"

    def check(self, subject: Subject) -> Iterator[Opinion]:
        stop = subject.service.stop
        if subject.role is Role.MAIN and stop.timeout.is_forever:
            message = "a process that ignores its stop signal holds up every restart, and the shutdown of the machine"
            yield warn(message, subject.service.at("stop", "timeout"))
