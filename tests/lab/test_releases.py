"""Releases: what is built from a source, where, with what, and which are kept; and which of its hooks run when.

The source of a service lies in /srv/<app>; `serve` there notes which version runs. A build writes into its release: it may nowhere else.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.crashes import rested, seen
from tests.lab.steps import DIRECTORY, MAIN, STEP, App, until

if TYPE_CHECKING:
    from pathlib import Path

    from nanod.rehearse.machine import Machine

RELEASES = "/var/lib/nanod/releases"
SERVE = f'#!/bin/sh\necho "version $(cat version) built $(cat built)"\nexec {MAIN}\n'


def source(app: App, version: str = "1", **files: str) -> str:
    """Write a version of the source; returns its place. Others than the given files stay."""
    place = f"/srv/{app.name}"
    for name, text in ({"version": version} | files).items():
        app.machine.write(f"{place}/{name}", text)
    app.machine.write(f"{place}/serve", SERVE, mode=0o755)
    return place


def web(app: App, **keys: Any) -> dict[str, Any]:
    """A service with a source and all three hooks of a deployment."""
    hooks = {"build": "cat version >built", "deploy": STEP, "post_deploy": STEP} | keys.pop("hooks", {})
    given = {"kind": "http", "user": "daemon", "source": f"/srv/{app.name}", "command": ["./serve"]}
    return app.service("web", **given | keys) | {"hooks": {phase: run for phase, run in hooks.items() if run}}


def directory(app: App, service: str = "web") -> Path:
    return app.machine.path(f"{RELEASES}/{app.name}/{service}")


def names(app: App, service: str = "web") -> set[str]:
    """Whatever there is: releases whole or not, and what does not belong there."""
    there = directory(app, service)
    found = {path.name for path in there.iterdir() if path.is_dir() and not path.is_symlink()} if there.is_dir() else set()
    stamps = {path.name[1:] for path in there.iterdir() if path.name.startswith(".")} if there.is_dir() else set()
    assert found == stamps, "each is whole, and nothing else is there"
    return found


def current(app: App, service: str = "web") -> str:
    return (directory(app, service) / "current").readlink().name


def read(app: App, name: str) -> str:
    """A file of the release in force."""
    return (directory(app) / current(app) / name).read_text()


def env(app: App, name: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in app.machine.path(f"{DIRECTORY}/{app.name}.{name}").read_text().splitlines())


def runs_in(app: App, service: str = "web") -> str:
    """The release that its process runs in."""
    return app.machine.path(f"/proc/{app.pid(service)}/cwd").readlink().name


def leave(app: App) -> None:
    app.remove("--purge")
    assert app.traces() == []
    assert not app.machine.path(f"{RELEASES}/{app.name}").exists()


@pytest.mark.row("UP-1", "UP-6", "UP-11", "BX-17")
def test_a_first_deployment(machine257: Machine) -> None:
    """Build, then what it requires, then deploy, then the process, and post_deploy when it is healthy. The build's own directory is what runs."""
    app = App.on(machine257, "shop")
    source(app)
    build = f"pwd >built; systemctl is-active shop-db.service >>built || :; touch {DIRECTORY}/no 2>/dev/null && echo leaks >>built || :"
    hooks = {"build": build, "deploy": f"cat built >{DIRECTORY}/shop.sees; {STEP}", "prestart": STEP, "poststart": STEP}
    app.apply({"db": app.service("db"), "web": web(app, requires=["db"], hooks=hooks)})
    app.until_step("post_deploy web")
    place = f"{RELEASES}/shop/web/{current(app)}"
    assert app.machine.path(f"{DIRECTORY}/shop.sees").read_text().splitlines() == [place, "inactive"]
    steps = app.steps()
    assert steps.index("main db") < steps.index("deploy web"), "the deploy hook can reach what the service requires"
    assert [step for step in steps if step.endswith("web")] == ["deploy web", "prestart web", "main web", "poststart web", "post_deploy web"]
    assert runs_in(app) == current(app)
    text = app.systemctl("cat", "shop-web.service")
    assert "LIFECYCLE_PHASE=deploy" not in text
    assert "LIFECYCLE_PHASE=build" not in text
    assert not list(machine257.path("/etc/systemd/system").glob("*build*"))
    assert not list(machine257.path("/run/systemd/system").glob("nanod-build-*"))
    assert "nothing to do" in app.apply().out
    leave(app)


