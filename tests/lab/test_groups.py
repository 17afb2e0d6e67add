"""Groups as Nomad has them: several mains, and tasks before, beside and after them. On both systemds, but for what is nanod's own doing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from nanod.scope import SYSTEM
from tests.lab.crashes import chosen, cut, listed, rested, sample, seen
from tests.lab.groups import DOWN, UP, Group, ends, stays, web
from tests.lab.steps import DIRECTORY, GIVES_UP, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanod.rehearse.machine import Machine


MEMBERS = ["web-api", "web-worker", "web-side", "web-ship"]


@pytest.mark.row("NM-2", "NM-3", "NM-4", "NM-5", "NM-9", "NM-11", "NM-12", "NM-15", "NM-16", "BX-9")
def test_up_in_order_and_down_in_reverse(on: Callable[[str], Group]) -> None:
    app = on("order")
    app.apply({"web": web()})
    app.until_steps(UP)
    app.in_order("side up", "init", "api up|worker up", "hello|ship up")
    assert app.nanod("status", "order").status == 0
    app.clear()
    app.systemctl("stop", "order.target")
    app.until_all_gone()
    app.until_steps(DOWN)
    app.in_order("api down|worker down", "side down|ship down", "clean success")
    # Up again as at the first time, and down in the same way by the service's own unit.
    app.clear()
    app.systemctl("start", "order.target")
    app.until_steps(UP)
    app.clear()
    app.systemctl("stop", "order-web")
    app.until_all_gone("order.target")
    app.until_steps(DOWN)
    app.in_order("api down|worker down", "side down|ship down", "clean success")
    app.remove()
    assert app.traces() == []


@pytest.mark.row("NM-2", "NM-3")
def test_mains_start_together_and_so_do_init_tasks(on257: Callable[[str], Group]) -> None:
    app = on257("together")
    meet = app.program(
        "meet", f"#!/bin/sh\n: >{DIRECTORY}/$NANOD_APP-$NANOD_TASK.here\nuntil [ -e {DIRECTORY}/$NANOD_APP-$1.here ]; do sleep 0.05; done\n"
    )
    both = {
        "one": ends("prestart", command=[meet, "two"], timeout="20s"),
        "two": ends("prestart", command=[meet, "one"], timeout="20s"),
    }
    mains = {
        "api": stays(hooks={"prestart": [{"run": [meet, "worker"], "timeout": "20s"}]}),
        "worker": stays(hooks={"prestart": [{"run": [meet, "api"], "timeout": "20s"}]}),
    }
    app.apply({"web": web(processes=mains, tasks=both)})
    app.until_steps(["api up", "worker up"])


@pytest.mark.row("NM-2", "BX-27")
def test_a_group_comes_up_where_there_is_no_mount_of_tmp(on252: Callable[[str], Group]) -> None:
    """To what has a /tmp of its own systemd adds Wants=tmp.mount. A stock Debian 12 has no such unit, and on machines of the laboratory it is masked."""
    app = on252("no-tmp")
    mask = app.machine.path("/etc/systemd/system/tmp.mount")
    mask.unlink()
    try:
        app.systemctl("daemon-reload")
        assert app.show("tmp.mount", "LoadState") == "not-found"
        app.apply({"web": web()})
        app.until_steps(UP)
    finally:
        mask.symlink_to("/dev/null")
        app.systemctl("daemon-reload")


@pytest.mark.row("NM-6", "NM-11", "NM-14", "BX-9")
def test_a_crash_is_its_own(on: Callable[[str], Group]) -> None:
    app = on("crash")
    app.apply({"web": web()})
    app.until_steps(UP)
    for name in MEMBERS:
        others = [other for other in MEMBERS if other != name]
        before, pid = app.run_of(*others, "web-group", "web-init", "web-hello", "web-clean"), app.pid(name)
        app.clear()
        app.crash(name)
        until(lambda name=name, pid=pid: app.is_up(name) and app.pid(name) not in (0, pid), f"{name} is back")  # type: ignore[misc]
        app.until_steps([f"{name.removeprefix('web-')} up"])
        app.jobs_done()
        assert app.run_of(*before) == before, name
        assert app.steps() == [f"{name.removeprefix('web-')} up"]


@pytest.mark.row("NM-14")
def test_a_sidecar_that_ends_well_is_started_again(on: Callable[[str], Group]) -> None:
    app = on("again")
    app.apply({"web": web()})
    app.until_steps(UP)
    for name in ("side", "ship"):
        before = app.run_of("web-api", "web-worker")
        app.clear()
        app.systemctl("kill", "--kill-whom=main", "--signal=TERM", app.unit(f"web-{name}"))
        app.until_steps([f"{name} down", f"{name} up"])
        app.until_up(f"web-{name}")
        assert app.run_of("web-api", "web-worker") == before


@pytest.mark.row("NM-6", "NM-7")
def test_what_runs_again_on_a_restart(on: Callable[[str], Group]) -> None:
    app = on("restart")
    app.apply({"web": web()})
    app.until_steps(UP)

    def restart(how: Callable[[], object], expected: list[str], *same: str) -> None:
        before = app.run_of(*same)
        app.clear()
        how()
        app.until_up(*MEMBERS)
        app.until_steps(expected)
        app.jobs_done()
        assert sorted(app.steps()) == sorted(expected)
        assert app.run_of(*same) == before

    # One main: nothing around it.
    restart(
        lambda: app.systemctl("restart", "restart-web-api"), ["api down", "api up"], "web-worker", "web-side", "web-ship", "web-group", "web-init"
    )
    # The whole group: all of it but the cleanup, which is for its end.
    whole = [*UP, *(line for line in DOWN if not line.startswith("clean"))]
    restart(lambda: app.systemctl("restart", "restart-web-group"), whole)
    restart(lambda: app.systemctl("restart", "restart-web"), whole)
    restart(lambda: app.systemctl("restart", "restart.target"), whole)
    restart(lambda: app.nanod("restart", "restart"), whole)
    restart(lambda: app.nanod("restart", "restart", "web"), whole)


@pytest.mark.row("NM-7", "NM-12")
def test_a_reboot(any_machine: Machine, on: Callable[[str], Group]) -> None:
    app = on("boot")
    app.apply({"web": web()})
    app.until_steps(UP)
    app.clear()
    any_machine.reboot()
    app.until_steps([*DOWN, *UP])
    app.in_order("clean success", "side up", "init", "api up|worker up", "hello|ship up")
    # At a shutdown all stop in one transaction, and so in the reverse order of their start.
    app.in_order("ship down", "api down|worker down", "side down", "clean success")


@pytest.mark.row("NM-8", "NM-13")
def test_a_failed_init_is_tried_again_and_then_the_group_has_failed(on: Callable[[str], Group]) -> None:
    app = on("failed")
    app.tells("init", 3)
    done = app.leave({"web": web()})
    assert "init" in done.out + done.err
    app.jobs_done()
    assert app.steps().count("init") == 3
    assert not any(line.endswith(" up") and line != "side up" for line in app.steps()), app.steps()
    until(lambda: "clean" in " ".join(app.steps()), "the cleanup runs")
    assert sum(line.startswith("clean") for line in app.steps()) == 1, app.steps()
    assert app.state("web-init") == "failed"
    until(lambda: set(app.active()) <= {"failed.target", "failed-web-init.service", "failed-web.service"}, f"all gone: {app.active()}")
    # Nothing tries again by itself, and a start of the group does.
    app.clear()
    app.tells("init", None)
    app.nanod("start", "failed")
    app.until_steps(UP)


@pytest.mark.row("NM-12")
def test_the_cleanup_comes_once_when_the_last_main_has_given_up(on: Callable[[str], Group]) -> None:
    app = on("given-up")
    mains = {"api": stays(restart=GIVES_UP), "worker": stays(restart=GIVES_UP)}
    app.apply({"web": web(processes=mains)})
    app.until_steps(UP)
    app.clear()
    app.tells("api", 7)
    app.crash("web-api")
    until(lambda: app.state("web-api") == "failed", "api has given up")
    app.jobs_done()
    # The other main is not concerned.
    assert app.is_up("web-worker")
    assert app.is_up("web-side")
    assert not any(line.startswith("clean") for line in app.steps()), app.steps()
    app.tells("worker", 8)
    app.crash("web-worker")
    until(lambda: app.state("web-worker") == "failed", "worker has given up")
    until(lambda: any(line.startswith("clean") for line in app.steps()), "the cleanup runs")
    app.jobs_done()
    assert [line for line in app.steps() if line.startswith("clean")] == ["clean exit-code"]
    for name in ("web-side", "web-ship", "web-group", "web-clean"):
        assert app.state(name) == "inactive", name


@pytest.mark.row("NM-10")
def test_a_failed_poststart_task_ends_the_group_or_is_a_warning(on: Callable[[str], Group]) -> None:
    app = on("poststart")
    app.tells("hello", 5)
    service = web()
    # `warn`: the group is well, and the failure is told.
    service["tasks"]["hello"]["on_failure"] = "warn"
    done = app.apply({"web": service})
    app.until_up(*MEMBERS)
    assert "hello" in done.out
    assert app.steps().count("hello") == 3
    status = app.nanod("status", "poststart", status=None)
    assert status.status == 0
    assert "hello" in status.out
    app.remove()
    app.until_all_gone()

    # The usual: it ends the group, and apply goes back to nothing.
    app.clear()
    del service["tasks"]["hello"]["on_failure"]
    done = app.apply({"web": service}, status=4)
    assert "poststart task web/hello failed: it exited with status 5" in done.out
    assert "did not stay up" not in done.out
    app.until_all_gone()
    app.jobs_done()
    assert app.steps().count("hello") == 3
    assert sum(line.startswith("clean") for line in app.steps()) == 1, app.steps()
    assert app.traces() == []

    # Left to itself it ends too, and does not begin anew.
    app.clear()
    app.leave()
    until(lambda: sum(line.startswith("clean") for line in app.steps()) == 1, f"the cleanup runs: {app.steps()}")
    app.jobs_done()
    assert app.state("web-api") == "inactive"
    assert app.steps().count("hello") == 3


@pytest.mark.row("NM-9", "NM-11")
def test_what_comes_after_the_mains_waits_for_all_of_them(on252: Callable[[str], Group]) -> None:
    app = on252("one-fails")
    app.tells("api", 7)
    app.leave({"web": web(processes={"api": stays(restart={"policy": "no"}), "worker": stays()})})
    app.jobs_done()
    assert (app.state("web-api"), app.state("web-worker")) == ("failed", "active")
    assert (app.state("web-ship"), app.state("web-hello")) == ("inactive", "inactive")
    assert not {"hello", "ship up"} & set(app.steps()), app.steps()
    app.tells("api", None)
    app.clear()
    app.systemctl("start", "one-fails-web-api")
    app.until_steps(["api up", "hello", "ship up"])


@pytest.mark.row("NM-9")
def test_the_condition_after_the_mains_waits_for_one_that_is_on_its_way(on257: Callable[[str], Group]) -> None:
    """Its start does not bring up what is starting already: skipped then, that would stay away."""
    app = on257("onway")
    gate = {"file": "/run/onway/web/api", "interval": "50ms", "start_timeout": "20s"}
    app.apply({"web": web(processes={"api": stays(health=gate), "worker": stays()})})
    app.until_steps(UP)
    app.sick("api")
    app.machine.path("/run/onway/web/api").unlink()
    app.systemctl("--no-block", "restart", "onway-web-api")
    until(lambda: app.show("web-api", "SubState") == "start-post", "it waits for its health")
    condition = app.machine.popen([f"{SYSTEM.lib}/mains", "onway-web-group.service", "onway-web-api.service", "onway-web-worker.service"])
    time.sleep(1)
    assert condition.poll() is None
    app.well("api")
    assert condition.wait(30) == 0


@pytest.mark.row("NM-9", "NM-10")
def test_a_poststart_task_whose_turn_has_not_come_ends_nothing(on252: Callable[[str], Group]) -> None:
    """One of the mains is down: the task waits for it, and the other main runs on."""
    app = on252("skipped")
    app.apply({"web": web(processes={"api": stays(), "worker": stays(restart={"policy": "no"})})})
    app.until_steps(UP)
    app.crash("web-worker")
    app.systemctl("stop", "skipped-web-hello")
    before = app.run_of("web-api", "web-side", "web-ship")
    app.clear()
    app.systemctl("start", "skipped-web-hello")
    assert app.show("web-hello", "Result") == "exec-condition"
    app.jobs_done()
    assert app.run_of("web-api", "web-side", "web-ship") == before
    assert app.steps() == []
    app.systemctl("start", "skipped-web-worker")
    app.until_steps(["worker up", "hello"])
    assert app.run_of("web-api", "web-side", "web-ship") == before


@pytest.mark.row("NM-7", "NM-10", "NM-15")
def test_a_poststart_task_that_is_cut_short_has_not_failed(on: Callable[[str], Group]) -> None:
    """Whoever restarts or changes it while it runs has the group as before, and a stop leaves nothing of it behind."""
    app = on("cut-short")
    go = app.machine.path(f"{DIRECTORY}/cut-short.go")
    slow = app.program("slow", f"#!/bin/sh\necho hello >>{app.log}\nwhile [ ! -e {DIRECTORY}/cut-short.go ]; do sleep 0.1; done\n")
    service = web()
    service["tasks"]["hello"] = ends("poststart", command=[slow])
    go.touch()
    app.apply({"web": service})
    app.until_steps(UP)
    go.unlink()

    def under_way() -> None:
        """The group is up anew, but for this task."""
        app.clear()
        app.systemctl("start", "cut-short.target")
        app.systemctl("--no-block", "restart", "cut-short-web-group")
        app.until_step("hello")
        app.until_step("ship up")
        app.clear()

    under_way()
    app.systemctl("--no-block", "restart", "cut-short-web-group")
    app.until_step("hello")
    service["tasks"]["hello"]["environment"] = {"V": "2"}
    app.write({"web": service})
    apply = app.machine.popen(["nanod", "apply", app.spec])
    app.until_step("hello", 2)
    app.until_up("web-api", "web-worker", "web-side", "web-ship")
    go.touch()
    assert apply.wait(60) == 0
    app.jobs_done()
    assert app.nanod("status", "cut-short").status == 0
    assert app.steps().count("api up") == 1
    assert not any(line.startswith("clean") for line in app.steps()), app.steps()
    for stop in (["systemctl", "stop", "cut-short.target"], ["nanod", "stop", "cut-short", "web"]):
        go.unlink()
        under_way()
        assert app.machine.run(stop).status == 0
        app.until_all_gone("cut-short-web-hello.service", "cut-short.target")
        by_nanod = stop[0] == "nanod"
        assert app.state("web-hello") == ("inactive" if by_nanod else "failed"), "it did not do what it was to do"
        assert ("failed" in app.nanod("status", "cut-short", status=4).out) == (not by_nanod)
        app.until_steps(DOWN)
        assert "ended" not in app.journal("--unit=cut-short-web-hello", "--grep=so the group ends")
        app.systemctl("reset-failed", "cut-short-*")
        go.touch()
        app.nanod("start", "cut-short")


@pytest.mark.row("NM-9", "NM-10")
def test_poststart_waits_for_mains_that_are_healthy(on252: Callable[[str], Group]) -> None:
    app = on252("healthy")
    gate = {"file": "/run/healthy/web/api", "interval": "50ms", "start_timeout": "20s"}
    app.sick("api")
    app.write({"web": web(processes={"api": stays(health=gate), "worker": stays()})})
    command = app.machine.popen(["nanod", "apply", app.spec])
    app.until_steps(["init", "side up", "api up", "worker up"])
    until(lambda: app.show("web-api", "SubState") == "start-post", "api waits for its health")
    assert app.steps().count("hello") == 0
    app.well("api")
    app.until_steps(UP)
    assert command.wait(60) == 0


@pytest.mark.row("NM-16")
def test_a_drain_before_the_mains_stop(on257: Callable[[str], Group]) -> None:
    app = on257("drain")
    mains = {"api": stays(hooks={"prestop": f"echo draining >>{DIRECTORY}/drain.log; sleep 0.5"}), "worker": stays()}
    app.apply({"web": web(processes=mains, hooks={"prestop": f"echo leaving >>{DIRECTORY}/drain.log; sleep 0.3"})})
    app.until_steps(UP)
    app.clear()
    app.nanod("stop", "drain")
    app.until_steps([*DOWN, "draining", "leaving"])
    app.in_order("leaving", "draining", "api down", "side down|ship down", "clean success")
    app.in_order("leaving", "worker down", "side down|ship down", "clean success")


@pytest.mark.row("NM-5", "BX-9")
def test_a_sidecar_is_up_or_healthy_before_the_mains_start(on257: Callable[[str], Group]) -> None:
    app = on257("gate")
    service = web()
    service["tasks"]["side"]["health"] = {"file": "/run/gate/web/side", "interval": "50ms", "start_timeout": "20s"}
    app.sick("side")
    app.write({"web": service})
    command = app.machine.popen(["nanod", "apply", app.spec])
    app.until_step("side up")
    until(lambda: app.show("web-side", "SubState") == "start-post", "the sidecar waits for its health")
    assert app.steps() == ["side up"]
    app.well("side")
    app.until_steps(UP)
    assert command.wait(60) == 0
    # One that is there and not healthy any more, or down, holds nobody back who runs; and a main that starts waits for it.
    before = app.run_of("web-worker", "web-api")
    app.sick("side")
    app.machine.path("/run/gate/web/side").unlink()
    app.crash("web-side")
    until(lambda: app.show("web-side", "SubState") == "start-post", "the sidecar waits for its health")
    assert app.run_of("web-worker", "web-api") == before
    app.clear()
    app.systemctl("restart", "--no-block", "gate-web-api")
    app.until_step("api down")
    until(lambda: app.state("web-api") == "inactive", "it waits for its turn")
    app.well("side")
    app.until_up(*MEMBERS)
    app.until_steps(["api down", "api up"])


@pytest.mark.row("NM-5", "NM-12", "NM-13")
def test_a_sidecar_that_never_comes_up_fails_the_group(on252: Callable[[str], Group]) -> None:
    app = on252("dead-side")
    service = web(restart=GIVES_UP)
    service["tasks"]["side"]["command"] = [app.program("missing", "#!/nonexistent/interpreter\n")]
    done = app.apply({"web": service}, status=4)
    assert "side" in done.out
    assert app.steps().count("init") == 0
    assert app.traces() == []


WRITES = {"Service": {"ReadWritePaths": [DIRECTORY]}}
"""Of what is closed in, and notes its steps."""


@pytest.mark.row("NM-17")
@pytest.mark.parametrize(("any_machine", "sandbox"), [("machine", "default"), ("machine257", "strict")], indirect=["any_machine"])
def test_members_share_a_runtime_directory_and_a_tmp(on: Callable[[str], Group], sandbox: str) -> None:
    app = on(f"share-{sandbox}")
    service = web(sandbox=sandbox, user="daemon")
    for name in ("api", "worker"):
        service["processes"][name] |= {"command": [app.program("meets", _MEETS)]}
    service["tasks"] = {
        "init": ends("prestart", command='echo init >"$NANOD_RUN_DIR/init"; echo init >/tmp/init'),
        "side": stays("prestart", command=[app.program("meets", _MEETS)]),
        "ship": stays("poststart", command=[app.program("meets", _MEETS)]),
        "clean": ends("poststop", command=f"echo clean $(ls $NANOD_RUN_DIR) / $(ls /tmp) >>{DIRECTORY}/$NANOD_APP.log", systemd=WRITES),
    }
    app.apply({"web": service})
    run = app.machine.path(f"/run/{app.name}/web")
    names = ["api", "init", "ship", "side", "worker"]

    def meet() -> bool:
        return sorted(path.name for path in run.iterdir()) == names

    until(meet, f"all wrote into the directory: {list(run.iterdir())}")
    tmp = {name: app.machine.path(f"/proc/{app.pid('web-' + name)}/root/tmp") for name in ("api", "worker", "side", "ship")}
    for name, path in tmp.items():
        assert sorted(item.name for item in path.iterdir()) == names, name
    assert not app.machine.path("/tmp/init").exists(), "it is not the host's"
    # It stays over a crash and a restart of each of them.
    for name in ("api", "side", "ship"):
        app.systemctl("restart", app.unit(f"web-{name}"))
        app.crash(f"web-{name}")
        app.until_up(f"web-{name}")
        assert (run / "init").read_text() == "init\n"
        assert (app.machine.path(f"/proc/{app.pid('web-' + name)}/root/tmp") / "init").read_text() == "init\n"
    app.clear()
    app.nanod("stop", app.name)
    app.until_all_gone()
    assert app.steps() == [f"clean {' '.join(names)} / {' '.join(names)}"]


_MEETS = """#!/bin/sh
echo "$NANOD_TASK" >"$NANOD_RUN_DIR/$NANOD_TASK" && echo "$NANOD_TASK" >"/tmp/$NANOD_TASK" || exit
trap "exit 0" TERM
while :; do sleep 3600 & wait $!; done
"""


@pytest.mark.row("NM-17")
def test_members_of_a_dynamic_user_and_of_other_users(on: Callable[[str], Group]) -> None:
    app = on("users")
    service = web(dynamic_user=True)
    del service["user"]
    whoami = f'echo "$NANOD_TASK $(stat -L -c %U:%a "$NANOD_RUN_DIR") $(id -un)" >>{DIRECTORY}/users.log'
    service["processes"] = {"api": stays(command=f"{whoami}; exec sleep 3600"), "worker": stays(command="exec sleep 3600")}
    service["tasks"] = {
        "init": ends("prestart", command=f'{whoami}; echo 1 >"$NANOD_RUN_DIR/init"'),
        "admin": ends("prestart", command=f'{whoami}; touch "$NANOD_RUN_DIR/admin"', user="root"),
        "side": stays("poststart", command=f'{whoami}; cat "$NANOD_RUN_DIR/init" >>{DIRECTORY}/users.log; exec sleep 3600'),
        "clean": ends("poststop", command=whoami),
    }
    for part in (*service["processes"].values(), *service["tasks"].values()):
        part |= {"systemd": WRITES}
    app.apply({"web": service})
    app.until_step("1")
    lines = [line for line in app.steps() if line != "1"]
    owner = lines[0].split()[1]
    assert owner.startswith("users-web:")
    assert {line.split()[1] for line in lines} == {owner}
    assert {line.split()[0]: line.split()[2] for line in lines} == {
        "init": "users-web",
        "admin": "root",
        "api": "users-web",
        "side": "users-web",
    }
    app.clear()
    app.systemctl("stop", "users.target")
    app.until_all_gone()
    assert app.steps() == [f"clean {owner} users-web"]


@pytest.mark.row("NM-18", "NM-3")
@pytest.mark.parametrize(
    ("any_machine", "kind"), [("machine", "tcp"), ("machine257", "http"), ("machine257", "unix"), ("machine", "file")], indirect=["any_machine"]
)
def test_a_wait_before_the_mains_with_an_end(on: Callable[[str], Group], kind: str) -> None:
    app = on(f"wait-{kind}")
    place = {"tcp": "tcp://127.0.0.1:7171", "http": "http://127.0.0.1:7171/", "unix": "unix:///srv/steps/door", "file": f"file:{DIRECTORY}/door"}[
        kind
    ]
    door = {
        "unix": "import socket;s=socket.socket(socket.AF_UNIX);s.bind('/srv/steps/door');s.listen();import time;time.sleep(600)",
        "file": f"open('{DIRECTORY}/door','w');import time;time.sleep(600)",
    }.get(kind, "import http.server as h;h.HTTPServer(('127.0.0.1',7171),h.SimpleHTTPRequestHandler).serve_forever()")
    service = web(tasks={"wait": {"wait_for": place, "lifecycle": {"hook": "prestart"}, "timeout": "2s"}, "clean": ends("poststop")})
    app.machine.path(f"{DIRECTORY}/door").unlink(missing_ok=True)

    # Never: the mains do not run, and the message says what was waited for.
    done = app.apply({"web": service}, status=4)
    subject = place.removeprefix("tcp://").removeprefix("unix://").removeprefix("file:")
    assert f"{kind} {subject}: not healthy within 2 s" in done.out
    assert not any(line.endswith(" up") for line in app.steps()), app.steps()
    assert app.steps() == ["clean exit-code"]

    # Later.
    service["tasks"]["wait"]["timeout"] = "60s"
    app.write({"web": service})
    command = app.machine.popen(["nanod", "apply", app.spec])
    until(lambda: app.show("web-wait", "SubState") == "start", "it waits")
    app.systemctl("reset-failed")
    app.machine.run(["systemd-run", "--quiet", "--unit=wait-door", "/usr/bin/python3", "-c", door])
    assert command.wait(60) == 0
    app.until_up("web-api", "web-worker")
    app.systemctl("stop", "wait-door.service")


def _changed(key: str, change: dict[str, Any] | None) -> dict[str, Any]:
    """The group with one task another, or gone."""
    service = web()
    service["tasks"].pop(key)
    return service if change is None else service | {"tasks": {**service["tasks"], key: change}}


QUICK = {"restart": {"delay": "100ms", "limit": 3, "window": "6s"}}
BACK = {"restart": {"delay": "100ms"}}
NEW = {
    "init": ends("prestart", environment={"V": "2"}, **QUICK),
    "side": stays("prestart", environment={"V": "2"}, **BACK),
    "hello": ends("poststart", environment={"V": "2"}, **QUICK),
    "ship": stays("poststart", environment={"V": "2"}, **BACK),
    "clean": ends("poststop", environment={"V": "2"}, **QUICK),
}
WHOLE = [*UP, *(line for line in DOWN if not line.startswith("clean"))]
COSTS = {"init": WHOLE, "side": ["side down", "side up"], "hello": ["hello"], "ship": ["ship down", "ship up"], "clean": []}
"""What runs when a task of this kind has changed."""


@pytest.mark.row("NM-1", "BX-8", "BX-9", "BX-13")
def test_what_each_change_of_a_task_costs(on252: Callable[[str], Group]) -> None:
    app = on252("change")
    app.apply({"web": web()})
    app.until_steps(UP)

    def step(service: dict[str, Any], expected: list[str], *same: str) -> None:
        before = app.run_of(*same)
        app.clear()
        app.apply({"web": service})
        app.until_steps(expected)
        app.jobs_done()
        assert sorted(app.steps()) == sorted(expected)
        assert app.run_of(*same) == before
        app.until_up(*same)
        assert "nothing to do" in app.apply().out or app.steps() == expected

    for key, cost in COSTS.items():
        same = [name for name in MEMBERS if name != f"web-{key}"] if key != "init" else []
        step(_changed(key, NEW[key]), cost, *same)
        # Gone: it alone is stopped, and a cleanup that is gone does not run.
        step(_changed(key, None), [f"{key} down"] if key in ("side", "ship") else [], *[name for name in MEMBERS if name != f"web-{key}"])
        # Back: what comes before the mains makes them begin anew where it must end first.
        back = {"init": WHOLE, "side": ["side up"], "hello": ["hello"], "ship": ["ship up"], "clean": []}[key]
        step(web(), back, *same)


@pytest.mark.row("NM-1", "BX-4")
@pytest.mark.parametrize(
    ("any_machine", "key"), [("machine257", "init"), ("machine257", "side"), ("machine", "hello"), ("machine", "ship")], indirect=["any_machine"]
)
def test_a_failed_change_is_taken_back(on: Callable[[str], Group], key: str) -> None:
    app = on(f"back-{key}")
    app.apply({"web": web()})
    app.until_steps(UP)
    before, runs = rested(app), app.run_of(*MEMBERS)
    fails = app.program("fails", "#!/bin/sh\nexit 9\n")
    settle = {"settle": "1s"} if key in ("side", "ship") else {}
    bad = NEW[key] | {"command": [fails]} | ({"on_failure": "fail"} if key == "hello" else {})
    done = app.apply({"web": _changed(key, bad) | settle}, status=4)
    assert f"web/{key}" in done.out
    # A poststart task that nothing of the change names runs again behind the mains, and the way back does not wait for it.
    until(lambda: seen(app).active == before.active, "all is up that was")
    after = seen(app)
    assert after.files == before.files
    assert after.current == before.current
    assert after.left == ()
    if key in ("side", "ship"):
        others = [name for name in MEMBERS if name != f"web-{key}"]
        assert app.run_of(*others) == {name: runs[name] for name in others}
    app.until_up(*MEMBERS)
    app.clear()
    app.systemctl("stop", f"{app.name}.target")
    app.until_all_gone()
    app.until_steps(DOWN)


@pytest.mark.row("NM-18")
def test_a_wait_without_its_prober_passes_and_says_so(machine257: Machine, on257: Callable[[str], Group]) -> None:
    app = on257("no-python")
    door = machine257.path(f"{DIRECTORY}/door")
    door.touch()
    app.apply({"web": web(tasks={"wait": {"wait_for": f"file:{DIRECTORY}/door", "lifecycle": {"hook": "prestart"}}})})
    app.systemctl("stop", "no-python.target")
    app.until_all_gone()
    door.unlink()
    python = machine257.path("/usr/bin/python3")
    python.rename(python.with_name("python3.away"))
    try:
        app.systemctl("start", "no-python.target")
        app.until_up("web-api", "web-worker")
    finally:
        python.with_name("python3.away").rename(python)
    assert f"not waited for {DIRECTORY}/door, /usr/bin/python3 is gone" in app.journal("-u", "no-python-web-wait.service")


@pytest.mark.row("NM-1", "NM-3")
def test_twenty_tasks_and_what_an_environment_lays_over_them(on252: Callable[[str], Group]) -> None:
    app = on252("many")
    kinds = [ends("prestart"), stays("prestart"), ends("poststart"), stays("poststart"), ends("poststop")]
    service = web(tasks={f"t{number}": kinds[number % 5] for number in range(20)})
    overlay = {"services": {"web": {"tasks": {"t0": {"environment": {"V": "2"}}, "t1": None}}}}
    app.write({"web": service}, environments={"stage": overlay})
    app.apply()
    app.until_up("web", *(f"web-t{number}" for number in range(20)))
    app.until_steps([line for number in range(20) for line in _line(number)] + ["api up", "worker up"])
    app.systemctl("stop", "many.target")
    app.until_all_gone()
    text = app.nanod("compile", "-e", "stage", app.spec).out
    assert "many-stage-web-t0.service" in text
    assert "many-stage-web-t1.service" not in text


def _line(number: int) -> list[str]:
    return [[f"t{number}"], [f"t{number} up"], [f"t{number}"], [f"t{number} up"], []][number % 5]


@pytest.mark.row("BX-2")
def test_killed_at_each_point_a_change_of_a_group_is_done_or_not(machine: Machine, any_machine: Machine, on: Callable[[str], Group]) -> None:
    app = on("cut")
    app.apply({"web": web()})
    app.until_steps(UP)
    service = web()
    service["tasks"] |= {"init": NEW["init"], "ship": NEW["ship"], "more": stays("prestart")}
    old = seen(app)
    app.write({"web": service})
    reached = listed(app, "apply", app.spec)
    new = seen(app)
    for point in chosen(reached) if any_machine is machine else sample(reached):
        app.apply({"web": web()})
        app.write({"web": service})
        if cut(app, point, "apply", app.spec):
            app.nanod("recover", status=None)
            app.jobs_done()
            until(lambda: seen(app).active in (old.active, new.active), f"as before or as after, at {point}: {seen(app).active}")
            found = seen(app)
            assert found.files in (old.files, new.files), point
            assert found.left == (), point


@pytest.mark.row("NM-1", "BX-18", "BX-26")
def test_secrets_files_masks_and_drop_ins_of_tasks(any_machine: Machine, on: Callable[[str], Group]) -> None:
    app = on("around")
    any_machine.write("/etc/nanod/around.env", "FROM=file\n")
    any_machine.write("/etc/nanod/around.secret", "sesame", mode=0o600)
    told = f'echo "$NANOD_TASK $FROM $(cat "$CREDENTIALS_DIRECTORY/key") $LIFECYCLE_PHASE" >>{DIRECTORY}/around.log'
    service = web(user="daemon", environment_files=["around.env"], credentials={"key": "around.secret"})
    service["tasks"] |= {"init": ends("prestart", command=told), "hello": ends("poststart", command=told)}
    app.apply({"web": service})
    app.until_step("hello file sesame poststart")
    assert "init file sesame prestart" in app.steps()
    assert "sesame" not in app.systemctl("cat", "around-web-init", "around-web-hello", "around-web-api")

    # An administrator's drop-in wins, and what she has masked stays away.
    any_machine.write("/etc/systemd/system/around-web-ship.service.d/own.conf", "[Service]\nEnvironment=FROM=admin\n")
    app.systemctl("daemon-reload")
    app.systemctl("mask", "--runtime", "--now", "around-web-ship.service", status=None)
    any_machine.path("/etc/systemd/system/around-web-ship.service").rename(any_machine.path("/srv/steps/ship.away"))
    app.systemctl("mask", "--now", "around-web-ship.service")
    before = app.run_of("web-api", "web-worker", "web-side")
    done = app.apply({"web": service | {"description": "Another"}})
    assert "around-web-ship.service is masked" in done.out
    assert app.run_of(*before) == before
    app.systemctl("restart", "around.target")
    app.until_up("web-api", "web-worker", "web-side")
    assert app.state("web-ship") == "inactive"
    app.systemctl("unmask", "around-web-ship.service")
    app.systemctl("unmask", "--runtime", "around-web-ship.service")
    app.apply()
    app.until_up("web-ship")
    assert "FROM=admin" in app.show("web-ship", "Environment")
    any_machine.path("/etc/systemd/system/around-web-ship.service.d/own.conf").unlink()
