"""What one service says against another, or one key against another: checks over the finished model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from nanod.spec.model import Condition, Kind, ProbeKind, RestartPolicy
from nanod.spec.needs import is_unit_name
from nanod.spec.probes import LOOPBACK, split_address
from nanod.spec.releases import check_release
from nanod.spec.sockets import check_sockets
from nanod.spec.tree import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nanod.spec.model import Service, Spec, Task
    from nanod.spec.tree import Findings

_MAX_CIRCLES: Final = 20


def check(findings: Findings, services: Mapping[str, Service]) -> None:
    _ports(findings, services)
    check_sockets(findings, services)
    for service in services.values():
        _replicas(findings, service)
        _tasks(findings, service)
        _environment(findings, service)
        check_release(findings, service)
        if service.kind is Kind.SCRIPT:
            _script(findings, service)
        if "Timer" in service.systemd and service.schedule is None:
            findings.error(_place(service), "it has no timer: 'Timer' is for what has a 'schedule'", "systemd", "Timer", on_key=True)
        if service.kind is not Kind.SCRIPT and service.schedule is not None:
            findings.error(_place(service), "'schedule' is for what ends by itself: add 'kind: script'", "schedule", on_key=True)
    _completed(findings, services)
    _cycles(findings, services)


def _place(service: Service | Task | Spec) -> Place:
    assert isinstance(service.at, Place)
    return service.at


def _ports(findings: Findings, services: Mapping[str, Service]) -> None:
    """Instance n of a service has ports[k] + n - 1."""
    taken: list[tuple[int, int, str, Place, int]] = []
    for service in services.values():
        for name, main in _mains(service):
            for position, port in enumerate(main.ports):
                instances = service.replicas or (2 if service.rolling and service.rolling.strategy == "blue-green" else 1)
                last = port + instances - 1
                if last > 65535:
                    findings.error(_place(main), f"{instances} instances from port {port} on need ports above 65535", "ports", position)
                taken.append((port, last, name, _place(main), position))
    until, owner = 0, ""
    for port, last, name, place, position in sorted(taken, key=lambda row: row[:2]):
        if port <= until:
            findings.error(place, f"port {port} belongs to '{owner}' already", "ports", position)
        if last > until:
            until, owner = last, name


def _mains(service: Service) -> list[tuple[str, Service]]:
    """What runs of it, by name: itself, or its processes."""
    processes = [(f"{service.name}/{task.name}", task.service) for task in service.processes if task.service]
    return processes or [(service.name, service)]


def _replicas(findings: Findings, service: Service) -> None:
    place = _place(service)
    if service.replicas is None:
        if service.rolling and service.rolling.strategy == "in-place" and "max_parallel" in place.child("rolling").map:
            findings.error(place, "'max_parallel' needs 'replicas'", "rolling", "max_parallel", on_key=True)
        return
    if service.kind is Kind.SCRIPT:
        findings.error(place, "a script has no 'replicas'", "replicas", on_key=True)
    for _, main in _mains(service):
        if "PORT" in main.environment:
            message = "with 'replicas' every instance has a PORT of its own, the first of its 'ports'"
            findings.error(_place(main), message, "environment", "PORT", on_key=True)
        health = main.health
        if health and service.replicas > 1 and health.kind not in (ProbeKind.EXEC, ProbeKind.NOTIFY) and not health.own_port:
            message = "every instance would be probed at this one place: probe the own port ('tcp: true', 'http: /path'), or use exec"
            findings.error(_place(main), message, "health", str(health.kind))
        if service.replicas > 1 and (named := _named_port(main)):
            message = f"'command' names port {named}, which is that of the first instance: as text it can say $PORT, which each has of its own"
            findings.warning(_place(main), message, "command")


def _named_port(main: Service) -> int | None:
    """A port of its own that its command has as a number."""
    words = " ".join(main.command.argv) if main.command else ""
    return next((port for port in main.ports if re.search(rf"(?<![\w.]){port}(?![\w.])", words)), None)


def _tasks(findings: Findings, service: Service) -> None:
    place = _place(service)
    if service.tasks and service.kind is Kind.SCRIPT and service.schedule:
        findings.error(place, "a scheduled script has no 'tasks'", "tasks", on_key=True)
    processes = {process.name for process in service.processes}
    for task in service.tasks:
        if task.name in processes:
            findings.error(place, f"'{task.name}' is a process, too: a task needs a name of its own", "tasks", task.name, on_key=True)
        if task.sidecar and task.service and task.service.kind is Kind.SCRIPT:
            findings.error(_place(task), "a sidecar keeps running, a script ends", "kind")
    for key in ("health", "ports") if service.processes else ():
        if place.get(key) is not None:
            findings.error(place, f"with 'processes', {key} stand{'s' * (key == 'health')} under each of them", key, on_key=True)


_SYSTEMD_S = ("CREDENTIALS_DIRECTORY", "MANAGERPID")
"""Variables that nanod's programs rely on (systemd.exec(5))."""


def _environment(findings: Findings, service: Service) -> None:
    taken = dict.fromkeys(service.environment, "environment")
    for credential in service.credentials:
        if credential.env is None:
            continue
        if credential.env in taken:
            message = f"the variable '{credential.env}' is set in '{taken[credential.env]}' too"
            findings.error(_place(service), message, "credentials", credential.name, "env")
        if credential.env.startswith("NANOD_") or credential.env in ("LIFECYCLE_PHASE", *_SYSTEMD_S):
            owner = "systemd" if credential.env in _SYSTEMD_S else "nanod"
            findings.error(_place(service), f"'{credential.env}' is set by {owner} itself", "credentials", credential.name, "env")
        taken[credential.env] = "credentials"


