"""Every way of writing a value, against systemd's own parser (FAULTS 1 to 5, 14, 15)."""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING

import pytest

from nanod.units import quoting
from tests.parser import hostile
from tests.parser.batch import Meant, read_back

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parser.oracle import Parser

SEED = 20261120


def units(count: int, seed: int = SEED) -> Iterator[Meant]:
    """Each with about 210 hostile values in every kind of place."""
    random = Random(seed)
    for number in range(count):
        unit = Meant.unit(number)
        unit.one("Unit", "Description", hostile.line(random))
        unit.one("Service", "WorkingDirectory", hostile.path(random))
        unit.many("Unit", "RequiresMountsFor", [hostile.path(random)])
        unit.many("Service", "ReadWritePaths", [hostile.path(random), hostile.path(random)])
        for _ in range(5):
            unit.one("Unit", "ConditionPathExists", random.choice(["", "!", "|", "|!"]) + hostile.path(random))
            unit.one("Service", "EnvironmentFile", hostile.path(random))
        for position in range(20):
            unit.many("Service", "Environment", [f"V{position}={hostile.text(random)}"])
            program = random.choice(["/bin/true", "true", "/opt/a b%n", hostile.path(random)])
            unit.exec("ExecStartPre", [program, *(hostile.text(random) for _ in range(8))], random.choice(["", "-", "+", "!", "-+"]))
        yield unit


@pytest.mark.row("FAULTS-14")
def test_a_hundred_thousand_hostile_values_are_read_back_or_refused(parser: Parser) -> None:
    made = list(units(800))
    assert read_back(parser, made) == []
    said = sum(len(value) if isinstance(value, list) else 1 for unit in made for values in unit.said.values() for value in values)
    assert said > 100_000
    assert {key for unit in made for key in unit.refused_keys} >= {"Description", "Environment", "EnvironmentFile", "ExecStartPre", "ReadWritePaths"}


@pytest.mark.row("FAULTS-2", "FAULTS-3", "FAULTS-5", "FAULTS-6")
@pytest.mark.parametrize("value", hostile.FIRST)
def test_what_looks_like_something_else_stays_what_it_is(parser: Parser, value: str) -> None:
    unit = Meant.unit()
    unit.one("Unit", "Description", value)
    unit.one("Service", "WorkingDirectory", f"/{value}")
    unit.one("Unit", "ConditionPathExists", value)
    unit.one("Unit", "ConditionPathExists", f"!/{value}")
    unit.one("Service", "EnvironmentFile", value)
    unit.one("Service", "EnvironmentFile", f"/{value}")
    unit.one("Service", "User", value)
    unit.one("Service", "Group", value)
    unit.one("Service", "Slice", value)
    unit.many("Service", "ReadWritePaths", [f"/{value}", value])
    unit.many("Unit", "RequiresMountsFor", [value])
    unit.many("Unit", "RequiresMountsFor", [f"/{value}"])
    for key in ("RuntimeDirectory", "StateDirectory", "CacheDirectory"):
        unit.many("Service", key, [value])
        unit.many("Service", key, [f"a/{value}"])
    for key in ("Wants", "Requires", "BindsTo", "PartOf", "After", "Before", "Conflicts", "OnFailure"):
        unit.many("Unit", key, [value])
        unit.many("Unit", key, [f"{value}.service", "a.service"])
    unit.many("Service", "Environment", [f"A={value}", "B=b"])
    unit.many("Service", "Environment", [value])
    for key in ("ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost"):
        unit.exec(key, [value, "x"])
        unit.exec(key, [f"/{value}", "x"])
        unit.exec(key, ["/bin/true", value, "x", value])
    assert read_back(parser, [unit]) == []
    assert ["/bin/true", value, "x", value] in unit.said["ExecStop"]
    assert [f"A={value}", "B=b"] in unit.said["Environment"]


