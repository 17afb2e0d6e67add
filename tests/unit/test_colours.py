"""Blue-green: the two units of a service, when one takes the place of the other, and the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nanod.colours import live_colours, switched, to_switch
from nanod.compile import Target, compile_spec
from nanod.plan import plan
from nanod.recorded import service_units, unit_set
from nanod.restore import Now, Origin, held_units, intent_of, restore_steps, return_steps, touched_units
from nanod.spec.load import load
from nanod.state import Before, UnitState
from nanod.steps import UnitStep
from nanod.view.plan import plan_text
from nanod.view.tty import PLAIN
from tests.fakes import EMPTY_HOST, running, snapshot_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanod.state import Manifest
    from nanod.steps import AnyStep, Plan
    from nanod.units.unitset import UnitSet

SPEC = """\
project: shop
services:
  web:
    command: [/bin/web]
    user: shop
    sockets: [127.0.0.1:8080]
    ports: [9000]
    health: {http: /}
    runtime_dir: true
    rolling: {strategy: blue-green, min_healthy_time: 3s}
    hooks: {ready: "true", prestart: {run: "true", scope: deploy}}
"""
BLUE, GREEN, ALL, SOCKET = "shop-web-blue.service", "shop-web-green.service", "shop-web.service", "shop-web.socket"
CHANGED = SPEC.replace("[/bin/web]", "[/bin/web, two]")


def compiled(text: str = SPEC, colour: str = "blue") -> UnitSet:
    loaded = load("/srv/specs/shop.yaml", text, directory="/srv/specs")
    assert loaded.spec, loaded.report.text(loaded.sources)
    units, report = compile_spec(loaded.spec, Target(colours={"web": colour}))
    assert units, report.text(loaded.sources)
    return units


def applied(wanted: UnitSet) -> Manifest:
    manifest = plan(wanted, None, EMPTY_HOST).manifest
    assert manifest is not None
    return manifest


def planned(text: str, *, states: dict[str, UnitState] | None = None) -> Plan:
    """As a command plans it, from blue on."""
    old = compiled()
    manifest = applied(old)
    seen = snapshot_of(old, manifest, states=states)
    found = plan(compiled(text), manifest, seen)
    if turns := to_switch(found, seen):
        colours = switched(live_colours(manifest), turns)
        return plan(compiled(text, colours["web"]), manifest, seen, because_of=turns)
    return found


def words(steps: Sequence[AnyStep]) -> list[str]:
    return [f"{type(step).__name__} {step.unit}" if isinstance(step, UnitStep) else type(step).__name__ for step in steps]


def test_the_units() -> None:
    blue, green = compiled(), compiled(colour="green")
    assert [item.name for item in blue.services] == ["web/blue", "web"]
    assert [unit.name for unit in green.units if "green" in unit.name] == ["shop-web-green-ready.service", GREEN]
    unit = green.unit(GREEN)
    assert unit.values("Unit", "PartOf") == [f"shop.target {ALL}"]
    assert unit.values("Service", "Sockets") == [SOCKET]
    assert unit.values("Service", "RuntimeDirectory") == ["shop/web/green"]
    assert '"PORT=9001"' in unit.values("Service", "Environment") or "PORT=9001" in unit.values("Service", "Environment")
    assert unit.values("Service", "ExecStartPost")[0].endswith("http://127.0.0.1:9001/")
    assert green.unit(SOCKET).values("Socket", "Service") == [GREEN]
    assert green.unit(ALL).values("Unit", "Wants")[0] == GREEN
    assert SOCKET in " ".join(green.unit("shop.target").values("Unit", "Wants"))
    # What is done once for a content is not done again for a colour.
    assert blue.unit("shop-web-prestart.service").values("Unit", "ConditionPathExists") == green.unit("shop-web-prestart.service").values(
        "Unit", "ConditionPathExists"
    )


def test_what_is_recorded() -> None:
    manifest = applied(compiled())
    item = service_units(manifest, "web/blue")
    assert (item.colour, item.switch_usec, item.rolling, item.socket) == ("blue", 3_000_000, None, SOCKET)
    assert live_colours(manifest) == {"web": "blue"}
    # One that an apply has left with both is about the newer one.
    assert live_colours(replace(manifest, services={**manifest.services, "web/green": (GREEN,)})) == {"web": "blue"}
    assert live_colours(None) == {}


def test_a_change_starts_the_other_colour_and_then_stops_the_first() -> None:
    found = planned(CHANGED)
    assert f"Switch {GREEN}" in words(found.steps)
    assert words(found.steps).index(f"Switch {GREEN}") < words(found.steps).index(f"Stop {BLUE}") < words(found.steps).index(f"RemoveUnit {BLUE}")
    assert f"WriteUnit {BLUE}" not in words(found.steps)
    text = plan_text(found, PLAIN)
    assert "1 switch" in text
    assert "takes over from shop-web-blue.service" in text
    assert "ExecStart= changed" in text


def test_what_needs_no_restart_has_no_other_colour() -> None:
    assert [step for step in words(planned(SPEC.replace("user: shop", "user: shop\n    resources: {memory_max: 1G}")).steps) if "green" in step] == []
    assert words(planned(SPEC).steps) == []


def test_a_colour_that_does_not_run_starts_in_its_own_place() -> None:
    down = {BLUE: UnitState(name=BLUE, load="loaded", active="failed", sub="failed")}
    found = words(planned(CHANGED, states=down).steps)
    assert f"Restart {BLUE}" in found
    assert not [step for step in found if "green" in step]


def test_a_rollback_switches_where_it_can() -> None:
    """To the other colour beside the live one; to the same in its place: the socket is open all the while."""
    old, new = compiled(), compiled(CHANGED, "green")
    first = applied(old)
    second = plan(new, first, snapshot_of(old, first)).manifest
    assert second is not None
    back = plan(unit_set(first, {unit.name: unit.render() for unit in old.units}), second, snapshot_of(new, second), back_to=first)
    assert f"Switch {BLUE}" in words(back.steps)
    assert f"Stop {GREEN}" in words(back.steps)


def test_the_way_back_names_the_old_colour_again_before_the_new_one_stops() -> None:
    """Until then the socket would start the new one once more."""
    found = planned(CHANGED)
    states = {name: running(name) for name in (BLUE, GREEN, SOCKET, ALL)}
    units = {name: Before(active="active", invocation=name) if name != GREEN else Before(active="inactive") for name in touched_units(found)}
    intent = intent_of(found, Origin(at="", command="", unit_dir=""), units, {}, ())
    files = {unit.name: unit.render() for unit in compiled(CHANGED, "green").units} | {BLUE: compiled().unit(BLUE).render()}
    now = Now(files=files, links={}, there=frozenset(), states=states, invocations={name: name for name in states})
    steps = words(restore_steps(intent, now))
    assert steps.index(f"WriteUnit {SOCKET}") < steps.index("DaemonReload") < steps.index(f"StopBefore {GREEN}") < steps.index(f"RemoveUnit {GREEN}")
    assert not [step for step in steps if BLUE in step]
    # The old one had stopped: it starts when the new one is gone.
    gone = replace(now, states={**states, BLUE: UnitState(name=BLUE)}, files={name: text for name, text in files.items() if name != BLUE})
    assert f"WriteUnit {BLUE}" in words(restore_steps(intent, gone))
    held = held_units(intent, gone)
    after = replace(gone, files={unit.name: unit.render() for unit in compiled().units}, states={**gone.states, GREEN: UnitState(name=GREEN)})
    assert f"Start {BLUE}" in words(return_steps(intent, after, held=held))
    # A connection has started it meanwhile: from its own file, there is no other.
    comes = replace(after, states={**after.states, BLUE: UnitState(name=BLUE, load="loaded", active="activating", sub="start-pre", job=7)})
    assert not [step for step in words(return_steps(intent, comes, held=held)) if step.endswith(f" {BLUE}")]


def test_a_name_that_a_colour_has() -> None:
    text = SPEC + "  web-blue: {command: [/bin/x], user: shop}\n"
    loaded = load("/srv/specs/shop.yaml", text, directory="/srv/specs")
    assert loaded.spec
    _, report = compile_spec(loaded.spec, Target())
    assert [item.message for item in report] == ["'web' has the units shop-web-blue and -green, and 'web-blue' would own one of them; rename it"]
