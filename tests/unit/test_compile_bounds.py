"""What the compiler must add up, keep or refuse for a hook to run as written: found by trying units on a real systemd."""

from __future__ import annotations

import pytest

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
