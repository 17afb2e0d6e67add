"""Service hooks: where they run, as whom, with what environment, how long, and what their failure does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import DIRECTORY, HOOKS, MAIN, STEP, App, until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

NEWS = f"{DIRECTORY}/news"
"""Where hooks leave what they saw; open to every user."""


def news(machine: Machine, name: str) -> str:
    return machine.path(f"{NEWS}/{name}").read_text()


@pytest.fixture(scope="module", autouse=True)
def _news(machine: Machine) -> None:
    directory = machine.path(NEWS)
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    directory.parent.chmod(0o777)


SEE = f"{{ id -un; pwd; ls /tmp; grep CapEff /proc/self/status | tr -d '\\t'; }} >{NEWS}/$NANOD_APP-$LIFECYCLE_PHASE"


@pytest.mark.row("NK-1", "NK-10", "NK-14", "NK-15", "NK-16", "BX-20")
@pytest.mark.parametrize("user", ["dynamic", "named"])
def test_host_and_service_context(machine: Machine, user: str) -> None:
    """Host: the machine's own /tmp; service: the /tmp of its sandbox, where its main left a file. Both as the service's user, without capabilities."""
    app = App.on(machine, f"context-{user}")
    machine.path("/tmp/of-the-host").touch()
    volume = f"/var/lib/{app.name}"
    who = {"user": None, "dynamic_user": True} if user == "dynamic" else {"user": "www-data"}
    web = (
        app.service("web", hooks=())
        | who
        | {
            "command": f"touch /tmp/of-the-service; exec {MAIN}",
            "health": {"exec": "test -e /tmp/of-the-service", "interval": "50ms"},
            "volume": volume,
            "provisioning": {"install": SEE},
            "hooks": dict.fromkeys((*HOOKS, "ready"), SEE),
            "systemd": {"Service": {"ReadWritePaths": DIRECTORY}},  # a dynamic user sees all but its volumes read-only
        }
    )
    app.apply({"web": web})
    app.systemctl("reload", app.unit("web"))
    until(machine.path(f"{NEWS}/{app.name}-ready").exists, "the ready hook ran")
    app.systemctl("stop", app.unit("web"))
    name = app.name + "-web" if user == "dynamic" else "www-data"
    for phase in ("install", "ready", *HOOKS):
        who_ran, where, *rest = news(machine, f"{app.name}-{phase}").splitlines()
        seen, capabilities = rest[:-1], rest[-1]
        assert who_ran == name, phase
        assert where.replace("/private/", "/") == volume, phase  # where systemd keeps what a dynamic user owns
        assert capabilities == "CapEff:0000000000000000", phase
        assert ("of-the-host" in seen) == (phase not in ("reload", "prestop")), phase
        assert ("of-the-service" in seen) == (phase in ("reload", "prestop")), phase
    app.remove()


@pytest.mark.row("NK-10", "BX-16")
def test_a_hook_names_another_user_and_context(machine: Machine) -> None:
    app = App.on(machine, "other")
    hooks = {
        "prestart": {"run": f"id -un >{NEWS}/other-root", "user": "root"},
        "poststart": {"run": f"ls /tmp >{NEWS}/other-inside; id -un >>{NEWS}/other-inside", "context": "service"},
        "reload": {"run": f"id -un >{NEWS}/other-nobody", "user": "nobody"},
    }
    app.apply({"web": app.service("web", hooks=()) | {"user": "www-data", "hooks": hooks}})
    app.systemctl("reload", "other-web")
    assert news(machine, "other-root") == "root\n"
    assert news(machine, "other-inside") == "www-data\n", "an empty /tmp of its own"
    assert news(machine, "other-nobody") == "nobody\n"
    app.remove()


GIVEN = {
    "NANOD_PROJECT": "envs",
    "NANOD_ENV": "stage",
    "NANOD_SERVICE": "web",
    "NANOD_REPLICA": "1",
    "NANOD_APP_DIR": "/srv/envs",
    "NANOKIT_PROJECT": "envs",
    "NANOKIT_ENV": "stage",
    "NANOKIT_SERVICE": "web",
    "PLATFORM_APP_DIR": "/srv/envs",
    "OWN": 'ü="%n" $HOME\\',
}


@pytest.mark.row("NK-18", "BX-16")
def test_every_hook_sees_the_same_environment(machine: Machine) -> None:
    app = App.on(machine, "envs")
    dump = f"env -0 >{NEWS}/env-$LIFECYCLE_PHASE"
    web = app.service("web", hooks=()) | {
        "runtime_dir": False,
        "health": None,
        "volume": "/srv/envs",
        "environment": {"OWN": GIVEN["OWN"]},
        "provisioning": {"install": dump},
        "hooks": dict.fromkeys((*HOOKS, "ready"), dump) | {"poststart": {"run": dump, "environment": {"EXTRA": "1"}}},
    }
    app.write({"web": web}, env="stage", environments={"stage": {}})
    app.apply()
    app.systemctl("reload", "envs-stage-web")
    until(machine.path(f"{NEWS}/env-ready").exists, "the ready hook ran")
    app.systemctl("stop", "envs-stage-web")
    for phase in ("install", "ready", *HOOKS):
        seen = dict(item.split("=", 1) for item in news(machine, f"env-{phase}").split("\0") if item)
        assert seen["LIFECYCLE_PHASE"] == phase
        assert {name: seen.get(name) for name in GIVEN} == GIVEN, phase
        assert seen["NANOD_UNIT"].startswith("envs-stage-web"), phase
        assert seen["NANOD_CACHE_DIR"] == seen["PLATFORM_CACHE_DIR"] != "", phase
        assert ("EXTRA" in seen) == (phase == "poststart")
    app.nanod("remove", "envs-stage")


@pytest.mark.row("NK-13", "BX-5", "NK-19")
def test_deploy_scope_runs_once_per_content(machine: Machine) -> None:
    app = App.on(machine, "migrate")
    hook = {"prestart": [{"run": f"{STEP} migrate", "scope": "deploy"}, STEP]}
    web = app.service("web", hooks=()) | {"hooks": hook}
    app.apply({"web": web})
    assert app.steps() == ["migrate web", "prestart web", "main web"]
    app.crash("web")
    app.until_step("main web", 2)
    app.systemctl("restart", "migrate-web")
    app.systemctl("restart", "migrate.target")
    app.until_step("main web", 4)
    app.apply()
    assert app.steps().count("migrate web") == 1
    assert app.steps().count("prestart web") == 4

    # Another content, and a migration that fails: the old process serves on.
    before = app.pid("web")
    app.exits("web", "migrate", 9)
    app.clear()
    changed = web | {"environment": {"RELEASE": "2"}}
    done = app.apply({"web": changed}, status=4)
    assert "hook prestart/1 exited with status 9" in done.out
    assert app.last()["rolled_back_to"] == 1
    assert app.steps() == ["migrate web"]
    assert app.pid("web") == before
    app.exits("web", "migrate", 0)
    app.clear()
    app.apply()
    assert app.steps() == ["migrate web", "signal web", "prestart web", "main web"]
    app.remove()


@pytest.mark.row("NK-14", "NK-21", "BX-5", "BX-16")
def test_a_failed_poststart_warns_and_one_that_may_fail_halts(machine: Machine) -> None:
    app = App.on(machine, "after")
    app.exits("warns", "poststart", 5)
    done = app.apply({"warns": app.service("warns")})
    assert app.is_up("warns")
    assert "poststart" in done.out
    assert "5" in done.out
    assert "poststart" in app.nanod("status", "after").out

    app.exits("halts", "poststart", 5)
    before = app.pid("warns")
    halts = app.service("halts", restart={"policy": "no"}) | {"hooks": {"poststart": {"run": STEP, "on_failure": "fail"}, "poststop": STEP}}
    done = app.apply({"warns": app.service("warns"), "halts": halts}, status=4)
    assert "cannot start after-halts: hook poststart/1 exited with status 5" in done.out
    assert [step for step in app.steps() if step.endswith(" halts")] == ["main halts", "poststart halts", "signal halts", "poststop halts"]
    assert (app.show("halts", "LoadState"), app.pid("warns")) == ("not-found", before), "rolled back"
    app.leave()
    assert (app.state("halts"), app.pid("warns")) == ("failed", before)
    app.remove()


@pytest.mark.row("NK-14")
def test_poststart_waits_until_the_service_is_live(machine: Machine) -> None:
    app = App.on(machine, "live")
    app.sick("web")
    app.write({"web": app.service("web")})
    apply = machine.popen(["nanod", "apply", app.spec])
    app.until_step("main web")
    until(lambda: app.show("web", "SubState") == "start-post", "the gate waits")
    assert app.steps() == ["prestart web", "main web"]
    app.well("web")
    assert apply.wait(timeout=60) == 0
    assert app.steps() == ["prestart web", "main web", "poststart web"]
    app.remove()


@pytest.mark.row("NK-21", "BX-16")
def test_the_policy_of_each_phase(machine: Machine) -> None:
    """Every hook fails. `warn` keeps the service going and shows, `ignore` keeps it going, and a stop is a stop."""
    app = App.on(machine, "policy")
    for phase in (*HOOKS, "ready"):
        app.exits("web", phase, 4)
        app.exits("quiet", phase, 4)
    web = app.service("web", hooks=()) | {
        "hooks": {"prestart": {"run": STEP, "on_failure": "warn"}, **dict.fromkeys(("poststart", "ready", "reload", "prestop", "poststop"), STEP)}
    }
    quiet = app.service("quiet", hooks=()) | {
        "hooks": {phase: {"run": STEP, "on_failure": "ignore"} for phase in ("prestart", "poststart", "ready", "prestop", "poststop")}
    }
    done = app.apply({"web": web, "quiet": quiet})
    assert "prestart" in done.out
    assert not [line for line in done.out.splitlines() if "quiet" in line and "poststart" in line]
    app.systemctl("reload", "policy-web", status=1)
    assert app.is_up("web"), "a failed reload leaves the old configuration"
    app.clear()
    app.systemctl("stop", "policy.target")
    app.until_gone("web", "quiet")
    for name in ("web", "quiet"):
        assert [step for step in app.steps() if step.endswith(f" {name}")] == [f"{phase} {name}" for phase in ("prestop", "signal", "poststop")]
        assert app.state(name) == "inactive"
        assert app.show(name, "Result") == "success"
    app.remove()


@pytest.mark.row("NK-20", "BX-16")
def test_no_hook_blocks_longer_than_its_timeout(machine: Machine) -> None:
    """Not one that hangs, nor one whose child hangs; and the whole group goes, also one that ignores SIGTERM."""
    app = App.on(machine, "hang")
    hang = "sleep 601 & sleep 602"
    stubborn = "trap '' TERM; sleep 603"
    web = app.service("web", hooks=()) | {
        "hooks": {
            "poststart": [{"run": hang, "timeout": "200ms", "name": "hangs"}, {"run": stubborn, "timeout": "200ms", "name": "stubborn"}],
            "prestop": [{"run": hang, "timeout": "200ms"}, STEP],
            "poststop": [{"run": hang, "timeout": "200ms"}, STEP],
        }
    }
    before = app.service("before", restart={"policy": "no"}) | {"hooks": {"prestart": {"run": hang, "timeout": "200ms", "name": "hangs"}}}
    done = app.leave({"web": web, "before": before})
    assert app.is_up("web")
    assert app.state("before") == "failed"
    assert "prestart/hangs" in done.out
    assert "poststart/stubborn" in done.out
    app.systemctl("stop", "hang-web")
    assert app.steps() == ["main web", "prestop web", "signal web", "poststop web"]
    assert machine.run(["pgrep", "--full", "--list-full", "sleep 60[123]"]).out == ""
    app.remove()


@pytest.mark.row("NK-15", "NK-20")
def test_prestop_hooks_that_hang_keep_neither_the_others_nor_the_stop_waiting(machine: Machine) -> None:
    app = App.on(machine, "shared")
    hooks = [STEP, {"run": "sleep 600", "timeout": "300ms"}, {"run": "sleep 600", "timeout": "300ms"}]
    app.apply({"web": app.service("web", hooks=()) | {"hooks": {"prestop": hooks}}})
    app.clear()
    app.systemctl("stop", "shared-web")
    assert app.steps() == ["prestop web", "signal web"]
    assert app.show("web", "Result") == "success"
    app.remove()


WORDS = [
    "it's",
    'a "quote"',
    "%n %% %i",
    "$HOME ${HOME} $$",
    "; | & > # \\",
    "tab\there",
    "ünï ☃",
    "two\nlines",
    "",
    "-rf",
    "{a,b} * ?",
]


@pytest.mark.row("NK-22")
def test_what_is_written_is_what_runs(machine: Machine) -> None:
    """As an argv byte for byte; as text, as a shell reads it, which stops at the first error."""
    app = App.on(machine, "words")
    program = app.program("words", f"#!/bin/sh\nfor word do printf '%s\\0' \"$word\"; done >{NEWS}/words-$LIFECYCLE_PHASE\n")
    text = f"""x="it's 100% %n"; echo "$x; $NANOKIT_SERVICE $((1 + 2))" '"quoted" $x' | cat >{NEWS}/words-text"""
    stops = {"run": f"false; touch {NEWS}/never", "name": "stops", "on_failure": "warn"}
    bash = {"run": f"a=(x y); echo ${{a[1]}} >{NEWS}/words-bash", "shell": ["/bin/bash", "-c"]}
    hooks = {"prestart": [{"run": [program, *WORDS]}, text, stops, bash], "poststart": {"run": [program, *WORDS]}}
    done = app.apply({"web": app.service("web", hooks=()) | {"hooks": hooks}})
    for phase in ("prestart", "poststart"):
        assert news(machine, f"words-{phase}").split("\0")[:-1] == WORDS
    assert news(machine, "words-text") == 'it\'s 100% %n; web 3 "quoted" $x\n'
    assert news(machine, "words-bash") == "y\n"
    assert not machine.path(f"{NEWS}/never").exists()
    assert "prestart/stops" in done.out
    app.remove()


@pytest.mark.row("NK-19")
def test_a_second_apply_runs_nothing_again(machine: Machine) -> None:
    app = App.on(machine, "again")
    services: dict[str, Any] = {"web": app.service("web", volume="/srv/again", provisioning={"install": STEP})}
    app.apply(services)
    before = app.pid("web")
    app.clear()
    app.apply(services)
    assert app.steps() == []
    assert app.pid("web") == before
    app.remove()


@pytest.mark.row("RV-8")
def test_without_a_reload_hook_sighup_is_ignored(machine: Machine) -> None:
    app = App.on(machine, "hup")
    plain = {"command": ["/bin/sleep", "infinity"], "user": "root", "settle": "0s"}
    app.apply({"deaf": plain, "hears": plain | {"stop": {"ignore_hup": False}, "restart": {"policy": "no"}}})
    before = app.pid("deaf")
    app.systemctl("kill", "--kill-whom=main", "--signal=HUP", "hup-deaf", "hup-hears")
    app.until_gone("hears")
    assert app.pid("deaf") == before
    assert app.is_up("deaf")
    app.systemctl("reload", "hup-deaf", status=3)
    assert app.show("deaf", "CanReload") == "no"
    app.remove()
