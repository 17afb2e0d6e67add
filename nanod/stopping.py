"""The wait for units that were told to stop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanod.ended import Down, StoppedService
from nanod.groups import around
from nanod.settle import Progress
from nanod.units.unitset import Role
from nanod.waiting import FIRST_WAIT, LONGEST_WAIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nanod.running import Running
    from nanod.state import UnitDetail, UnitState
    from nanod.units.unitset import ServiceUnits

_MOMENT = 5.0
"""Seconds after which what still runs without any main of its group is somebody else's wish."""


@dataclass(slots=True, kw_only=True)
class Stopping:
    """One wait, on behalf of `running`."""

    running: Running
    meant: Sequence[ServiceUnits]
    ends: dict[str, StoppedService] = field(default_factory=dict)
    gone_at: float = 0.0
    """When the mains around which others stand were last seen, or when the wait began."""

    def run(self) -> None:
        """No limit in seconds: systemd bounds every stop, and kills what does not obey."""
        systemd, clock, wait = self.running.host.systemd, self.running.host.clock, FIRST_WAIT
        self.gone_at = clock.now()
        for item in self.meant:
            if not self._was_down(item):
                self._tell(item, "stopping", "stopping")
        while left := [item for item in self.meant if item.name not in self.ends]:
            states = systemd.states([item.main for item in left])
            for item in left:
                self._look(item, states)
            if len(self.ends) < len(self.meant):
                clock.sleep(wait)
                wait = min(LONGEST_WAIT, wait * 1.5)

    def end(self, item: ServiceUnits) -> StoppedService:
        return self.ends.get(item.name) or StoppedService(service=item.name, unit=item.main, word=Down.STOPPING, group=item.group, role=item.role)

    def _was_down(self, item: ServiceUnits) -> bool:
        state = self.running.states[item.main]
        return state.active in ("inactive", "failed") and not state.job

    def _look(self, item: ServiceUnits, states: Mapping[str, UnitState]) -> None:
        state, seconds = states[item.main], self.running.host.clock.now() - self.running.begin
        if state.job_type == "stop" or state.active == "deactivating" or self._goes_later(item, state):
            return
        if state.job or state.active not in ("inactive", "failed"):
            word, text = Down.AGAIN, "something started it again"
        elif self._was_down(item):
            word, text = Down.WAS_DOWN, ""
        else:
            word, text = Down.STOPPED, _how(self.running.host.systemd.detail(item.main)) if state.active == "failed" else ""
            self._tell(item, "up", f"stopped after {seconds:.1f} s")
        end = StoppedService(service=item.name, unit=item.main, word=word, text=text, seconds=seconds, group=item.group, role=item.role)
        self.ends[item.name] = end

    def _goes_later(self, item: ServiceUnits, state: UnitState) -> bool:
        """It stops when the last main that it belongs to has stopped, and a moment may pass until PID 1 sees that (StopWhenUnneeded=).

        So does one that was about to start after the mains, or is between two tries.
        """
        if not item.role.is_pulled or (state.active in ("inactive", "failed") and not state.job):
            return False
        now = self.running.host.clock.now()
        mains = [main for main in self.meant if main.role is Role.MAIN and item in around([main], self.meant)]
        if any(main.name not in self.ends for main in mains):
            self.gone_at = now
            return True
        return now - self.gone_at < _MOMENT and all(self.ends[main.name].word is not Down.AGAIN for main in mains)

    def _tell(self, item: ServiceUnits, word: str, text: str) -> None:
        if item.role is Role.GROUP:
            return
        seconds = self.running.host.clock.now() - self.running.begin
        self.running.tell(Progress(service=item.name, unit=item.main, word=word, text=text, seconds=seconds))


def _how(detail: UnitDetail) -> str:
    """Of a unit that ended `failed`."""
    if detail.result == "timeout":
        return "did not stop within its time and was killed"
    return f"did not end well (systemd says '{detail.result}')"
