"""From merged keys to the model: one service, its tasks and processes, and where it is deployed to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nanod.phases import OnFailure, phase_of
from nanod.spec import hooks, needs, parts, probes, read
from nanod.spec.defaults import DEFAULTS, SHELL
from nanod.spec.merge import laid_over
from nanod.spec.model import Command, Deploy, Health, Kind, Sandbox, Service, Task
from nanod.spec.shell import Shape, is_shell, with_exec
from nanod.spec.tree import Map, Place, Seq, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.spec.model import Hook, Listen, Stop
    from nanod.spec.needs import Group
    from nanod.spec.read import Context

_INHERITED: Final = "user dynamic_user group working_dir environment environment_files credentials sandbox volumes runtime_dir source".split()
_OF_A_MAIN: Final = "kind shell restart stop resources systemd restart_on on_failure".split()
"""What a process inherits beside that: a task is none of the service's mains."""


def service(context: Context, group: Group, place: Place, name: str, *, is_task: bool = False) -> Service:
    """`place` holds the merged keys. A task's `on_failure` is a word, not a command, and is read with the task."""
    kind = read.choice(place, "kind", Kind, str(DEFAULTS["kind"]))
    volumes = _volumes(context, place)
    source = read.absolute(context, place, str(place.get("source")), context.directory, "source") if place.get("source") else None
    working_dir = _working_dir(context, place, source, volumes)
    shell = read.shell(context, place, base=working_dir)
    ports = _ports(context, place)
    health = probes.health(context, place, ports, shell, working_dir) or probes.implied_health(context, place, ports, kind)
    own_hooks = hooks.hooks(context, place, shell, working_dir)
    stop = parts.stop(context, place)
    sockets = probes.sockets(context, place)
    relies = None if kind is Kind.SCRIPT else _relies(own_hooks, health, stop, sockets)
    directives, replaced = parts.directives(context, place)
    return Service(
        at=place,
        name=name,
        description=read.text(place, "description"),
        kind=kind,
        runtime=read.text(place, "runtime"),
        command=_main(context, place, shell, working_dir, relies, is_task=is_task),
        shell=shell,
        working_dir=working_dir,
        user=_user(context, place),
        group=read.text(place, "group"),
        dynamic_user=read.flag(place, "dynamic_user"),
        environment=read.environment(context, place),
        environment_files=read.paths(context, place, "environment_files", context.directory),
        credentials=parts.credentials(context, place),
        requires=needs.requires(context, group, place),
        after=needs.after(context, group, place),
        ports=ports,
        sockets=sockets,
        health=health,
        settle=read.default_span(context, place, "settle", zero=True),
        volumes=volumes,
        runtime_dir=read.flag(place, "runtime_dir"),
        provisioning=parts.provisioning(context, place, shell, working_dir),
        hooks=own_hooks,
        processes=_processes(context, group, place),
        tasks=_tasks(context, group, place),
        replicas=read.optional_integer(place, "replicas"),
        rolling=parts.rolling(context, place),
        restart=parts.restart(context, place),
        stop=stop,
        on_failure=read.command_at(context, place, "on_failure", shell, working_dir) if not is_task else None,
        reload_on=read.paths(context, place, "reload_on", context.directory),
        restart_on=read.paths(context, place, "restart_on", context.directory),
        resources=parts.resources(context, place),
        sandbox=read.choice(place, "sandbox", Sandbox, str(DEFAULTS["sandbox"])),
        schedule=parts.schedule(context, place),
        source=source,
        build=parts.build(context, place, shell, working_dir),
        settings=_free(place, "settings"),
        features=_free(place, "features"),
        systemd=directives,
        replaced=replaced,
    )


def _user(context: Context, place: Place) -> str:
    if read.flag(place, "dynamic_user") and place.get("user") is not None:
        message = "'user' and 'dynamic_user' cannot both be said: a dynamic user's name is made for it"
        context.findings.error(place, message, "dynamic_user", on_key=True)
    return read.text(place, "user") or str(DEFAULTS["user"])


