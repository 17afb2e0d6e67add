"""What apply does with a plan, on a host that only remembers: calls in order, waiting, verdicts, and what is recorded when it is cut short."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from nanod.apply import Outcome, apply, write_files
from nanod.errors import ExitCode, NanodError
from nanod.host import Host
from nanod.plan import plan
from nanod.remove import plan_removal
from nanod.state import Manifest, Snapshot
from nanod.values import TimeSpan
from nanod.verdict import Status, Why, sentence
from nanod.view.tty import PLAIN as UNSTYLED
from nanod.view.verdict import outcome_text
from tests.fakes import EPOCH, AppBuilder, FakeClock, FakeJournal, FakeReleases, FakeStore, FakeSystemd, Phase, failing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanod.settle import Progress
    from nanod.units.unitset import UnitSet

PLAIN = "[Service]\nExecStart=/bin/web"
WEB, DB = "shop-web.service", "shop-db.service"


@dataclass(slots=True)
class World:
    """One host, and the way from a UnitSet to an Outcome on it."""

    clock: FakeClock = field(default_factory=FakeClock)
    store: FakeStore = field(default_factory=FakeStore)
    journal: FakeJournal = field(default_factory=FakeJournal)
    news: list[Progress] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    systemd: FakeSystemd = field(init=False)

    def __post_init__(self) -> None:
        self.systemd = FakeSystemd(self.clock)
        self.systemd.on_start("shop.target", (Phase(0.0, "active", "active"),))

    @property
    def host(self) -> Host:
        return Host(systemd=self.systemd, store=self.store, journal=self.journal, clock=self.clock, digests=self.digests, releases=FakeReleases())

    def digests(self, paths: Iterable[str]) -> dict[str, str]:
        return {path: self.files.get(path, "") for path in paths}

    def snapshot(self, wanted: UnitSet, **facts: object) -> Snapshot:
        manifest = self.store.manifest(wanted.app)
        names = {unit.name for unit in wanted.units} | set(manifest.units if manifest else ())
        watched = [path for item in wanted.services for path in (*item.reload_on, *item.restart_on)]
        states = self.systemd.states(sorted(names))
        found = Snapshot(units=states, files=dict(self.store.files), links=dict(self.store.enabled), digests=self.digests(watched))
        return replace(found, **facts)  # type: ignore[arg-type]

    def apply(self, builder: AppBuilder, *, settle: str = "5s", rolls_back: bool = True, **facts: object) -> Outcome:
        wanted = builder.build()
        made = plan(wanted, self.store.manifest(wanted.app), self.snapshot(wanted, **facts))
        self.systemd.calls.clear()
        self.store.calls.clear()
        return apply(made, self.host, span=TimeSpan.parse(settle), rolls_back=rolls_back, tell=self.news.append)

    def manifest(self) -> Manifest:
        return self.store.manifests["shop"]


def reasons(outcome: Outcome, service: str) -> list[str]:
    (found,) = [item for item in outcome.verdict.services if item.service == service]
    return [str(reason.kind) for reason in found.reasons]


def status(outcome: Outcome) -> dict[str, str]:
    return {item.service: str(item.status) for item in outcome.verdict.services}


def said(outcome: Outcome, service: str) -> str:
    (found,) = [item for item in outcome.verdict.services if item.service == service]
    return sentence(found)


@pytest.mark.row("BX-2")
def test_first_apply_in_order_then_settled_then_recorded() -> None:
    world = World()
    outcome = world.apply(AppBuilder().service("db").service("web", requires=("db",)))
    assert outcome.exit_code is ExitCode.OK
    assert world.systemd.calls == [("daemon-reload", ""), ("start", "shop.target"), ("start", DB), ("start", WEB)]
    verbs = [verb for verb, _ in world.store.calls]
    assert verbs == ["intent", "stage", "write", "write", "write", "write", "link", "sync", "commit", "clear"]
    assert world.clock.seconds == pytest.approx(5.1, abs=0.3)
    assert world.manifest().generation == 1
    assert world.store.entries[0]["verdict"] == "healthy"


@pytest.mark.row("FAULTS-37")
def test_second_apply_writes_nothing_asks_for_nothing_and_looks_once() -> None:
    world = World()
    builder = AppBuilder().service("db").service("web")
    world.apply(builder)
    begin, looks = world.clock.seconds, world.systemd.looks
    outcome = world.apply(builder)
    assert (world.store.calls, world.systemd.calls) == ([], [])
    assert world.systemd.looks - looks == 2  # the snapshot's and one of apply's own
    assert world.clock.seconds == begin
    assert outcome.exit_code is ExitCode.OK


def test_settle_zero_does_not_wait() -> None:
    world = World()
    world.apply(AppBuilder().service("web"), settle="0s")
    assert world.clock.seconds < 0.3


@pytest.mark.row("BX-7")
@pytest.mark.row("FAULTS-24")
def test_a_failed_prestart_is_named_with_its_last_lines() -> None:
    world = World()
    builder = AppBuilder()
    builder.service("web", hooks=(builder.hook("web", "prestart/migrate"),))
    # The main process never ran: what ExecMain* say is of another life.
    world.systemd.on_start(WEB, (Phase(0, "activating", "start-pre", job=True), Phase(0.1, "failed", "failed", detail={"result": "exit-code"})))
    world.journal.said(WEB, "prestart/migrate", 3)
    world.journal.lines[WEB] = ["no such table: users"]
    outcome = world.apply(builder)
    assert outcome.exit_code is ExitCode.FAILED
    assert said(outcome, "web") == "cannot start shop-web: hook prestart/migrate exited with status 3"
    assert outcome_text(outcome, UNSTYLED).splitlines()[-4:] == [
        "cannot start shop-web: hook prestart/migrate exited with status 3",
        "    no such table: users",
        "  hint: journalctl -u shop-web.service",
        "rolled back: shop is not there, as before",
    ]


@pytest.mark.parametrize(
    ("detail", "health", "expected"),
    [
        ({"result": "exit-code", "exec_main_code": 1, "exec_main_status": 7}, "", (Why.EXITED, "it exited with status 7")),
        ({"result": "signal", "exec_main_code": 2, "exec_main_status": 9}, "", (Why.SIGNAL, "it was killed by SIGKILL")),
        (
            {"result": "exit-code", "exec_main_code": 1, "exec_main_status": 203},
            "",
            (Why.EXECUTABLE, "its program was not found or cannot be run (status 203)"),
        ),
        ({"result": "exit-code", "exec_main_code": 1, "exec_main_status": 217}, "", (Why.SETUP, "its user does not exist (status 217)")),
        ({"result": "timeout"}, "", (Why.TIMEOUT, "it did not start within its time")),
        ({"result": "timeout"}, "notify", (Why.PROBE, "it did not say that it is ready (READY=1) within its time")),
        ({"result": "oom-kill", "exec_main_code": 2, "exec_main_status": 9}, "", (Why.MEMORY, "it ran out of memory")),
        ({"result": "exit-code", "condition_result": False}, "", (Why.SYSTEMD, "a condition of its unit does not hold")),
    ],
)
@pytest.mark.row("BX-7")
def test_every_way_to_fail_has_words(detail: dict[str, object], health: str, expected: tuple[Why, str]) -> None:
    world = World()
    world.systemd.on_start(WEB, (Phase(0, "activating", "start", job=True), Phase(0.1, "failed", "failed", detail=detail)))
    outcome = world.apply(AppBuilder().service("web", health=health))
    (reason,) = outcome.verdict.services[0].reasons
    assert (reason.kind, reason.text) == expected


def test_a_probe_that_failed_is_told_from_a_process_that_died() -> None:
    for detail, kind in (
        ({"result": "exit-code", "exec_main_code": 2, "exec_main_status": 15}, Why.PROBE),
        ({"result": "exit-code", "exec_main_code": 1, "exec_main_status": 1}, Why.EXITED),
    ):
        world = World()
        world.systemd.on_start(WEB, (Phase(0, "activating", "start-post", job=True), Phase(1, "failed", "failed", detail=detail)))
        world.journal.said(WEB, "health/tcp", 1)
        outcome = world.apply(AppBuilder().service("web", health="tcp 127.0.0.1:80"))
        assert reasons(outcome, "web") == [kind]


@pytest.mark.row("FAULTS-25")
def test_what_ends_within_its_settle_time_did_not_stay_up() -> None:
    for after, status_, expected in (
        (
            0.0,
            0,
            "shop-web did not stay up: it exited with status 0, and a service runs on (kind: script is for what ends) (at once after it was up)",
        ),
        (2.0, 1, "shop-web did not stay up: it exited with status 1 (2.0 s after it was up)"),
    ):
        world = World()
        end = {"exec_main_code": 1, "exec_main_status": status_, "result": "exit-code" if status_ else "success"}
        dead = Phase(0.1 + after, "failed" if status_ else "inactive", "dead", detail=end)
        world.systemd.on_start(WEB, (Phase(0, "activating", "start", job=True), Phase(0.1, "active", "running"), dead))
        outcome = world.apply(AppBuilder().service("web"))
        assert status(outcome) == {"web": "failed"}
        if after:
            assert said(outcome, "web").rpartition("(")[0] == expected.rpartition("(")[0]
        assert reasons(outcome, "web")[-1] in (Why.EXITED, Why.SYSTEMD)


def test_a_crash_and_restart_between_two_looks_shows_in_the_invocation() -> None:
    world = World()
    world.systemd.on_start(
        WEB,
        (Phase(0, "activating", "start", job=True), Phase(0.05, "active", "running"), Phase(2, "active", "running", detail={"invocation": "other"})),
    )
    outcome = world.apply(AppBuilder().service("web"))
    assert said(outcome, "web") == "shop-web did not stay up: it ended, and systemd started it again (5.0 s after it was up)"


def test_a_crash_is_watched_until_systemd_is_done_with_it() -> None:
    world = World()
    bad = {"result": "exit-code", "exec_main_code": 1, "exec_main_status": 5}
    up, down = Phase(0, "active", "running"), Phase(0, "activating", "auto-restart", detail=bad)
    loop = [replace(up, after=0.1), replace(down, after=1.1), replace(up, after=2.1, detail={"invocation": "b"})]
    world.systemd.on_start(WEB, (Phase(0, "activating", "start", job=True), *loop))
    outcome = world.apply(AppBuilder().service("web"))
    assert said(outcome, "web") == "shop-web did not stay up: it exited with status 5 (1.0 s after it was up)"
    assert world.clock.seconds == pytest.approx(3.2, abs=0.3)


def test_who_falls_while_others_settle_is_found() -> None:
    world = World()
    bad = {"result": "exit-code", "exec_main_code": 1, "exec_main_status": 78}
    world.systemd.on_start(
        DB, (Phase(0, "activating", "start", job=True), Phase(0.01, "active", "running"), Phase(0.3, "failed", "failed", detail=bad))
    )
    slow = (Phase(0, "activating", "start-post", job=True), Phase(2, "active", "running"))
    world.systemd.on_start(WEB, slow)
    outcome = world.apply(AppBuilder().service("db").service("web"), settle="0s")
    assert status(outcome) == {"db": "failed", "web": "healthy"}
    assert said(outcome, "db").startswith("shop-db did not stay up: it exited with status 78")


def test_tries_lost_to_a_slow_dependency_do_not_count() -> None:
    world = World()
    world.systemd.on_start(DB, (Phase(0, "activating", "start-post", job=True), Phase(300, "active", "running")))
    world.systemd.on_start(WEB, crash_loop(times=20, every=14, then=Phase(0, "active", "running")))
    assert status(world.apply(AppBuilder().service("db").service("web", requires=("db",)))) == {"db": "healthy", "web": "healthy"}


def crash_loop(*, times: int, every: float, then: Phase) -> tuple[Phase, ...]:
    """Fails before it is up, and is tried again."""
    bad = {"result": "exit-code", "exec_main_code": 1, "exec_main_status": 5}
    phases = [Phase(0.0, "activating", "start", job=True)]
    for number in range(times):
        phases.append(Phase(every * number + 0.1, "activating", "auto-restart", detail={**bad, "restarts": number}))
        phases.append(Phase(every * (number + 1), "activating", "start-pre", detail={"restarts": number + 1}))
    return (*phases, replace(then, after=every * times + 0.2))


@pytest.mark.row("BX-7")
def test_a_start_that_fails_first_and_then_succeeds_is_healthy() -> None:
    world = World()
    world.systemd.on_start(WEB, crash_loop(times=2, every=1, then=Phase(0, "active", "running")))
    assert world.apply(AppBuilder().service("web")).exit_code is ExitCode.OK
    assert "retrying" in [item.word for item in world.news]


def test_a_unit_that_systemd_had_forgotten_has_not_crashed() -> None:
    """It loses its timestamps while it is down and nothing names it, and they then differ from those before."""
    world = World()
    world.apply(AppBuilder().service("web"))
    world.systemd.given(WEB, "inactive", "dead", active_since=5)
    slow = (Phase(0.0, "activating", "start-post", job=True, detail={"active_since": 0}), Phase(2.0, "active", "running"))
    world.systemd.on_start(WEB, slow)
    assert world.apply(AppBuilder().service("web")).exit_code is ExitCode.OK


def test_the_start_limit_is_the_end_and_says_what_was_wrong() -> None:
    world = World()
    world.systemd.on_start(WEB, crash_loop(times=5, every=1, then=Phase(0, "failed", "failed", detail={"result": "start-limit-hit"})))
    outcome = world.apply(AppBuilder().service("web"))
    assert said(outcome, "web") == "cannot start shop-web: it exited with status 5 (given up after 5 failed starts)"


def test_tries_too_far_apart_for_the_start_limit_are_counted_and_end() -> None:
    world = World()
    world.systemd.on_start(WEB, crash_loop(times=500, every=60, then=Phase(0, "active", "running")))
    outcome = world.apply(AppBuilder().service("web", restart_limit=3))
    assert reasons(outcome, "web") == [Why.RETRIES, Why.EXITED]
    assert world.clock.seconds < 60 * 4


def test_a_job_that_somebody_else_left_on_an_untouched_service_is_not_waited_for() -> None:
    world = World()
    builder = AppBuilder().service("db").service("web")
    world.apply(builder)
    world.systemd.on_start(DB, (Phase(0, "active", "running", job=True),))
    world.systemd.given(DB, "inactive", "dead")
    world.systemd.start(DB)
    world.systemd.given(WEB, "inactive", "dead")
    outcome = world.apply(builder)
    assert status(outcome) == {"db": "healthy", "web": "healthy"}


@pytest.mark.row("BX-7")
def test_who_waits_for_a_failed_dependency_is_blocked_by_it() -> None:
    world = World()
    world.systemd.on_start(DB, failing(1))
    world.systemd.on_start(WEB, (Phase(0, "activating", "start-pre", job=True),))
    builder = AppBuilder().service("db").service("web", requires=("db",)).service("api", requires=("web",))
    world.systemd.on_start("shop-api.service", (Phase(0, "inactive", "dead", job=True),))
    outcome = world.apply(builder)
    assert status(outcome) == {"db": "failed", "web": "blocked", "api": "blocked"}
    assert said(outcome, "web") == "cannot start shop-web: it waits for db, which failed: it exited with status 1"
    assert said(outcome, "api") == "cannot start shop-api: it waits for web, which is blocked: it waits for db, which failed: it exited with status 1"
    assert ("web", "waiting for db (activating)") in [(item.service, item.text) for item in world.news]


def test_who_waits_for_a_unit_of_the_host_is_blocked_after_one_round_of_its_gate() -> None:
    world = World()
    world.systemd.given("postgresql.service", "failed", "failed")
    world.systemd.on_start(WEB, crash_loop(times=100, every=13, then=Phase(0, "active", "running")))
    outcome = world.apply(AppBuilder().service("web", requires=("postgresql.service",)))
    assert said(outcome, "web") == "cannot start shop-web: it waits for postgresql.service, which failed"
    assert world.clock.seconds < 13


@pytest.mark.row("NK-8")
def test_a_failed_install_is_named_although_the_service_says_success() -> None:
    world = World()
    provision = "shop-web-provision.service"
    builder = AppBuilder().service("db").service("web", provision="[Service]\nExecStart=/bin/install")
    world.systemd.given(provision, "failed", "failed", result="exit-code", invocation="i", exec_main_code=1, exec_main_status=9)
    world.systemd.on_start(WEB, (Phase(0, "inactive", "dead"),))
    world.journal.said(provision, "install/install", 9, invocation="i")
    world.journal.lines[provision] = ["npm ERR! network"]
    outcome = world.apply(builder)
    assert status(outcome) == {"db": "healthy", "web": "failed"}
    assert said(outcome, "web") == "cannot start shop-web: install exited with status 9"
    assert outcome.verdict.services[1].reasons[0].lines == ("npm ERR! network",)


@pytest.mark.row("NK-12")
def test_a_failed_deploy_hook_ends_apply_before_anything_is_touched() -> None:
    world = World()
    done = (Phase(0, "activating", "start", job=True), Phase(1, "inactive", "dead"))
    world.systemd.on_start("shop-web-prestart.service", done, failing(4), done)
    old = AppBuilder().service("db").service("web", PLAIN, prestart="[Service]\nExecStart=/bin/a")
    world.apply(old)
    new = AppBuilder().service("db", PLAIN).service("web", PLAIN, prestart="[Service]\nExecStart=/bin/b")
    world.journal.said("shop-web-prestart.service", "prestart/migrate", 4, invocation="shop-web-prestart.service#2", at=EPOCH + 10**9)
    outcome = world.apply(new, rolls_back=False)
    assert world.systemd.jobs() == [("start", "shop-web-prestart.service")]
    assert status(outcome) == {"db": "pending", "web": "failed"}
    assert said(outcome, "web") == "cannot start shop-web: hook prestart/migrate exited with status 4"
    assert outcome_text(outcome, UNSTYLED).endswith("3 of 6 steps are not done, `nanod apply /srv/shop.yaml` goes on from here")
    again = world.apply(new)
    assert again.exit_code is ExitCode.OK
    assert world.systemd.jobs() == [("start", "shop-web-prestart.service"), ("restart", DB), ("restart", WEB)]


def test_warnings_of_hooks_leave_the_service_healthy() -> None:
    world = World()
    builder = AppBuilder()
    builder.service("web", hooks=(builder.hook("web", "poststart/register", "warn"), builder.hook("web", "poststart/quiet", "ignore")))
    world.journal.said(WEB, "poststart/register", 124)
    world.journal.said(WEB, "poststart/quiet", 1)
    outcome = world.apply(builder)
    assert outcome.exit_code is ExitCode.OK
    assert [reason.text for reason in outcome.verdict.services[0].warnings] == ["hook poststart/register ran into its timeout"]


def test_a_hook_without_a_record_is_unknown_and_not_well() -> None:
    world = World()
    builder = AppBuilder()
    builder.service("web", hooks=(builder.hook("web", "prestart/1"), builder.hook("web", "prestop/1", "warn")))
    (web,) = world.apply(builder).verdict.services
    assert [(reason.kind, reason.hook) for reason in web.warnings] == [(Why.UNKNOWN, "prestart/1")]


def test_a_failed_reload_degrades_and_is_tried_again() -> None:
    world = World()
    builder = AppBuilder()
    builder.service("web", can_reload=True, reload_on=("/etc/web",), hooks=(builder.hook("web", "reload/1"),))
    world.files["/etc/web"] = "1"
    world.apply(builder)
    world.files["/etc/web"] = "2"
    world.journal.said(WEB, "reload/1", 2, at=EPOCH + 10**9)
    outcome = world.apply(builder)
    assert world.systemd.jobs() == [("reload", WEB)]
    assert (outcome.exit_code, outcome.verdict.status) == (ExitCode.FAILED, Status.DEGRADED)
    assert said(outcome, "web") == "cannot reload shop-web: hook reload/1 exited with status 2; the old configuration stays in force"
    world.journal.results.clear()
    assert world.apply(builder).exit_code is ExitCode.OK
    assert world.systemd.jobs() == [("reload", WEB)]
    world.apply(builder)
    assert world.systemd.jobs() == []


def test_a_watched_file_that_the_install_writes_counts_as_taken_in() -> None:
    world = World()
    builder = AppBuilder().service("web", can_reload=True, reload_on=("/srv/greeting",)).service("api", restart_on=("/srv/greeting",))

    def install(_: Progress) -> None:
        world.files["/srv/greeting"] = "1"

    wanted = builder.build()
    apply(plan(wanted, None, world.snapshot(wanted)), world.host, tell=install)
    assert world.apply(builder).plan.is_empty
    world.files["/srv/greeting"] = "2"
    world.apply(builder)
    assert world.systemd.jobs() == [("reload", WEB), ("restart", "shop-api.service")]


def test_scripts_are_waited_for_and_their_exit_is_the_result() -> None:
    for code, expected in ((0, "healthy"), (3, "failed")):
        world = World()
        end = {"exec_main_code": 1, "exec_main_status": code, "result": "exit-code" if code else "success"}
        job = (
            Phase(0, "activating", "start", job=True),
            Phase(0.1, "active", "running"),
            Phase(90, "failed" if code else "inactive", "dead", detail=end),
        )
        world.systemd.on_start("shop-job.service", job)
        outcome = world.apply(AppBuilder().service("job", is_script=True))
        assert status(outcome) == {"job": expected}
        assert world.clock.seconds == pytest.approx(90, abs=1)
        if code:
            assert said(outcome, "job") == "shop-job failed: it exited with status 3"


def test_restarts_that_order_with_each_other_stop_all_before_the_first_starts() -> None:
    world = World()
    after_db = "[Unit]\nAfter=shop-db.service\n[Service]\nExecStart=/bin/web"
    world.apply(AppBuilder().service("db").service("web", after_db))
    world.apply(AppBuilder().service("db", PLAIN).service("web", f"{after_db}\nNice=5"))
    assert world.systemd.jobs() == [("stop", WEB), ("stop", DB), ("start", DB), ("start", WEB)]
    assert world.systemd.calls[3:5] == [("reset-failed", DB), ("start", DB)]


@pytest.mark.row("FAULTS-26")
def test_stop_first_waits_until_the_old_process_is_gone_before_it_installs() -> None:
    world = World()
    world.apply(AppBuilder().service("web", f"{PLAIN}\nExecStop=/bin/a"))
    world.systemd.on_stop(WEB, Phase(0, "deactivating", "stop-sigterm", job=True), Phase(30, "inactive", "dead"))
    begin = world.clock.seconds
    world.apply(AppBuilder().service("web", f"{PLAIN}\nExecStop=/bin/b"), settle="0s")
    assert world.clock.seconds == pytest.approx(begin + 30, abs=1)
    assert [call[0] for call in world.systemd.calls] == ["stop", "daemon-reload", "reset-failed", "start"]


@pytest.mark.row("FAULTS-39")
def test_what_goes_away_is_gone_before_its_file_is() -> None:
    world = World()
    world.apply(AppBuilder().service("db").service("web"))
    outcome = world.apply(AppBuilder().service("db"))
    assert [*world.systemd.calls] == [("daemon-reload", ""), ("stop", WEB), ("reset-failed", WEB)]
    assert WEB not in world.store.files
    assert WEB not in world.manifest().units
    assert outcome.exit_code is ExitCode.OK


def test_a_masked_service_is_no_failure_and_blocks_who_needs_it() -> None:
    world = World()
    world.systemd.on_start(WEB, (Phase(0, "activating", "start-pre", job=True),))
    outcome = world.apply(AppBuilder().service("db").service("web", requires=("db",)), masked=frozenset({DB}))
    assert status(outcome) == {"db": "masked", "web": "blocked"}
    assert said(outcome, "web") == "cannot start shop-web: it waits for db, which is masked"


def test_without_rollback_a_refusal_in_the_middle_is_recorded_and_the_next_apply_goes_on() -> None:
    world = World()
    world.systemd.refuses["daemon-reload", ""] = "cannot reload unit files: no space in /run"
    with pytest.raises(NanodError, match="no space in /run"):
        world.apply(AppBuilder().service("web"), rolls_back=False)
    assert (world.manifest().units[WEB], world.store.entries[-1]["verdict"]) == ("", "refused")
    del world.systemd.refuses["daemon-reload", ""]
    outcome = world.apply(AppBuilder().service("web"))
    assert outcome.exit_code is ExitCode.OK
    assert world.systemd.calls[0] == ("daemon-reload", "")
    assert world.manifest().units[WEB]


@pytest.mark.row("FAULTS-34")
def test_a_full_disk_leaves_no_file_changed_and_no_record() -> None:
    world = World()
    world.store.refuses["write", WEB] = "cannot write: no space left on device"
    with pytest.raises(NanodError, match="no space left"):
        world.apply(AppBuilder().service("web"))
    assert (world.store.files, world.store.manifests, world.systemd.jobs()) == ({}, {}, [])


def test_without_rollback_an_interrupt_says_what_is_left_and_the_next_apply_does_it() -> None:
    world = World()
    old = AppBuilder().service("web", f"{PLAIN}\nExecStop=/bin/a").service("db")
    new = AppBuilder().service("web", f"{PLAIN}\nExecStop=/bin/b").service("db")
    world.apply(old)

    def interrupted(news: Progress) -> None:
        if news.word == "stopping":
            raise KeyboardInterrupt

    wanted = new.build()
    made = plan(wanted, world.manifest(), world.snapshot(wanted))
    outcome = apply(made, world.host, rolls_back=False, tell=interrupted)
    assert outcome.exit_code is ExitCode.INTERRUPTED
    assert len(outcome.left) == len(made.steps)
    assert status(outcome) == {"web": "pending", "db": "healthy"}
    assert "4 of 4 steps are not done" in outcome_text(outcome, UNSTYLED)
    again = world.apply(new)
    assert again.exit_code is ExitCode.OK
    assert ("write", WEB) in world.store.calls


def test_without_rollback_an_interrupt_while_settling_keeps_the_record_whole() -> None:
    world = World()

    def interrupted(news: Progress) -> None:
        if news.word == "up":
            raise KeyboardInterrupt

    wanted = AppBuilder().service("web").build()
    outcome = apply(plan(wanted, None, world.snapshot(wanted)), world.host, rolls_back=False, tell=interrupted)
    assert (outcome.exit_code, outcome.left) == (ExitCode.INTERRUPTED, ())
    assert world.apply(AppBuilder().service("web")).plan.is_empty


def test_removal_stops_deletes_reloads_and_forgets() -> None:
    world = World()
    world.apply(AppBuilder().service("db").service("web"))
    wanted = AppBuilder().service("db").service("web").build()
    world.journal.said(WEB, "prestop/drain", 1, at=EPOCH + 10**9)
    world.systemd.calls.clear()
    outcome = apply(plan_removal(world.manifest(), world.snapshot(wanted)), world.host)
    assert [call for call in world.systemd.calls if call[0] != "reset-failed"] == [
        ("stop", "shop.target"),
        ("stop", WEB),
        ("stop", DB),
        ("daemon-reload", ""),
    ]
    assert (world.store.files, world.store.enabled, world.store.manifests) == ({}, {}, {})
    assert outcome.exit_code is ExitCode.OK
    assert [reason.text for reason in outcome.verdict.warnings] == ["hook prestop/drain exited with status 1"]


def test_a_tree_gets_files_links_and_a_record() -> None:
    world = World()
    wanted = AppBuilder().service("web").build()
    write_files(plan(wanted, None, Snapshot(units={}, files={}, links={}), online=False), world.store)
    assert set(world.store.files) == {unit.name for unit in wanted.units}
    assert world.manifest().generation == 1


def test_what_is_still_starting_is_waited_for_also_when_there_is_nothing_to_do() -> None:
    world = World()
    builder = AppBuilder().service("web")
    world.apply(builder)
    world.systemd.on_start(WEB, (Phase(0, "activating", "start-pre", job=True), Phase(20, "active", "running")))
    world.systemd.restart(WEB)
    world.clock.sleep(1)
    begin = world.clock.seconds
    outcome = world.apply(builder)
    assert (outcome.plan.is_empty, status(outcome)) == (True, {"web": "healthy"})
    assert world.clock.seconds - begin == pytest.approx(19, abs=0.3)


def test_progress_names_each_change_of_words_once() -> None:
    world = World()
    world.systemd.on_start(
        WEB,
        (
            Phase(0, "activating", "start-pre", job=True),
            Phase(1, "activating", "start", job=True),
            Phase(2, "activating", "start-post", job=True),
            Phase(3, "active", "running"),
        ),
    )
    world.apply(AppBuilder().service("web", health="tcp 127.0.0.1:80"))
    assert [item.text.rpartition(" after")[0] or item.text for item in world.news] == [
        "prestart hooks",
        "starting",
        "waiting for health (tcp 127.0.0.1:80)",
        "healthy",
    ]
