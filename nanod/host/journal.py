"""The journal, through journalctl: what hook lines recorded of themselves, and the last words of a unit."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from nanod.errors import NanodError
from nanod.host.accounts import find_user
from nanod.host.process import run
from nanod.state import HookResult
from nanod.units.names import HOOK_MESSAGE_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_TIMEOUT = 20.0
_RECORD_LIMIT = 5000
_NOT_THE_PROGRAMS = ("audit", "kernel")
"""Transports of entries that carry the unit's name and are not its words."""
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Journalctl:
    """The journal of this machine. Without a journal, or the right to read it, there is nothing: "unknown", never "ok"."""

    def hook_results(self, units: Sequence[str], *, since: int = 0) -> list[HookResult]:
        """Oldest first, at most the newest 5000; `since` is in microseconds since the epoch."""
        if not units:
            return []
        matches = [f"MESSAGE_ID={HOOK_MESSAGE_ID}", *(f"NANOD_UNIT={unit}" for unit in units)]
        start = [f"--since=@{since // 1_000_000}.{since % 1_000_000:06}"] if since else []
        entries = list(_entries([*start, f"--lines={_RECORD_LIMIT}", *matches]))
        users = _Users(entries)
        return [result for entry in entries if users.may_write(entry) and (result := _hook_result(entry))]

    def last_lines(self, unit: str, *, invocation: str = "", count: int = 10) -> list[str]:
        """What the unit's own processes printed last, in one run of it or in any; without terminal escapes, and without what PID 1 said of it.

        A line of a process that is gone before journald looks may lack its invocation (seen on 257, 1 run in 40). PID 1's own entries stand
        around it, and always say whose run it is.
        """
        last, printed = f"--lines={5 * count + 50}", f"_SYSTEMD_UNIT={unit}"
        lines = _printed([last, printed, "+", f"UNIT={unit}", "_PID=1"], invocation)
        if not lines and invocation:
            # Runs that came after it have printed so much that none of its lines is among the last.
            lines = _printed([last, printed, f"_SYSTEMD_INVOCATION_ID={invocation}"], invocation)
        return lines[-count:]


def _printed(arguments: Sequence[str], invocation: str) -> list[str]:
    """The lines that the entries hold of one run; "" for any run."""
    lines: list[str] = []
    run_of_pid1 = invocation
    for entry in _entries(arguments):
        if entry.get("_PID") == "1":
            run_of_pid1 = _text(entry.get("INVOCATION_ID")) or run_of_pid1
        elif entry.get("MESSAGE_ID") != HOOK_MESSAGE_ID and entry.get("_TRANSPORT") not in _NOT_THE_PROGRAMS:
            found = _text(entry.get("_SYSTEMD_INVOCATION_ID")) or run_of_pid1
            if invocation in ("", found):
                lines.extend(plain(_text(entry.get("MESSAGE"))).splitlines())
    return lines


def plain(text: str) -> str:
    """Without terminal escapes and control characters, so that printing it cannot do anything to a terminal."""
    return _CONTROL.sub("", _ESCAPE.sub("", text.replace("\r\n", "\n")))


def _entries(arguments: Sequence[str]) -> Iterator[Mapping[str, object]]:
    with suppress(NanodError):
        # A process may end before journald has read its last words.
        run(["journalctl", "--sync"], timeout=_TIMEOUT)
        done = run(["journalctl", "--quiet", "--no-pager", "--output=json", "--all", *arguments], timeout=_TIMEOUT)
        for line in done.out.splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry


def _text(value: object) -> str:
    """A field: text, or its bytes as numbers where they are not all printable; a field that occurs twice is a list of such."""
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return bytes(value).decode(errors="replace")
    if isinstance(value, list):
        return _text(value[0])
    return value if isinstance(value, str) else ""


class _Users:
    """Whose words count for a unit: any user may write to the journal, and claim to be a hook.

    Those of root and of the unit's own processes do. The entry of a process that is gone before journald looks has no unit (seen on 252, 3 in 10
    on a busy machine, and on 257); it counts from the unit's user, and from whoever else wrote in that run: a hook may have a user of its own.
    """

    def __init__(self, entries: Sequence[Mapping[str, object]]) -> None:
        self._of_unit: dict[str, set[str]] = {}
        names = ("_SYSTEMD_UNIT", "NANOD_INVOCATION", "_UID")
        self._seen = {tuple(_text(entry.get(name)) for name in names) for entry in entries}

    def may_write(self, entry: Mapping[str, object]) -> bool:
        unit, writer, uid = (_text(entry.get(name)) for name in ("NANOD_UNIT", "_SYSTEMD_UNIT", "_UID"))
        if writer or uid == "0":
            return uid == "0" or writer == unit
        return (unit, _text(entry.get("NANOD_INVOCATION")), uid) in self._seen or uid in self._users(unit)

    def _users(self, unit: str) -> set[str]:
        if unit not in self._of_unit:
            shown = ""
            with suppress(NanodError):
                shown = run(["systemctl", "show", "--property=User,UID", "--", unit], timeout=_TIMEOUT).out
            said = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
            named = find_user(said["User"]) if said.get("User") else None
            self._of_unit[unit] = {said.get("UID", ""), *([str(named[0])] if named else [])}
        return self._of_unit[unit]


def _hook_result(entry: Mapping[str, object]) -> HookResult | None:
    """None for an entry that is not whole."""
    try:
        return HookResult(
            unit=_text(entry.get("NANOD_UNIT")),
            phase=_text(entry["NANOD_PHASE"]),
            name=_text(entry["NANOD_HOOK"]),
            status=int(_text(entry["NANOD_STATUS"])),
            invocation=_text(entry.get("NANOD_INVOCATION")),
            duration_ms=int(_text(entry["NANOD_DURATION_MS"])),
            at=int(_text(entry["__REALTIME_TIMESTAMP"])),
        )
    except (KeyError, ValueError):
        return None
