"""The table of directives, against systemd's own parser: each shape is needed, each value that nanod writes is taken, each `since` is true."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nanod.diagnostics import Mark, Report
from nanod.units import directives
from nanod.units.directives import Emitter
from nanod.units.unitfile import UnitBuilder
from tests.parser import hostile
from tests.parser.batch import Meant

if TYPE_CHECKING:
    from tests.parser.oracle import Parser

SHAPED = [
    (section, key)
    for section, rows in directives.TABLE.items()
    for key, row in rows.items()
    # [Install] is not for PID 1, and an unknown capability is dropped without a word.
    if row.shape and section != "Install" and key != "CapabilityBoundingSet"
]


@pytest.mark.usefixtures("nothing_remembered")
@pytest.mark.parametrize(("section", "key"), SHAPED)
def test_each_shape_is_needed(parser: Parser, monkeypatch: pytest.MonkeyPatch, section: str, key: str) -> None:
    row = directives.row_of(section, key)
    monkeypatch.setitem(directives.TABLE[section], key, replace(row, shape=None))
    made = []
    for number, value in enumerate([*hostile.FIRST, "x", "a/", "private", "65535", "a:b", "A", "=", "/a:b", ".", ".."]):
        unit = Meant.unit(number)
        if row.emitter in (Emitter.TEXT, Emitter.VALUE, Emitter.PATH):
            unit.one(section, key, value)
        else:
            unit.many(section, key, [value])
        made.append(unit)
    reading = parser.read({unit.name: unit.builder.finish().render() for unit in made})
    assert reading.complaints, "systemd takes all of these: the shape refuses for nothing"


_TIMES = ["0s", "500ms", "1h 30min", "1us", "infinity"]
_CREDENTIALS = ["db-password:/etc/shop/db pw%:x", "a.b_c:/x"]
_USERS = ["shop", "root", "1000", "_x-9", "ann.lee"]
_BELOW = ["shop/web", "a.b/.c/d-e privat"]
_ACCESS = ["/srv", "-/srv +/x -+/y"]
_UNITS = ["a.service srv-a\\x2db.mount b@c.socket"]
VALUES = {
    "Type": ["exec", "notify", "oneshot"],
    "NotifyAccess": ["all", "main"],
    "Restart": ["no", "on-failure", "always"],
    "RestartMode": ["direct"],
    "CollectMode": ["inactive-or-failed"],
    "KillMode": ["control-group", "mixed"],
    "KillSignal": ["SIGTERM", "SIGRTMIN+3"],
    "RuntimeDirectoryPreserve": ["no", "restart"],
    "OOMPolicy": ["continue", "stop", "kill"],
    "ProtectSystem": ["no", "full", "strict"],
    "ProtectHome": ["yes", "read-only"],
    "ProtectProc": ["invisible"],
    "SystemCallErrorNumber": ["EPERM"],
    "MemoryMax": ["512M", "80%", "12.5%", "infinity", "1"],
    "MemoryHigh": ["512M", "80%"],
    "CPUQuota": ["50%", "250%", "12.5%"],
    "CPUWeight": ["1", "10000"],
    "IOWeight": ["1", "10000"],
    "TasksMax": ["200", "infinity"],
    "StartLimitBurst": ["0", "5"],
    **dict.fromkeys(("StartLimitIntervalSec", "RestartSec", "TimeoutStartSec", "TimeoutStopSec", "RuntimeMaxSec"), _TIMES),
    **dict.fromkeys(("Wants", "Requires", "BindsTo", "PartOf", "After", "Before", "Conflicts", "OnFailure"), _UNITS),
    "JoinsNamespaceOf": ["a.service b.service"],
    "LogLevelMax": ["notice"],
    "RestartPreventExitStatus": ["3 SIGHUP"],
    "CapabilityBoundingSet": ["CAP_NET_BIND_SERVICE", "~CAP_SYS_ADMIN"],
    "RestrictAddressFamilies": ["AF_UNIX AF_INET AF_INET6"],
    "SystemCallArchitectures": ["native"],
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
    "SuccessExitStatus": ["SIGTERM", "3 SIGHUP"],
    **dict.fromkeys(("LoadCredential", "LoadCredentialEncrypted"), _CREDENTIALS),
    "SyslogIdentifier": ["shop-web", "a %n b"],
    **dict.fromkeys(("User", "Group"), _USERS),
    "Slice": ["nanod-shop\\x2dstage.slice"],
    **dict.fromkeys(("RuntimeDirectory", "StateDirectory", "CacheDirectory"), _BELOW),
    "Description": ['100% "x" \\ y'],
    "ConditionPathExists": ["|!/srv/a b/.nanod-installed-0", "/x"],
    "RequiresMountsFor": ["/srv/shop"],
    "WorkingDirectory": ["/srv/a b"],
    "Environment": ["A=", "_a1=%n"],
    "EnvironmentFile": ["/etc/a b%n"],
    "BindPaths": ["/srv", "/tmp/a"],
    **dict.fromkeys(("ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths"), _ACCESS),
    "Sockets": ["a.socket b.socket"],
}


def _written(number: int, section: str, key: str, value: str) -> Meant:
    unit = Meant.unit(number)
    match directives.row_of(section, key).emitter:
        case Emitter.EXEC:
            unit.exec(key, value.split())
        case Emitter.TEXT | Emitter.VALUE | Emitter.PATH:
            unit.one(section, key, value)
        case Emitter.NAMES | Emitter.PATHS | Emitter.WORDS:
            unit.many(section, key, value.split())
    assert not unit.refused
    return unit


@pytest.mark.parametrize(("section", "key"), [(section, key) for section in ("Unit", "Service") for key in directives.TABLE[section]])
def test_each_directive_is_known_and_takes_what_nanod_writes(parser: Parser, section: str, key: str) -> None:
    yes_or_no = ["yes", "no"]
    default = ["/bin/true x"] if key.startswith("Exec") else yes_or_no
    units = [_written(number, section, key, value) for number, value in enumerate(VALUES.get(key, default))]
    if key == "ExecStart":
        units = [Meant.unit()]
    reading = parser.read({unit.name: unit.builder.finish().render() for unit in units})
    assert reading.complaints == ()


@pytest.mark.parametrize("key", directives.TABLE["Timer"])
def test_each_directive_of_a_timer_is_known_and_takes_what_nanod_writes(parser: Parser, key: str) -> None:
    texts = {"a.service": "[Service]\nExecStart=/bin/true\n"}
    for value in {"OnCalendar": ["daily UTC", "Mon..Fri *-*-* 03:00:00"], "Persistent": ["yes", "no"]}.get(key, ["1s", "1h 30min"]):
        unit = UnitBuilder(name="a.timer", service="x", head="a timer", report=Report())
        unit.raw("Timer", key, value, Mark("shop.yaml", 1, 1, 2))
        texts["a.timer"] = "[Timer]\nOnBootSec=1\n" + unit.finish().render().partition("[Timer]\n")[2]
        assert parser.read(texts).complaints == ()


@pytest.mark.parametrize("key", directives.TABLE["Socket"])
def test_each_directive_of_a_socket_is_known_and_takes_what_nanod_writes(parser: Parser, key: str) -> None:
    listens = ["127.0.0.1:80", "[::1]:80", "80", "/run/a b%.sock"]
    texts = {"a.service": "[Service]\nExecStart=/bin/true\n"}
    for value in {"ListenStream": listens, "Backlog": ["4096"], "Service": ["a.service"], "RemoveOnStop": ["yes"]}[key]:
        unit = UnitBuilder(name="a.socket", service="x", head="a socket", report=Report())
        place = Mark("shop.yaml", 1, 1, 2)
        if key == "Service":
            unit.words("Socket", key, [value], place)
        else:
            unit.raw("Socket", key, value, place)
        texts["a.socket"] = "[Socket]\nListenStream=/run/a\n" + unit.finish().render().partition("[Socket]\n")[2]
        assert parser.read(texts).complaints == ()


@pytest.mark.parametrize(("section", "key"), [(section, key) for section, keys in directives.NEWER.items() for key in keys])
def test_what_only_a_newer_systemd_knows(parser: Parser, section: str, key: str) -> None:
    """For a key that it has, systemd says something else about the strange value, or nothing."""
    unit = {"Socket": "a.socket", "Timer": "a.timer"}.get(section, "a.service")
    texts = {
        "a.service": "[Service]\nExecStart=/bin/true\n",
        "a.socket": "[Socket]\nListenStream=/run/a\n",
        "a.timer": "[Timer]\nOnBootSec=1\n",
    }
    texts[unit] += f"[{section}]\n{key}=@\n"
    said = " ".join(parser.read(texts).complaints)
    assert ("Unknown key" in said) == (directives.since(section, key) > parser.version), said
