"""Groups as people see them: names, the tree, verdicts, plans, timelines and the picture. Golden texts, without a host."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from nanod import groups
from nanod.compile import Target, compile_spec
from nanod.lifelines import life_of
from nanod.spec.load import load
from nanod.state import HookName, HookResult, UnitDetail, UnitState
from nanod.status import AppStatus, Health, HookStatus, Phase, ServiceStatus, gathered
from nanod.told import told
from nanod.units.unitset import Role, UnitSet
from nanod.verdict import Reason, ServiceVerdict, Status, Verdict, Why
from nanod.view.status import status_data, status_text
from nanod.view.svg import svg_text
from nanod.view.timeline import timeline_data, timeline_text
from nanod.view.tty import PLAIN
from nanod.view.verdict import folded, verdict_lines

if TYPE_CHECKING:
    from nanod.timeline import Step

_NOW = 1_000_000_000_000
_AROUND = """\
project: shop
services:
  db: {command: exec redis-server, user: redis}
  web:
    command: exec node server.js
    user: www-data
    requires: [db]
    hooks: {prestart: ./migrate}
    tasks:
      init: {lifecycle: {hook: prestart}, command: ./init}
      look: {lifecycle: {hook: prestart}, wait_for: "tcp://127.0.0.1:1"}
      side: {lifecycle: {hook: prestart, sidecar: true}, command: exec ./side}
      hello: {lifecycle: {hook: poststart}, command: ./hello, on_failure: warn}
      ship: {lifecycle: {hook: poststart, sidecar: true}, command: exec ./ship}
      bye: {lifecycle: {hook: poststop}, command: ./bye}
"""
_REPLICAS = """\
project: shop
services:
  web:
    command: exec node server.js
    user: www-data
    replicas: 2
    tasks: {init: {lifecycle: {hook: prestart}, command: ./init}, once: {lifecycle: {hook: prestart}, command: ./once, per: group}}
"""
_PROCESSES = """\
project: shop
services:
  web:
    user: www-data
    replicas: 2
    processes: {api: {command: exec ./api}, worker: {command: exec ./worker}}
    hooks: {prestart: ./migrate, poststart: ./tell, prestop: ./drain, poststop: ./sweep}
