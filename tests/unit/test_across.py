"""What services require of other apps: the lines of their units, what is looked up in the records of a host, and who is left without."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nanod.across import awaited_apps, check_outer, loss_notes, losses, needs_of, refuse_losses, restarting_with, unmet
from nanod.compile import Target, compile_spec
from nanod.diagnostics import Severity
from nanod.errors import NeededError
from nanod.host.records import decode, encode
from nanod.lifelines import life_of
from nanod.plan import plan
from nanod.recorded import unit_set
from nanod.remove import plan_removal
from nanod.spec.load import load
from nanod.state import OuterNeed, Snapshot, UnitState
from nanod.steps import DaemonReload, RemoveUnit, Restart, Start, Stop, StopBefore

if TYPE_CHECKING:
    from nanod.state import Manifest
    from nanod.steps import Plan
    from nanod.units.unitset import UnitSet

EMPTY = Snapshot(units={}, files={}, links={})
MAIL = """\
  in: {command: [/bin/in], health: {tcp: 25}}
  out: {command: [/bin/out]}
  job: {command: [/bin/job], kind: script}
  kept: {command: [/bin/kept], kind: script}
  user: {command: [/bin/user], requires: {kept: {condition: completed}}}
  daily: {command: [/bin/daily], kind: script, schedule: daily}
  many: {command: [/bin/many], replicas: 2, ports: [9000], health: {tcp: true}}
  parts: {processes: {a: {command: [/bin/a]}, b: {command: [/bin/b], health: {file: /run/b}}}}
  turns: {command: [/bin/turns], sockets: [9100], health: {exec: [/bin/true]}, rolling: {strategy: blue-green}}
