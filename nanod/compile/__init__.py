"""The compiler: a spec to unit files. Pure: no clock, no environment, no disk, no bus."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nanod.compile.failure import failure_unit
from nanod.compile.features import expanded
from nanod.compile.group import slice_unit, target_unit
from nanod.compile.health import in_words
from nanod.compile.hooks import Before, hook_names, prestart_unit, ready_unit
from nanod.compile.liveness import liveness_names, liveness_units
from nanod.compile.members import AROUND, is_coloured, members, neutral
from nanod.compile.opinions import judge, levels
from nanod.compile.part import App
from nanod.compile.provision import provision_unit
from nanod.compile.release import deploy_units, release, released
from nanod.compile.sandbox import check_paths
from nanod.compile.secrets import check_secrets
from nanod.compile.service import AWAITING, dependency, dependency_gates, main_unit, ordered, outer_need
from nanod.compile.settings import settings_file
from nanod.compile.socket import proxy_unit, socket_unit
from nanod.compile.target import Target
from nanod.compile.task import all_unit, companion_unit, task_unit
from nanod.compile.timer import rearm_unit, timer_unit
from nanod.compile.user import owned, refusals
from nanod.diagnostics import Report
from nanod.extend import Plugins
from nanod.spec.defaults import DEFAULTS
from nanod.spec.model import Condition, Kind
from nanod.state import HookName
from nanod.units.names import COLOURS, AppNames, check_names, collisions
from nanod.units.unitset import Directory, Outer, Role, Rolling, ServiceUnits, UnitSet
from nanod.values import TimeSpan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nanod.compile.members import Member
    from nanod.diagnostics import Mark
    from nanod.spec.model import Requirement, Service, Spec
    from nanod.units.unitfile import UnitFile
    from nanod.units.unitset import Release

__all__ = ["Target", "compile_spec"]

NONE = Plugins()


def compile_spec(spec: Spec, target: Target, plugins: Plugins = NONE) -> tuple[UnitSet | None, Report]:
    """Compile, or say at which places of the spec it cannot be done. The Report may hold warnings and notes beside a UnitSet.

    Raises NanodError for a plug-in that fails itself.
    """
    spec, added = expanded(spec, plugins)
    if added.has_errors:
        return None, added
    report = Report(list(added))
    report.merge(refusals(spec, target))
    spec, paths = released(owned(spec, target.scope), target)
    app = App(spec=spec, target=target, names=AppNames(spec.app), report=report, releases=paths)
    parts = {name: tuple(item.name for item in (*service.processes, *service.tasks)) for name, service in spec.services.items()}
    for name, part, message in check_names(app.names, parts):
        report.error(_named(spec, name, part), message)
    _check_colours(app, parts)
    ordered_services = start_order(spec)
    completed = {need.target for service in spec.services.values() for need in service.requires if need.condition is Condition.COMPLETED}
    units = {unit.name: unit for unit in (target_unit(app), slice_unit(app))}
    services: list[ServiceUnits] = []
    releases: list[Release] = []
    for service in ordered_services:
        check_service(app, service)
        settings = settings_file(app, service)
        said = levels(report, service, plugins)
        parts_of_it = members(app, service)
        if made_from := release(app, parts_of_it[0]):
            releases.append(made_from)
        for member in parts_of_it:
            made = _member(app, member, stays=service.name in completed, settings=settings)
            facts = _facts(app, member, {unit.name for unit in made}, stays=service.name in completed)
            judge(app, member, [(unit, facts.units[unit.name]) for unit in made if unit.name not in units], plugins, said)
            units |= {unit.name: unit for unit in made if unit.name not in units}
            services.append(facts)
    if report.has_errors:
        return None, report
    return (
        UnitSet(
            app=spec.app,
            spec_file=spec.file,
            env=spec.env,
            target=app.names.target,
            slice=app.names.slice,
            units=tuple(sorted(units.values(), key=lambda unit: unit.name)),
            services=tuple(services),
            directories=_directories(spec),
            users=_users(spec),
            files=_files(spec),
            releases=tuple(releases),
            scope=target.scope,
            outer=tuple(
                Outer(service=service.name, need=outer_need(app, need), origin=need.at())
                for service in ordered_services
                for need in service.requires
                if need.app
            ),
            host_units=tuple((need.target, need.at()) for service in ordered_services for need in service.requires if need.is_unit),
        ),
        report,
    )


def _named(spec: Spec, service: str, part: str) -> Mark:
    """Where a name stands: that of a task or process, of a service, or of the app."""
    if service not in spec.services:
        return spec.at("project")
    whole = spec.services[service]
    return next((item.at() for item in (*whole.processes, *whole.tasks) if item.name == part), whole.at())


def _check_colours(app: App, parts: Mapping[str, tuple[str, ...]]) -> None:
    """`web-blue` beside a service `web` that has a unit of that name."""
    mine = {name for name, service in app.spec.services.items() if is_coloured(service)}
    known = {unit for unit, _, _ in collisions(app.names, parts)}
    claimed = {name: (*(COLOURS if name in mine else ()), *own) for name, own in parts.items()}
    for other, service in {(other, service) for unit, other, service in collisions(app.names, claimed) if unit not in known}:
        one, two = (other, service) if other in mine else (service, other)
        message = f"'{one}' has the units {app.names.app}-{one}-blue and -green, and '{two}' would own one of them; rename it"
        app.report.error(app.spec.services[two].at(), message)


def start_order(spec: Spec) -> list[Service]:
    """Services, each after all that it requires or stands after; otherwise as written. The spec has no cycles, the loader has seen to it."""
    services = spec.services
    done: dict[str, Service] = {}
    for service in services.values():
        # A list and no recursion: a chain may be as long as there are services.
        under_way = [service]
        while under_way:
            last = under_way[-1]
            names = (*(need.target for need in last.requires), *last.after)
            missing = next((name for name in names if name in services and name not in done), None)
            if missing is None:
                done[last.name] = under_way.pop()
            else:
                under_way.append(services[missing])
    return list(done.values())


def check_service(app: App, service: Service) -> None:
    for keys in (service, *(task.service for task in (*service.processes, *service.tasks) if task.service)):
        check_secrets(app, keys)
        check_paths(app, keys)
    if service.reload_on and "reload" not in service.hooks:
        app.report.error(service.at("reload_on"), "reload_on needs a reload hook: systemd would have nothing to run", service.at.path)


def _member(app: App, member: Member, *, stays: bool, settings: UnitFile | None) -> list[UnitFile]:
    """Its units, and the settings with all that stay and so go by them."""
    match member.role:
        case Role.GROUP:
            return [companion_unit(app, member), *_shared(app, member, None, settings)]
        case Role.ALL:
            return [unit for unit in (all_unit(app, member), ready_unit(app, member)) if unit]
        case Role.MAIN:
            main = main_unit(app, member, stays=stays)
            beside = (timer_unit(app, member), rearm_unit(app, member), ready_unit(app, member), failure_unit(app, member), settings)
            front = (proxy_unit(app, member), socket_unit(app, member))
            # What is done once for all colours is compiled with one of them.
            first, beside_main = neutral(app, member), main
            if first is not member:
                beside_main = main_unit(replace(app, report=Report()), first, stays=stays)
            made = (main, *_shared(app, first, beside_main, settings), *beside, *front, *liveness_units(app, member))
            return [unit for unit in made if unit is not None]
        case Role.PRESTART_SIDECAR | Role.POSTSTART_SIDECAR:
            made = (main_unit(app, member, stays=False), failure_unit(app, member), settings, *liveness_units(app, member))
            return [unit for unit in made if unit is not None]
        case _:
            return [task_unit(app, member)]


def _shared(app: App, member: Member, main: UnitFile | None, settings: UnitFile | None) -> list[UnitFile]:
    """What is done once before all mains of a service."""
    whole = member.whole
    needs = [dependency(app, need) for need in whole.requires if ordered(app, need)]
    gates = [argv for _, argv in dependency_gates(app, whole)]
    before = Before(needs=tuple(needs), gates=tuple(gates), content=tuple(unit for unit in (main, settings) if unit))
    made = (provision_unit(app, member), *((prestart_unit(app, member, before), *deploy_units(app, member, before)) if main else ()))
    return [unit for unit in made if unit is not None]


def _row(app: App, need: Requirement) -> str:
    """As `ServiceUnits.requires` has it. `web/api` may be a process of this app, too, so what is of another one goes by its unit."""
    return dependency(app, need) if need.app else need.target


def _facts(app: App, member: Member, made: set[str], *, stays: bool) -> ServiceUnits:
    names, service, whole = member.names, member.service, member.whole
    is_main = member.is_main

    def present(name: str) -> str | None:
        return name if name in made else None

    needs = tuple(_row(app, need) for need in whole.requires if need.required)
    # With several processes what stands for all has the service's own reload hooks.
    reloads = is_main or (member.role is Role.ALL and bool(whole.processes))
    ends = member.role not in _STAYING
    is_scheduled = service.schedule is not None
    return ServiceUnits(
        name=member.row,
        group=whole.name if member.is_grouped else "",
        role=Role.TIMER if is_scheduled else member.role,
        companion=names.main if member.role is Role.GROUP else member.companion,
        is_shared=member.is_shared,
        main=names.timer if is_scheduled else names.main,
        job=names.main if is_scheduled else None,
        rearm=present(names.rearm),
        provision=present(names.provision),
        prestart=present(names.prestart),
        deploy=present(names.deploy),
        post_deploy=present(names.post_deploy),
        ready=present(names.ready),
        failure=present(names.failure),
        alive=present(names.alive),
        alive_timer=present(names.alive_timer),
        settings=present(names.settings),
        socket=present(names.socket),
        proxy=present(names.proxy),
        sockets=tuple(socket.listen for socket in whole.sockets) if is_main else (),
        # A timer waits for nothing: the script does, each time.
        requires=(*member.needs, *(needs if not is_scheduled and member.role in (Role.MAIN, Role.PRESTART_TASK, Role.PRESTART_SIDECAR) else ())),
        restarts_with=tuple(_row(app, need) for need in whole.requires if need.restart) if is_main and not is_scheduled else (),
        outer=tuple(outer_need(app, need) for need in whole.requires if need.app) if member.role in AWAITING else (),
        is_script=ends or (is_main and service.kind is Kind.SCRIPT and not is_scheduled),
        stays=ends or (is_main and stays),
        health=in_words(service.health) if not ends and not is_scheduled else "",
        settle=whole.settle if not is_scheduled else TimeSpan(0),
        restart_limit=service.restart.limit,
        reload_on=service.reload_on if reloads else (),
        restart_on=service.restart_on if is_main else (),
        can_reload=reloads and "reload" in service.hooks,
        hooks=(*_hooks(member), *liveness_names(member)),
        rolling=_rolling(whole) if is_main and (whole.replicas or 0) > 1 else None,
        switch_usec=_rolling(whole).min_healthy_usec if member.colour else 0,
        origin=member.at,
    )


_STAYING = (Role.MAIN, Role.PRESTART_SIDECAR, Role.POSTSTART_SIDECAR)
"""Roles of what has a process that stays."""


def _hooks(member: Member) -> tuple[HookName, ...]:
    if member.task and not member.is_main:
        task = member.task
        ends = member.role not in _STAYING
        return (HookName(phase=task.hook or "", name=task.name, unit=member.names.main, on_failure=task.on_failure.value),) if ends else ()
    found = hook_names(member) if member.is_main or member.whole.processes else ()
    return tuple(hook for hook in found if member.is_main or hook.phase in AROUND[member.role])


def _rolling(service: Service) -> Rolling:
    """A service with several instances is never restarted all at once."""
    said = service.rolling
    if said is None:
        span = TimeSpan.parse(str(DEFAULTS["rolling.min_healthy_time"]))
        return Rolling(max_parallel=int(DEFAULTS["rolling.max_parallel"]), min_healthy_usec=span.usec)
    return Rolling(max_parallel=said.max_parallel, min_healthy_usec=said.min_healthy_time.usec)


def _directories(spec: Spec) -> tuple[Directory, ...]:
    found = {
        path: Directory(path=path, user=service.user, group=service.group, origin=service.at("volumes", position))
        for service in _all_keys(spec)
        if not service.dynamic_user
        for position, path in enumerate(service.volumes)
    }
    return tuple(found[path] for path in sorted(found))


def _all_keys(spec: Spec) -> Iterator[Service]:
    """Services, their processes and their tasks."""
    for service in spec.services.values():
        yield service
        yield from (task.service for task in (*service.processes, *service.tasks) if task.service)


def _users(spec: Spec) -> tuple[tuple[str, Mark], ...]:
    found: dict[str, Mark] = {}
    for service in _all_keys(spec):
        if not service.dynamic_user:
            found.setdefault(service.user, service.at("user"))
        for hooks in service.hooks.values():
            for hook in hooks:
                if hook.user:
                    found.setdefault(hook.user, hook.at("user"))
    return tuple(found.items())


def _files(spec: Spec) -> tuple[tuple[str, Mark], ...]:
    found: dict[str, Mark] = {}
    for service in _all_keys(spec):
        for item in service.credentials:
            found.setdefault(item.file, service.at("credentials", item.name))
        for position, path in enumerate(service.environment_files):
            found.setdefault(path, service.at("environment_files", position))
    return tuple(found.items())
