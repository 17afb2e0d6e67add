"""Scheduled scripts: a timer that apply starts, runs, what is said of them, and the way back."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import DIRECTORY, MAIN, STEP, App, until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

STAMPS = "/var/lib/systemd/timers"


def job(app: App, calendar: str = "yearly", *, more: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """A scheduled script that notes that it ran."""
    keys = {"command": [STEP, "ran"], "hooks": {}, "health": None} | keys
    return app.service("report", kind="script", schedule={"calendar": calendar} | (more or {}), **keys)


def runs(app: App) -> int:
    return app.steps().count("ran report")


def status(app: App) -> dict[str, Any]:
    data = json.loads(app.nanod("status", "--json", app.name, status=None).out)
    found: dict[str, Any] = next(item for item in data["apps"][0]["services"] if item["service"] == "report")
    return found


def at(machine: Machine, seconds: int) -> str:
    """The time of day, so many seconds from now, as a calendar expression of the machine's."""
    return machine.run(["date", "-d", f"{seconds} sec", "+%H:%M:%S"]).out.strip()


@pytest.mark.row("BX-29")
def test_apply_starts_the_timer_and_never_the_script(machine: Machine) -> None:
    app = App.on(machine, "arm")
    app.apply({"report": job(app)})
    assert app.show("arm-report.timer", "ActiveState") == "active"
    assert app.state("report") == "inactive"
    assert "nothing to do" in app.apply().out
    app.apply({"report": job(app, environment={"A": "1"})})
    app.nanod("stop", "arm")
    app.nanod("start", "arm")
    app.nanod("restart", "arm", "report")
    app.systemctl("restart", "arm.target")
    assert runs(app) == 0
    assert status(app)["health"] == "waiting"
    app.remove()
    assert app.traces() == []
    assert not machine.path(f"{STAMPS}/stamp-arm-report.timer").exists()


@pytest.mark.row("BX-29")
def test_the_timer_runs_it_as_often_as_it_says(machine257: Machine) -> None:
    """Also more often than the start limit of a service would let it."""
    app = App.on(machine257, "often")
    app.apply({"report": job(app, "*:*:*")})
    until(lambda: runs(app) >= 7, "seven runs", timeout=40)
    found = json.loads(app.nanod("history", "--json", "often").out)["runs"]
    assert len(found) >= 6
    assert {item["service"] for item in found} == {"report"}
    assert {item["status"] for item in found} == {0}
    assert "succeeded" in app.nanod("history", "often").out
    app.remove()


@pytest.mark.row("BX-29")
@pytest.mark.parametrize(("any_machine", "persistent"), [("machine", True), ("machine257", False)], indirect=["any_machine"])
def test_another_calendar_counts_from_the_apply_on(any_machine: Machine, persistent: bool) -> None:
    """Its own last time lies between the last run and now: PID 1 alone would run it at once."""
    app = App.on(any_machine, "anew")
    app.apply({"report": job(app, "*:*:*", more={"persistent": persistent})})
    until(lambda: runs(app) >= 1, "a run")
    app.apply({"report": job(app, more={"persistent": persistent})})
    soon = at(any_machine, 2)
    time.sleep(4)
    before = runs(app)
    app.apply({"report": job(app, soon, more={"persistent": persistent})})
    time.sleep(2)
    assert runs(app) == before
    assert status(app)["schedule"]["next_usec"]
    app.remove()


@pytest.mark.row("BX-29")
def test_run_now(machine257: Machine) -> None:
    app = App.on(machine257, "now")
    command = "echo in $NANOD_UNIT; exit $(cat /srv/steps/code 2>/dev/null || echo 0)"
    app.apply({"report": job(app, command=command)})
    assert app.nanod("run", "now", "report").out == "in now-report.service\n"
    assert status(app)["hooks"][-1]["result"] == "ok"
    machine257.write(f"{DIRECTORY}/code", "3")
    assert app.nanod("run", "now", "report", status=3).out == "in now-report.service\n"
    told = json.loads(app.nanod("run", "--json", "now", "report", status=3).out)
    assert (told["status"], told["unit"], told["lines"]) == (3, "now-report.service", ["in now-report.service"])
    assert status(app)["health"] == "degraded"
    shown = app.nanod("status", "now", status=4).out
    assert "run/script  exited with status 3" in shown
    assert "next in" in shown
    assert [item["status"] for item in json.loads(app.nanod("history", "--json", "now").out)["runs"]] == [0, 3, 3]
    machine257.path(f"{DIRECTORY}/code").unlink()
    app.nanod("run", "now", "report")
    app.nanod("status", "now")
    app.remove()


@pytest.mark.row("BX-29")
def test_what_it_prints_is_shown_while_it_runs(machine: Machine) -> None:
    app = App.on(machine, "talks")
    go = machine.path(f"{DIRECTORY}/talks.go")
    command = f"echo begins; while [ ! -e {DIRECTORY}/talks.go ]; do sleep 0.1; done; echo ends; exit 4"
    app.apply({"report": job(app, command=command)})
    with machine.popen(["nanod", "run", "talks", "report"], stdout=subprocess.PIPE) as nanod:
        assert nanod.stdout
        assert nanod.stdout.readline() == b"begins\n"
        assert app.state("report") == "active"
        go.touch()
        assert nanod.stdout.read() == b"ends\n"
        assert nanod.wait(30) == 4
    assert app.nanod("run", "talks", "report", status=4).out == "begins\nends\n", "and nothing of the run before"
    app.remove()


