"""What is exposed is OpenMetrics: another parser of it reads back what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from nanod.cli.metrics import of_applies, of_hooks, of_services
from nanod.daemon.checkup import findings
from nanod.daemon.config import Config
from nanod.daemon.drift import DriftState, Item
from nanod.daemon.metrics import EOF, Family, exposition, states
from nanod.daemon.report import WORDS, Counts, families, status_data, status_line
from nanod.daemon.state import Outcome, Result, Running, Settings, Spec, State, Verb
from nanod.doctor import Level
from nanod.state import HookName, HookResult, UnitDetail, UnitState
from nanod.status import AppStatus, Health, HookStatus, Phase, ServiceStatus
from nanod.verdict import ServiceVerdict, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

REFUSED = Outcome(result=Result.REFUSED, at="2026-11-21T20:00:00+00:00", exit_code=2, lines=("the spec has errors",))
STATE = State(
    settings=Settings(directory="/etc/nanod/specs.d"),
    specs={
        "good": Spec(seen="1", tried="1", app="good", last=Outcome(result=Result.APPLIED)),
        "bad": Spec(seen="2", tried="2", last=REFUSED),
        "now": Spec(seen="3", app="now"),
        "lost": Spec(problem="cannot read lost.yaml: Permission denied"),
        "open": Spec(is_busy=True),
        "away": Spec(tried="1", app="away", gone=1.0),
        "held": Spec(tried="1", app="held", last=Outcome(result=Result.APPLIED)),
        "next": Spec(seen="4"),
    },
    running=Running(stem="now", verb=Verb.APPLY, digest="3"),
    is_ready=True,
)
DRIFT = DriftState(found={"good": frozenset({Item("edited", "good-web.service")})})


def parsed(made: Iterable[Family]) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(exposition(made) + EOF):  # type: ignore[no-untyped-call]  # of a package without types
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_any_label_and_value_is_read_back(text: str, value: float) -> None:
    family = Family(name="a_b", kind="gauge", help=text, samples=(({"label": text}, value),))
    assert parsed([family]) == {"a_b": [({"label": text}, value)]}


def test_each_kind_of_family() -> None:
    made = [
        Family(name="a", kind="counter", help="A.", samples=(({}, 3),)),
        Family(name="b_seconds", kind="gauge", unit="seconds", help="B.", samples=(({"x": "1"}, 1.5), ({"x": "2"}, 2))),
        Family(name="c", kind="stateset", help="C.", samples=tuple(states("c", {"x": "1"}, "on", ["on", "off"]))),
        Family(name="d", kind="gauge", help="Nothing to tell.", samples=()),
    ]
    assert parsed(made) == {
        "a_total": [({}, 3.0)],
        "b_seconds": [({"x": "1"}, 1.5), ({"x": "2"}, 2.0)],
        "c": [({"x": "1", "c": "on"}, 1.0), ({"x": "1", "c": "off"}, 0.0)],
    }


def test_what_the_daemon_tells_of_itself() -> None:
    counts = Counts(100.5)
    counts.reloads, counts.denied = 3, 1
    found = parsed(families(STATE, DRIFT, counts))
    assert found["nanod_daemon_reloads_total"] == [({"result": "accepted"}, 3.0), ({"result": "refused"}, 0.0)]
    assert found["nanod_drift"] == [({"app": "good", "kind": "edited", "subject": "good-web.service"}, 1.0)]
    words = {labels["spec"]: labels["nanod_spec_state"] for labels, value in found["nanod_spec_state"] if value}
    assert words == {
        "good": "applied",
        "bad": "refused",
        "now": "applying",
        "lost": "unreadable",
        "open": "writing",
        "away": "gone",
        "held": "gone",
        "next": "waiting",
    }
    assert set(words.values()) <= set(WORDS)


def test_the_line_that_systemctl_shows() -> None:
    counts = Counts(0)
    assert status_line(STATE, DRIFT, counts) == (
        "8 specs: 1 applied, 1 refused, 1 waiting, 1 writing, 1 unreadable, 2 gone; applying now; bad refused: the spec has errors; drifted: good"
    )
    counts.error = "no"
    empty = State(settings=Settings(directory="/x"), problem="cannot read /x: gone")
    assert status_line(empty, DriftState(), counts) == "0 specs; cannot read /x: gone; last reload refused: no"


def test_what_doctor_makes_of_its_answer() -> None:
    counts = Counts(0)
    counts.error = "cannot change 'specs'"
    status = status_data(STATE._replace(problem="cannot read /x: gone"), DRIFT, counts, Config())
    found = [(item.id, item.level, item.text) for item in findings(status, "enabled", can_ask=True)]
    assert found == [
        ("daemon-reload", Level.WARNING, "the daemon refused its last reload: cannot change 'specs'"),
        ("daemon-directory", Level.WARNING, "cannot read /x: gone: the daemon removes nothing meanwhile"),
        ("daemon-spec", Level.WARNING, "the daemon could not apply /etc/nanod/specs.d/bad.yaml: refused: the spec has errors"),
        ("daemon-spec", Level.WARNING, "the daemon could not apply /etc/nanod/specs.d/lost.yaml: cannot read lost.yaml: Permission denied"),
    ]


@pytest.mark.parametrize(
    ("enabled", "can_ask", "expected"),
    [
        ("enabled", True, [("daemon", Level.ERROR)]),
        ("enabled", False, [("daemon", Level.NOTE)]),
        ("disabled", True, []),
        ("not-found", False, []),
        ("", True, []),
    ],
)
def test_what_doctor_makes_of_no_answer(enabled: str, can_ask: bool, expected: list[tuple[str, Level]]) -> None:
    assert [(item.id, item.level) for item in findings(None, enabled, can_ask=can_ask)] == expected


def test_what_is_told_of_apps() -> None:
    hook = HookName(phase="prestart", name="1", unit="shop-web.service", on_failure="fail")
    record = HookResult(unit="shop-web.service", phase="prestart", name="1", status=0, invocation="x", duration_ms=250, at=1_500_000)
    web = ServiceStatus(
        name="web",
        unit="shop-web.service",
        health=Health.HEALTHY,
        phase=Phase.RUN,
        state=UnitState(name="shop-web.service", load="loaded", active="active", sub="running"),
        detail=UnitDetail(name="shop-web.service", restarts=2, active_since=3_000_000),
        probe="",
        verdict=ServiceVerdict(service="web", unit="shop-web.service", status=Status.HEALTHY),
        hooks=(HookStatus(hook=hook, record=record), HookStatus(hook=hook, record=None)),
        drift=(),
    )
    apps = [AppStatus(app="shop", spec="/s.yaml", env=None, generation=4, services=(web,), drift=())]
    entries = {"shop": {"verdict": "healthy", "at": "1970-01-01T00:01:00+00:00"}, "new": {}, "odd": {"verdict": "strange", "at": "soon"}}
    found = parsed([*of_services(apps), *of_hooks(apps), *of_applies(apps, entries)])
    labels = {"app": "shop", "service": "web", "unit": "shop-web.service"}
    assert found["nanod_service_up"] == [(labels, 1.0)]
    assert found["nanod_service_restarts_total"] == [(labels, 2.0)]
    assert found["nanod_service_active_since_seconds"] == [(labels, 3.0)]
    assert [item["nanod_service_health"] for item, value in found["nanod_service_health"] if value] == ["healthy"]
    assert len(found["nanod_service_health"]) == len(Health)
    assert found["nanod_hook_duration_seconds"] == [({**labels, "phase": "prestart", "hook": "1"}, 0.25)]
    assert found["nanod_apply_time_seconds"] == [({"app": "shop"}, 60.0)]
    assert [(item["app"], item["nanod_apply_result"]) for item, value in found["nanod_apply_result"] if value] == [
        ("shop", "healthy"),
        ("odd", "other"),
    ]
    assert found["nanod_app_generation"] == [({"app": "shop"}, 4.0)]
