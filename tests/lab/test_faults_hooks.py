"""Hooks and main processes that fail, hang, fork, crash, or do not let go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.steps import DIRECTORY, MAIN, STEP, App

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

ONCE = {"policy": "no"}
FAILURES = {
    "exits": ("echo broken >&2; exit 1", ["1", "broken"]),
    "hangs": ("sleep 611", ["time"]),
    "forks": ("sleep 612 & sleep 613 & exit 3", ["3"]),
    "killed": ("kill -SEGV $$", []),
}
"""What a prestart hook does, and words that the verdict has to say of it."""


@pytest.mark.row("NK-12", "NK-20", "BX-7", "FAULTS-24")
def test_a_prestart_that_fails_in_any_way(machine: Machine) -> None:
    app = App.on(machine, "pre")
    services = {
        name: app.service(name, hooks=(), restart=ONCE)
        | {"hooks": {"prestart": {"run": text, "name": "breaks", "timeout": "300ms"}, "poststop": STEP}}
        for name, (text, _) in FAILURES.items()
    }
    done = app.leave(services)
    told = {line.split()[1] if line.split()[0] in "✗x-*" else line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    for name, (_, words) in FAILURES.items():
        said = "\n".join(line for line in done.out.splitlines() if name in line or line.startswith("    "))
        assert "prestart/breaks" in said, told
        for word in words:
            assert word in said, f"{name}: {word}\n{done.out}"
        assert app.state(name) == "failed"
        assert app.show(name, "MainPID") == "0"
        assert app.show(name, "ControlGroup") == "" or app.show(name, "TasksCurrent") in ("[not set]", "0")
    assert sorted(app.steps()) == sorted(f"poststop {name}" for name in FAILURES), "once each"
    assert machine.run(["pgrep", "--full", "--list-full", "sleep 61[1-3]"]).out == "", "nobody is left behind"
    app.remove()


@pytest.mark.row("BX-7", "FAULTS-25")
def test_a_main_that_does_not_stay_is_reported_failed(machine: Machine) -> None:
    """At once with 0, soon with 1, later within the settle window; systemctl start says 0 for all of them."""
    app = App.on(machine, "main")
    mains = {"at-once": "exit 0", "soon": "sleep 0.1; exit 1", "later": "sleep 2; kill -ABRT $$"}
    services = {
        name: app.service(name, hooks=(), restart=ONCE) | {"command": f"{text}", "health": None, "settle": "4s"} for name, text in mains.items()
    }
    services["stays"] = app.service("stays", settle="4s")
    done = app.leave(services)
    for name in mains:
        assert name in done.out
    assert "ABRT" in done.out
    assert app.is_up("stays")
    status = app.nanod("status", "main", status=4).out
    assert "stays" in status
    # An unhealthy verdict is not forgotten by a second apply, which tries again, and leaves all as it was.
    before = {name: app.state(name) for name in mains}
    stays = app.pid("stays")
    assert "rolled back to generation 1" in app.apply(status=4).out
    assert {name: app.state(name) for name in mains} == before
    assert app.pid("stays") == stays
    app.remove()


@pytest.mark.row("BX-7", "BX-23")
def test_a_service_that_recovers_by_itself_within_its_limit_is_healthy(machine: Machine) -> None:
    """`systemctl start` fails at the first failure although the restart then succeeds: the settled state counts."""
    app = App.on(machine, "recovers")
    second = f"test -e {DIRECTORY}/recovers-tried || {{ touch {DIRECTORY}/recovers-tried; exit 1; }}; exec {MAIN}"
    app.apply({"web": app.service("web") | {"command": second}})
    assert app.is_up("web")
    app.remove()


@pytest.mark.row("NK-20", "FAULTS-26")
def test_a_service_that_ignores_its_stop_signal_is_killed(machine: Machine) -> None:
    """And apply goes on."""
    app = App.on(machine, "deaf")
    stubborn = f"trap '' TERM; : >$NANOD_RUN_DIR/up; while :; do sleep 614; done; exec {MAIN}"
    web = app.service("web", hooks=(), stop={"timeout": "1s"}) | {"command": stubborn}
    app.apply({"web": web})
    before = app.pid("web")
    app.apply({"web": web | {"environment": {"A": "1"}}})
    assert app.pid("web") not in (0, before)
    app.remove()
    assert machine.run(["pgrep", "--full", "sleep 614"]).out == ""


@pytest.mark.row("NK-16", "FAULTS-26")
def test_a_poststop_hook_without_a_limit_gives_the_process_none(any_machine: Machine) -> None:
    """Its infinite TimeoutStopSec= holds for the wait after the signal too, so nanod's own last line before it ends the wait."""
    app = App.on(any_machine, "patient")
    stubborn = f"trap '' TERM; (trap '' TERM; sleep 615; sleep 615) & : >$NANOD_RUN_DIR/up; while :; do sleep 616; done; exec {MAIN}"
    hooks = {"poststop": {"run": STEP, "timeout": "infinity"}}
    app.apply({"web": app.service("web", hooks=(), stop={"timeout": "1s"}) | {"command": stubborn, "hooks": hooks}})
    assert app.show("web", "TimeoutStopUSec") == "infinity"
    app.systemctl("stop", "patient-web")
    assert app.state("web") in ("failed", "inactive")
    assert app.steps() == ["poststop web"]
    assert app.machine.run(["pgrep", "--full", "sleep 61[56]"]).out == ""
    app.apply({"web": app.service("web", hooks=(), stop={"timeout": "9s"}) | {"hooks": hooks}})
    app.clear()
    app.systemctl("stop", "patient-web")
    assert app.state("web") == "inactive", "who heeds the signal ends well"
    assert app.steps() == ["signal web", "poststop web"]
    app.remove()


