"""Waiting until units have nothing to do any more, for those who ask for no verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from nanod.host import Clock, Systemd
    from nanod.state import UnitState

FIRST_WAIT, LONGEST_WAIT = 0.005, 0.1
"""Seconds between two looks; a look is one call for all units."""
LONGEST_CONDITION = 20.0
"""Seconds; what `lib/mains` takes at most."""


def await_stopped(systemd: Systemd, clock: Clock, names: Sequence[str]) -> dict[str, UnitState]:
    """Until none of the units has a process or a job left; bounded by their own stop timeouts."""
    return _await(systemd, clock, names, ("inactive", "failed"))


def await_run(systemd: Systemd, clock: Clock, names: Sequence[str], *, limit: float = math.inf) -> dict[str, UnitState]:
    """Until none of the oneshots has a job left or is at work; or for `limit` seconds."""
    return _await(systemd, clock, names, ("active", "inactive", "failed"), limit)


def await_conditions(systemd: Systemd, clock: Clock, names: Sequence[str]) -> None:
    """Until none of the units is asking whether its condition holds (ExecCondition=), or about to; at most LONGEST_CONDITION seconds.

    systemd merges a start that comes meanwhile into the one under way; when the condition does not hold, nothing starts it again (seen on 257).
    """
    wait, until = FIRST_WAIT, clock.now() + LONGEST_CONDITION
    while any(state.sub == "condition" or (state.job and state.active == "inactive") for state in systemd.states(names).values()):
        if clock.now() > until:
            return
        clock.sleep(wait)
        wait = min(LONGEST_WAIT, wait * 1.5)


def _await(systemd: Systemd, clock: Clock, names: Sequence[str], rest: Container[str], limit: float = math.inf) -> dict[str, UnitState]:
    wait, until = FIRST_WAIT, clock.now() + limit
    while True:
        states = systemd.states(names)
        if all(not state.job and state.active in rest for state in states.values()) or clock.now() > until:
            return states
        clock.sleep(wait)
        wait = min(LONGEST_WAIT, wait * 1.5)
