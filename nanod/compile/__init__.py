"""The compiler: a spec to unit files. Pure: no clock, no environment, no disk, no bus."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nanod.compile.failure import failure_unit
from nanod.compile.group import slice_unit, target_unit
from nanod.compile.health import in_words
from nanod.compile.hooks import check_secrets, hook_names, prestart_unit, ready_unit
from nanod.compile.part import App
from nanod.compile.provision import provision_unit
from nanod.compile.sandbox import check_paths
from nanod.compile.service import dependency, dependency_gates, main_unit, ordered
from nanod.compile.target import Target
from nanod.diagnostics import Report
from nanod.spec.model import Condition, Kind
from nanod.units.names import AppNames, check_names
from nanod.units.unitset import Directory, ServiceUnits, UnitSet

if TYPE_CHECKING:
    from nanod.diagnostics import Mark
    from nanod.spec.model import Service, Spec
    from nanod.units.unitfile import UnitFile

__all__ = ["Target", "compile_spec"]

_SECRET = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|PRIVATE_KEY|API_KEY)S?$")
"""Names of variables that hold a secret itself, and not the path of one (`…_FILE`)."""


def compile_spec(spec: Spec, target: Target) -> tuple[UnitSet | None, Report]:
    """Compile, or say at which places of the spec it cannot be done. The Report may hold warnings and notes beside a UnitSet."""
    report = Report()
    app = App(spec=spec, target=target, names=AppNames(spec.app), report=report)
    for name, message in check_names(app.names, tuple(spec.services)):
        report.error(spec.services[name].at() if name in spec.services else spec.at("project"), message)
    ordered_services = start_order(spec)
    completed = {need.target for service in spec.services.values() for need in service.requires if need.condition is Condition.COMPLETED}
    units = [target_unit(app), slice_unit(app)]
    services = []
    for service in ordered_services:
        made = _service(app, service, stays=service.name in completed)
        units.extend(made)
        services.append(_facts(app, service, {unit.name for unit in made}, stays=service.name in completed))
        _warn(app, service)
    if report.has_errors:
        return None, report
    return (
        UnitSet(
            app=spec.app,
            spec_file=spec.file,
            env=spec.env,
            target=app.names.target,
            slice=app.names.slice,
            units=tuple(sorted(units, key=lambda unit: unit.name)),
            services=tuple(services),
            directories=_directories(spec),
            users=_users(spec),
            files=_files(spec),
            host_units=tuple((need.target, need.at()) for service in ordered_services for need in service.requires if need.is_unit),
        ),
        report,
    )


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


def _service(app: App, service: Service, *, stays: bool) -> list[UnitFile]:
    check_secrets(app, service)
    check_paths(app.report, service)
    if service.reload_on and "reload" not in service.hooks:
        app.report.error(service.at("reload_on"), "reload_on needs a reload hook: systemd would have nothing to run", service.at.path)
    main = main_unit(app, service, stays=stays)
    needs = [dependency(app, need) for need in service.requires if ordered(app, need)]
    gates = [argv for _, argv in dependency_gates(app, service)]
    made = (
        main,
        provision_unit(app, service),
        prestart_unit(app, service, needs, gates, main),
        ready_unit(app, service),
        failure_unit(app, service),
    )
    return [unit for unit in made if unit is not None]


def _facts(app: App, service: Service, made: set[str], *, stays: bool) -> ServiceUnits:
    names = app.names

    def present(name: str) -> str | None:
        return name if name in made else None

    return ServiceUnits(
        name=service.name,
        main=names.service(service.name),
        provision=present(names.provision(service.name)),
        prestart=present(names.prestart(service.name)),
        ready=present(names.ready(service.name)),
        failure=present(names.failure(service.name)),
        requires=tuple(need.target for need in service.requires if need.required),
        restarts_with=tuple(need.target for need in service.requires if need.restart),
        is_script=service.kind is Kind.SCRIPT,
        stays=stays,
        health=in_words(service.health),
        settle=service.settle,
        restart_limit=service.restart.limit,
        reload_on=service.reload_on,
        restart_on=service.restart_on,
        can_reload="reload" in service.hooks,
        hooks=hook_names(app, service),
        origin=service.at(),
    )


def _warn(app: App, service: Service) -> None:
    if service.user == "root" and not service.dynamic_user and not service.at.written("user"):
        app.report.warning(service.at(), f"'{service.name}' runs as root: say user: or dynamic_user: true (user: root keeps root and silences this)")
    for name, value in service.environment.items():
        if value and _SECRET.search(name):
            app.report.warning(
                service.at("environment", name),
                f"every user of the host can read {name} (`systemctl show`): credentials: with env: {name} gives it to the service alone",
                service.at.path,
            )


def _directories(spec: Spec) -> tuple[Directory, ...]:
    found = {
        path: Directory(path=path, user=service.user, group=service.group, origin=service.at("volumes", position))
        for service in spec.services.values()
        if not service.dynamic_user
        for position, path in enumerate(service.volumes)
    }
    return tuple(found[path] for path in sorted(found))


def _users(spec: Spec) -> tuple[tuple[str, Mark], ...]:
    found: dict[str, Mark] = {}
    for service in spec.services.values():
        if not service.dynamic_user:
            found.setdefault(service.user, service.at("user"))
        for hooks in service.hooks.values():
            for hook in hooks:
                if hook.user:
                    found.setdefault(hook.user, hook.at("user"))
    return tuple(found.items())


def _files(spec: Spec) -> tuple[tuple[str, Mark], ...]:
    found: dict[str, Mark] = {}
    for service in spec.services.values():
        for item in service.credentials:
            found.setdefault(item.file, service.at("credentials", item.name))
        for position, path in enumerate(service.environment_files):
            found.setdefault(path, service.at("environment_files", position))
    return tuple(found.items())
