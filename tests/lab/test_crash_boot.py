"""nanod killed at a fault point, and then the machine goes down, in order or all at once: nanod-recover.service has undone it before the app starts.

A container's disk loses no writes when its power is cut, so what was written and not synced is still there: that a lost write does no harm is for
a virtual machine to show. What shows here is what a boot finds and starts. By default some of the renames stand for all; NANOD_CRASHES=all takes each.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from nanod.rehearse.machine import SOURCE
from tests.lab.crashes import STATE, UNITS, Seen, chosen, cut, in_order, listed, quiet, sample, seen, service, versions
from tests.lab.steps import App

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nanod.rehearse.machine import Machine

RECOVER = "nanod-recover.service"


@pytest.fixture(scope="module")
def host(machine: Machine) -> Machine:
    return with_recovery(machine)


def with_recovery(machine: Machine) -> Machine:
    machine.write(f"{UNITS}/{RECOVER}", (SOURCE / "units" / RECOVER).read_text())
    assert machine.run(["systemctl", "enable", RECOVER]).status == 0
    return machine


def crash(app: App, point: str, argv: Sequence[str], *, in_its_order: bool) -> list[str]:
    """Kill nanod at `point`, switch the machine off and on; hands back what the hooks wrote down since it is on again."""
    assert cut(app, point, *argv), f"it never comes to {point}"
    if in_its_order:
        app.machine.poweroff()
    else:
        app.machine.kill()
    before = len(app.steps())
    app.machine.start()
    return app.steps()[before:]


def judge(app: App, since: Sequence[str], old: Seen, new: Seen, what: str) -> str:
    """Old or new, whole and running, and nothing of the other one ran since the boot."""
    now = seen(app)
    assert now.left == (), what
    assert now.stale == (), what
    is_old = now.same() == old.same()
    assert is_old or now.same() == new.same(), what
    wrong = [step for step in since if re.search(r"-new |comes$" if is_old else r"-old |goes$", step)]
    assert wrong == [], what
    return "old" if is_old else "new"


def clean(app: App) -> None:
    """Data and stamps that a commit leaves for good, and the log."""
    for path in [*app.machine.path("/srv").glob(f"{app.name}-*")]:
        path.rmdir()
    for path in [*app.machine.path(f"{STATE}/once").iterdir()]:
        path.unlink()
    app.clear()


@pytest.mark.thorough
@pytest.mark.row("FAULTS-16", "FAULTS-18", "FAULTS-50", "BX-2")
def test_an_apply(host: Machine) -> None:
    """Wherever it was cut off, the boot starts one version whole, and no hook of the other one runs."""
    _cut_off(host, chosen)


@pytest.mark.row("FAULTS-16", "FAULTS-18", "BX-2")
def test_an_apply_on_257(machine257: Machine) -> None:
    _cut_off(with_recovery(machine257), sample)


def _cut_off(host: Machine, some: Callable[[Sequence[str]], list[str]]) -> None:
    app = App.on(host, "change")
    old, new = versions(app)
    app.apply(old)
    before = seen(app)
    app.write(new)
    points = listed(app, "apply", app.spec)
    after = seen(app)
    decision = points.index("committed@1")
    app.apply(old)
    for number, point in enumerate(some(points)):
        app.write(new)
        clean(app)
        in_its_order = number % 2 == 0
        since = crash(app, point, ("apply", app.spec), in_its_order=in_its_order)
        what = f"{point}, {'shut down' if in_its_order else 'cut off'}: {since}"
        result = judge(app, since, before, after, what)
        assert result == ("old" if points.index(point) < decision else "new"), what
        if in_its_order:
            in_order(app)
        if result == "new":
            app.apply(old)
    app.remove("--purge")


SMALL = {"db": quiet(), "web": service("a", "db")}


@pytest.mark.row("FAULTS-16", "FAULTS-18", "BX-2")
@pytest.mark.parametrize(
    ("argv", "points", "is_there_before", "is_there_after"),
    [
        ("apply {spec}", "staged renamed@2 renamed@4 installed reloaded", False, False),
        ("apply {spec}", "started", False, False),
        ("apply {spec}", "committed", False, True),
        ("remove {name}", "stopped renamed@2 renamed@5 reloaded", True, True),
        ("remove --purge {name}", "reloaded", True, True),
        ("remove --purge {name}", "decided purged@2", True, False),
    ],
)
def test_the_first_apply_and_the_last_removal(host: Machine, argv: str, points: str, *, is_there_before: bool, is_there_after: bool) -> None:
    """What was undone before it ever was starts nothing at boot; what was being removed is up again, or gone for good."""
    app = App.on(host, "small")
    words = argv.format(spec=app.spec, name=app.name).split()
    app.write(SMALL)
    absent = seen(app)
    app.apply()
    present = seen(app)
    for point in points.split():
        if is_there_before:
            app.apply()
        elif app.machine.path(f"{STATE}/apps/small/current").exists():
            app.remove("--purge")
        app.clear()
        since = crash(app, point, words, in_its_order=False)
        if point in ("decided", "purged@2"):
            app.nanod("recover")  # deleting data is not for the boot
        now = seen(app)
        assert now.left == ()
        assert now.same() == (present if is_there_after else absent).same(), point
        assert ("prestart-a web" in since) is is_there_after, point
    app.nanod("remove", "--purge", app.name, status=None)


@pytest.mark.row("FAULTS-16", "BX-2")
@pytest.mark.parametrize("point", ["renamed@3", "installed", "reloaded", "cleared"])
def test_the_recovery_is_cut_off_too(host: Machine, point: str) -> None:
    """The boot goes on with what it finds, and the next nanod command, or the next boot, finishes."""
    app = App.on(host, "again")
    old, new = versions(app)
    app.apply(old)
    before = seen(app)
    app.write(new)
    drop_in = host.write(f"{UNITS}/{RECOVER}.d/fault.conf", f"[Service]\nEnvironment=NANOD_FAULT={point}:kill\n")
    assert cut(app, "started", "apply", app.spec)
    host.kill()
    host.start()
    assert app.systemctl("show", "--property=Result", "--value", RECOVER) == "signal"
    host.path(f"{UNITS}/{RECOVER}.d/{drop_in.name}").unlink()
    if point == "installed":
        host.kill()
        host.start()
    else:
        app.nanod("recover")
    now = seen(app)
    assert (now.left, now.stale) == ((), ())
    assert now.same() == before.same()
    app.remove("--purge")
