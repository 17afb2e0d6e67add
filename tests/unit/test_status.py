from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from nanod.drift import DriftKind
from nanod.state import HookName, Manifest, OuterNeed, ServiceRecord, UnitState
from nanod.status import AppStatus, Health, Phase, ServiceStatus, look
from nanod.values import content_hash
from tests.fakes import EPOCH, FakeClock, FakeJournal, FakeStore, FakeSystemd
from tests.unit.host_records import INTENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanod.state import Intent

_WEB, _PROVISION = "shop-web.service", "shop-web-provision.service"
_TEXT = "[Service]\nExecStart=/bin/true\n"


class _Systemd(FakeSystemd):
    """Some units are not as their phases say."""

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.said: dict[str, UnitState] = {}

    def states(self, names: Iterable[str]) -> dict[str, UnitState]:
        return {**super().states(names := list(names)), **{name: state for name, state in self.said.items() if name in names}}


@dataclass
class _Host:
    """An app `shop` of one service `web`, applied and up."""

    systemd: _Systemd = field(default_factory=_Systemd)
    journal: FakeJournal = field(default_factory=FakeJournal)
    store: FakeStore = field(default_factory=FakeStore)
    units: tuple[str, ...] = (_WEB,)
    record: ServiceRecord = field(default_factory=ServiceRecord)
    intent: Intent | None = None

    def __post_init__(self) -> None:
        for name in (*self.units, "shop.target"):
            self.store.files[name] = _TEXT
        self.systemd.given(_WEB, invocation="now", main_pid=7)
        self.systemd.given("shop.target", "active", "active")

    def look(self, **changes: object) -> AppStatus:
        manifest = Manifest(
            app="shop",
            spec="/srv/shop.yaml",
            env=None,
            generation=2,
            units={name: content_hash(_TEXT) for name in (*self.units, "shop.target")},
            links={},
            watched={},
            services={"web": self.units},
            about={"web": self.record},
        )
        return look(replace(manifest, **changes), self.systemd, self.journal, self.store, intent=self.intent)  # type: ignore[arg-type]

    def web(self) -> ServiceStatus:
        return self.look().services[0]


def _hooks(*names: str, on_failure: str = "fail") -> ServiceRecord:
    found = (HookName(phase=phase, name=name, unit=_WEB, on_failure=on_failure) for phase, name in (item.split("/") for item in names))
    return ServiceRecord(hooks=tuple(found))


def test_an_app_that_is_up() -> None:
    found = _Host().look()
    web = found.services[0]
    assert (found.app, found.generation, found.is_healthy, found.drift) == ("shop", 2, True, ())
    assert (web.health, web.phase, web.since, web.verdict.reasons, web.drift) == (Health.HEALTHY, Phase.RUN, EPOCH, (), ())


@pytest.mark.parametrize(
    ("active", "sub", "health", "phase"),
    [
        ("active", "running", Health.HEALTHY, Phase.RUN),
        ("reloading", "reload", Health.HEALTHY, Phase.RUN),
        ("activating", "start-pre", Health.STARTING, Phase.START),
        ("activating", "start-post", Health.STARTING, Phase.START),
        ("activating", "auto-restart", Health.RESTARTING, Phase.START),
        ("activating", "auto-restart-queued", Health.RESTARTING, Phase.START),
        ("deactivating", "stop", Health.STOPPING, Phase.SHUTDOWN),
        ("inactive", "dead", Health.STOPPED, None),
        ("failed", "failed", Health.FAILED, None),
    ],
)
def test_phase_and_health_of_each_state(active: str, sub: str, health: Health, phase: Phase | None) -> None:
    host = _Host()
    host.systemd.given(_WEB, active, sub)
    assert (host.web().health, host.web().phase) == (health, phase)
    assert host.look().is_healthy == (health is Health.HEALTHY)


def test_a_queued_start_counts_as_starting() -> None:
    host = _Host()
    host.systemd.said[_WEB] = UnitState(name=_WEB, load="loaded", job=4, job_type="start")
    assert (host.web().health, host.web().phase) == (Health.STARTING, Phase.START)


