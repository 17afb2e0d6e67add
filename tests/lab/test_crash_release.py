"""A switch of releases that is cut off at any of its points: the old release serves or the new one, and nothing between the two is left."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.lab.crashes import Seen, chosen, cut, listed, rested, sample
from tests.lab.steps import DIRECTORY, App, until
from tests.lab.test_crash_boot import with_recovery
from tests.lab.test_deploy_hooks import left
from tests.lab.test_releases import current, directory, leave, names, runs_in, source, web

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

POINTS = set("copied@1 built@1 intent@1 staged@1 installed@1 reloaded@1 armed@1 started@1 settled@1 committed@1 switched@1 cleared@1".split())
"""Those that a switch has at least. The unit of the build is installed and deleted too, as others are."""


@pytest.fixture
def host(machine: Machine) -> Machine:
    return with_recovery(machine)


@pytest.fixture
def host257(machine257: Machine) -> Machine:
    return with_recovery(machine257)


@dataclass(frozen=True, kw_only=True)
class Switch:
    """From one release to the other."""

    app: App
    old: str
    new: str
    before: Seen
    after: Seen
    points: list[str]

    @classmethod
    def on(cls, app: App) -> Switch:
        source(app, "1")
        app.apply({"web": web(app)})
        old, before = current(app), rested(app)
        source(app, "2")
        points = listed(app, "apply", app.spec)
        assert set(points) >= POINTS
        made = cls(app=app, old=old, new=current(app), before=before, after=rested(app), points=points)
        made.back()
        return made

    def is_decided(self, point: str) -> bool:
        return self.points.index(point) >= self.points.index("committed@1")

    def back(self) -> None:
        """To the old release, with the new one in the source and not built yet."""
        app = self.app
        if current(app) != self.old:
            source(app, "1")
            app.apply()
        app.machine.run(["sh", "-c", f"rm -rf /var/lib/nanod/releases/{app.name}/web/{self.new} /var/lib/nanod/releases/{app.name}/web/.{self.new}"])
        source(app, "2")
        assert rested(app).same() == self.before.same()

    def judge(self, point: str) -> None:
        app = self.app
        app.until_up("web")
        now, expected = rested(app), self.after if self.is_decided(point) else self.before
        assert now.same() == expected.same(), point
        assert (now.left, now.stale, left(app)) == ((), (), []), point
        assert current(app) == runs_in(app) == (self.new if self.is_decided(point) else self.old), point
        assert names(app) <= {self.old, self.new}, point
        assert not [*app.machine.path("/run/systemd/system").glob("nanod-build-*")], point
        assert app.nanod("doctor", status=None).status in (0, 4), point

    def goes_on(self) -> None:
        """The next apply does what is left to do."""
        first = self.app.apply().out
        assert current(self.app) == runs_in(self.app) == self.new
        again = self.app.apply().out
        assert "nothing to do" in again, f"{first}\n{again}"


@pytest.mark.row("FAULTS-16", "BX-2", "BX-17", "UP-2")
def test_nanod_is_killed(host: Machine) -> None:
    switch = Switch.on(App.on(host, "switch"))
    app = switch.app
    for number, point in enumerate(chosen(switch.points)):
        assert cut(app, point, "apply", app.spec), point
        if number % 3 == 0:
            # The recovery too; where there is nothing to undo it does not come so far.
            cut(app, "installed" if number % 2 else "cleared", "recover")
        app.nanod("recover")
        switch.judge(point)
        if number % 4 == 0:
            switch.goes_on()
        switch.back()
    leave(app)


@pytest.mark.thorough
@pytest.mark.row("FAULTS-16", "FAULTS-18", "BX-2", "BX-17")
def test_the_machine_goes_down(host: Machine) -> None:
    switch = Switch.on(App.on(host, "power"))
    reboot(switch, chosen(switch.points))


@pytest.mark.row("FAULTS-16", "FAULTS-18", "BX-2", "BX-17")
def test_the_machine_goes_down_on_257(host257: Machine) -> None:
    switch = Switch.on(App.on(host257, "power"))
    reboot(switch, sample(switch.points))


def reboot(switch: Switch, points: list[str]) -> None:
    app = switch.app
    for number, point in enumerate(points):
        assert cut(app, point, "apply", app.spec), point
        if number % 2:
            app.machine.poweroff()
        else:
            app.machine.kill()
        # Jobs that were enqueued have gone on without nanod.
        app.clear()
        app.machine.start()
        app.until_up("web")
        assert runs_in(app) == (switch.new if switch.is_decided(point) else switch.old), f"{point}: what starts at boot is whole"
        assert "deploy web" not in app.steps(), f"{point}: a boot is no deployment"
        app.nanod("recover")
        switch.judge(point)
        if number % 4 == 0:
            switch.goes_on()
        switch.back()
    leave(app)


@pytest.mark.row("FAULTS-16", "UP-2", "UP-22")
def test_nanod_is_killed_while_it_builds(host: Machine) -> None:
    """The build goes on without it; the next command ends it, and takes away what it has made."""
    app = App.on(host, "orphan")
    source(app)
    app.apply({"web": web(app, hooks={"build": "cat version >built; if [ -e slow ]; then sleep 3603; fi"})})
    old, before = current(app), rested(app)
    source(app, "2", slow="")
    nanod = host.popen(["nanod", "apply", app.spec], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: "3603" in host.run(["ps", "-eo", "args"]).out, "the build runs")
    assert host.run(["sh", "-c", "kill -KILL $(cut -d' ' -f1 /run/nanod/lock)"]).status == 0
    nanod.wait()
    assert len([path for path in directory(app).iterdir() if path.is_dir() and not path.is_symlink()]) == 2
    app.nanod("recover")
    assert "3603" not in host.run(["ps", "-eo", "args"]).out
    assert names(app) == {old}
    assert rested(app) == before
    assert not [*host.path("/run/systemd/system").glob("nanod-build-*")]
    host.path("/srv/orphan/slow").unlink()
    app.apply()
    assert runs_in(app) == current(app) != old
    leave(app)


@pytest.mark.row("UP-2")
def test_ctrl_c_while_it_builds(host: Machine) -> None:
    """The build is stopped, and nothing of it is left."""
    app = App.on(host, "ended")
    source(app)
    app.apply({"web": web(app, hooks={"build": f"cat version >built; if [ -e slow ]; then trap 'touch {DIRECTORY}/x' TERM; sleep 3604; fi"})})
    before, there = rested(app), names(app)
    source(app, "2", slow="")
    nanod = host.popen(["nanod", "apply", app.spec], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: "3604" in host.run(["ps", "-eo", "args"]).out, "the build runs")
    assert host.run(["sh", "-c", "kill -INT $(cut -d' ' -f1 /run/nanod/lock)"]).status == 0
    assert nanod.wait(60) == 130
    assert "3604" not in host.run(["ps", "-eo", "args"]).out
    assert names(app) == there
    assert rested(app) == before
    assert not [*host.path("/run/systemd/system").glob("nanod-build-*")]
    host.path("/srv/ended/slow").unlink()
    leave(app)