@pytest.mark.row("UP-2", "BX-17")
def test_a_build_that_fails_leaves_all_as_it_was(machine: Machine) -> None:
    app = App.on(machine, "broken")
    source(app)
    app.apply({"web": web(app, hooks={"build": "echo compiling; cat version >built; exit $(cat status || echo 0)"})})
    before, releases = rested(app), names(app)
    app.clear()
    source(app, "2", status="7")
    failed = app.apply(status=4)
    assert "cannot build web: the build hook failed with status 7" in failed.err
    assert "  | compiling" in failed.err.splitlines()
    assert "nothing was touched; journalctl -t broken-build has all of it" in failed.err
    assert seen(app) == before, "the same processes serve, from the same files"
    assert names(app) == releases
    assert app.steps() == []
    assert (app.last()["verdict"], app.last()["error"]) == ("failed", "cannot build web: the build hook failed with status 7")
    assert "cannot build web" in json.loads(app.nanod("apply", "--json", app.spec, status=4).out)["error"]["message"]
    source(app, "2", status="0")
    app.apply()
    assert runs_in(app) == current(app)
    assert read(app, "built") == "2"
    leave(app)


@pytest.mark.row("UP-2")
def test_a_first_build_that_fails_leaves_nothing(machine257: Machine) -> None:
    app = App.on(machine257, "never")
    source(app)
    app.apply({"web": web(app, hooks={"build": "exit 1"})}, status=4)
    assert app.traces() == []
    assert names(app) == set()
    assert not list(machine257.path("/run/systemd/system").glob("nanod-build-*"))
    assert "nanod-build" not in app.systemctl("list-units", "--all", "--plain")


@pytest.mark.row("UP-4")
def test_each_phase_has_its_own_variables(machine: Machine) -> None:
    app = App.on(machine, "vars")
    source(app)
    machine.write("/etc/vars.env", "FROM_FILE=1\n")
    hooks = {
        "build": {"run": "env >built", "environment": {"HOOK": "build"}},
        "deploy": {"run": f"env >{DIRECTORY}/vars.deploy", "environment": {"HOOK": "deploy"}},
        "post_deploy": f"env >{DIRECTORY}/vars.post; {STEP}",
    }
    app.apply(
        {
            "web": web(
                app, hooks=hooks, environment={"RUNTIME": "1"}, environment_files=["/etc/vars.env"], ports=[8200], settings={"a": 1},
                build={"environment": {"BUILD": "1"}},
            )
        }
    )  # fmt: skip
    app.until_step("post_deploy web")
    build = dict(line.partition("=")[::2] for line in read(app, "built").splitlines())
    deploy, post = env(app, "deploy"), env(app, "post")
    runtime = {"RUNTIME", "FROM_FILE", "PORT", "NANOD_SETTINGS"}
    assert build.keys() & (runtime | {"BUILD", "HOOK"}) == {"BUILD", "HOOK"}
    assert deploy.keys() & (runtime | {"BUILD", "HOOK"}) == runtime | {"HOOK"}
    assert post.keys() & (runtime | {"BUILD", "HOOK"}) == runtime
    assert [found["LIFECYCLE_PHASE"] for found in (build, deploy, post)] == ["build", "deploy", "post_deploy"]
    place = f"{RELEASES}/vars/web/{current(app)}"
    for found in (build, deploy, post):
        assert found["NANOD_APP_DIR"] == found["PLATFORM_APP_DIR"] == found["PWD"] == place
        assert (found["NANOD_PROJECT"], found["NANOD_SERVICE"]) == ("vars", "web")
    leave(app)


