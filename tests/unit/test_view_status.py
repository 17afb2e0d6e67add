from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nanod.drift import Drift, DriftKind
from nanod.state import HookName, HookResult, UnitDetail, UnitState
from nanod.status import AppStatus, Health, HookStatus, Phase, ServiceStatus
from nanod.verdict import Reason, ServiceVerdict, Status, Why
from nanod.view.status import age, status_data, status_text
from nanod.view.tty import PLAIN, Style
from tests.unit.host_records import INTENT

_SECOND = 1_000_000
_NOW = 1_000_000 * _SECOND


def _hook(phase: str, name: str, status: int | None, *, on_failure: str = "fail") -> HookStatus:
    hook = HookName(phase=phase, name=name, unit="shop-web.service", on_failure=on_failure)
    if status is None:
        return HookStatus(hook=hook, record=None)
    record = HookResult(unit=hook.unit, phase=phase, name=name, status=status, invocation="i", duration_ms=250, at=_NOW - 90 * _SECOND)
    return HookStatus(hook=hook, record=record)


def _service(name: str, health: Health, phase: Phase | None = None, **more: Any) -> ServiceStatus:
    unit = f"shop-{name}.service"
    return ServiceStatus(
        name=name,
        unit=unit,
        health=health,
        phase=phase,
        state=more.get("state", UnitState(name=unit, load="loaded", active="active", sub="running")),
        detail=more.get("detail", UnitDetail(name=unit, main_pid=812, active_since=_NOW - 11_525 * _SECOND)),
        probe=more.get("probe", ""),
        verdict=more.get("verdict", ServiceVerdict(service=name, unit=unit, status=Status.HEALTHY)),
        hooks=more.get("hooks", ()),
        drift=more.get("drift", ()),
    )


def _app(*services: ServiceStatus, drift: tuple[Drift, ...] = ()) -> AppStatus:
    return AppStatus(app="shop", spec="/srv/shop.yaml", env=None, generation=3, services=services, drift=drift)


_FAILED = _service(
    "web",
    Health.FAILED,
    state=UnitState(name="shop-web.service", load="loaded", active="failed", sub="failed"),
    detail=UnitDetail(name="shop-web.service", restarts=2),
    verdict=ServiceVerdict(
        service="web",
        unit="shop-web.service",
        status=Status.FAILED,
        headline="cannot start shop-web",
        reasons=(
            Reason(kind=Why.HOOK, text="hook prestart/migrate exited with status 3", hook="prestart/migrate", status=3, lines=("no \x1b[2Jtable",)),
        ),
    ),
    hooks=(_hook("prestart", "migrate", 3), _hook("poststart", "1", None, on_failure="warn"), _hook("poststop", "1", 0)),
    drift=(
        Drift(kind=DriftKind.EDITED, subject="shop-web.service"),
        Drift(kind=DriftKind.OVERRIDE, subject="/etc/systemd/system/shop-web.service.d/x.conf"),
    ),
)


def test_a_healthy_app_is_a_line_for_each_service() -> None:
    text = status_text([_app(_service("db", Health.HEALTHY, Phase.RUN, probe="tcp 127.0.0.1:6379"))], PLAIN, now=_NOW)
    assert text.split("\n") == [
        "shop: healthy, generation 3, /srv/shop.yaml",
        "`- db  run  healthy  3h 12min  pid 812, tcp 127.0.0.1:6379",
    ]


def test_a_failed_service_says_why_shows_its_hooks_and_what_was_changed_by_hand() -> None:
    assert status_text([_app(_FAILED)], PLAIN, now=_NOW).split("\n") == [
        "shop: not healthy, generation 3, /srv/shop.yaml",
        "`- web  -  failed  -  restarts 2",
        "   |- cannot start shop-web: hook prestart/migrate exited with status 3",
        "   |     no \\x1b[2Jtable",
        "   |- failed     prestart/migrate  exited with status 3, took 250ms, 1min 30s ago",
        "   |- no record  poststart/1",
        "   |- ok         poststop/1        took 250ms, 1min 30s ago",
        "   |- edited  shop-web.service is not what nanod left there; 'nanod apply /srv/shop.yaml' puts it back",
        "   `- override  /etc/systemd/system/shop-web.service.d/x.conf is a drop-in of the administrator, which wins",
    ]


def test_a_terminal_of_utf8_gets_lines_that_fit_and_boxes() -> None:
    text = status_text([_app(_FAILED, _service("db", Health.HEALTHY, Phase.RUN))], Style(terminal=True, unicode=True, width=60), now=_NOW)
    assert text.split("\n")[:9] == [
        "shop: not healthy, generation 3, /srv/shop.yaml",
        "├─ web  -    failed   -         restarts 2",
        "│  ├─ cannot start shop-web: hook prestart/migrate exited",
        "│  │     with status 3",
        "│  │     no \\x1b[2Jtable",
        "│  ├─ failed     prestart/migrate  exited with status 3,",
        "│  │     took 250ms, 1min 30s ago",
        "│  ├─ no record  poststart/1",
        "│  ├─ ok         poststop/1        took 250ms, 1min 30s ago",
    ]
    assert max(map(len, text.split("\n"))) <= 60
    assert text.split("\n")[-1] == "└─ db   run  healthy  3h 12min  pid 812"


