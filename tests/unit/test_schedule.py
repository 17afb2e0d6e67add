"""Scheduled scripts: their units, what a plan does with them, a run by hand, and what history says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nanod.compile import Target, compile_spec
from nanod.errors import NanodError, UsageError
from nanod.host import Host
from nanod.job import begin, of_itself, script_of, wait
from nanod.plan import plan, stop_order
from nanod.recorded import service_units
from nanod.remove import plan_removal
from nanod.spec.load import load
from nanod.state import HookResult, Manifest, UnitState
from nanod.units.unitset import Role
from nanod.view.history import Run, history_data, history_text
from nanod.view.plan import plan_data
from nanod.view.tty import PLAIN
from tests.fakes import DOWN, EMPTY_HOST, EPOCH, FakeClock, FakeJournal, FakeReleases, FakeStore, FakeSystemd, Phase, failing, snapshot_of

if TYPE_CHECKING:
    from nanod.steps import Plan
    from nanod.units.unitset import ServiceUnits, UnitSet

SPEC = """\
project: shop
services:
  web: {command: [/bin/web], user: shop, health: {tcp: 80}}
  report:
    kind: script
    user: shop
    command: [/bin/report]
    requires: [web]
    schedule: {calendar: "Mon..Fri 06:00", randomized_delay: 5m, timezone: UTC}
    systemd: {Timer: {AccuracySec: 1min, WakeSystem: "yes"}, Service: {Nice: "5"}}