TRIES = """
for place in . "$NANOD_CACHE_DIR" /tmp /srv /etc /usr /var/lib/nanod/releases /var/log /home /root /run /srv/volume /run/places; do
    if touch "$place/tried" 2>/dev/null; then echo "$place"; fi
done >built
ls -A /tmp | grep -v tried >>built || :
cat /srv/volume/data /run/places/web/up >/dev/null 2>&1 && echo sees >>built || :
echo x >>"$NANOD_CACHE_DIR/count"
touch /tmp/left
"""


@pytest.mark.row("UP-5", "UP-10", "UP-12")
@pytest.mark.parametrize(("any_machine", "user"), [("machine", "daemon"), ("machine257", "root")], indirect=["any_machine"])
def test_what_a_build_can_write_and_see(any_machine: Machine, user: str) -> None:
    """The app directory, the cache, and a /tmp that is empty each time; neither volumes nor the runtime directory of a service that runs."""
    app = App.on(any_machine, "places")
    source(app)
    app.apply({"web": web(app, user=user, volumes=["/srv/volume"], hooks={"build": TRIES})})
    assert read(app, "built").split() == [".", "/var/cache/nanod/places/web.build", "/tmp"]
    any_machine.write("/srv/volume/data", "x")
    source(app, "2")
    app.apply()
    assert read(app, "built").split() == [".", "/var/cache/nanod/places/web.build", "/tmp"]
    assert any_machine.path("/var/cache/nanod/places/web.build/count").read_text() == "x\nx\n", "the cache stays from build to build"
    assert sorted(path.name for path in (directory(app) / current(app)).iterdir()) == ["built", "serve", "tried", "version"]
    leave(app)


@pytest.mark.row("UP-12")
@pytest.mark.parametrize(("any_machine", "user"), [("machine", "daemon"), ("machine257", "dynamic")], indirect=["any_machine"])
def test_environments_share_the_cache_of_builds(any_machine: Machine, user: str) -> None:
    """Also when each builds as a user of its own. It goes with the last of them."""
    apps = [App.on(any_machine, f"pages-{env}") for env in ("stage", "test")]
    count = 'echo "$NANOD_ENV" >>"$NANOD_CACHE_DIR/count"; cp "$NANOD_CACHE_DIR/count" built'
    whose = {"dynamic_user": True} if user == "dynamic" else {"user": user}
    for app in apps:
        source(app)
        service = {key: value for key, value in web(app, hooks={"build": count, "deploy": None}).items() if key != "user"}
        app.write_text(json.dumps({"project": "pages", "env": app.name.removeprefix("pages-"), "services": {"web": service | whose}}))
        app.apply()
    assert read(apps[0], "built") == "stage\n"
    assert read(apps[1], "built") == "stage\ntest\n"
    caches = [any_machine.path(f"/var/cache/{place}nanod/pages/web.build") for place in ("", "private/")]
    assert any(path.exists() for path in caches)
    source(apps[0], "2")
    apps[0].apply()
    assert read(apps[0], "built") == "stage\ntest\nstage\n"
    done = apps[0].nanod("remove", apps[0].name, "--purge")
    assert "/var/cache/nanod/pages/web.build stays: app pages-test uses it too" in done.out
    assert any(path.exists() for path in caches)
    leave(apps[1])
    assert not any(path.is_symlink() or path.exists() for path in caches)


@pytest.mark.row("UP-7")
def test_a_build_that_takes_too_long_is_killed(machine257: Machine) -> None:
    app = App.on(machine257, "slow")
    source(app)
    build = {"run": "sleep 3601 & sleep 3601", "timeout": "1s"}
    failed = app.apply({"web": web(app, hooks={"build": build})}, status=4)
    assert "cannot build web: the build hook was cut off after its time" in failed.err
    assert "3601" not in machine257.run(["ps", "-eo", "args"]).out
    assert names(app) == set()


