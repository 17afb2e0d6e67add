"""The way back where systemd itself has a hand in it: what a stop takes along, what a target pulls in, and signals at the wrong moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import GIVES_UP, App, until

if TYPE_CHECKING:
    from nanod.host.process import Completed
    from nanod.rehearse.machine import Machine

FAILS = {"prestart": "exit 4"}


def service(app: App, name: str, *, hooks: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """Without a health gate, and given up soon."""
    found = app.service(name, restart=GIVES_UP, **keys)
    del found["health"]
    return found if hooks is None else found | {"hooks": hooks}


def broken(app: App, fault: str, *argv: str) -> Completed:
    return app.machine.run(["env", f"NANOD_FAULT={fault}", "nanod", *argv], timeout=120)


@pytest.mark.row("BX-4", "FAULTS-27")
def test_what_a_stop_takes_along_comes_back(machine: Machine) -> None:
    """Web is part of db, and has no change of its own: the rollback stops db, and web with it (PartOf=)."""
    app = App.on(machine, "along")
    web = service(app, "web", requires={"db": {"restart": True}})
    app.apply({"db": service(app, "db"), "web": web, "last": service(app, "last")})
    changed = {"NEW": "1"}
    services = {"db": service(app, "db", environment=changed), "web": web, "last": service(app, "last", environment=changed, hooks=FAILS)}
    assert "rolled back to generation 1" in app.apply(services, status=4).out
    assert {name: app.state(name) for name in services} == dict.fromkeys(services, "active")
    app.remove()


@pytest.mark.row("BX-2", "NK-12")
def test_an_interrupted_deploy_hook_leaves_the_old_process_alone(machine: Machine) -> None:
    """The unit of the hook is required by the service (Requires=): a stop by dependencies would take the old process along."""
    app = App.on(machine, "hook")
    app.apply({"web": service(app, "web", hooks={})})
    pid = app.pid("web")
    app.write({"web": service(app, "web", hooks={"prestart": {"run": "sleep 60", "scope": "deploy"}})})
    apply = machine.popen(["nanod", "apply", app.spec])
    until(lambda: app.state("hook-web-prestart.service") == "activating", "the hook runs")
    holder = machine.path("/run/nanod/lock").read_text().split()[0]
    assert machine.run(["kill", "-INT", holder]).status == 0
    assert apply.wait(timeout=30) == 130
    assert (app.state("web"), app.pid("web")) == ("active", pid)
    assert app.show("hook-web-prestart.service", "LoadState") == "not-found"
    app.remove()


@pytest.mark.row("BX-2", "FAULTS-28")
def test_a_failed_removal_starts_nothing_that_was_down(machine: Machine) -> None:
    """The target wants all its services: started by dependencies it would bring back what somebody had stopped, and run a finished script again."""
    app = App.on(machine, "down")
    app.program("once", "#!/bin/sh\necho once down >>/srv/steps/down.log\n")
    script = {"command": ["/usr/local/lib/steps/once"], "kind": "script", "user": "root"}
    app.apply({"web": service(app, "web"), "off": service(app, "off"), "once": script})
    app.systemctl("stop", "down-off.service")
    done = broken(app, "renamed@1:ENOSPC", "remove", "down")
    assert done.status == 1
    assert done.err.splitlines()[-2].endswith("No space left on device; what was done is undone")
    assert {name: app.state(name) for name in ("web", "off", "down.target")} == {"web": "active", "off": "inactive", "down.target": "active"}
    assert app.steps().count("once down") == 1
    app.remove()


@pytest.mark.row("BX-2")
@pytest.mark.parametrize("point", ["intent", "staged", "installed", "started", "settled"])
def test_an_interrupt_at_any_moment_is_put_back(machine: Machine, point: str) -> None:
    app = App.on(machine, "early")
    app.apply({"web": service(app, "web")})
    app.write({"web": service(app, "web", environment={"AT": point})})
    done = broken(app, f"{point}:interrupt", "apply", app.spec)
    assert (done.status, done.out.splitlines()[-1]) == (130, "interrupted; rolled back to generation 1")
    assert "AT=" not in app.show("web", "Environment")
    assert not machine.path("/var/lib/nanod/apps/early/intent.json").exists()
    app.remove()


@pytest.mark.row("BX-2")
@pytest.mark.parametrize("point", ["undoing", "undone"])
def test_the_first_interrupt_does_not_end_a_rollback(machine: Machine, point: str) -> None:
    app = App.on(machine, "late")
    app.apply({"web": service(app, "web")})
    app.write({"web": service(app, "web", hooks=FAILS)})
    done = broken(app, f"{point}:interrupt", "apply", app.spec)
    assert (done.status, done.out.splitlines()[-1]) == (4, "rolled back to generation 1")
    assert app.state("web") == "active"
    app.remove()


@pytest.mark.row("BX-2")
def test_an_interrupt_after_the_switch_is_too_late(machine: Machine) -> None:
    app = App.on(machine, "too-late")
    app.write({"web": service(app, "web")})
    assert broken(app, "committed:interrupt", "apply", app.spec).status == 0
    assert app.state("web") == "active"
    app.remove()


@pytest.mark.row("BX-4", "FAULTS-28")
def test_one_that_cannot_start_keeps_no_other_down(machine: Machine) -> None:
    """The administrator has broken a unit file by hand: its bytes are back, it cannot start, its sibling does, and the next apply repairs it."""
    app = App.on(machine, "broken")
    services = {"bad": service(app, "bad"), "good": service(app, "good"), "last": service(app, "last")}
    app.apply(services)
    file = machine.path("/etc/systemd/system/broken-bad.service")
    file.write_text(file.read_text().replace("ExecStart=", "ExecStart=relative/"))
    changed = {"NEW": "1"}
    done = app.apply(
        {
            "bad": service(app, "bad", environment=changed),
            "good": service(app, "good", environment=changed),
            "last": service(app, "last", environment=changed, hooks=FAILS),
        },
        status=6,
    )
    assert "rollback failed, the host is neither old nor new:" in done.out
    assert "broken-bad.service" in done.out
    assert (app.state("good"), app.state("last")) == ("active", "active")
    app.apply(services)
    assert app.state("bad") == "active"
    app.remove()


@pytest.mark.row("BX-13")
def test_purging_keeps_what_lies_in_another_apps_volume_or_around_it(machine: Machine) -> None:
    outer, inner = App.on(machine, "outer"), App.on(machine, "inner")
    outer.apply({"web": service(outer, "web", volumes=["/srv/four"])})
    inner.apply({"web": service(inner, "web", volumes=["/srv/four/b"])})
    machine.path("/srv/four/b/data").write_text("kept")
    assert "app inner uses it too" in outer.nanod("remove", "--purge", "outer").out
    assert machine.path("/srv/four/b/data").read_text() == "kept"
    inner.remove("--purge")
