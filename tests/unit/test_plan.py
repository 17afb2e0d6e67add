"""What a plan decides: which unit is touched, how, in which order, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nanod.errors import NanodError
from nanod.plan import plan
from nanod.remove import plan_removal
from nanod.state import Manifest, Snapshot, UnitState
from nanod.steps import AnyStep, Plan, Restart, UnitStep, WriteUnit
from nanod.values import TimeSpan
from nanod.view.plan import plan_data
from tests.fakes import EMPTY_HOST, AppBuilder, running, snapshot_of

if TYPE_CHECKING:
    from nanod.units.unitset import UnitSet

PLAIN = "[Service]\nExecStart=/bin/web"


def applied(wanted: UnitSet, **facts: object) -> Manifest:
    manifest = plan(wanted, None, EMPTY_HOST).manifest
    assert manifest is not None
    return replace(manifest, **facts)  # type: ignore[arg-type]


def shown(found: Plan) -> list[str]:
    """`action subject`, in order."""
    data = plan_data(found)["steps"]
    assert isinstance(data, list)
    return [" ".join(filter(None, (item["action"], item.get("unit") or item.get("path")))) for item in data]


def kinds(found: Plan, unit: str) -> list[str]:
    return list(dict.fromkeys(cause.kind for step in found.steps if isinstance(step, UnitStep) and step.unit == unit for cause in step.causes))


def step_of(found: Plan, kind: type[AnyStep]) -> list[str]:
    return [step.unit for step in found.steps if isinstance(step, kind) and isinstance(step, UnitStep)]


def change(before: AppBuilder, after: AppBuilder, **facts: object) -> Plan:
    """The plan from an app that is applied and runs, to another version of it."""
    old, new = before.build(), after.build()
    manifest = applied(old)
    there = snapshot_of(old, manifest)
    return plan(new, manifest, replace(there, **facts))  # type: ignore[arg-type]


def test_first_apply_makes_all_in_order() -> None:
    wanted = AppBuilder().service("db").service("web", PLAIN, requires=("db",)).volume("/srv/shop").build()
    found = plan(wanted, None, Snapshot(units={}, files={}, links={}, missing_directories=frozenset({"/srv/shop"})))
    assert shown(found) == [
        "make-directory /srv/shop",
        "write nanod-shop.slice",
        "write shop-db.service",
        "write shop-web.service",
        "write shop.target",
        "link multi-user.target.wants/shop.target",
        "daemon-reload",
        "start shop.target",
        "start shop-db.service",
        "start shop-web.service",
    ]
    assert kinds(found, "shop-web.service") == ["new"]
    assert found.manifest is not None
    assert (found.manifest.generation, found.manifest.made) == (1, ("/srv/shop",))


@pytest.mark.row("FAULTS-37", "FAULTS-38")
def test_nothing_changed_is_nothing_to_do() -> None:
    wanted = AppBuilder().service("db").service("web").build()
    manifest = applied(wanted)
    found = plan(wanted, manifest, snapshot_of(wanted, manifest))
    assert found.steps == ()
    assert not found.records
    assert found.manifest == manifest


@pytest.mark.row("FAULTS-36")
def test_one_changed_of_a_hundred_is_one_file_one_reload_one_job() -> None:
    before, after = AppBuilder(), AppBuilder()
    for number in range(100):
        before.service(f"s{number}", PLAIN)
        after.service(f"s{number}", "[Service]\nExecStart=/bin/web --new" if number == 50 else PLAIN)
    assert shown(change(before, after)) == ["write shop-s50.service", "daemon-reload", "restart shop-s50.service"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Environment=A=1", "Environment=A=2", ["write", "daemon-reload", "restart"]),
        ("MemoryMax=1M", "MemoryMax=2M", ["write", "daemon-reload"]),
        ("ExecReload=/bin/a", "ExecReload=/bin/b", ["write", "daemon-reload"]),
        ("ExecStop=/bin/a", "ExecStop=/bin/b", ["stop-first", "write", "daemon-reload", "start"]),
        ("ExecStopPost=/bin/a", "Nice=5", ["stop-first", "write", "daemon-reload", "start"]),
        ("Nice=1", "Nice=5", ["write", "daemon-reload", "restart"]),
        ("Environment=A=1\nMemoryMax=1M", "Environment=A=1\nMemoryMax=2M", ["write", "daemon-reload"]),
        ("ExecStartPre=/bin/a\nExecStartPre=/bin/b", "ExecStartPre=/bin/b\nExecStartPre=/bin/a", ["write", "daemon-reload", "restart"]),
        ("User=a\nGroup=b", "Group=b\nUser=a", ["write", "daemon-reload"]),
    ],
)
@pytest.mark.row("BX-8")
def test_the_dearest_directive_decides(old: str, new: str, expected: list[str]) -> None:
    found = change(AppBuilder().service("web", f"{PLAIN}\n{old}"), AppBuilder().service("web", f"{PLAIN}\n{new}"))
    assert [item.split()[0] for item in shown(found)] == expected


@pytest.mark.row("BX-1")
def test_a_change_names_directive_cost_and_line() -> None:
    found = change(AppBuilder().service("web", PLAIN), AppBuilder().service("web", f"{PLAIN}\nEnvironment=A=1"))
    (restart,) = [step for step in found.steps if isinstance(step, Restart)]
    (cause,) = restart.causes
    assert (cause.kind, cause.subject, cause.cost.name if cause.cost else "") == ("changed", "Environment", "RESTART")
    assert str(cause.mark) == "shop.yaml:3:1"
    (write,) = [step for step in found.steps if isinstance(step, WriteUnit)]
    assert write.diff().splitlines()[-1] == "+Environment=A=1"


@pytest.mark.parametrize("role", ["ready", "failure"])
def test_ready_and_failure_never_restart_their_service(role: str) -> None:
    before = AppBuilder().service("web", PLAIN, **{role: "[Service]\nExecStart=/bin/a"})
    after = AppBuilder().service("web", PLAIN, **{role: "[Service]\nExecStart=/bin/b"})
    assert shown(change(before, after)) == [f"write shop-web-{role}.service", "daemon-reload"]


def test_new_content_to_install_restarts_the_service_which_runs_it() -> None:
    before = AppBuilder().service("web", provision="[Unit]\nConditionPathExists=|!/srv/.nanod-installed-1\n[Service]\nExecStart=/bin/a")
    after = AppBuilder().service("web", provision="[Unit]\nConditionPathExists=|!/srv/.nanod-installed-2\n[Service]\nExecStart=/bin/a")
    found = change(before, after)
    assert shown(found) == ["write shop-web-provision.service", "daemon-reload", "restart shop-web.service"]
    assert kinds(found, "shop-web.service") == ["provisioning-changed"]


def test_provisioning_that_is_new_restarts_and_that_is_gone_does_not() -> None:
    without, having = AppBuilder().service("web"), AppBuilder().service("web", provision="[Service]\nExecStart=/bin/a")
    assert step_of(change(without, having), Restart) == ["shop-web.service"]
    assert shown(change(having, without)) == ["delete shop-web-provision.service"]


def test_deploy_hooks_run_before_their_service_is_touched() -> None:
    before = AppBuilder().service("web", prestart="[Unit]\nConditionPathExists=!/once/1\n[Service]\nExecStart=/bin/a")
    stamp_only = AppBuilder().service("web", prestart="[Unit]\nConditionPathExists=!/once/2\n[Service]\nExecStart=/bin/a")
    other_hook = AppBuilder().service("web", prestart="[Unit]\nConditionPathExists=!/once/3\n[Service]\nExecStart=/bin/b")
    run = ["write shop-web-prestart.service", "daemon-reload", "run shop-web-prestart.service"]
    assert shown(change(before, stamp_only)) == run
    assert shown(change(before, other_hook)) == [*run, "restart shop-web.service"]


@pytest.mark.row("FAULTS-39", "BX-13")
def test_what_is_gone_stops_first_last_started_first_and_is_deleted_after() -> None:
    before = AppBuilder().service("db").service("web", requires=("db",), ready="[Service]\nExecStart=/bin/r")
    found = change(before, AppBuilder().service("api"))
    assert shown(found) == [
        "write shop-api.service",
        "write shop.target",
        "daemon-reload",
        "stop shop-web.service",
        "stop shop-db.service",
        "delete shop-web-ready.service",
        "delete shop-web.service",
        "delete shop-db.service",
        "forget shop-web.service",
        "forget shop-db.service",
        "start shop-api.service",
    ]


def test_a_name_that_something_else_took_is_not_touched() -> None:
    before, after = AppBuilder().service("db").service("web").build(), AppBuilder().service("web").build()
    manifest = applied(before)
    there = snapshot_of(before, manifest)
    files = {name: text for name, text in there.files.items() if name != "shop-db.service"}
    assert shown(plan(after, manifest, replace(there, files=files))) == ["write shop.target", "daemon-reload"]


def test_what_does_not_run_is_started() -> None:
    wanted = AppBuilder().service("db").service("web").service("api").service("mail").build()
    manifest = applied(wanted)
    states = {
        "shop-web.service": UnitState(name="shop-web.service", load="loaded", active="failed", sub="failed"),
        "shop-api.service": UnitState(name="shop-api.service", load="loaded", active="activating", sub="auto-restart"),
        "shop-mail.service": UnitState(name="shop-mail.service", load="loaded", active="activating", sub="start-pre", job=9),
    }
    found = plan(wanted, manifest, snapshot_of(wanted, manifest, states=states))
    assert shown(found) == ["start shop-web.service", "start shop-api.service"]
    assert kinds(found, "shop-web.service") == ["not-running"]


def test_a_script_runs_when_new_or_changed_or_failed_and_not_again() -> None:
    builder = AppBuilder().service("job", is_script=True).service("setup", is_script=True, stays=True)
    wanted = builder.build()
    manifest = applied(wanted)
    ended = UnitState(name="shop-job.service", load="loaded")
    failed = replace(ended, active="failed")
    assert shown(plan(wanted, manifest, snapshot_of(wanted, manifest, states={"shop-job.service": ended}))) == []
    assert shown(plan(wanted, manifest, snapshot_of(wanted, manifest, states={"shop-job.service": failed}))) == ["start shop-job.service"]
    changed = AppBuilder().service("job", PLAIN, is_script=True).service("setup", is_script=True, stays=True).build()
    found = plan(changed, manifest, snapshot_of(wanted, manifest, states={"shop-job.service": ended}))
    assert shown(found)[-1] == "start shop-job.service"
    lost = replace(manifest, about={})
    assert shown(plan(wanted, lost, snapshot_of(wanted, lost, states={"shop-job.service": ended}))) == ["start shop-job.service"]
    not_active = UnitState(name="shop-setup.service", load="loaded")
    found = plan(wanted, manifest, snapshot_of(wanted, manifest, states={"shop-job.service": ended, "shop-setup.service": not_active}))
    assert shown(found) == ["start shop-setup.service"]


def test_a_changed_unit_in_the_middle_of_its_commands_is_stopped_before_the_install() -> None:
    before, after = AppBuilder().service("web", PLAIN), AppBuilder().service("web", f"{PLAIN}\nMemoryMax=1M")
    manifest = applied(before.build())
    states = {"shop-web.service": UnitState(name="shop-web.service", load="loaded", active="activating", sub="start-pre", job=3)}
    found = plan(after.build(), manifest, snapshot_of(before.build(), manifest, states=states))
    assert shown(found) == ["stop-first shop-web.service", "write shop-web.service", "daemon-reload", "start shop-web.service"]


@pytest.mark.row("FAULTS-23")
@pytest.mark.parametrize("required", ["db", "postgresql.service"])
def test_a_service_is_not_stopped_that_could_not_start_again(required: str) -> None:
    def app(value: str) -> UnitSet:
        builder = AppBuilder().service("db") if required == "db" else AppBuilder()
        return builder.service("web", f"[Service]\nEnvironment=A={value}", requires=(required,)).build()

    unit = f"shop-{required}.service" if required == "db" else required
    old, new = app("1"), app("2")
    manifest = plan(old, None, EMPTY_HOST).manifest
    assert manifest is not None
    for load, active, is_refused in (("masked", "inactive", True), ("masked", "active", False), ("loaded", "failed", False)):
        there = snapshot_of(old, manifest, states={unit: UnitState(name=unit, load=load, active=active)})
        there = replace(there, masked=frozenset({unit}) if load == "masked" and required == "db" else frozenset())
        if is_refused:
            with pytest.raises(NanodError, match=rf"cannot restart shop-web\.service: it requires {unit}, which is down and masked"):
                plan(new, manifest, there)
        else:
            assert any(isinstance(step, Restart) and step.unit == "shop-web.service" for step in plan(new, manifest, there).steps)
        assert not any(isinstance(step, Restart) for step in plan(old, manifest, there).steps)


def test_masked_is_respected_and_said() -> None:
    wanted = AppBuilder().service("web").build()
    manifest = applied(wanted)
    there = snapshot_of(wanted, manifest, states={"shop-web.service": UnitState(name="shop-web.service", load="masked")})
    files = {name: text for name, text in there.files.items() if name != "shop-web.service"}
    found = plan(wanted, manifest, replace(there, files=files, masked=frozenset({"shop-web.service"})))
    assert (found.steps, found.masked) == ((), frozenset({"shop-web.service"}))
    assert [(note.kind, note.subject) for note in found.notes] == [("masked", "shop-web.service")]


def test_an_empty_file_of_ours_is_what_a_power_cut_left_and_is_repaired() -> None:
    wanted = AppBuilder().service("web").build()
    manifest = applied(wanted)
    there = snapshot_of(wanted, manifest)
    found = plan(wanted, manifest, replace(there, files={**there.files, "shop-web.service": ""}, masked=frozenset({"shop-web.service"})))
    assert shown(found)[:2] == ["write shop-web.service", "daemon-reload"]


@pytest.mark.row("FAULTS-23")
def test_edits_on_disk_are_put_back_at_the_cost_of_what_was_edited() -> None:
    wanted = AppBuilder().service("web", f"{PLAIN}\nMemoryMax=1M").build()
    manifest = applied(wanted)
    there = snapshot_of(wanted, manifest)
    text = there.files["shop-web.service"]
    cheap = plan(wanted, manifest, replace(there, files={**there.files, "shop-web.service": text.replace("1M", "2M")}))
    dear = plan(wanted, manifest, replace(there, files={**there.files, "shop-web.service": text.replace("/bin/web", "/bin/evil")}))
    latin = plan(wanted, manifest, replace(there, files={**there.files, "shop-web.service": f"# caf\udce9\n{text}"}))
    assert shown(latin) == ["write shop-web.service", "daemon-reload"], "an editor that does not write UTF-8 is no reason to fail"
    gone = plan(wanted, manifest, replace(there, files={name: text for name, text in there.files.items() if name != "shop-web.service"}))
    assert shown(cheap) == ["write shop-web.service", "daemon-reload"]
    assert shown(dear) == ["write shop-web.service", "daemon-reload", "restart shop-web.service"]
    empty = plan(wanted, manifest, replace(there, files={**there.files, "shop-web.service": ""}))
    assert shown(gone) == ["write shop-web.service", "daemon-reload"]
    assert shown(empty) == ["write shop-web.service", "daemon-reload"], "an empty file masks: what runs was started from the one before"
    assert kinds(cheap, "shop-web.service") == ["edited-on-disk"]


@pytest.mark.parametrize("recorded", ["", "0" * 64])
def test_an_apply_that_did_not_finish_is_finished(recorded: str) -> None:
    wanted = AppBuilder().service("web").build()
    manifest = applied(wanted)
    cut = replace(manifest, units={**manifest.units, "shop-web.service": recorded})
    found = plan(wanted, cut, snapshot_of(wanted, cut))
    assert shown(found) == ["daemon-reload", "restart shop-web.service"]
    assert kinds(found, "shop-web.service") == ["unfinished"]


def watching(*, can_reload: bool = False) -> AppBuilder:
    return AppBuilder().service("web", can_reload=can_reload, reload_on=("/etc/web.toml",), restart_on=("/etc/web.pem",))


@pytest.mark.row("BX-8")
def test_watched_files_reload_or_restart() -> None:
    wanted = watching(can_reload=True).build()
    manifest = applied(wanted, watched={"/etc/web.toml": "1", "/etc/web.pem": "1"})
    there = snapshot_of(wanted, manifest)

    def after(toml: str, pem: str) -> list[str]:
        return shown(plan(wanted, manifest, replace(there, digests={"/etc/web.toml": toml, "/etc/web.pem": pem})))

    assert after("1", "1") == []
    assert after("2", "1") == ["reload shop-web.service"]
    assert after("2", "2") == ["restart shop-web.service"]
    assert after("", "1") == ["reload shop-web.service"]
    mute = watching().build()
    assert shown(plan(mute, manifest, replace(there, digests={"/etc/web.toml": "2", "/etc/web.pem": "1"}))) == ["restart shop-web.service"]


def test_a_file_that_is_watched_from_now_on_is_recorded_and_nothing_else() -> None:
    before, after = AppBuilder().service("web").build(), watching(can_reload=True).build()
    manifest = applied(before)
    found = plan(after, manifest, snapshot_of(before, manifest, digests={"/etc/web.toml": "1", "/etc/web.pem": "1"}))
    assert found.steps == ()
    assert found.records
    assert found.manifest is not None
    assert found.manifest.watched == {"/etc/web.toml": "1", "/etc/web.pem": "1"}


AFTER_DB = "[Unit]\nAfter=shop-db.service\n[Service]\nExecStart=/bin/web"


def test_who_asks_for_it_restarts_with_its_dependency() -> None:
    before = AppBuilder().service("db").service("web", AFTER_DB, restarts_with=("db",)).service("api", AFTER_DB)
    after = AppBuilder().service("db", PLAIN).service("web", AFTER_DB, restarts_with=("db",)).service("api", AFTER_DB)
    found = change(before, after)
    assert shown(found)[2:] == ["restart shop-db.service", "restart shop-web.service"]
    assert kinds(found, "shop-web.service") == ["dependency-restarted"]
    assert [step.together for step in found.steps if isinstance(step, Restart)] == [True, True]


def test_restarts_that_do_not_order_with_each_other_are_not_held_together() -> None:
    before = AppBuilder().service("db").service("web").service("api", AFTER_DB)
    after = AppBuilder().service("db", PLAIN).service("web", PLAIN).service("api", AFTER_DB)
    assert [step.together for step in change(before, after).steps if isinstance(step, Restart)] == [False, False]


def test_a_dependent_that_restarts_stops_before_what_it_needs_is_stopped() -> None:
    before = AppBuilder().service("db", f"{PLAIN}\nExecStop=/bin/a").service("web", AFTER_DB)
    after = AppBuilder().service("db", f"{PLAIN}\nExecStop=/bin/b").service("web", f"{AFTER_DB}\nNice=5")
    assert shown(change(before, after)) == [
        "stop-first shop-web.service",
        "stop-first shop-db.service",
        "write shop-db.service",
        "write shop-web.service",
        "daemon-reload",
        "start shop-db.service",
        "start shop-web.service",
    ]


def test_what_is_taken_or_belongs_to_another_spec_is_refused() -> None:
    wanted = AppBuilder().service("web").build()
    manifest = applied(wanted)
    with pytest.raises(NanodError, match=r"cannot apply shop: it belongs to /home/other\.yaml") as owned:
        plan(wanted, replace(manifest, spec="/home/other.yaml"), snapshot_of(wanted, manifest))
    assert "--take-over" in owned.value.hint
    taken_over = plan(wanted, replace(manifest, spec="/home/other.yaml"), snapshot_of(wanted, manifest), take_over=True)
    assert taken_over.manifest is not None
    assert (taken_over.steps, taken_over.manifest.spec) == ((), wanted.spec_file)
    taken = replace(EMPTY_HOST, foreign={"shop.target": "/usr/lib/systemd/system/shop.target"})
    with pytest.raises(NanodError, match=r"not nanod's: shop.target \(/usr/lib"):
        plan(wanted, None, taken)


def test_the_token_moves_with_everything_that_moves_the_plan() -> None:
    wanted = AppBuilder().service("web").build()
    manifest = applied(wanted)
    there = snapshot_of(wanted, manifest)
    calm = plan(wanted, manifest, there).token
    assert plan(wanted, manifest, there).token == calm
    moved = [
        plan(wanted, replace(manifest, generation=7), there),
        plan(AppBuilder().service("web", PLAIN).build(), manifest, there),
        plan(wanted, manifest, snapshot_of(wanted, manifest, states={"shop-web.service": UnitState(name="shop-web.service")})),
        # What makes no step, and still decides what a start runs, or what is recorded.
        plan(AppBuilder().service("web", settle=TimeSpan.parse("7s")).build(), manifest, there),
        plan(wanted, manifest, replace(there, drop_ins={"shop-web.service": ("/etc/a.conf",)}, digests={"/etc/a.conf": "1"})),
        plan(wanted, manifest, replace(there, drop_ins={"shop-web.service": ("/etc/a.conf",)}, digests={"/etc/a.conf": "2"})),
        plan(wanted, manifest, replace(there, masked=frozenset({"shop-web.service"}))),
    ]
    assert len({calm, *(found.token for found in moved)}) == 8


def test_in_a_tree_only_files_change() -> None:
    wanted = AppBuilder().service("web").build()
    found = plan(wanted, None, EMPTY_HOST, online=False)
    assert {item.split()[0] for item in shown(found)} == {"write", "link"}


def test_links_that_are_gone_come_back_and_stale_ones_go() -> None:
    wanted = AppBuilder().service("web").build()
    stale = "graphical.target.wants/shop.target"
    manifest = applied(wanted)
    manifest = replace(manifest, links={**manifest.links, stale: "../shop.target"})
    found = plan(wanted, manifest, snapshot_of(wanted, manifest, links={stale: "../shop.target"}))
    assert shown(found) == [f"link {next(iter(wanted.links))}", f"unlink {stale}", "daemon-reload"]


def test_removal_stops_in_reverse_then_deletes_and_keeps_data() -> None:
    dynamic = "[Service]\nExecStart=/bin/web\nDynamicUser=yes\nStateDirectory=web"
    wanted = AppBuilder().service("db", "[Service]\nCacheDirectory=db").service("web", dynamic).volume("/srv/shop").build()
    manifest = applied(wanted, made=("/srv/shop",))
    there = snapshot_of(wanted, manifest, states={"nanod-shop.slice": running("nanod-shop.slice", "active")})
    kept = plan_removal(manifest, there)
    assert shown(kept) == [
        "stop shop.target",
        "stop shop-web.service",
        "stop shop-db.service",
        "stop nanod-shop.slice",
        "delete shop.target",
        "delete shop-web.service",
        "delete shop-db.service",
        "delete nanod-shop.slice",
        "unlink multi-user.target.wants/shop.target",
        "daemon-reload",
        "forget shop.target",
        "forget shop-web.service",
        "forget shop-db.service",
        "forget nanod-shop.slice",
        "forget-app",
    ]
    assert ("kept", "/srv/shop") in [(note.kind, note.subject) for note in kept.notes]
    purged = [item for item in shown(plan_removal(manifest, there, purge=True)) if item.startswith("purge")]
    assert purged == ["purge /srv/shop", "purge /var/cache/db", "purge /var/lib/web", "purge /var/lib/private/web"]


def test_a_removal_that_would_leave_what_runs_is_refused_or_says_so() -> None:
    wanted = AppBuilder().service("db").service("web").build()
    manifest = applied(wanted)
    there = snapshot_of(wanted, manifest)
    with pytest.raises(NanodError, match=r"cannot remove shop: systemd has shop-db\.service, and its file is not in the unit dir") as elsewhere:
        plan_removal(manifest, replace(there, files={}))
    assert "--unit-dir" in elsewhere.value.hint
    taken = replace(there, files={name: text for name, text in there.files.items() if name != "shop-web.service"})
    assert [note.subject for note in plan_removal(manifest, taken).notes] == ["shop-web.service"]
    assert plan_removal(manifest, there).notes == ()


def test_purge_leaves_what_it_did_not_make_and_what_others_use() -> None:
    wanted = AppBuilder().service("web").volume("/srv/old").volume("/srv/shared").build()
    manifest = applied(wanted, made=("/srv/shared",))
    other = replace(manifest, app="other", volumes=("/srv/shared",))
    found = plan_removal(manifest, snapshot_of(wanted, manifest), purge=True, others={other.app: other})
    assert not [item for item in shown(found) if item.startswith("purge")]
    assert {note.subject for note in found.notes} == {"/srv/old", "/srv/shared"}
