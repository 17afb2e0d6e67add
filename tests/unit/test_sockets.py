"""Sockets of services: their units, and what a plan and a way back do with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nanod.compile import Target, compile_spec
from nanod.plan import plan, stop_order
from nanod.recorded import service_units
from nanod.remove import plan_removal
from nanod.spec.load import load
from nanod.state import Manifest, UnitState
from nanod.units.unitset import Role
from nanod.view.plan import plan_data
from tests.fakes import EMPTY_HOST, running, snapshot_of

if TYPE_CHECKING:
    from nanod.steps import Plan
    from nanod.units.unitset import UnitSet

SPEC = """\
project: shop
services:
  web: {command: [/bin/web], user: shop, sockets: [127.0.0.1:8080, /run/web.sock], hooks: {prestop: "true"}}
  old: {command: [/bin/old], user: shop, sockets: [{listen: 9090, via: proxy, backlog: 16}], ports: [9000], health: {tcp: true}}
"""
WEB, SOCKET, PROXY = "shop-web.service", "shop-web.socket", "shop-old-proxy.service"


def compiled(text: str = SPEC) -> UnitSet:
    loaded = load("/srv/specs/shop.yaml", text, directory="/srv/specs")
    assert loaded.spec, loaded.report.text(loaded.sources)
    units, report = compile_spec(loaded.spec, Target())
    assert units, report.text(loaded.sources)
    return units


def applied(wanted: UnitSet) -> Manifest:
    manifest = plan(wanted, None, EMPTY_HOST).manifest
    assert manifest is not None
    return manifest


def changed(text: str, *, before: str = SPEC, states: dict[str, UnitState] | None = None) -> Plan:
    old = compiled(before)
    manifest = applied(old)
    return plan(compiled(text), manifest, snapshot_of(old, manifest, states=states))


def jobs(found: Plan) -> list[str]:
    """What is done to processes and sockets, in order."""
    steps = plan_data(found)["steps"]
    assert isinstance(steps, list)
    return [f"{item['action']} {item['unit']}" for item in steps if item["action"] in ("stop-first", "stop", "start", "restart", "reload")]


def lines(unit: str, *sections: str, text: str = SPEC) -> list[str]:
    return [f"{item.key}={item.text}" for item in compiled(text).unit(unit).directives if item.section in sections]


def test_the_socket() -> None:
    assert lines(SOCKET, "Unit", "Socket") == [
        "Description=Sockets of web of shop",
        "PartOf=shop.target",
        "ListenStream=127.0.0.1:8080",
        "ListenStream=/run/web.sock",
        "Backlog=4096",
        f"Service={WEB}",
        "RemoveOnStop=yes",
    ]
    assert {f"Requires={SOCKET}", f"After={SOCKET}", f"Sockets={SOCKET}"} <= set(lines(WEB, "Unit", "Service"))
    assert "Wants=shop-web.socket" in lines("shop.target", "Unit")


def test_the_systemd_block_has_a_section_for_it() -> None:
    text = SPEC.replace("/run/web.sock]", '/run/web.sock], systemd: {Socket: {SocketMode: "0660", Backlog: "5"}}')
    assert lines(SOCKET, "Socket", text=text)[-2:] == ["Backlog=5", "SocketMode=0660"]
    assert "SocketMode=0660" not in lines(WEB, "Service", text=text)


def test_a_proxy() -> None:
    """It goes with its service, which has the port: while that restarts nobody takes connections. It never starts it."""
    assert "Service=shop-old-proxy.service" in lines("shop-old.socket", "Socket")
    assert "Backlog=16" in lines("shop-old.socket", "Socket")
    found = lines("shop-old-proxy.service", "Unit", "Service")
    assert {"PartOf=shop.target shop-old.service", "After=shop-old.service shop-old.socket", "Sockets=shop-old.socket"} <= set(found)
    assert "ExecStart=:/lib/systemd/systemd-socket-proxyd 127.0.0.1:9000" in found
    assert "ExecStartPre=+:/var/lib/nanod/lib/1/await 60 active shop-old.service" in found
    assert "Requires=shop-old.socket" in lines("shop-old.service", "Unit")
    assert not [line for line in lines("shop-old.service", "Service") if line.startswith("Sockets=")]


def test_what_is_recorded_of_it() -> None:
    manifest = applied(compiled())
    item = service_units(manifest, "web")
    assert (item.socket, item.sockets, item.units[SOCKET]) == (SOCKET, ("127.0.0.1:8080", "/run/web.sock"), Role.SOCKET)
    assert service_units(manifest, "old").proxy == "shop-old-proxy.service"
    bare = service_units(replace(manifest, about={}), "old")
    assert (bare.socket, bare.proxy) == ("shop-old.socket", "shop-old-proxy.service")


def test_an_open_socket_is_not_touched_by_a_change_of_its_service() -> None:
    assert jobs(changed(SPEC.replace("[/bin/web]", "[/bin/web, two]"))) == [f"restart {WEB}"]


def test_behind_an_open_socket_nothing_is_stopped_first() -> None:
    """The next connection would start it again, from the old file."""
    assert jobs(changed(SPEC.replace('"true"', '"false"'))) == [f"restart {WEB}"]
    moving = {WEB: UnitState(name=WEB, load="loaded", active="activating", sub="start-pre", job=7, job_type="start")}
    assert jobs(changed(SPEC.replace("[/bin/web]", "[/bin/web, two]"), states=moving)) == [f"restart {WEB}"]


def test_another_listener_closes_the_port() -> None:
    found = changed(SPEC.replace("8080", "8081"))
    assert jobs(found) == [f"stop-first {SOCKET}", f"stop-first {WEB}", f"start {SOCKET}", f"start {WEB}"]
    texts = [cause.text for step in found.steps for cause in step.causes]
    assert "ListenStream= changed" in texts
    assert "port closed meanwhile" in texts
    assert "its socket changed" in texts


def test_a_service_that_gets_a_socket_gives_its_port_to_it() -> None:
    before = SPEC.replace("sockets: [127.0.0.1:8080, /run/web.sock], ", "")
    assert jobs(changed(SPEC, before=before)) == [f"stop-first {WEB}", f"start {SOCKET}", f"start {WEB}"]


def test_a_service_that_has_no_socket_any_more() -> None:
    text = SPEC.replace("sockets: [127.0.0.1:8080, /run/web.sock], ", "")
    assert jobs(changed(text)) == [f"stop {SOCKET}", f"restart {WEB}"]
    # What must stop first would come up again.
    assert jobs(changed(text.replace('"true"', '"false"')))[:2] == [f"stop-first {SOCKET}", f"stop-first {WEB}"]


def test_a_socket_that_does_not_listen_is_opened_again() -> None:
    down = {SOCKET: UnitState(name=SOCKET, load="loaded", active="failed", sub="failed")}
    assert jobs(changed(SPEC, states=down)) == [f"stop-first {WEB}", f"start {SOCKET}", f"start {WEB}"]
    both = down | {WEB: UnitState(name=WEB, load="loaded", active="failed", sub="failed")}
    assert jobs(changed(SPEC, states=both)) == [f"start {SOCKET}", f"start {WEB}"]


def test_dependents_behind_a_socket_restart_by_a_job_of_their_own() -> None:
    """Those that restart together are stopped first, and this one would not stay down."""
    text = SPEC.replace("services:", "services:\n  db: {command: [/bin/db], user: shop}").replace(
        "user: shop, sockets: [127", "user: shop, requires: [db], sockets: [127"
    )
    found = changed(text.replace("[/bin/web]", "[/bin/web, two]").replace("[/bin/db]", "[/bin/db, two]"), before=text)
    assert jobs(found) == ["restart shop-db.service", f"restart {WEB}"]
    assert not [step for step in found.steps if getattr(step, "together", False)]


def test_what_takes_a_service_behind_a_socket_along_does_not_stop_first_either() -> None:
    """Stopped, it would stop that one, which the next connection starts again, and it with that one."""
    text = SPEC.replace("services:", 'services:\n  db: {command: [/bin/db], user: shop, hooks: {prestop: "true"}}')
    text = text.replace("user: shop, sockets: [127", "user: shop, requires: {db: {restart: true}}, sockets: [127")
    changes = text.replace('/bin/db], user: shop, hooks: {prestop: "true"}', '/bin/db], user: shop, hooks: {prestop: "false"}')
    assert jobs(changed(changes, before=text)) == ["restart shop-db.service", f"restart {WEB}"]
    alone = [each.replace("{db: {restart: true}}", "[db]") for each in (text, changes)]
    assert jobs(changed(alone[1], before=alone[0])) == ["stop-first shop-db.service", "start shop-db.service"]


def test_a_proxy_that_runs_is_restarted_for_its_own_sake() -> None:
    old = compiled()
    manifest = applied(old)
    seen = snapshot_of(old, manifest, states={PROXY: running(PROXY)})
    text = seen.files[PROXY]
    edited = replace(seen, files={**seen.files, PROXY: text.replace("9000", "9001")})
    assert jobs(plan(old, manifest, edited)) == [f"restart {PROXY}"]


def test_a_socket_goes_before_its_service() -> None:
    """Open, it would start the service again; systemd itself stops that one first, which needs it."""
    manifest = applied(compiled())
    order = stop_order(manifest)
    assert order.index("shop-old.socket") < order.index("shop-old.service")
    removal = plan_removal(manifest, snapshot_of(compiled(), manifest))
    assert jobs(removal)[:3] == ["stop shop.target", "stop shop-old.socket", f"stop {SOCKET}"]


@pytest.mark.parametrize("text", [SPEC, SPEC.replace("8080", "8081")])
def test_nothing_new_is_nothing_to_do(text: str) -> None:
    assert jobs(changed(text, before=text)) == []
