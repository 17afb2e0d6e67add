"""What the parser's dump does not show of a unit, asked of a real PID 1 over D-Bus: flags of Exec lines, credentials, syslog identifiers."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from nanod.units import quoting
from tests.parser import hostile
from tests.parser.batch import Meant

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

SEED = 20261120
FLAGS = {"-": "ignore-failure", "+": "privileged", "!": "no-setuid", ":": "no-env-expand"}


def units(count: int) -> list[Meant]:
    random = Random(SEED)
    made = []
    for number in range(count):
        unit = Meant.unit(number)
        unit.one("Unit", "Description", hostile.line(random))
        unit.one("Service", "SyslogIdentifier", hostile.line(random))
        unit.one("Service", "WorkingDirectory", hostile.path(random))
        for position in range(3):
            unit.one("Service", "LoadCredential", f"c{position}:{hostile.path(random)}")
            unit.many("Service", "Environment", [f"V{position}={hostile.text(random)}"])
        for prefix in ("", "-", "+", "-+", "!", "-!"):
            unit.exec("ExecStop", ["/opt/a b%n", *(hostile.text(random) for _ in range(3))], prefix)
            unit.exec("ExecReload", ["/bin/true", prefix], prefix)
        unit.many("Service", "RestrictAddressFamilies", ["AF_UNIX", "AF_INET"])
        unit.many("Service", "SuccessExitStatus", ["SIGTERM", "3"])
        unit.one("Service", "CPUQuota", "50%")
        made.append(unit)
    return made


def on_the_bus(machine: Machine, made: list[Meant]) -> dict[str, dict[str, Any]]:
    for unit in made:
        machine.path(f"/etc/systemd/system/{unit.name}").write_text(unit.builder.finish().render())
    machine.run(["systemctl", "daemon-reload"])
    return {unit.name: {**properties(machine, unit.name, "Unit"), **properties(machine, unit.name, "Service")} for unit in made}


def properties(machine: Machine, unit: str, interface: str) -> dict[str, Any]:
    path = "/org/freedesktop/systemd1/unit/" + "".join(letter if letter.isalnum() else f"_{ord(letter):02x}" for letter in unit)
    call = ["org.freedesktop.systemd1", path, "org.freedesktop.DBus.Properties", "GetAll", "s", f"org.freedesktop.systemd1.{interface}"]
    answer = json.loads(machine.run(["busctl", "--json=short", "call", *call]).out)
    return {key: value["data"] for key, value in answer["data"][0].items()}


@pytest.mark.row("FAULTS-3", "FAULTS-5")
def test_pid_1_holds_what_was_meant(any_machine: Machine) -> None:
    made = units(30)
    bus = on_the_bus(any_machine, made)
    for unit in made:
        got = bus[unit.name]
        assert got["LoadState"] == "loaded"
        for key in ("Description", "SyslogIdentifier", "WorkingDirectory"):
            if key in unit.said:
                assert got[key] == unit.said[key][0]
        assert got["Environment"] == [word for words in unit.said["Environment"] if isinstance(words, list) for word in words]
        assert {":".join(pair) for pair in got["LoadCredential"]} == set(unit.said.get("LoadCredential", []))
        assert [line[1] for line in got["ExecStopEx"]] == unit.said["ExecStop"]
        assert {line[0] for line in got["ExecStopEx"]} == {"/opt/a b%n"}
        for line in got["ExecReloadEx"]:
            assert set(line[2]) == {FLAGS[letter] for letter in line[1][1] + ":"}
        assert got["RestrictAddressFamilies"] == [True, ["AF_INET", "AF_UNIX"]]
        assert got["SuccessExitStatus"] == [[3], [15]]
        assert got["CPUQuotaPerSecUSec"] == 500_000


@pytest.mark.row("FAULTS-4", "FAULTS-15")
def test_without_the_prefix_that_keeps_dollars_pid_1_would_expand_them(any_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quoting, "_LITERAL", "")
    unit = Meant.unit(1000)
    unit.exec("ExecReload", ["/bin/true", "$HOME"])
    [line] = on_the_bus(any_machine, [unit])[unit.name]["ExecReloadEx"]
    assert line[2] == []
