from __future__ import annotations

from typing import Any

import pytest

from nanod.state import HookName, HookResult, UnitDetail, UnitState
from nanod.status import AppStatus, Drift, DriftKind, Health, HookStatus, Phase, ServiceStatus
from nanod.verdict import Reason, ServiceVerdict, Status, Why
from nanod.view.status import age, status_data, status_text
from nanod.view.tty import PLAIN, Style

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
    assert text.split("\n") == ["shop: healthy, generation 3, /srv/shop.yaml", "  db  run  healthy  3h 12min  pid 812, tcp 127.0.0.1:6379"]


def test_a_failed_service_says_why_shows_its_hooks_and_what_was_changed_by_hand() -> None:
    assert status_text([_app(_FAILED)], PLAIN, now=_NOW).split("\n") == [
        "shop: not healthy, generation 3, /srv/shop.yaml",
        "  web  -  failed  -  restarts 2",
        "    cannot start shop-web: hook prestart/migrate exited with status 3",
        "      no \\x1b[2Jtable",
        "    failed     prestart/migrate  exited with status 3, took 250ms, 1min 30s ago",
        "    no record  poststart/1",
        "    ok         poststop/1        took 250ms, 1min 30s ago",
        "    edited  shop-web.service is not what nanod left there; 'nanod apply /srv/shop.yaml' puts it back",
        "    override  /etc/systemd/system/shop-web.service.d/x.conf is a drop-in of the administrator, which wins",
    ]


def test_apps_are_apart_and_colour_is_on_words_alone() -> None:
    text = status_text([_app(_service("failed", Health.FAILED)), _app()], Style(colour=True), now=_NOW)
    first, second = text.split("\n\n")
    assert "  failed  -  \x1b[1;31mfailed\x1b[0m" in first
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
                "services": [
                    {
                        "service": "web",
                        "unit": "shop-web.service",
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
