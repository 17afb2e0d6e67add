"""What every part of the compiler shares: the app at hand, a builder for each unit, and how a command is put into a line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanod.units.secrets import ENCRYPTED, PLAIN
from nanod.units.unitfile import UnitBuilder
from nanod.units.unitset import Role
from nanod.values import TimeSpan, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nanod.compile.members import Member
    from nanod.compile.target import Target
    from nanod.diagnostics import Mark, Report
    from nanod.scope import RuntimeScope
    from nanod.spec.model import Credential, Service, Spec
    from nanod.units.names import AppNames

ENV = "/usr/bin/env"
SLACK = TimeSpan.parse("10s")
"""What a line may take beyond its own timeout: five seconds from TERM to KILL, and time to record the result."""
SETTINGS_VARIABLES = ("NANOD_SETTINGS", "NANOD_CONFIG")
"""What has the path of the file of settings: for the service, its hooks and its tasks."""
_USER_NAME_LIMIT = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """One compilation under way."""

    spec: Spec
    target: Target
    names: AppNames
    report: Report
    releases: Mapping[str, str] = field(default_factory=dict)
    """Service to the directory that it runs from, of those that have a source."""

    @property
    def scope(self) -> RuntimeScope:
        return self.target.scope

    def builder(self, name: str, role: Role, member: Member | None = None) -> UnitBuilder:
        """A unit of this app with its stamps."""
        origin = member.at if member else self.spec.at()
        unit = UnitBuilder(
            name=name,
            service=member.row if member else "",
            head=f"Made by nanod from {printable(self.spec.file)}; change that and run `nanod apply`, or add a drop-in here.",
            report=self.report,
        )
        unit.raw("X-Nanod", "App", self.names.app, origin)
        if member:
            unit.raw("X-Nanod", "Service", member.row, origin)
        unit.raw("X-Nanod", "Role", role.value, origin)
        return unit


def printable(text: str) -> str:
    """For a comment: a line break in a path must not start a line of its own."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def lib(app: App, program: str) -> str:
    return f"{app.scope.lib}/{program}"


def user_name(app: App, service: Service) -> str:
    """The service's user; for a dynamic one the name that systemd allocates, within the 31 characters that it takes (systemd.exec(5), User=)."""
    if not service.dynamic_user:
        return service.user
    name = f"{app.names.app}-{service.name}"
    return name if len(name) <= _USER_NAME_LIMIT else f"{name[: _USER_NAME_LIMIT - 9]}-{digest(name)[:8]}"


def as_user(app: App, service: Service, user: str | None = None) -> list[str]:
    """The words before a command that root starts outside the sandbox, so that it runs as the service's user (or another); none for the owner."""
    wanted = user or user_name(app, service)
    if wanted == app.scope.owner and (user or not service.group):
        return []
    return [lib(app, "as"), wanted, "" if user else service.group or ""]


def command(argv: Sequence[str]) -> list[str]:
    """A command for a unit's line. A bare name is looked up on the unit's own PATH: systemd itself would use the one it was compiled with."""
    return list(argv) if argv[0].startswith("/") else [ENV, *argv]


def identity(unit: UnitBuilder, app: App, service: Service, *, cache: str = "") -> None:
    """User, group, working directory and cache: the same for the main unit and for what belongs to it. `cache`: another one than the service's."""
    at = service.at
    if service.dynamic_user:
        unit.raw("Service", "DynamicUser", True, at("dynamic_user"))
    if service.dynamic_user or service.user != app.scope.owner:
        unit.raw("Service", "User", user_name(app, service), at("user"))
    if service.group:
        unit.raw("Service", "Group", service.group, at("group"))
    state = [path.removeprefix("/var/lib/") for path in service.volumes] if service.dynamic_user else []
    if state:
        unit.words("Service", "StateDirectory", state, at("volumes"))
    unit.words("Service", "CacheDirectory", [cache or cache_directory(app, service)], at())
    unit.raw("Service", "WorkingDirectory", service.working_dir, at("working_dir"))


def cache_directory(app: App, service: Service) -> str:
    """Below %C. A member of another user than its service has one of its own: each start of either would take the directory over."""
    whole = app.spec.services.get(service.name, service)
    user = user_name(app, service)
    is_same = user == user_name(app, whole) and service.dynamic_user == whole.dynamic_user
    return f"nanod/{app.names.app}/{service.name}" + ("" if is_same else f"@{user}")