def _script(findings: Findings, service: Service) -> None:
    place = _place(service)
    if service.restart.policy is RestartPolicy.ALWAYS:
        findings.error(place, "a script ends by itself: 'policy: always' would run it without end", "restart", "policy")
    if service.processes:
        findings.error(place, "a script has one 'command', not 'processes'", "processes", on_key=True)
    for key in ("reload_on", "restart_on") if service.schedule else ():
        if place.get(key):
            findings.error(place, f"a scheduled script reads its files at each run: '{key}' has nothing to do", key, on_key=True)
    if service.health and service.health.kind is ProbeKind.NOTIFY and service.schedule:
        findings.error(place, "a scheduled script has nothing that waits for its health", "health", on_key=True)
    if service.health and service.health.liveness:
        findings.error(place, "a script ends by itself: 'liveness' is for what runs on", "health", "liveness", on_key=True)


def _completed(findings: Findings, services: Mapping[str, Service]) -> None:
    """A script that somebody waits to complete is a oneshot that stays: systemd would run its poststart hooks after its end."""
    for service in services.values():
        for need in service.requires:
            target = services.get(need.target)
            assert isinstance(need.at, Place)
            if target and target.schedule and need.condition is not Condition.COMPLETED:
                # A start of who requires it would run it (Wants=).
                findings.error(need.at, f"'{need.target}' runs on a schedule, so nothing can require it")
            if need.condition is not Condition.COMPLETED or target is None:
                continue
            if target.kind is not Kind.SCRIPT or target.schedule is not None:
                what = "runs on a schedule" if target.schedule else "does not end by itself (kind: script does)"
                findings.error(need.at, f"'{need.target}' {what}, so nothing can wait for its completion", "condition")
                continue
            _stays(findings, service, target)


def _stays(findings: Findings, service: Service, target: Service) -> None:
    """`service` waits until the script `target` has completed."""
    waits = f"'{service.name}' waits for '{target.name}' to complete"
    for key in ("poststart", "ready"):
        if key in target.hooks:
            findings.error(_place(target), f"{waits}, so it cannot have {key} hooks: they run beside it", "hooks", key, on_key=True)
    for task in target.tasks:
        if task.hook == "poststart":
            findings.error(_place(task), f"{waits}, so it cannot have poststart tasks: they run beside it", "lifecycle", "hook")
    if target.health is not None:
        findings.error(_place(target), f"{waits}, so it cannot have a health check", "health", on_key=True)


class _Edge(NamedTuple):
    """`label`: who waits, the service or a task of it. `at` and `keys`: where it says so."""

    target: str
    label: str
    at: Place
    keys: tuple[str, ...] = ()


def _cycles(findings: Findings, services: Mapping[str, Service]) -> None:
    """Each cycle once, whole, at the first entry that closes it. Without recursion: a chain may be as long as there are services."""
    owners = [
        (port, port + (service.replicas or 1), service.name) for service in services.values() for _, main in _mains(service) for port in main.ports
    ]
    edges = {name: [edge for edge in _edges(service, owners) if edge.target in services] for name, service in services.items()}
    done: set[str] = set()
    found = 0
    for start in services:
        stack = [(start, iter(edges[start]))] if start not in done else []
        path = {name: name for name, _ in stack}
        while stack and found < _MAX_CIRCLES:
            name, rest = stack[-1]
            edge = next(rest, None)
            if edge is None:
                done.add(name)
                stack.pop()
                path.popitem()
                continue
            path[name] = edge.label
            if edge.target in path:
                names = list(path)
                circle = [*(path[name] for name in names[names.index(edge.target) :]), edge.target]
                findings.error(edge.at, f"a circle of services that wait for one another: {_written(circle)}", *edge.keys)
                found += 1
            elif edge.target not in done:
                stack.append((edge.target, iter(edges[edge.target])))
                path[edge.target] = edge.target


def _edges(service: Service, owners: Sequence[tuple[int, int, str]]) -> Iterator[_Edge]:
    """Services that it waits for: `requires`, `after`, and the ports that its prestart tasks wait for. `owners`: ports from, to, and whose."""
    for need in service.requires:
        assert isinstance(need.at, Place)
        if not is_unit_name(need.target):
            yield _Edge(need.target, service.name, need.at)
    for item in _place(service).child("after").items() if service.after else ():
        if not is_unit_name(str(item.node)):
            yield _Edge(str(item.node), service.name, item)
    for task in service.tasks:
        port = _waited_port(task)
        for owner in (owner for first, end, owner in owners if first <= port < end):
            yield _Edge(owner, f"{service.name}/{task.name}", _place(task), ("wait_for",))


def _waited_port(task: Task) -> int:
    """The port of this host that it waits for before the service starts; 0 for anything else."""
    scheme, _, rest = (task.wait_for or "").partition("://")
    if task.hook != "prestart" or scheme not in ("tcp", "http"):
        return 0
    try:
        host, port = split_address(rest.partition("/")[0])
    except ValueError:  # without a port
        return 0
    return port if host in LOOPBACK else 0


def _written(circle: list[str]) -> str:
    return " → ".join(circle if len(circle) <= 12 else [*circle[:6], "…", *circle[-5:]])
