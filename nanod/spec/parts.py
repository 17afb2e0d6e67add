"""The parts of a service: what stands under one of its keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nanod.spec import calendar as calendar_expressions
from nanod.spec import read
from nanod.spec.cron import CronError, from_cron
from nanod.spec.defaults import DEFAULTS
from nanod.spec.model import Build, Credential, Provisioning, Resources, Restart, RestartPolicy, Rolling, Schedule, Stop
from nanod.spec.tree import Map, Place, Seq
from nanod.values import parse_percent

if TYPE_CHECKING:
    from nanod.spec.read import Context

_SIGNALS: Final = frozenset(
    """
    HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ
    VTALRM PROF WINCH IO PWR SYS
    """.split()
)
_REALTIME = re.compile(r"RTM(?:IN(?:\+(?:[1-9]|[12][0-9]|30))?|AX(?:-(?:[1-9]|[12][0-9]|30))?)")
_REFUSED: Final = {
    "Type": "nanod chooses it: 'health: {notify: true}' makes it notify, 'kind: script' is for what ends by itself",
    "ExecStart": "it comes from 'command'",
    "SourcePath": "an edited spec would make every unit look changed on disk",
}


def signal_name(text: str) -> str:
    """`TERM` or `SIGTERM` to `SIGTERM`. Raises ValueError with what is allowed."""
    name = text.removeprefix("SIG")
    if name not in _SIGNALS and not _REALTIME.fullmatch(name):
        raise ValueError(f"must be a signal such as 'SIGTERM', 'INT' or 'RTMIN+3', not '{text}'")
    return f"SIG{name}"


def restart(context: Context, service: Place) -> Restart:
    place = service.child("restart")
    return Restart(
        at=place,
        policy=read.choice(place, "policy", RestartPolicy, str(DEFAULTS["restart.policy"])),
        delay=read.default_span(context, place, "restart.delay", zero=True),
        limit=read.integer(place, "limit", int(DEFAULTS["restart.limit"])),
        window=read.default_span(context, place, "restart.window"),
    )


def stop(context: Context, service: Place) -> Stop:
    place = service.child("stop")
    return Stop(
        at=place,
        signal=read.parsed(context, place, "signal", signal_name) or str(DEFAULTS["stop.signal"]),
        timeout=read.default_span(context, place, "stop.timeout", forever=True),
        drain=read.default_span(context, place, "stop.drain", zero=True),
        ignore_hup=read.flag(place, "ignore_hup", bool(DEFAULTS["stop.ignore_hup"])),
    )


def resources(context: Context, service: Place) -> Resources:
    place = service.child("resources")
    made = Resources(
        at=place,
        memory_max=read.size(context, place, "memory_max"),
        memory_high=read.size(context, place, "memory_high"),
        cpu_quota=read.parsed(context, place, "cpu_quota", parse_percent),
        cpu_weight=read.optional_integer(place, "cpu_weight"),
        tasks_max=read.optional_integer(place, "tasks_max"),
        io_weight=read.optional_integer(place, "io_weight"),
    )
    high, most = made.memory_high, made.memory_max
    if high and most and high.count and most.count and high.count > most.count:
        context.findings.warning(place, "'memory_high' above 'memory_max' never acts", "memory_high")
    return made


def provisioning(context: Context, service: Place, shell: tuple[str, ...], working_dir: str) -> Provisioning | None:
    """None where nothing is installed: the built-in runtimes name what an install creates, and only a spec says how."""
    place = service.below("provisioning")
    if place is None:
        return None
    install = read.command_at(context, place, "install", shell, working_dir)
    if install is None:
        if place.map.places and "install" not in place.map.broken:
            context.findings.error(service, "'provisioning' needs 'install', the command to run", "provisioning", on_key=True)
        return None
    return Provisioning(
        at=place,
        install=install,
        creates=read.paths(context, place, "creates", working_dir),
        inputs=read.paths(context, place, "inputs", working_dir),
        sandboxed=read.text(place, "context") == "sandbox",
        timeout=read.default_span(context, place, "provisioning.timeout"),
        retries=read.integer(place, "retries", int(DEFAULTS["provisioning.retries"])),
    )


def credentials(context: Context, service: Place) -> tuple[Credential, ...]:
    place = service.below("credentials")
    return tuple(_credential(context, place.child(name)) for name, value in place.map.items() if value is not None) if place else ()


def _credential(context: Context, place: Place) -> Credential:
    is_short = isinstance(place.node, str)
    file = str(place.node) if isinstance(place.node, str) else read.text(place, "file") or "/"
    return Credential(
        at=place,
        name=str(place.key),
        file=read.absolute(context, place, file, context.directory, *(() if is_short else ("file",))),
        env=read.text(place, "env"),
        encrypted=read.flag(place, "encrypted"),
    )


def schedule(context: Context, service: Place) -> Schedule | None:
    value = service.get("schedule")
    if value is None:
        return None
    place = service.child("schedule")
    keys = ("calendar",) if isinstance(value, Map) else ()
    calendar = read.text(place, "calendar") if isinstance(value, Map) else str(value)
    if calendar is None:
        if "calendar" not in place.map.broken:
            context.findings.error(place, "'schedule' needs 'calendar'")
        return None
    _refuse_calendar(context, place, calendar, *keys)
    return Schedule(
        at=place,
        calendar=calendar,
        persistent=read.flag(place, "persistent", bool(DEFAULTS["schedule.persistent"])),
        randomized_delay=read.default_span(context, place, "schedule.randomized_delay", zero=True),
        timezone=read.text(place, "timezone"),
    )


def _refuse_calendar(context: Context, place: Place, calendar: str, *keys: str) -> None:
    try:
        meant = from_cron(calendar)
    except CronError as error:
        context.findings.error(place, f"'schedule' is a calendar expression (systemd.time(7)), not cron's fields: {error}", *keys)
        return
    if meant is not None:
        context.findings.error(place, f"'schedule' is a calendar expression, not cron's fields: '{calendar}' is '{meant}'", *keys)
    elif found := calendar_expressions.wrong(calendar):
        context.findings.error(place, f"'schedule' is no calendar expression (systemd.time(7)): {found}", *keys)
    elif read.text(place, "timezone") and calendar_expressions.has_zone(calendar):
        context.findings.error(place, f"'{calendar}' names a time zone already", "timezone")


def rolling(context: Context, service: Place) -> Rolling | None:
    place = service.below("rolling")
    if place is None:
        return None
    return Rolling(
        at=place,
        strategy=read.text(place, "strategy") or str(DEFAULTS["rolling.strategy"]),
        max_parallel=read.integer(place, "max_parallel", int(DEFAULTS["rolling.max_parallel"])),
        min_healthy_time=read.default_span(context, place, "rolling.min_healthy_time", zero=True),
    )


def build(context: Context, service: Place, shell: tuple[str, ...], working_dir: str) -> Build | None:
    """How a release is made, where there is something to make one of."""
    if service.get("source") is None:
        if service.get("build") is not None and (place := service.below("build")) and set(place.map.places) - {"run"}:
            context.findings.error(service, "'build' says how a release is made, and there is no 'source' to make one of", "build", on_key=True)
        return None
    place = service.child("build")
    return Build(
        at=place,
        run=read.command_at(context, place, "run", shell, working_dir),
        environment=read.environment(context, place),
        inputs=read.strings(place, "inputs") or ("**",),
        keep=read.integer(place, "keep", int(DEFAULTS["build.keep"])),
    )


def directives(context: Context, service: Place) -> tuple[dict[str, dict[str, tuple[str, ...]]], frozenset[tuple[str, str]]]:
    """The `systemd:` block, and which of its keys were written as text and so replace."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    replaced = set()
    block = service.below("systemd")
    for section in sorted(block.map) if block else ():
        place = block.below(section) if block else None
        for key, value in sorted(place.map.items()) if place else ():
            if (why := _REFUSED.get(key)) or key.startswith("X-Nanod-"):
                message = f"'{key}' cannot be set here: {why or 'it is how nanod knows its own units'}"
                context.findings.error(service, message, "systemd", section, key, on_key=True)
            elif isinstance(value, Seq):
                found.setdefault(section, {})[key] = tuple(read.written(item) for item in value)
            else:
                found.setdefault(section, {})[key] = (read.written(value),)
                replaced.add((section, key))
    return found, frozenset(replaced)
