"""systemd's own parser, and the way back from its words to the spec."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from nanod.diagnostics import Report, Severity
from nanod.errors import NanodError
from nanod.host import verify as module
from nanod.host.process import Completed
from nanod.host.verify import verify
from nanod.scope import SYSTEM

from .host_units import app, service, unit

if TYPE_CHECKING:
    from nanod.units.unitset import UnitSet

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
START = ("Service", "ExecStart", ":/bin/true")


def verified(units: UnitSet) -> Report:
    """All of them are new."""
    return verify(units, {item.name: None for item in units.units})


def test_good_units_have_no_findings() -> None:
    units = [unit(f"shop-{number}.service", START) for number in range(100)]
    target = unit("shop.target", ("Unit", "Wants", "shop-1.service shop-2.service"))
    assert list(verified(app(*units, target))) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("Service", "Foo", "1"), "Unknown key"),
        (("Service", "Environment", '"A=1'), "Invalid syntax"),
        (("Service", "MemoryMax", "5X"), "Invalid memory limit '5X'"),
        (("Service", "Restart", "on-failrue"), "on-failrue"),
        (("Unit", "After", "bad;name"), "bad;name"),
        (("Service", "ExecStop", ":relative/path"), "relative/path"),
    ],
)
def test_what_systemd_would_drop_is_an_error_at_its_place(line: tuple[str, str, str], words: str) -> None:
    """All of these leave systemd-analyze's exit status at 0 on 252."""
    found = list(verified(app(unit("shop-web.service", START, line))))
    there = [item for item in found if item.mark.line == 11]
    assert [item.severity for item in there] == [Severity.ERROR]
    assert words in there[0].message
    assert f"({line[1]}= of shop-web.service)" in there[0].message


def test_what_names_no_line_is_an_error_at_its_service() -> None:
    found = list(verified(app(unit("shop-web.service", ("Unit", "Description", "x")), services=(service("web"),))))
    assert {(item.severity, item.mark.line) for item in found} == {(Severity.ERROR, 5)}
    assert "has no ExecStart=" in found[0].message


def test_an_ordering_cycle_is_an_error() -> None:
    one = unit("shop-a.service", ("Unit", "After", "shop-b.service"), ("Unit", "Requires", "shop-b.service"), START)
    two = unit("shop-b.service", ("Unit", "After", "shop-a.service"), ("Unit", "Requires", "shop-a.service"), START)
    assert any("ordering cycle" in item.message and item.severity is Severity.ERROR for item in verified(app(one, two)))


def test_only_what_is_written_is_looked_at() -> None:
    """The other one was verified when it was written; its findings would come again with every change."""
    units = app(unit("shop-a.service", START, ("Service", "Foo", "1")), unit("shop-b.service", START, ("Service", "Bar", "1")), unit("shop.target"))
    found = list(verify(units, {"shop-b.service": unit("shop-b.service", START).render()}))
    assert [item.message.rpartition("(")[2] for item in found] == ["Bar= of shop-b.service)"]


def test_a_cycle_through_a_unit_that_stays_as_it_is_is_an_error() -> None:
    """Neither requires the other: only the start of both at once, by the target, shows it."""
    one = unit("shop-a.service", ("Unit", "After", "shop-b.service"), START)
    two = unit("shop-b.service", ("Unit", "After", "shop-a.service"), START)
    target = unit("shop.target", ("Unit", "Wants", "shop-a.service shop-b.service"))
    found = verify(app(one, two, target), {"shop-b.service": unit("shop-b.service", START).render()})
    assert any("ordering cycle" in item.message for item in found)


def test_units_that_stay_are_there_for_the_one_that_changes() -> None:
    """Requires= of a unit that is not there is an error, and that unit is in no usual directory."""
    needed = unit("shop-a.service", START, ("Unit", "PartOf", "shop.target"))
    changed = unit("shop-b.service", ("Unit", "Requires", "shop-a.service"), ("Unit", "PartOf", "shop.target"), START)
    target = unit("shop.target", ("Unit", "Wants", "shop-a.service shop-b.service"))
    old = changed.render()
    assert list(verify(app(needed, changed, target), {"shop-b.service": old.replace("/bin/true", "/bin/false")})) == []
    gone = unit("shop-b.service", ("Unit", "Requires", "shop-gone.service"), START)
    assert "shop-gone.service not found" in next(iter(verify(app(gone, target), {"shop-b.service": gone.render()}))).message


def test_a_missing_program_is_a_note_at_its_line() -> None:
    found = list(verified(app(unit("shop-web.service", ("Service", "ExecStart", ":/srv/shop/node_modules/x")))))
    assert [(item.severity, item.mark.line, item.message) for item in found] == [
        (Severity.NOTE, 10, "'/srv/shop/node_modules/x' is not there yet: no such file or directory")
    ]


def test_our_own_programs_may_be_missing() -> None:
    """The first apply installs them."""
    assert list(verified(app(unit("shop-web.service", ("Service", "ExecStart", f":{SYSTEM.lib}/no-such-program"))))) == []


def said(monkeypatch: pytest.MonkeyPatch, text: str, status: int = 1) -> None:
    monkeypatch.setattr(module, "run", lambda argv, **_: Completed(argv=tuple(argv), status=status, out="", err=text))


@pytest.mark.parametrize(
    "text",
    [
        "/usr/lib/systemd/system/plymouth-start.service:17: Unit uses KillMode=none.",
        "/etc/systemd/system/shop-web.service.d/override.conf:3: Unknown key 'X'",
        "other-shop-web.service: Failed",
        "shop-web.service-x: Failed",
        "",
    ],
)
def test_lines_about_others_do_not_count(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    said(monkeypatch, text)
    assert list(verified(app(unit("shop-web.service", START)))) == []


def test_a_killed_parser_is_not_a_good_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, "", status=-11)
    with pytest.raises(NanodError, match="killed by signal 11"):
        verified(app(unit("shop-web.service", START)))
