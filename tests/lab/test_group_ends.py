"""How groups end, and what must not bring them back or down: what an administrator, a crash and an apply do at the wrong moment. On both systemds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.groups import STAYS, UP, Group, ends, stays, web
from tests.lab.steps import DIRECTORY, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanod.rehearse.machine import Machine


def note(app: Group, word: str) -> str:
    return f"echo {word} >>{app.log}"


@pytest.mark.row("NM-10", "NM-12")
def test_a_sidecar_between_two_tries_does_not_bring_its_group_back(on: Callable[[str], Group]) -> None:
    """Its next try would start the companion, with the hooks of the service, and then there would be another end to clean up after."""
    app = on("tries")
    service = web(hooks={"prestart": note(app, "prestart"), "poststop": note(app, "poststop")})
    bad = app.machine.path(f"{DIRECTORY}/tries-bad")
    service["tasks"]["ship"] = stays("poststart", command=f"test ! -e {DIRECTORY}/tries-bad && exec {STAYS}", restart={"delay": "1500ms"})
    app.apply({"web": service})
    for stop in (["systemctl", "stop", "tries.target"], ["systemctl", "stop", "tries-web-group"], ["nanod", "stop", "tries", "web"]):
        bad.touch()
        app.crash("web-ship")
        until(lambda: app.show("web-ship", "SubState") == "auto-restart", "it waits for its next try")
        app.clear()
        done = app.machine.run(stop)
        assert done.status == 0, done.err
        assert "again" not in done.out
        until(lambda: app.state("web-ship") in ("inactive", "failed"), "it is not tried again")
        until(lambda: "poststop" in app.steps(), "the hooks at the end")
        app.jobs_done()
        # A unit that somebody starts by hand comes up with its companion for a moment.
        for _ in range(2):
            app.systemctl("start", app.unit("web-clean"))
            until(lambda: app.state("web-group") == "inactive", "the companion has gone")
            app.jobs_done()
        assert [line for line in app.steps() if line.startswith("clean")] == ["clean success"], stop
        bad.unlink()
        app.systemctl("start", "tries.target", "tries-web")
        app.until_up("web-ship")


@pytest.mark.row("NM-12", "NM-15")
def test_what_a_group_requires_is_there_until_it_is_cleaned_up(on252: Callable[[str], Group]) -> None:
    app = on252("after")
    group = web(requires=["db"])
    group["tasks"]["clean"] = ends("poststop", command=f"sleep 1; {note(app, 'clean')}")
    app.apply({"db": stays() | {"user": "root", "settle": "0s"}, "web": group})
    app.until_steps(["db up", *UP])
    app.clear()
    app.systemctl("stop", "after.target")
    app.until_all_gone()
    app.in_order("side down", "clean", "db down")


@pytest.mark.row("NM-9", "NM-10")
def test_a_poststart_task_that_must_not_fail_waits_for_a_main_that_is_tried_again(on: Callable[[str], Group]) -> None:
    """Its condition does not hold until all mains are up. To be skipped is no failure."""
    app = on("skipped")
    once = f"test -e {DIRECTORY}/skipped-once || {{ touch {DIRECTORY}/skipped-once; exit 3; }}"
    service = web(restart={"delay": "500ms", "limit": 5, "window": "20s"})
    service["processes"]["worker"] = stays(hooks={"prestart": once})
    service["tasks"]["hello"] = ends("poststart", on_failure="fail")
    app.apply({"web": service})
    app.until_steps(UP)


@pytest.mark.row("NM-10", "NM-2")
def test_a_failed_poststart_task_of_an_instance_ends_that_instance(on252: Callable[[str], Group]) -> None:
    app = on252("one-of-three")
    bad = f"test ! -e {DIRECTORY}/one-of-three-$NANOD_REPLICA"
    service = web(replicas=3, rolling={"min_healthy_time": "0s"}, command=[STAYS])
    service.pop("processes")
    once: dict[str, Any] = {"restart": {"policy": "no"}}
    cleanup = f'echo "clean $NANOD_REPLICA" >>{app.log}'
    service["tasks"] = {"hello": ends("poststart", command=bad, on_failure="fail", **once), "clean": ends("poststop", command=cleanup)}
    app.apply({"web": service})
    app.systemctl("stop", f"{app.name}.target")
    until(lambda: not app.active(), "all have ended")
    app.clear()
    app.machine.path(f"{DIRECTORY}/one-of-three-2").touch()
    app.systemctl("start", f"{app.name}.target")
    until(lambda: "clean 2" in app.steps(), "the second one has ended")
    app.jobs_done()
    assert [app.state(f"web@{number}") for number in (1, 2, 3)] == ["active", "inactive", "active"]
    assert [line for line in app.steps() if line.startswith("clean")] == ["clean 2"]


@pytest.mark.row("NM-9", "BX-26")
def test_a_masked_main_is_none(any_machine: Machine, on: Callable[[str], Group]) -> None:
    """Nobody waits for one. With all of them masked there is nothing to wait for either, and that is said."""
    app = on("masked")
    app.apply({"web": web()})
    for name in ("worker", "api"):
        app.systemctl("stop", "masked.target")
        app.until_all_gone()
        app.clear()
        any_machine.path(f"/etc/systemd/system/masked-web-{name}.service").unlink()
        app.systemctl("mask", app.unit(f"web-{name}"))
        app.systemctl("start", "masked.target")
        app.jobs_done()
        if name == "worker":
            app.until_steps(["side up", "init", "api up", "hello", "ship up"])
            assert app.is_up("web")
    assert app.state("web") == "failed"
    assert "all that it stands for is masked" in app.journal("-u", app.unit("web"))
    app.systemctl("unmask", app.unit("web-api"), app.unit("web-worker"))


@pytest.mark.row("NM-12", "NM-15")
def test_a_sidecar_with_liveness_goes_with_its_group(on257: Callable[[str], Group]) -> None:
    """What watches it does not keep it."""
    app = on257("watched")
    service = web(command=[STAYS])
    service.pop("processes")
    service["tasks"]["side"] = stays("prestart", health={"exec": "/bin/true", "interval": "50ms", "liveness": {"interval": "1s"}})
    app.apply({"web": service})
    app.until_steps(["side up", "init", "web up", "hello", "ship up"])
    app.clear()
    app.systemctl("stop", app.unit("web"))
    app.until_steps(["web down", "ship down", "side down", "clean success"])
    app.until_all_gone("watched.target", "watched-web-side-alive.service")


@pytest.mark.row("BX-7", "FAULTS-23")
@pytest.mark.parametrize(("any_machine", "start"), [("machine257", "systemctl"), ("machine", "nanod")], indirect=["any_machine"])
def test_a_start_of_the_app_starts_mains_that_are_down(on: Callable[[str], Group], start: str) -> None:
    """Also while what stands for them is active: to systemd that has nothing to start."""
    app = on(f"down-{start}")
    app.apply({"web": web()})
    app.systemctl("stop", app.unit("web-api"), app.unit("web-worker"))
    app.until_all_gone(f"{app.name}.target", app.unit("web"))
    app.clear()
    if start == "nanod":
        app.nanod("start", app.name)
    else:
        app.systemctl("start", f"{app.name}.target")
    app.until_steps(UP)


@pytest.mark.row("NM-10")
def test_the_cleanup_of_a_unit_that_makes_private_files(machine257: Machine, on257: Callable[[str], Group]) -> None:
    """How the group ended, and its secrets, are laid out by root for somebody else."""
    app = on257("umask")
    machine257.write("/etc/nanod/umask.secret", "sesame", mode=0o600)
    tell = f'echo "clean $(cat "$CREDENTIALS_DIRECTORY/key")" >>{app.log}'
    service = web(user="daemon")
    service["tasks"] = {"clean": ends("poststop", command=tell, credentials={"key": "umask.secret"}, systemd={"Service": {"UMask": "0077"}})}
    app.apply({"web": service})
    app.systemctl("stop", "umask.target")
    until(lambda: "clean sesame" in app.steps(), f"the cleanup has run: {app.steps()}")


@pytest.mark.row("NM-12")
def test_a_stop_while_a_task_is_at_work_is_a_stop(on252: Callable[[str], Group]) -> None:
    """Nothing has started again, only because what comes after the mains had not begun yet."""
    app = on252("early")
    service = web()
    service["tasks"]["init"] = ends("prestart", command=f"{note(app, 'init')}; test -e {DIRECTORY}/early-go || exec sleep 600")
    app.machine.path(f"{DIRECTORY}/early-go").touch()
    app.apply({"web": service})
    for words in ([], ["web"]):
        app.nanod("stop", "early")
        app.until_all_gone("early-web-init.service", "early.target")
        app.machine.path(f"{DIRECTORY}/early-go").unlink(missing_ok=True)
        app.clear()
        app.systemctl("start", "--no-block", "early.target")
        app.until_step("init")
        assert "again" not in app.nanod("stop", "early", *words).out


@pytest.mark.row("BX-27", "BX-7")
def test_a_main_that_fails_again_and_again_holds_no_boot_up(on: Callable[[str], Group]) -> None:
    """Its tries are too far apart for its start limit, so it will be tried for ever. What waits for it is not."""
    app = on("for-ever")
    service = web(restart={"delay": "1s", "limit": 2, "window": "1s"}, tasks={})
    service["processes"]["worker"] = stays(hooks={"prestart": f"test ! -e {DIRECTORY}/for-ever-bad"})
    app.apply({"web": service})
    app.machine.path(f"{DIRECTORY}/for-ever-bad").touch()
    app.systemctl("stop", "for-ever.target")
    app.systemctl("start", "--no-block", "for-ever.target")
    until(lambda: app.state("web") == "failed", "it waits no longer", timeout=60)
    until(lambda: app.state("for-ever.target") == "active", "the app counts as started")
    assert app.is_up("web-api")
    assert app.state("web-worker") == "activating"
