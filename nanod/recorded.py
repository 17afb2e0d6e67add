"""Back from what is recorded to what was compiled: the units of a generation, as a plan wants them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.diagnostics import Mark
from nanod.scope import SYSTEM
from nanod.state import ServiceRecord
from nanod.units.names import AppNames, is_settings
from nanod.units.unitfile import Directive, UnitFile, contents
from nanod.units.unitset import Directory, Outer, Release, Role, Rolling, ServiceUnits, UnitSet
from nanod.values import TimeSpan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nanod.scope import RuntimeScope
    from nanod.state import Manifest
    from nanod.units.names import MemberNames

_COMMENT = "# "
_FILES = ("EnvironmentFile", "LoadCredential", "LoadCredentialEncrypted")


def unit_set(manifest: Manifest, texts: Mapping[str, str], scope: RuntimeScope = SYSTEM) -> UnitSet:
    """What the spec of that generation was compiled to. `texts`: unit name to the text of its file, as it was written."""
    origin, names = Mark(manifest.spec), AppNames(manifest.app)
    owners = {unit: service for service, units in manifest.services.items() for unit in units}
    units = tuple(_unit(name, owners.get(name, ""), text, origin) for name, text in sorted(texts.items()))
    services = tuple(service_units(manifest, name) for name in manifest.services)
    return UnitSet(
        app=manifest.app,
        spec_file=manifest.spec,
        env=manifest.env,
        target=names.target,
        slice=names.slice,
        units=units,
        services=services,
        directories=tuple(Directory(path=item.path, user=item.user, group=item.group, origin=origin) for item in manifest.directories),
        users=tuple((name, origin) for name in sorted(set(_users(units)))),
        files=tuple((path, origin) for path in sorted(set(_files(units)))),
        host_units=tuple((name, origin) for name in sorted(_host_units(services))),
        outer=tuple(_outer(manifest, origin)),
        scope=scope,
        releases=tuple(_release(manifest, service, name, scope) for service, name in manifest.releases.items()),
    )


def _outer(manifest: Manifest, origin: Mark) -> Iterator[Outer]:
    found = {(about.group or row, need): None for row, about in manifest.about.items() for need in about.outer}
    yield from (Outer(service=service, need=need, origin=origin) for service, need in found)


def _release(manifest: Manifest, service: str, name: str, scope: RuntimeScope) -> Release:
    """Its name, and where it is; what it was made from nobody knows any more."""
    path, origin = f"{scope.releases}/{manifest.app}/{service}/{name}", Mark(manifest.spec)
    return Release(service=service, name=name, path=path, source="", inputs=(), digest="", user=None, group=None, keep=0, build=None, origin=origin)


def service_units(manifest: Manifest, name: str) -> ServiceUnits:
    """One service; of a record that was made anew from unit files, as much as these tell."""
    about = manifest.about.get(name, ServiceRecord())
    names = AppNames(manifest.app).row(name)
    by_role = {role: unit for unit, role in (about.roles or _roles(names, manifest.services[name])).items()}
    timer = by_role.get(Role.TIMER)
    main = timer or names.main
    role = next((Role(role) for role, unit in by_role.items() if unit == main), Role.MAIN)

    return ServiceUnits(
        name=name,
        group=about.group,
        companion=about.companion,
        is_shared=about.is_shared,
        role=role,
        main=main,
        job=names.main if timer else None,
        rearm=by_role.get(Role.REARM),
        provision=by_role.get(Role.PROVISION),
        prestart=by_role.get(Role.PRESTART),
        deploy=by_role.get(Role.DEPLOY),
        post_deploy=by_role.get(Role.POST_DEPLOY),
        ready=by_role.get(Role.READY),
        failure=by_role.get(Role.FAILURE),
        alive=by_role.get(Role.ALIVE),
        alive_timer=by_role.get(Role.ALIVE_TIMER),
        settings=by_role.get(Role.SETTINGS),
        socket=by_role.get(Role.SOCKET),
        proxy=by_role.get(Role.PROXY),
        sockets=about.sockets,
        requires=about.requires,
        restarts_with=about.restarts_with,
        outer=about.outer,
        is_script=about.is_script,
        stays=about.stays,
        health=about.health,
        settle=TimeSpan(about.settle_usec),
        restart_limit=about.restart_limit,
        reload_on=about.reload_on,
        restart_on=about.restart_on,
        can_reload=about.can_reload,
        hooks=about.hooks,
        rolling=Rolling(max_parallel=about.max_parallel, min_healthy_usec=about.min_healthy_usec) if about.max_parallel else None,
        switch_usec=0 if about.max_parallel else about.min_healthy_usec,
        origin=Mark(manifest.spec),
    )


def _roles(names: MemberNames, there: Iterable[str]) -> dict[str, str]:
    """By their names alone, where no record says it."""
    known = {
        names.provision: Role.PROVISION,
        names.prestart: Role.PRESTART,
        names.deploy: Role.DEPLOY,
        names.post_deploy: Role.POST_DEPLOY,
        names.ready: Role.READY,
        names.failure: Role.FAILURE,
        names.timer: Role.TIMER,
        names.rearm: Role.REARM,
        names.alive: Role.ALIVE,
        names.alive_timer: Role.ALIVE_TIMER,
        names.settings: Role.SETTINGS,
        names.socket: Role.SOCKET,
        names.proxy: Role.PROXY,
    }
    return {unit: known.get(unit, Role.MAIN).value for unit in there}


def _unit(name: str, service: str, text: str, origin: Mark) -> UnitFile:
    directives = tuple(Directive(section=section, key=key, text=value, origin=origin) for section, key, value in contents(name, text))
    head = "" if is_settings(name) else text.partition("\n")[0].removeprefix(_COMMENT)
    return UnitFile(name=name, service=service, head=head, directives=directives)


def _users(units: tuple[UnitFile, ...]) -> Iterator[str]:
    for unit in units:
        if unit.values("Service", "DynamicUser") != ["yes"]:
            yield from unit.values("Service", "User")


def _files(units: tuple[UnitFile, ...]) -> Iterator[str]:
    """A leading `-` of EnvironmentFile= says that the file may be missing; a credential is `NAME:PATH`; `%%` is a percent sign."""
    for unit in units:
        for key in _FILES:
            for value in unit.values("Service", key):
                path = value if key == "EnvironmentFile" else value.partition(":")[2]
                if path.startswith("/"):
                    yield path.replace("%%", "%")


def _host_units(services: tuple[ServiceUnits, ...]) -> set[str]:
    mine = {name for item in services for name in (item.name, *(need.unit for need in item.outer))}
    return {name for item in services for name in item.requires if name not in mine}
