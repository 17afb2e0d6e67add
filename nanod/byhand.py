"""A hook by hand: its line out of the installed unit, and a unit in which systemd runs that line as it would in the service. Pure.

The line is taken as it stands, and so are the settings of its unit and of the administrator's drop-ins; what is added last says only that this is one
command, run once, which leaves everything of the service alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanod.phases import Scope, phase_of
from nanod.units.quoting import WORD, program
from nanod.units.unitfile import parse
from nanod.units.unitset import Role
from nanod.values import signal_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nanod.scope import RuntimeScope
    from nanod.units.unitset import ServiceUnits

_NAMES = re.compile(r"LIFECYCLE_PHASE=([a-z_]+) NANOD_HOOK=([A-Za-z0-9_.-]+) ")
_LINE = re.compile(rf"([-+!]*):((?:\S+/as \S+ \S+ )?/usr/bin/env {_NAMES.pattern}.*)")
_STOPPING = re.compile(rf"[-+]*:{program('stopping')}(?: {WORD})+")
_FINALLY = re.compile(rf"(?<=:){program('finally')} {WORD} (?:--lent {WORD} )?")
_EACH = re.compile(rf"-?([+!]*:{program('each')}) (.*)")
_WORD = re.compile(WORD)
_EXITED = 1
_CODES = {_EXITED: "exited", 2: "killed", 3: "dumped"}
"""$EXIT_CODE of systemd.exec(5) for a CLD_… number."""
_ONCE = """\
Type=oneshot
RemainAfterExit=no
Restart=no
SuccessExitStatus=
NotifyAccess=none
WatchdogSec=0
RuntimeMaxSec=infinity
TimeoutStartSec=infinity
TimeoutStopSec=10s
KillMode=control-group
KillSignal=SIGTERM
SendSIGKILL=yes
ExecCondition=
ExecStartPre=
ExecStart=
ExecStartPost=
ExecReload=
ExecStop=
ExecStopPost=
StandardInput=null
"""
"""In place of what the unit says: an empty value takes back all before it. The line bounds itself in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookLine:
    """One hook as its unit runs it. `stops`: its failure keeps the next hooks of the phase from running."""

    phase: str
    name: str
    unit: str
    text: str
    """An Exec line, without the `-` that would hide its status."""
    before: tuple[str, ...] = ()
    """Lines that must run before it."""
    stops: bool = False

    @property
    def hook(self) -> str:
        return f"{self.phase}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The service that a hook belongs to: whether it is on its feet, its PID, and how its process ended."""

    is_up: bool = False
    main_pid: int = 0
    result: str = "success"
    exit_code: int = _EXITED
    exit_status: int = 0
    is_task: bool = False
    """What runs is a task of a group, and the rest is said of a main of it."""
    failed_unit: str = ""

    def environment(self, phase: str) -> dict[str, str]:
        """As systemd.exec(5) has it, "Environment Variables Set or Propagated by the Service Manager"."""
        if phase in ("poststart", "reload", "prestop"):
            return {"MAINPID": str(self.main_pid)} if self.main_pid else {}
        if phase == "poststop":
            status = str(self.exit_status) if self.exit_code in (0, _EXITED) else signal_name(self.exit_status).removeprefix("SIG")
            own = {"SERVICE_RESULT": self.result, "EXIT_CODE": _CODES.get(self.exit_code, "exited"), "EXIT_STATUS": status}
            if self.is_task:
                # What `lib/finally` tells it.
                own |= {"NANOD_FAILED_UNIT": self.failed_unit, "NANOD_RESULT": self.result}
                own |= {"NANOD_EXIT_CODE": own["EXIT_CODE"], "NANOD_EXIT_STATUS": status}
            return own
        return {}


def task_line(task: ServiceUnits, texts: Mapping[str, str]) -> HookLine | None:
    """The line of a task that ends; None where its unit has no such line."""
    key = "ExecStopPost" if task.role is Role.POSTSTOP_TASK else "ExecStart"
    phase = task.role.value.partition("-")[0]
    for section, name, whole in parse(texts.get(task.main, "")):
        # How its group ended it is told by hand.
        text = _FINALLY.sub("", whole)
        if (section, name) == ("Service", key) and (found := _LINE.fullmatch(text)) and found[3] == phase:
            return HookLine(phase=phase, name=found[4], unit=task.main, text=f"{found[1].replace('-', '')}:{found[2]}", stops=True)
    return None


