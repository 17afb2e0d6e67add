"""Sandbox profiles: one table. `nanod explain` and docs/sandbox.md show the same lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.spec.model import Sandbox
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.compile.members import Member
    from nanod.compile.part import App
    from nanod.diagnostics import Mark
    from nanod.spec.model import Service
    from nanod.units.unitfile import UnitBuilder

DEFAULT: dict[str, str] = {
    "NoNewPrivileges": "yes",
    "PrivateTmp": "yes",
    "ProtectSystem": "full",
    "ProtectControlGroups": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
}
STRICT: dict[str, str] = DEFAULT | {
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ProtectProc": "invisible",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "PrivateDevices": "yes",
    "RestrictNamespaces": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
    "SystemCallFilter": "@system-service",
    "SystemCallErrorNumber": "EPERM",
}
PROFILES: dict[Sandbox, dict[str, str]] = {Sandbox.OFF: {}, Sandbox.DEFAULT: DEFAULT, Sandbox.STRICT: STRICT}
USER: dict[str, str] = {
    key: DEFAULT[key] for key in ("NoNewPrivileges", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "SystemCallArchitectures")
}
"""The default profile of a user's own manager: what needs no namespace. On 252 that manager drops the rest without a word (tried)."""
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 what PrivateTmp= replaces


def profile_of(app: App, service: Service) -> Mapping[str, str]:
    return USER if app.scope.is_user and service.sandbox is Sandbox.DEFAULT else PROFILES[service.sandbox]


def has_namespace(app: App, service: Service) -> bool:
    """Whether the service sees another file system than the host; a dynamic user always does (systemd.exec(5), DynamicUser=)."""
    return service.dynamic_user or "PrivateTmp" in profile_of(app, service)


def joins(unit: UnitBuilder, app: App, member: Member) -> None:
    """The /tmp of its group, which lasts as long as the companion: for who has not the host's (tried on 252 and 257)."""
    if not (has_namespace(app, member.service) and has_namespace(app, member.whole)):
        return
    if member.role is Role.GROUP:
        unit.raw("Service", "PrivateTmp", True, member.at)
    elif member.companion:
        unit.words("Unit", "JoinsNamespaceOf", [member.companion], member.at)


def sandbox(unit: UnitBuilder, app: App, service: Service) -> None:
    """The service's own profile."""
    confine(unit, service, profile_of(app, service), service.at("sandbox"))


def confine(unit: UnitBuilder, service: Service, profile: Mapping[str, str], origin: Mark) -> None:
    """A profile, and in it the service's volumes, which are all writable.

    Behind PrivateTmp= there is a /tmp of its own, and in it the service's own working directory and volumes (tried on 252 and 257).
    """
    unit.fixed("Service", profile, origin)
    if service.volumes and "ProtectSystem" in profile and not service.dynamic_user:
        unit.words("Service", "ReadWritePaths", service.volumes, service.at("volumes"))
    if "PrivateTmp" in profile or service.dynamic_user:
        for path, key in _places(service).items():
            if _is_temporary(path):
                unit.words("Service", "BindPaths", [path], service.at(key))


def check_paths(app: App, service: Service) -> None:
    """What a profile would hide from the service, said before it fails at the start with 200/CHDIR."""
    if service.dynamic_user:
        for position, path in enumerate(service.volumes):
            if not path.startswith("/var/lib/"):
                app.report.error(
                    service.at("volumes", position),
                    f"a dynamic user has no number to own '{path}': its volumes stand below /var/lib, where systemd makes them",
                    service.at.path,
                )
    for path, key in _places(service).items():
        if hidden := _hidden(app, service, path):
            cause = f"{key} '{path}' is hidden from the service by its sandbox ({hidden}): choose another place, or sandbox: off"
            app.report.error(service.at(key), cause, service.at.path)


def _places(service: Service) -> dict[str, str]:
    """What the service must see, each path with the key that names it."""
    return {**dict.fromkeys(service.volumes, "volumes"), service.working_dir: "working_dir"}


def _hidden(app: App, service: Service, path: str) -> str:
    """The directive of the profile that puts something else where `path` is on the host, for good; "" for none."""
    if has_namespace(app, service) and path in _TEMPORARY:
        return "PrivateTmp=yes"
    if profile_of(app, service).get("ProtectHome") == "yes" and f"{path}/".startswith(("/home/", "/root/", "/run/user/")):
        return "ProtectHome=yes"
    return ""


def _is_temporary(path: str) -> bool:
    return path.startswith(tuple(f"{top}/" for top in _TEMPORARY))
