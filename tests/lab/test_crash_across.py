"""nanod killed in a transaction that another app's service restarts with: after `nanod recover` the one is as before or as after, and the other runs with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.crashes import ALL, chosen, listed, quiet, rested, seen, service
from tests.lab.steps import App
from tests.lab.test_crash import UNDOING, Crashes

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

SHIFT = 3
"""Of the diagonal on which recoveries are killed, too."""


def since(app: App, name: str) -> int:
    return int(app.show(name, "ActiveEnterTimestampMonotonic"))


@pytest.mark.row("FAULTS-16", "BX-11")
@pytest.mark.parametrize("stops_first", [False, pytest.param(True, marks=pytest.mark.thorough)], ids=["restarts", "stops first"])
def test_what_restarts_with_it_is_there_again(machine: Machine, *, stops_first: bool) -> None:
    """`shop/web` restarts with `mail/in`, of which only the environment changes, or also the hooks of its end: those of old are run first."""
    name = f"mail{int(stops_first)}"
    mail, shop = App.on(machine, name), App.on(machine, f"shop{int(stops_first)}")
    old = {"in": service("old"), "out": quiet()}
    new = {"in": service("new" if stops_first else "old", environment={"A": "1"}), "out": quiet()}
    mail.apply(old)
    shop.apply({"web": quiet() | {"requires": {f"{name}/in": {"restart": True}}}, "other": quiet()})
    before, guest = seen(mail), seen(shop)
    mail.write(new)
    points = chosen(listed(mail, "apply", mail.spec))
    crashes = Crashes(app=mail, argv=("apply", mail.spec), before=before, after=seen(mail), decision="committed@1", untouched=["out"])
    decided = points.index(crashes.decision)
    assert {"intent@1", "installed@1", "reloaded@1", "started@1" if stops_first else "settled@1"} <= set(points)
    mail.apply(old)
    mail.write(new)
    for number, point in enumerate(points):
        recoveries = UNDOING if ALL and number < decided else [UNDOING[(number + SHIFT) % len(UNDOING)]]
        for recovery in recoveries:
            what = f"{point}, recovery at {recovery}"
            mine, theirs = seen(mail).runs, rested(shop).runs
            assert crashes.at(point, recovery) == ("old" if number < decided else "new"), what
            shop.until_up("web")
            now = rested(shop)
            assert now.same() == guest.same(), what
            assert now.runs[shop.unit("other")] == theirs[shop.unit("other")], what
            if seen(mail).runs == mine:
                assert now.runs == theirs, f"{what}: nothing has restarted"
            else:
                assert since(shop, "web") > since(mail, "in"), f"{what}: it runs with an earlier run of the other"
            if number >= decided:
                mail.apply(old)
                mail.write(new)
    assert crashes.killed, "recoveries were killed"
    mail.apply()
    assert seen(mail).same() == crashes.after.same()
    shop.remove()
    mail.remove()
