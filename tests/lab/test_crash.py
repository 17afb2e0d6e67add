"""nanod killed with SIGKILL at every fault point of a transaction: after `nanod recover` the host is as before it or as after it, never between.

By default each point is taken once, of the renames some but for a change, and its recovery is killed once too, on a diagonal of recovery's own points that takes each of them; with
NANOD_CRASHES=all every point of recovery is taken at every point of the transaction (half an hour).

What a container cannot show: the loss of what was written and not synced. Here a killed process loses nothing of what it wrote.
`test_crash_boot` has the reboots, `test_crash_calls` the order of writes, fsyncs and renames.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.crashes import ALL, STATE, Seen, chosen, cut, in_order, listed, quiet, seen, service, versions
from tests.lab.steps import STEP, App

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nanod.rehearse.machine import Machine

EVERY = 1 if ALL else 8
"""After how many crashes the app is brought to its new state once, and back."""
UNDOING = "undoing stopped renamed written renamed@2 renamed@4 renamed@6 installed reloaded started undone cleared".split()
"""Points of a recovery that undoes; it comes through fewer where there is less to undo."""
FINISHING = ["purged", "purged@2", "cleared"]
"""Those of one that finishes what was decided."""


SHIFT = 5
"""Of the diagonal, so that recoveries which stop something are killed when they have."""
KEPT = ("keeps", "limits")
"""Services of `versions` whose processes no change touches."""


@dataclass(kw_only=True)
class Crashes:
    """A transaction that is cut off again and again, each time from the state before it."""

    app: App
    argv: Sequence[str]
    before: Seen
    after: Seen
    decision: str
    """The point from which on a crash leads to the state after it."""
    untouched: Sequence[str] = ()
    killed: set[str] = field(default_factory=set)
    """Points at which a recovery was killed."""

    def at(self, point: str, *recovery: str) -> str:
        """Cut it off at `point`, and what cleans up at `recovery`; hands back whether the host is as before or as after."""
        app, begin = self.app, seen(self.app)
        assert begin.same() == self.before.same()
        assert cut(app, point, *self.argv), f"it never comes to {point}"
        for at in recovery:
            if cut(app, at, "recover"):
                self.killed.add(at)
        app.nanod("recover")
        return self._judge(begin, f"{point}, recovery at {recovery}")

    def _judge(self, begin: Seen, what: str) -> str:
        now = seen(self.app)
        assert now.left == (), what
        assert now.stale == (), what
        in_order(self.app)
        for unit in self.untouched:
            assert now.runs[self.app.unit(unit)] == begin.runs[self.app.unit(unit)], f"{what}: {unit} was touched"
        if now.same() == self.before.same():
            assert (now.current, now.generations) == (begin.current, begin.generations), what
            return "old"
        assert now.same() == self.after.same(), what
        assert now.current == "" or now.current != begin.current, what
        assert now.generations <= begin.generations | {now.current}, what
        return "new"


def crash_everywhere(crashes: Crashes, points: Sequence[str], *, back: Callable[[], object], forth: Callable[[], object]) -> None:
    """`back` brings the host to the state before once it is in the one after; `forth` is the transaction, not cut off."""
    count = 0
    for number, point in enumerate(points):
        is_undone = number < points.index(crashes.decision)
        for recovery in _recoveries(number, UNDOING if is_undone else FINISHING):
            count += 1
            is_old = crashes.at(point, recovery) == "old"
            assert is_old == is_undone, f"{point}, recovery at {recovery}"
            if is_old and count % EVERY == 0:
                if crashes.before.files:
                    crashes.app.nanod("status", crashes.app.name)
                forth()
                assert seen(crashes.app).same() == crashes.after.same(), point
            if not is_old or count % EVERY == 0:
                back()


def _recoveries(number: int, points: Sequence[str]) -> Sequence[str]:
    return points if ALL else [points[(number + SHIFT) % len(points)]]


@pytest.mark.row("FAULTS-16", "BX-2")
def test_a_change(machine: Machine) -> None:
    """Until the new generation is in force all is put back: files, links, stamps, what ran runs, and what was not touched has its pid."""
    app = App.on(machine, "change")
    old, new = versions(app)
    app.apply(old)
    before = seen(app)
    app.write(new)

    def back() -> None:
        app.apply(old)
        app.write(new)
        # Data and the stamps of migrations stay at a rollback; the next crash is to begin without.
        machine.path("/srv/change-comes").rmdir()
        for name in seen(app).stamps:
            machine.path(f"{STATE}/once/{name}").unlink()

    points = listed(app, "apply", app.spec)
    crashes = Crashes(app=app, argv=("apply", app.spec), before=before, after=seen(app), decision="committed@1", untouched=KEPT)
    assert set(points) >= {"staged@1", "intent@1", "stopped@2", "written@2", "renamed@8", "installed@3", "reloaded@1", "prestarted@1", "started@1"}
    back()
    crash_everywhere(crashes, points, back=back, forth=app.apply)
    assert crashes.killed >= set(UNDOING)
    assert "deploy-new hooked" in app.steps()
    app.apply()
    assert "nothing to do" in app.apply().out
    app.remove("--purge")


@pytest.mark.thorough
@pytest.mark.row("FAULTS-16", "BX-2")
def test_a_rollback(machine: Machine) -> None:
    app = App.on(machine, "goback")
    old, new = versions(app)
    app.apply(old)
    app.apply(new)
    before = seen(app)
    points = listed(app, "rollback", app.name)
    crashes = Crashes(app=app, argv=("rollback", app.name), before=before, after=seen(app), decision="committed@1", untouched=KEPT)

    def back() -> None:
        app.apply(old)
        crashes.argv = ("rollback", app.name, seen(app).current)
        app.apply(new)

    back()
    crash_everywhere(crashes, chosen(points), back=back, forth=lambda: app.nanod(*crashes.argv))
    app.remove("--purge")


SMALL: dict[str, Any] = {"db": quiet(), "web": service("a", "db")}


@pytest.mark.row("FAULTS-16", "BX-2")
def test_the_first_apply(machine: Machine) -> None:
    """What is undone is not there, as before: no unit, no link, no generation."""
    app = App.on(machine, "anew")
    before = seen(app)
    assert before.files == {}
    app.write(SMALL)
    points = listed(app, "apply", app.spec)
    crashes = Crashes(app=app, argv=("apply", app.spec), before=before, after=seen(app), decision="committed@1")
    app.remove("--purge")
    crash_everywhere(crashes, chosen(points), back=lambda: app.remove("--purge"), forth=app.apply)


@pytest.mark.row("FAULTS-16", "BX-2")
@pytest.mark.parametrize("purge", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_a_removal(machine: Machine, *, purge: bool) -> None:
    """Undone until it has begun to delete what cannot be made again: its record, or with --purge its data."""
    app = App.on(machine, "purged" if purge else "removed")
    options = ("--purge",) if purge else ()
    app.apply(SMALL)
    before = seen(app)
    points = listed(app, "remove", *options, app.name)
    after = seen(app)
    assert after.files == {}
    app.apply()
    decision = "decided@1" if purge else "written@2"
    crashes = Crashes(app=app, argv=("remove", *options, app.name), before=before, after=after, decision=decision)
    crash_everywhere(crashes, chosen(points), back=app.apply, forth=lambda: app.remove(*options))
    assert not purge or crashes.killed >= set(FINISHING[:2])
    app.remove("--purge")


@pytest.mark.row("FAULTS-16", "BX-2")
def test_who_is_still_stopping_is_started_again(machine: Machine) -> None:
    """Killed in the middle of stops, of units whose files stay as they are: a start then waits for the stop, or takes its place."""
    app = App.on(machine, "stopping")
    machine.path("/etc/stopping").write_text("1")
    slow = service("a", hooks=("prestart", "poststop"), restart_on=["/etc/stopping"])
    slow["hooks"]["prestop"] = f"{STEP} prestop-a; sleep 1"
    services = {"first": slow, "second": slow | {"requires": ["first"]}}
    app.apply(services)
    before = seen(app)
    machine.path("/etc/stopping").write_text("2")
    app.clear()
    nanod = machine.popen(["nanod", "apply", app.spec], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    app.until_step("prestop-a second")
    assert machine.run(["sh", "-c", "kill -KILL $(cut -d' ' -f1 /run/nanod/lock)"]).status == 0
    nanod.wait()
    assert app.state("second") == "deactivating"
    app.nanod("recover")
    assert seen(app).same() == before.same()
    in_order(app)
    app.remove()
