"""What nanod remembers is damaged, who holds the lock is dead, or the way back is broken too: nothing of it is fatal, and the next apply repairs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.crashes import STATE, UNITS, cut, quiet, seen
from tests.lab.steps import App, until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

DAMAGE = {
    "empty": b"",
    "torn": b'{"version": 1, "app": "sh',
    "NUL": b"\0" * 4096,
    "wrong version": b'{"version": "1"}\n',
    "newer": b'{"version": 2, "units": {}}\n',
    "a list": b"[1]\n",
}


OLD: dict[str, Any] = {"web": quiet(), "goes": quiet()}
NEW: dict[str, Any] = {"web": quiet(environment={"A": "1"}), "comes": quiet()}
BROKEN: dict[str, Any] = {"command": ["/bin/false"], "settle": "1s"}


@pytest.mark.row("FAULTS-22", "BX-2")
@pytest.mark.parametrize("what", ["manifest", "current", "history"])
def test_a_damaged_record(machine: Machine, what: str) -> None:
    """Set aside and made anew from the unit files, with a warning; what runs is not touched, and the next change goes through."""
    app = App.on(machine, f"bad{what}")
    app.apply(OLD)
    before = seen(app)
    mine = machine.path(f"{STATE}/apps/{app.name}")
    for number, content in enumerate(DAMAGE.values()):
        if what == "manifest":
            (mine / f"generations/{seen(app).current}/manifest.json").write_bytes(content)
        elif what == "history":
            (mine / "history.jsonl").write_bytes(content)
        else:
            (mine / "current").unlink()
            if number:
                (mine / "current").write_bytes(content)
        assert app.nanod("status", app.name).out.startswith(app.name)
        done = app.apply()
        if what == "manifest":
            assert "warning: the record of generation" in done.err
        now = seen(app)
        assert now.same() == before.same(), content
        assert now.runs == before.runs, content
    app.apply(NEW)
    app.nanod("rollback", app.name)
    assert seen(app).same() == before.same()
    app.remove()


@pytest.mark.row("FAULTS-22", "BX-2")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_intent(machine: Machine, damage: str) -> None:
    """What it was to put back is not known any more: it is set aside and said, and the next apply brings the half-installed app to its spec."""
    app = App.on(machine, "badintent")
    app.apply(OLD)
    app.write(NEW)
    assert cut(app, "renamed@2", "apply", app.spec)
    mine = machine.path(f"{STATE}/apps/{app.name}")
    (mine / "intent.json").write_bytes(DAMAGE[damage])
    done = app.nanod("recover")
    assert "warning: what an interrupted transaction of badintent left is left out" in done.err
    assert [path.name[:15] for path in mine.glob("intent.json*")] == ["intent.json.bad"]
    assert "warning" not in app.nanod("recover").err
    app.apply()
    now = seen(app)
    assert sorted(now.runs) == ["badintent-comes.service", "badintent-web.service"]
    assert (now.left, now.stale) == ((), ())
    assert "nothing to do" in app.apply().out
    app.remove()


@pytest.mark.row("FAULTS-21", "BX-2")
def test_the_holder_of_the_lock_is_killed(machine: Machine) -> None:
    """While it lives others wait for it and say for whom; once it is dead, the next finishes what it left, and goes on."""
    app = App.on(machine, "held")
    app.apply(OLD)
    app.write(NEW)
    holder = machine.popen(["nanod", "apply", app.spec], env={"NANOD_FAULT": "reloaded:stop"})
    lock = machine.path("/run/nanod/lock")

    def is_stopped() -> bool:
        pid = lock.read_text().partition(" ")[0]
        return pid.isdecimal() and "T" in machine.run(["ps", "-o", "stat=", "-p", pid]).out

    until(is_stopped, "the holder is stopped")
    pid = lock.read_text().partition(" ")[0]
    done = app.nanod("apply", "--lock-timeout", "0", app.spec, status=5)
    assert f"busy: held by pid {pid} (nanod apply {app.spec})" in done.err
    assert machine.run(["kill", "-KILL", pid]).status == 0
    holder.kill()  # nsenter(1) has stopped itself together with what it runs
    holder.wait()
    assert lock.read_text().startswith(pid), "it could not clean up"
    done = app.apply()
    assert "an apply of held that was cut off is undone: back to generation 1" in done.err
    assert sorted(seen(app).runs) == ["held-comes.service", "held-web.service"]
    app.remove()


@pytest.mark.row("FAULTS-28", "BX-2")
def test_the_disk_fails_on_the_way_back_too(machine: Machine) -> None:
    """Exit 6 with exactly what is not as it was, the same in the history; the next command finishes the way back, and the next apply repairs."""
    app = App.on(machine, "twice")
    app.apply(OLD)
    before = seen(app)
    app.write(OLD | {"web": quiet() | BROKEN, "comes": quiet()})
    done = machine.run(["nanod", "apply", app.spec], env={"NANOD_FAULT": "written@2:EIO"})
    assert done.status == 6, done.err
    assert "Traceback" not in done.err
    said = done.out + done.err
    assert "Input/output error" in said
    assert f"cannot write {UNITS}" in said
    assert "twice-web.service: its file is not as it was" in said
    assert "twice-web.service: it ran, and does not run now" in said
    (last,) = json.loads(app.nanod("history", "-n", "1", "--json", app.name).out)["entries"]
    assert any("twice-web.service" in problem for problem in last["problems"])
    assert app.nanod("status", app.name, status=4).out
    done = app.nanod("recover")
    assert "an apply of twice that was cut off is undone" in done.out
    assert seen(app).same() == before.same()
    app.apply(OLD)
    app.remove()


@pytest.mark.row("FAULTS-28", "BX-2")
def test_what_ran_before_does_not_come_back(machine: Machine) -> None:
    """Its program is gone meanwhile: files and all others are as before, exit 6 names it, and an apply that can go through repairs."""
    app = App.on(machine, "lost")
    program = app.program("lost", "#!/bin/sh\nexec sleep infinity\n")
    old = {"web": quiet() | {"command": [program]}, "db": quiet()}
    app.apply(old)
    before = seen(app)
    machine.path(program).unlink()
    app.write(old | {"web": quiet() | BROKEN})
    done = app.nanod("apply", app.spec, status=6)
    said = done.out + done.err
    assert re.search(r"lost-web.*: its program .*was not found", said), said
    assert "lost-db" not in "".join(line for line in said.splitlines() if "cannot" in line)
    now = seen(app)
    assert now.files == before.files
    assert now.runs.get("lost-db.service") == before.runs["lost-db.service"]
    assert now.left == ()
    (last,) = json.loads(app.nanod("history", "-n", "1", "--json", app.name).out)["entries"]
    assert len(last["problems"]) == 1
    app.program("lost", "#!/bin/sh\nexec sleep infinity\n")
    app.apply(old)
    assert seen(app).same() == before.same()
    app.remove()


@pytest.mark.row("FAULTS-28", "FAULTS-17", "BX-2")
def test_recovery_on_a_read_only_disk(machine: Machine) -> None:
    """It says what is not as it was, and keeps the intent for when the disk is writable again."""
    app = App.on(machine, "frozen")
    app.apply(OLD)
    before = seen(app)
    app.write(NEW)
    assert cut(app, "started", "apply", app.spec)
    assert machine.run(["mount", "--bind", UNITS, UNITS]).status == 0
    assert machine.run(["mount", "-o", "remount,bind,ro", UNITS]).status == 0
    for _ in range(2):
        done = app.nanod("recover", status=6)
        assert "Read-only file system" in done.err
        assert "frozen-web.service: its file is not as it was" in done.err
    assert app.apply(status=6).err
    assert machine.run(["umount", UNITS]).status == 0
    app.nanod("recover")
    assert seen(app).same() == before.same()
    app.apply(NEW)
    app.remove()
