from __future__ import annotations

from nanod.diagnostics import Mark
from nanod.trace import trace
from nanod.units.unitfile import Directive, UnitFile
from nanod.view.explain import traced_data, traced_text
from nanod.view.tty import PLAIN


def _line(key: str, text: str, number: int, section: str = "Service") -> Directive:
    return Directive(section=section, key=key, text=text, origin=Mark("shop.yaml", number, 3, 9))


_MADE = UnitFile(
    name="shop-web.service",
    service="web",
    head="Made by nanod",
    directives=(
        _line("Environment", "A=1", 4),
        _line("Environment", "B=2", 5),
        _line("Restart", "on-failure", 6),
        _line("Nice", "5", 7),
    ),
)


def test_a_file_as_it_was_made_has_a_place_for_every_line() -> None:
    found = trace(_MADE.name, _MADE.render(), _MADE)
    assert [(item.line.text, item.origin and item.origin.line, item.wanted) for item in found.lines] == [
        ("A=1", 4, None),
        ("B=2", 5, None),
        ("on-failure", 6, None),
        ("5", 7, None),
    ]
    assert found.missing == ()


def test_an_edited_file_shows_what_the_spec_makes_and_what_it_does_not() -> None:
    text = "[Service]\nEnvironment=B=2\nEnvironment=A=9\nRestart=no\nOOMPolicy=kill\n"
    found = trace(_MADE.name, text, _MADE)
    assert [(item.line.text, item.origin and item.origin.line, item.wanted) for item in found.lines] == [
        ("B=2", 5, None),
        ("A=9", 4, "A=1"),
        ("no", 6, "on-failure"),
        ("kill", None, None),
    ]
    assert [item.key for item in found.missing] == ["Nice"]
    assert traced_text(found, PLAIN).split("\n") == [
        "# ---- shop-web.service",
        "                 [Service]",
        "shop.yaml:5:3    Environment=B=2",
        "shop.yaml:4:3    Environment=A=9",
        "                 the spec makes Environment=A=1",
        "shop.yaml:6:3    Restart=no",
        "                 the spec makes Restart=on-failure",
        "not of the spec  OOMPolicy=kill",
        "missing Nice=5 of shop.yaml:7:3",
    ]
    data = traced_data([found])
    assert data["missing"] == {
        "shop-web.service": [{"section": "Service", "key": "Nice", "text": "5", "origin": {"file": "shop.yaml", "line": 7, "column": 3}}]
    }
    lines = data["units"]["shop-web.service"]  # type: ignore[index]
    assert lines[3] == {"section": "Service", "key": "OOMPolicy", "text": "kill", "origin": None, "wanted": None}


def test_a_unit_that_the_spec_makes_no_more() -> None:
    found = trace(_MADE.name, _MADE.render(), None)
    assert {item.origin for item in found.lines} == {None}