def _volumes(context: Context, place: Place) -> tuple[str, ...]:
    for position, path in enumerate(read.strings(place, "volumes")):
        if not path.startswith(("/", "~")):
            context.findings.error(place, f"a volume is an absolute path, not {shown(path)}", "volumes", position)
        elif read.normal(path) == "/":
            context.findings.error(place, "'/' cannot be a volume: everything would be writable", "volumes", position)
    return read.paths(context, place, "volumes", context.directory or "/")


def _working_dir(context: Context, place: Place, source: str | None, volumes: tuple[str, ...]) -> str:
    if (own := read.text(place, "working_dir")) is not None:
        return read.absolute(context, place, own, context.directory, "working_dir")
    return source or (volumes[0] if volumes else context.directory or "/")


def _ports(context: Context, place: Place) -> tuple[int, ...]:
    value = place.get("ports")
    found: dict[int, None] = {}
    for position, port in enumerate(value if isinstance(value, Seq) else ()):
        if port in found:
            context.findings.error(place, f"port {port} stands here twice", "ports", position)
        found[int(str(port))] = None
    return tuple(found)


def _relies(own_hooks: Mapping[str, tuple[Hook, ...]], health: Health | None, stop: Stop, sockets: tuple[Listen, ...]) -> str:
    """What goes wrong when the shell stays the main process; empty when little does."""
    if health is not None and health.kind == "notify":
        return "'notify' counts what the main process says"
    if "reload" in own_hooks:
        return "'reload' speaks to the main process"
    if any(socket.via == "descriptor" for socket in sockets):
        return "'sockets' are handed to the main process"
    return f"{stop.signal} would end the shell" if stop.signal not in {"SIGTERM", "SIGKILL"} else ""


def _main(context: Context, place: Place, shell: tuple[str, ...], working_dir: str, relies: str | None, *, is_task: bool = False) -> Command | None:
    """`relies` is None for a script, where the shell may well be the main process."""
    command = read.command_at(context, place, "command", shell, working_dir)
    if command is None:
        if not any(place.get(key) is not None or key in place.map.broken for key in ("command", "processes")):
            context.findings.error(place, f"'{place.key}' needs {_missing(place, is_task=is_task)}")
        elif place.get("processes") is not None and not _has_process(place.child("processes").map):
            context.findings.error(place, "'processes' has no process, and a service has at least one main", "processes", on_key=True)
        return None
    if place.get("processes") is not None:
        context.findings.error(place, "'command' and 'processes' cannot both be said", "processes", on_key=True)
    if not (command.text or "").strip() or not is_shell(shell):
        return command
    assert command.text is not None, "checked above"
    text, shape = with_exec(command.text)
    if shape is Shape.COMPOUND and relies is not None:
        advice = "write 'exec' before its last command, so that it becomes the main process"
        if relies:
            context.findings.error(place, f"the shell would stay the main process of this 'command', and {relies}: {advice}", "command")
        else:
            context.findings.warning(place, f"the shell stays the main process of this 'command': {advice}", "command")
    return Command(at=command.at, argv=(*shell, text), text=command.text)


def _missing(place: Place, *, is_task: bool) -> str:
    """What a service or task without a command lacks."""
    if is_task:
        return "a 'command', or 'wait_for'"
    return "a main beside its tasks: 'command' or 'processes'" if place.get("tasks") else "a 'command', its own or its runtime's"


def _has_process(map_: Map) -> bool:
    return bool(map_.broken) or any(isinstance(own, Map) for own in map_.values())


def _inherits(place: Place, own: Map, key: str, name: str, kind: str) -> Place:
    """The place of a task or process, with what it inherits from its service below its own keys."""
    inherited = Map()
    for shared in (*_INHERITED, *(_OF_A_MAIN if kind == "process" else ())):
        if shared in place.map:
            inherited[shared] = place.map[shared]
            if shared in place.map.places:
                inherited.places[shared] = place.map.places[shared]
    outer = place.child(key)
    return Place(place.text, laid_over(inherited, own, kind), outer, name)


