"""The journal, through journalctl: what hook lines recorded of themselves, and the last words of a unit."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import islice
from typing import TYPE_CHECKING

from nanod.errors import NanodError, UsageError
from nanod.host.accounts import find_user
from nanod.host.process import lines_of, run
from nanod.logs import LogEntry, Source
from nanod.scope import SYSTEM
from nanod.state import HookResult
from nanod.units.names import HOOK_MESSAGE_ID, is_by_hand

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from nanod.scope import RuntimeScope

_TIMEOUT = 20.0
_SYNC_TIMEOUT = 5.0
_RECORD_LIMIT = 5000
_NOT_THE_PROGRAMS = ("audit", "kernel")
"""Transports of entries that carry the unit's name and are not its words."""
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_PRIORITIES = frozenset("01234567")
_INFORMATIONAL = 6
_FAILURE = re.compile(r"nanod: hook \S+ failed, status ")
"""What a hook prints beside its record, so that `systemctl status` shows it; the record says the same."""
_LOG_FIELDS = (
    *("MESSAGE", "PRIORITY", "_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT", "UNIT", "USER_UNIT", "_PID", "_UID", "_TRANSPORT", "SYSLOG_IDENTIFIER"),
    *("MESSAGE_ID", "NANOD_UNIT", "NANOD_PHASE", "NANOD_HOOK", "NANOD_INVOCATION"),
)


@dataclass(frozen=True, slots=True)
class _Fields:
    """What journald and a manager call things, systemd.journal-fields(7): whose process wrote, of which unit the manager said something, and its run.

    `manager` is how what the manager itself says is known; `whose` are its user's entries, "" for PID 1's. Of a process that is gone before it looks,
    journald knows the unit from PID 1 alone (journald-stream.c takes it from root): a user's is known by what the unit calls its lines.
    """

    writer: str
    said: str
    run: str
    manager: str
    whose: tuple[str, ...] = ()

    def written(self, units: Sequence[str], *more: str) -> list[str]:
        named = [*(f"{self.writer}={unit}" for unit in units), *more, *self.whose]
        if not self.whose:
            return named
        return [*named, "+", *(f"SYSLOG_IDENTIFIER={unit.removesuffix('.service')}" for unit in units), *more, *self.whose]

    def told(self, units: Iterable[str]) -> list[str]:
        return [*(f"{self.said}={unit}" for unit in units), self.manager, *self.whose]

    def recorded(self, units: Iterable[str]) -> list[str]:
        return [f"MESSAGE_ID={HOOK_MESSAGE_ID}", *(f"NANOD_UNIT={unit}" for unit in units), *self.whose]

    def unit_of(self, entry: Mapping[str, object]) -> str:
        unit = _text(entry.get(self.writer))
        return unit or (f"{_text(entry.get('SYSLOG_IDENTIFIER'))}.service" if self.whose else "")

    def is_manager(self, entry: Mapping[str, object]) -> bool:
        name, _, value = self.manager.partition("=")
        return entry.get(name) == value


_PID1 = _Fields("_SYSTEMD_UNIT", "UNIT", "INVOCATION_ID", "_PID=1")
_USER = _Fields("_SYSTEMD_USER_UNIT", "USER_UNIT", "USER_INVOCATION_ID", "_SYSTEMD_USER_UNIT=init.scope")


def _fields(scope: RuntimeScope) -> _Fields:
    """Another user may have a unit of the same name, and whoever asks the right to read of it."""
    return replace(_USER, whose=(f"_UID={scope.uid}",)) if scope.is_user else _PID1


class Access(Enum):
    ALL = auto()
    OWN = auto()
    """Only what the caller's own processes wrote."""
    NONE = auto()


