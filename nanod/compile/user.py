"""What a user's own manager cannot do: one table, which refuses it at its line. docs/user.md shows the same; each was tried on 252 and 257."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanod.diagnostics import Report
from nanod.spec.defaults import DEFAULTS
from nanod.spec.model import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nanod.compile.target import Target
    from nanod.diagnostics import Mark
    from nanod.scope import RuntimeScope
    from nanod.spec.model import Service, Spec

_FIRST_OPEN_PORT = 1024
"""net.ipv4.ip_unprivileged_port_start, as the kernel has it by itself (ip(7))."""
NEVER = (
    *("User", "Group", "SupplementaryGroups", "DynamicUser", "PAMName", "CapabilityBoundingSet", "AmbientCapabilities"),
    *("LoadCredentialEncrypted", "LogNamespace", "NetworkNamespacePath", "IPCNamespacePath", "RootImage", "ProtectKernelLogs"),
)
"""Of `systemd: {Service: …}`: with these a unit does not start, on 252, on 257 or on both."""
DROPPED = (
    *("IPAddressAllow", "IPAddressDeny", "DevicePolicy", "DeviceAllow", "SocketBindDeny", "RestrictFileSystems", "RestrictNetworkInterfaces"),
    *("ProtectProc", "ProcSubset"),
)
"""These are dropped without a word by both: BPF programs and a /proc of one's own are root's. ProtectClock= asks for what no user may do anyway."""
ONLY_SINCE = 257
SINCE = (
    *("PrivateTmp", "PrivateNetwork", "PrivateDevices", "ProtectSystem", "ProtectHome", "ProtectControlGroups", "ProtectKernelModules"),
    *("ProtectKernelTunables", "ReadWritePaths", "ReadOnlyPaths", "BindPaths", "RootDirectory", "InaccessiblePaths", "TemporaryFileSystem"),
    *("BindReadOnlyPaths", "ExecPaths", "NoExecPaths", "ProtectHostname", "PrivateIPC", "PrivateMounts"),
)
"""252 drops these without a word, or does not start the unit; 257 gives the unit a user namespace."""
PLACES = ("StateDirectory", "ConfigurationDirectory", "LogsDirectory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """`key`, as docs/user.md names it; `why` it is refused and what to do `instead`. `at`: each place in a service that asks for it."""

    key: str
    why: str
    instead: str
    at: Callable[[Service, Target], Iterator[Mark]]


def _user(service: Service, target: Target) -> Iterator[Mark]:
    if service.at.written("user") and service.user != target.scope.owner and not service.dynamic_user:
        yield service.at("user")


def _group(service: Service, _: Target) -> Iterator[Mark]:
    if service.group:
        yield service.at("group")


def _dynamic_user(service: Service, _: Target) -> Iterator[Mark]:
    if service.dynamic_user:
        yield service.at("dynamic_user")


def _hook_users(service: Service, target: Target) -> Iterator[Mark]:
    for hooks in service.hooks.values():
        yield from (hook.at("user") for hook in hooks if hook.user not in (None, target.scope.owner))


def _strict(service: Service, _: Target) -> Iterator[Mark]:
    if service.sandbox is Sandbox.STRICT:
        yield service.at("sandbox")


def _sandboxed_install(service: Service, _: Target) -> Iterator[Mark]:
    if service.provisioning and service.provisioning.sandboxed:
        yield service.provisioning.at("context")


def _source(service: Service, _: Target) -> Iterator[Mark]:
    if service.source:
        yield service.at("source")


def _encrypted(service: Service, _: Target) -> Iterator[Mark]:
    yield from (service.at("credentials", item.name) for item in service.credentials if item.encrypted)


def _ports(service: Service, _: Target) -> Iterator[Mark]:
    yield from (service.at("ports", position) for position, port in enumerate(service.ports) if port < _FIRST_OPEN_PORT)


def _port_sockets(service: Service, _: Target) -> Iterator[Mark]:
    for position, socket in enumerate(service.sockets):
        port = socket.listen.rpartition(":")[2]
        if port.isdecimal() and int(port) < _FIRST_OPEN_PORT:
            yield service.at("sockets", position)


def _path_sockets(service: Service, target: Target) -> Iterator[Mark]:
    for position, socket in enumerate(service.sockets):
        if socket.listen.startswith("/run/") and not socket.listen.startswith(f"{target.scope.run}/"):
            yield service.at("sockets", position)


def _runtime_dir(service: Service, _: Target) -> Iterator[Mark]:
    if "XDG_RUNTIME_DIR" in service.environment:
        yield service.at("environment", "XDG_RUNTIME_DIR")


def _io_weight(service: Service, _: Target) -> Iterator[Mark]:
    if service.resources.io_weight is not None:
        yield service.at("resources", "io_weight")


def _said(names: tuple[str, ...], before: int = 0) -> Callable[[Service, Target], Iterator[Mark]]:
    """Of the spec's own `systemd:` block; with `before` only for an older systemd than that."""

    def found(service: Service, target: Target) -> Iterator[Mark]:
        if not before or target.version < before:
            yield from (service.at("systemd", "Service", key) for key in service.systemd.get("Service", {}) if key in names)

    return found


