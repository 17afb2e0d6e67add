"""What `sockets` ask of the rest of a spec, and of one another: checks over the finished model."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nanod.spec.model import Kind, ProbeKind
from nanod.spec.probes import LOOPBACK, split_address
from nanod.spec.tree import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nanod.spec.model import Health, Item, Listen, Service
    from nanod.spec.tree import Findings

_INSTANCE_PROBES: Final = (ProbeKind.NOTIFY, ProbeKind.EXEC, ProbeKind.UNIX)
_EVERY: Final = ("", "0.0.0.0", "[::]")  # noqa: S104 - compared, never bound
"""Hosts that stand for all addresses; "" for a port alone."""


def check_sockets(findings: Findings, services: Mapping[str, Service]) -> None:
    for service in services.values():
        _placed(findings, service)
        _kinds(findings, service)
        for position, socket in enumerate(service.sockets):
            _address(findings, service, socket, position)
        if _is_blue_green(service):
            _blue_green(findings, service)
        for need in service.requires:
            if need.restart and not need.is_unit and need.target in services and _is_blue_green(services[need.target]):
                message = f"'{need.target}' does not restart when it changes (strategy: blue-green), so nothing would restart with it"
                findings.error(_place(need), message, "restart")
        if service.health:
            _probe(findings, service, service.health)
    _overlaps(findings, services)


def _is_blue_green(service: Service) -> bool:
    return service.rolling is not None and service.rolling.strategy == "blue-green"


def _place(item: Item) -> Place:
    assert isinstance(item.at, Place)
    return item.at


def _placed(findings: Findings, service: Service) -> None:
    """Who could have sockets at all."""
    place = _place(service)
    if "Socket" in service.systemd and not service.sockets:
        findings.error(place, "it has no socket unit: 'Socket' is for what has 'sockets'", "systemd", "Socket", on_key=True)
    if not service.sockets:
        return
    if service.kind is Kind.SCRIPT:
        findings.error(place, "a script ends, and each connection would run it again: 'sockets' are for what runs on", "sockets", on_key=True)
    if service.replicas is not None:
        message = "instances of one service have ports of their own: with 'replicas' write 'ports', or leave 'replicas' out"
        findings.error(place, message, "sockets", on_key=True)
    if service.processes:
        message = "of several processes none is the one that gets the descriptors: make it a service of its own"
        findings.error(place, message, "sockets", on_key=True)


def _blue_green(findings: Findings, service: Service) -> None:
    """For a while two run side by side."""
    place = _place(service)
    reasons = (
        (service.kind is Kind.SCRIPT, "a script ends by itself"),
        (service.replicas is not None, "instances change a few at a time already (strategy: in-place)"),
        (bool(service.processes), "of several processes each would need a socket of its own"),
        (bool(service.tasks), "tasks belong to one process, and for a while there are two"),
        (not service.sockets, "both would bind the same port: it needs 'sockets', which nanod owns and hands to both"),
        (service.health is None, "it needs a health check that reaches the new instance itself: notify, exec, unix, or its own port"),
    )
    for is_so, reason in reasons:
        if is_so:
            findings.error(place, f"blue-green cannot be done here: {reason}", "rolling", "strategy")


def _kinds(findings: Findings, service: Service) -> None:
    """All sockets of a service are one unit: they have one queue length, and go one way."""
    place = _place(service)
    for position, socket in enumerate(service.sockets[1:], 1):
        for key in ("backlog", "via"):
            first, own = getattr(service.sockets[0], key), getattr(socket, key)
            if own != first:
                written = (key,) if isinstance(socket.at, Place) and socket.at.get(key) is not None else ()
                message = f"'{key}' is {own} here and {first} of the first: the sockets of a service are one unit, and have it in common"
                findings.error(place, message, "sockets", position, *written)
    if service.sockets and service.sockets[0].via == "proxy" and not service.ports and "ports" not in place.map.broken:
        findings.error(place, "the proxy passes connections on to the service's own port: it needs 'ports'", "sockets", on_key=True)


def _address(findings: Findings, service: Service, socket: Listen, position: int) -> None:
    place = _place(service)
    if not socket.listen or socket.listen.startswith("/"):
        return
    host, port = split_address(socket.listen)
    if port in service.ports:
        findings.error(place, f"port {port} stands in 'ports' too: either the service binds it or nanod's socket does", "sockets", position)
    if ":" in socket.listen and not _is_number(host):
        advice = "'127.0.0.1' or '[::1]'" if host == "localhost" else "its address"
        findings.error(place, f"systemd looks no names up for a socket: write {advice} in place of '{host}'", "sockets", position)


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return True


def _probe(findings: Findings, service: Service, health: Health) -> None:
    place, kind = _place(service), health.kind
    if _is_blue_green(service) and kind not in _INSTANCE_PROBES and not health.own_port:
        message = "with blue-green the probe must reach the new instance itself: notify, exec, unix, or its own port"
        findings.error(place, message, "health", str(kind))
        return
    if not any(_reaches(health, socket) for socket in service.sockets):
        return
    if service.sockets[0].via == "proxy":
        message = "the proxy waits until the service is healthy, and this would wait for the proxy: probe the own port ('tcp: true', 'http: /path')"
        findings.error(place, message, "health", str(kind))
    elif kind in (ProbeKind.TCP, ProbeKind.UNIX):
        message = f"a {kind} probe of a socket that nanod owns succeeds with nobody accepting; use http, exec or notify"
        findings.error(place, message, "health", str(kind))


def _reaches(health: Health, socket: Listen) -> bool:
    if not health.address or not socket.listen:
        return False
    if health.kind is ProbeKind.UNIX or socket.listen.startswith("/"):
        return health.kind is ProbeKind.UNIX and health.address == socket.listen
    if health.kind not in (ProbeKind.TCP, ProbeKind.GRPC, ProbeKind.HTTP):
        return False
    host, port = _probed(health)
    listening, its_port = split_address(socket.listen)
    is_every = ":" not in socket.listen or listening in _EVERY
    return port == its_port and (host == listening or is_every or {host, listening} <= LOOPBACK)


def _probed(health: Health) -> tuple[str, int]:
    if health.kind is not ProbeKind.HTTP:
        return split_address(health.address)
    parts = urlsplit(health.address)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return host, parts.port or (443 if parts.scheme == "https" else 80)


def _overlaps(findings: Findings, services: Mapping[str, Service]) -> None:
    """Two that would listen at one place. What a service binds itself may be at any address."""
    bound = {port: name for name, service in services.items() for port in _bound(service)}
    taken: list[tuple[str, int, str]] = []
    for name, service in services.items():
        for position, socket in enumerate(service.sockets):
            if not socket.listen:
                continue
            host, port = ("", 0) if socket.listen.startswith("/") else split_address(socket.listen)
            host = socket.listen if not port else host if ":" in socket.listen else ""
            owner = next((other for place, number, other in taken if number == port and _is_one(place, host)), "")
            if not owner and port and bound.get(port, name) != name:
                owner = bound[port]
            if owner:
                said = "stands here twice" if owner == name else f"belongs to '{owner}' already"
                findings.error(_place(service), f"{socket.listen} {said}", "sockets", position)
            taken.append((host, port, name))


def _is_one(host: str, other: str) -> bool:
    return host == other or (not host.startswith("/") and not other.startswith("/") and (host in _EVERY or other in _EVERY))


def _bound(service: Service) -> Iterator[int]:
    """What the service, its processes and its instances bind."""
    for keys in (service, *(task.service for task in service.processes if task.service)):
        for port in keys.ports:
            is_double = _is_blue_green(service)
            yield from range(port, port + (service.replicas or 1 + is_double))
