"""What a plan does about releases: which are built, which hooks of a deployment run, when, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nanod.compile import Target
from nanod.errors import NanodError
from nanod.plan import plan
from nanod.steps import Again, Arm, DaemonReload, Plan, Restart, RunPrestart, Start, UnitStep, WriteUnit
from nanod.view.plan import plan_text
from nanod.view.tty import PLAIN
from tests.fakes import EMPTY_HOST, snapshot_of
from tests.unit.test_compile_release import compiled

if TYPE_CHECKING:
    from nanod.state import Manifest, Snapshot
    from nanod.units.unitset import UnitSet

ONE = Target(sources={"web": "1" * 64})
TWO = Target(sources={"web": "2" * 64})
DEPLOY, POST, MAIN = "shop-web-deploy.service", "shop-web-post-deploy.service", "shop-web.service"
HOOKS = "    hooks: {build: make, deploy: ./migrate, post_deploy: ./warm}\n"
SPEC = """\
project: shop
services:
  web:
    kind: http
    ports: [8080]
    user: shop
    source: ./web
    command: [./server]
"""


def applied(wanted: UnitSet) -> Manifest:
    manifest = plan(wanted, None, EMPTY_HOST).manifest
    assert manifest is not None
    return manifest


def there(wanted: UnitSet, **facts: object) -> Snapshot:
    """Applied, up, and with its releases."""
    given: dict[str, Any] = {"releases": frozenset(item.path for item in wanted.releases)} | facts
    return snapshot_of(wanted, applied(wanted), **given)


def change(old: UnitSet, new: UnitSet, again: Again = Again.NOTHING, **facts: object) -> Plan:
    return plan(new, applied(old), there(old, **facts), again=again)


def shown(found: Plan) -> list[str]:
    return [f"{type(step).__name__} {step.unit}" for step in found.steps if isinstance(step, UnitStep) and not isinstance(step, WriteUnit)]


def why(found: Plan, kind: type[UnitStep], unit: str) -> list[str]:
    return [cause.text for step in found.steps if isinstance(step, kind) and step.unit == unit for cause in step.causes]


@pytest.mark.row("UP-1", "UP-2", "UP-16")
def test_a_first_deployment_is_built_before_and_followed_by_post_deploy_after() -> None:
    found = plan(compiled(SPEC + HOOKS, ONE), None, EMPTY_HOST)
    assert [(step.release.service, step.causes[0].text) for step in found.builds] == [("web", "first release")]
    assert shown(found) == [f"Arm {DEPLOY}", "Start shop.target", f"Start {MAIN}"]
    assert [(step.unit, step.causes[-1].text) for step in found.afterwards] == [(POST, "it is deployed")]
    assert found.manifest is not None
    assert found.manifest.releases == {"web": found.builds[0].release.name}


@pytest.mark.row("UP-14", "UP-17")
def test_another_release_is_armed_right_before_the_restart() -> None:
    old, new = compiled(SPEC + HOOKS, ONE), compiled(SPEC + HOOKS, TWO)
    found = change(old, new)
    assert [step.causes[0].text for step in found.builds] == ["another release"]
    assert shown(found) == [f"Arm {DEPLOY}", f"Restart {MAIN}"]
    kinds = [type(step) for step in found.steps]
    assert kinds.index(DaemonReload) < kinds.index(Arm)
    assert len(found.afterwards) == 1
    # One that is there already is not built.
    both = there(old).releases | {new.releases[0].path}
    assert change(old, new, releases=both).builds == ()


@pytest.mark.row("UP-17", "UP-18")
def test_nothing_changed_is_nothing_to_do_and_a_redeploy_is_post_deploy_alone() -> None:
    wanted = compiled(SPEC + HOOKS, ONE)
    same = change(wanted, wanted)
    assert same.is_empty
    again = change(wanted, wanted, Again.REDEPLOY)
    assert (again.steps, again.builds, len(again.afterwards)) == ((), (), 1)
    assert not again.is_empty
    assert not again.records, "a redeploy is no new generation"
    assert again.token != same.token
    assert "post_deploy only" in plan_text(again, PLAIN)
    assert [cause.text for step in again.afterwards for cause in step.causes] == ["it is deployed once more"]


def test_a_limit_is_no_deployment() -> None:
    old = compiled(SPEC + HOOKS, ONE)
    found = change(old, compiled(SPEC + HOOKS + "    resources: {memory_max: 1G}\n", ONE))
    assert not [step for step in found.steps if isinstance(step, Arm | Restart)]
    assert found.afterwards == ()


def test_a_changed_hook_is_one_and_restarts_what_it_stands_before() -> None:
    old = compiled(SPEC + HOOKS, ONE)
    found = change(old, compiled(SPEC + HOOKS.replace("./migrate", "./migrate2"), ONE))
    assert shown(found) == [f"Arm {DEPLOY}", f"Restart {MAIN}"]
    assert "its deploy hook changed" in why(found, Restart, MAIN)
    # One that is not there any more asks for nothing.
    assert not [step for step in change(old, compiled(SPEC, ONE)).steps if isinstance(step, Arm)]


def test_a_changed_post_deploy_hook_waits_for_the_next_deployment() -> None:
    old = compiled(SPEC + HOOKS, ONE)
    found = change(old, compiled(SPEC + HOOKS.replace("./warm", "./warmer"), ONE))
    assert shown(found) == []
    assert found.afterwards == ()


@pytest.mark.row("UP-22")
def test_once_more_runs_all_of_it() -> None:
    old = compiled(SPEC + HOOKS, ONE)
    name = old.releases[0].name
    new = compiled(SPEC + HOOKS, replace(ONE, rebuilds=True, releases={"web": [name]}))
    found = change(old, new, Again.ALL)
    assert [(step.release.name, step.causes[0].text) for step in found.builds] == [(f"{name}.2", "once more")]
    assert shown(found) == [f"Arm {DEPLOY}", f"Restart {MAIN}"]


def test_a_release_that_is_gone_is_built_and_nothing_else_is_done() -> None:
    wanted = compiled(SPEC + HOOKS, ONE)
    found = change(wanted, wanted, releases=frozenset())
    assert [step.causes[0].text for step in found.builds] == ["it is not there any more"]
    assert found.steps == ()
    assert not found.is_empty


def test_a_masked_hook_is_not_armed() -> None:
    old, new = compiled(SPEC + HOOKS, ONE), compiled(SPEC + HOOKS, TWO)
    files = {name: text for name, text in there(old).files.items() if name != DEPLOY}
    found = change(old, new, masked=frozenset({DEPLOY}), files=files)
    assert shown(found) == [f"Restart {MAIN}"]
    assert [(note.subject, note.text) for note in found.notes] == [(DEPLOY, "is masked: the deploy hook does not run")]
    assert len(found.afterwards) == 1
    files = {name: text for name, text in there(old).files.items() if name != POST}
    assert change(old, new, masked=frozenset({POST}), files=files).afterwards == ()


def test_who_is_down_is_deployed_with_its_start_only_when_it_is_due() -> None:
    old = compiled(SPEC + HOOKS, ONE)
    down = replace(there(old), units={name: state for name, state in there(old).units.items() if name != MAIN})
    found = plan(old, applied(old), down)
    assert shown(found) == [f"Start {MAIN}"]
    assert found.afterwards == ()
    new = compiled(SPEC + HOOKS, TWO)
    assert shown(plan(new, applied(old), down)) == [f"Arm {DEPLOY}", f"Start {MAIN}"]


@pytest.mark.row("BX-4")
@pytest.mark.parametrize("irreversible", [False, True])
def test_what_cannot_be_taken_back_is_known_to_the_step(*, irreversible: bool) -> None:
    word = str(irreversible).lower()
    spec = SPEC + (
        f"    hooks: {{deploy: {{run: ./migrate, irreversible: {word}}}, prestart: [{{run: ./x, scope: deploy, irreversible: {word}}}]}}\n"
    )
    found = plan(compiled(spec, ONE), None, EMPTY_HOST)
    assert [step.irreversible for step in found.steps if isinstance(step, Arm | RunPrestart)] == [irreversible] * 2


def test_a_deployment_without_a_deploy_hook_has_its_post_deploy() -> None:
    spec = SPEC + "    hooks: {post_deploy: ./warm}\n"
    old = compiled(spec, ONE)
    assert [step.unit for step in change(old, compiled(spec, TWO)).afterwards] == [POST]
    assert change(old, compiled(spec + "    resources: {memory_max: 1G}\n", ONE)).afterwards == ()


@pytest.mark.row("BX-17")
def test_one_hook_for_all_instances() -> None:
    spec = SPEC + HOOKS + "    replicas: 3\n"
    found = change(compiled(spec, ONE), compiled(spec, TWO))
    assert [step.unit for step in found.steps if isinstance(step, Arm)] == [DEPLOY]
    assert [step.unit for step in found.afterwards] == [POST]
    assert len(found.builds) == 1


@pytest.mark.row("BX-4")
def test_a_rollback_is_a_deployment() -> None:
    old, new = compiled(SPEC + HOOKS, ONE), compiled(SPEC + HOOKS, TWO)
    releases = frozenset({old.releases[0].path, new.releases[0].path})
    back = plan(old, applied(new), there(new, releases=releases), back_to=applied(old))
    assert (back.action, back.builds) == ("rollback", ())
    assert shown(back) == [f"Arm {DEPLOY}", f"Restart {MAIN}"]
    assert [step.unit for step in back.afterwards] == [POST]


def test_below_a_root_nothing_runs() -> None:
    found = plan(compiled(SPEC + HOOKS, ONE), None, EMPTY_HOST, online=False)
    assert found.afterwards == ()
    assert not [step for step in found.steps if isinstance(step, Arm | Start)]


def test_a_token_is_of_the_release_too() -> None:
    old = compiled(SPEC + HOOKS, ONE)
    assert change(old, compiled(SPEC + HOOKS, TWO)).token != change(old, compiled(SPEC + HOOKS, Target(sources={"web": "3" * 64}))).token


def test_another_owner_of_the_name_is_refused_before_anything_is_built() -> None:
    wanted = compiled(SPEC + HOOKS, ONE)
    with pytest.raises(NanodError, match="that are not nanod's"):
        plan(wanted, None, replace(EMPTY_HOST, foreign={MAIN: "/etc/systemd/system"}))
