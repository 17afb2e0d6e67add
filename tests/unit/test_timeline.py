"""One golden timeline shows the whole order; further tests show what a step says."""

from __future__ import annotations

import pytest

from nanod.compile import Target, compile_spec
from nanod.diagnostics import Mark
from nanod.scope import SYSTEM, RuntimeScope, user_scope
from nanod.spec.load import load
from nanod.timeline import Stage, Step, timeline
from nanod.view.timeline import timeline_data, timeline_text
from nanod.view.tty import PLAIN, Style

_WHOLE = """\
project: shop
services:
  db:
    command: [/usr/bin/redis-server]
    user: redis
    health: {tcp: 6379}
  web:
    command: node server.js
    user: www-data
    volume: /srv/shop
    requires: [db]
    provisioning: {install: npm ci, retries: 2}
    health: {http: http://127.0.0.1:8080/}
    hooks:
      prestart:
        - {run: ./migrate, name: migrate, scope: deploy}
        - {run: ./look, on_failure: warn}
      poststart: {run: ./register, on_failure: ignore}
      ready: ./warm
      reload: kill -HUP $MAINPID
      prestop: [./drain, ./leave]
      poststop: ./sweep
    on_failure: ./page
    systemd: {Service: {ExecStartPre: [/bin/true]}}
"""


def steps(text: str, service: str = "web", scope: RuntimeScope = SYSTEM) -> tuple[Step, ...]:
    loaded = load("shop.yaml", text, directory="/etc/nanod")
    assert loaded.spec is not None, [item.message for item in loaded.report]
    units, report = compile_spec(loaded.spec, Target(scope=scope, unit_dir=scope.unit_dir))
    assert units is not None, [item.message for item in report]
    return timeline(loaded.spec, units, service)


def test_the_whole_order() -> None:
    found = [(step.stage.value, f"{step.phase}/{step.name}".rstrip("/"), step.unit, str(step.timeout), step.on_failure) for step in steps(_WHOLE)]
    main = "shop-web.service"
    assert found == [
        ("up", "requires/db", main, "13s", "fail"),
        ("up", "install", "shop-web-provision.service", "30min", "fail"),
        ("up", "prestart/migrate", "shop-web-prestart.service", "5min", "fail"),
        ("up", "prestart/2", main, "5min", "warn"),
        ("up", "systemd", main, "None", None),
        ("up", "main", main, "None", "fail"),
        ("up", "health", main, "1min", "fail"),
        ("up", "poststart/1", main, "1min", "ignore"),
        ("up", "ready/1", "shop-web-ready.service", "infinity", "warn"),
        ("reload", "reload/1", main, "30s", "fail"),
        ("down", "prestop/2", main, "30s", "warn"),
        ("down", "prestop/1", main, "30s", "warn"),
        ("down", "signal", main, "1min 40s", None),
        ("down", "gone", main, "None", None),
        ("down", "poststop/1", main, "1min 30s", "warn"),
        ("given up", "on_failure", "shop-web-failure.service", "5min", "ignore"),
    ]


def test_a_user_s_has_the_same_steps() -> None:
    text = "\n".join(line for line in _WHOLE.splitlines() if "user:" not in line)

    def shown(scope: RuntimeScope) -> list[tuple[object, ...]]:
        return [(step.stage, step.phase, step.name, step.timeout, step.on_failure, step.effect, len(step.lines)) for step in steps(text, scope=scope)]

    assert shown(user_scope("ann", 1500, "/home/ann", {})) == shown(SYSTEM)


def test_a_deployment() -> None:
    text = _WHOLE.replace("    command: node", "    kind: http\n    source: ./web\n    command: node").replace(
        "    hooks:\n",
        "    hooks:\n      build: make\n      deploy: {run: ./move, on_failure: fail, irreversible: true}\n      post_deploy: ./tell\n",
    )
    found = steps(text)
    rows = [(step.phase, step.unit) for step in found]
    assert rows[:6] == [
        ("build", "shop-web-build.service"),
        ("requires", "shop-web.service"),
        ("install", "shop-web-provision.service"),
        ("deploy", "shop-web-deploy.service"),
        ("prestart", "shop-web-prestart.service"),
        ("prestart", "shop-web.service"),
    ]
    assert rows.index(("post_deploy", "shop-web-post-deploy.service")) == rows.index(("ready", "shop-web-ready.service")) + 1
    said = {step.phase: step for step in found}
    assert said["build"].effect == "apply touches nothing: what runs goes on"
    assert said["deploy"].effect == "the new process is not started; nothing is put back"
    assert all(said[phase].lines for phase in ("build", "deploy", "post_deploy"))