WRITES = """
for place in . lib "$NANOD_APP_DIR" /srv/volume; do if touch "$place/late" 2>/dev/null; then echo "$place"; fi; done
chmod u+w . serve 2>/dev/null && echo chmod
echo >>serve 2>/dev/null && echo append
rm -f serve 2>/dev/null && echo remove
"""


@pytest.mark.row("UP-13")
@pytest.mark.parametrize(("any_machine", "user"), [("machine257", "daemon"), ("machine", "root")], indirect=["any_machine"])
def test_a_release_is_read_only_later_and_volumes_are_not(any_machine: Machine, user: str) -> None:
    app = App.on(any_machine, "closed")
    source(app)
    app.machine.write("/srv/closed/lib/a", "a")
    service = {"run": f"({WRITES}) >/srv/volume/service || :", "context": "service"}
    hooks = {
        "deploy": f"({WRITES}) >/srv/volume/deploy || :",
        "poststart": service,
        "post_deploy": f"({WRITES}) >/srv/volume/post || :; {STEP}",
    }
    app.apply({"web": web(app, user=user, volumes=["/srv/volume"], hooks=hooks)})
    app.until_step("post_deploy web")
    for name in ("deploy", "service", "post"):
        assert any_machine.path(f"/srv/volume/{name}").read_text().split() == ["/srv/volume"], name
    # Nor can the owner write outside of these units, without having changed the modes first.
    done = any_machine.run(["touch", f"{RELEASES}/closed/web/current/late"], user="daemon")
    assert done.status != 0
    leave(app)


@pytest.mark.row("UP-9")
def test_a_worker_is_built_and_not_deployed(machine: Machine) -> None:
    app = App.on(machine, "worker")
    source(app)
    app.apply({"web": web(app, kind="native", hooks={"deploy": None, "post_deploy": None})})
    assert read(app, "built") == "1"
    app.write({"web": web(app, kind="native", hooks={"post_deploy": None})})
    refused = app.apply(status=2)
    assert "'deploy' is about requests: it is for kind http and grpc, and this one is native" in refused.err
    leave(app)


@pytest.mark.row("UP-17", "BX-17")
def test_a_release_is_made_once_for_what_it_is_made_of(machine: Machine) -> None:
    """By content: the same comes back without a build. Another environment of the service is another deployment, a limit is none."""
    app = App.on(machine, "reuse")
    source(app)

    def counts() -> tuple[int, int]:
        return app.journal("-t", "reuse-build").count("made"), app.steps().count("deploy web")

    hooks = {"build": "echo made; cat version >built"}
    app.apply({"web": web(app, hooks=hooks)})
    first = current(app)
    assert counts() == (1, 1)
    source(app, "2")
    assert "another release" in app.nanod("plan", app.spec).out
    app.apply()
    assert counts() == (2, 2)
    source(app, "1")
    assert "released" not in app.apply().out
    assert current(app) == runs_in(app) == first
    assert counts() == (2, 3)
    app.apply({"web": web(app, hooks=hooks, environment={"A": "1"})})
    assert counts() == (2, 4)
    assert current(app) == first
    app.apply({"web": web(app, hooks=hooks, environment={"A": "1"}, resources={"memory_max": "512M"})})
    assert counts() == (2, 4)
    for changed in ({"build": "echo made; cat version >built; :"}, {"build": {"run": "echo made; cat version >built", "environment": {"B": "1"}}}):
        app.apply({"web": web(app, hooks=changed, environment={"A": "1"})})
    assert counts() == (4, 6)
    app.apply({"web": web(app, hooks=hooks, environment={"A": "1"}, build={"environment": {"B": "1"}})})
    assert counts() == (5, 7)
    leave(app)


