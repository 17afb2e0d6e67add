"""Unit files as values: order, rendering, parsing, and what the builder refuses with a place in the spec."""

from __future__ import annotations

import pytest

from nanod.diagnostics import Mark, Report
from nanod.units.directives import Cost, cost_of, row_of, since
from nanod.units.quoting import UnrepresentableError, command
from nanod.units.unitfile import UnitBuilder, parse
from nanod.values import Size, TimeSpan

MARK = Mark("shop.yaml", 11, 3, 9)


def builder() -> UnitBuilder:
    return UnitBuilder(name="shop-web.service", service="web", head="Made by nanod.", report=Report())


def test_a_unit_file_reads_as_a_person_would_write_it() -> None:
    unit = builder()
    unit.raw("X-Nanod", "App", "shop", MARK)
    unit.exec("ExecStart", ["/usr/bin/env", "A=1", "node", "server.js", "--port=80"], MARK, prefix="-")
    unit.words("Install", "WantedBy", ["multi-user.target"], MARK)
    unit.raw("Service", "CPUQuota", "50%", MARK)
    unit.raw("Service", "DynamicUser", True, MARK)
    unit.raw("Service", "RestartSec", TimeSpan.parse("90s"), MARK)
    unit.raw("Service", "MemoryMax", Size.parse("512M"), MARK)
    unit.raw("Service", "TasksMax", 200, MARK)
    unit.words("Service", "Environment", ["A=plain", "B=two words", "C=100%"], MARK)
    unit.words("Unit", "After", ["b.service", "a.service"], MARK)
    unit.live("Service", "Nice", "5", MARK)
    unit.live("Service", "ExecSearchPath", "%h/bin", MARK)
    unit.live("Service", "Environment", "", MARK)
    unit.raw("Unit", "Description", 'Shop: 100% "front"', MARK)
    assert not unit.report
    assert (
        unit.finish().render()
        == r"""# Made by nanod.

[Unit]
After=b.service a.service
Description=Shop: 100%% "front"

[Service]
ExecStart=-:/usr/bin/env A=1 node server.js --port=80
CPUQuota=50%
DynamicUser=yes
RestartSec=1min 30s
MemoryMax=512M
TasksMax=200
Environment=A=plain "B=two words" "C=100%%"
Nice=5
ExecSearchPath=%h/bin
Environment=

[Install]
WantedBy=multi-user.target

[X-Nanod]
App=shop
"""
    )


def test_parse_gives_back_what_render_wrote() -> None:
    unit = builder()
    for text in ("a=b", "[Install]", "#x", ";", "x ] [y", "=", "\\n ; \u2028 \x85"):
        unit.raw("Unit", "Description", text, MARK)
        unit.exec("ExecStart", [f"/{text}" if "\\" not in text else "/x", text, ""], MARK)
    unit.raw("X-Nanod", "App", "shop", MARK)
    file = unit.finish()
    assert list(parse(file.render())) == [(item.section, item.key, item.text) for item in file.directives]
    assert len(file.directives) == 15


def test_order_within_a_section_is_the_order_of_writing() -> None:
    unit = builder()
    for number in range(50):
        unit.raw(*(("Unit", "Description") if number % 2 else ("Service", "SyslogIdentifier")), str(number), MARK)
    assert unit.finish().values("Service", "SyslogIdentifier") == [str(number) for number in range(0, 50, 2)]
    assert unit.finish().values("Unit", "Description") == [str(number) for number in range(1, 50, 2)]
    assert unit.finish() == unit.finish()


@pytest.mark.parametrize(
    ("section", "key", "value", "cause"),
    [
        ("Unit", "Description", "a\nExecStart=/x", r"control character '\n' cannot stand here"),
        ("Unit", "Description", "a\\", "systemd would join the next line to a backslash at the end"),
        ("Unit", "Description", " a", "systemd strips the blanks at its ends"),
        ("Unit", "Description", "", "systemd reads an empty value as 'reset'"),
        ("Unit", "Description", "\ud800", r"character '\ud800' is not UTF-8"),
        ("Unit", "Description", "\ufffe", r"systemd takes no text with the noncharacter '\ufffe'"),
        ("Unit", "ConditionPathExists", "!x", "'!x' is not an absolute path, after '|' and '!'"),
        ("Unit", "ConditionPathExists", "/a/../b", "'/a/../b' is not normalised: no '//', '.', '..' and no '/' at its end"),
        ("Service", "LoadCredential", "a b:/x", "'a b:/x' is not 'name:/path'"),
        ("Service", "WorkingDirectory", "~", "'~' is not an absolute path"),
        ("Service", "User", "65535", "'65535' is not a user or group name (letters, digits and '_.-', at most 31) or number"),
        ("Service", "Slice", "a b.slice", "'a b.slice' is not a unit name"),
    ],
)
def test_what_cannot_be_written_is_an_error_at_its_place(section: str, key: str, value: str, cause: str) -> None:
    unit = builder()
    unit.raw(section, key, value, MARK)
    [found] = unit.report
    assert (found.mark, found.message) == (MARK, f"cannot write {key}= for systemd: {cause}")
    assert unit.finish().directives == ()


@pytest.mark.parametrize(
    ("section", "key"), [("Service", "Nice\nExecStart"), ("Service", ""), ("Service", "#x"), ("X", "Nice"), ("Unit]\n[X", "Nice"), ("Service", "a=b")]
)
def test_keys_of_the_specs_own_block_cannot_break_out(section: str, key: str) -> None:
    unit = builder()
    unit.live(section, key, "5", MARK)
    [found] = unit.report
    assert "\n" not in found.message
    assert unit.finish().directives == ()


@pytest.mark.parametrize(
    "program", ["", "-/bin/x", "@/bin/x", ":/bin/x", "+x", "!x", "|x", "./x", "a/b", "/bin/", '/a"b', "/a'b", "/a\\b", "/a\nb", "..", "~/x"]
)
def test_what_systemd_takes_for_no_program(program: str) -> None:
    with pytest.raises(UnrepresentableError):
        command([program])


@pytest.mark.parametrize("prefix", ["", "-", "+", "-+", "!"])
def test_every_command_keeps_its_dollars(prefix: str) -> None:
    assert command(["/bin/echo", "$HOME", "${A}", "$$"], prefix) == f'{prefix}:/bin/echo "$HOME" "${{A}}" "$$"'


def test_costs() -> None:
    assert cost_of("Service", "ExecStart") is Cost.RESTART
    assert cost_of("Service", "ExecStop") is cost_of("Service", "ExecStopPost") is Cost.STOP_FIRST
    for key in ("ExecReload", "MemoryMax", "Restart", "RestartSec", "TimeoutStopSec", "KillSignal", "OOMPolicy"):
        assert cost_of("Service", key) is Cost.DAEMON_RELOAD
    assert cost_of("X-Nanod", "App") is Cost.DAEMON_RELOAD
    assert cost_of("Service", "Nice") is cost_of("Socket", "Backlog") is Cost.RESTART


def test_directives_by_version() -> None:
    assert since("Service", "RestartMode") == 254
    assert since("Service", "Restart") == 252
    with pytest.raises(KeyError):
        row_of("Service", "RestartModus")
