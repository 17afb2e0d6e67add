"""start, stop, restart, logs, run and provision on a real systemd."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import DIRECTORY, STEP, App, until

if TYPE_CHECKING:
    from nanod.host.process import Completed
    from nanod.rehearse.machine import Machine

DOWN = ("prestop", "signal", "poststop")
UP = ("prestart", "main", "poststart")


def of(steps: list[str], service: str) -> list[str]:
    return [step.split()[0] for step in steps if step.endswith(f" {service}")]


def holder(app: App) -> str:
    """PID of the nanod that holds the host's lock."""
    lock = app.machine.path("/run/nanod/lock")
    until(lambda: lock.exists() and lock.read_text().strip(), "nanod holds the lock")
    return lock.read_text().split()[0]


def data(done: Completed) -> dict[str, Any]:
    found = json.loads(done.out)
    assert isinstance(found, dict)
    return found


# start, stop, restart


def test_the_whole_app_in_order_with_its_hooks(machine: Machine) -> None:
    _whole_app(machine)


def test_the_whole_app_in_order_with_its_hooks_on_257(machine257: Machine) -> None:
    _whole_app(machine257)


def _whole_app(machine: Machine) -> None:
    app = App.on(machine, "whole")
    # Names in another order than they start in.
    app.apply({"a-front": app.service("a-front", "z-back"), "z-back": app.service("z-back")})
    app.clear()
    done = app.nanod("stop", "whole")
    assert done.out.startswith("whole: stopped (2 services stopped")
    assert app.steps() == [f"{step} {name}" for name in ("a-front", "z-back") for step in DOWN]
    assert app.machine.run(["sh", "-c", "ls /sys/fs/cgroup/nanod.slice/nanod-whole.slice 2>/dev/null | grep service"]).out == ""
    assert "nothing to stop" in app.nanod("stop", "whole").out

    app.clear()
    done = app.nanod("start", "whole")
    assert done.out.startswith("whole: healthy (2 services started")
    assert "z-back: healthy after" in done.err
    assert app.steps() == [f"{step} {name}" for name in ("z-back", "a-front") for step in UP]
    before = app.pid("z-back")
    assert "nothing to start" in app.nanod("start", "whole").out
    assert app.pid("z-back") == before

    app.clear()
    assert data(app.nanod("restart", "--json", "whole"))["verdict"] == "healthy"
    down = [f"{step} {name}" for name in ("a-front", "z-back") for step in DOWN]
    up = [f"{step} {name}" for name in ("z-back", "a-front") for step in UP]
    assert app.steps() == down + up

    app.clear()
    app.nanod("restart", "whole", "z-back", "a-front")
    assert app.steps() == down + up, "named, they keep the same order"
    app.remove()


@pytest.mark.row("BX-23")
def test_restarts_by_hand_never_reach_the_start_limit(machine: Machine) -> None:
    app = App.on(machine, "often")
    app.apply({"web": app.service("web", hooks=(), restart={"limit": 2, "window": "60s", "delay": "100ms"})})
    for _ in range(2):
        app.nanod("restart", "often", "--settle", "0")
        app.nanod("restart", "often", "web", "--settle", "0")
    # And one that has given up gets all its tries again.
    app.exits("web", "main", 1)
    app.crash("web")
    until(lambda: app.state("web") == "failed", "it gives up")
    app.exits("web", "main", 0)
    app.nanod("start", "often")
    assert app.is_up("web")
    app.remove()


def test_some_services_and_what_goes_with_them(machine: Machine) -> None:
    app = App.on(machine, "some")
    part = app.service("part") | {"requires": {"db": {"restart": True}}}
    app.apply({"db": app.service("db"), "web": app.service("web", "db"), "part": part, "side": app.service("side")})
    side = app.pid("side")
    app.clear()
    app.nanod("restart", "some", "db")
    assert of(app.steps(), "db") == of(app.steps(), "part") == [*DOWN, *UP]
    assert of(app.steps(), "web") == [], "it only requires it"
    done = app.nanod("stop", "some", "db", "--json")
    assert {item["service"]: item["status"] for item in data(done)["services"]} == {"db": "stopped", "part": "stopped"}
    assert not app.is_up("part")
    app.systemctl("stop", "some-web")
    done = app.nanod("start", "some", "web")
    assert app.is_up("db"), "what it requires comes with it"
    assert app.state("part") == "inactive"
    assert app.pid("side") == side
    assert "note: web runs on and requires db" in app.nanod("stop", "some", "db").out
    app.remove()