def environment(unit: UnitBuilder, app: App, member: Member, *, cache: str = "") -> None:
    """What every hook sees, with the words that scripts written for Nanokit and Upsun know; then the service's own, which wins."""
    spec, service, origin = app.spec, member.service, member.at
    env = spec.env or "default"
    cache_path = f"{app.scope.cache}/{cache or cache_directory(app, service)}"
    given = {
        "NANOD_APP": app.names.app,
        "NANOD_PROJECT": spec.project,
        "NANOD_ENV": env,
        "NANOD_SERVICE": service.name,
        "NANOD_UNIT": unit.name,
        "NANOD_REPLICA": str(max(1, member.replica)),
        "NANOD_APP_DIR": service.working_dir,
        "NANOD_CACHE_DIR": cache_path,
        "NANOD_RUN_DIR": f"{app.scope.run}/{member.run_dir(app.names.app)}" if service.runtime_dir else "",
        "NANOKIT_PROJECT": spec.project,
        "NANOKIT_ENV": env,
        "NANOKIT_SERVICE": service.name,
        "PLATFORM_APP_DIR": service.working_dir,
        "PLATFORM_CACHE_DIR": cache_path,
    }
    if member.task:
        given["NANOD_TASK"] = member.task.name
    if member.whole.settings:
        given |= dict.fromkeys(SETTINGS_VARIABLES, f"{app.target.unit_dir}/{app.names.member(service.name).settings}")
    unit.words("Service", "Environment", [f"{name}={value}" for name, value in given.items() if name not in service.environment], origin)
    if service.ports and "PORT" not in service.environment:
        unit.words("Service", "Environment", [f"PORT={service.ports[0]}"], service.at("ports", 0))
    for name, value in service.environment.items():
        unit.words("Service", "Environment", [f"{name}={value}"], service.at("environment", name))
    for position, path in enumerate(service.environment_files):
        unit.raw("Service", "EnvironmentFile", path, service.at("environment_files", position))


def run_directory(unit: UnitBuilder, app: App, member: Member) -> None:
    """The one directory of a group. Every member that has the same user may be the first to need it; it goes with the companion."""
    service, path, origin = member.service, member.run_dir(app.names.app), member.whole.at("runtime_dir")
    if not service.runtime_dir and not (member.role is Role.GROUP and member.whole.runtime_dir):
        return
    if user_name(app, service) != user_name(app, member.whole):
        # systemd would give the directory, with all that is in it, to the user of whoever starts last (systemd.exec(5), RuntimeDirectory=).
        unit.words("Service", "ReadWritePaths", [f"-{app.scope.run}/{path}"], origin)
        return
    unit.words("Service", "RuntimeDirectory", [path], origin)
    if not member.owns_run_dir:
        unit.raw("Service", "RuntimeDirectoryPreserve", True, origin)


def credentials(unit: UnitBuilder, service: Service) -> None:
    """Files that systemd reads, as root, before anything of the unit starts. The encryption of one binds its name (systemd-creds(1), --name=)."""
    for item in by_name(service.credentials):
        unit.raw("Service", ENCRYPTED if item.encrypted else PLAIN, f"{item.name}:{item.file}", service.at("credentials", item.name))


def by_name(credentials: Iterable[Credential]) -> list[Credential]:
    """Moving lines of a spec about restarts nothing."""
    return sorted(credentials, key=lambda item: item.name)


def timed(unit: UnitBuilder, app: App, origin: Mark) -> None:
    """For a timer that waits for a service: a user's basic.target waits for timers.target, and so by default for every timer, in a cycle (tried)."""
    if app.scope.is_user:
        unit.raw("Unit", "DefaultDependencies", False, origin)
        unit.words("Unit", "Conflicts", ["shutdown.target"], origin)
        unit.words("Unit", "Before", ["shutdown.target"], origin)


def beside(unit: UnitBuilder, app: App, description: str, origin: Mark, *, tag: str = "", in_slice: str = "") -> None:
    """What every unit beside the main one has. No start limit: a few restarts of the target would reach it (tried on 252, 257).

    `tag`: what `journalctl -t` knows it by, if not its name. `in_slice`: if not that of the app.
    """
    unit.raw("Unit", "Description", description, origin)
    unit.raw("Unit", "StartLimitIntervalSec", 0, origin)
    unit.raw("Service", "Slice", in_slice or app.names.slice, origin)
    unit.raw("Service", "SyslogIdentifier", tag or unit.name.removesuffix(".service"), origin)