@pytest.mark.row("NK-15", "NK-16")
def test_a_stop_while_the_gate_waits(machine: Machine) -> None:
    """Systemd sends the signal at once then, without prestop (tried); poststop cleans up all the same."""
    app = App.on(machine, "early")
    app.sick("web")
    app.write({"web": app.service("web")})
    apply = machine.popen(["nanod", "apply", app.spec])
    app.until_step("main web")
    app.systemctl("stop", "early-web")
    assert apply.wait(timeout=60) == 4
    assert app.steps() == ["prestart web", "main web", "signal web", "poststop web"] or app.steps() == ["prestart web", "main web", "poststop web"]
    app.well("web")
    assert app.traces() == []


@pytest.mark.row("FAULTS-43")
@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_hook_that_others_can_change_does_not_run_as_root(machine: Machine, mode: int) -> None:
    """The program, or a directory above it, belongs to or can be written by somebody else."""
    app = App.on(machine, "writable")
    machine.path(f"{DIRECTORY}/writable-ran").unlink(missing_ok=True)
    directory = machine.path(f"/opt/writable-{mode:o}")
    directory.mkdir()
    program = directory / "hook"
    program.write_text(f"#!/bin/sh\ntouch {DIRECTORY}/writable-ran\n")
    program.chmod(0o755)
    machine.run(["chgrp", "www-data", f"/opt/{directory.name}"])
    directory.chmod(mode)
    inner = f"/opt/{directory.name}/hook"
    for run in ([inner], inner):
        done = app.apply({"web": app.service("web", hooks=()) | {"hooks": {"prestart": {"run": run}}}}, status=None)
        assert done.status in (1, 2), done.out
        assert inner in done.err
    assert not machine.path(f"{DIRECTORY}/writable-ran").exists()
    assert not machine.path("/etc/systemd/system/writable-web.service").exists()
    # As the service's own user it is that user's affair.
    app.apply({"web": app.service("web", hooks=(), user="www-data") | {"hooks": {"prestart": {"run": [inner]}}}})
    directory.chmod(0o755)
    app.remove()


@pytest.mark.row("BX-12", "FAULTS-42")
@pytest.mark.parametrize("kind", ["fifo", "directory", "missing", "huge"])
def test_a_spec_that_is_no_file(machine: Machine, kind: str) -> None:
    """Said, and not waited for."""
    path = Path(f"/etc/nanod/{kind}.yaml")
    machine.path(path.parent).mkdir(exist_ok=True)
    if kind == "fifo":
        machine.run(["mkfifo", str(path)])
    elif kind == "directory":
        machine.path(path).mkdir()
    elif kind == "huge":
        machine.path(path).write_text("# " + "x" * (1 << 21))
    done = machine.run(["nanod", "apply", str(path)], timeout=30)
    assert done.status in (1, 2)
    assert str(path) in done.err
    assert "Traceback" not in done.err