def test_a_hook_that_failed_and_may_shows_its_last_lines() -> None:
    hook = replace(_hook("poststart", "register", 7, on_failure="warn"), lines=("no \x07 answer",))
    found = _app(_service("web", Health.HEALTHY, Phase.RUN, hooks=(hook,)))
    assert status_text([found], PLAIN, now=_NOW).split("\n")[2:] == [
        "   `- failed  poststart/register  exited with status 7, took 250ms, 1min 30s ago",
        "         no \\x07 answer",
    ]
    assert status_data([found])["apps"][0]["services"][0]["hooks"][0]["lines"] == ["no \x07 answer"]  # type: ignore[index]


@pytest.mark.parametrize("is_under_way", [True, False])
def test_a_transaction_that_has_not_ended_is_shown(*, is_under_way: bool) -> None:
    found = replace(_app(_service("web", Health.HEALTHY, Phase.RUN)), intent=INTENT, is_under_way=is_under_way)
    line = status_text([found], PLAIN, now=_NOW).split("\n")[1]
    if is_under_way:
        assert line == "|- under way  apply begun 2026-01-02T03:04:05+00:00 (nanod apply shop.yaml)"
    else:
        assert line.startswith("|- interrupted  apply begun 2026-01-02T03:04:05+00:00 (nanod apply shop.yaml); the next command ")
    assert status_data([found])["apps"][0]["transaction"] == {  # type: ignore[index]
        "action": "apply",
        "generation": 4,
        "at": "2026-01-02T03:04:05+00:00",
        "command": "nanod apply shop.yaml",
        "under_way": is_under_way,
    }


def test_of_a_first_apply_that_was_cut_short_there_is_only_that() -> None:
    found = replace(_app(), spec="", generation=0, intent=INTENT)
    assert not found.is_healthy
    first, second = status_text([found], PLAIN, now=_NOW).split("\n")
    assert first == "shop: not healthy, generation unknown"
    assert second.startswith("`- interrupted  apply begun ")


def test_apps_are_apart_and_colour_is_on_words_alone() -> None:
    text = status_text([_app(_service("failed", Health.FAILED)), _app()], Style(colour=True), now=_NOW)
    first, second = text.split("\n\n")
    assert " failed  -  \x1b[1;31mfailed\x1b[0m" in first
    assert "\x1b[32mhealthy\x1b[0m" in second


def test_as_data() -> None:
    found = status_data([_app(_FAILED, drift=(Drift(kind=DriftKind.DELETED, subject="shop.target"),))])
    assert found == {
        "apps": [
            {
                "app": "shop",
                "healthy": False,
                "generation": 3,
                "spec": "/srv/shop.yaml",
                "env": None,
                "drift": [{"kind": "deleted", "subject": "shop.target"}],
                "transaction": None,
                "services": [
                    {
                        "service": "web",
                        "unit": "shop-web.service",
                        "group": None,
                        "role": "main",
                        "replica": None,
                        "task": None,
                        "mains": None,
                        "schedule": None,
                        "socket": None,
                        "health": "failed",
                        "phase": None,
                        "active": "failed",
                        "sub": "failed",
                        "since_usec": None,
                        "main_pid": None,
                        "restarts": 2,
                        "probe": None,
                        "status_text": None,
                        "reasons": [
                            {
                                "kind": "hook",
                                "text": "hook prestart/migrate exited with status 3",
                                "unit": "",
                                "lines": ["no \x1b[2Jtable"],
                                "hook": "prestart/migrate",
                                "status": 3,
                            }
                        ],
                        "hooks": [
                            {
                                "phase": "prestart",
                                "name": "migrate",
                                "unit": "shop-web.service",
                                "on_failure": "fail",
                                "result": "failed",
                                "status": 3,
                                "duration_ms": 250,
                                "at_usec": _NOW - 90 * _SECOND,
                            },
                            {"phase": "poststart", "name": "1", "unit": "shop-web.service", "on_failure": "warn", "result": "unknown"},
                            {
                                "phase": "poststop",
                                "name": "1",
                                "unit": "shop-web.service",
                                "on_failure": "fail",
                                "result": "ok",
                                "status": 0,
                                "duration_ms": 250,
                                "at_usec": _NOW - 90 * _SECOND,
                            },
                        ],
                        "drift": [
                            {"kind": "edited", "subject": "shop-web.service"},
                            {"kind": "override", "subject": "/etc/systemd/system/shop-web.service.d/x.conf"},
                        ],
                    }
                ],
            }
        ]
    }


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0s"), (0, "0s"), (59, "59s"), (61, "1min 1s"), (11_525, "3h 12min"), (86_400, "1d"), (90_000, "1d 1h"), (3600, "1h")]
)
def test_age_is_said_in_two_units_at_most(seconds: int, text: str) -> None:
    assert age(seconds * _SECOND) == text