def hook_lines(service: ServiceUnits, phase: str, texts: Mapping[str, str]) -> tuple[HookLine, ...]:
    """The hooks of a phase, in the order in which they run. `texts`: unit name to the text of its file. Raises KeyError for no phase of hooks."""
    if phase == "ready":
        return tuple(_ready(service.ready, texts.get(service.ready, ""))) if service.ready else ()
    if phase in ("deploy", "post_deploy"):
        unit = service.deploy if phase == "deploy" else service.post_deploy
        return tuple(_hooks(unit or "", "ExecStart", phase, texts))
    lines: list[HookLine] = []
    if phase == "prestart" and service.prestart:
        lines += _hooks(service.prestart, "ExecStart", phase, texts)
    return (*lines, *_hooks(service.main, phase_of(phase, Scope.START).directive.removesuffix("="), phase, texts))


def _hooks(unit: str, key: str, phase: str, texts: Mapping[str, str]) -> Iterator[HookLine]:
    before: list[str] = []
    for section, name, text in parse(texts.get(unit, "")):
        if (section, name) != ("Service", key):
            continue
        if _STOPPING.fullmatch(text):
            before.append(text)
        elif (found := _LINE.fullmatch(text)) and found[3] == phase:
            prefix = found[1].replace("-", "")
            yield HookLine(phase=phase, name=found[4], unit=unit, text=f"{prefix}:{found[2]}", before=tuple(before), stops=prefix == found[1])


def _ready(unit: str, text: str) -> Iterator[HookLine]:
    """All ready hooks are one line, each a word of it."""
    for section, key, value in parse(text):
        if (section, key) == ("Service", "ExecStart") and (line := _EACH.fullmatch(value)):
            for word in _WORD.findall(line[2]):
                if found := _NAMES.search(word):
                    yield HookLine(phase=found[1], name=found[2], unit=unit, text=f"{line[1]} {word}")


def unit_text(line: HookLine, around: Around, *, sources: Iterable[str], out: str, err: str, note: str, scope: RuntimeScope, is_first: bool) -> str:
    """A unit that runs the line. `sources`: the file of the line's own unit, and its drop-ins; `out` and `err`: paths that its output goes to.

    `note`: hooks that share a deadline note under this name when the stop began, and not under that of the service; the first hook does so.
    """
    *before, own = (text.replace(f"{scope.stopping}/{line.unit}", f"{scope.stopping}/{note}") for text in (*line.before, line.text))
    own_settings = "\n".join(map(settings, sources))
    return "\n".join(
        [
            "# Made by nanod to run a hook by hand; it goes when the hook has ended.",
            "[Unit]",
            f"Description=Hook {line.hook} of {line.unit}, by hand",
            # The /tmp of PrivateTmp= is the service's own (systemd.unit(5)).
            f"JoinsNamespaceOf={line.unit}",
            own_settings,
            "[Service]",
            _ONCE.rstrip(),
            *(_runtime_directories(own_settings, scope) if around.is_up else ()),
            *(f"ExecStartPre={text}" for text in before if is_first),
            f"ExecStart={own}",
            *(f"Environment={key}={value}" for key, value in around.environment(line.phase).items()),
            f"StandardOutput=append:{out}",
            f"StandardError=append:{err}",
            "",
        ]
    )


def _runtime_directories(text: str, scope: RuntimeScope) -> Iterator[str]:
    """They are there and the service's: a second unit that has them would delete them at its end.

    RuntimeDirectoryPreserve= is no way out: with a dynamic user the directory then moves to /run/private, away from the service (tried on 252).
    """
    found: list[str] = []
    for _, key, value in parse(text):
        if key == "RuntimeDirectory":
            found = [*found, *(word.partition(":")[0] for word in value.split())] if value else []
    if found:
        paths = [f"{scope.run}/{name}" for name in found]
        yield "RuntimeDirectory="
        yield f"Environment=RUNTIME_DIRECTORY={':'.join(paths)}"
        if "ProtectSystem=strict" in text or "DynamicUser=yes" in text:
            yield f"ReadWritePaths={' '.join(f'-{path}' for path in paths)}"


def settings(text: str) -> str:
    """The [Service] sections of a unit file or drop-in, which somebody may have written by hand: with comments and continued lines."""
    kept: list[str] = []
    is_service = is_continued = False
    for line in text.splitlines():
        bare = line.strip()
        is_comment = bare.startswith(("#", ";"))
        if not is_continued and bare.startswith("["):
            is_service = bare == "[Service]"
        if is_service:
            kept.append(line)
        # A comment between continued lines does not end them (systemd.syntax(7)).
        is_continued = bare.endswith("\\") if not is_comment else is_continued
    return "\n".join(kept)