"""


def compiled(text: str) -> tuple[Any, UnitSet]:
    loaded = load("shop.yaml", text, directory="/etc/nanod")
    assert loaded.spec is not None, [item.message for item in loaded.report]
    units, report = compile_spec(loaded.spec, Target())
    assert units is not None, [item.message for item in report]
    return loaded.spec, units


def life(text: str, name: str = "web") -> tuple[Step, ...]:
    spec, units = compiled(text)
    return life_of(spec, units, name)


# Names


def test_what_a_person_means_by_a_name() -> None:
    services = {item.name: item for item in compiled(_REPLICAS)[1].services}
    assert set(groups.rows("web", services)) == set(services)
    assert set(groups.rows("web@2", services)) == {"web@2", "web@2/init", "web@2/group"}
    assert groups.rows("web@1/init", services) == ["web@1/init"]
    assert groups.rows("we", services) == groups.rows("web@3", services) == []
    assert groups.names(services.values()) == ["web", "web/once", "web@1", "web@1/init", "web@2", "web@2/init"]
    assert groups.names(compiled(_PROCESSES)[1].services) == [
        "web",
        *(f"web@{number}{part}" for number in (1, 2) for part in ("", "/api", "/worker")),
    ]


def test_what_comes_and_goes_with_a_main() -> None:
    services = {item.name: item for item in compiled(_REPLICAS)[1].services}
    assert {item.name for item in groups.around([services["web@2"]], services.values())} == {"web/group", "web/once", "web@2/group", "web@2/init"}
    mains = [item for item in services.values() if item.role is Role.MAIN]
    assert groups.led_by(services["web@2/init"], mains) == {"web@2"}
    assert groups.led_by(services["web/once"], mains) == {"web@1", "web@2"}


def test_what_is_done_once_for_all_instances_is_done_before_any_of_them_begins() -> None:
    _, units = compiled(_REPLICAS)
    found = {unit.name: unit for unit in units.units}
    for number in (1, 2):
        after = found[f"shop-web-init@{number}.service"].values("Unit", "After")
        assert "shop-web-once.service" in " ".join(after).split()


def test_instances_are_taken_in_turns() -> None:
    services = compiled(_REPLICAS)[1].services
    assert [{item.name for item in wave} for wave in groups.turns(services)] == [
        {"web@1", "web@1/init", "web@1/group"},
        {"web@2", "web@2/init", "web@2/group"},
    ]


# The tree


def _row(name: str, health: Health, role: Role = Role.MAIN, phase: Phase | None = None, **more: Any) -> ServiceStatus:
    unit = f"shop-{name.replace('/', '-')}.service"
    up = health in (Health.HEALTHY, Health.FINISHED, Health.WAITING)
    return ServiceStatus(
        name=name,
        unit=unit,
        health=health,
        phase=phase,
        state=UnitState(name=unit, load="loaded", active="active" if up else "inactive"),
        detail=UnitDetail(name=unit, main_pid=7 if phase else 0, active_since=_NOW - 5_000_000),
        probe="",
        verdict=more.pop("verdict", ServiceVerdict(service=name, unit=unit, status=Status.HEALTHY)),
        hooks=more.pop("hooks", ()),
        drift=(),
        group="web",
        role=role,
        **more,
    )


def _hook(unit: str, hook: str, status: int | None = 0, lines: tuple[str, ...] = ()) -> HookStatus:
    phase, _, name = hook.partition("/")
    record = HookResult(unit=unit, phase=phase, name=name, status=status or 0, invocation="i", duration_ms=20, at=_NOW - 4_000_000)
    return HookStatus(hook=HookName(phase=phase, name=name, unit=unit, on_failure="warn"), record=None if status is None else record, lines=lines)


def _app(*rows: ServiceStatus) -> AppStatus:
    return AppStatus(app="shop", spec="/srv/shop.yaml", env=None, generation=1, services=gathered(rows), drift=())


def test_members_of_a_service_stand_below_it_in_the_order_of_its_life() -> None:
    rows = (
        _row("web/group", Health.FINISHED, Role.GROUP),
        _row("web/bye", Health.WAITING, Role.POSTSTOP_TASK, hooks=(_hook("shop-web-bye.service", "poststop/bye", None),)),
        _row("web/side", Health.HEALTHY, Role.PRESTART_SIDECAR, Phase.RUN),
        _row("web/init", Health.FINISHED, Role.PRESTART_TASK, hooks=(_hook("shop-web-init.service", "prestart/init"),)),
        _row("web", Health.HEALTHY, Role.MAIN, Phase.RUN, hooks=(_hook("shop-web.service", "prestart/1"),)),
        _row("web/hello", Health.FINISHED, Role.POSTSTART_TASK, hooks=(_hook("shop-web-hello.service", "poststart/hello", 3, ("no answer",)),)),
    )
    assert status_text([_app(*rows)], PLAIN, now=_NOW).split("\n") == [
        "shop: healthy, generation 1, /srv/shop.yaml",
        "`- web  run  healthy  5s  pid 7",
        "   |- web/side   run  healthy   5s  prestart sidecar, pid 7",
        "   |- web/init   -    finished  5s  prestart task, took 20ms",
        "   |- web/hello  -    finished  5s  poststart task",
        "   |  `- failed  poststart/hello  exited with status 3, took 20ms, 4s ago",
        "   |        no answer",
        "   |- web/bye    -    waiting   5s  poststop task, runs when web has ended",
        "   `- ok  prestart/1  took 20ms, 4s ago",
    ]


def test_a_companion_in_trouble_is_shown() -> None:
    rows = (_row("web/group", Health.FAILED, Role.GROUP), _row("web", Health.STOPPED))
    text = status_text([_app(*rows)], PLAIN, now=_NOW)
    assert "   `- web/group  -  failed  -  companion" in text.split("\n")


def test_what_stands_for_several_is_as_they_are() -> None:
    top = _row("web", Health.FINISHED, Role.ALL)
    both = _app(_row("web@1", Health.HEALTHY, phase=Phase.RUN), _row("web@2", Health.HEALTHY, phase=Phase.RUN), top)
    assert status_text([both], PLAIN, now=_NOW).split("\n") == [
        "shop: healthy, generation 1, /srv/shop.yaml",
        "`- web  run  healthy  5s  2 of 2 up",
        "   |- web@1  run  healthy  5s  pid 7",
        "   `- web@2  run  healthy  5s  pid 7",
    ]
    one = _app(_row("web@1", Health.HEALTHY, phase=Phase.RUN), _row("web@2", Health.FAILED), top)
    assert not one.is_healthy
    assert "`- web  run  degraded  -  1 of 2 up" in status_text([one], PLAIN, now=_NOW).split("\n")
    found = status_data([one])["apps"][0]["services"]  # type: ignore[index]
    assert [(item["role"], item["replica"], item["mains"]) for item in found] == [
        ("main", 1, None),
        ("main", 2, None),
        ("all", None, {"up": 1, "of": 2}),
    ]
    down = _app(_row("web@1", Health.STOPPED), _row("web@2", Health.FAILED), top)
    assert down.services[-1].health is Health.FAILED


def test_an_instance_of_several_processes_is_a_branch_of_its_own() -> None:
    rows = [_row(f"web@{number}/{part}", Health.HEALTHY, phase=Phase.RUN) for number in (1, 2) for part in ("api", "worker")]
    text = status_text([_app(*rows, _row("web", Health.FINISHED, Role.ALL))], PLAIN, now=_NOW).split("\n")
    assert text[1:5] == [
        "`- web  run  healthy  5s  4 of 4 up",
        "   |- web@1  run  healthy  -  2 of 2 up",
        "   |  |- web@1/api     run  healthy  5s  pid 7",
        "   |  `- web@1/worker  run  healthy  5s  pid 7",
    ]


def test_what_goes_with_a_script_has_ended_with_it() -> None:
    app = _app(_row("web/ship", Health.STOPPED, Role.POSTSTART_SIDECAR), _row("web", Health.FINISHED))
    assert app.is_healthy
    app = _app(_row("web/ship", Health.STOPPED, Role.POSTSTART_SIDECAR), _row("web", Health.HEALTHY, phase=Phase.RUN))
    assert not app.is_healthy
    assert [item.name for item in app.to_blame] == ["web/ship"]
    app = _app(_row("web/ship", Health.STOPPED, Role.POSTSTART_SIDECAR), _row("web", Health.STOPPED))
    assert [item.name for item in app.to_blame] == ["web"]


# Verdicts


def _verdict(name: str, status: Status = Status.HEALTHY, role: Role = Role.MAIN, *reasons: Reason, seconds: float = 0.5) -> ServiceVerdict:
    unit = f"shop-{name.replace('/', '-')}.service"
    headline = f"cannot start {unit.removesuffix('.service')}" if status in (Status.FAILED, Status.BLOCKED) else ""
    return ServiceVerdict(
        service=name, unit=unit, status=status, headline=headline, reasons=reasons, seconds=seconds, touched=True, group="web", role=role
    )


def _lines(*items: ServiceVerdict) -> list[str]:
    return list(verdict_lines(Verdict(app="shop", services=items), PLAIN))


def test_a_service_that_is_well_is_one_line() -> None:
    mains = [_verdict(f"web@{number}", seconds=number) for number in (1, 2, 3)]
    beside = [_verdict(f"web@{number}/init", role=Role.PRESTART_TASK) for number in (1, 2, 3)]
    assert _lines(*beside, *mains, _verdict("web", role=Role.ALL)) == ["  web  healthy  3.0 s  3 of 3 up"]
    assert _lines(beside[1], mains[1]) == ["  web@2  healthy  2.0 s"]
    untouched = [replace(item, touched=False) for item in (mains[0], mains[2])]
    assert _lines(beside[1], untouched[0], mains[1], untouched[1]) == ["  web@2  healthy  2.0 s"]
    assert _lines(_verdict("web/ship", role=Role.POSTSTART_SIDECAR), replace(_verdict("web"), touched=False)) == ["  web/ship  healthy  0.5 s"]


def test_who_waits_for_what_failed_is_named_and_not_explained() -> None:
    failed = _verdict(
        "web/init", Status.FAILED, Role.PRESTART_TASK, Reason(kind=Why.EXITED, text="it exited with status 1", unit="shop-web-init.service")
    )
    waits = Reason(kind=Why.DEPENDENCY, text="it waits for web/init, which failed", unit="shop-web-init.service")
    waiting = [_verdict(name, Status.BLOCKED, role, waits) for name, role in (("web", Role.MAIN), ("web/ship", Role.POSTSTART_SIDECAR))]
    assert _lines(failed, *waiting) == [
        "  web/init  failed",
        "  web       blocked    and 1 more of web",
        "cannot start shop-web-init: it exited with status 1",
        "  hint: journalctl -u shop-web-init.service",
        "  2 more wait for it: web, web/ship",
    ]
    # What keeps them waiting may be another service.
    outside = Reason(kind=Why.DEPENDENCY, text="it waits for db, which failed", unit="shop-db.service")
    held = [_verdict(name, Status.BLOCKED, role, outside) for name, role in (("web/init", Role.PRESTART_TASK), ("web", Role.MAIN))]
    assert _lines(*held)[1:] == ["cannot start shop-web-init: it waits for db, which failed", "  1 more waits for the same: web"]
    assert [item.service for item, _ in told(Verdict(app="shop", services=(failed, *waiting)))] == ["web/init"]


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ((), []),
        (("a",), ["a"]),
        (("a", "b"), ["a", "b"]),
        (("a", "a", "a"), ["a (3 times)"]),
        (("a", "b", "a", "b"), ["a", "b (2 times)"]),
        (("b", "a", "b", "a", "b"), ["a", "b (2 times)"]),
        (("x", "a", "a"), ["x", "a", "a"]),
    ],
)
def test_what_tries_repeat_is_said_once(lines: tuple[str, ...], shown: list[str]) -> None:
    assert folded(lines) == shown


# Timelines


def test_the_whole_life_of_a_group() -> None:
    found = [(step.stage.value, step.rank, f"{step.phase}/{step.name}".rstrip("/"), step.member, step.waits) for step in life(_AROUND)]
    assert found == [
        ("up", 0, "requires/db", "web", ()),
        ("up", 1, "prestart sidecar/side", "web/side", ("db",)),
        ("up", 2, "prestart task/init", "web/init", ("web/side", "db")),
        ("up", 2, "prestart task/look", "web/look", ("web/side", "db")),
        ("up", 3, "prestart/1", "web", ("web/side", "web/init", "web/look")),
        ("up", 4, "main", "web", ()),
        ("up", 5, "poststart task/hello", "web/hello", ("web",)),
        ("up", 5, "poststart sidecar/ship", "web/ship", ("web",)),
        ("down", 0, "signal", "web", ()),
        ("down", 1, "gone", "web", ()),
        ("down", 2, "poststart sidecar/ship", "web/ship", ()),
        ("down", 3, "prestart sidecar/side", "web/side", ()),
        ("down", 4, "poststop task/bye", "web/bye", ()),
    ]


def test_a_step_of_a_task_says_what_its_failure_does() -> None:
    found = {step.name: step for step in life(_AROUND) if step.stage.value == "up" and " " in step.phase}
    assert found["init"].effect == "the mains do not start; tried 5 times, 1s apart"
    assert found["look"].what == "waits for tcp://127.0.0.1:1"
    assert str(found["look"].timeout) == "1min"
    assert found["hello"].effect == "it is shown in verdict, status and history, and the group goes on"
    assert found["side"].effect == "starts again 1s after it ended, however that was; the mains wait until it is up"
    assert [line.key for line in found["init"].lines] == ["ExecStart"]


def test_several_processes_run_beside_one_another_and_the_service_s_hooks_around_them() -> None:
    found = [(step.stage.value, step.rank, f"{step.phase}/{step.name}".rstrip("/"), step.unit) for step in life(_PROCESSES, "web@2")]
    assert found == [
        ("up", 0, "prestart/1", "shop-web-group@2.service"),
        ("up", 1, "main/api", "shop-web-api@2.service"),
        ("up", 1, "main/worker", "shop-web-worker@2.service"),
        ("up", 2, "poststart/1", "shop-web.service"),
        ("down", 0, "prestop/1", "shop-web.service"),
        ("down", 1, "signal/api", "shop-web-api@2.service"),
        ("down", 2, "gone/api", "shop-web-api@2.service"),
        ("down", 1, "signal/worker", "shop-web-worker@2.service"),
        ("down", 2, "gone/worker", "shop-web-worker@2.service"),
        ("down", 3, "poststop/1", "shop-web-group@2.service"),
    ]
    assert [step.name for step in life(_PROCESSES, "web@2/api")] == ["api"] * 3


def test_an_instance_or_a_task_by_name() -> None:
    assert {step.unit for step in life(_REPLICAS, "web@2")} == {"shop-web-once.service", "shop-web-init@2.service", "shop-web@2.service"}
    assert [step.phase for step in life(_REPLICAS, "web@2/init")] == ["prestart task"]
    assert life(_REPLICAS, "web/once")[0].effect.endswith("; runs once for all instances")
    for name in ("web@3", "web/nope", "nope", "db/x"):
        with pytest.raises(KeyError):
            life(_AROUND if name == "db/x" else _REPLICAS, name)


def test_as_text_and_data() -> None:
    text = timeline_text("web of shop", life(_AROUND), PLAIN).split("\n")
    begin = next(number for number, line in enumerate(text) if line.startswith("  prestart task/init "))
    assert text[begin : begin + 5] == [
        "  prestart task/init      1h    fail",
        "    ./init",
        "    waits for web/side, db",
        "    beside web/look",
        "    fails: the mains do not start; tried 5 times, 1s apart",
    ]
    step = timeline_data(life(_AROUND))[2]
    assert (step["member"], step["rank"], step["waits"]) == ("web/init", 2, ["web/side", "db"])
    assert step["again"] == {"crash_restart": "no", "stop_start": "yes", "reboot": "yes", "redeploy": "if changed"}


def test_as_a_picture() -> None:
    steps = life(_AROUND.replace("command: ./init", "command: \"echo '<b>&' ]]>\""))
    text = svg_text("web of <shop> & \x1b\ufffe", steps)
    root = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    titles = [item.text or "" for item in root.iter(f"{space}title")]
    assert titles[0] == "web of <shop> & \\x1b\\ufffe"
    assert any("echo '<b>&' ]]>" in title for title in titles)
    boxes = [item for item in root.iter(f"{space}rect") if "box" in (item.get("class") or "")]
    assert len(boxes) == len([step for step in steps if step.stage.value in ("up", "down")])
    width, height = (int(root.get(key) or 0) for key in ("width", "height"))
    for box in boxes:
        x, y, w, h = (int(box.get(key) or 0) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
    places = [(box.get("x"), box.get("y")) for box in boxes]
    assert len(places) == len(set(places)), "no box hides another"
    assert "prefers-color-scheme: dark" in text
    assert text.count(">poststart ship<") == text.count(">ship ends<") == 1
    assert width <= 1200, "a page shows it without making it smaller"


def test_as_a_picture_time_goes_down_without_a_gap() -> None:
    root = ET.fromstring(svg_text("web", life(_AROUND)))
    rows = sorted({int(item.get("y") or 0) for item in root.iter() if "box" in (item.get("class") or "")})
    steps = [later - former for former, later in pairwise(rows)]
    assert set(steps) == {min(steps), 2 * min(steps)}
    assert steps.count(2 * min(steps)) == 1, "in between the service runs"


def test_beside_a_lone_service_a_picture_says_what_each_step_does() -> None:
    text = svg_text("db", life(_AROUND, "db"))
    notes = [item.text for item in ET.fromstring(text).iter() if item.get("class") == "note"]
    assert notes == ["exec redis-server", "sends SIGTERM", "the last process has ended"]
    assert [item for item in ET.fromstring(svg_text("web", life(_AROUND))).iter() if item.get("class") == "note"] == [], (
        "beside many there is no room"
    )
