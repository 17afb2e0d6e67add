"""A hook by hand: which lines of compiled units it is, and the unit that runs one. Pure."""

from __future__ import annotations

import pytest

from nanod.byhand import Around, HookLine, hook_lines, settings, unit_text
from nanod.compile import Target, compile_spec
from nanod.scope import SYSTEM
from nanod.spec.load import load
from nanod.units.names import by_hand, is_by_hand
from nanod.units.unitfile import parse

SPEC = """\
project: shop
services:
  web:
    command: [/srv/server]
    user: shop
    runtime_dir: true
    sandbox: strict
    hooks:
      prestart:
        - {run: ./check.sh LIFECYCLE_PHASE=prestop NANOD_HOOK=x y, name: check}
        - {run: npx migrate, name: migrate, scope: deploy}
        - {run: "true", name: maybe, on_failure: warn}
      poststart: [{run: [/bin/true], on_failure: fail}, ./register.sh]
      ready: [./warm.sh, {run: 'echo "a b" ''c'' \\ $HOME 50%', name: "2.nd"}]
      reload: {run: kill -HUP $MAINPID, context: service}
      prestop: [{run: ./drain.sh, name: drain}, ./deregister.sh]
      poststop: {run: rm -rf /run/shop/x, user: root}
  db: {command: [/srv/db], user: shop}
"""
_units, _ = compile_spec(load("shop.yaml", SPEC, directory="/srv/shop").spec, Target())  # type: ignore[arg-type]
assert _units is not None
UNITS = _units
TEXTS = {unit.name: unit.render() for unit in UNITS.units}
WEB, DB = (next(item for item in UNITS.services if item.name == name) for name in ("web", "db"))
MAIN = "shop-web.service"


def lines(phase: str) -> tuple[HookLine, ...]:
    return hook_lines(WEB, phase, TEXTS)


@pytest.mark.parametrize(
    ("phase", "names", "stops"),
    [
        ("prestart", ["migrate", "check", "maybe"], [True, True, False]),
        ("poststart", ["1", "2"], [True, False]),
        ("ready", ["1", "2.nd"], [False, False]),
        ("reload", ["1"], [True]),
        ("prestop", ["2", "drain"], [False, False]),
        ("poststop", ["1"], [False]),
        ("deploy", [], []),
    ],
)
def test_hooks_stand_in_the_order_in_which_they_run(phase: str, names: list[str], stops: list[bool]) -> None:
    found = lines(phase)
    assert [line.name for line in found] == names
    assert [line.stops for line in found] == stops
    assert {line.phase for line in found} <= {phase}
    assert hook_lines(DB, phase, TEXTS) == ()


def test_a_line_is_the_unit_s_own_but_for_what_hides_its_status() -> None:
    own = {f"{key}={value}" for text in TEXTS.values() for _, key, value in parse(text)}
    keys = {"prestart": "ExecStartPre", "poststart": "ExecStartPost", "reload": "ExecReload", "prestop": "ExecStop", "poststop": "ExecStopPost"}
    for phase, key in keys.items():
        for line in lines(phase):
            of_unit = key if line.unit == MAIN else "ExecStart"
            assert own & {f"{of_unit}={line.text}", f"{of_unit}=-{line.text}"}, line
    assert {line.unit for line in lines("prestart")} == {MAIN, "shop-web-prestart.service"}
    assert lines("reload")[0].text.startswith(":/usr/bin/env LIFECYCLE_PHASE=reload ")
    assert lines("poststop")[0].text.startswith("+:/usr/bin/env LIFECYCLE_PHASE=poststop ")


def test_one_ready_hook_is_one_word_of_their_line() -> None:
    _, second = lines("ready")
    assert second.unit == "shop-web-ready.service"
    (whole,) = [value for _, key, value in parse(TEXTS[second.unit]) if key == "ExecStart"]
    program, _, word = second.text.partition(" ")
    assert program == "+:/var/lib/nanod/lib/1/each"
    assert whole.endswith(word)
    assert "NANOD_HOOK=2.nd" in word
    assert "NANOD_HOOK=1 " not in word


def made(line: HookLine, around: Around = Around(), *, drop_ins: tuple[str, ...] = (), is_first: bool = True) -> str:  # noqa: B008
    return unit_text(
        line, around, sources=[TEXTS[line.unit], *drop_ins], out="/proc/7/fd/4", err="/proc/7/fd/6", note="hand-1", scope=SYSTEM, is_first=is_first
    )


def values(text: str, key: str) -> list[str]:
    return [value for section, name, value in parse(text) if (section, name) == ("Service", key)]