def test_a_failure_is_told_with_its_cause(machine: Machine) -> None:
    app = App.on(machine, "cause")
    app.apply({"db": app.service("db", restart={"policy": "no"}), "web": app.service("web", "db", restart={"policy": "no"})})
    app.exits("db", "prestart", 7)
    done = app.nanod("restart", "cause", status=4)
    assert "cannot start cause-db: hook prestart/1 exited with status 7" in done.out
    assert "cannot start cause-web: it waits for db, which failed" in done.out
    found = data(app.nanod("start", "cause", "web", "--json", status=4))
    assert {item["service"]: item["status"] for item in found["services"]} == {"db": "failed", "web": "blocked"}
    assert found["services"][0]["cause"]["status"] == 7
    app.exits("db", "prestart", 0)
    app.nanod("start", "cause")
    app.remove()


def test_what_an_administrator_masked_stays_so(machine: Machine) -> None:
    app = App.on(machine, "masks")
    app.apply({"web": app.service("web"), "db": app.service("db")})
    app.systemctl("stop", "masks-web")
    unit = machine.path("/etc/systemd/system/masks-web.service")
    unit.unlink()
    unit.symlink_to("/dev/null")
    app.systemctl("daemon-reload")
    for verb in ("restart", "stop", "start"):
        found = data(app.nanod(verb, "masks", "--json"))
        expected = {"web": "masked", "db": "healthy"} if verb != "stop" else {"web": "was-down", "db": "stopped"}
        assert {item["service"]: item["status"] for item in found["services"]} == expected
    assert "its unit is masked" in app.nanod("start", "masks", "web", status=1).err
    assert "is not the file that nanod left" in app.nanod("run", "masks", "web", "prestop", status=125).err
    app.systemctl("unmask", "masks-web")
    app.apply()
    app.remove()