@pytest.mark.row("BX-29")
def test_a_run_that_goes_on(machine: Machine) -> None:
    """Another one is refused meanwhile, an apply leaves it alone, and a stop of the app ends it."""
    app = App.on(machine, "long")
    app.apply({"report": job(app, command=[MAIN])})
    app.systemctl("start", "long-report")
    app.until_step("main report")
    assert "it runs already" in app.nanod("run", "long", "report", status=125).err
    pid = app.pid("report")
    app.apply({"report": job(app, "monthly", command=[MAIN], environment={"A": "1"})})
    assert app.pid("report") == pid
    assert (status(app)["phase"], status(app)["health"]) == ("run", "healthy")
    app.nanod("stop", "long", "report")
    assert app.state("report") in ("inactive", "failed")
    assert app.show("long-report.timer", "ActiveState") == "inactive"
    app.remove()


@pytest.mark.row("BX-29")
def test_hooks_and_what_it_requires_are_of_each_run(machine: Machine) -> None:
    app = App.on(machine, "around")
    services = {
        "db": app.service("db"),
        "report": job(app, requires=["db"], hooks={"prestart": STEP, "poststop": STEP}, on_failure=[STEP, "gave-up"]),
    }
    app.apply(services)
    assert "prestart report" not in app.steps()
    app.nanod("run", "around", "report")
    assert [line for line in app.steps() if line.endswith("report")] == ["prestart report", "ran report", "poststop report"]
    app.exits("report", "prestart", 7)
    app.nanod("run", "around", "report", status=1)
    app.until_step("gave-up report")
    app.exits("report", "prestart", 0)
    assert app.nanod("run", "around", "report", "prestart").status == 0
    app.remove()


@pytest.mark.row("BX-29", "BX-4")
def test_a_failed_apply_brings_the_old_calendar_back(machine: Machine) -> None:
    app = App.on(machine, "undone")
    app.apply({"report": job(app)})
    before = app.show("undone-report.timer", "TimersCalendar")
    bad = app.service("bad", command=["/bin/false"], health=None, restart={"delay": "100ms", "limit": 1, "window": "5s"})
    app.apply({"report": job(app, "*:*:*"), "bad": bad}, status=4)
    ran = runs(app)
    assert app.show("undone-report.timer", "TimersCalendar").partition("next_elapse")[0] == before.partition("next_elapse")[0]
    assert app.show("undone-report.timer", "ActiveState") == "active"
    time.sleep(1.5)
    assert runs(app) == ran
    app.remove()


@pytest.mark.row("BX-29")
def test_what_ran_by_itself_becomes_a_job_and_again_a_service(machine: Machine) -> None:
    app = App.on(machine, "turn")
    app.apply({"report": app.service("report")})
    assert app.is_up("report")
    app.apply({"report": job(app)})
    assert app.state("report") == "inactive"
    assert app.show("turn-report.timer", "ActiveState") == "active"
    app.apply({"report": app.service("report")})
    assert app.is_up("report")
    assert app.show("turn-report.timer", "LoadState") == "not-found"
    app.nanod("rollback", "turn")
    assert app.show("turn-report.timer", "ActiveState") == "active"
    assert app.state("report") == "inactive"
    app.remove()
    assert app.traces() == []


@pytest.mark.row("BX-29")
def test_what_was_missed_while_the_machine_was_off_runs_at_boot(any_machine: Machine) -> None:
    app = App.on(any_machine, "missed")
    app.apply({"report": job(app, at(any_machine, -60))})
    any_machine.run(["touch", "-d", "2 days ago", f"{STAMPS}/stamp-missed-report.timer"])
    assert runs(app) == 0
    any_machine.reboot()
    app.until_step("ran report")
    app.remove()


@pytest.mark.row("BX-29", "BX-11")
def test_what_it_requires_is_brought_up_or_named(machine: Machine) -> None:
    """Each run brings up what is down; where that does not come, the run says which and how it is."""
    app = App.on(machine, "lacks")
    db = app.service("db", hooks=())
    app.apply({"db": db, "report": job(app, requires=["db"], restart={"window": "2s", "limit": 2})})
    app.systemctl("stop", "lacks-db")
    app.nanod("run", "lacks", "report")
    assert app.is_up("db")
    assert runs(app) == 1
    override = "/etc/systemd/system/lacks-db.service.d/none.conf"
    machine.write(override, "[Service]\nExecStart=\nExecStart=/bin/false\n")
    app.systemctl("daemon-reload")
    app.systemctl("stop", "lacks-db")
    said = app.nanod("run", "lacks", "report", status=1).out
    assert said.startswith("nanod: dependency lacks-db.service is not active: ")
    assert runs(app) == 1
    shown = app.nanod("status", "lacks", status=4).out
    assert "run/script  exited with status 1" in shown
    assert "nanod: dependency lacks-db.service is not active: " in shown
    machine.path(override).unlink()
    app.remove()


@pytest.mark.row("BX-29")
def test_a_time_zone_and_a_random_pause(machine257: Machine) -> None:
    app = App.on(machine257, "zone")
    app.apply({"report": job(app, "Mon..Fri 07:00", more={"timezone": "Europe/Berlin", "randomized_delay": "5min"})})
    calendar = machine257.run(["systemd-analyze", "calendar", "Mon..Fri 07:00 Europe/Berlin"], env={"TZ": "UTC"}).out
    due = next(line.partition(":")[2].strip() for line in calendar.splitlines() if "Next elapse" in line)
    seconds = int(machine257.run(["date", "-d", due, "+%s"]).out)
    assert 0 <= status(app)["schedule"]["next_usec"] / 1_000_000 - seconds <= 300
    assert app.show("zone-report.timer", "RandomizedDelayUSec") == "5min"
    unknown = app.apply({"report": job(app, more={"timezone": "Mars/Phobos"})}, status=2).err
    assert "Failed to parse calendar specification, ignoring: yearly Mars/Phobos" in unknown
    app.remove()
