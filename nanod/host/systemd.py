"""PID 1 over D-Bus, through pystemd; nothing else imports it, and what it speaks (bytes, without types) stays in this file.

Root talks to PID 1 on its private socket, as systemctl does, and so needs no D-Bus daemon; a user to their own manager likewise, and others use the
system bus. One connection is kept: a call on it takes 65 µs, a connection for every property, pystemd's default, four times that. Methods are
called directly, because SDObject.load() fetches and parses the introspection XML of every unit. pystemd 0.11 (Debian 12) and 0.15.3 have the same
calls.

Hard facts: sd-bus gives up after 25 s unless SYSTEMD_BUS_TIMEOUT says otherwise, and reloads of 30 to 90 s happen (systemd#25543); a
daemon-reexec closes the private socket (systemd#25542). So no answer means "unknown": connect again, look whether it happened, and only
then ask again.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import time
from dataclasses import replace
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any

from nanod.errors import NanodError
from nanod.host.facts import require_systemd
from nanod.scope import NO_MANAGER, SYSTEM
from nanod.state import UnitDetail, UnitState
from nanod.units.names import is_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nanod.scope import RuntimeScope

_NAME = b"org.freedesktop.systemd1"
_PATH = b"/org/freedesktop/systemd1"
_MANAGER = _NAME + b".Manager"
_PROPERTIES = b"org.freedesktop.DBus.Properties"
_FIRST_PATIENCE = 2.0
_AFTER_LOSS = 0.01
_INFINITY = 2**64 - 1
_BETWEEN_TRIES = 0.1
"""Seconds at most. Beside one reexec after the other PID 1 has its socket open for 50 ms at a time (252 and 257, tried): longer sleeps miss it."""
_LOST = frozenset({errno.ECONNRESET, errno.ECONNREFUSED, errno.ENOTCONN, errno.EPIPE, errno.EBADF, errno.ETIMEDOUT, errno.EINTR, errno.ESTALE})
_HINTS = {
    "UnitMasked": "an administrator masked it; 'systemctl unmask {unit}' lifts that",
    "NoSuchUnit": "'systemctl list-unit-files' shows the units there are",
    "BadUnitSetting": "'systemctl status {unit}' says what is wrong with its unit file",
    "LoadFailed": "'systemctl status {unit}' says what is wrong with its unit file",
    "TransactionIsDestructive": "another job stands against it, see 'systemctl list-jobs', or the machine is shutting down",
    "ShuttingDown": "the machine is shutting down",
    "AccessDenied": "run it as root",
    "InteractiveAuthorizationRequired": "run it as root",
}


class DBusSystemd:
    """The kept bus. `timeout` bounds one call (systemctl gives a daemon-reload 180 s too), `patience` one spell without a connection; seconds."""

    def __init__(self, *, timeout: float = 180, patience: float = 30, scope: RuntimeScope = SYSTEM) -> None:
        self._scope = scope
        self._timeout = timeout
        self._patience = patience
        self._bus: Any = None
        self._was_connected = False

    def states(self, names: Iterable[str]) -> dict[str, UnitState]:
        """One call for all. A name that systemd does not know, or would not have as a name, is `not-found`."""
        wanted = list(dict.fromkeys(names))
        found = {name: UnitState(name=name) for name in wanted}
        wanted = [name for name in wanted if not is_settings(name)]
        rows = self._manager("read unit states", b"ListUnitsByNames", b"as", [name.encode() for name in wanted]) if wanted else []
        # Rows come in the order asked, named after what an alias stands for; impossible names have none.
        asked = wanted if len(rows) == len(wanted) else [row[0].decode() for row in rows]
        for name, row in zip(asked, rows, strict=True):
            _, _, load, active, sub, _, _, job, job_type, _ = row
            found[name] = UnitState(name=name, load=load.decode(), active=active.decode(), sub=sub.decode(), job=job, job_type=job_type.decode())
        return found

    def detail(self, name: str) -> UnitDetail:
        """Eleven small calls, 1 ms in all; GetAll makes PID 1 read a unit's cgroup files and takes 4."""
        library = _library()
        path = library.path_encode(_PATH + b"/unit", name.encode())

        def unit(key: str) -> Any:
            return self._property(path, _NAME + b".Unit", key)

        general = UnitDetail(
            name=name,
            invocation=bytes(unit("InvocationID")).hex(),
            drop_ins=tuple(item.decode() for item in unit("DropInPaths")),
            need_daemon_reload=unit("NeedDaemonReload"),
            active_since=unit("ActiveEnterTimestamp"),
            condition_result=unit("ConditionResult"),
        )
        if name.endswith(".timer"):
            elapse = self._property(path, _NAME + b".Timer", "NextElapseUSecRealtime")
            return replace(general, next_elapse=elapse if elapse < _INFINITY else 0)
        if name.endswith(".socket"):
            return replace(general, result=self._property(path, _NAME + b".Socket", "Result").decode())
        if not name.endswith(".service"):
            return general

        def service(key: str) -> Any:
            return self._property(path, _NAME + b".Service", key)

        return replace(
            general,
            result=service("Result").decode(),
            main_pid=service("MainPID"),
            exec_main_code=service("ExecMainCode"),
            exec_main_status=service("ExecMainStatus"),
            restarts=service("NRestarts"),
            status_text=service("StatusText").decode(errors="replace"),
        )

    def system_state(self) -> str:
        """`running`, `degraded`, `starting`, `stopping` … (systemctl(1), is-system-running)."""
        return str(self._property(_PATH, _MANAGER, "SystemState").decode())

    def version(self) -> int:
        """Of the systemd that runs as PID 1: it is the one that reads the units. 252 of `252.39-1~deb12u1`, 257 of `v257.9`."""
        text = self._property(_PATH, _MANAGER, "Version").decode()
        found = re.search(r"[0-9]+", text)
        if found is None:
            raise NanodError(f"cannot tell systemd's version from '{text}'")
        return int(found[0])

    def load_path(self) -> tuple[str, ...]:
        """Where this manager looks for units (systemd.unit(5), UNIT FILE LOAD PATH); a user's follows the environment that it was started with."""
        return tuple(path.decode() for path in self._property(_PATH, _MANAGER, "UnitPath"))

    def environment(self) -> dict[str, str]:
        """What the manager was started with, and what it has been told since (systemctl(1), set-environment)."""
        entries = (entry.decode(errors="surrogateescape") for entry in self._property(_PATH, _MANAGER, "Environment"))
        return dict(entry.split("=", 1) for entry in entries)

    def invocation(self, name: str) -> str:
        """Of the run that the unit is in, or had last; "" for a unit that never ran."""
        path = _library().path_encode(_PATH + b"/unit", name.encode())
        return bytes(self._property(path, _NAME + b".Unit", "InvocationID")).hex()

    def daemon_reload(self) -> None:
        """Returns when PID 1 has read all unit files again."""
        begin = time.monotonic_ns() // 1000
        self._manager("reload unit files", b"Reload", done=lambda: self._property(_PATH, _MANAGER, "UnitsLoadTimestampMonotonic") >= begin)

    def start(self, name: str, *, alone: bool = False) -> None:
        self._job("start", b"StartUnit", name, alone=alone)

    def stop(self, name: str, *, alone: bool = False) -> None:
        """A unit that systemd does not know is stopped already."""
        self._job("stop", b"StopUnit", name, unless="NoSuchUnit", alone=alone)

    def restart(self, name: str) -> None:
        begin = time.monotonic_ns() // 1000
        path = _library().path_encode(_PATH + b"/unit", name.encode())

        def happened() -> bool:
            started = self._property(path, _NAME + b".Unit", "InactiveExitTimestampMonotonic")
            return bool(started >= begin or self.states([name])[name].job_type == "restart")

        self._job("restart", b"RestartUnit", name, done=happened)

    def reload(self, name: str) -> None:
        self._job("reload", b"ReloadUnit", name)

    def reset_failed(self, name: str) -> None:
        self._manager(f"reset {name}", b"ResetFailedUnit", b"s", name.encode(), unit=name, unless="NoSuchUnit")

    def close(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _job(self, verb: str, method: bytes, name: str, *, done: Callable[[], bool] | None = None, unless: str = "", alone: bool = False) -> None:
        mode = b"ignore-dependencies" if alone else b"replace"
        self._manager(f"{verb} {name}", method, b"ss", name.encode(), mode, unit=name, done=done, unless=unless)

    def _manager(
        self,
        action: str,
        method: bytes,
        signature: bytes = b"",
        *values: object,
        unit: str = "",
        done: Callable[[], bool] | None = None,
        unless: str = "",
    ) -> Any:
        return self._call(action, _PATH, _MANAGER, method, signature, *values, unit=unit, done=done, unless=unless)

    def _property(self, path: bytes, interface: bytes, name: str) -> Any:
        return self._call(f"read {name} of systemd", path, _PROPERTIES, b"Get", b"ss", interface, name.encode())

    def _call(
        self,
        action: str,
        path: bytes,
        interface: bytes,
        method: bytes,
        signature: bytes,
        *values: object,
        unit: str = "",
        done: Callable[[], bool] | None = None,
        unless: str = "",
    ) -> Any:
        """Call until there is an answer. `done` says whether a call whose answer is lost took effect; `unless` names the error that is none."""
        library = _library()
        arguments = library.apply_signature(signature, list(values)) if signature else []
        deadline = time.monotonic() + 2 * self._timeout + self._patience
        while True:
            bus = self._connect(action)
            try:
                body = bus.call_method(_NAME, path, interface, method, arguments).body
            except _bus_error() as failed:
                if -failed.errno not in _LOST:
                    if unless and _error_name(failed) == unless:
                        return None
                    raise _refusal(action, unit, failed) from failed
                self.close()
                time.sleep(_AFTER_LOSS)
                if time.monotonic() > deadline:
                    hint = "'journalctl -b _PID=1' may say what PID 1 is busy with"
                    raise NanodError(f"cannot {action}: systemd does not answer", hint=hint) from failed
            else:
                self._drain(bus)
                return body
            if done is not None and done():
                return None

    def _drain(self, bus: Any) -> None:
        """Take in the signals that came meanwhile.

        PID 1 sends all of its signals to every private connection, asked for or not. Unread they pile up in the library, 2 KB each, and from
        65536 on it refuses every call (BUS_RQUEUE_MAX). No signal and a signal without content look alike here, so three in a row count
        as none.
        """
        empty = 0
        try:
            while empty < 3:
                empty = empty + 1 if bus.process().is_empty() else 0
        except _bus_error():
            self.close()

    @property
    def _is_owner(self) -> bool:
        """Whoever the manager runs as gets in by its own socket."""
        return os.geteuid() == self._scope.uid

    def _address(self) -> bytes:
        return f"unix:path={self._scope.private_socket}".encode()

    def _connect(self, action: str) -> Any:
        """The kept bus, or a new one; a daemon-reexec shuts the door for a while."""
        if self._bus is not None:
            return self._bus
        require_systemd(action)
        library = _library()
        os.environ["SYSTEMD_BUS_TIMEOUT"] = f"{self._timeout:g}s"
        deadline = time.monotonic() + (self._patience if self._was_connected else min(_FIRST_PATIENCE, self._patience))
        delay = 0.01
        while True:
            bus = library.DBusAddress(self._address(), peer_to_peer=True) if self._is_owner else library.DBus()
            try:
                bus.open()
            except _bus_error() as failed:
                bus.close()
                if time.monotonic() + delay > deadline:
                    cause = os.strerror(abs(failed.errno))
                    hint = _NO_CONNECTION[self._scope.is_user] if self._is_owner else "run it as root"
                    raise NanodError(f"cannot {action}: no connection to systemd: {cause}", hint=hint) from failed
                time.sleep(delay)
                delay = min(_BETWEEN_TRIES, delay * 2)
            else:
                self._bus, self._was_connected = bus, True
                return bus


_NO_CONNECTION = {
    False: "'systemctl daemon-reexec' brings PID 1's socket back",
    True: NO_MANAGER,
}
"""What to do where the manager's own socket does not answer, by whether it is a user's."""


def _library() -> Any:
    """The bus of pystemd, imported when first needed. The package's own `__init__` pulls in lxml, 20 ms for nothing here, and so is passed by."""
    if "pystemd" not in sys.modules and (package := find_spec("pystemd")):
        sys.modules["pystemd"] = module_from_spec(package)
    try:
        from pystemd import dbuslib  # noqa: PLC0415
    except ImportError as missing:
        raise NanodError(f"cannot talk to systemd: {missing}", hint=_hint_for(missing)) from missing
    return dbuslib


def _hint_for(missing: ImportError) -> str:
    """What brings it: the library that pystemd is compiled against, or pystemd itself."""
    if "libsystemd" in str(missing):
        return "apt install libsystemd0 (elsewhere systemd-libs)"
    return "apt install python3-pystemd; beside pip, 'pip install pystemd' with gcc, pkg-config, and the headers of libsystemd and Python"


def _bus_error() -> Any:
    from pystemd.dbusexc import DBusBaseError  # noqa: PLC0415

    return DBusBaseError


def _error_name(failed: Any) -> str:
    """Last word of the D-Bus error's name. pystemd keeps the name only of errors that it has no class for."""
    if failed.err_name:
        return str(failed.err_name.decode().rpartition(".")[2])
    return type(failed).__name__.removeprefix("DBus").removesuffix("Error")


def _refusal(action: str, unit: str, failed: Any) -> NanodError:
    text = failed.err_message
    cause = (text.decode(errors="replace") if isinstance(text, bytes) else str(text)).rstrip(".") or os.strerror(abs(failed.errno))
    if cause[1:2].islower():
        cause = cause[0].lower() + cause[1:]
    return NanodError(f"cannot {action}: {cause}", hint=_HINTS.get(_error_name(failed), "").format(unit=unit))