@pytest.mark.row("FAULTS-1")
@pytest.mark.parametrize("code", [*range(0x20), 0x7F])
def test_control_characters(parser: Parser, code: int) -> None:
    for value in (chr(code), f"a{chr(code)}b", f"{chr(code)}ExecStop=/bin/x", f"\\{chr(code)}"):
        unit = Meant.unit()
        unit.one("Unit", "Description", value)
        unit.one("Service", "WorkingDirectory", f"/{value}")
        unit.one("Unit", "ConditionPathExists", f"/{value}")
        unit.one("Service", "EnvironmentFile", f"/{value}")
        unit.many("Service", "ReadWritePaths", [f"/{value}"])
        unit.many("Service", "Environment", [f"A={value}"])
        unit.exec("ExecStartPre", ["/bin/true", value])
        unit.exec("ExecStartPre", [f"/{value}", value])
        assert read_back(parser, [unit]) == []
        assert {"Description", "WorkingDirectory", "ConditionPathExists", "EnvironmentFile"}.isdisjoint(unit.said)
        assert ("Environment" in unit.said) is (code != 0), "only NUL has no escape"


def test_long_values_are_refused_before_the_kernel_or_systemd_refuses_them(parser: Parser) -> None:
    unit = Meant.unit()
    unit.exec("ExecStartPre", ["/bin/true", "x" * 131_071])
    unit.exec("ExecStartPre", ["/bin/true", *["é" * 60_000] * 8])
    unit.one("Service", "WorkingDirectory", "/" + "/".join(["d" * 255] * 15))
    assert read_back(parser, [unit]) == []
    assert not unit.refused
    unit.exec("ExecStartPre", ["/bin/true", "x" * 131_072])
    unit.exec("ExecStartPre", ["/bin/true", *["é" * 60_000] * 9])
    unit.exec("ExecStartPre", ["/" + "x" * 256])
    unit.one("Service", "WorkingDirectory", "/" + "d" * 256)
    unit.one("Unit", "ConditionPathExists", "/" + "/".join(["d" * 255] * 16))
    assert len(unit.refused) == 5


def _without(table: dict[int, str], *letters: str) -> dict[int, str]:
    return {code: written for code, written in table.items() if chr(code) not in letters}


_NEVER = re.compile(r"(?!)")
BROKEN: dict[str, dict[str, object]] = {
    "% in words": {"_QUOTED": _without(quoting._QUOTED, "%")},
    "backslash in words": {"_QUOTED": _without(quoting._QUOTED, "\\")},
    "quote in words": {"_QUOTED": _without(quoting._QUOTED, '"')},
    "LF": {"_QUOTED": _without(quoting._QUOTED, "\n"), "_CONTROL": re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")},
    "CR": {"_QUOTED": _without(quoting._QUOTED, "\r"), "_CONTROL": re.compile(r"[\x00-\x0c\x0e-\x1f\x7f]")},
    "control characters": {"_CONTROL": _NEVER},
    "% in text": {"_DOUBLED": {}},
    "% in paths": {"_PATH_QUOTED": _without(quoting._PATH_QUOTED, "%")},
    "backslash in paths": {"_PATH_QUOTED": _without(quoting._PATH_QUOTED, "\\")},
    "quote in paths": {"_PATH_QUOTED": _without(quoting._PATH_QUOTED, '"')},
    "any word is plain": {"_PLAIN_WORD": re.compile(r".+", re.DOTALL)},
    "; is plain": {"_PLAIN_WORD": re.compile(r"[A-Za-z0-9/._+@=,:;-]+")},
    "a blank is plain": {"_PLAIN_WORD": re.compile(r"[A-Za-z0-9/._+@=,: -]+")},
    "an empty word is plain": {"_PLAIN_WORD": re.compile(r"[A-Za-z0-9/._+@=,:-]*")},
    "noncharacters": {"_NONCHARACTER": _NEVER},
    "any program": {"_PROGRAM": re.compile(r".*", re.DOTALL)},
    "any path": {"_refuse_bad_path": lambda _: None},
    "any length of path": {"_refuse_long_path": lambda _: None},
}
"""One rule of the emitters broken at a time: the values above must show each."""


@pytest.mark.row("FAULTS-15")
@pytest.mark.usefixtures("nothing_remembered")
@pytest.mark.parametrize("rule", BROKEN)
def test_each_broken_rule_is_found(parser: Parser, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    for name, broken in BROKEN[rule].items():
        monkeypatch.setattr(quoting, name, broken)
    long = Meant.unit(1000)
    long.one("Unit", "ConditionPathExists", "/" + "x" * 256)
    assert read_back(parser, [*units(100), long]) != []
