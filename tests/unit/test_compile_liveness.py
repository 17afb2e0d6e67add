"""Liveness, drain and giving up: which lines they become."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nanod.compile import Target, compile_spec
from nanod.lifelines import life_of
from nanod.spec.load import load
from nanod.state import HookResult
from nanod.timeline import Stage, timeline
from nanod.verdict import hook_text
from nanod.view.history import Run, history_data, history_text
from nanod.view.svg import svg_text
from nanod.view.timeline import timeline_text
from nanod.view.tty import Style

if TYPE_CHECKING:
    from nanod.units.unitset import UnitSet

WEB = "{command: [/bin/web], user: www, health: {http: 'http://127.0.0.1:80/', timeout: 1s, liveness: {interval: 2s, failures: 4}}}"


def compiled(services: str) -> UnitSet:
    loaded = load("shop.yaml", f"services: {services}", directory="/etc/nanod")
    assert loaded.spec, list(map(str, loaded.report))
    units, report = compile_spec(loaded.spec, Target())
    assert units, list(map(str, report))
    return units


def lines(units: UnitSet, unit: str, *keys: str) -> dict[str, Any]:
    file = units.unit(unit)
    return {key: [item.text for item in file.directives if item.key == key] for key in keys}


@pytest.mark.row("BX-14")
def test_a_timer_comes_and_goes_with_the_service_and_the_probe_is_bound_to_nothing() -> None:
    units = compiled(f"{{web: {WEB}}}")
    assert lines(units, "shop-web.service", "Wants") == {"Wants": ["shop-web-alive.timer"]}
    timer = lines(units, "shop-web-alive.timer", "BindsTo", "PartOf", "StopWhenUnneeded", "After", "OnActiveSec", "OnUnitInactiveSec", "Unit")
    assert timer == {
        "BindsTo": [],
        "PartOf": ["shop-web.service"],
        "StopWhenUnneeded": ["yes"],
        "After": ["shop-web.service"],
        "OnActiveSec": ["2s"],
        "OnUnitInactiveSec": ["2s"],
        "Unit": [],
    }
    probe = lines(
        units, "shop-web-alive.service", "BindsTo", "Requires", "PartOf", "After", "Type", "User", "ExecStart", "ExecStopPost", "RuntimeMaxSec"
    )
    assert probe == {
        "BindsTo": [],
        "Requires": [],
        "PartOf": [],
        "After": [],
        "Type": ["exec"],
        "User": ["www"],
        "ExecStart": ["-:/var/lib/nanod/lib/1/alive 4 http 2 1 http://127.0.0.1:80/"],
        "ExecStopPost": ["-+:/var/lib/nanod/lib/1/unwell shop-web.service restart http"],
        "RuntimeMaxSec": ["22s"],
    }
    (service,) = units.services
    assert (service.alive, service.alive_timer) == ("shop-web-alive.service", "shop-web-alive.timer")
    assert [(hook.phase, hook.name, hook.unit, hook.on_failure) for hook in service.hooks] == [("liveness", "http", "shop-web.service", "warn")]


def test_without_liveness_there_is_none() -> None:
    units = compiled("{web: {command: [/bin/web], user: www, health: {tcp: 80}}}")
    assert [unit.name for unit in units.units if "alive" in unit.name] == []


def test_the_probe_is_in_the_network_of_its_service() -> None:
    web = WEB.replace("user: www,", "user: www, systemd: {Service: {PrivateNetwork: 'yes', Nice: '5'}},")
    assert lines(compiled(f"{{web: {web}}}"), "shop-web-alive.service", "PrivateNetwork", "Nice") == {"PrivateNetwork": ["yes"], "Nice": []}


@pytest.mark.row("BX-15", "MK-8")
def test_the_drain_is_the_last_line_and_counts_in_the_time_of_the_stop() -> None:
    units = compiled("{web: {command: [/bin/web], user: www, hooks: {prestop: /bin/a}, stop: {drain: 2min}}}")
    found = lines(units, "shop-web.service", "ExecStop", "TimeoutStopSec")
    assert [text.split()[0].rpartition("/")[2] for text in found["ExecStop"]] == ["stopping", "env", "drain"]
    assert found["ExecStop"][-1] == "-+:/var/lib/nanod/lib/1/drain 120"
    assert found["TimeoutStopSec"] == ["2min 10s"]
    assert lines(compiled("{web: {command: [/bin/web], user: www}}"), "shop-web.service", "ExecStop") == {"ExecStop": []}


def test_the_timeline_tells_of_the_pause() -> None:
    loaded = load(
        "shop.yaml", "services: {web: {command: [/bin/web], user: www, hooks: {prestop: /bin/a}, stop: {drain: 5s}}}", directory="/etc/nanod"
    )
    assert loaded.spec
    units, _ = compile_spec(loaded.spec, Target())
    assert units
    down = [step.phase for step in timeline(loaded.spec, units, "web") if step.stage is Stage.DOWN]
    assert down == ["prestop", "drain", "signal", "gone"]


@pytest.mark.row("BX-14")
@pytest.mark.parametrize(("said", "effect"), [
    ("{}", "after 3 failures in a row it is restarted, which counts as a start"),
    ("{failures: 1, action: stop}", "after a failure it is stopped, and stays down"),
    ("{failures: 2, action: none}", "after 2 failures in a row its journal and status say so, and nothing is done"),
])  # fmt: skip
def test_the_timeline_tells_what_is_done_while_it_runs(said: str, effect: str) -> None:
    text = f"services: {{web: {{command: [/bin/web], user: www, hooks: {{ready: a, reload: b}}, health: {{tcp: 80, liveness: {said}}}}}}}"
    spec = load("shop.yaml", text, directory="/etc/nanod").spec
    assert spec
    units, _ = compile_spec(spec, Target())
    assert units
    steps = timeline(spec, units, "web")
    assert [step.phase for step in steps] == ["main", "health", "ready", "liveness", "reload", "signal", "gone"]
    (step,) = [step for step in steps if step.stage is Stage.RUN]
    assert (step.what, step.effect, step.unit) == ("probes tcp 127.0.0.1:80 every 10s", effect, "shop-web-alive.service")
    assert [line.key for line in step.lines] == ["ExecStart", "ExecStopPost"]


@pytest.mark.row("BX-14")
def test_the_timeline_of_a_group_tells_who_is_probed() -> None:
    alive = "health: {file: /run/up, liveness: {}}"
    text = (
        f"services: {{web: {{user: www, processes: {{api: {{command: [/bin/api], {alive}}}, worker: {{command: [/bin/w]}}}},"
        f" tasks: {{side: {{command: [/bin/s], lifecycle: {{hook: prestart, sidecar: true}}, {alive}}}}}}}}}"
    )
    spec = load("shop.yaml", text, directory="/etc/nanod").spec
    assert spec
    units, _ = compile_spec(spec, Target())
    assert units
    steps = life_of(spec, units, "web")
    assert [(step.member, step.name, step.rank, step.unit) for step in steps if step.stage is Stage.RUN] == [
        ("web/api", "api", 0, "shop-web-api-alive.service"),
        ("web/side", "side", 0, "shop-web-side-alive.service"),
    ]
    (side,) = [step for step in steps if step.member == "web/side" and step.stage is Stage.UP]
    assert side.effect.endswith("the mains wait until it is healthy")
    picture = svg_text("web of shop", steps)
    assert picture.count(">liveness api<") == picture.count(">liveness side<") == picture.count(">while it runs<") == 1
    shown = timeline_text("web of shop", steps, Style())
    assert "While it runs\n  liveness/api " in shown


@pytest.mark.row("BX-14")
def test_a_command_that_probes_has_the_variables_of_the_service() -> None:
    web = "{command: [/bin/web], user: www, environment: {A: b}, environment_files: [/etc/web.env], health: {exec: [/bin/ask], liveness: {}}}"
    found = lines(compiled(f"{{web: {web}}}"), "shop-web-alive.service", "Environment", "EnvironmentFile")
    assert "A=b" in found["Environment"]
    assert found["EnvironmentFile"] == ["/etc/web.env"]


@pytest.mark.row("BX-23")
def test_who_gives_up_calls_what_its_service_says() -> None:
    units = compiled(
        "{web: {user: www, on_failure: /bin/page, processes: {api: {command: [/bin/api]}, worker: {command: [/bin/w]}},"
        " tasks: {side: {command: [/bin/s], lifecycle: {hook: prestart, sidecar: true}}, init: {command: [/bin/i], lifecycle: {hook: prestart}}}}}"
    )
    for part, handler in (("api", "page"), ("worker", "page"), ("side", "page")):
        assert lines(units, f"shop-web-{part}.service", "OnFailure") == {"OnFailure": [f"shop-web-{part}-failure.service"]}
        (text,) = lines(units, f"shop-web-{part}-failure.service", "ExecStart")["ExecStart"]
        assert text.endswith(f"/bin/{handler}")
        assert f"NANOD_FAILED_UNIT=shop-web-{part}.service" in text
    assert lines(units, "shop-web-init.service", "OnFailure") == {"OnFailure": []}


@pytest.mark.row("BX-23")
def test_a_sidecar_gives_up_only_when_its_task_says_when() -> None:
    task = "{{command: [/bin/s], lifecycle: {{hook: prestart, sidecar: true}}{0}}}"
    for written, expected in (("", {"0"}), (", restart: {limit: 3}", {"1min"}), (", restart: {window: 5s}", {"5s"})):
        units = compiled(f"{{web: {{command: [/bin/web], user: www, tasks: {{side: {task.format(written)}}}}}}}")
        assert set(lines(units, "shop-web-side.service", "StartLimitIntervalSec")["StartLimitIntervalSec"]) == expected


FOUND = HookResult(
    unit="shop-web.service",
    phase="liveness",
    name="http",
    status=1,
    invocation="a",
    duration_ms=5,
    at=0,
    text="http http://127.0.0.1/: status 500 (3 times in a row); restarted it",
)


@pytest.mark.row("BX-14")
def test_what_was_done_stands_in_the_history() -> None:
    runs = [Run(service="web", at="2026-07-01T06:00:00+00:00", result=FOUND)]
    assert history_text("shop", [], [1], 1, Style(), runs=runs).splitlines()[0] == f"2026-07-01T06:00:00+00:00  liveness  web  {FOUND.text}"
    data = history_data("shop", [], [1], 1, runs=runs)
    assert data["liveness"] == [{"service": "web", "at": "2026-07-01T06:00:00+00:00", "text": FOUND.text}]
    assert data["runs"] == []


def test_an_apply_that_was_at_work_warns_of_it() -> None:
    assert hook_text(FOUND) == f"liveness: {FOUND.text}"


LIB = Path(__file__).parents[2] / "nanod" / "lib"


@pytest.mark.row("BX-14")
@pytest.mark.parametrize(("probe", "status", "said"), [("true", 0, b""), ("exit 4", 3, b"STATUS=exec: exit status 4 (2 times in a row)")])
def test_the_prober_counts_in_one_run_and_tells_systemd_why(tmp_path: Path, probe: str, status: int, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        argv = [sys.executable, "-I", "-S", str(LIB.parent / "probe.py"), "alive", "2", "exec", "0.01", "5", "/bin/sh", "-c", f"echo >>log; {probe}"]
        done = subprocess.run(argv, cwd=tmp_path, env={"NOTIFY_SOCKET": str(tmp_path / "notify")}, check=False)
        assert done.returncode == status
        assert (systemd.recv(4096) if said else b"") == said
    assert (tmp_path / "log").read_text().count("\n") == (2 if status else 1)


@pytest.mark.row("BX-15")
def test_a_drain_ends_with_the_process() -> None:
    process = subprocess.Popen(["/bin/sleep", "0.2"])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(process.wait)
        assert subprocess.run([str(LIB / "drain"), "3600"], env={"MAINPID": str(process.pid)}, check=False).returncode == 0
    assert subprocess.run([str(LIB / "drain"), "3600"], env={}, check=False).returncode == 0, "it ended by itself"
