"""Lines of a log to text and to JSON: each with its service in front, in the service's colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanod.logs import Source
from nanod.view.tty import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.logs import LogEntry, Owner
    from nanod.view.tty import Style

_COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
"""One after the other for the services of an app; red is for errors."""
_ERROR, _WARNING = 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """`owners`: by unit, in the order in which services get their colours."""

    owners: Mapping[str, Owner]
    style: Style

    def text(self, entry: LogEntry, time: str) -> str:
        """One line for each of the message. `time`: the entry's, as the reader's clock shows it."""
        owner = self.owners[entry.unit]
        services = list(dict.fromkeys(item.service for item in self.owners.values()))
        width = max(len(item.label) for item in self.owners.values())
        colour = _COLOURS[services.index(owner.service) % len(_COLOURS)]
        name = f"{owner.label:{width}} |"
        painted = f"\x1b[{colour}m{name}\x1b[0m" if self.style.colour else name
        prefix = f"{self.style.faint(time)} {painted} "
        lines = clean(entry.message).splitlines() or [""]
        return "\n".join(f"{prefix}{self._painted(line, entry)}" for line in lines)

    def data(self, entry: LogEntry, time: str) -> dict[str, object]:
        owner = self.owners[entry.unit]
        return {
            "time": time,
            "service": owner.service,
            "unit": entry.unit,
            "phase": entry.phase or owner.phase or None,
            "hook": entry.hook or None,
            "source": str(entry.source),
            "priority": entry.priority,
            "message": entry.message,
        }

    def _painted(self, line: str, entry: LogEntry) -> str:
        if entry.priority <= _ERROR:
            return self.style.bad(line)
        if entry.priority == _WARNING:
            return self.style.warn(line)
        return line if entry.source is Source.SERVICE else self.style.faint(line)
