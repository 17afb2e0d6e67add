"""What the compiler must add up, keep or refuse for a hook to run as written: found by trying units on a real systemd."""

from __future__ import annotations

import pytest

from nanod.compile import Target, compile_spec
from nanod.spec.load import load
from tests.unit.test_compile import compiled, refused, values

HEAD = "project: shop\nservices:\n  db: {command: /bin/true, user: redis}\n  web:\n    command: /bin/true\n    working_dir: /srv\n"


def test_a_gate_before_deploy_scoped_hooks_has_its_time() -> None:
    """TimeoutStartSec= is per line: with that of a short hook, systemd cut the gate before it could say what it waits for."""
    hooks = "    hooks: {prestart: {run: 'true', scope: deploy, timeout: 1s}}\n"
    units = compiled(f"{HEAD}    user: shop\n    requires: [db]\n    restart: {{window: 60s, limit: 3}}\n{hooks}")
    assert values(units.unit("shop-web-prestart.service"), "TimeoutStartSec") == ["31s"]
    assert values(compiled(f"{HEAD}    user: shop\n{hooks}").unit("shop-web-prestart.service"), "TimeoutStartSec") == ["11s"]


def test_a_deploy_scoped_hook_of_the_services_context_is_in_its_sandbox() -> None:
    hook = "    user: shop\n    hooks: {prestart: {run: 'true', scope: deploy, context: %s}}\n"
    inside, outside = (compiled(HEAD + hook % context).unit("shop-web-prestart.service") for context in ("service", "host"))
    assert values(inside, "ProtectSystem") == ["full"]
    assert values(outside, "ProtectSystem") == []


@pytest.mark.parametrize("phase", ["prestart", "poststart", "ready", "prestop"])
def test_who_has_no_capability_to_become_somebody_else_is_told_so(phase: str) -> None:
    """`!` lifts the user and keeps the bounding set: setpriv failed there, and what failed before the hook left no record."""
    spec = f"{HEAD}    user: shop\n    sandbox: %s\n    hooks: {{{phase}: {{run: 'true', context: service, user: %s}}}}\n"
    report = refused(spec % ("strict", "nobody"))
    assert ["capability to become 'nobody'" in item.message for item in report] == [True]
    for sandbox, user in (("default", "nobody"), ("strict", "shop"), ("strict", "root")):
        compiled(spec % (sandbox, user))


def test_a_root_hook_is_roots_whatever_the_group_of_the_service() -> None:
    unit = compiled(f"{HEAD}    user: shop\n    group: www\n    hooks: {{prestart: {{run: 'true', user: root}}, poststart: 'true'}}\n").unit(
        "shop-web.service"
    )
    assert "lib/1/as" not in values(unit, "ExecStartPre")[0]
    assert "lib/1/as shop www " in values(unit, "ExecStartPost")[0]


@pytest.mark.parametrize(
    ("hooks", "seconds", "notes"),
    [("{}", "7s", 0), ("{poststart: {run: 'true', timeout: 20s}}", "30s", 1), ("{reload: {run: 'true', timeout: 5min}}", "5min 10s", 1)],
)
def test_the_wait_for_ready_is_as_long_as_asked_for_and_no_line_is_cut(hooks: str, seconds: str, notes: int) -> None:
    """There is one TimeoutStartSec= for each line of a start and of a reload; 90s at least would be 83 more than a person asked for."""
    text = f"{HEAD}    user: shop\n    health: {{notify: true, start_timeout: 7s}}\n    hooks: {hooks}\n"
    loaded = load("/srv/specs/shop.yaml", text, directory="/srv/specs")
    assert loaded.spec
    units, report = compile_spec(loaded.spec, Target())
    assert units
    assert values(units.unit("shop-web.service"), "TimeoutStartSec") == [seconds]
    assert len([item for item in report if "READY=1" in item.message]) == notes


def test_a_long_reload_has_its_time() -> None:
    unit = compiled(f"{HEAD}    user: shop\n    hooks: {{reload: {{run: 'true', timeout: 5min}}}}\n").unit("shop-web.service")
    assert values(unit, "TimeoutStartSec") == ["5min 10s"]


def test_a_script_can_only_be_required_to_have_ended() -> None:
    """Its gate would find it ended and fail, for ever; and each try would run the script again."""
    text = "project: shop\nservices:\n  mig: {kind: script, command: /bin/true, user: shop}\n  web: {command: /bin/true, user: shop, requires: %s}\n"
    assert ["condition: completed" in item.message for item in refused(text % "[mig]")] == [True]
    unit = compiled(text % "{mig: {condition: completed}}").unit("shop-mig.service")
    assert values(unit, "RemainAfterExit") == ["yes"]
