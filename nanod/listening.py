"""Sockets of services in a plan: when one is opened, when it must be closed for a while, and what an open one keeps from being done. Pure.

A service behind an open socket cannot be stopped for long: the next connection starts it again, from the file that is there. So it restarts, after
the daemon-reload and in one job, and connections wait meanwhile. Where a stop must come first, the socket is closed before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.steps import Cause, CauseKind, Note, Restart, Start
from nanod.units.directives import Cost
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.decide import Planning
    from nanod.units.unitset import ServiceUnits

_DOWN = ("inactive", "failed")


def socket_costs(making: Planning) -> dict[str, Cost]:
    """What their sockets ask of mains, and what becomes of the sockets. Afterwards `held` has the mains whose sockets stay open meanwhile, and the
    services whose stop would stop one of these: it would come up again, and bring them with it.
    """
    found = {
        service.main: _cost(making, service) for service in making.wanted.services if not (service.role.is_pulled or making.is_masked(service.main))
    }
    todo = [service for service in making.wanted.services if service.main in making.held]
    while todo:
        service = todo.pop()
        # One that is down brings up what it requires whenever a connection comes.
        needs = {*service.restarts_with, *(() if making.state(service.main).is_up else service.requires)}
        others = [other for other in making.wanted.services if other.service in needs and other.role is Role.MAIN and other.main not in making.held]
        making.held |= {other.main for other in others}
        todo += others
    return found


def _cost(making: Planning, service: ServiceUnits) -> Cost:
    name = service.socket
    if name and making.is_masked(name):
        making.notes.append(Note(kind="masked", subject=name, text="is masked: left alone"))
        name = None
    found = _opened(making, service, name) if name else Cost.NOTHING
    open_ones = [unit for unit in _sockets_of(making, service) if making.state(unit).is_up]
    if open_ones and max(found, making.compared[service.main].cost) is Cost.STOP_FIRST and not _is_held(making, service, name):
        for unit in open_ones:
            making.stop_before.add(unit)
            making.because(unit, Cause(kind=CauseKind.SOCKET, text="port closed meanwhile", subject=service.main))
            if unit in making.compared:
                making.process.setdefault(unit, Start)
    elif name in open_ones:
        making.held.add(service.main)
    return found


def _sockets_of(making: Planning, service: ServiceUnits) -> Iterator[str]:
    """What may start it now: the socket that it has, and the one that it had."""
    if service.socket:
        yield service.socket
    for row, about in making.manifest.about.items() if making.manifest else ():
        if (about.group or row) == service.service:
            yield from (unit for unit, role in about.roles.items() if role == Role.SOCKET and unit != service.socket)


def _opened(making: Planning, service: ServiceUnits, name: str) -> Cost:
    item, state, main = making.compared[name], making.state(name), making.state(service.main)
    if state.is_up and item.cost < Cost.RESTART:
        return Cost.NOTHING
    making.process[name] = Start
    if not state.is_up and not item.is_new:
        making.because(name, Cause(kind=CauseKind.NOT_RUNNING, text="not listening"))
    if main.active in _DOWN and not state.is_up:
        return Cost.NOTHING
    # Its process has the port: by a descriptor of the socket that was, or because it binds it itself until now.
    text = "its socket is new" if item.is_new else "its socket changed" if state.is_up else "its socket is not listening"
    mark = item.causes[0].mark if item.causes else service.origin
    making.because(service.main, Cause(kind=CauseKind.SOCKET, text=text, subject=name, cost=Cost.STOP_FIRST, mark=mark))
    return Cost.STOP_FIRST


def _is_held(making: Planning, service: ServiceUnits, name: str | None) -> bool:
    """Whether the socket may stay open all the while: the same socket before and after, and in front of the same unit."""
    if name is None or name in making.process or not making.state(name).is_up:
        return False
    causes = making.compared[service.main].causes
    return not any(cause.cost is Cost.STOP_FIRST and not cause.subject for cause in causes)


def proxies(making: Planning, service: ServiceUnits) -> None:
    """A restart of the service is one of its proxy, too. By itself a changed one restarts where it runs; the next connection starts any other."""
    name = service.proxy
    if name is None or making.is_masked(name) or not making.state(name).is_up or making.process.get(service.main) in (Restart, Start):
        return
    if making.compared[name].cost >= Cost.RESTART:
        making.process[name] = Restart
