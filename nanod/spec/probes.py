"""Addresses, health checks and sockets."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nanod.spec import read
from nanod.spec.defaults import DEFAULTS
from nanod.spec.merge import PROBES
from nanod.spec.model import Health, Listen, Liveness, ProbeKind
from nanod.spec.shapes import alternatives
from nanod.spec.tree import Place, shown

if TYPE_CHECKING:
    from nanod.spec.read import Context

LOOPBACK: Final = frozenset(["127.0.0.1", "localhost", "[::1]"])
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")


def split_address(text: str) -> tuple[str, int]:
    """`host:port`, `[::1]:port` or a port alone to (host, port), the host in brackets for IPv6. Raises ValueError with what is allowed."""
    host, colon, port = text.rpartition(":")
    host = host if colon else "127.0.0.1"
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535 or not _is_host(host):
        raise ValueError(f"must be an address such as '127.0.0.1:6379' or '[::1]:6379', not {shown(text)}")
    return host, int(port)


def _is_host(host: str) -> bool:
    if host.startswith("[") and host.endswith("]"):
        try:
            return ipaddress.ip_address(host[1:-1].partition("%")[0]).version == 6
        except ValueError:
            return False
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return False
        return True
    return _HOST.fullmatch(host) is not None


def wait_address(text: str) -> str:
    """What a task waits for, with paths written `unix:/path`. Raises ValueError with what is allowed."""
    scheme, _, rest = text.partition(":")
    if scheme in ("unix", "file"):
        return f"{scheme}:{read.normal('/' + rest.lstrip('/'))}"
    if scheme == "tcp":
        host, port = split_address(rest.removeprefix("//"))
        return f"tcp://{host}:{port}"
    parts = None
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for what is no port
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    except ValueError:
        host = ""
    if parts is None or not _is_host(host) or parts.username is not None:
        raise ValueError(f"must be a URL such as 'http://127.0.0.1:8080/healthz', not {shown(text)}")
    return text


def health(context: Context, service: Place, ports: tuple[int, ...], shell: tuple[str, ...], base: str | None) -> Health | None:
    place = service.below("health")
    if place is None:
        return None
    kinds = [kind for kind in PROBES if place.get(kind) is not None]
    if not kinds:
        if not place.map.broken:
            context.findings.error(service, f"'health' needs a probe: one of {alternatives(list(PROBES))}", "health", on_key=True)
        return None
    for other in kinds[1:]:
        context.findings.error(place, f"'health' has one probe, and '{kinds[0]}' is written too", other, on_key=True)
    kind = ProbeKind(kinds[0])
    address, own_port = _probe_address(context, place, kind, ports, base)
    return Health(
        at=place,
        kind=kind,
        address=address,
        own_port=own_port,
        command=read.command_at(context, place, "exec", shell, base) if kind is ProbeKind.EXEC else None,
        interval=read.default_span(context, place, "health.interval"),
        timeout=read.default_span(context, place, "health.timeout"),
        start_timeout=read.default_span(context, place, "health.start_timeout"),
        liveness=_liveness(context, place, kind),
    )


def implied_health(context: Context, service: Place, ports: tuple[int, ...], kind: str) -> Health | None:
    """Of kind http or grpc with ports and no health: tcp on the own port."""
    if kind not in {"http", "grpc"} or not ports or "health" in service.map.broken:
        return None
    return Health(
        at=service.child("ports"),
        kind=ProbeKind.TCP,
        address=f"127.0.0.1:{ports[0]}",
        own_port=True,
        interval=read.default_span(context, service.child("ports"), "health.interval"),
        timeout=read.default_span(context, service.child("ports"), "health.timeout"),
        start_timeout=read.default_span(context, service.child("ports"), "health.start_timeout"),
    )


def _probe_address(context: Context, place: Place, kind: ProbeKind, ports: tuple[int, ...], base: str | None) -> tuple[str, bool]:
    value = place.get(kind)
    match kind:
        case ProbeKind.EXEC | ProbeKind.NOTIFY:
            return "", False
        case ProbeKind.UNIX | ProbeKind.FILE:
            return read.absolute(context, place, str(value), base, kind), False
        case ProbeKind.HTTP:
            return _url(context, place, str(value), ports)
        case ProbeKind.TCP | ProbeKind.GRPC:
            if value is True:
                return _own(context, place, kind, ports), True
            try:
                host, port = split_address(str(value))
            except ValueError as error:
                context.findings.error(place, f"'{kind}' {error}", kind)
                return "", False
            return f"{host}:{port}", host in LOOPBACK and port in ports


def _own(context: Context, place: Place, kind: str, ports: tuple[int, ...]) -> str:
    if not ports and not (place.parent and "ports" in place.parent.map.broken):
        context.findings.error(place, f"'{kind}' probes the service's own port, and it has no 'ports'", kind)
    return f"127.0.0.1:{ports[0]}" if ports else ""


def _url(context: Context, place: Place, value: str, ports: tuple[int, ...]) -> tuple[str, bool]:
    read.warn_literal(context, place, value, "http")
    if value.startswith("/"):
        return f"http://{_own(context, place, 'http', ports)}{value}", True
    try:
        parts = urlsplit(value)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    except ValueError:
        parts, port, host = urlsplit(""), 0, ""
    if parts.scheme not in {"http", "https"} or not _is_host(host) or parts.username is not None:
        form = "a URL such as 'http://127.0.0.1:8080/healthz', or '/path' on the own port"
        context.findings.error(place, f"'http' must be {form}, not {shown(value)}", "http")
        return "", False
    return value, host in LOOPBACK and port in ports


def _liveness(context: Context, health_place: Place, kind: ProbeKind) -> Liveness | None:
    place = health_place.below("liveness")
    if place is None:
        return None
    if kind is ProbeKind.NOTIFY:
        message = "'liveness' needs something to probe; with 'notify' use systemd's watchdog (systemd: {Service: {WatchdogSec: …}})"
        context.findings.error(health_place, message, "liveness", on_key=True)
    return Liveness(
        at=place,
        interval=read.default_span(context, place, "health.liveness.interval"),
        failures=read.integer(place, "failures", int(DEFAULTS["health.liveness.failures"])),
        action=read.text(place, "action") or str(DEFAULTS["health.liveness.action"]),
    )


def sockets(context: Context, service: Place) -> tuple[Listen, ...]:
    return tuple(_socket(context, place) for place in service.child("sockets").items())


def _socket(context: Context, place: Place) -> Listen:
    value = read.written(place.get("listen") if place.map else place.node)
    listen = ""
    if value.startswith("/"):
        listen = read.absolute(context, place, value, None)
    else:
        try:
            host, port = split_address(value)
            listen = f"{host}:{port}" if ":" in value else str(port)
        except ValueError as error:
            context.findings.error(place, f"a socket {error}", *(("listen",) if place.map else ()))
    return Listen(
        at=place,
        listen=listen,
        backlog=read.integer(place, "backlog", int(DEFAULTS["sockets.backlog"])),
        via=read.text(place, "via") or str(DEFAULTS["sockets.via"]),
    )
