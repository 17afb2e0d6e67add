"""What happens to a call whose answer is lost. The bus is made up here; tests/lab/test_host_systemd.py asks a real PID 1."""

from __future__ import annotations

import errno
import sys
import time
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from nanod.errors import NanodError
from nanod.host import systemd
from nanod.host.systemd import DBusSystemd

if TYPE_CHECKING:
    from collections.abc import Callable


class BusError(Exception):
    def __init__(self, number: int, name: bytes = b"", message: bytes = b"") -> None:
        super().__init__(message)
        self.errno, self.err_name, self.err_message = -number, name, message


class DBusNoSuchUnitError(BusError):
    """As pystemd has it: the class is the name, and the name is lost."""


class Bus:
    """Answers from a script: values are returned, exceptions raised, functions called."""

    script: list[object]
    calls: list[str]
    opened: int
    refuse: int
    signals: int

    def __init__(self, address: bytes = b"", *, peer_to_peer: bool = False) -> None:
        assert (address != b"") == peer_to_peer

    def open(self) -> None:
        if type(self).refuse:
            type(self).refuse -= 1
            raise BusError(errno.ECONNREFUSED)
        type(self).opened += 1

    def close(self) -> None:
        pass

    def process(self) -> SimpleNamespace:
        """Signals with and without content in turn; after the last, nothing."""
        type(self).signals -= 1
        is_empty = self.signals < 0 or self.signals % 2 == 0
        return SimpleNamespace(is_empty=lambda: is_empty)

    def call_method(self, _name: bytes, _path: bytes, _interface: bytes, method: bytes, arguments: list[bytes]) -> object:
        words = " ".join(item.decode() for item in (method, *arguments[-1:]) if isinstance(item, bytes))
        self.calls.append(words)
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(body=answer)


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., type[Bus]]:
    def install(*script: object, refuse: int = 0, signals: int = 0) -> type[Bus]:
        class Scripted(Bus):
            pass

        Scripted.script, Scripted.calls, Scripted.opened, Scripted.refuse = list(script), [], 0, refuse
        Scripted.signals = signals
        library, errors, package = ModuleType("pystemd.dbuslib"), ModuleType("pystemd.dbusexc"), ModuleType("pystemd")
        library.__dict__.update(
            DBus=Scripted,
            DBusAddress=Scripted,
            apply_signature=lambda _, values: values,
            path_encode=lambda prefix, name: prefix + b"/" + name,
        )
        errors.__dict__.update(DBusBaseError=BusError)
        package.__dict__.update(dbuslib=library, dbusexc=errors)
        for name, module in (("pystemd", package), ("pystemd.dbuslib", library), ("pystemd.dbusexc", errors)):
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(systemd, "require_systemd", lambda _: None)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        return Scripted

    return install


LOST = BusError(errno.ECONNRESET)
LATE = BusError(errno.ETIMEDOUT)
RUNNING = [(b"a.service", b"", b"loaded", b"active", b"running", b"", b"", 0, b"", b"")]


def _is_up(one: DBusSystemd) -> bool:
    return one.states(["a.service"])["a.service"].is_up


def test_the_bus_is_kept(bus: Callable[..., type[Bus]]) -> None:
    scripted = bus(RUNNING, RUNNING)
    one = DBusSystemd()
    assert _is_up(one)
    assert _is_up(one)
    assert scripted.opened == 1


@pytest.mark.row("FAULTS-32")
def test_a_read_is_repeated_on_a_new_connection(bus: Callable[..., type[Bus]]) -> None:
    scripted = bus(LOST, LOST, RUNNING)
    assert _is_up(DBusSystemd())
    assert scripted.opened == 3


def test_signals_that_nobody_asked_for_are_taken_in(bus: Callable[..., type[Bus]]) -> None:
    scripted = bus(RUNNING, signals=1000)
    assert _is_up(DBusSystemd())
    assert scripted.signals < 0


@pytest.mark.row("FAULTS-33")
def test_a_reload_whose_answer_is_lost_is_looked_up_and_not_repeated(bus: Callable[..., type[Bus]]) -> None:
    scripted = bus(LATE, 2**62)
    DBusSystemd().daemon_reload()
    assert scripted.calls == ["Reload", "Get UnitsLoadTimestampMonotonic"]


def test_a_reload_that_did_not_happen_is_repeated(bus: Callable[..., type[Bus]]) -> None:
    scripted = bus(LOST, 1, None)
    DBusSystemd().daemon_reload()
    assert scripted.calls == ["Reload", "Get UnitsLoadTimestampMonotonic", "Reload"]


