"""The two hooks of a deployment: what their failure does, what it means that one cannot be taken back, and requests that come meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.crashes import cut, rested, seen
from tests.lab.fronts import Front
from tests.lab.steps import DIRECTORY, PROGRAMS, STEP, App, until
from tests.lab.test_crash_boot import with_recovery
from tests.lab.test_releases import current, leave, runs_in, source, web

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

QUICK = {"delay": "100ms", "limit": 2, "window": "6s"}
IRREVERSIBLE = {"run": STEP, "irreversible": True}
MARK = "/var/lib/nanod/irreversible"
ARMED = "/run/nanod/deploy"


def left(app: App) -> list[str]:
    """Files that a deployment needs while it is under way."""
    found = [*app.machine.path(ARMED).glob("*"), *app.machine.path(MARK).glob("*")]
    return sorted(path.name for path in found if path.name.startswith(app.name))


def deployed(app: App, version: str = "1", **keys: Any) -> None:
    """And its post_deploy hook has run, for which no apply waits."""
    source(app, version)
    app.apply({"web": web(app, restart=QUICK, **keys)})
    rested(app)


def sick(app: App, **hooks: Any) -> dict[str, Any]:
    """A version that does not come up: its start-scoped prestart fails."""
    return web(app, restart=QUICK, hooks={"prestart": [*hooks.pop("prestart", []), "test ! -e version"]} | hooks)


@pytest.mark.row("UP-3")
def test_a_failure_is_a_warning(machine: Machine) -> None:
    app = App.on(machine, "warns")
    deployed(app)
    app.clear()
    app.exits("web", "deploy", 3)
    app.exits("web", "post_deploy", 4)
    source(app, "2")
    done = app.apply({"web": web(app, settle="3s")})
    assert "warns: healthy" in done.out
    assert "hook deploy/1 exited with status 3" in done.out
    assert "hook post_deploy/1 exited with status 4" in done.out
    assert "main web" in app.steps(), "the new version serves"
    assert "rolled back" not in done.out
    assert "nothing to do" in app.apply().out, "and it is not tried again"
    assert left(app) == []
    app.exits("web", "deploy", 0)
    app.exits("web", "post_deploy", 0)
    leave(app)


@pytest.mark.row("UP-3", "BX-4")
def test_one_that_must_not_fail_brings_the_old_release_back(machine257: Machine) -> None:
    app = App.on(machine257, "strict")
    deployed(app)
    before = rested(app)
    first = current(app)
    app.clear()
    source(app, "2")
    app.exits("web", "deploy", 3)
    failed = app.apply({"web": web(app, restart=QUICK, hooks={"deploy": {"run": STEP, "on_failure": "fail"}})}, status=4)
    assert "cannot start strict-web: hook deploy/1 exited with status 3" in failed.out
    assert "rolled back" in failed.out
    assert seen(app).same() == before.same()
    assert current(app) == runs_in(app) == first
    steps = app.steps()
    assert steps.count("deploy web") == 1
    assert "post_deploy web" not in steps
    assert left(app) == []
    app.exits("web", "deploy", 0)
    app.apply()
    assert runs_in(app) == current(app) != first
    leave(app)


@pytest.mark.row("UP-3")
def test_one_that_failed_is_due_with_the_next_apply_when_nothing_was_put_back(machine: Machine) -> None:
    app = App.on(machine, "due")
    deployed(app)
    source(app, "2")
    app.exits("web", "deploy", 3)
    app.leave({"web": web(app, restart=QUICK, hooks={"deploy": {"run": STEP, "on_failure": "fail"}})})
    assert not app.is_up("web")
    app.exits("web", "deploy", 0)
    app.clear()
    app.apply()
    assert app.steps()[:2] == ["deploy web", "main web"], "the new process does not begin without it"
    assert "nothing to do" in app.apply().out
    leave(app)


@pytest.mark.row("UP-8")
def test_they_have_no_limit_in_time_but_their_own(machine257: Machine) -> None:
    app = App.on(machine257, "endless")
    source(app)
    slow = {"run": f"{STEP}; sleep 3602", "timeout": "1s"}
    done = app.apply({"web": web(app, hooks={"deploy": slow})})
    assert "hook deploy/1 ran into its timeout" in done.out
    app.apply({"web": web(app)})
    for unit in ("deploy", "post-deploy"):
        assert app.show(f"endless-web-{unit}.service", "TimeoutStartUSec") == "infinity"
    leave(app)


@pytest.mark.row("UP-8")
def test_one_that_runs_long_warns_in_the_journal(machine: Machine) -> None:
    app = App.on(machine, "long")
    source(app)
    app.apply({"web": web(app, hooks={"post_deploy": f"sleep 1.5; {STEP}"})})
    app.until_step("post_deploy web")
    app.clear()
    # An administrator's drop-in: ten minutes are long for a test.
    file = machine.path("/etc/systemd/system/long-web-post-deploy.service")
    (line,) = [line for line in file.read_text().splitlines() if line.startswith("ExecStart=")]
    assert " --warn-after 600 " in line
    drop_in = f"/etc/systemd/system/{file.name}.d/sooner.conf"
    machine.write(drop_in, f"[Service]\nExecStart=\n{line.replace(' 600 ', ' 1 ')}\n")
    app.systemctl("daemon-reload")
    app.nanod("apply", "--redeploy", app.spec)
    app.until_step("post_deploy web")
    assert "nanod: hook post_deploy/1 has run for 1 s, and nothing limits it" in app.journal("-p", "warning", "-u", file.name)
    machine.path(drop_in).unlink()
    machine.path(drop_in).parent.rmdir()
    leave(app)


@pytest.mark.row("UP-16")
def test_post_deploy_runs_beside_the_traffic_and_holds_nothing_up(machine257: Machine) -> None:
    app = App.on(machine257, "beside")
    source(app)
    go = f"{DIRECTORY}/beside.go"
    done = app.apply({"web": web(app, hooks={"post_deploy": f"while [ ! -e {go} ]; do sleep 0.05; done; {STEP}"})})
    assert "the post_deploy hook runs on; 'nanod logs' shows what it does" in done.out
    assert app.show("beside-web-post-deploy.service", "ActiveState") == "activating"
    assert app.is_up("web")
    app.systemctl("restart", "beside-web")
    assert app.show("beside-web-post-deploy.service", "ActiveState") == "activating", "it has no part in what the service does"
    assert "post_deploy web" not in app.steps()
    machine257.write(go, "")
    app.until_step("post_deploy web")
    machine257.path(go).unlink()
    leave(app)


@pytest.mark.row("UP-3", "UP-6")
def test_a_hook_that_its_dependency_keeps_from_beginning_has_not_run(machine: Machine) -> None:
    """Nor is it irreversible then: the apply is put back. Where that was not asked for, the next one runs it."""
    app = App.on(machine, "held")
    source(app)
    restart = {"delay": "100ms", "limit": 3, "window": "3s"}
    db = app.service("db", restart=restart)
    service = web(app, requires=["db"], restart=restart, hooks={"deploy": IRREVERSIBLE})
    app.apply({"db": db, "web": service})
    before = rested(app)
    app.clear()
    source(app, "2")
    changed = {"db": db | {"environment": {"A": "1"}}, "web": service}
    app.exits("db", "prestart", 3)
    app.write(changed)
    app.exits("db", "main", 3)
    failed = app.apply(changed, status=None)
    assert failed.status in (4, 6)
    assert "irreversible" not in failed.out
    assert "deploy web" not in app.steps()
    app.exits("db", "main", 0)
    app.exits("db", "prestart", 0)
    assert seen(app).files == before.files
    assert left(app) == []
    app.apply()
    assert app.steps().count("deploy web") == 1
    leave(app)


@pytest.mark.row("BX-4")
@pytest.mark.parametrize(("any_machine", "phase"), [("machine257", "deploy"), ("machine", "prestart")], indirect=["any_machine"])
def test_what_cannot_be_taken_back_is_not(any_machine: Machine, phase: str) -> None:
    """The new generation stays in force, and the verdict says why; the next apply goes on from there."""
    app = App.on(any_machine, "oneway")
    deployed(app)
    first = current(app)
    app.clear()
    source(app, "2")
    once = IRREVERSIBLE | ({"scope": "deploy"} if phase == "prestart" else {})
    failed = app.apply({"web": sick(app, **({"prestart": [once]} if phase == "prestart" else {"deploy": once}))}, status=4)
    assert "hook prestart/" in failed.out
    assert f"not rolled back: the {phase} hook of web has run, which is irreversible" in failed.out
    assert seen(app).current == "2"
    assert current(app) != first
    assert (app.last()["verdict"], app.last()["generation"]) == ("failed", 2)
    assert left(app) == []
    assert app.steps().count(f"{phase} web") == 1
    # An irreversible hook that has run well is not run again for the same content.
    source(app, "3")
    app.apply({"web": web(app, restart=QUICK)})
    assert app.is_up("web")
    leave(app)


@pytest.mark.row("BX-4")
def test_the_verdict_names_the_hooks_that_have_run_and_no_other(machine257: Machine) -> None:
    app = App.on(machine257, "two")
    source(app)
    hooks = {"deploy": IRREVERSIBLE | {"on_failure": "fail"}, "post_deploy": None}

    def service(name: str, *requires: str) -> dict[str, Any]:
        return web(app, restart=QUICK, hooks=hooks, requires=requires) | {"health": app.service(name)["health"]}

    app.exits("first", "deploy", 3)
    app.write({"first": service("first"), "second": service("second", "first")})
    failed = app.apply(status=4)
    assert "not rolled back: the deploy hook of first has run, which is irreversible" in failed.out
    app.exits("first", "deploy", 0)
    app.apply()
    assert app.steps() == ["deploy first", "deploy first", "main first", "deploy second", "main second"]
    leave(app)


@pytest.mark.row("BX-4")
def test_before_it_has_run_all_is_put_back(machine257: Machine) -> None:
    """What fails before it: a build, and another deploy-scoped hook."""
    app = App.on(machine257, "early")
    deployed(app)
    before = rested(app)
    first = {"run": "exit 9", "scope": "deploy"}
    failed = app.apply({"web": web(app, hooks={"prestart": [first], "deploy": IRREVERSIBLE})}, status=4)
    assert "rolled back" in failed.out
    assert seen(app).same() == before.same()
    # Of an earlier transaction it says nothing.
    app.apply({"web": web(app, restart=QUICK, hooks={"deploy": IRREVERSIBLE})})
    source(app, "2")
    failed = app.apply({"web": sick(app, deploy=None)}, status=4)
    assert "rolled back" in failed.out
    leave(app)


@pytest.mark.row("BX-4")
def test_an_irreversible_hook_that_fails_is_run_again_by_the_next_apply(machine: Machine) -> None:
    app = App.on(machine, "halfway")
    deployed(app)
    app.clear()
    source(app, "2")
    app.exits("web", "deploy", 3)
    failed = app.apply({"web": web(app, hooks={"deploy": IRREVERSIBLE | {"on_failure": "fail"}})}, status=4)
    assert "cannot start halfway-web: hook deploy/1 exited with status 3" in failed.out
    assert "which is irreversible" in failed.out
    assert "main web" not in app.steps()
    app.exits("web", "deploy", 0)
    app.clear()
    app.apply()
    assert app.steps()[:2] == ["deploy web", "main web"]
    leave(app)


@pytest.mark.row("BX-4", "FAULTS-16")
@pytest.mark.parametrize(
    ("any_machine", "by", "phase"),
    [
        ("machine", "recover", "deploy"),
        ("machine257", "recover", "prestart"),
        ("machine257", "apply", "deploy"),
        ("machine", "apply", "prestart"),
        ("machine", "boot", "deploy"),
        ("machine257", "boot", "prestart"),
    ],
    indirect=["any_machine"],
)
def test_a_transaction_that_was_cut_off_after_it_goes_forward(any_machine: Machine, phase: str, by: str) -> None:
    """And before it, back. What goes with the new version is still to go, and the next apply sees to it."""
    name = f"{by}-{phase}"
    app = App.on(with_recovery(any_machine), name)
    source(app)
    old = {"web": web(app), "goes": app.service("goes")}
    app.apply(old)
    before = rested(app)
    assert before.current == "1"
    source(app, "2")
    once = IRREVERSIBLE | ({"scope": "deploy"} if phase == "prestart" else {})
    new = {"web": web(app, hooks={phase: [once] if phase == "prestart" else once})}
    app.write(new)
    point = "armed" if phase == "deploy" else "reloaded"
    assert cut(app, point, "apply", app.spec)
    app.nanod("recover")
    assert seen(app).same() == before.same(), "it has not run yet"
    assert left(app) == []
    app.clear()
    assert cut(app, "started" if phase == "deploy" else "prestarted", "apply", app.spec)
    app.until_step(f"{phase} web")
    if by == "boot":
        any_machine.kill()
        any_machine.start()
    elif by == "recover":
        said = app.nanod("recover").out
        assert "generation 2 is in force, for an irreversible hook of it has run; 'nanod apply' does what is left to do" in said
    if by != "apply":
        assert seen(app).current == "2"
        assert seen(app).left == ()
        assert current(app) == web_release(app)
        app.until_up("web")
    app.apply()
    app.until_up("web")
    assert runs_in(app) == current(app)
    assert f"{name}-goes.service" not in seen(app).files
    assert app.state("goes") == "inactive"
    assert seen(app).stale == ()
    assert left(app) == []
    assert "nothing to do" in app.apply().out
    leave(app)


def web_release(app: App) -> str:
    """Of the unit file."""
    return app.show("web", "WorkingDirectory").rpartition("/")[2]


@pytest.mark.row("UP-1", "BX-17")
def test_once_for_all_instances(machine257: Machine) -> None:
    app = App.on(machine257, "many")
    source(app)

    def service() -> dict[str, Any]:
        return web(app, replicas=3, health=None, runtime_dir=False, rolling={"min_healthy_time": "0s"})

    app.apply({"web": service()})
    app.until_step("post_deploy web")
    app.clear()
    source(app, "2")
    app.apply({"web": service()})
    app.until_step("post_deploy web")
    steps = [step for step in app.steps() if not step.startswith("signal")]
    assert steps.count("deploy web") == 1
    assert steps.index("deploy web") < steps.index("main web"), "before the first new process"
    assert steps.count("main web") == 3
    assert steps.count("post_deploy web") == 1
    assert len({app.machine.path(f"/proc/{app.pid(f'web@{number}')}/cwd").readlink() for number in (1, 2, 3)}) == 1
    leave(app)


@pytest.mark.row("UP-14", "UP-15", "UP-2")
def test_requests_that_come_meanwhile_wait_and_are_served(machine: Machine) -> None:
    """Behind a socket: the old one has answered its last, the hook runs for a second, and then the new one answers all that came."""
    app = Front.made(machine, "front", 8300)

    def version(name: str, **hooks: Any) -> dict[str, Any]:
        source(app, name)
        command = f"VERSION=$(cat version) exec {PROGRAMS}/server"
        given = app.web(command=command, source="/srv/front", kind="http", user="daemon", environment={})
        given |= {"health": {"notify": True, "start_timeout": "2s"}, "restart": {"delay": "100ms", "limit": 3, "window": "60s"}}
        return {"web": given | {"hooks": {"build": "cat version >built"} | hooks}}

    app.apply(version("one"))
    app.until_says("one")
    with app.asked("a deploy hook of 1 s") as found:
        hook = f"{STEP}; systemctl show --property=MainPID front-web.service >{DIRECTORY}/front.still; sleep 1"
        app.apply(version("two", deploy=hook, post_deploy=STEP))
        app.until_step("post_deploy web")
        until(lambda: app.says() == "two", "the new one answers")
    assert found["failed"] == {}
    assert set(found["versions"]) == {"one", "two"}
    assert found["worst"] > 0.9, "who came while the hook ran has waited"
    assert machine.path(f"{DIRECTORY}/front.still").read_text() == "MainPID=0\n", "nobody is served while it runs"
    with app.asked("a version that does not come up") as found:
        app.apply(version("sick", deploy=STEP), status=4)
        until(lambda: app.says() == "two", "the old one is back")
    assert found["failed"] == {}
    assert set(found["versions"]) == {"two"}
    leave(app)


@pytest.mark.row("UP-18")
def test_a_plan_and_its_token_name_what_runs(machine257: Machine) -> None:
    app = App.on(machine257, "token")
    deployed(app)
    source(app, "2")
    plan = app.nanod("plan", app.spec).out
    assert "1 release built" in plan
    assert "1 deploy hook" in plan
    assert "1 post_deploy hook" in plan
    token = plan.rpartition("--expect ")[2].split("'")[0]
    source(app, "3")
    refused = app.nanod("apply", "--expect", token, app.spec, status=1)
    assert "the plan is not the expected one" in refused.err
    source(app, "2")
    app.nanod("apply", "--expect", token, app.spec)
    assert "nothing to do" in app.apply().out
    leave(app)