@pytest.mark.row("UP-17")
def test_what_inputs_leave_out_does_not_count(machine257: Machine) -> None:
    app = App.on(machine257, "inputs")
    place = source(app)
    app.machine.write(f"{place}/notes/a.md", "a")
    app.machine.write(f"{place}/.git/HEAD", "a")
    app.apply({"web": web(app, build={"inputs": ["**", "!notes/", "!*.log"]})})
    first = current(app)
    assert not (directory(app) / first / "notes").exists()
    app.machine.write(f"{place}/notes/a.md", "b")
    app.machine.write(f"{place}/x.log", "b")
    app.machine.write(f"{place}/.git/HEAD", "b")
    assert "nothing to do" in app.apply().out
    app.machine.write(f"{place}/x.txt", "b")
    app.apply()
    assert current(app) != first
    leave(app)


@pytest.mark.row("UP-18", "UP-21")
def test_a_redeploy_without_changes_runs_post_deploy_alone(machine: Machine) -> None:
    app = App.on(machine, "again")
    source(app)
    app.apply({"web": web(app)})
    app.until_step("post_deploy web")
    before = rested(app)
    app.clear()
    assert "nothing to do" in app.apply().out
    assert app.nanod("plan", "--detailed-exitcode", app.spec).status == 0
    plan = app.nanod("plan", "--redeploy", app.spec).out
    assert "post_deploy only" in plan
    assert "nothing to do" not in plan
    app.nanod("apply", "--redeploy", app.spec)
    app.until_step("post_deploy web")
    assert app.steps() == ["post_deploy web"]
    assert seen(app) == before
    last = app.last()
    assert "--redeploy" in last["command"]
    assert (last["generation"], last["verdict"]) == (1, "healthy")
    leave(app)


@pytest.mark.row("UP-19")
def test_only_a_deployment_runs_the_hooks_of_one(machine257: Machine) -> None:
    app = App.on(machine257, "boots")
    source(app)
    app.apply({"web": web(app, hooks={"build": "echo made; touch built", "prestart": STEP})})
    app.until_step("post_deploy web")
    built = app.journal("-t", "boots-build")
    app.clear()
    app.systemctl("restart", "boots-web")
    app.crash("web")
    app.until_step("main web", 2)
    app.until_up("web")
    app.systemctl("restart", "boots.target")
    app.nanod("stop", "boots")
    app.nanod("start", "boots")
    machine257.reboot()
    app.until_step("main web", 5)
    app.until_up("web")
    assert set(app.steps()) <= {"prestart web", "main web", "signal web"}
    assert app.steps().count("prestart web") >= 5, "work of each start is prestart's"
    assert app.journal("-t", "boots-build") == built
    assert "nothing to do" in app.apply().out
    leave(app)


@pytest.mark.row("UP-20")
def test_a_script_ends_with_its_first_failing_command_unless_its_shell_says_otherwise(machine: Machine) -> None:
    app = App.on(machine, "shells")
    source(app)
    app.apply({"web": web(app, hooks={"build": "false; true"})}, status=4)
    loose = {"shell": ["/bin/sh", "-c"]}
    hooks = {"build": {"run": "false; touch built", **loose}, "deploy": {"run": f"false; {STEP}", **loose, "on_failure": "fail"}}
    app.apply({"web": web(app, hooks=hooks)})
    assert "deploy web" in app.steps()
    failed = app.apply({"web": web(app, hooks=hooks | {"deploy": {"run": "true; false", **loose, "on_failure": "fail"}})}, status=4)
    assert "hook deploy/1 exited with status 1" in failed.out
    leave(app)


@pytest.mark.row("UP-21")
def test_the_log_of_each_phase(machine: Machine) -> None:
    app = App.on(machine, "logs")
    source(app)
    hooks = {"build": "echo built this; touch built", "deploy": "echo migrated that; exit 3", "post_deploy": f"echo warmed it; {STEP}; exit 4"}
    app.apply({"web": web(app, hooks=hooks, settle="3s")})
    for phase, text in (("build", "built this"), ("deploy", "migrated that"), ("post-deploy", "warmed it")):
        lines = app.journal("-t", f"logs-{phase}", "-o", "short-iso").splitlines()
        assert any(text in line and line[:2] == "20" for line in lines), phase
        assert not any(other in "\n".join(lines) for other in {"built this", "migrated that", "warmed it"} - {text})
    last = app.last()
    assert last["command"].endswith("apply /etc/nanod/logs.yaml")
    assert "web: hook deploy/1 exited with status 3" in last["warnings"]
    assert "logs-web-post-deploy.service: hook post_deploy/1 exited with status 4" in last["warnings"]
    said = app.nanod("history", "logs").out
    assert "hook deploy/1 exited with status 3" in said
    status = app.nanod("status", "logs", status=None).out
    assert "deploy/1" in status
    assert "post_deploy/1" in status
    assert "migrated that" in app.nanod("logs", "logs").out
    leave(app)