def test_a_restart_is_never_done_twice(bus: Callable[..., type[Bus]]) -> None:
    scripted = bus(LOST, 2**62)
    DBusSystemd().restart("a.service")
    assert scripted.calls == ["RestartUnit replace", "Get InactiveExitTimestampMonotonic"]
    row = (b"a.service", b"", b"loaded", b"active", b"running", b"", b"", 7, b"restart", b"")
    scripted = bus(LOST, 1, [row])
    DBusSystemd().restart("a.service")
    assert scripted.calls[0:2] == ["RestartUnit replace", "Get InactiveExitTimestampMonotonic"]
    assert len(scripted.calls) == 3


def test_a_start_is_repeated_because_twice_is_once(bus: Callable[..., type[Bus]]) -> None:
    scripted = bus(LOST, b"/job/1")
    DBusSystemd().start("a.service")
    assert scripted.calls == ["StartUnit replace"] * 2


def test_no_answer_at_all_ends_some_time(bus: Callable[..., type[Bus]], monkeypatch: pytest.MonkeyPatch) -> None:
    bus(*[LATE] * 100)
    clock = iter(range(0, 100_000, 50))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with pytest.raises(NanodError, match=r"cannot start a\.service: systemd does not answer") as caught:
        DBusSystemd(timeout=100, patience=100).start("a.service")
    assert "journalctl" in caught.value.hint


@pytest.mark.row("FAULTS-32")
def test_a_shut_door_is_knocked_at_again(bus: Callable[..., type[Bus]]) -> None:
    scripted = bus(RUNNING, refuse=5)
    assert _is_up(DBusSystemd())
    assert scripted.opened == 1


def test_a_door_that_is_open_for_moments_only_is_tried_often(bus: Callable[..., type[Bus]], monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = bus(RUNNING, refuse=15)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    assert _is_up(DBusSystemd())
    assert scripted.opened == 1
    assert max(slept) <= 0.1


def test_a_door_that_stays_shut_is_told(bus: Callable[..., type[Bus]]) -> None:
    bus(refuse=10**9)
    with pytest.raises(NanodError, match="cannot read unit states: no connection to systemd: Connection refused") as caught:
        _is_up(DBusSystemd(patience=0))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (DBusNoSuchUnitError(errno.ENOENT, b"", b"Unit a.service not found."), "unit a.service not found", "list-unit-files"),
        (
            BusError(errno.ESHUTDOWN, b"org.freedesktop.systemd1.UnitMasked", b"Unit a.service is masked."),
            "unit a.service is masked",
            "unmask a.service",
        ),
        (BusError(errno.EACCES, b"x.AccessDenied", b"Access denied"), "access denied", "root"),
        (BusError(errno.EDEADLK, b"x.TransactionIsDestructive", b""), "Resource deadlock avoided", "list-jobs"),
        (BusError(errno.EINVAL, b"x.Other", b"PID is odd"), "PID is odd", ""),
    ],
)
def test_refusals_say_what_to_do(bus: Callable[..., type[Bus]], error: BusError, message: str, hint: str) -> None:
    bus(error)
    with pytest.raises(NanodError) as caught:
        DBusSystemd().start("a.service")
    assert caught.value.message.lower() == f"cannot start a.service: {message}".lower()
    assert hint in caught.value.hint


def test_what_is_gone_is_stopped_and_reset(bus: Callable[..., type[Bus]]) -> None:
    gone = DBusNoSuchUnitError(errno.ENOENT, b"", b"Unit a.service not loaded.")
    bus(gone, gone)
    one = DBusSystemd()
    one.stop("a.service")
    one.reset_failed("a.service")


def test_rows_are_named_as_asked(bus: Callable[..., type[Bus]]) -> None:
    """An alias has a row named after what it stands for; an impossible name has none."""
    row = (b"real.service", b"", b"loaded", b"active", b"running", b"", b"", 0, b"", b"")
    bus([row], [row])
    one = DBusSystemd()
    assert one.states(["alias.service"])["alias.service"].is_up
    found = one.states(["real.service", "im possible"])
    assert (found["real.service"].active, found["im possible"].load) == ("active", "not-found")
    assert one.states([]) == {}


def test_without_pystemd_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: Any = sys.modules  # None in it makes an import fail (The import system, 5.3.1), which its type does not say
    monkeypatch.setitem(modules, "pystemd", None)
    with pytest.raises(NanodError, match="cannot talk to systemd") as caught:
        DBusSystemd().states(["a.service"])
    assert "python3-pystemd" in caught.value.hint
