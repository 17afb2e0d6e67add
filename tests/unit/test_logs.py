"""Logs: which entries of the journal count, how they look, and how much of the journal a person may read."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nanod.errors import UsageError
from nanod.host import journal as module
from nanod.host.journal import Access, Journalctl
from nanod.host.process import Completed
from nanod.logs import LogEntry, Owner, Source, owners
from nanod.recorded import service_units
from nanod.units.names import HOOK_MESSAGE_ID, by_hand
from nanod.view.logs import LogView
from nanod.view.tty import PLAIN, Style
from tests.unit.test_running import DB, MANIFEST, WEB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Journal:
    """journalctl with these entries; `asked` has its arguments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries: list[dict[str, object]] = []
        self.asked: list[list[str]] = []
        self.err = ""
        monkeypatch.setattr(module, "lines_of", self._lines_of)
        monkeypatch.setattr(module, "run", self._run)

    def add(self, message: object, **fields: object) -> None:
        number = len(self.entries)
        self.entries.append(
            {"__CURSOR": f"c{number}", "__REALTIME_TIMESTAMP": f"{number}", "MESSAGE": message, "PRIORITY": "6", "_TRANSPORT": "stdout"} | fields
        )

    @contextmanager
    def _lines_of(self, argv: Sequence[str]) -> Iterator[Iterator[str]]:
        self.asked.append(list(argv))
        found = self.entries[::-1] if "--reverse" in argv else self.entries
        if "--follow" in argv:
            found = [item | {"MESSAGE": "later"} for item in self.entries[:1]]
        yield iter(["{torn", "[]", *map(json.dumps, found)])

    def _run(self, argv: Sequence[str], **_: object) -> Completed:
        return Completed(argv=tuple(argv), status=0, out="", err=self.err)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    return Journal(monkeypatch)


def log(**how: Any) -> list[LogEntry]:
    return list(Journalctl().log([DB, WEB], **how))


def test_entries_of_units_of_systemd_about_them_and_records_count(journal: Journal) -> None:
    record = {"MESSAGE_ID": HOOK_MESSAGE_ID, "NANOD_UNIT": WEB, "NANOD_PHASE": "prestart", "NANOD_HOOK": "migrate", "_UID": "0"}
    journal.add("hello", _SYSTEMD_UNIT=WEB, PRIORITY="3")
    journal.add([104, 105, 10], _SYSTEMD_UNIT=DB, PRIORITY="nonsense")
    journal.add("Started it", UNIT=WEB, _PID="1", _SYSTEMD_UNIT="init.scope")
    journal.add("hook prestart/migrate succeeded", **record)
    journal.add("nanod: hook prestart/migrate failed, status 3", _SYSTEMD_UNIT=WEB)
    journal.add("denied", _SYSTEMD_UNIT=WEB, _TRANSPORT="audit")
    journal.add("of another", _SYSTEMD_UNIT="other.service")
    assert [(item.unit, item.source, item.priority, item.message, item.hook) for item in log()] == [
        (WEB, Source.SERVICE, 3, "hello", ""),
        (DB, Source.SERVICE, 6, "hi\n", ""),
        (WEB, Source.SYSTEMD, 6, "Started it", ""),
        (WEB, Source.HOOK, 6, "hook prestart/migrate succeeded", "migrate"),
    ]


def test_a_record_counts_from_the_unit_root_or_a_run_by_hand(journal: Journal) -> None:
    record = {"MESSAGE_ID": HOOK_MESSAGE_ID, "NANOD_UNIT": WEB, "NANOD_PHASE": "prestop", "NANOD_HOOK": "1", "_UID": "1000"}
    for writer in (WEB, DB, "user@1000.service", by_hand(WEB, 1, 1), by_hand(DB, 1, 1)):
        journal.add(writer, _SYSTEMD_UNIT=writer, **record)
    assert [item.message for item in log()] == [WEB, by_hand(WEB, 1, 1)]


def test_the_last_are_counted_after_what_is_left_out(journal: Journal) -> None:
    for word in "abc":
        journal.add(word, _SYSTEMD_UNIT=WEB)
        journal.add("nanod: hook ready/1 failed, status 3", _SYSTEMD_UNIT=WEB)
    assert [item.message for item in log(count=2)] == ["b", "c"]
    assert "--reverse" in journal.asked[0]
    assert log(count=0) == []


def test_following_goes_on_after_the_last(journal: Journal) -> None:
    journal.add("a", _SYSTEMD_UNIT=WEB)
    journal.add("b", _SYSTEMD_UNIT=WEB)
    assert [item.message for item in log(count=1, follow=True)] == ["b", "later"]
    assert {"--follow", "--no-tail", "--after-cursor=c1"} <= set(journal.asked[1])
    log(count=0, follow=True, since="-5us")
    assert any(word.startswith("--since=@") for word in journal.asked[2]), "nothing that comes meanwhile is lost"


def test_how_much_may_be_read(journal: Journal) -> None:
    assert Journalctl().access() is Access.ALL
    journal.err = "Hint: You are currently not seeing messages from other users and the system.\n"
    assert Journalctl().access() is Access.OWN
    journal.err += "No journal files were opened due to insufficient permissions.\n"
    assert Journalctl().access() is Access.NONE
    journal.err = "Failed to parse timestamp: soon\n"
    with pytest.raises(UsageError, match="cannot read 'soon' as a time"):
        Journalctl().access("soon")


OWNERS = owners(service_units(MANIFEST, name) for name in MANIFEST.services)


def entry(unit: str, message: str, **fields: Any) -> LogEntry:
    return replace(LogEntry(at=1, unit=unit, source=Source.SERVICE, priority=6, message=message), **fields)


def test_units_have_their_service_in_front() -> None:
    assert OWNERS["shop-web-provision.service"] == Owner(service="web", phase="install")
    view = LogView(owners=OWNERS, style=PLAIN)
    assert view.text(entry(WEB, "one\ntwo\x1b[2J\n"), "NOW") == "NOW web         | one\nNOW web         | two\\x1b[2J"
    assert view.text(entry("shop-web-provision.service", ""), "NOW") == "NOW web/install | "


def test_services_differ_in_colour_and_errors_stand_out() -> None:
    view = LogView(owners=OWNERS, style=Style(colour=True))
    colours = [view.text(entry(unit, "x"), "NOW").split("\x1b[")[3].partition("m")[0] for unit in OWNERS]
    assert colours == ["36", "33", "33", "32"]
    assert view.text(entry(DB, "x", priority=3), "NOW").endswith(" \x1b[1;31mx\x1b[0m")
    assert view.text(entry(DB, "x", priority=4), "NOW").endswith(" \x1b[33mx\x1b[0m")
    assert view.text(entry(DB, "x", source=Source.SYSTEMD), "NOW").endswith(" \x1b[2mx\x1b[0m")
    assert view.text(entry(DB, "x"), "NOW").endswith("\x1b[0m x")


def test_data_has_every_field_and_the_message_as_it_is() -> None:
    view = LogView(owners=OWNERS, style=PLAIN)
    assert view.data(entry(WEB, "a\x1b", source=Source.HOOK, phase="prestop", hook="drain"), "T") == {
        "time": "T",
        "service": "web",
        "unit": WEB,
        "phase": "prestop",
        "hook": "drain",
        "source": "hook",
        "priority": 6,
        "message": "a\x1b",
    }
    assert view.data(entry("shop-web-provision.service", "x"), "T")["phase"] == "install"
    assert view.data(entry(DB, "x"), "T")["phase"] is None