@pytest.mark.row("UP-22")
def test_a_rebuild_makes_one_more_of_the_same(machine257: Machine) -> None:
    app = App.on(machine257, "rebuilt")
    source(app)
    app.apply({"web": web(app)})
    first, pid = current(app), app.pid("web")
    app.clear()
    app.nanod("apply", "--rebuild", app.spec)
    assert current(app) == runs_in(app) == f"{first}.2"
    assert app.pid("web") != pid
    assert "deploy web" in app.steps()
    assert "nothing to do" in app.apply().out, "it counts as what it is made of"
    assert names(app) == {first, f"{first}.2"}, "an apply that does nothing takes nothing away"
    app.nanod("rollback", "rebuilt")
    assert current(app) == first
    app.nanod("apply", "--rebuild", app.spec)
    assert current(app) == f"{first}.3"
    leave(app)


@pytest.mark.row("UP-22", "FAULTS-17")
@pytest.mark.parametrize(("any_machine", "while_building"), [("machine257", False), ("machine", True)], indirect=["any_machine"])
def test_a_full_disk_is_reported_as_such(any_machine: Machine, *, while_building: bool) -> None:
    app = App.on(any_machine, "full")
    source(app)
    app.apply({"web": web(app, hooks={"build": "cat version >built; head -c $(cat size 2>/dev/null || echo 1) /dev/zero >out"})})
    before, there = rested(app), names(app)
    assert any_machine.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", f"{RELEASES}/full"]).status == 0
    source(app, "2", **({"size": "1000000"} if while_building else {"big": "x" * 1_000_000}))
    failed = app.apply(status=4 if while_building else 1)
    assert "No space left on device" in failed.err
    assert list(any_machine.path(f"{RELEASES}/full").rglob("*")) in ([], [any_machine.path(f"{RELEASES}/full/web")])
    assert any_machine.run(["umount", f"{RELEASES}/full"]).status == 0
    assert seen(app) == before
    assert names(app) == there
    leave(app)
    any_machine.path("/srv/full/size").unlink(missing_ok=True)
    any_machine.path("/srv/full/big").unlink(missing_ok=True)


@pytest.mark.row("BX-17")
def test_the_runtime_builds_before_the_hook(machine257: Machine) -> None:
    app = App.on(machine257, "runtime")
    source(app)
    runtimes = {"py": {"build": "pwd >order; echo runtime >>order; exit $(cat status || echo 0)"}}
    keys = web(app, hooks={"build": "echo hook >>order; cat version >built"}, runtime="py")
    app.write({"web": keys}, runtimes=runtimes)
    app.apply()
    assert read(app, "order").split() == [f"{RELEASES}/runtime/web/{current(app)}", "runtime", "hook"]
    source(app, status="2")
    assert "cannot build web: the runtime's build failed with status 2" in app.apply(status=4).err
    source(app, status="0")
    app.write({"web": {key: value for key, value in keys.items() if key != "hooks"}}, runtimes=runtimes)
    app.apply()
    assert read(app, "order").split()[1:] == ["runtime"], "also without a hook"
    leave(app)


