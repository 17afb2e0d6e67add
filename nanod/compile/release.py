"""Releases: the source of a service to a directory of its own by content, and the units around it: build, deploy, post_deploy.

Units name the very release that they run from, and not `current`: whoever is restarted in the middle of a switch, by a crash or a reboot, comes
back as what it was. A switch is then what any change is: other unit files.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from nanod.compile.hooks import Before, before_mains, content_of, hook_words
from nanod.compile.part import ENV, SLACK, App, as_user, beside, environment, identity, lib, user_name
from nanod.phases import Context, OnFailure, phase_of
from nanod.spec.model import Command, Hook, Item
from nanod.units.names import ROOT_SLICE
from nanod.units.unitset import Release, Role
from nanod.values import digest

if TYPE_CHECKING:
    from nanod.compile.members import Member
    from nanod.compile.target import Target
    from nanod.spec.model import Service, Spec
    from nanod.units.unitfile import UnitBuilder, UnitFile

_BUILD_SANDBOX = {
    "NoNewPrivileges": "yes",
    "PrivateTmp": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "read-only",
    "ProtectControlGroups": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "RestrictSUIDSGID": "yes",
    # Beside ProtectControlGroups= and ProtectKernelTunables= the strict one leaves it writable to root (tried on 252 and 257).
    "ReadOnlyPaths": "/run",
}
"""Of the build: only the app directory, the cache and a /tmp of its own can be written."""


def released(spec: Spec, target: Target) -> tuple[Spec, dict[str, str]]:
    """With the path of each service's release in place of that of its source; and these paths, by service."""
    paths = {
        item.name: f"{target.scope.releases}/{spec.app}/{item.name}/{release_name(item, target)}" for item in spec.services.values() if item.source
    }
    services = {name: _moved(item, item.source, paths[name]) if item.source else item for name, item in spec.services.items()}
    return replace(spec, services=services), paths


def _moved(item: Any, source: str, path: str) -> Any:
    """A part of the model with what it runs, and where, moved from the source to the release. Sources stay: they say where a release is from."""
    changed: dict[str, object] = {}
    for field in fields(item):
        value = getattr(item, field.name)
        if field.name == "working_dir":
            changed[field.name] = _below(value, source, path)
        elif isinstance(item, Command) and field.name == "argv":
            changed[field.name] = (_below(value[0], source, path), *value[1:])
        elif isinstance(value, Item):
            changed[field.name] = _moved(value, source, path)
        elif isinstance(value, tuple) and value and isinstance(value[0], Item):
            changed[field.name] = tuple(_moved(part, source, path) for part in value)
        elif field.name == "hooks":
            changed[field.name] = {phase: tuple(_moved(hook, source, path) for hook in hooks) for phase, hooks in value.items()}
    return replace(item, **changed)


def _below(value: str, source: str, path: str) -> str:
    return path + value[len(source) :] if value == source or value.startswith(f"{source}/") else value


def release_name(service: Service, target: Target) -> str:
    """By all that makes a release what it is: the files, and how they are built. Built once more, it has a number behind: `3f0c….2`."""
    words = [service.user, str(service.dynamic_user), service.group or ""]
    for run in _builds(service):
        words += ["run", *run.argv]
    settings = service.build.environment if service.build else {}
    words += ["environment", *(word for name, value in sorted(settings.items()) for word in (name, value))]
    for hook in service.hooks.get("build", ()):
        words += ["hook", hook.user or "", *(word for pair in sorted(hook.environment.items()) for word in pair)]
    found = digest(target.sources.get(service.name, ""), *words)[:16]
    there = [name for name in target.releases.get(service.name, ()) if name.partition(".")[0] == found]
    if not target.rebuilds:
        return there[0] if there else found
    numbers = [int(name.partition(".")[2] or 1) for name in there]
    return f"{found}.{max(numbers) + 1}" if numbers else found


def _builds(service: Service) -> list[Command]:
    own = [service.build.run] if service.build and service.build.run else []
    return [*own, *(hook.run for hook in service.hooks.get("build", ()))]


def release(app: App, member: Member) -> Release | None:
    """What has to be there before anything of the service is touched; None for a service without a source."""
    service, source = member.whole, member.whole.source
    if source is None:
        return None
    path = app.releases[service.name]
    assert service.build is not None, "the loader makes one beside every source"
    return Release(
        service=service.name,
        name=path.rpartition("/")[2],
        path=path,
        source=source,
        inputs=service.build.inputs,
        digest=app.target.sources.get(service.name, ""),
        user=None if service.dynamic_user else service.user,
        group=service.group,
        keep=service.build.keep,
        build=_build_unit(app, member, path) if _builds(service) else None,
        origin=service.at("source"),
        cache=app.scope.cache,
    )