"""


def compiled(project: str, services: str) -> UnitSet:
    loaded = load(f"/etc/nanod/{project}.yaml", f"project: {project}\ndefaults: {{user: root}}\nservices:\n{services}", directory="/etc/nanod")
    assert loaded.spec, loaded.report.text()
    units, report = compile_spec(loaded.spec, Target())
    assert units, report.text()
    return units


def applied(units: UnitSet, number: int = 1) -> Manifest:
    manifest = plan(units, None, EMPTY).manifest
    assert manifest
    return replace(manifest, generation=number)


def app(project: str, services: str) -> Manifest:
    return applied(compiled(project, services))


def requiring(requires: str, project: str = "shop") -> UnitSet:
    return compiled(project, f"  web: {{command: [/bin/web], requires: {requires}}}\n")


def hosts(*manifests: Manifest) -> dict[str, Manifest]:
    return {manifest.app: manifest for manifest in manifests}


def lines(units: UnitSet, name: str = "shop-web.service") -> list[str]:
    wanted = re.compile(r"(?:Wants|After|PartOf|Requires|BindsTo|ExecStartPre)=.*mail-.*")
    return [line for line in units.unit(name).render().splitlines() if wanted.match(line)]


@pytest.mark.parametrize("condition", ["", "condition: healthy, ", "condition: started, ", "condition: completed, "])
def test_the_unit_that_stands_for_it_is_wanted_stood_after_and_waited_for(condition: str) -> None:
    gate = "ExecStartPre=+:/var/lib/nanod/lib/1/await 13 active app:mail-in.service"
    assert lines(requiring(f"{{mail/in: {{{condition}}}}}")) == ["Wants=mail-in.service", "After=mail-in.service", gate]


def test_explain_says_what_is_waited_for_as_far_as_the_spec_knows() -> None:
    text = "project: shop\nservices:\n  web: {command: [/bin/web], requires: {mail/in: {}, mail/job: {condition: completed}, mail/out: {required: false}}}\n"
    spec = load("/etc/nanod/shop.yaml", text, directory="/etc/nanod").spec
    assert spec
    units, _ = compile_spec(spec, Target())
    assert units
    found = [step.what for step in life_of(spec, units, "web") if step.phase == "requires"]
    assert found == ["waits until mail/in is up", "waits until mail/job is completed", "lets mail/out start first"]


def test_an_environment_is_part_of_the_apps_name() -> None:
    assert lines(requiring("{mail-stage/in: {required: false, restart: true}}")) == [
        "Wants=mail-stage-in.service",
        "After=mail-stage-in.service",
        "PartOf=mail-stage-in.service",
    ]


def test_what_is_done_before_all_mains_waits_too() -> None:
    units = compiled(
        "shop", "  web: {command: [/bin/web], replicas: 2, requires: [mail/in], hooks: {prestart: [{run: [/bin/x], scope: deploy, name: x}]}}\n"
    )
    for name in ("shop-web@1.service", "shop-web@2.service", "shop-web-prestart.service"):
        assert [line.partition("=")[0] for line in lines(units, name)] == ["Wants", "After", "ExecStartPre"], name


def test_what_is_required_is_on_record_and_comes_back_from_it() -> None:
    units = requiring("{mail/in: {condition: healthy, restart: true}, mail/out: {required: false}}")
    manifest = applied(units)
    assert decode(encode(manifest)) == manifest
    assert manifest.about["web"].outer == (
        OuterNeed(app="mail", service="in", unit="mail-in.service", condition="healthy", restart=True),
        OuterNeed(app="mail", service="out", unit="mail-out.service", required=False),
    )
    assert manifest.about["web"].requires == ("mail-in.service",)
    again = unit_set(manifest, {unit.name: unit.render() for unit in units.units})
    assert [(item.service, item.need) for item in again.outer] == [(item.service, item.need) for item in units.outer]
    assert again.host_units == (), "a unit of another app is none of the host"
    assert again.services[0].called("mail-in.service") == "mail/in"


def test_of_a_group_and_a_schedule_the_need_is_on_record_too() -> None:
    manifest = app(
        "shop",
        "  web: {command: [/bin/web], replicas: 2, requires: [mail/in]}\n"
        "  job: {command: [/bin/job], kind: script, schedule: daily, requires: [mail/out]}\n",
    )
    assert {(item.service, item.unit, item.need.name) for item in needs_of(manifest)} == {
        ("web", "shop-web@1.service", "mail/in"),
        ("web", "shop-web@2.service", "mail/in"),
        ("job", "shop-job.timer", "mail/out"),
    }


@pytest.mark.parametrize("requires", ["[mail/in]", "[mail/out, mail/many, mail/parts, mail/turns]"])
def test_what_is_there_is_no_finding(requires: str) -> None:
    assert list(check_outer(requiring(requires), hosts(app("mail", MAIL)))) == []


FITS = """
in: {condition: healthy, restart: true}
out: {condition: started}
kept: {condition: completed}
many: {condition: healthy, restart: true}
parts: {condition: healthy}
"""


@pytest.mark.parametrize("need", FITS.strip().splitlines())
def test_conditions_that_fit(need: str) -> None:
    units = requiring(f"{{mail/{need}}}")
    assert list(check_outer(units, hosts(app("mail", MAIL)))) == []
    assert awaited_apps(units, hosts(app("mail", MAIL))) == ()


WRONG = [
    ("[post/in]", "app 'post' is not on this host"),
    ("[mail/inn]", "app 'mail' has no service 'inn'"),
    ("[mail/daily]", "'mail/daily' runs on a schedule, so nothing can require it"),
    ("[mail/job]", "'mail/job' is a script, which ends: say condition: completed"),
    ("{mail/in: {condition: started}}", "'mail/in' has a health check, and another app can only wait for that: leave 'condition' out"),
    ("{mail/many: {condition: started}}", "'mail/many' has a health check, and another app can only wait for that: leave 'condition' out"),
    ("{mail/parts: {condition: started}}", "'mail/parts' has a health check, and another app can only wait for that: leave 'condition' out"),
    ("{mail/out: {condition: healthy}}", "'mail/out' has no health check that 'condition: healthy' could wait for"),
    (
        "{mail/in: {condition: completed}}",
        "'mail/in' does not end by itself (kind: script does), so nothing can wait for its completion",
    ),
    (
        "{mail/job: {condition: completed}}",
        "'mail/job' ends and leaves no trace: another app can wait for its completion only where a service of its own app does, too",
    ),
    (
        "{mail/turns: {restart: true}}",
        "nothing can restart with 'mail/turns': a change of it starts a second one beside the first ('strategy: blue-green')",
    ),
]


@pytest.mark.parametrize(("requires", "problem"), WRONG)
def test_what_cannot_be_is_an_error_at_its_line(requires: str, problem: str) -> None:
    units, others = requiring(requires), hosts(app("mail", MAIL))
    found = list(check_outer(units, others))
    assert [(item.severity, item.message) for item in found] == [(Severity.ERROR, problem)]
    assert str(found[0].mark).startswith("/etc/nanod/shop.yaml:4:")
    assert awaited_apps(units, others) == (units.outer[0].need.app,)


def test_what_is_not_required_may_be_missing_and_must_fit() -> None:
    missing = check_outer(requiring("{post/in: {required: false}}"), {})
    assert [(item.severity, item.message) for item in missing] == [(Severity.NOTE, "app 'post' is not on this host; 'web' starts without it")]
    wrong = check_outer(requiring("{mail/daily: {required: false}}"), hosts(app("mail", MAIL)))
    assert wrong.has_errors, "each start of web would run it"


def test_a_record_made_anew_from_unit_files_is_taken_at_its_word() -> None:
    units = compiled("mail", MAIL)
    bare = replace(applied(units), about={})
    assert list(check_outer(requiring("{mail/in: {condition: completed}}"), hosts(bare))) == []
    assert check_outer(requiring("[mail/inn]"), hosts(bare)).has_errors


def test_units_that_an_apply_left_when_it_was_cut_off_are_not_there() -> None:
    half = app("mail", "  in: {command: [/bin/in]}\n")
    half = replace(half, services={**half.services, "new": ("mail-new.service",)})
    assert [item.message for item in check_outer(requiring("[mail/new]"), hosts(half))] == ["app 'mail' has no service 'new'"]


def test_apps_that_require_one_another_are_refused_by_name() -> None:
    mail = app("mail", "  in: {command: [/bin/in], requires: [auth/db]}\n  out: {command: [/bin/out]}\n")
    auth = app("auth", "  db: {command: [/bin/db]}\n  ldap: {command: [/bin/ldap], requires: {shop/cache: {required: false}}}\n")
    found = list(check_outer(requiring("[mail/out]"), hosts(mail, auth)))
    assert [item.message for item in found] == [
        "a circle of apps that require one another: shop/web requires mail/out, mail/in requires auth/db, auth/ldap requires shop/cache"
    ]
    assert list(check_outer(requiring("[mail/out]", "other"), hosts(mail, auth))) == []


def test_a_removal_names_who_needs_it_and_goes_on_by_force() -> None:
    mail, shop = app("mail", MAIL), applied(requiring("[mail/in, mail/out]"))
    optional = applied(requiring("{mail/in: {required: false}}", "optional"))
    with pytest.raises(NeededError) as refused:
        plan_removal(mail, EMPTY, others=hosts(shop, optional))
    assert refused.value.message == "cannot remove mail: shop/web requires mail/in; shop/web requires mail/out"
    assert refused.value.hint == "remove shop first; --force does it all the same"
    assert refused.value.more == {"apps": ["shop"]}
    forced = plan_removal(mail, EMPTY, others=hosts(shop, optional), force=True)
    told = [(note.subject, note.text) for note in forced.notes]
    assert told == [("shop/web", "is left without mail/in"), ("shop/web", "is left without mail/out")]
    assert plan_removal(mail, EMPTY, others=hosts(optional)).notes == ()


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ("  inn: {command: [/bin/in]}\n", "shop/web requires mail/in, which would be gone"),
        (
            "  in: {command: [/bin/in]}\n",
            "shop/web requires mail/in, and 'mail/in' has no health check that 'condition: healthy' could wait for",
        ),
    ],
    ids=["renamed", "without health"],
)
def test_an_apply_that_drops_or_bends_what_is_required_is_refused(after: str, words: str) -> None:
    mail, shop, changed = app("mail", MAIL), applied(requiring("{mail/in: {condition: healthy}}")), compiled("mail", after)
    with pytest.raises(NeededError) as refused:
        plan(changed, mail, EMPTY, others=hosts(shop))
    assert refused.value.message == f"cannot apply mail: {words}"
    forced = plan(changed, mail, EMPTY, others=hosts(shop), force=True)
    assert [note.subject for note in forced.notes if note.kind == "left-without"] == ["shop/web"]
    assert forced.token != plan(changed, mail, EMPTY).token
    assert not [note for note in plan(compiled("mail", MAIL), mail, EMPTY, others=hosts(shop)).notes if note.kind == "left-without"]


def test_a_rollback_is_refused_in_its_own_words() -> None:
    old = compiled("mail", "  out: {command: [/bin/out]}\n")
    with pytest.raises(NeededError, match=r"cannot roll back mail: shop/web requires mail/in, which would be gone"):
        plan(old, app("mail", MAIL), EMPTY, back_to=applied(old), others=hosts(applied(requiring("[mail/in]"))))


def test_what_was_missing_before_is_nobodys_loss() -> None:
    mail, shop = app("mail", "  out: {command: [/bin/out]}\n"), applied(requiring("[mail/in]"))
    assert losses(mail, None, hosts(shop)) == []
    assert losses(None, mail, hosts(shop)) == []
    refuse_losses("apply", "mail", [])
    assert loss_notes([]) == []


def test_who_restarts_with_a_service_of_another_app() -> None:
    shop = app(
        "shop", "  web: {command: [/bin/web], replicas: 2, requires: {mail/in: {restart: true}}}\n  api: {command: [/bin/api], requires: [mail/in]}\n"
    )
    assert [(item.unit, item.need.service) for item in restarting_with("mail", hosts(shop))] == [
        ("shop-web@1.service", "in"),
        ("shop-web@2.service", "in"),
    ]


IN = "  in: {command: [/bin/in]}\n"


def seen(*up: str, units: UnitSet | None = None) -> Snapshot:
    """These units run; the files are those of `units`."""
    files = {unit.name: unit.render() for unit in units.units} if units else {}
    return Snapshot(
        units={name: UnitState(name=name, load="loaded", active="active", sub="running") for name in up},
        files=files,
        links=dict(units.links) if units else {},
    )


def changed(after: str, *up: str, requires: str = "{mail/in: {restart: true}}", force: bool = False) -> Plan:
    """The plan of mail, which was IN and becomes `after`, while these units of mail and shop run."""
    before = compiled("mail", IN)
    shop = applied(requiring(requires))
    return plan(compiled("mail", after), applied(before), seen("mail.target", *up, units=before), others=hosts(shop), force=force)


def test_who_restarts_with_it_is_in_the_plan_and_stops_first() -> None:
    found = changed("  in: {command: [/bin/in, --new]}\n", "mail-in.service", "shop-web.service")
    jobs = [(step.unit, step.together) for step in found.steps if isinstance(step, Restart)]
    assert jobs == [("mail-in.service", True), ("shop-web.service", True)]
    assert [cause.text for step in found.steps if isinstance(step, Restart) for cause in step.causes][-1] == "mail/in restarts, and this one with it"
    assert [(item.name, item.main, item.requires) for item in found.guests] == [("shop-web.service", "shop-web.service", ("in",))]


def test_what_is_stopped_before_its_file_is_written_takes_them_along_and_back() -> None:
    found = changed("  in: {command: [/bin/in], hooks: {poststop: /bin/x}}\n", "mail-in.service", "shop-web.service")
    jobs = [(type(step).__name__, step.unit) for step in found.steps if isinstance(step, StopBefore | Start)]
    assert jobs == [
        ("StopBefore", "shop-web.service"),
        ("StopBefore", "mail-in.service"),
        ("Start", "mail-in.service"),
        ("Start", "shop-web.service"),
    ]


@pytest.mark.parametrize(
    ("up", "requires"), [(("mail-in.service",), "{mail/in: {restart: true}}"), (("mail-in.service", "shop-web.service"), "[mail/in]")]
)
def test_who_is_down_or_does_not_restart_with_it_is_left_alone(up: tuple[str, ...], requires: str) -> None:
    found = changed("  in: {command: [/bin/in, --new]}\n", *up, requires=requires)
    assert [step.unit for step in found.steps if isinstance(step, Restart)] == ["mail-in.service"]
    assert found.guests == ()


def test_what_goes_takes_nobody_along_and_leaves_memory() -> None:
    found = changed("  out: {command: [/bin/out]}\n", "mail-in.service", "shop-web.service", force=True)
    stops = [step for step in found.steps if isinstance(step, Stop)]
    assert [(step.unit, step.alone) for step in stops] == [("mail-in.service", True)]
    reloads = [number for number, step in enumerate(found.steps) if isinstance(step, DaemonReload)]
    removed = next(number for number, step in enumerate(found.steps) if isinstance(step, RemoveUnit))
    assert len(reloads) == 2
    assert reloads[0] < removed < reloads[1]


def test_a_removal_stops_its_target_and_what_others_name_alone() -> None:
    mail, units = app("mail", IN), compiled("mail", IN)
    there = seen("mail.target", "mail-in.service", units=units)
    shop = applied(requiring("{mail/in: {restart: true, required: false}}"))
    found = plan_removal(mail, there, others=hosts(shop))
    assert {step.unit: step.alone for step in found.steps if isinstance(step, Stop)} == {"mail.target": True, "mail-in.service": True}
    apart = plan_removal(mail, there, others=hosts(app("shop", IN)))
    assert not any(step.alone for step in apart.steps if isinstance(step, Stop))


def test_doctor_tells_what_an_app_lacks_of_another() -> None:
    shop, mail = applied(requiring("[mail/in, mail/inn]")), app("mail", IN)
    assert [(item.who, item.what, item.problem) for item in unmet(hosts(shop, mail))] == [("shop/web", "mail/inn", "app 'mail' has no service 'inn'")]
    assert unmet(hosts(applied(requiring("{mail/in: {required: false}}")))) == []