class Journalctl:
    """The journal of this machine. Without a journal, or the right to read it, there is nothing: "unknown", never "ok"."""

    def __init__(self, scope: RuntimeScope = SYSTEM) -> None:
        self._fields = _fields(scope)
        self._scope = scope
        self._hangs = False

    def hook_results(self, units: Sequence[str], *, since: int = 0) -> list[HookResult]:
        """Oldest first, at most the newest 5000; `since` is in microseconds since the epoch."""
        if not units:
            return []
        matches = self._fields.recorded(units)
        start = [f"--since=@{since // 1_000_000}.{since % 1_000_000:06}"] if since else []
        entries = list(self._entries([*start, f"--lines={_RECORD_LIMIT}", *matches]))
        users = _Users(entries, self._scope)
        return [result for entry in entries if users.may_write(entry) and (result := _hook_result(entry))]

    def last_lines(self, unit: str, *, invocation: str = "", count: int = 10, until: int = 0) -> list[str]:
        """What the unit's own processes printed last, in one run of it or in any; without terminal escapes, and without what PID 1 said of it.

        `until`: only what was printed before that moment, in microseconds since the epoch.

        A line of a process that is gone before journald looks may lack its invocation (seen on 257, 1 run in 40). PID 1's own entries stand
        around it, and always say whose run it is.
        """
        wanted, printed = 5 * count + 50, self._fields.written([unit])
        lines = self._printed(self._last(wanted, until, [*printed, "+", *self._fields.told([unit])]), invocation)
        if not lines and invocation:
            # Runs that came after it have printed so much that none of its lines is among the last.
            lines = self._printed(self._last(wanted, until, self._fields.written([unit], f"_SYSTEMD_INVOCATION_ID={invocation}")), invocation)
        return lines[-count:]

    def lines_after(self, unit: str, place: str, *, invocation: str) -> tuple[list[str], str]:
        """What the unit's own processes have printed in that run after a place in the journal, and the place after that.

        The first place is `@` and a moment, in microseconds since the epoch. For looks at a unit that runs: it costs one journalctl, and no sync.
        """
        moment = place.removeprefix("@")
        where = f"--since=@{int(moment) // 1_000_000}.{int(moment) % 1_000_000:06}" if moment != place else f"--after-cursor={place}"
        entries = list(self._read([where, *self._fields.written([unit]), "+", *self._fields.told([unit])]))
        return self._printed(entries, invocation), _text(entries[-1].get("__CURSOR")) if entries else place

    def _last(self, count: int, until: int, matches: Sequence[str]) -> Iterable[Mapping[str, object]]:
        """The last entries, oldest first. --lines counts from the end of the journal, whatever --until says, but for --reverse (tried on 252)."""
        if not until:
            return self._entries([f"--lines={count}", *matches])
        begin = f"--until=@{until // 1_000_000}.{until % 1_000_000:06}"
        return reversed(list(self._entries(["--reverse", begin, f"--lines={count}", *matches])))

    def access(self, since: str = "") -> Access:
        """How much of the journal the caller may read. Raises UsageError for a time that journalctl does not understand."""
        done = run(["journalctl", "--no-pager", "--lines=0", *([f"--since={since}"] if since else [])], timeout=_TIMEOUT)
        if "Failed to parse timestamp" in done.err:
            raise UsageError(
                f"cannot read '{since}' as a time", hint="a span as 10min, a time as '2026-07-01 12:00', or yesterday; see systemd.time(7)"
            )
        if "No journal files were opened" in done.err:
            return Access.NONE
        return Access.OWN if "not seeing messages" in done.err else Access.ALL

    def log(self, units: Sequence[str], *, since: str = "", count: int | None = None, follow: bool = False) -> Generator[LogEntry, None, None]:
        """What the units, PID 1 about them, and their hooks' records said, by time: the last `count`, None for all; with `follow` also all that come.

        `since` is a time in journalctl's words.
        """
        begin = [f"--since={since}"] if since else []
        matches, reader = self._matches(units), _LogReader(units, self._scope, self._fields)
        self._sync()
        cursor, now = "", time.time()
        if count is None:
            for found, entry in reader.read([*begin, *matches]):
                cursor = found
                yield entry
        elif count:
            # The newest first: only so the last ones of what is shown are found without reading all.
            last = list(islice(reader.read(["--reverse", *begin, *matches]), count))
            cursor = last[0][0] if last else ""
            yield from (entry for _, entry in reversed(last))
        if follow:
            where = [f"--after-cursor={cursor}"] if cursor else [f"--since=@{now:.6f}"]
            yield from (entry for _, entry in reader.read(["--follow", "--no-tail", *where, *matches]))

    def _sync(self) -> None:
        """A process may end before journald has read its last words. A journald that hangs is asked once: a verdict looks many times."""
        if self._hangs:
            return
        try:
            run(["journalctl", "--sync"], timeout=_SYNC_TIMEOUT)
        except NanodError:
            self._hangs = True

    def _entries(self, arguments: Sequence[str]) -> Iterator[Mapping[str, object]]:
        """What is on disk can be read also while journald hangs."""
        self._sync()
        yield from self._read(arguments)

    def _read(self, arguments: Sequence[str]) -> Iterator[Mapping[str, object]]:
        with suppress(NanodError):
            done = run(["journalctl", "--quiet", "--no-pager", "--output=json", "--all", *arguments], timeout=_TIMEOUT)
            for line in done.out.splitlines():
                with suppress(ValueError):
                    entry = json.loads(line)
                    if isinstance(entry, dict):
                        yield entry

    def _matches(self, units: Sequence[str]) -> list[str]:
        """What the units' processes wrote, what their manager says of them, and records; fields of one name are alternatives (journalctl(1)).

        A record names its unit itself: the entry of a process that is gone before journald looks has none.
        """
        return [*self._fields.written(units), "+", *self._fields.told(units), "+", *self._fields.recorded(units)]

    def _printed(self, entries: Iterable[Mapping[str, object]], invocation: str) -> list[str]:
        """The lines that the entries hold of one run; "" for any run."""
        lines: list[str] = []
        run_of_it = invocation
        for entry in entries:
            if self._fields.is_manager(entry):
                run_of_it = _text(entry.get(self._fields.run)) or run_of_it
            elif entry.get("MESSAGE_ID") != HOOK_MESSAGE_ID and entry.get("_TRANSPORT") not in _NOT_THE_PROGRAMS:
                found = _text(entry.get("_SYSTEMD_INVOCATION_ID")) or run_of_it
                if invocation in ("", found):
                    lines.extend(plain(_text(entry.get("MESSAGE"))).splitlines())
        return lines


