"""Provisioning: once per volume and content, whoever starts it and whatever interrupts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import DIRECTORY, MAIN, STEP, App, until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

INSTALL = f"{STEP} && mkdir -p node_modules"
SENTINELS = ".nanod-installed-*"


def provisioned(app: App, name: str = "web", **step: Any) -> dict[str, Any]:
    """A service with a volume of its app, an install step that `step` changes, and a main that says when it runs."""
    return app.service(name, hooks=()) | {
        "volume": f"/srv/{app.name}",
        "provisioning": {"install": INSTALL, "creates": ["node_modules"]} | step,
    }


def sentinels(app: App, volume: str | None = None) -> list[str]:
    return sorted(path.name for path in app.machine.path(volume or f"/srv/{app.name}").glob(SENTINELS))


def installs(app: App) -> int:
    return app.steps().count("install web")


@pytest.mark.row("NK-1", "NK-2", "NK-3", "NK-19")
def test_it_runs_before_the_service_and_once(machine: Machine) -> None:
    app = App.on(machine, "once")
    app.apply({"web": provisioned(app)})
    assert app.steps() == ["install web", "main web"]
    assert app.show("once-web-provision.service", "Type") == "oneshot"
    assert len(sentinels(app)) == 1

    app.systemctl("restart", "once-web")
    app.systemctl("restart", "once.target")
    app.until_step("main web", 3)
    app.crash("web")
    app.until_step("main web", 4)
    app.apply()
    assert installs(app) == 1

    # Missing: what it creates; or the sentinel.
    machine.path("/srv/once/node_modules").rmdir()
    app.systemctl("restart", "once-web")
    assert installs(app) == 2
    machine.path(f"/srv/once/{sentinels(app)[0]}").unlink()
    app.systemctl("restart", "once-web")
    assert installs(app) == 3
    assert len(sentinels(app)) == 1
    app.remove()
    assert len(sentinels(app)) == 1, "data stays"


@pytest.mark.row("NK-7", "BX-6")
def test_it_is_inherited_from_the_runtime_and_runs_again_with_another_content(machine: Machine) -> None:
    app = App.on(machine, "inherit")
    own = app.service("own", hooks=(), runtime="tool", volume="/srv/inherit-own", provisioning={"install": f"{STEP} own-install"})
    inherited = app.service("web", hooks=(), runtime="tool", volume="/srv/inherit")
    runtimes = {"tool": {"install": f"{STEP} tool-install", "provisioning": {"inputs": ["lock.json"]}}}
    app.write({"own": own, "web": inherited}, runtimes=runtimes)
    app.apply()
    assert sorted(step for step in app.steps() if "install" in step) == ["own-install own", "tool-install web"]
    first = sentinels(app)

    machine.path("/srv/inherit/lock.json").write_text("{}")
    app.clear()
    app.apply()
    assert [step for step in app.steps() if "install" in step] == ["tool-install web"]
    assert len(sentinels(app)) == 1, "the old sentinel goes"
    assert sentinels(app) != first

    app.write({"own": own, "web": inherited}, runtimes={"tool": runtimes["tool"] | {"install": f"{STEP} new-install"}})
    app.clear()
    app.apply()
    assert [step for step in app.steps() if "install" in step] == ["new-install web"]
    app.remove()


@pytest.mark.row("NK-4", "NK-5")
def test_two_environments_on_one_volume_install_once(machine: Machine) -> None:
    """The second waits under the lock, sees the sentinel, skips, and succeeds."""
    app = App.on(machine, "envs")
    hold = f"{DIRECTORY}/envs-hold"
    machine.path(hold).touch()
    install = f"while [ -e {hold} ]; do sleep 0.05; done; mkdir node_modules; echo install >>/srv/envs/log"
    web = {
        "command": [MAIN],
        "user": "root",
        "volume": "/srv/envs",
        "settle": "0s",
        "provisioning": {"install": install, "creates": ["node_modules"]},
    }
    app.write({"web": web}, environments={"stage": {}, "live": {}})
    # Installed and not started, as at a boot; then both at once.
    units = ["envs-stage-web", "envs-live-web"]
    for env in ("stage", "live"):
        machine.path(hold).unlink()
        machine.path("/srv/envs").mkdir(exist_ok=True)
        app.nanod("apply", "-e", env, app.spec)
        app.systemctl("stop", f"envs-{env}.target")
        app.until_gone(f"envs-{env}-web.service")
        machine.path(hold).touch()
    assert machine.path("/srv/envs/log").read_text() == "install\n"
    for path in machine.path("/srv/envs").iterdir():
        path.rmdir() if path.is_dir() else path.unlink()

    app.systemctl("start", "--no-block", *units)
    provisions = [f"{unit}-provision.service" for unit in units]
    until(lambda: {app.state(unit) for unit in provisions} == {"activating"}, "both provision")
    machine.path(hold).unlink()
    app.until_up(*(f"{unit}.service" for unit in units))
    assert machine.path("/srv/envs/log").read_text() == "install\n"
    for env in ("stage", "live"):
        app.nanod("remove", f"envs-{env}")


@pytest.mark.row("NK-4", "NK-5", "BX-6", "FAULTS-41")
def test_fifty_starters_install_once(machine: Machine) -> None:
    app = App.on(machine, "fifty")
    one = {
        "command": ["/bin/sleep", "infinity"],
        "user": "root",
        "volume": "/srv/fifty",
        "settle": "0s",
        "provisioning": {"install": "echo install >>log; sleep 1; mkdir node_modules", "creates": ["node_modules"]},
    }
    names = [f"s{number}" for number in range(50)]
    app.apply(dict.fromkeys(names, one))
    assert machine.path("/srv/fifty/log").read_text() == "install\n"
    states = app.systemctl("is-active", *(app.unit(name) for name in names)).split()
    assert states == ["active"] * 50
    app.remove()


@pytest.mark.row("NK-6", "NK-8", "BX-7")
def test_a_failed_install_halts_its_service_only_and_the_next_start_tries_again(machine: Machine) -> None:
    app = App.on(machine, "fails")
    app.exits("web", "install", 7)
    services = {"web": provisioned(app, install=f"mkdir -p node_modules; echo no space >&2; {STEP}"), "side": app.service("side")}
    done = app.apply(services, status=4)
    assert "cannot start fails-web: install exited with status 7" in done.out
    assert "no space" in done.out
    assert app.traces() == [], "rolled back, the healthy sibling too"
    assert "main web" not in app.steps()
    assert app.steps()[-2:] == ["signal side", "poststop side"]
    assert (sentinels(app), machine.path("/srv/fails/node_modules").is_dir()) == ([], True), "data stays"

    app.clear()
    app.leave()
    assert "main web" not in app.steps()
    assert app.is_up("side")
    assert sentinels(app) == []
    assert "install" in app.nanod("status", "fails", status=4).out, "systemctl alone would show an inactive unit without a reason"

    app.exits("web", "install", 0)
    app.systemctl("start", "fails-web")
    assert app.steps().count("install web") == 2, "node_modules alone does not count as installed"
    assert len(sentinels(app)) == 1
    app.remove()


@pytest.mark.row("NK-9", "NK-20", "BX-6")
def test_a_long_install_ends_at_its_timeout_and_retries_stay_inside(machine: Machine) -> None:
    app = App.on(machine, "long")
    slow = provisioned(app, install="sleep 600", timeout="300ms", creates=[])
    # Fails twice and succeeds at the third try: one start of the unit, so what depends on it never sees a failure.
    third = app.service("third", hooks=()) | {
        "volume": "/srv/long-third",
        "provisioning": {"install": f"{STEP}; echo x >>tries; [ $(wc -l <tries) = 3 ]", "retries": 2},
    }
    done = app.leave({"web": slow, "third": third})
    assert "install" in done.out
    assert "time" in done.out, "the verdict says that time ran out"
    assert app.state("long-web-provision.service") == "failed"
    assert app.is_up("third")
    assert app.steps() == ["install third"] * 3 + ["main third"]
    app.remove()


STAGES = {
    "waiting for the lock": "/usr/bin/flock",
    "before the sentinel has a name": "/usr/bin/mktemp",
    "before the sentinel is on the disk": "/usr/bin/sync",
    "before the sentinel is in place": "/usr/bin/mv",
}
"""What the provisioning is doing, and the program that it runs there: the test puts one in its place that says so and waits."""


@pytest.mark.row("NK-6", "BX-6", "FAULTS-41")
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_each_step_it_leaves_no_sentinel_and_the_next_start_installs(machine: Machine, stage: str) -> None:
    app = App.on(machine, "killed")
    program = machine.path(STAGES[stage])
    original = program.rename(program.with_name(program.name + ".original"))
    here = machine.path(f"{DIRECTORY}/here")
    try:
        program.write_text(f"#!/bin/sh\ntouch {DIRECTORY}/here\nexec sleep infinity\n")
        program.chmod(0o755)
        app.write({"web": provisioned(app)})
        apply = machine.popen(["nanod", "apply", "--no-rollback", app.spec])
        until(here.exists, stage)
        app.systemctl("kill", "--kill-whom=all", "--signal=KILL", "killed-web-provision.service")
        assert apply.wait(timeout=60) == 4
    finally:
        here.unlink(missing_ok=True)
        original.rename(program)
    assert sentinels(app) == []
    assert not app.is_up("web")
    app.clear()
    app.apply()
    assert app.steps() == ["install web", "main web"]
    assert len(sentinels(app)) == 1
    app.systemctl("restart", "killed-web")
    assert installs(app) == 1
    app.remove("--purge")
    assert not machine.path("/srv/killed").exists()


@pytest.mark.row("NK-6", "FAULTS-41")
def test_killed_in_the_middle_of_the_install(machine: Machine) -> None:
    app = App.on(machine, "middle")
    hold = machine.path(f"{DIRECTORY}/middle-hold")
    hold.touch()
    app.write({"web": provisioned(app, install=f"mkdir -p node_modules; {STEP}; while [ -e {DIRECTORY}/middle-hold ]; do sleep 0.05; done")})
    apply = machine.popen(["nanod", "apply", app.spec])
    app.until_step("install web")
    app.systemctl("kill", "--kill-whom=all", "--signal=KILL", "middle-web-provision.service")
    assert apply.wait(timeout=60) == 4
    assert sentinels(app) == []
    assert app.traces() == []
    assert machine.path("/srv/middle/node_modules").is_dir(), "data stays, also what is half of it"
    hold.unlink()
    app.apply()
    assert app.steps() == ["install web", "install web", "main web"]
    app.remove()


@pytest.mark.row("NK-5", "NK-6", "FAULTS-41")
def test_a_jump_of_the_clock_changes_nothing(machine: Machine) -> None:
    """The container cannot set the clock; what a jump would change are the times of the files."""
    app = App.on(machine, "clock")
    app.apply({"web": provisioned(app)})
    for when in ("1970-01-02", "2060-01-01"):
        assert machine.run(["find", "/srv/clock", "-exec", "touch", f"--date={when}", "{}", "+"]).status == 0
        app.systemctl("restart", "clock-web")
    assert installs(app) == 1
    app.remove()


@pytest.mark.row("FAULTS-42")
@pytest.mark.parametrize("kind", ["symlink", "directory", "fifo"])
def test_a_sentinel_that_is_something_else_is_never_written_through(machine: Machine, kind: str) -> None:
    """Whoever can write to the volume cannot make provisioning write elsewhere."""
    app = App.on(machine, "planted")
    app.apply({"web": provisioned(app)})
    name = f"/srv/planted/{sentinels(app)[0]}"
    app.systemctl("stop", "planted-web")
    machine.path(name).unlink()
    victim = machine.path("/srv/victim")
    if kind == "symlink":
        machine.run(["ln", "-s", "/srv/victim", name])
    elif kind == "directory":
        machine.path(name).mkdir()
    else:
        machine.run(["mkfifo", name])
    app.systemctl("start", "planted-web", status=None)
    assert not victim.exists()
    if kind == "directory":
        assert list(machine.path(name).iterdir()) == []
    app.remove("--purge")


@pytest.mark.row("FAULTS-42")
@pytest.mark.parametrize("planted", [True, False])
def test_a_volume_where_somebody_else_may_plant_a_link_is_refused(machine: Machine, planted: bool) -> None:
    """Else its owner could lead what root makes and writes there to anywhere."""
    app = App.on(machine, "unsafe")
    machine.run(["install", "--directory", "--owner=www-data", "/srv/of-www-data"])
    volume = f"/srv/of-www-data/{planted}"
    if planted:
        machine.run(["ln", "-s", "/etc", volume], user="www-data")
    done = app.apply({"web": provisioned(app) | {"volume": volume}}, status=2)
    assert volume in done.err
    assert planted or not machine.path(volume).exists()
    assert sentinels(app, "/etc") == []
    assert not machine.path("/etc/systemd/system/unsafe-web.service").exists()


@pytest.mark.row("NK-1")
@pytest.mark.parametrize("identity", [{"user": "root"}, {"user": "www-data"}, {"dynamic_user": True}], ids=["root", "user", "dynamic"])
@pytest.mark.parametrize("has_volume", [True, False], ids=["volume", "none"])
def test_a_sandboxed_install_writes_to_the_volumes_alone_and_once(any_machine: Machine, identity: dict[str, Any], has_volume: bool) -> None:
    app = App.on(any_machine, "boxed")
    machine, volume = app.machine, "/var/lib/boxed-volume"
    machine.run(["install", "--directory", "--mode=777", "/srv/outside"])
    machine.run(["rm", "-rf", "/srv/outside/made", "/tmp/made"])
    # The sandbox says no to every user; a journal line is all that is left of an install without a volume.
    install = "! touch /srv/outside/made && : >/tmp/made && echo installed once >&2" + (" && touch mine" if has_volume else "")
    web = {"command": "sleep infinity", "settle": "0s", "provisioning": {"install": install, "context": "sandbox"}} | identity
    place = {"volume": volume, "working_dir": volume} if has_volume else {"working_dir": "/"}
    app.apply({"web": web | place})
    app.systemctl("restart", "boxed-web")
    assert app.is_up("web")
    assert not machine.path("/srv/outside/made").exists()
    assert not machine.path("/tmp/made").exists(), "it has a /tmp of its own"
    told = machine.run(["journalctl", "--output=cat", "--unit=boxed-web-provision.service", "--grep=^installed once$"]).out
    app.remove("--purge")
    machine.run(["journalctl", "--rotate", "--vacuum-time=1us"])
    assert told.split("\n").count("installed once") == 1