LIMITS = (
    Limit(key="user", why="a user's manager runs everything as that user", instead="leave it out, or apply it as root", at=_user),
    Limit(key="group", why="a user's manager cannot change groups", instead="leave it out", at=_group),
    Limit(key="dynamic_user", why="only PID 1 makes dynamic users", instead="leave it out", at=_dynamic_user),
    Limit(key="hooks.*.user", why="a hook of a user's manager runs as that user", instead="leave it out", at=_hook_users),
    Limit(
        key="sandbox: strict",
        why="a user's manager cannot take capabilities away, and systemd 252 drops what needs a mount namespace there",
        instead="sandbox: default has what works there",
        at=_strict,
    ),
    Limit(
        key="provisioning.context: sandbox",
        why="its sandbox is a mount namespace, which a user's manager of systemd 252 drops",
        instead="context: host",
        at=_sandboxed_install,
    ),
    Limit(
        key="source",
        why="a release is built in a mount namespace, which a user's manager of systemd 252 drops",
        instead="working_dir, with provisioning.install and its inputs",
        at=_source,
    ),
    Limit(key="credentials.*.encrypted", why="only root can read the key of the machine", instead="a plain file of mode 0600", at=_encrypted),
    Limit(key="ports", why="ports below 1024 are for root", instead="a port from 1024 on", at=_ports),
    Limit(key="sockets (a port)", why="ports below 1024 are for root", instead="a port from 1024 on", at=_port_sockets),
    Limit(key="sockets (a path)", why="what is directly below /run is root's", instead="a path below $XDG_RUNTIME_DIR", at=_path_sockets),
    Limit(
        key="environment.XDG_RUNTIME_DIR",
        why="nanod's programs find the user's manager by it",
        instead="leave it out, the manager sets it",
        at=_runtime_dir,
    ),
    Limit(
        key="resources.io_weight",
        why="user@.service hands users no controller for IO",
        instead="leave it out, or add io to its Delegate= and say IOWeight= under systemd",
        at=_io_weight,
    ),
    Limit(key="systemd.Service (never)", why="the unit would not start under a user's manager", instead="leave it out", at=_said(NEVER)),
    Limit(key="systemd.Service (dropped)", why="a user's manager drops it without a word", instead="leave it out", at=_said(DROPPED)),
    Limit(
        key="systemd.Service (namespaces)",
        why=f"a user's manager needs systemd {ONLY_SINCE} for it, 252 drops it or does not start the unit",
        instead="leave it out",
        at=_said(SINCE, before=ONLY_SINCE),
    ),
    Limit(
        key="systemd.Service (directories)",
        why="each systemd has another place for it under a user's manager, 252 below ~/.config",
        instead="volumes",
        at=_said(PLACES),
    ),
)


def refusals(spec: Spec, target: Target) -> Report:
    """An error at each place that asks for what the target's manager cannot do; PID 1 can do it all."""
    report = Report()
    if not target.scope.is_user:
        return report
    for whole in spec.services.values():
        done = set()
        for service in (whole, *(part.service for part in (*whole.processes, *whole.tasks) if part.service)):
            for limit in LIMITS:
                # What a task or process has of its service stands in one place.
                for mark in limit.at(service, target):
                    if (mark, limit.key) not in done:
                        done.add((mark, limit.key))
                        report.error(mark, f"cannot be had with --user: {limit.why} ({limit.instead})", service.at.path)
    return report


def owned(spec: Spec, scope: RuntimeScope) -> Spec:
    """With the manager's owner as the user of every service that names none."""
    if scope.owner == DEFAULTS["user"]:
        return spec

    def of(service: Service) -> Service:
        user = scope.owner if not service.at.written("user") and not service.dynamic_user else service.user
        return replace(
            service,
            user=user,
            processes=tuple(replace(part, service=of(part.service)) if part.service else part for part in service.processes),
            tasks=tuple(replace(part, service=of(part.service)) if part.service else part for part in service.tasks),
        )

    return replace(spec, services={name: of(service) for name, service in spec.services.items()})