class _LogReader:
    """From entries of the journal to what a person reads: a failed hook once, and nothing that somebody else claims."""

    def __init__(self, units: Sequence[str], scope: RuntimeScope, fields: _Fields) -> None:
        self._units = frozenset(units)
        self._fields = fields
        self._users = _Users([], scope)

    def read(self, arguments: Sequence[str]) -> Iterator[tuple[str, LogEntry]]:
        """With the cursor of each."""
        fields = ",".join(_LOG_FIELDS)
        with lines_of(["journalctl", "--quiet", "--no-pager", "--output=json", "--all", f"--output-fields={fields}", *arguments]) as lines:
            for line in lines:
                with suppress(ValueError):
                    entry = json.loads(line)
                    if isinstance(entry, dict) and (found := self._entry(entry)):
                        yield _text(entry.get("__CURSOR")), found

    def _entry(self, entry: Mapping[str, object]) -> LogEntry | None:
        unit, source, message = self._fields.unit_of(entry), Source.SERVICE, _text(entry.get("MESSAGE"))
        self._users.see(entry)
        if is_record := entry.get("MESSAGE_ID") == HOOK_MESSAGE_ID:
            unit, source = _text(entry.get("NANOD_UNIT")), Source.HOOK
        elif self._fields.is_manager(entry):
            unit, source = _text(entry.get(self._fields.said)), Source.SYSTEMD
        if unit not in self._units or entry.get("_TRANSPORT") in _NOT_THE_PROGRAMS or _FAILURE.match(message):
            return None
        if is_record and not self._users.may_write(entry):
            return None
        priority = _text(entry.get("PRIORITY"))
        return LogEntry(
            at=int(_text(entry.get("__REALTIME_TIMESTAMP")) or 0),
            unit=unit,
            source=source,
            priority=int(priority) if priority in _PRIORITIES else _INFORMATIONAL,
            message=message,
            phase=_text(entry.get("NANOD_PHASE")) if is_record else "",
            hook=_text(entry.get("NANOD_HOOK")) if is_record else "",
        )


def plain(text: str) -> str:
    """Without terminal escapes and control characters, so that printing it cannot do anything to a terminal."""
    return _CONTROL.sub("", _ESCAPE.sub("", text.replace("\r\n", "\n")))


def _text(value: object) -> str:
    """A field: text, or its bytes as numbers where they are not all printable; a field that occurs twice is a list of such."""
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return bytes(value).decode(errors="replace")
    if isinstance(value, list):
        return _text(value[0])
    return value if isinstance(value, str) else ""


class _Users:
    """Whose words count for a unit: any user may write to the journal, and claim to be a hook.

    Those of root and of the unit's own processes do, and of its hooks that `nanod run` runs. The entry of a process that is gone before journald
    looks has no unit (seen on 252, 3 in 10 on a busy machine, and on 257); it counts from the unit's user, and from whoever else wrote in that run:
    a hook may have a user of its own. For a user's manager only its user's do, and not those of a unit that PID 1 has under the same name.
    """

    def __init__(self, entries: Sequence[Mapping[str, object]], scope: RuntimeScope) -> None:
        self._whose = scope
        self._of_unit: dict[str, set[str]] = {}
        self._seen: set[tuple[str, ...]] = set()
        for entry in entries:
            self.see(entry)

    def see(self, entry: Mapping[str, object]) -> None:
        """Remember who wrote it, and in which run of which unit."""
        self._seen.add(tuple(_text(entry.get(name)) for name in ("_SYSTEMD_UNIT", "NANOD_INVOCATION", "_UID")))

    def may_write(self, entry: Mapping[str, object]) -> bool:
        unit, writer, uid = (_text(entry.get(name)) for name in ("NANOD_UNIT", "_SYSTEMD_UNIT", "_UID"))
        is_pid1s = writer == unit or is_by_hand(writer, unit)
        if self._whose.is_user:
            return uid == str(self._whose.uid) and not is_pid1s
        if writer or uid == "0":
            return uid == "0" or is_pid1s
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
            text=plain(_text(entry.get("NANOD_TEXT"))),
        )
    except (KeyError, ValueError):
        return None
