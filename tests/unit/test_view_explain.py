from __future__ import annotations

import re
from pathlib import Path

from nanod.diagnostics import Mark
from nanod.phases import PHASES, TASKS
from nanod.units.unitfile import Directive, UnitFile
from nanod.view.explain import lifecycle_data, lifecycle_markdown, lifecycle_text, origins_data, origins_text
from nanod.view.tty import PLAIN, Style

_PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"
_UNIT = UnitFile(
    name="shop-web.service",
    service="web",
    head="made by nanod",
    directives=(
        Directive(section="Unit", key="Description", text="web", origin=Mark("shop.yaml", 3, 5, 9)),
        Directive(section="Service", key="Environment", text="PORT=8080", origin=Mark("shop.yaml", 12, 20, 24)),
        Directive(section="Service", key="Restart", text="no", origin=Mark("<built-in>")),
    ),
)


def test_the_lifecycle_page_is_the_table_of_the_code() -> None:
    begin, end = "<!-- nanod explain --markdown -->\n", "\n<!-- end -->"
    table = _PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]
    assert table == lifecycle_markdown(), "put the output of 'nanod explain --markdown' between the comments of docs/lifecycle.md"


def test_the_lifecycle_fits_eighty_columns_and_shows_every_phase_in_every_table() -> None:
    lines = lifecycle_text(PLAIN).split("\n")
    assert max(map(len, lines)) <= 80
    for phase in (*PHASES, *TASKS):
        named = [line for line in lines if re.match(rf"{phase.name}(  | \(| \*)", line)]
        assert len(named) == 4 * sum(other.name == phase.name for other in (*PHASES, *TASKS))


def test_the_lifecycle_says_what_each_phase_means() -> None:
    lines = lifecycle_text(PLAIN).split("\n")
    found = [" ".join(line.split()) for line in lines if line.startswith("prestop ")]
    assert found == [
        "prestop before the stop signal service 30s",
        "prestop warn (ignore) reversed, all",
        "prestop no yes yes if restarted",
        "prestop ExecStop=",
    ]


def test_the_lifecycle_as_data() -> None:
    phases = lifecycle_data()["phases"]
    assert isinstance(phases, list)
    assert len(phases) == len(PHASES) + len(TASKS)
    assert phases[0] == {
        "phase": "install",
        "scope": None,
        "when": "once per volume and content",
        "on_failure": "fail",
        "on_failure_allowed": ["fail"],
        "context": "host",
        "timeout": "30min",
        "timeout_shared": False,
        "listing": "one script",
        "again": {"crash_restart": "no", "stop_start": "no", "reboot": "no", "redeploy": "if content changed"},
        "realised_as": "<app>-<service>-provision.service",
    }


def test_every_line_of_a_unit_stands_beside_its_place_in_the_spec() -> None:
    assert origins_text([_UNIT], PLAIN).split("\n") == [
        "# ---- shop-web.service",
        "                 [Unit]",
        "shop.yaml:3:5    Description=web",
        "                 [Service]",
        "shop.yaml:12:20  Environment=PORT=8080",
        "<built-in>       Restart=no",
    ]
    assert "\x1b[" in origins_text([_UNIT], Style(colour=True))


def test_origins_as_data() -> None:
    units = origins_data([_UNIT])["units"]
    assert isinstance(units, dict)
    assert units["shop-web.service"][1] == {
        "section": "Service",
        "key": "Environment",
        "text": "PORT=8080",
        "origin": {"file": "shop.yaml", "line": 12, "column": 20},
    }
