"""Verdicts from evidence alone, and what is recorded of an apply that was cut short."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nanod import probe
from nanod.apply import Outcome
from nanod.plan import plan
from nanod.remove import plan_removal
from nanod.state import HookResult, UnitDetail, UnitState
from nanod.steps import DaemonReload, RemoveUnit, Start, WriteUnit
from nanod.transaction import record
from nanod.verdict import SOMETHING_ELSE, Ending, Status, Why, hook_text, judge, sentence
from nanod.view.tty import PLAIN
from nanod.view.verdict import apply_command, outcome_data, outcome_text, verdict_data
from tests.fakes import EMPTY_HOST, AppBuilder, snapshot_of

WEB = "shop-web.service"


def result(status: int, hook: str = "prestart/1", *, invocation: str = "a") -> HookResult:
    phase, _, name = hook.partition("/")
    return HookResult(unit=WEB, phase=phase, name=name, status=status, invocation=invocation, duration_ms=1, at=1)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (3, "exited with status 3"),
        (124, "ran into its timeout"),
        (137, "was killed by SIGKILL"),
        (143, "was killed by SIGTERM"),
        (255, "exited with status 255"),
    ],
)
def test_hooks_in_words(status: int, words: str) -> None:
    assert hook_text(result(status, "prestart/migrate")) == f"hook prestart/migrate {words}"
    assert hook_text(result(status, "install/install")) == f"install {words}"


def failed(**facts: object) -> Ending:
    service = AppBuilder().service("web", hooks=(AppBuilder().hook("web", "prestart/1"),)).services[0]
    detail = UnitDetail(name=WEB, result="exit-code", exec_main_code=1, exec_main_status=9, invocation="a")
    return replace(Ending(service=service, status=Status.FAILED, unit=WEB, touched=True, started=True, detail=detail), **facts)  # type: ignore[arg-type]


def test_records_of_another_run_prove_nothing() -> None:
    own, other = judge("shop", [failed()], [result(3)], {}), judge("shop", [failed()], [result(3, invocation="b")], {})
    assert [item.services[0].reasons[-1].kind for item in (own, other)] == [Why.HOOK, Why.EXITED]


def test_without_a_record_a_failed_unit_beside_the_main_one_is_still_named() -> None:
    ending = failed(unit="shop-web-prestart.service")
    ending = replace(ending, service=replace(ending.service, prestart=ending.unit))
    assert sentence(judge("shop", [ending], [], {}).services[0]) == "cannot start shop-web: its deploy-scoped prestart exited with status 9"


def test_a_gate_names_the_dependency_that_did_not_come_up() -> None:
    verdict = judge("shop", [failed()], [result(1, "requires/postgresql.service")], {})
    assert sentence(verdict.services[0]) == "cannot start shop-web: postgresql.service did not come up"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (UnitState(name="db.service", load="loaded", active="failed"), "failed"),
        (UnitState(name="db.service", load="loaded"), "is not up"),
        (UnitState(name="db.service", load="masked"), "is masked"),
        (UnitState(name="db.service"), "does not exist"),
        (None, "is not up"),
    ],
)
def test_who_waits_for_a_unit_of_the_host_is_told_how_that_one_is(state: UnitState | None, words: str) -> None:
    verdict = judge("shop", [failed(status=Status.BLOCKED, blocked_by="db.service", blocker=state)], [], {})
    assert sentence(verdict.services[0]) == f"cannot start shop-web: it waits for db.service, which {words}"


def test_a_hook_that_systemd_could_not_prepare_is_told_by_what_the_child_said() -> None:
    detail = UnitDetail(name=WEB, result="exit-code", invocation="a")
    lines = ["shop-web.service: Failed at step CHDIR spawning /var/lib/nanod/lib/1/await: No such file or directory"]
    verdict = judge("shop", [failed(detail=detail)], [], {WEB: lines})
    assert sentence(verdict.services[0]) == "cannot start shop-web: its working directory cannot be entered: no such file or directory"
    assert verdict.services[0].reasons[-1].kind is Why.SETUP


@pytest.mark.parametrize(("result", "words"), [("signal", "one of its start commands was killed"), ("assert", "systemd says 'assert'")])
def test_what_nobody_recorded_is_told_by_the_result(result: str, words: str) -> None:
    verdict = judge("shop", [failed(detail=UnitDetail(name=WEB, result=result, invocation="a"))], [], {})
    assert sentence(verdict.services[0]) == f"cannot start shop-web: {words}"


def test_a_port_that_somebody_else_has_is_named() -> None:
    """The probe's words are those of `nanod.probe`."""
    said = f"nanod: health tcp 127.0.0.1:80: {SOMETHING_ELSE}"
    service = replace(failed().service, health="tcp 127.0.0.1:80")
    verdict = judge("shop", [failed(service=service)], [result(1, "health/tcp")], {WEB: ["address in use", said]})
    assert sentence(verdict.services[0]) == "cannot start shop-web: it exited with status 9, and something else answers at tcp 127.0.0.1:80"
    assert SOMETHING_ELSE in probe.gone("tcp", None)