def test_installing_is_configuring() -> None:
    host = _Host(units=(_WEB, _PROVISION))
    host.systemd.given(_WEB, "inactive", "dead")
    host.systemd.given(_PROVISION, "activating", "start")
    assert (host.web().health, host.web().phase) == (Health.STARTING, Phase.CONFIGURE)


def test_a_failed_install_is_what_keeps_the_service_down() -> None:
    host = _Host(units=(_WEB, _PROVISION))
    host.systemd.given(_WEB, "inactive", "dead")
    host.systemd.given(_PROVISION, "failed", "failed", invocation="p", result="exit-code", exec_main_code=1, exec_main_status=9)
    host.journal.lines[_PROVISION] = ["npm ERR!"]
    web = host.web()
    assert web.health is Health.FAILED
    assert [(reason.text, reason.unit, reason.lines) for reason in web.verdict.reasons] == [
        ("its install exited with status 9", _PROVISION, ("npm ERR!",))
    ]


def test_a_failed_service_names_the_hook_and_shows_its_last_words() -> None:
    host = _Host(record=_hooks("prestart/migrate", "poststart/1"))
    host.systemd.given(_WEB, "failed", "failed", invocation="now", result="exit-code")
    host.journal.said(_WEB, "prestart/migrate", 3, invocation="now")
    host.journal.lines[_WEB] = ["no table"]
    web = host.web()
    assert web.verdict.headline == "cannot start shop-web"
    assert [(reason.hook, reason.status, reason.lines) for reason in web.verdict.reasons] == [("prestart/migrate", 3, ("no table",))]
    assert [(item.hook.name, item.record and item.record.status) for item in web.hooks] == [("migrate", 3), ("1", None)]


@pytest.mark.parametrize(("active", "sub", "held"), [("failed", "failed", True), ("active", "running", False), ("activating", "start-post", False)])
def test_who_waits_for_a_failed_service_is_blocked_and_says_why(active: str, sub: str, held: bool) -> None:
    """Its own unit only says that it starts."""
    db = "shop-db.service"
    host = _Host(units=(_WEB, db))
    host.systemd.given(db, active, sub, result="success" if active != "failed" else "exit-code", exec_main_code=1, exec_main_status=9)
    host.systemd.given(_WEB, "activating", "start-pre")
    found = host.look(services={"db": (db,), "web": (_WEB,)}, about={"db": ServiceRecord(), "web": ServiceRecord(requires=("db",))})
    web = found.services[1]
    assert web.health is (Health.BLOCKED if held else Health.STARTING)
    assert [reason.text for reason in web.verdict.reasons] == (["it waits for db, which failed", "it exited with status 9"] if held else [])


@pytest.mark.parametrize(
    ("active", "sub", "words"),
    [
        ("failed", "failed", "it waits for mail/in, which failed"),
        ("inactive", "dead", "it waits for mail/in, which is not up"),
        ("activating", "auto-restart", "it waits for mail/in, which is not up"),
        ("activating", "start-post", ""),
        ("active", "running", ""),
    ],
)
def test_who_waits_for_a_service_of_another_app_names_it_as_people_do(active: str, sub: str, words: str) -> None:
    need = OuterNeed(app="mail", service="in", unit="mail-in.service")
    host = _Host(record=ServiceRecord(requires=("mail-in.service",), outer=(need,)))
    host.systemd.given("mail-in.service", active, sub)
    host.systemd.given(_WEB, "activating", "start-pre")
    web = host.web()
    assert web.health is (Health.BLOCKED if words else Health.STARTING)
    assert [reason.text for reason in web.verdict.reasons] == ([words] if words else [])


def test_a_hook_that_failed_once_and_went_well_since_is_no_news() -> None:
    host = _Host(record=_hooks("poststart/1", on_failure="warn"))
    host.journal.said(_WEB, "poststart/1", 1, invocation="before", at=10)
    host.journal.said(_WEB, "poststart/1", 0, invocation="now", at=20)
    web = host.web()
    assert web.hooks[0].record is not None
    assert web.hooks[0].record.status == 0
    assert web.verdict.warnings == ()


