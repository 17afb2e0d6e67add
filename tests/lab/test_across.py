"""A service that requires one of another app, on a real systemd: order, gate, restarts, crashes, removals, a boot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.lab.steps import GIVES_UP, App, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine

SHORT = {"delay": "100ms", "limit": 2, "window": "1s"}


ON_ONE = pytest.mark.parametrize("any_machine", ["machine"], indirect=True, scope="module")
"""What records alone decide is the same on each systemd."""


@pytest.fixture
def mail(any_machine: Machine) -> Iterator[App]:
    """`mail/in`, healthy; and `mail/out`, which nobody requires."""
    app = App.on(any_machine, "mail")
    app.exits("in", "prestart", 0)
    app.apply({"in": app.service("in"), "out": app.service("out")})
    yield app
    if any_machine.path("/var/lib/nanod/apps/mail/current").is_symlink():
        app.remove("--force")


@pytest.fixture
def shop(any_machine: Machine, mail: App) -> Iterator[App]:
    """`shop/web` requires `mail/in`; both run."""
    app = App.on(any_machine, "shop")
    app.apply({"web": app.service("web", "mail/in", restart=SHORT)})
    mail.clear()
    yield app
    if any_machine.path("/var/lib/nanod/apps/shop/current").is_symlink():
        app.remove()


def web(app: App, **need: object) -> dict[str, dict[str, object]]:
    return {"web": app.service("web", restart=SHORT) | {"requires": {"mail/in": need}}}


@ON_ONE
@pytest.mark.row("BX-11")
def test_what_is_not_there_yet_is_refused_at_its_line(any_machine: Machine) -> None:
    app = App.on(any_machine, "shop")
    app.write_text("project: shop\nservices:\n  web:\n    command: [/bin/true]\n    user: root\n    requires: [mail/in]\n")
    assert app.nanod("check", app.spec).status == 0
    for verb in ("plan", "apply"):
        done = app.nanod(verb, app.spec, status=2)
        assert f"{app.spec}:6:16: error: app 'mail' is not on this host" in done.err
    assert app.traces() == []


@pytest.mark.row("BX-11")
def test_it_starts_after_the_other_and_crashes_stay_where_they_are(mail: App, shop: App) -> None:
    shop.systemctl("stop", "shop.target", "mail.target")
    shop.until_gone("web")
    mail.until_gone("in", "out")
    shop.clear()
    mail.clear()
    mail.sick("in")
    shop.systemctl("start", "--no-block", "shop.target")
    mail.until_step("main in")
    assert shop.steps() == [], "it waits until the other is healthy"
    mail.well("in")
    shop.until_up("web")
    assert "main web" in shop.steps()
    shop.jobs_done()

    before = shop.pid("web")
    mail.crash("in")
    mail.until_up("in")
    assert shop.pid("web") == before, "a crash of the other reaches nobody"
    before = mail.pid("in")
    shop.crash("web")
    shop.until_up("web")
    assert mail.pid("in") == before


def test_a_stop_of_both_is_in_order(mail: App, shop: App, any_machine: Machine) -> None:
    """One log for both: the one who requires stops first."""
    any_machine.path("/srv/order").mkdir(exist_ok=True)
    late = {"run": "sleep 0.5; date +%s%N >/srv/order/$NANOD_APP", "name": "late"}
    mail.apply({"in": mail.service("in") | {"hooks": {"poststop": late}}})
    shop.apply({"web": shop.service("web", "mail/in") | {"hooks": {"poststop": late}}})
    shop.systemctl("stop", "shop.target", "mail.target")
    shop.until_gone("web")
    mail.until_gone("in")
    when = {app: int(any_machine.path(f"/srv/order/{app}").read_text()) for app in ("shop", "mail")}
    assert when["shop"] < when["mail"]
    shop.systemctl("start", "mail.target", "shop.target")
    shop.until_up("web")


@pytest.mark.row("NK-11", "BX-11")
def test_the_gate_waits_as_long_as_it_takes_and_names_what_it_waits_for(mail: App, shop: App) -> None:
    """The other is away for more tries than the start limit has: no hand is needed when it is back."""
    health = {"file": "/run/mail/in/up", "interval": "50ms", "start_timeout": "300ms"}
    mail.apply({"in": mail.service("in", restart=SHORT, health=health)})
    mail.sick("in")
    shop.systemctl("stop", "shop-web", "mail-in")
    shop.clear()
    shop.systemctl("start", "--no-block", "shop-web")
    until(lambda: int(shop.show("web", "NRestarts")) >= 4, "web has tried more often than its limit allows")
    assert shop.state("web") != "failed"
    assert "main web" not in shop.steps()
    seen = []

    def named() -> bool:
        seen.append(shop.nanod("status", "shop", status=4).out)
        return "mail/in" in seen[-1]

    until(named, "status says that it waits for mail/in")
    assert "mail-in.service" not in seen[-1].replace("dependency mail-in.service", ""), "people know it as mail/in"
    mail.well("in")
    shop.until_up("web")


def test_who_is_held_back_is_blocked_by_name(mail: App, shop: App) -> None:
    """The other has failed for good by the time that somebody new asks for it, and fails again."""
    mail.apply({"in": mail.service("in", restart={"policy": "no"}), "out": mail.service("out")})
    mail.systemctl("stop", "mail-in")
    mail.exits("in", "prestart", 3)
    new = shop.service("new", "mail/in", restart=GIVES_UP)
    done = shop.leave({"web": shop.service("web", "mail/in", restart=SHORT), "new": new})
    assert "blocked by mail/in" in done.err
    assert "cannot start shop-new: " in done.out

    def named() -> bool:
        """Between two tries the other is on its way, and nobody can say yet that it is to blame."""
        told = json.loads(shop.nanod("status", "--json", "shop", status=4).out)
        states = {item["service"]: item for item in told["apps"][0]["services"]}
        return "mail/in" in json.dumps(states["new"])

    until(named, "status names mail/in")
    mail.exits("in", "prestart", 0)
    mail.apply()
    shop.apply()
    shop.until_up("web", "new")


def test_several_mains_are_waited_for_and_the_lines_stay_as_they_are(mail: App, shop: App) -> None:
    """The other becomes a service of two instances: nothing of shop is written, and its gate asks both from then on."""
    mail.apply({"in": mail.service("in", replicas=2, health={"exec": ["/bin/sh", "-c", "[ ! -e /srv/steps/$NANOD_UNIT.sick ]"], "interval": "50ms"})})
    assert "nothing to do" in shop.apply().out
    mail.systemctl("stop", "mail-in@2")
    shop.clear()
    shop.systemctl("stop", "shop-web")
    shop.systemctl("mask", "--runtime", "mail-in")
    shop.systemctl("start", "--no-block", "shop-web")
    until(lambda: int(shop.show("web", "NRestarts")) >= 1, "web has tried in vain")
    assert "main web" not in shop.steps()
    shop.systemctl("unmask", "--runtime", "mail-in")
    mail.systemctl("start", "mail-in@2")
    shop.until_up("web")


@pytest.mark.row("BX-11")
def test_what_restarts_together_does_so_across_apps(mail: App, shop: App) -> None:
    """By systemctl, by nanod, by an apply; also where the other is stopped first and started later."""
    shop.apply(web(shop, restart=True))

    def restarts(*words: str) -> str:
        before = shop.pid("web"), mail.pid("in")
        shop.clear()
        out = mail.systemctl(*words[1:]) if words[0] == "systemctl" else mail.nanod(*words).out
        shop.until_step("poststart web")
        assert mail.pid("in") != before[1]
        assert shop.pid("web") != before[0]
        shop.jobs_done()
        return out

    restarts("systemctl", "restart", "mail-in")
    restarts("systemctl", "restart", "mail.target")
    assert "shop/web restarts with in" in restarts("restart", "mail", "in")
    restarts("restart", "mail", "in", "out")
    mail.write({"in": mail.service("in", environment={"NEW": "1"}), "out": mail.service("out")})
    shown = restarts("apply", mail.spec)
    assert "shop-web.service  restart" in shown
    assert "mail/in restarts, and this one with it" in shown
    stops = {"prestop": "true", "poststop": "true"}
    mail.write({"in": mail.service("in") | {"hooks": stops}, "out": mail.service("out")})
    assert "stop first" in restarts("apply", mail.spec)
    before = mail.pid("in")
    shop.crash("web")
    shop.until_up("web")
    assert mail.pid("in") == before, "not the other way round"

    stopped = mail.nanod("stop", "mail", "in").out
    assert "note: shop/web restarts with in, and so stopped with it; 'nanod start shop' starts it" in stopped
    shop.until_gone("web")
    shop.nanod("start", "shop")
    assert mail.is_up("in"), "who starts brings up what it requires"


def test_a_failed_apply_brings_back_who_restarts_with_it(mail: App, shop: App) -> None:
    shop.apply(web(shop, restart=True))
    mail.write({"in": mail.service("in", command=["/bin/false"], restart=GIVES_UP), "out": mail.service("out")})
    done = mail.nanod("apply", mail.spec, status=4)
    assert "rolled back to generation 1" in done.out
    assert mail.is_up("in")
    assert shop.is_up("web")


def test_who_restarts_with_it_runs_on_when_it_is_taken_away(mail: App, shop: App) -> None:
    """It is not required, so nothing refuses; and what is gone does not come back with the next start."""
    shop.apply(web(shop, restart=True, required=False))
    before = shop.pid("web")
    mail.apply({"out": mail.service("out")})
    assert shop.pid("web") == before
    shop.systemctl("restart", "shop-web")
    assert shop.show("mail-in.service", "LoadState") == "not-found"
    mail.apply({"in": mail.service("in"), "out": mail.service("out")})
    assert mail.is_up("in")
    mail.remove()
    assert shop.is_up("web")


@ON_ONE
def test_a_removal_is_refused_and_force_says_who_is_left_without(mail: App, shop: App) -> None:
    done = mail.nanod("remove", "mail", status=1)
    assert "cannot remove mail: shop/web requires mail/in" in done.err
    assert "remove shop first" in done.err
    assert mail.is_up("in")
    before = shop.pid("web")
    done = mail.nanod("remove", "--force", "mail")
    assert "shop/web is left without mail/in" in done.out
    assert shop.pid("web") == before, "who is left without runs on"
    assert "app 'mail' is not on this host" in shop.nanod("apply", shop.spec, status=2).err
    assert "shop/web requires mail/in, and app 'mail' is not on this host" in shop.nanod("doctor", status=None).out


@ON_ONE
def test_others_than_root_plan_from_what_they_can_read(shop: App, any_machine: Machine) -> None:
    any_machine.path(shop.spec).chmod(0o644)
    done = any_machine.run(["nanod", "plan", shop.spec], user="nobody")
    assert done.status == 0, done.err
    assert "mail is readable to root alone" not in done.err, "only the app at hand is spoken of"


@ON_ONE
def test_an_apply_that_drops_it_is_refused(mail: App, shop: App) -> None:
    for services in ({"out": mail.service("out")}, {"inn": mail.service("inn"), "out": mail.service("out")}):
        mail.write(services)
        for verb in ("plan", "apply"):
            done = mail.nanod(verb, mail.spec, status=1)
            assert "cannot apply mail: shop/web requires mail/in, which would be gone" in done.err
    error = json.loads(mail.nanod("apply", "--json", mail.spec, status=1).out)["error"]
    assert (error["kind"], error["apps"]) == ("needed", ["shop"])
    assert mail.is_up("in")
    done = mail.nanod("apply", "--force", mail.spec)
    assert "shop/web is left without mail/in" in done.out
    assert shop.is_up("web")
    mail.apply({"in": mail.service("in"), "out": mail.service("out")})
    assert shop.nanod("apply", shop.spec).status == 0


@ON_ONE
def test_a_rollback_to_before_it_was_required_is_refused(mail: App, shop: App) -> None:
    mail.apply({"in": mail.service("in"), "out": mail.service("out"), "new": mail.service("new")})
    shop.apply({"web": shop.service("web", "mail/in", "mail/new", restart=SHORT)})
    done = mail.nanod("rollback", "mail", status=1)
    assert "cannot roll back mail: shop/web requires mail/new, which would be gone" in done.err
    assert mail.is_up("new")
    shop.apply({"web": shop.service("web", "mail/in", restart=SHORT)})
    assert mail.nanod("rollback", "mail").status == 0


def test_a_failed_apply_goes_back_to_what_is_required(mail: App, shop: App) -> None:
    """By force it takes `in` away, fails, and puts it back."""
    before = shop.pid("web")
    mail.write({"out": mail.service("out", command=["/bin/false"], restart=GIVES_UP)})
    done = mail.nanod("apply", "--force", mail.spec, status=4)
    assert "rolled back to generation 1" in done.out
    mail.until_up("in", "out")
    assert shop.pid("web") == before
    assert shop.nanod("status", "shop").status == 0


@ON_ONE
@pytest.mark.usefixtures("shop")
def test_a_circle_of_apps_is_refused_by_name(mail: App) -> None:
    mail.write({"in": mail.service("in"), "out": mail.service("out", "shop/web")})
    done = mail.nanod("apply", mail.spec, status=2)
    assert "a circle of apps that require one another: mail/out requires shop/web, shop/web requires mail/in" in done.err


@ON_ONE
@pytest.mark.row("BX-11")
def test_what_is_not_required_may_be_missing(any_machine: Machine) -> None:
    app = App.on(any_machine, "shop")
    done = app.apply(web(app, required=False))
    assert "app 'mail' is not on this host; 'web' starts without it" in done.err
    assert app.is_up("web")
    app.remove()


def test_a_boot_brings_both_up_in_order(mail: App, shop: App, any_machine: Machine) -> None:
    any_machine.reboot()
    shop.until_up("web")
    mail.until_up("in", "out")
    since = {unit: int(shop.show(unit, "ActiveEnterTimestampMonotonic")) for unit in ("mail-in.service", "shop-web.service")}
    assert since["mail-in.service"] < since["shop-web.service"]
    assert shop.nanod("status").status == 0