@pytest.mark.parametrize(
    ("found", "status", "code"),
    [
        ([Status.HEALTHY], Status.HEALTHY, 0),
        ([Status.HEALTHY, Status.MASKED], Status.HEALTHY, 0),
        ([Status.DEGRADED, Status.FAILED, Status.BLOCKED], Status.FAILED, 4),
        ([Status.PENDING, Status.HEALTHY], Status.PENDING, 4),
    ],
)
def test_the_worst_decides(found: list[Status], status: Status, code: int) -> None:
    services = [AppBuilder().service(f"s{number}").services[0] for number in range(len(found))]
    endings = [Ending(service=service, status=item, unit=service.main) for service, item in zip(services, found, strict=True)]
    verdict = judge("shop", endings, [], {})
    assert (verdict.status, verdict.exit_code) == (status, code)


def test_what_is_left_of_a_removal_names_the_removal() -> None:
    wanted = AppBuilder().service("web").build()
    done = plan(wanted, None, EMPTY_HOST).manifest
    assert done is not None
    made = plan_removal(done, snapshot_of(wanted, done))
    outcome = Outcome(plan=made, verdict=judge("shop", [], [], {}), left=made.steps[2:], interrupted=True)
    assert outcome_text(outcome, PLAIN).splitlines() == [
        "shop: unfinished (0.0 s)",
        f"interrupted; {len(made.steps) - 2} of {len(made.steps)} steps are not done, `nanod remove shop` goes on from here",
    ]
    assert outcome_data(outcome)["verdict"] == "unfinished"
    assert outcome_data(replace(outcome, left=(), interrupted=False))["verdict"] == "removed"


def test_a_masked_service_has_a_sentence_without_a_head() -> None:
    masked = replace(failed(), status=Status.MASKED)
    assert sentence(judge("shop", [masked], [], {}).services[0]) == "its unit is masked"


def test_the_command_to_go_on_with_can_be_typed() -> None:
    assert apply_command("/srv/my shop.yaml", "stage") == "nanod apply -e stage '/srv/my shop.yaml'"
    assert apply_command("<stdin>", None) == "nanod apply -"


def test_lines_of_a_unit_cannot_steer_a_terminal() -> None:
    verdict = judge("shop", [failed()], [], {WEB: ["\x1b[2Jgone", "ok"]})
    made = plan(AppBuilder().service("web").build(), None, EMPTY_HOST)
    assert "\x1b" not in outcome_text(Outcome(plan=made, verdict=verdict), PLAIN)
    services = verdict_data(verdict)["services"]
    assert isinstance(services, list)
    assert services[0]["cause"]["lines"] == ["\x1b[2Jgone", "ok"]


def test_what_was_not_done_is_recorded_as_not_in_force() -> None:
    old = AppBuilder().service("web").service("gone").service("same").build()
    new = AppBuilder().service("web", "[Service]\nExecStart=/bin/web").service("same").service("new").build()
    before = plan(old, None, EMPTY_HOST).manifest
    assert before is not None
    made = plan(new, before, snapshot_of(old, before))
    after = made.manifest
    assert after is not None

    def units(*left: type) -> dict[str, str]:
        """Each unit's record as `old`, `new` or `""`, when the first step of `left` and all after it were not done."""
        first = next((number for number, step in enumerate(made.steps) if isinstance(step, left)), len(made.steps))
        found = record(made, made.steps[first:])
        assert found is not None
        return {name: "new" if content == after.units.get(name) else "old" if content else "" for name, content in found.units.items()}

    web, gone, same, fresh = (f"shop-{name}.service" for name in ("web", "gone", "same", "new"))
    assert units() == dict.fromkeys((*after.units,), "new")
    nothing = units(WriteUnit)
    assert (nothing[web], nothing[gone], nothing[same], fresh in nothing) == ("old", "old", "new", False)
    not_loaded = units(DaemonReload)
    assert (not_loaded[web], not_loaded[gone], not_loaded[same], not_loaded[fresh]) == ("", "old", "new", "")
    not_gone = units(RemoveUnit)
    assert (not_gone[web], not_gone[gone], not_gone[fresh]) == ("", "old", "")
    assert gone not in units(Start)
    cut = record(made, made.steps)
    assert cut is not None
    assert cut.services["gone"] == (gone,)


def test_a_service_that_only_ever_ends_well_has_no_riddle_for_a_reason() -> None:
    """Restart=always and exit 0, until the start limit: systemd's result is then the limit's."""
    detail = UnitDetail(name=WEB, result="start-limit-hit", exec_main_code=1, exec_main_status=0, invocation="a")
    reasons = judge("shop", [failed(detail=detail)], [], {}).services[0].reasons
    assert [item.kind for item in reasons] == [Why.RETRIES, Why.EXITED]
    assert reasons[-1].status == 0


def test_whoever_stops_and_starts_it_too_often_is_not_told_of_a_kill() -> None:
    """By hand, until the start limit: of the process systemd knows that the last stop's signal has ended it."""
    detail = UnitDetail(name=WEB, result="start-limit-hit", exec_main_code=2, exec_main_status=15, invocation="a")
    by_hand, by_itself = (sentence(judge("shop", [failed(detail=item)], [], {}).services[0]) for item in (detail, replace(detail, restarts=5)))
    assert by_hand == "cannot start shop-web: it was started too often, each time after a stop"
    assert by_itself == "cannot start shop-web: it was killed by SIGTERM (given up after 5 failed starts)"
