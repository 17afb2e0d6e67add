"""`sockets`: a unit that owns the addresses of a service, so that the port is open, and holds connections, while the service restarts.

systemd hands the listening descriptors to the main process (sd_listen_fds(3)). For a program that takes none, `via: proxy` puts
systemd-socket-proxyd(8) between: it takes the connections and passes them on to the service's own port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.compile.members import is_proxied
from nanod.compile.part import SLACK, beside, lib
from nanod.compile.sandbox import STRICT, USER
from nanod.compile.service import own_lines
from nanod.units.unitset import Role
from nanod.values import TimeSpan

if TYPE_CHECKING:
    from nanod.compile.members import Member
    from nanod.compile.part import App
    from nanod.spec.model import Service
    from nanod.units.unitfile import UnitFile

PROXY = "/lib/systemd/systemd-socket-proxyd"
"""Where Debian 12 and 13 have it, and, /lib being a link to /usr/lib, all other distributions."""
_WAIT = 60
"""Seconds for which a proxy waits for its service, before it says so and the next connection has it wait again."""


def socket_unit(app: App, member: Member) -> UnitFile | None:
    """None for a service without `sockets`. It is part of the target and not of the service, whose restarts it outlasts."""
    service = member.whole
    if not service.sockets:
        return None
    at = service.at
    unit = app.builder(member.names.socket, Role.SOCKET, member)
    unit.raw("Unit", "Description", f"Sockets of {service.name} of {app.names.app}", at("sockets"))
    unit.words("Unit", "PartOf", [app.names.target], at("sockets"))
    for position, socket in enumerate(service.sockets):
        unit.raw("Socket", "ListenStream", socket.listen, at("sockets", position))
        _refuse_inside(app, service, socket.listen, position)
    unit.raw("Socket", "Backlog", service.sockets[0].backlog, at("sockets"))
    unit.words("Socket", "Service", [member.names.proxy if is_proxied(service) else member.names.main], at("sockets"))
    if any(socket.listen.startswith("/") for socket in service.sockets):
        unit.raw("Socket", "RemoveOnStop", True, at("sockets"))
    own_lines(unit, app, service, ("Socket",))
    return unit.finish()


def _refuse_inside(app: App, service: Service, path: str, position: int) -> None:
    """Systemd removes the directory with all that is in it whenever the service stops."""
    if service.runtime_dir and path.startswith(f"{app.scope.run}/{app.names.app}/{service.name}/"):
        message = f"{path} is in the runtime directory of the service, which goes each time it stops: put the socket beside it"
        app.report.error(service.at("sockets", position), message, service.at.path)


def proxy_unit(app: App, member: Member) -> UnitFile | None:
    """None for a service that takes descriptors.

    It stops and restarts with the service, so that connections wait in the socket while nobody has the service's own port, and the first that comes
    starts it. It waits for the service and never starts it: connections would use up its start limit, and on 257 not wait for its RestartSec=.
    """
    service, names = member.whole, member.names
    if not is_proxied(service):
        return None
    origin = service.at("sockets")
    unit = app.builder(names.proxy, Role.PROXY, member)
    beside(unit, app, f"Proxy of {member.row} of {app.names.app}", origin)
    unit.words("Unit", "PartOf", [app.names.target, names.main], origin)
    unit.words("Unit", "Requires", [names.socket], origin)
    unit.words("Unit", "After", [names.main, names.socket], origin)
    unit.raw("Service", "Type", "exec", origin)
    unit.words("Service", "Sockets", [names.socket], origin)
    unit.exec("ExecStartPre", [lib(app, "await"), str(_WAIT), "active", names.main], origin, prefix="+")
    unit.exec("ExecStart", [PROXY, f"127.0.0.1:{member.service.ports[0]}"], service.at("ports", 0))
    unit.raw("Service", "TimeoutStartSec", TimeSpan.seconds(_WAIT) + SLACK, origin)
    # It parses nothing of what it passes on, and needs nothing of the host.
    unit.fixed("Service", USER if app.scope.is_user else STRICT | {"DynamicUser": "yes"}, origin)
    return unit.finish()
