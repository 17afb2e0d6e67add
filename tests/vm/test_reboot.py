"""A reboot, from the shutdown through the kernel to the last service: all is back, in order, and nothing is done again that was to be done once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.lab import fronts, groups, steps
from tests.lab.groups import DOWN, UP, in_order
from tests.lab.steps import DIRECTORY, HOOKS, MAIN, STEP
from tests.vm.specs import App

if TYPE_CHECKING:
    from tests.vm.guest import Guest

GO = f"{DIRECTORY}/go"
PORT = 9000
ASK = f"curl --silent --max-time 600 http://127.0.0.1:{PORT}/"
LISTENS = f"grep -q '0100007F:{PORT:04X} 00000000:0000 0A' /proc/net/tcp"
RUNNING = "systemctl list-units --type=service,target,socket,timer --state=active --plain --no-legend 'back*' 'early*' 'shop*' | cut -d' ' -f1"
MIGRATE = {"run": f"{STEP} migrate", "scope": "deploy"}
DB = {
    "command": [MAIN],
    "runtime_dir": True,
    "volume": "/srv/back-db",
    "health": {"file": "/run/back/db/up", "start_timeout": "60s"},
    "provisioning": {"install": STEP},
    "hooks": {hook: STEP for hook in HOOKS if hook != "reload"} | {"prestart": [MIGRATE, STEP]},
}
DB_UP = ["prestart db", "main db", "poststart db"]
DB_DOWN = ["prestop db", "signal db", "poststop db"]
EARLY = {
    "command": [f"{steps.PROGRAMS}/server"],
    "sockets": [f"127.0.0.1:{PORT}"],
    "environment": {"VERSION": "one"},
    "health": {"notify": True, "start_timeout": "60s"},
    "hooks": {"prestart": {"run": f"until [ -e {GO} ]; do sleep 0.5; done", "timeout": "20min"}},
}


@dataclass(frozen=True, slots=True)
class Reboot:
    """What it was like."""

    first: list[str]
    """Lines of the hooks until apply said that all is well."""
    again: list[str]
    """Those from the shutdown on."""
    before: list[str]
    after: list[str]
    """Units that are up."""
    meanwhile: tuple[str, bool, str]
    """While the service behind a socket still started: its state, whether a request was waiting then, and what became of the request."""


@pytest.fixture(scope="module")
def reboot(guest: Guest) -> Reboot:
    for name, text in {"step": steps._STEP, "main": steps._MAIN, "stays": groups._STAYS, "ends": groups._ENDS, "server": fronts._SERVER}.items():
        guest.write(f"{steps.PROGRAMS}/{name}", text, mode=0o755)
    back, early = App(guest, "back"), App(guest, "early")
    log = f"{DIRECTORY}/back.log"
    guest.sh(f"mkdir -m 777 {DIRECTORY}; touch {log} {GO}; chmod 666 {log}")
    back.apply({"db": DB, "web": groups.web(requires=["db"])})
    early.apply({"front": EARLY})
    guest.until(lambda: "hello" in lines(guest, log), "what comes after the mains has come")
    first, before = lines(guest, log), guest.sh(RUNNING).split()
    guest.sh(f": >{log}; rm {GO}")
    guest.reboot(wait=False)
    guest.until(lambda: guest.run("sh", "-c", LISTENS, status=None).status == 0, "the port is open")
    with guest.popen(ASK) as asking:
        guest.until(lambda: guest.run("pgrep", "-x", "curl", status=None).status == 0, "a request is under way")
        state, waits = early.state("front"), asking.poll() is None
        guest.run("touch", GO)
        answer = asking.communicate(timeout=600)[0]
    guest.wait_running()
    guest.until(lambda: {"hello", "ship up"} <= set(lines(guest, log)), "what comes after the mains has come")
    return Reboot(first, lines(guest, log), before, guest.sh(RUNNING).split(), (state, waits, answer))


def lines(guest: Guest, file: str) -> list[str]:
    return guest.run("cat", file).out.splitlines()


@pytest.mark.row("NK-1", "NK-10", "NK-11", "NK-14", "NK-15", "NK-16", "NM-3", "NM-4", "NM-5", "NM-9", "NM-11", "NM-12", "NM-15", "FAULTS-50")
def test_everything_stops_and_starts_in_order(reboot: Reboot) -> None:
    in_order(reboot.first, "install db", "migrate db", *DB_UP, "side up", "init", "api up|worker up", "hello|ship up")
    assert Counter(reboot.first) == Counter(["install db", "migrate db", *DB_UP, *UP])
    # At a shutdown all stop in one transaction, and so in the reverse order of their start.
    in_order(reboot.again, "ship down", "api down|worker down", "side down", "clean success", *DB_DOWN)
    in_order(reboot.again, *DB_DOWN, *DB_UP, "side up", "init", "api up|worker up", "hello|ship up")


@pytest.mark.row("NK-2", "NK-19", "NM-7", "BX-5", "BX-6", "FAULTS-50")
def test_what_was_done_once_is_not_done_again(reboot: Reboot, guest: Guest) -> None:
    """Neither the install nor the hooks of the deployment; and of the rest each once."""
    assert Counter(reboot.again) == Counter([*DB_DOWN, *DOWN, *DB_UP, *UP])
    timeline = guest.run("cat", "/srv/shop/timeline").out
    assert timeline.count("the greeting is installed") == 1
    assert timeline.count("the lights are out") == timeline.count("the shop is registered") - 1 >= 2


@pytest.mark.row("BX-2", "BX-25", "FAULTS-50")
def test_the_same_runs_as_before(reboot: Reboot, guest: Guest) -> None:
    assert reboot.after == reboot.before
    assert guest.sh("systemctl --failed --no-legend") == ""
    for app, spec in {"back": "/etc/nanod/back.yaml", "early": "/etc/nanod/early.yaml", "shop": "/opt/shop/shop.yaml"}.items():
        guest.nanod("status", app)
        guest.nanod("plan", "--detailed-exitcode", spec)


@pytest.mark.row("RV-3", "UP-15", "BX-10")
def test_a_socket_takes_connections_while_its_service_still_starts(reboot: Reboot) -> None:
    assert reboot.meanwhile == ("activating", True, "one")