def _processes(context: Context, group: Group, place: Place) -> tuple[Task, ...]:
    found = []
    for name, own in place.child("processes").map.items():
        if isinstance(own, Map):
            at = _inherits(place, own, "processes", name, "process")
            found.append(
                Task(
                    at=at,
                    name=name,
                    hook=None,
                    sidecar=False,
                    wait_for=None,
                    timeout=None,
                    on_failure=OnFailure.FAIL,
                    per_group=False,
                    service=service(context, group, at, name),
                )
            )
    return tuple(found)


def _tasks(context: Context, group: Group, place: Place) -> tuple[Task, ...]:
    own_tasks = place.child("tasks").map
    return tuple(_task(context, group, _inherits(place, own, "tasks", name, "task"), name) for name, own in own_tasks.items() if isinstance(own, Map))


def _task(context: Context, group: Group, at: Place, name: str) -> Task:
    lifecycle = at.child("lifecycle")
    hook = read.text(lifecycle, "hook")
    if hook is None and "lifecycle" not in at.map.broken and "hook" not in lifecycle.map.broken:
        context.findings.error(at, f"the task '{name}' needs 'lifecycle: {{hook: …}}': 'prestart', 'poststart' or 'poststop'")
    sidecar = read.flag(lifecycle, "sidecar")
    wait_for = read.parsed(context, at, "wait_for", probes.wait_address)
    waits = at.get("wait_for") is not None or "wait_for" in at.map.broken
    if waits and at.get("command") is not None:
        context.findings.error(at, "'command' and 'wait_for' cannot both be said", "wait_for", on_key=True)
    if sidecar and (hook == "poststop" or waits):
        why = "poststop comes after that" if hook == "poststop" else "a wait ends"
        context.findings.error(lifecycle, f"a sidecar runs beside the service, and {why}", "sidecar")
    if not sidecar and at.get("health") is not None:
        context.findings.error(at, "'health' is of what stays: this task ends, and its exit status says how", "health", on_key=True)
    if sidecar and at.get("timeout") is not None:
        context.findings.error(at, "a sidecar runs as long as its service and has no 'timeout'", "timeout", on_key=True)
    if sidecar and at.get("on_failure") is not None:
        context.findings.error(at, "a sidecar that ends is started again: 'on_failure' is of a task that ends", "on_failure", on_key=True)
    return Task(
        at=at,
        name=name,
        hook=hook,
        sidecar=sidecar,
        wait_for=wait_for,
        timeout=None if at.get("timeout") is None else read.span(context, at, "timeout", "1h"),
        on_failure=read.choice(at, "on_failure", OnFailure, phase_of(f"{hook} task").default if hook else OnFailure.FAIL),
        per_group=read.text(at, "per") == "group",
        service=None if waits else service(context, group, at, name, is_task=True),
    )


def deploy(context: Context, place: Place) -> Deploy:
    hosts = read.strings(place, "targets") or tuple(filter(None, [read.text(place, "target")]))
    for key in () if hosts or place.map.broken else ("target",):
        context.findings.error(place, f"'deploy' needs '{key}'")
    if place.get("target") is not None and place.get("targets") is not None:
        context.findings.error(place, "'target' and 'targets' cannot both be said", "targets", on_key=True)
    path = read.text(place, "path")
    if path is None and "path" not in place.map.broken:
        context.findings.error(place, "'deploy' needs 'path'")
    elif path is not None and not path.startswith("/"):
        context.findings.error(place, f"'path' must be an absolute path on the target, not {shown(path)}", "path")
    return Deploy(
        at=place,
        targets=hosts,
        path=read.normal(path or "/"),
        prepare=read.command_at(context, place, "prepare", SHELL, context.directory),
        max_parallel=read.integer(place, "max_parallel", int(DEFAULTS["deploy.max_parallel"])),
    )


def _free(place: Place, key: str) -> dict[str, object]:
    value = place.get(key)
    return plain(value) if isinstance(value, Map) else {}  # type: ignore[return-value]


def plain(value: object) -> object:
    """Data as it was written, without places; null unsets here too."""
    if isinstance(value, Map):
        return {key: plain(item) for key, item in value.items() if item is not None}
    return [plain(item) for item in value] if isinstance(value, Seq) else value