@pytest.mark.row("BX-17", "BX-4")
def test_so_many_are_kept_and_a_rollback_goes_to_one_that_is(machine: Machine) -> None:
    app = App.on(machine, "kept")
    made = []
    for version in "1234":
        source(app, version)
        app.apply({"web": web(app, build={"keep": 2})})
        made.append(current(app))
    assert names(app) == set(made[2:])
    app.clear()
    app.nanod("rollback", "kept", "3")
    assert current(app) == runs_in(app) == made[2]
    app.until_step("post_deploy web")
    assert "deploy web" in app.steps()
    refused = app.nanod("rollback", "kept", "1", status=1)
    assert f"cannot roll back kept to generation 1: release {made[0]} of web is gone" in refused.err
    assert "build: {keep: N}" in refused.err
    assert runs_in(app) == made[2]
    leave(app)


@pytest.mark.row("BX-17")
def test_a_release_that_somebody_deleted_is_made_again(machine257: Machine) -> None:
    app = App.on(machine257, "gone")
    source(app)
    app.apply({"web": web(app)})
    name, pid = current(app), app.pid("web")
    machine257.run(["rm", "-rf", f"{RELEASES}/gone/web/{name}"])
    assert "not there any more" in app.nanod("plan", app.spec).out
    app.apply()
    assert read(app, "built") == "1"
    assert app.pid("web") == pid
    assert "nothing to do" in app.apply().out
    leave(app)


@pytest.mark.row("BX-17")
def test_a_dynamic_user(any_machine: Machine) -> None:
    """It builds as itself; what it has made is root's from then on, and everybody's to read."""
    app = App.on(any_machine, "dyn")
    source(app)
    keys = web(app, hooks={"build": "id -un >built; umask 077; mkdir private; cp version private/x"}, volumes=["/var/lib/dyn-data"])
    keys |= {"user": None, "dynamic_user": True}
    keys["hooks"]["deploy"] = "cat private/x >/var/lib/dyn-data/seen; touch late 2>/dev/null || touch /var/lib/dyn-data/closed"
    keys["hooks"]["post_deploy"] = "touch /var/lib/dyn-data/after"
    app.apply({"web": {key: value for key, value in keys.items() if value is not None}})
    data = app.machine.path("/var/lib/private/dyn-data")
    until((data / "after").exists, "post_deploy")
    assert read(app, "built") == "dyn-web\n"
    assert (data / "seen").read_text() == "1"
    assert (data / "closed").exists()
    top = directory(app) / current(app)
    assert {path.stat().st_uid for path in (top, *top.rglob("*"))} == {0}
    assert any_machine.run(["cat", f"{RELEASES}/dyn/web/current/private/x"], user="daemon").out == "1"
    assert not (top / "late").exists()
    leave(app)


@pytest.mark.row("BX-4", "UP-2")
def test_a_version_that_does_not_come_up_gives_way_to_the_old_release(machine257: Machine) -> None:
    app = App.on(machine257, "back")
    source(app)
    app.apply({"web": web(app, restart={"delay": "100ms", "limit": 2, "window": "6s"})})
    app.until_step("post_deploy web")
    first = current(app)
    app.clear()
    source(app, "2", status="1")
    hooks = {"prestart": "test ! -e status"}
    failed = app.apply({"web": web(app, restart={"delay": "100ms", "limit": 2, "window": "6s"}, hooks=hooks)}, status=4)
    assert "hook prestart/1 exited with status 1" in failed.out
    assert app.steps().count("deploy web") == 1, "of the new one: the way back has none"
    assert "post_deploy web" not in app.steps()
    assert current(app) == runs_in(app) == first
    leave(app)


@pytest.mark.row("UP-6")
def test_the_unit_of_the_deploy_hook_waits_for_what_the_service_requires(machine: Machine) -> None:
    app = App.on(machine, "needs")
    source(app)
    app.sick("db")
    app.write({"db": app.service("db"), "web": web(app, requires=["db"])})
    apply = machine.popen(["nanod", "apply", app.spec])
    app.until_step("main db")
    assert "deploy web" not in app.steps()
    app.well("db")
    assert apply.wait(timeout=60) == 0
    until(lambda: "deploy web" in app.steps(), "deployed")
    leave(app)