def test_a_stop_ends_an_install_and_kills_what_does_not_obey(machine: Machine) -> None:
    app = App.on(machine, "stubborn")
    deaf = app.service("deaf", hooks=(), stop={"timeout": "1s"}) | {
        "command": ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
        "health": None,
    }
    app.apply({"deaf": deaf})
    done = app.nanod("stop", "stubborn")
    assert "stubborn-deaf.service: it did not stop within its time and was killed" in done.out
    slow = app.service("slow", hooks=(), provisioning={"install": "touch /srv/steps/at-it; sleep 1000"})
    app.write({"slow": slow})
    machine.path(f"{DIRECTORY}/at-it").unlink(missing_ok=True)
    # As at a boot: applied by hand, without a nanod that waits for it.
    with machine.popen(["nanod", "apply", app.spec], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as applying:
        until(lambda: machine.path(f"{DIRECTORY}/at-it").exists(), "it installs")
        assert app.nanod("stop", "stubborn", "--lock-timeout", "0", status=5).out == ""
        machine.run(["kill", "-KILL", holder(app)])
        applying.wait()
    app.nanod("remove", "stubborn", status=None)


# logs


def talking(app: App, name: str, *requires: str, **keys: Any) -> dict[str, Any]:
    """Says its name, an error and an escape sequence, and then waits."""
    say = f"echo 'I am {name}'; echo '<3>{name} is in trouble'; printf 'red \\033[31m\\n'; exec sleep 1000"
    return app.service(name, *requires, hooks=()) | {"command": ["/bin/sh", "-c", say], "health": None} | keys


def test_logs_of_a_group_by_time_with_hooks_and_installs(machine: Machine) -> None:
    app = App.on(machine, "talk")
    hooks = {"prestart": {"run": "echo checking", "name": "check"}, "ready": {"run": "echo warming; exit 3", "name": "warm"}}
    web = talking(app, "web", "db", hooks=hooks)
    app.apply({"web": web, "db": talking(app, "db", volume="/srv/talk", provisioning={"install": "echo installing"})})
    until(lambda: "hook ready/warm failed, status 3" in app.nanod("logs", "talk").out, "all is said")
    text = app.nanod("logs", "talk").out
    said = [line.split(" ", 3)[3].replace(" ", "") for line in text.splitlines() if " | " in line]
    expected = [
        "db/install|installing",
        "db/install|hookinstall/installsucceeded",
        "db|Iamdb",
        "web|checking",
        "web|hookprestart/checksucceeded",
        "web|Iamweb",
    ]
    assert [line for line in said if line in expected] == expected
    assert "web|red\\x1b[31m" in said
    assert "\x1b" not in text
    assert text.count("hook ready/warm failed") == 1
    assert "web/ready  | warming" in text

    found = [json.loads(line) for line in app.nanod("logs", "talk", "web", "--json", "-n", "all").out.splitlines()]
    assert {item["service"] for item in found} == {"web"}
    assert sorted(found, key=lambda item: item["time"]) == found
    trouble = next(item for item in found if "trouble" in item["message"])
    assert (trouble["priority"], trouble["source"], trouble["phase"]) == (3, "service", None)
    warmed = next(item for item in found if item["hook"] == "warm")
    assert (warmed["unit"], warmed["phase"], warmed["source"], warmed["priority"]) == ("talk-web-ready.service", "ready", "hook", 4)
    assert len(app.nanod("logs", "talk", "-n", "2").out.splitlines()) == 2
    assert app.nanod("logs", "talk", "--since", "1h").out == app.nanod("logs", "talk", "-n", "all").out
    assert app.nanod("logs", "talk", "--since", "2099-01-01").out == ""
    assert "cannot read 'soon' as a time" in app.nanod("logs", "talk", "--since", "soon", status=2).err
    app.remove()


def test_logs_follow_until_they_are_told_to_end(machine: Machine) -> None:
    app = App.on(machine, "follow")
    app.apply({"web": talking(app, "web")})
    with machine.popen(["nanod", "logs", "-f", "-n", "1", "follow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert following.stderr is not None
        assert following.stdout.readline(), "what was said before"
        app.systemctl("restart", "follow-web")
        while b"I am web" not in following.stdout.readline():
            pass
        finder = "for d in /proc/[0-9]*; do tr '\\0' ' ' <$d/cmdline 2>/dev/null | grep -q 'nanod logs -f -n 1' && echo ${d#/proc/}; done"
        pids = machine.run(["sh", "-c", finder]).out.split()
        machine.run(["kill", "-INT", *pids])
        assert following.stderr.read() == b""
    assert following.returncode == 130
    until(lambda: "--follow" not in machine.run(["sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"]).out, "journalctl ends with it")
    done = machine.run(["sh", "-c", "nanod logs -n all follow | head -1"])
    assert (done.out.count("\n"), done.err) == (1, "")
    app.remove()


def test_logs_without_the_right_to_read_them(machine: Machine) -> None:
    app = App.on(machine, "secret")
    app.apply({"web": talking(app, "web")})
    done = machine.run(["nanod", "logs", "secret"], user="nobody")
    assert (done.status, done.out) == (1, "")
    assert "the journal is readable to root and its groups alone" in done.err
    assert "hint: sudo nanod logs secret, or become a member of the group systemd-journal" in done.err
    app.remove()


# run


def by_hand(app: App) -> dict[str, Any]:
    """A strict service of a dynamic user, with hooks that tell where they are."""
    tell = "id -un; echo $LIFECYCLE_PHASE $COLOUR; cat /tmp/mark 2>/dev/null || echo none"
    hooks = {
        "prestart": [{"run": f"{tell}; cat $CREDENTIALS_DIRECTORY/key", "name": "in", "context": "service"}, {"run": tell, "name": "out"}],
        "reload": {"run": "kill -0 $MAINPID && echo $MAINPID"},
        "prestop": [{"run": "echo first; exit 4", "name": "a"}, {"run": "echo second >&2; exit 5", "name": "b"}],
        "poststop": [{"run": "echo $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS", "name": "told"}, {"run": "sleep 9", "name": "long", "timeout": "300ms"}],
        "ready": ["echo one", {"run": "kill -KILL $$", "name": "dies"}],
    }
    app.machine.write("/etc/hand.key", "secret\n", mode=0o600)
    return {
        "command": ["/bin/sh", "-c", "echo mine >/tmp/mark; touch $NANOD_RUN_DIR/up; exec sleep 1000"],
        "dynamic_user": True,
        "sandbox": "strict",
        "volume": f"/var/lib/{app.name}",
        "runtime_dir": True,
        "settle": "0s",
        "environment": {"COLOUR": "blue"},
        "credentials": {"key": "/etc/hand.key"},
        "hooks": hooks,
    }


def left_of_hand(app: App) -> str:
    listed = app.systemctl("list-units", "--all", "--plain", "--no-legend", "nanod-run-*")
    return listed + "".join(path.name for path in app.machine.path("/run/systemd/system").glob("nanod-run-*"))


@pytest.mark.row("BX-31")
def test_a_hook_by_hand_is_where_it_is_in_its_service(machine: Machine) -> None:
    _by_hand(machine)


@pytest.mark.row("BX-31")
def test_a_hook_by_hand_is_where_it_is_in_its_service_on_257(machine257: Machine) -> None:
    _by_hand(machine257)


def _by_hand(machine: Machine) -> None:
    app = App.on(machine, "hand")
    app.apply({"web": by_hand(app)})
    until(lambda: machine.path("/run/private/hand/web/up").exists() or machine.path("/run/hand/web/up").exists(), "it runs")
    machine.write("/tmp/mark", "the host's\n")
    before = app.pid("web")
    runtime = machine.run(["ls", "-ldi", "/run/hand/web"]).out.split()[:2]

    def run(*words: str, status: int = 0) -> Completed:
        return app.nanod("run", "hand", "web", *words, status=status)

    own, host = ["hand-web", "prestart blue", "mine", "secret"], ["hand-web", "prestart blue", "the host's"]
    assert run("prestart").out.splitlines() == own + host, "each in its context: its own /tmp and credentials, or the host's"
    assert run("reload").out == f"{before}\n"
    done = run("prestop", status=5)
    assert done.out == "first\n", "last one first, and all of them"
    assert done.err == "second\nnanod: hook prestop/b failed, status 5\nnanod: hook prestop/a failed, status 4\n"
    assert run("poststop", "told").out == "success exited 0\n"
    run("poststop", status=124)
    assert run("ready", status=137).out == "one\n"
    found = data(run("prestop", "a", "--json", status=4))
    assert (found["status"], [(item["name"], item["status"]) for item in found["hooks"]]) == (4, [("a", 4)])

    assert app.pid("web") == before
    assert machine.run(["ls", "-ldi", "/run/hand/web"]).out.split()[:2] == runtime
    assert machine.path("/run/hand/web/up").exists()
    assert left_of_hand(app) == ""
    hooks = data(app.nanod("status", "hand", "--json", status=None))["apps"][0]["services"][0]["hooks"]
    shown = {f"{item['phase']}/{item['name']}": item["status"] for item in hooks}
    assert (shown["prestop/a"], shown["prestop/b"], shown["poststop/long"], shown["reload/1"]) == (4, 5, 124, 0)
    assert app.show("web", "NeedDaemonReload") == "no"
    machine.path("/tmp/mark").unlink()
    app.remove("--purge")


def test_a_hook_by_hand_of_a_service_that_is_down(machine: Machine) -> None:
    app = App.on(machine, "idle")
    where = "ls -d $NANOD_RUN_DIR; touch $NANOD_RUN_DIR/x; id -un"
    prestart = [{"run": where, "context": "service"}, {"run": f"cat {DIRECTORY}/deploy", "scope": "deploy", "name": "once"}]
    web = app.service("web", hooks=()) | {"user": "nobody", "hooks": {"prestart": prestart, "reload": "true"}}
    machine.write(f"{DIRECTORY}/deploy", "deployed\n")
    app.apply({"web": web})
    app.nanod("stop", "idle")
    done = app.nanod("run", "idle", "web", "prestart")
    assert done.out == "deployed\n/run/idle/web\nnobody\n"
    assert not machine.path("/run/idle/web").exists(), "made for the hook, and gone with it"
    assert app.state("web") == "inactive"
    assert "it is not running" in app.nanod("run", "idle", "web", "reload", status=125).err
    machine.path(f"{DIRECTORY}/deploy").unlink()
    done = app.nanod("run", "idle", "web", "prestart", status=1)
    assert "nanod: not run: prestart/1" in done.err, "the phase stops at its first failure"
    app.remove()


def test_drop_ins_of_the_administrator_count_for_a_hook_by_hand(machine: Machine) -> None:
    app = App.on(machine, "dropin")
    app.apply({"web": app.service("web", hooks=()) | {"hooks": {"prestop": {"run": "echo $MOOD; nice"}}}})
    machine.write("/etc/systemd/system/dropin-web.service.d/mood.conf", "[Service]\nEnvironment=MOOD=good\nNice=7\nExecStartPre=/bin/false\n")
    app.systemctl("daemon-reload")
    assert app.nanod("run", "dropin", "web", "prestop").out == "good\n7\n"
    machine.run(["rm", "-r", "/etc/systemd/system/dropin-web.service.d"])
    app.systemctl("daemon-reload")
    app.remove()


@pytest.mark.parametrize("signal", ["INT", "TERM", "HUP"])
def test_an_interrupted_hook_is_stopped_and_nothing_stays(machine: Machine, signal: str) -> None:
    app = App.on(machine, "ctrlc")
    web = app.service("web", hooks=()) | {"hooks": {"reload": {"run": "trap 'echo ending; exit 0' TERM; echo begun; while :; do sleep 0.1; done"}}}
    app.apply({"web": web})
    before = app.pid("web")
    with machine.popen(["nanod", "run", "ctrlc", "web", "reload"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"begun\n", "output comes while it runs"
        machine.run(["kill", f"-{signal}", holder(app)])
        assert running.stdout.read() == b"ending\n"
    assert running.returncode == 130
    assert left_of_hand(app) == ""
    assert app.pid("web") == before
    app.remove()


def test_what_a_killed_run_left_goes_with_the_next(machine: Machine) -> None:
    app = App.on(machine, "killed")
    app.apply({"web": app.service("web", hooks=()) | {"hooks": {"reload": {"run": "echo begun; sleep 1000"}, "poststop": {"run": "true"}}}})
    with machine.popen(["nanod", "run", "killed", "web", "reload"], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"begun\n"
        assert app.nanod("run", "--lock-timeout", "0", "killed", "web", "poststop", status=125).err.startswith("nanod: busy: held by pid ")
        machine.run(["kill", "-KILL", holder(app)])
    assert left_of_hand(app)
    app.nanod("run", "killed", "web", "poststop")
    assert left_of_hand(app) == ""
    app.remove()


def test_output_is_passed_on_byte_for_byte_and_a_closed_pipe_ends_the_hook(machine: Machine) -> None:
    app = App.on(machine, "bytes")
    dump, endless = f"head -c 3000000 /dev/urandom | tee {DIRECTORY}/bytes", f"[ ! -e {DIRECTORY}/endless ] || yes"
    hooks = {"reload": [{"run": dump, "name": "dump"}, {"run": endless, "name": "endless"}]}
    app.apply({"web": app.service("web", hooks=()) | {"hooks": hooks}})
    machine.path(f"{DIRECTORY}/endless").touch()
    done = machine.run(["sh", "-c", f"nanod run bytes web reload dump >/tmp/bytes && cmp /tmp/bytes {DIRECTORY}/bytes"])
    assert (done.status, done.out, done.err) == (0, "", "")
    done = machine.run(["sh", "-c", "nanod run bytes web reload endless | head -1"])
    assert done.out == "y\n"
    assert left_of_hand(app) == ""
    app.remove()


# provision


def provisioned(app: App, name: str = "web", **step: Any) -> dict[str, Any]:
    return app.service(name, hooks=()) | {"volume": f"/srv/{app.name}-{name}", "provisioning": {"install": STEP} | step}


def sentinels(app: App, volume: str) -> list[str]:
    return sorted(path.name for path in app.machine.path(volume).glob(".nanod-installed-*"))


@pytest.mark.row("BX-31")
def test_installs_are_done_when_pending_and_again_by_force(machine: Machine) -> None:
    app = App.on(machine, "prov")
    dynamic = {key: value for key, value in provisioned(app, "dyn").items() if key not in ("user", "health")}
    dynamic |= {"dynamic_user": True, "volume": "/var/lib/prov-dyn"}
    bare = {key: value for key, value in provisioned(app, "bare").items() if key != "volume"}
    app.apply({"web": provisioned(app, creates=["made"], install=f"{STEP}; touch made"), "dyn": dynamic, "bare": bare, "none": app.service("none")})
    before = {name: app.pid(name) for name in ("web", "dyn", "bare")}
    app.clear()
    done = app.nanod("provision", "prov")
    assert done.out.count("already installed (sentinel /") == 3
    assert app.steps() == []
    machine.path("/srv/prov-web/made").unlink()
    done = app.nanod("provision", "prov")
    assert "web: installed (" in done.out
    assert "`nanod restart prov web` starts it anew" in done.out
    assert app.steps() == ["install web"]

    app.clear()
    found = data(app.nanod("provision", "--force", "prov", "--json"))
    assert {item["service"]: item["status"] for item in found["installs"]} == dict.fromkeys(("web", "dyn", "bare"), "installed")
    assert sorted(app.steps()) == ["install bare", "install dyn", "install web"]
    assert len(sentinels(app, "/srv/prov-web")) == len(sentinels(app, "/var/lib/private/prov-dyn")) == 1
    assert {name: app.pid(name) for name in before} == before

    app.exits("web", "install", 6)
    done = app.nanod("provision", "--force", "prov", "web", status=4)
    assert "cannot provision web: install exited with status 6" in done.out
    assert sentinels(app, "/srv/prov-web") == []
    assert app.pid("web") == before["web"], "a failed install takes nothing with it"
    app.exits("web", "install", 0)
    app.nanod("provision", "prov", "web")
    assert "there is no install" in app.nanod("provision", "prov", "none", status=2).err
    app.remove()


def test_a_forced_install_waits_for_one_at_work(machine: Machine) -> None:
    app = App.on(machine, "wait")
    app.apply({"web": provisioned(app)})
    held = machine.path(f"{DIRECTORY}/held")
    held.write_text("")
    hold = ["flock", "--no-fork", "/srv/wait-web", "sh", "-c", f"echo $$ >{DIRECTORY}/held; exec sleep 1000"]
    with machine.popen(hold, stdin=subprocess.DEVNULL):
        until(held.read_text, "the volume is locked")
        done = app.nanod("provision", "--force", "--lock-timeout", "0", "wait", status=5)
        assert "an install holds /srv/wait-web" in done.err
        assert len(sentinels(app, "/srv/wait-web")) == 1
        machine.run(["kill", held.read_text().strip()])
    app.until_step("main web")
    app.clear()
    app.nanod("provision", "--force", "wait")
    assert app.steps() == ["install web"]
    app.remove()


def test_an_interrupt_leaves_the_install_and_the_service_alone(machine: Machine) -> None:
    app = App.on(machine, "leave")
    app.apply({"web": provisioned(app, install=f"while [ -e {DIRECTORY}/leave-hold ]; do sleep 0.05; done; {STEP}")})
    before = app.pid("web")
    machine.path(f"{DIRECTORY}/leave-hold").touch()
    app.clear()
    with machine.popen(["nanod", "provision", "--force", "leave"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        until(lambda: app.state("leave-web-provision.service") == "activating", "it installs")
        time.sleep(0.2)
        machine.run(["kill", "-INT", holder(app)])
        assert waiting.stdout is not None
        assert b"the install goes on" in waiting.stdout.read()
    assert waiting.returncode == 130
    machine.path(f"{DIRECTORY}/leave-hold").unlink()
    app.until_step("install web")
    assert app.pid("web") == before
    app.remove()