def test_a_hook_that_may_fail_shows_what_was_printed_until_then() -> None:
    host = _Host(record=_hooks("prestart/1", "poststart/1", "poststart/2", on_failure="warn"))
    host.journal.said(_WEB, "prestart/1", 4, invocation="now", at=5)
    host.journal.said(_WEB, "poststart/1", 1, invocation="now", at=10)
    host.journal.said(_WEB, "poststart/2", 0, invocation="now", at=20)
    host.journal.lines[_WEB] = ["no answer"]
    assert [item.lines for item in host.web().hooks] == [(), ("no answer",), ()], "of the last that failed"
    host.systemd.given(_WEB, "failed", "failed", invocation="now", result="exit-code", exec_main_code=1, exec_main_status=2)
    assert host.web().verdict.reasons[-1].lines == ("no answer",)


def test_a_failed_reload_leaves_the_service_degraded() -> None:
    host = _Host(record=_hooks("reload/1"))
    host.journal.said(_WEB, "reload/1", 1, invocation="now")
    assert host.web().health is Health.DEGRADED
    assert not host.look().is_healthy


def test_scripts_finish() -> None:
    host = _Host(record=ServiceRecord(is_script=True))
    host.systemd.given(_WEB, "inactive", "dead", exec_main_code=1)
    assert host.web().health is Health.FINISHED
    host.systemd.given(_WEB, "active", "exited", exec_main_code=1)
    assert (host.web().health, host.web().phase) == (Health.FINISHED, None)
    host.systemd.given(_WEB, "active", "running")
    assert host.web().health is Health.HEALTHY
    host.systemd.given(_WEB, "inactive", "dead")
    assert host.web().health is Health.STOPPED, "it never ran"
    host.systemd.given(_WEB, "failed", "failed", result="exit-code", exec_main_code=1, exec_main_status=2)
    assert host.web().health is Health.FAILED


def test_a_masked_service_is_as_the_administrator_wants_it() -> None:
    host = _Host()
    host.systemd.said[_WEB] = UnitState(name=_WEB, load="masked")
    web = host.web()
    assert web.health is Health.MASKED
    assert [item.kind for item in web.drift] == [DriftKind.MASKED]
    assert host.look().is_healthy


def test_what_differs_from_what_nanod_left() -> None:
    host = _Host()
    host.systemd.given(_WEB, invocation="now", need_daemon_reload=True, drop_ins=("/etc/systemd/system/shop-web.service.d/x.conf",))
    host.store.files[_WEB] += "Nice=5\n"
    del host.store.files["shop.target"]
    found = host.look()
    assert [(item.kind, item.subject) for item in found.services[0].drift] == [
        (DriftKind.EDITED, _WEB),
        (DriftKind.NOT_LOADED, _WEB),
        (DriftKind.OVERRIDE, "/etc/systemd/system/shop-web.service.d/x.conf"),
    ]
    assert [(item.kind, item.subject) for item in found.drift] == [(DriftKind.DELETED, "shop.target")]
    assert found.is_healthy, "drift is shown, and the service is up"
    assert host.look(units={_WEB: "", "shop.target": ""}).services[0].drift[0].kind is DriftKind.UNFINISHED


def test_what_a_transaction_under_way_has_changed_was_not_edited_by_hand() -> None:
    host = _Host()
    host.store.files[_WEB] += "Nice=5\n"
    del host.store.files["shop.target"]
    host.intent = replace(INTENT, files={_WEB: _TEXT})
    found = host.look()
    assert [item.kind for item in found.services[0].drift] == [DriftKind.UNFINISHED]
    assert [item.kind for item in found.drift] == [DriftKind.DELETED], "which the transaction has nothing to do with"
    assert found.intent is host.intent


def test_looking_changes_nothing() -> None:
    host = _Host()
    host.look()
    assert host.systemd.calls == host.store.calls == []
