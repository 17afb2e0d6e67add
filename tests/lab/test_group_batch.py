"""A script as the main of a group: tasks before it, beside it and after its end; and its exit code is the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.groups import Group, ends, stays
from tests.lab.steps import DIRECTORY, PROGRAMS, until

if TYPE_CHECKING:
    from collections.abc import Callable


def batch(app: Group, **keys: Any) -> dict[str, Any]:
    """It ends when the tasks beside it have been seen, with the status that it is told."""
    job = app.program(
        "job",
        f"""#!/bin/sh
log={DIRECTORY}/$NANOD_APP.log
echo "job begins" >>"$log"
while [ -e {DIRECTORY}/$NANOD_APP-job.waits ]; do sleep 0.05; done
echo "job ends" >>"$log"
exit "$(cat {DIRECTORY}/$NANOD_APP-job.status 2>/dev/null || echo 0)"
""",
    )
    return {
        "kind": "script",
        "command": [job],
        "user": "root",
        "settle": "0s",
        "runtime_dir": True,
        "tasks": {
            "init": ends("prestart"),
            "side": stays("prestart"),
            "hello": ends("poststart"),
            "ship": stays("poststart"),
            "clean": ends("poststop"),
        },
    } | keys


QUICK = ["init", "side up", "job begins", "job ends", "side down"]


@pytest.mark.row("NM-9", "NM-12", "NM-15", "NM-19")
@pytest.mark.parametrize("status", [0, 3])
def test_a_batch_job_with_everything_around_it(on: Callable[[str], Group], status: int) -> None:
    app = on(f"batch{status}")
    app.write({"web": batch(app)})
    app.tells("job", status)
    waits = app.machine.path(f"{DIRECTORY}/{app.name}-job.waits")
    waits.touch()
    command = app.machine.popen(["nanod", "apply", "--no-rollback", app.spec])
    app.until_step("job begins")
    app.until_step("hello")
    app.until_step("ship up")
    assert not any(line.startswith(("job ends", "clean")) for line in app.steps())
    waits.unlink()
    assert command.wait(60) == (4 if status else 0)
    result = "exit-code" if status else "success"
    app.until_steps([*QUICK, "hello", "ship up", "ship down", f"clean {result}"])
    app.in_order("side up", "init", "job begins", "hello|ship up", "job ends", "side down|ship down", f"clean {result}")
    until(lambda: not set(app.active()) - {f"{app.name}.target", app.unit("web")}, f"all gone: {app.active()}")
    if not status:
        # Once is enough; a change of it is another job.
        app.clear()
        app.apply()
        assert app.steps() == []
        app.apply({"web": batch(app, environment={"A": "1"})})
        until(lambda: "clean success" in app.steps(), f"the job runs again: {app.steps()}")
        app.jobs_done()
        assert sorted(line for line in app.steps() if line not in ("hello", "ship up", "ship down")) == sorted([*QUICK, "clean success"])


@pytest.mark.row("NM-9", "NM-10")
def test_a_job_that_ends_at_once_is_well(on257: Callable[[str], Group]) -> None:
    """nomad#10058, nomad#12303: what is done quickly must not make the group unhealthy."""
    app = on257("quick")
    done = app.apply({"web": batch(app, command=[f"{PROGRAMS}/ends"])})
    assert "failed" not in done.out
    until(lambda: "clean success" in app.steps(), f"the end: {app.steps()}")
    app.jobs_done()
    steps = app.steps()
    assert steps.count("init") == steps.count("web") == steps.count("clean success") == 1
    assert steps[-1] == "clean success"


@pytest.mark.row("NM-8", "NM-13")
def test_a_job_whose_init_failed_does_not_run(on252: Callable[[str], Group]) -> None:
    app = on252("noinit")
    app.tells("init", 1)
    app.leave({"web": batch(app, tasks={"init": ends("prestart", restart={"policy": "no"}), "clean": ends("poststop")})})
    until(lambda: len(app.steps()) > 1, "the cleanup")
    app.jobs_done()
    assert app.steps() == ["init", "clean exit-code"]