def test_the_unit_has_the_settings_of_the_line_s_own_and_nothing_else_of_it() -> None:
    line = lines("reload")[0]
    text = made(line, Around(is_up=True, main_pid=812))
    own = TEXTS[MAIN]
    for key in ("User", "WorkingDirectory", "ProtectSystem", "SystemCallFilter", "Slice", "SyslogIdentifier"):
        assert values(text, key) == values(own, key) != []
    assert values(text, "Environment")[: len(values(own, "Environment"))] == values(own, "Environment")
    assert values(text, "Environment")[-1] == "MAINPID=812"
    assert values(text, "ExecStart")[-2:] == ["", line.text]
    for key in ("ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost", "ExecReload"):
        assert values(text, key)[-1] == "", "taken back"
    assert values(text, "Type")[-1] == "oneshot"
    assert values(text, "Restart")[-1] == "no"
    assert values(text, "StandardOutput") == ["append:/proc/7/fd/4"]
    assert values(text, "StandardError") == ["append:/proc/7/fd/6"]
    assert [item for item in parse(text) if item[0] == "Unit"] == [
        ("Unit", "Description", "Hook reload/1 of shop-web.service, by hand"),
        ("Unit", "JoinsNamespaceOf", MAIN),
    ]
    assert {section for section, _, _ in parse(text)} == {"Unit", "Service"}, "it is no unit of the app"


def test_directories_of_a_service_that_runs_are_not_the_unit_s() -> None:
    line = lines("prestop")[0]
    up, down = made(line, Around(is_up=True)), made(line)
    assert values(up, "RuntimeDirectory") == ["shop/web", ""]
    assert "RUNTIME_DIRECTORY=/run/shop/web" in values(up, "Environment")
    assert values(up, "ReadWritePaths")[-1] == "-/run/shop/web"
    assert values(down, "RuntimeDirectory") == ["shop/web"]
    assert "ReadWritePaths=-/run" not in down


def test_the_deadline_of_prestop_hooks_is_not_that_of_the_service() -> None:
    first, second = lines("prestop")
    text = made(first)
    assert values(text, "ExecStartPre")[-2:] == ["", "-+:/var/lib/nanod/lib/1/stopping /run/nanod/stopping/hand-1"]
    assert "--stop /run/nanod/stopping/hand-1 30 " in values(text, "ExecStart")[-1]
    assert values(made(second, is_first=False), "ExecStartPre")[-1] == ""
    assert f"stopping/{MAIN}" not in values(text, "ExecStart")[-1]


@pytest.mark.parametrize(
    ("phase", "around", "expected"),
    [
        ("prestart", Around(is_up=True, main_pid=7), {}),
        ("poststart", Around(is_up=True, main_pid=7), {"MAINPID": "7"}),
        ("prestop", Around(), {}),
        ("poststop", Around(), {"SERVICE_RESULT": "success", "EXIT_CODE": "exited", "EXIT_STATUS": "0"}),
        (
            "poststop",
            Around(result="signal", exit_code=2, exit_status=9),
            {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"},
        ),
    ],
)
def test_a_hook_is_told_of_the_process_what_systemd_tells(phase: str, around: Around, expected: dict[str, str]) -> None:
    assert around.environment(phase) == expected


def test_drop_ins_come_after_the_unit_and_before_what_makes_it_run_once() -> None:
    drop_in = "# mine\n[Unit]\nRequires=other.service\n[Service]\nNice=5\nExecStart=\nExecStart=/bin/other\nRestart=always\n"
    text = made(lines("reload")[0], drop_ins=(drop_in,))
    assert values(text, "Nice") == ["5"]
    assert values(text, "Restart")[-2:] == ["always", "no"]
    assert values(text, "ExecStart")[-1] == lines("reload")[0].text
    assert "other.service" not in text


def test_sections_of_a_drop_in_by_hand_are_told_apart() -> None:
    text = "[Unit]\nDescription=a \\\n[Service]\n# c \\\n[Service]\nNice=1\nEnvironment=A=1 \\\n  # not its end\n  [Unit]\n;\n[Install]\nAlias=x\n"
    assert settings(text) == "[Service]\nNice=1\nEnvironment=A=1 \\\n  # not its end\n  [Unit]\n;"


def test_names_of_units_by_hand_are_those_of_one_unit_alone() -> None:
    name = by_hand(MAIN, 123, 2)
    assert name == "nanod-run-shop-web-123-2.service"
    assert is_by_hand(name, MAIN)
    for other in ("nanod-run-shop-web-x-123-2.service", "nanod-run-shop-web-7-123-2.service", "nanod-run-shop-web-123.service", MAIN, ""):
        assert not is_by_hand(other, MAIN)
