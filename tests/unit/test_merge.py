"""Layers of keys."""

from __future__ import annotations

import pytest

from nanod.diagnostics import Report
from nanod.spec import source
from nanod.spec.merge import laid_over, normalised
from nanod.spec.tree import Map, Place, Text, built_in


def layer(text: str) -> Map:
    root = source.read("a", text, Report()).root
    assert isinstance(root, Map)
    return root


@pytest.mark.parametrize(
    ("lower", "upper", "merged"),
    [
        ("{a: 1}", "{b: 2}", "{a: 1, b: 2}"),
        ("{stop: {signal: INT, timeout: 1s}}", "{stop: {timeout: 2s}}", "{stop: {signal: INT, timeout: 2s}}"),
        ("{volumes: [a, b]}", "{volumes: [c]}", "{volumes: [c]}"),
        ("{requires: {a: {}}}", "{requires: [b]}", "{requires: [b]}"),
        ("{stop: {timeout: 1s}}", "{stop: null}", "{stop: null}"),
        ("{stop: null}", "{stop: {timeout: 1s}}", "{stop: {timeout: 1s}}"),
        ("{hooks: {prestart: {run: a, timeout: 1s}}}", "{hooks: {prestart: {run: b}}}", "{hooks: {prestart: {run: b}}}"),
        ("{hooks: {prestart: a, prestop: b}}", "{hooks: {prestart: c}}", "{hooks: {prestart: c, prestop: b}}"),
        ("{command: a}", "{processes: {x: {}}}", "{processes: {x: {}}}"),
        ("{processes: {x: {}}}", "{command: a}", "{command: a}"),
        ("{command: a}", "{processes: null}", "{command: a, processes: null}"),
        ("{user: a}", "{dynamic_user: true}", "{dynamic_user: true}"),
        ("{user: a}", "{dynamic_user: false}", "{user: a, dynamic_user: false}"),
        ("{dynamic_user: true}", "{user: a}", "{user: a}"),
        ("{health: {tcp: 1, interval: 2s}}", "{health: {http: /}}", "{health: {interval: 2s, http: /}}"),
        ("{health: {tcp: 1}}", "{health: {interval: 2s}}", "{health: {tcp: 1, interval: 2s}}"),
        ("{tasks: {t: {command: a}}}", "{tasks: {t: {wait_for: b}}}", "{tasks: {t: {wait_for: b}}}"),
        ("{tasks: {t: {health: {tcp: 1}}}}", "{tasks: {t: {health: {exec: x}}}}", "{tasks: {t: {health: {exec: x}}}}"),
        ("{processes: {p: {user: a}}}", "{processes: {p: {command: b}}}", "{processes: {p: {user: a, command: b}}}"),
        ("{tasks: {hooks: {command: a, user: u}}}", "{tasks: {hooks: {command: b}}}", "{tasks: {hooks: {command: b, user: u}}}"),
        ("{systemd: {Service: {A: x, B: y}}}", "{systemd: {Service: {A: [z]}}}", "{systemd: {Service: {A: [z], B: y}}}"),
    ],
)
def test_layers(lower: str, upper: str, merged: str) -> None:
    below, above = layer(lower), layer(upper)
    assert laid_over(below, above) == layer(merged)
    assert (below, above) == (layer(lower), layer(upper)), "the layers stay as they are"


def test_each_key_keeps_the_place_it_came_from() -> None:
    text = "lower: {stop: {signal: INT, timeout: 1s}}\nupper: {stop: {timeout: 2s}}\n"
    read = source.read("a", text, Report())
    both = Place(Text("a", text), read.root)
    merged = Place(both.text, laid_over(both.child("lower").map, both.child("upper").map))
    assert merged("stop", "signal").line == 1
    assert merged("stop", "timeout").line == 2
    assert merged("stop").line == 2


def test_what_is_built_in_has_no_place() -> None:
    merged = laid_over(built_in({"command": "x", "provisioning": {"creates": ["a"]}}), layer("{user: a}"))
    place = Place(Text("a", "{user: a}", (0, 1)), merged)
    assert not place.written("command")
    assert not place.written("provisioning", "creates", 0)
    assert place.written("user")
    assert str(place("command")) == "a:1:1"


def test_what_was_too_wrong_to_keep_is_not_missing() -> None:
    lower = layer("{command: 1}")
    lower.drop("command")
    assert "command" in laid_over(lower, layer("{user: a}")).broken


def test_short_forms() -> None:
    made = normalised(layer("{volume: /a, install: x, provisioning: {retries: 1}}"))
    assert made == {"volumes": ["/a"], "provisioning": {"retries": 1, "install": "x"}}
    text = "volume: /a"
    place = Place(Text("a", text), normalised(layer(text)))
    assert str(place("volumes", 0)) == "a:1:9"
    assert normalised(layer("{volume: null}")) == {"volumes": None}
    same = layer("{user: a}")
    assert normalised(same) is same