def test_every_line_of_the_main_unit_that_runs_something_belongs_to_a_step() -> None:
    loaded = load("shop.yaml", _WHOLE, directory="/etc/nanod")
    assert loaded.spec is not None
    units, _ = compile_spec(loaded.spec, Target())
    assert units is not None
    ours = {id(line) for step in timeline(loaded.spec, units, "web") for line in step.lines}
    lines = [item for item in units.unit("shop-web.service").directives if item.key.startswith("Exec")]
    left = [item.text for item in lines if id(item) not in ours]
    assert {text.split()[0].rpartition("/")[2] for text in left} == {"stopping"}, "which only notes when and why"


def test_a_step_has_the_line_that_does_it_and_the_place_that_asked() -> None:
    found = {f"{step.phase}/{step.name}": step for step in steps(_WHOLE)}
    migrate = found["prestart/migrate"]
    assert migrate.origin == Mark("shop.yaml", 16, 11, 12)
    assert [(line.key, line.origin) for line in migrate.lines] == [("ExecStart", migrate.origin)]
    assert "/lib/1/hook fail 300 " in migrate.lines[0].text
    assert migrate.what == "./migrate"
    assert [line.key for line in found["requires/db"].lines] == ["After", "ExecStartPre"]
    assert [line.key for line in found["signal/"].lines] == ["TimeoutStopSec", "KillSignal"]


def test_a_step_says_what_its_failure_does() -> None:
    found = {f"{step.phase}/{step.name}": step.effect for step in steps(_WHOLE)}
    again = "systemd tries again after 1s, and gives up after 5 starts in 1min"
    assert found["requires/db"] == again
    assert found["install/"].startswith("the service does not start, tried 3 times; the install itself waits for nothing")
    assert found["prestart/migrate"] == "apply touches nothing: what runs goes on"
    assert found["prestart/2"] == "it is shown in verdict, status and history, and the service goes on"
    assert found["poststart/1"] == "it stands in the history alone, and the service goes on"
    assert found["prestop/1"].endswith("and the stop goes on")
    assert found["health/"] == f"the process is stopped; {again}"


@pytest.mark.parametrize(
    ("keys", "phase", "effect"),
    [
        ("restart: {policy: no}", "main", "when it ends badly: the service has failed"),
        ("kind: script", "main", "when it ends badly: the service has failed"),
        ("health: {notify: true}", "health", "the process is stopped; systemd tries again after 1s, and gives up after 5 starts in 1min"),
        ("hooks: {prestart: a}\n    systemd: {Service: {ExecStartPre: /bin/true}}", "prestart", "does not run: the spec's own 'systemd:' block"),
    ],
)
def test_other_services_say_other_things(keys: str, phase: str, effect: str) -> None:
    text = f"project: shop\nservices:\n  web:\n    command: [/bin/sleep, infinity]\n    user: root\n    {keys}\n"
    assert next(step for step in steps(text) if step.phase == phase).effect.startswith(effect)


def test_a_service_that_is_not_there() -> None:
    with pytest.raises(KeyError):
        steps(_WHOLE, "nope")


def test_places_can_be_called_by_another_name() -> None:
    loaded = load("shop.yaml", _WHOLE, directory="/etc/nanod")
    assert loaded.spec is not None
    units, _ = compile_spec(loaded.spec, Target())
    assert units is not None
    found = timeline(loaded.spec, units, "web", called={"shop.yaml": "/copy.yaml"})
    assert {mark.file for step in found for mark in (step.origin, *(line.origin for line in step.lines))} == {"/copy.yaml"}


def test_as_text() -> None:
    text = timeline_text("web of shop", steps(_WHOLE), PLAIN)
    assert text.split("\n")[:9] == [
        "web of shop",
        "",
        "On the way up",
        "  requires/db       13s          fail",
        "    waits until db is healthy",
        "    fails: systemd tries again after 1s, and gives up after 5 starts in 1min",
        "    shop.yaml:11:16, shop-web.service",
        "    After=shop-db.service",
        "    ExecStartPre=+:/var/lib/nanod/lib/1/await 13 active shop-db.service",
    ]
    assert "\n    runs once per content of the service\n" in text
    assert [line for line in text.split("\n") if line and not line.startswith(" ")][1:] == [
        "On the way up",
        "At a reload",
        "On the way down",
        "When systemd has given up",
    ]
    narrow = timeline_text("web of shop", steps(_WHOLE), Style(terminal=True)).split("\n")
    assert max(len(line) for line in narrow) <= 80


def test_as_data() -> None:
    found = timeline_data(steps(_WHOLE))[-2]
    assert found.pop("lines")
    assert found == {
        "stage": Stage.DOWN,
        "phase": "poststop",
        "scope": None,
        "name": "1",
        "member": "web",
        "rank": 14,
        "waits": [],
        "what": "./sweep",
        "unit": "shop-web.service",
        "origin": {"file": "shop.yaml", "line": 22, "column": 17},
        "timeout": "1min 30s",
        "on_failure": "warn",
        "effect": "it is shown in verdict, status and history, and the stop goes on",
        "again": {"crash_restart": "yes", "stop_start": "yes", "reboot": "yes", "redeploy": "if restarted"},
    }