"""
JOB, TIMER = "shop-report.service", "shop-report.timer"
STAMP = f"/var/lib/systemd/timers/stamp-{TIMER}"
ENDED = (Phase(0.0, "activating", "start", job=True), Phase(0.05, "active", "running"), Phase(0.4, "inactive", "dead"))


def compiled(text: str = SPEC) -> UnitSet:
    loaded = load("/srv/specs/shop.yaml", text, directory="/srv/specs")
    assert loaded.spec, loaded.report.text(loaded.sources)
    units, report = compile_spec(loaded.spec, Target())
    assert units, report.text(loaded.sources)
    return units


def report_of(wanted: UnitSet) -> ServiceUnits:
    return next(item for item in wanted.services if item.name == "report")


def applied(wanted: UnitSet) -> Manifest:
    manifest = plan(wanted, None, EMPTY_HOST).manifest
    assert manifest is not None
    return manifest


def changed(text: str, *, states: dict[str, UnitState] | None = None) -> Plan:
    old = compiled()
    manifest = applied(old)
    return plan(compiled(text), manifest, snapshot_of(old, manifest, states=states))


def shown(found: Plan) -> list[str]:
    steps = plan_data(found)["steps"]
    assert isinstance(steps, list)
    return [" ".join(filter(None, (item["action"], item.get("unit") or item.get("path")))) for item in steps]


def test_the_timer() -> None:
    unit = compiled().unit(TIMER)
    assert [f"{item.key}={item.text}" for item in unit.directives if item.section in ("Unit", "Timer")] == [
        "Description=Schedule of report of shop",
        "PartOf=shop.target",
        "OnCalendar=Mon..Fri 06:00 UTC",
        "Persistent=yes",
        "RandomizedDelaySec=5min",
        "AccuracySec=1min",
        "WakeSystem=yes",
    ]


def test_the_script_is_wanted_by_nobody_and_may_start_as_often_as_the_calendar_says() -> None:
    wanted = compiled()
    unit = wanted.unit(JOB)
    assert wanted.unit("shop.target").values("Unit", "Wants") == [TIMER, "shop-web.service"]
    assert unit.values("Unit", "StartLimitIntervalSec") == ["0"]
    assert unit.values("Unit", "After") == ["shop-web.service"]
    assert unit.values("Service", "Nice") == ["5"]
    assert unit.values("Timer", "WakeSystem") == []
    assert unit.values("Service", "ExecStopPost")[0].endswith(f"/ran {JOB}")


def test_a_service_that_goes_by_its_timer() -> None:
    item = report_of(compiled())
    assert (item.main, item.job, item.role, item.requires, item.is_script, item.health) == (TIMER, JOB, Role.TIMER, (), False, "")
    assert item.units == {TIMER: Role.TIMER, JOB: Role.JOB}
    assert [f"{hook.phase}/{hook.name} {hook.unit}" for hook in item.hooks] == [f"run/script {JOB}"]
    again = service_units(applied(compiled()), "report")
    assert (again.main, again.job, again.role, again.units) == (item.main, item.job, item.role, item.units)


def test_a_record_made_anew_from_unit_files_knows_the_timer() -> None:
    manifest = replace(applied(compiled()), about={})
    item = service_units(manifest, "report")
    assert (item.main, item.job, item.role) == (TIMER, JOB, Role.TIMER)


def test_one_that_does_not_catch_up_counts_from_each_start() -> None:
    wanted = compiled(SPEC.replace("timezone: UTC", "persistent: false"))
    assert wanted.unit(TIMER).values("Timer", "Persistent") == ["yes"]
    assert wanted.unit(TIMER).values("Unit", "After") == ["shop-report-rearm.service"]
    assert STAMP in wanted.unit("shop-report-rearm.service").values("Service", "ExecStart")[0]
    assert report_of(wanted).rearm == "shop-report-rearm.service"


def test_what_it_installs_is_installed_with_the_timer() -> None:
    wanted = compiled(SPEC.replace("    command: [/bin/report]", "    command: [/bin/report]\n    provisioning: {install: make}"))
    assert wanted.unit(TIMER).values("Unit", "Requires") == ["shop-report-provision.service"]


def test_a_first_apply_starts_the_timer() -> None:
    found = shown(plan(compiled(), None, EMPTY_HOST))
    assert [line for line in found if line.startswith("start")] == ["start shop.target", "start shop-web.service", f"start {TIMER}"]


def test_nothing_to_do() -> None:
    assert shown(changed(SPEC)) == []


@pytest.mark.parametrize("active", ["inactive", "active", "failed"])
def test_a_changed_script_is_read_and_not_run(active: str) -> None:
    found = changed(SPEC.replace("/bin/report", "/bin/other"), states={JOB: UnitState(name=JOB, load="loaded", active=active)})
    assert shown(found) == [f"write {JOB}", "daemon-reload"]


def test_a_changed_calendar_counts_from_now_on() -> None:
    found = changed(SPEC.replace("06:00", "07:00"))
    assert shown(found) == [f"stop-first {TIMER}", f"write {TIMER}", f"stamp {TIMER}", "daemon-reload", f"start {TIMER}"]


def test_a_changed_delay_needs_a_daemon_reload_alone() -> None:
    assert shown(changed(SPEC.replace("5m", "9m"))) == [f"write {TIMER}", "daemon-reload"]


def test_a_service_that_becomes_a_job_is_stopped_by_its_own_hooks() -> None:
    plain = compiled(SPEC.partition("  report:")[0] + "  report: {command: [/bin/report], user: shop}\n")
    manifest = applied(plain)
    found = plan(compiled(), manifest, snapshot_of(plain, manifest))
    assert shown(found)[0] == f"stop-first {JOB}"
    assert shown(found)[-1] == f"start {TIMER}"
    assert f"start {JOB}" not in shown(found)


def test_a_timer_goes_before_its_script_and_its_stamp_with_it() -> None:
    wanted = compiled()
    manifest = applied(wanted)
    order = stop_order(manifest)
    assert order.index(TIMER) < order.index(JOB)
    assert f"unstamp {STAMP}" in shown(plan_removal(manifest, snapshot_of(wanted, manifest)))
    without = compiled(SPEC.partition("  report:")[0])
    assert f"unstamp {STAMP}" in shown(plan(without, manifest, snapshot_of(wanted, manifest)))


# A run by hand


def host_of(*lives: Phase) -> tuple[Host, FakeSystemd, FakeJournal]:
    clock = FakeClock()
    systemd, journal = FakeSystemd(clock), FakeJournal()
    systemd.given(JOB, "inactive", "dead")
    systemd.on_start(JOB, lives)
    systemd.on_stop(JOB, *DOWN)
    return Host(systemd=systemd, store=FakeStore(), journal=journal, clock=clock, digests=lambda _: {}, releases=FakeReleases()), systemd, journal


def ran(host: Host) -> tuple[int, tuple[str, ...]]:
    script = script_of([report_of(compiled())], "report")
    assert script.main == JOB
    told: list[str] = []
    end = wait(script, host, place=begin(script, host), tell=told.append)
    assert tuple(told) == end.lines, "each line once"
    return end.status, end.lines


def test_a_run_that_goes_well() -> None:
    host, systemd, journal = host_of(*ENDED)
    journal.lines[JOB] = ["hello"]
    assert ran(host) == (0, ("hello",))
    assert ("restart", JOB) in systemd.calls


def test_what_it_prints_is_told_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    host, systemd, journal = host_of(Phase(0.0, "activating", "start", job=True), Phase(0.05, "active", "running"), Phase(4.0, "inactive", "dead"))
    told: list[tuple[float, str]] = []

    def invocation(_: str) -> str:
        # A line comes with each look.
        journal.lines.setdefault(JOB, []).append(f"line {len(journal.lines.get(JOB, ())) + 1}")
        return "run"

    monkeypatch.setattr(systemd, "invocation", invocation)
    script = script_of([report_of(compiled())], "report")
    wait(script, host, place=begin(script, host), tell=lambda line: told.append((host.clock.now(), line)))
    assert [line for _, line in told] == ["line 1", "line 2", "line 3", "line 4"]
    moments = [moment for moment, _ in told]
    assert moments == sorted(set(moments))
    assert moments[-1] < 4


def test_the_record_of_a_run_says_how_it_ended() -> None:
    host, _, journal = host_of(*failing(3))
    journal.said(JOB, "run/script", 124)
    assert ran(host)[0] == 124


@pytest.mark.parametrize(
    ("detail", "status"),
    [
        ({"result": "exit-code", "exec_main_code": 1, "exec_main_status": 3}, 3),
        ({"result": "signal", "exec_main_code": 2, "exec_main_status": 9}, 137),
        ({"result": "timeout", "exec_main_code": 2, "exec_main_status": 15}, 124),
        ({"result": "exit-code"}, 1),
    ],
)
def test_without_a_record_systemd_says_it(detail: dict[str, object], status: int) -> None:
    host, _, _ = host_of(Phase(0.0, "activating", "start", job=True), Phase(0.1, "failed", "failed", detail=detail))
    assert ran(host)[0] == status


def test_a_hook_that_failed_before_it_is_the_status() -> None:
    host, _, journal = host_of(*failing(3))
    journal.said(JOB, "prestart/1", 7)
    assert ran(host)[0] == 7


def test_one_that_runs_already_or_is_masked_is_refused() -> None:
    host, systemd, _ = host_of(*ENDED)
    systemd.given(JOB, "active", "running")
    with pytest.raises(NanodError, match="it runs already"):
        begin(of_itself(report_of(compiled())), host)


def test_what_is_no_script_is_not_run() -> None:
    with pytest.raises(UsageError, match="cannot run web: it is no script"):
        script_of([compiled().services[0]], "web")


# What history says

RUNS = [
    Run(
        service="report",
        at=f"2026-07-01T0{hour}:00:00+00:00",
        result=HookResult(unit=JOB, phase="run", name="script", status=status, invocation="a", duration_ms=1500, at=EPOCH),
    )
    for hour, status in ((6, 0), (8, 3))
]
APPLY = {"at": "2026-07-01T07:00:00+00:00", "action": "apply", "generation": 2, "verdict": "healthy", "seconds": 0.5}


def test_runs_stand_among_what_was_done() -> None:
    assert history_text("shop", [APPLY], [1, 2], 2, PLAIN, runs=RUNS).splitlines() == [
        "2026-07-01T06:00:00+00:00  run    report        succeeded             1.5 s",
        "2026-07-01T07:00:00+00:00  apply  generation 2  healthy               0.5 s",
        "2026-07-01T08:00:00+00:00  run    report        exited with status 3  1.5 s",
        "shop: generations on disk: 1, 2 (in force)",
    ]


def test_runs_as_data() -> None:
    data = history_data("shop", [APPLY], [1, 2], 2, runs=RUNS[:1])
    assert data["entries"] == [APPLY]
    assert data["runs"] == [{"service": "report", "at": "2026-07-01T06:00:00+00:00", "status": 0, "duration_ms": 1500, "invocation": "a"}]
