"""What journalctl prints, taken apart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nanod.errors import NanodError
from nanod.host import journal
from nanod.host.journal import Journalctl, plain
from nanod.host.process import Completed
from nanod.scope import user_scope
from nanod.state import HookResult
from nanod.units.names import HOOK_MESSAGE_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORD = {
    "MESSAGE_ID": HOOK_MESSAGE_ID,
    "NANOD_APP": "shop",
    "NANOD_UNIT": "shop-web.service",
    "NANOD_PHASE": "prestart",
    "NANOD_HOOK": "migrate",
    "NANOD_STATUS": "3",
    "NANOD_INVOCATION": "ab",
    "NANOD_DURATION_MS": "12",
    "__REALTIME_TIMESTAMP": "1795214217791407",
    "_UID": "0",
}
RESULT = HookResult(unit="shop-web.service", phase="prestart", name="migrate", status=3, invocation="ab", duration_ms=12, at=1795214217791407)


class Printed:
    """journalctl that prints these entries, and notes how it was asked."""

    def __init__(self, *entries: object) -> None:
        self.text = "\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries)
        self.asked: list[Sequence[str]] = []

    def __call__(self, argv: Sequence[str], *, timeout: float) -> Completed:
        assert timeout > 0
        self.asked.append(argv)
        if argv[0] == "systemctl":
            return Completed(argv=tuple(argv), status=0, out="User=nobody\nUID=1000\n", err="")
        return Completed(argv=tuple(argv), status=0, out=self.text, err="")


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> type[Printed]:
    class Installed(Printed):
        def __init__(self, *entries: object) -> None:
            super().__init__(*entries)
            monkeypatch.setattr(journal, "run", self)

    return Installed


def test_lines_are_read_on_from_a_place(printed: type[Printed]) -> None:
    systemd = {"_PID": "1", "UNIT": "shop-job.service", "INVOCATION_ID": "ab", "MESSAGE": "Started", "__CURSOR": "s=1"}
    line = {"_SYSTEMD_UNIT": "shop-job.service", "_SYSTEMD_INVOCATION_ID": "ab", "MESSAGE": "one\x1b[31m", "__CURSOR": "s=2"}
    other = line | {"_SYSTEMD_INVOCATION_ID": "cd", "MESSAGE": "of the next run", "__CURSOR": "s=3"}
    asked = printed(systemd, line, other).asked
    assert Journalctl().lines_after("shop-job.service", "@1500000", invocation="ab") == (["one"], "s=3")
    assert Journalctl().lines_after("shop-job.service", "s=3", invocation="ab")[0] == ["one"]
    wanted = ["_SYSTEMD_UNIT=shop-job.service", "+", "UNIT=shop-job.service", "_PID=1"]
    assert [list(argv[-5:]) for argv in asked] == [["--since=@1.500000", *wanted], ["--after-cursor=s=3", *wanted]], "and no sync"
    printed()
    assert Journalctl().lines_after("shop-job.service", "s=3", invocation="ab") == ([], "s=3")


def test_hook_results_are_asked_for_by_unit_and_time(printed: type[Printed]) -> None:
    asked = printed(RECORD).asked
    assert Journalctl().hook_results(["shop-web.service", "shop-db.service"], since=1_500_000) == [RESULT]
    assert list(asked[0]) == ["journalctl", "--sync"]
    assert asked[1][-5:] == [
        "--since=@1.500000",
        "--lines=5000",
        f"MESSAGE_ID={HOOK_MESSAGE_ID}",
        "NANOD_UNIT=shop-web.service",
        "NANOD_UNIT=shop-db.service",
    ]
    assert Journalctl().hook_results([]) == []
    assert len(asked) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"NANOD_STATUS": "many"},
        {"NANOD_DURATION_MS": None},
        {"NANOD_PHASE": "absent"},
        {"_UID": "1000", "_SYSTEMD_UNIT": "user@1000.service"},
        {"_UID": "1000", "_SYSTEMD_UNIT": "shop-stage-web.service"},
        {"_UID": "1001"},
    ],
)
def test_records_that_are_torn_or_of_others_do_not_count(printed: type[Printed], change: dict[str, object]) -> None:
    printed({key: value for key, value in (RECORD | change).items() if value != "absent"})
    assert Journalctl().hook_results(["shop-web.service"]) == []


@pytest.mark.parametrize(
    "change", [{"_UID": "1000", "_SYSTEMD_UNIT": "shop-web.service"}, {"_UID": "1000"}, {"_UID": "65534"}, {"_SYSTEMD_UNIT": "other.service"}]
)
def test_records_of_the_service_itself_and_of_root_count(printed: type[Printed], change: dict[str, object]) -> None:
    printed(RECORD | change)
    assert Journalctl().hook_results(["shop-web.service"]) == [RESULT]


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"_UID": "1500", "_SYSTEMD_UNIT": "user@1500.service"}, True),
        ({"_UID": "1500"}, True),
        ({"_SYSTEMD_UNIT": "shop-web.service"}, False),
        ({"_UID": "1500", "_SYSTEMD_UNIT": "shop-web.service"}, False),
        ({"_UID": "1501", "_SYSTEMD_UNIT": "user@1501.service"}, False),
    ],
)
def test_an_app_of_the_machine_is_not_the_user_s_of_the_same_name(printed: type[Printed], change: dict[str, object], *, counts: bool) -> None:
    asked = printed(RECORD | change).asked
    ann = Journalctl(user_scope("ann", 1500, "/home/ann", {}))
    assert ann.hook_results(["shop-web.service"]) == ([RESULT] if counts else [])
    assert asked[1][-2:] == ["NANOD_UNIT=shop-web.service", "_UID=1500"]


def test_last_lines_before_a_moment_are_read_from_there_backwards(printed: type[Printed]) -> None:
    asked = printed({"MESSAGE": "second"}, {"MESSAGE": "first"}).asked
    assert Journalctl().last_lines("shop-web.service", until=1_500_000) == ["first", "second"]
    assert {"--reverse", "--until=@1.500000"} <= set(asked[1])


def test_last_lines_are_the_programs_own(printed: type[Printed]) -> None:
    asked = printed(
        {"MESSAGE": "first"},
        {"MESSAGE": "audit", "_TRANSPORT": "audit"},
        {"MESSAGE": "hook failed", "MESSAGE_ID": HOOK_MESSAGE_ID},
        {"MESSAGE": [*b"\x1b[31mred\x1b[0m \xff"], "_TRANSPORT": "stdout"},
        {"MESSAGE": ["twice", "given"]},
        {"MESSAGE": None},
        "no json",
        "[]",
        {"MESSAGE": "two\nlines"},
    ).asked
    assert Journalctl().last_lines("shop-web.service", invocation="ab", count=4) == ["red \N{REPLACEMENT CHARACTER}", "twice", "two", "lines"]
    assert asked[1][-4:] == ["_SYSTEMD_UNIT=shop-web.service", "+", "UNIT=shop-web.service", "_PID=1"]


def test_a_line_that_lost_its_invocation_is_of_the_run_around_it(printed: type[Printed]) -> None:
    printed(
        {"_PID": "1", "INVOCATION_ID": "old", "MESSAGE": "Starting"},
        {"MESSAGE": "lost of old"},
        {"MESSAGE": "of old", "_SYSTEMD_INVOCATION_ID": "old"},
        {"_PID": "1", "INVOCATION_ID": "ab", "MESSAGE": "Starting"},
        {"MESSAGE": "lost of ab"},
        {"_PID": "1", "MESSAGE": "no invocation"},
        {"MESSAGE": "of ab", "_SYSTEMD_INVOCATION_ID": "ab"},
        {"_PID": "1", "INVOCATION_ID": "new", "MESSAGE": "Starting"},
        {"MESSAGE": "lost of new"},
    )
    assert Journalctl().last_lines("shop-web.service", invocation="ab") == ["lost of ab", "of ab"]
    assert Journalctl().last_lines("shop-web.service", count=2) == ["of ab", "lost of new"]


def test_a_run_that_later_ones_outtalked_is_asked_for_by_itself(printed: type[Printed]) -> None:
    asked = printed({"MESSAGE": "of new", "_SYSTEMD_INVOCATION_ID": "new"}).asked
    assert Journalctl().last_lines("shop-web.service", invocation="ab") == []
    assert [argv[-2:] for argv in asked if argv[1] != "--sync"] == [
        ["UNIT=shop-web.service", "_PID=1"],
        ["_SYSTEMD_UNIT=shop-web.service", "_SYSTEMD_INVOCATION_ID=ab"],
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Bx\x1b7y", "xy"),
        ("a\x08b\x07\x9b31m\x7f", "ab31m"),
        ("over\rwrite\tkeeps tabs", "overwrite\tkeeps tabs"),
        ("line\r\nnext", "line\nnext"),
        ("\x1b[", ""),
    ],
)
def test_nothing_printed_reaches_the_terminal_as_a_command(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_no_journal_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(argv: Sequence[str], *, timeout: float) -> Completed:
        raise NanodError(f"cannot run {argv[0]}: {timeout}")

    monkeypatch.setattr(journal, "run", gone)
    assert Journalctl().hook_results(["shop-web.service"]) == []
    assert Journalctl().last_lines("shop-web.service") == []


def test_a_journald_that_hangs_is_asked_once_and_what_is_on_disk_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def hangs(argv: Sequence[str], *, timeout: float) -> Completed:
        asked.append(argv[1])
        if argv[1] == "--sync":
            raise NanodError(f"cannot run {argv[0]}: no answer after {timeout} s")
        return Completed(argv=tuple(argv), status=0, out=json.dumps(RECORD), err="")

    monkeypatch.setattr(journal, "run", hangs)
    reader = Journalctl()
    assert reader.hook_results(["shop-web.service"]) == [RESULT]
    assert reader.hook_results(["shop-web.service"]) == [RESULT]
    assert asked == ["--sync", "--quiet", "--quiet"]


def test_a_record_that_lost_its_unit_counts_from_whoever_else_wrote_in_that_unit(printed: type[Printed]) -> None:
    """A hook may have a user of its own."""
    own = RECORD | {"_UID": "1002"}
    printed(own | {"_SYSTEMD_UNIT": "shop-web.service"}, own)
    assert Journalctl().hook_results(["shop-web.service"]) == [RESULT, RESULT]