def _build_unit(app: App, member: Member, path: str) -> UnitFile:
    """A oneshot that only a change of its inputs runs, before anything else happens; it is never installed.

    It has variables of its own: those of the service may say what is true only where and when it runs.
    """
    service, at = member.whole, member.whole.at
    build = service.build
    assert build is not None
    hooks = service.hooks.get("build", ())
    unit = app.builder(member.names.build, Role.BUILD, member)
    # The slice of an app that is not there yet would stay after a build that fails.
    beside(unit, app, f"Build of {service.name} of {app.names.app}", at("source"), tag=f"{app.names.app}-build", in_slice=ROOT_SLICE)
    unit.raw("Service", "Type", "oneshot", at("source"))
    bare = replace(service, environment={**build.environment}, environment_files=(), volumes=(), ports=(), runtime_dir=False)
    if not f"{service.working_dir}/".startswith(f"{path}/"):
        # What the service works in elsewhere is not there yet, or cannot be written.
        bare = replace(bare, working_dir=path)
    # One for all environments of the project. Each may build as a user of its own, and then takes it over; so it is none that a service works with.
    cache = f"nanod/{app.spec.project}/{service.name}.build"
    identity(unit, app, bare, cache=cache)
    if "HOME" not in build.environment:
        # Package managers keep what they have fetched there.
        unit.words("Service", "Environment", [f"HOME={app.scope.cache}/{cache}"], at("source"))
    environment(unit, app, replace(member, service=bare, whole=replace(member.whole, settings={})), cache=cache)
    unit.fixed("Service", _BUILD_SANDBOX, at("source"))
    unit.words("Service", "ReadWritePaths", [path], at("source"))
    hidden = [f"-{volume}" for volume in service.volumes if not f"{path}/".startswith(f"{volume}/")]
    unit.words("Service", "InaccessiblePaths", [*hidden, f"-{app.scope.run}/{app.names.app}"], at("source"))
    if service.dynamic_user:
        unit.exec("ExecStartPre", ["/usr/bin/chown", "-hR", user_name(app, service), path], at("source"), prefix="+")
    limit = hooks[0].timeout if hooks else phase_of("build").timeout
    if build.run:
        words = [ENV, "LIFECYCLE_PHASE=build", "NANOD_HOOK=runtime", lib(app, "hook"), OnFailure.FAIL.value, limit.in_seconds, *build.run.argv]
        unit.exec("ExecStart", words, build.at("run"))
    for hook in hooks:
        _line(unit, app, service, hook)
    unit.raw("Service", "TimeoutStartSec", limit + SLACK, at("source"))
    return unit.finish()


def _line(unit: UnitBuilder, app: App, service: Service, hook: Hook, ignore: str = "") -> None:
    """In the mount namespace of its own unit, where the release is what it may be; so it has no `+`."""
    argv = hook_words(app, service, replace(hook, context=Context.HOST))
    if hook.user and hook.user != user_name(app, service):
        unit.exec("ExecStart", [*as_user(app, service, hook.user), *argv], hook.at(), prefix=f"{ignore}!")
    else:
        unit.exec("ExecStart", argv, hook.at(), prefix=ignore)


def deploy_units(app: App, member: Member, before: Before) -> list[UnitFile]:
    """The two hooks of a deployment, each in a oneshot that nothing but a deployment runs.

    `deploy` stands before the mains, which want it: with the restart of these it is one transaction, in which it runs after the old process has
    ended and before the new one starts, while the socket holds what is asked meanwhile. A file that apply leaves says that this start is one; the
    unit takes it away before it begins. So a boot, a crash, and a restart by hand run nothing.
    """
    there = [phase for phase in ("deploy", "post_deploy") if phase in member.whole.hooks]
    return [_deploy_unit(app, member, before, phase) for phase in there]


def _deploy_unit(app: App, member: Member, before: Before, phase: str) -> UnitFile:
    service = member.whole
    [hook] = service.hooks[phase]
    origin, is_first = hook.at(), phase == "deploy"
    name, role = (member.names.deploy, Role.DEPLOY) if is_first else (member.names.post_deploy, Role.POST_DEPLOY)
    unit = app.builder(name, role, member)
    if is_first:
        # Another deployment is due when this differs, and not when only a limit or a description does.
        unit.raw("X-Nanod", "Content", content_of(before, [hook]), origin)
    word = phase.replace("_", "-")
    beside(unit, app, f"{word.capitalize()} hook of {service.name} of {app.names.app}", origin, tag=f"{app.names.app}-{word}")
    if is_first:
        unit.raw("Unit", "ConditionPathExists", app.scope.armed(unit.name), origin)
    before_mains(unit, app, member, before, [hook])
    if service.source:
        unit.words("Service", "ReadOnlyPaths", [app.releases[service.name]], service.at("source"))
    if is_first:
        # Last: what a gate keeps from beginning has not begun.
        irreversible = [app.scope.irreversible_mark(app.names.app, unit.name)] if hook.irreversible else []
        unit.exec("ExecStartPre", [lib(app, "begun"), app.scope.armed(unit.name), *irreversible], origin, prefix="+")
    _line(unit, app, service, hook, "" if hook.on_failure is OnFailure.FAIL else "-")
    return unit.finish()
