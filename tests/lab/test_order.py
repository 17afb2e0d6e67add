"""What runs when: the log that the hooks write is compared whole, line by line.

Versions differ in how a dependency's failure and an auto-restart look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.steps import GIVES_UP, HOOKS, STEP, App, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine

CHAIN = ("db", "api", "web")
LISTS = {phase: [f"{STEP} {phase}-first", {"run": f"{STEP} {phase}-second", "name": "second"}] for phase in HOOKS}


def up(*services: str) -> list[str]:
    return [f"{phase} {service}" for service in services for phase in ("prestart", "main", "poststart")]


def down(*services: str) -> list[str]:
    return [f"{phase} {service}" for service in services for phase in ("prestop", "signal", "poststop")]


@pytest.fixture(scope="module")
def chain(any_machine: Machine) -> App:
    """Web requires api requires db, all running, their first steps in the log."""
    app = App.on(any_machine, "chain")
    # Written in the wrong order: the order comes from `requires`.
    app.apply({"web": app.service("web", "api"), "api": app.service("api", "db"), "db": app.service("db")})
    return app


@pytest.fixture(autouse=True)
def _all_up(chain: App) -> Iterator[None]:
    yield
    chain.until_up(*CHAIN)
    chain.jobs_done()


@pytest.mark.row("NK-11", "BX-11")
def test_apply_starts_what_is_required_first(chain: App) -> None:
    assert chain.steps() == up("db", "api", "web")


@pytest.mark.row("BX-27")
def test_the_target_stops_in_reverse_and_starts_in_order(chain: App) -> None:
    chain.clear()
    chain.systemctl("stop", "chain.target")
    chain.until_gone(*CHAIN)
    assert chain.steps() == down("web", "api", "db")
    assert {chain.show(name, "Result") for name in CHAIN} == {"success"}

    chain.clear()
    chain.systemctl("start", "chain.target")
    assert chain.steps() == up("db", "api", "web")


@pytest.mark.row("BX-27")
def test_a_restart_of_the_target_is_all_of_down_and_then_all_of_up(chain: App) -> None:
    chain.clear()
    chain.systemctl("restart", "chain.target")
    chain.until_step("poststart web")
    assert chain.steps() == down("web", "api", "db") + up("db", "api", "web")


@pytest.mark.row("BX-27")
def test_a_restart_of_one_service_is_its_own_affair(chain: App) -> None:
    chain.clear()
    others = chain.pid("api"), chain.pid("web")
    chain.systemctl("restart", "chain-db")
    assert chain.steps() == down("db") + up("db")
    assert others == (chain.pid("api"), chain.pid("web"))


@pytest.mark.row("NK-15", "NK-16", "BX-23")
def test_a_crash_runs_poststop_but_no_prestop_and_starts_again(chain: App) -> None:
    chain.clear()
    others = chain.pid("db"), chain.pid("web")
    chain.crash("api")
    chain.until_step("poststart api")
    assert chain.steps() == ["poststop api", *up("api")]
    assert others == (chain.pid("db"), chain.pid("web"))


def test_a_reload_runs_its_hook_and_nothing_else(chain: App) -> None:
    chain.clear()
    before = [chain.pid(name) for name in CHAIN]
    chain.systemctl("reload", "chain-web")
    assert chain.steps() == ["reload web"]
    assert before == [chain.pid(name) for name in CHAIN]


def test_the_target_controls_the_app_and_a_crash_never_reaches_it(chain: App) -> None:
    assert sorted(chain.show("chain.target", "Wants").split()) == [f"chain-{name}.service" for name in sorted(CHAIN)]
    for name in CHAIN:
        assert chain.show(name, "PartOf") == "chain.target"
        assert "chain-" not in chain.show(name, "Requires") + chain.show(name, "BindsTo")
    since = chain.show("chain.target", "ActiveEnterTimestampMonotonic")
    chain.crash("db")
    chain.until_up("db")
    assert chain.show("chain.target", "ActiveEnterTimestampMonotonic") == since


def test_two_hooks_of_a_phase(any_machine: Machine, chain: App) -> None:
    """Up they run as written; before the stop in reverse; a failed prestop or poststop does not keep the next from running."""
    app = App.on(any_machine, "pair")
    app.apply({"web": app.service("web", hooks=()) | {"hooks": LISTS}})
    assert app.steps() == ["prestart-first web", "prestart-second web", "main web", "poststart-first web", "poststart-second web"]
    app.clear()
    for step in ("prestop-second", "poststop-first"):
        app.exits("web", step, 3)
    app.systemctl("stop", "pair.target")
    app.until_gone("web")
    assert app.steps() == ["prestop-second web", "prestop-first web", "signal web", "poststop-first web", "poststop-second web"]
    assert app.show("web", "Result") == "success"
    app.remove()
    assert chain.is_up("web")


@pytest.mark.row("NK-12", "BX-23")
def test_a_failed_prestart_halts_its_service_and_what_requires_it(any_machine: Machine, chain: App) -> None:
    app = App.on(any_machine, "halts")
    app.exits("api", "prestart", 3)
    services = {
        "db": app.service("db"),
        "api": app.service("api", "db", restart=GIVES_UP),
        "web": app.service("web", "api", restart=GIVES_UP),
        "side": app.service("side"),
    }
    done = app.apply(services | {"api": app.service("api", "db", restart={"policy": "no"})}, status=4)
    assert "cannot start halts-api: hook prestart/1 exited with status 3" in done.out
    # Under the transaction the whole app goes again, last started first, and what never ran runs no hook.
    assert app.traces() == []
    assert not [step for step in app.steps() if step.endswith(" web") and not step.startswith("poststop")]
    assert sorted(step for step in app.steps() if step.split()[1] in ("db", "side")) == sorted(up("db", "side") + down("db", "side"))

    app.clear()
    done = app.leave(services)
    assert "cannot start halts-api: hook prestart/1 exited with status 3 (given up after 3 failed starts)" in done.out
    steps = app.steps()
    # api tries as often as its limit allows, and each time cleans up; nothing later of it runs, and nothing at all of web.
    assert [step for step in steps if step.endswith(" api")] == ["prestart api", "poststop api"] * 3
    assert not [step for step in steps if step.endswith(" web") and not step.startswith("poststop")]
    assert app.is_up("db")
    assert app.is_up("side")
    shown = app.nanod("status", "halts", status=4).out
    assert "prestart" in shown

    app.exits("api", "prestart", 0)
    app.clear()
    app.apply()
    assert [step for step in app.steps() if step.split()[1] in ("api", "web") and step != "poststop web"] == up("api", "web")
    app.remove()
    assert chain.is_up("web")


@pytest.mark.row("NK-11", "BX-3", "BX-7")
def test_a_dependency_that_never_gets_healthy_is_named(any_machine: Machine, chain: App) -> None:
    app = App.on(any_machine, "sick")
    app.sick("db")
    db = app.service("db", restart=GIVES_UP, health={"file": "/run/sick/db/up", "interval": "50ms", "start_timeout": "300ms"})
    done = app.leave({"db": db, "web": app.service("web", "db", restart=GIVES_UP)})
    assert "prestart web" not in app.steps()
    assert "cannot start sick-web: it waits for db" in done.out
    assert "file /run/sick/db/up" in done.out
    shown = app.nanod("status", "sick", status=4).out
    assert "waits for db" in shown
    assert "file /run/sick/db/up" in shown
    app.remove()
    assert chain.is_up("web")


@pytest.mark.row("NK-11", "BX-23")
def test_a_dependency_away_for_long_and_back_needs_no_hand(any_machine: Machine, chain: App) -> None:
    """The gate waits so long per try that waiting alone never reaches the start limit: five tries and more go by here."""
    app = App.on(any_machine, "away")
    short = {"delay": "100ms", "limit": 2, "window": "1s"}
    health = {"file": "/run/away/db/up", "interval": "50ms", "start_timeout": "300ms"}
    app.apply({"db": app.service("db", restart=short, health=health), "web": app.service("web", "db", restart=short)})
    app.sick("db")
    app.systemctl("stop", "away-web", "away-db")
    app.clear()
    app.systemctl("start", "--no-block", "away-web")
    until(lambda: int(app.show("web", "NRestarts")) >= 5, "web has tried more often than its limit allows")
    assert app.state("web") != "failed", "between two tries it reads inactive on 252"
    assert "prestart web" not in app.steps()
    app.well("db")
    app.until_up("db", "web")
    app.until_step("poststart web")
    assert [step for step in app.steps() if step.endswith("web") and step != "poststop web"] == up("web")
    app.remove()
    assert chain.is_up("web")


@pytest.mark.row("NK-19")
def test_a_reboot_goes_down_in_reverse_and_comes_up_in_order(any_machine: Machine, chain: App) -> None:
    chain.clear()
    any_machine.reboot()
    chain.until_step("poststart web")
    assert chain.steps() == down("web", "api", "db") + up("db", "api", "web")
    assert chain.nanod("status", "chain").status == 0
