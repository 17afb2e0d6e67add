"""Run hooks by hand: each in a unit of its own beside the service, which is not touched. The caller holds the host's lock.

systemd loads a unit of a name that it does not know yet without a daemon-reload (tried on 252 and 257), so each hook's unit has a new name. A
run that was killed leaves its unit file and perhaps its hook; the next run clears that away.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nanod.byhand import Around, HookLine, hook_lines, task_line, unit_text
from nanod.errors import NanodError, UsageError
from nanod.groups import TASKS, WORDS, around, part
from nanod.host.atomic import refusing
from nanod.phases import HOOK_PHASES
from nanod.units.names import BY_HAND, by_hand
from nanod.units.unitset import Role
from nanod.waiting import FIRST_WAIT, LONGEST_WAIT, await_stopped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nanod.host import Host, Store
    from nanod.state import UnitDetail, UnitState
    from nanod.units.unitset import ServiceUnits

_KILLED = (2, 3)
"""CLD_KILLED and CLD_DUMPED."""


class Pipes(Protocol):
    """Where a hook's output goes: `nanod.host.relay.Relay`."""

    out: str
    err: str

    def pump(self, seconds: float) -> None: ...
    def drain(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HookEnd:
    """`status`: the hook's exit status, 124 after its timeout, 128 + n when signal n killed it."""

    line: HookLine
    status: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What became of the hooks of a phase. `left`: those that did not run, because one before them failed or the run was interrupted."""

    ends: tuple[HookEnd, ...]
    left: tuple[HookLine, ...] = ()
    interrupted: bool = False

    @property
    def status(self) -> int:
        """Of the first hook that failed; 0 when none did."""
        return next((end.status for end in self.ends if end.status), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is run by hand. `member`: whose hooks they are; of a task, the main that it stands beside."""

    member: ServiceUnits
    lines: tuple[HookLine, ...]
    is_task: bool = False


def choice(members: Sequence[ServiceUnits], phase: str, name: str | None, host: Host) -> Choice:
    """The hooks of a phase, or the task of this name, of a service, an instance or a process; of several instances, of the first.

    Raises UsageError with the words there are, NanodError for what cannot run now.
    """
    if phase not in HOOK_PHASES and (task := next((item for item in members if part(item.name) == phase and item.role.is_pulled), None)):
        mains = [item for item in members if item.role is Role.MAIN and task in around([item], [task])]
        return _task(task, (mains or [task])[0], name, host)
    if len(members) == 1 or phase not in HOOK_PHASES:
        return Choice(member=members[0], lines=chosen(members[0], phase, name, host, others=members))
    texts = host.store.read_units(
        [unit for item in members for unit in (item.main, item.prestart, item.ready, item.deploy, item.post_deploy) if unit]
    )
    # With several mains, the hooks of the service itself are those of what stands for them, and of their companion.
    for item in sorted(members, key=lambda item: item.role not in (Role.ALL, Role.GROUP)):
        if not item.role.is_pulled or item.role is Role.GROUP:
            own = [line for line in hook_lines(item, phase, texts) if name in (None, line.name)]
            if own and (item.role is Role.MAIN or any(line.unit != item.prestart for line in own)):
                return Choice(member=item, lines=chosen(item, phase, name, host, others=members))
    return Choice(member=members[0], lines=chosen(members[0], phase, name, host, others=members))


def _task(task: ServiceUnits, main: ServiceUnits, name: str | None, host: Host) -> Choice:
    word = WORDS[task.role]
    if name is not None:
        raise UsageError(f"cannot run {name} of {task.name}: a {word} has no hooks", hint="")
    if task.role not in TASKS:
        raise UsageError(f"cannot run {task.name}: it is a {word}, which runs as long as its group", hint="'nanod restart' starts it anew")
    line = task_line(task, host.store.read_units([task.main]))
    if line is None:
        raise NanodError(f"cannot run {task.name}: {task.main} is not the file that nanod left", hint="'nanod status' says more")
    return Choice(member=main, lines=(line,), is_task=True)


def chosen(service: ServiceUnits, phase: str, name: str | None, host: Host, *, others: Sequence[ServiceUnits] = ()) -> tuple[HookLine, ...]:
    """The hooks to run. Raises UsageError with the words there are, NanodError for a phase that cannot run now. `others`: of its group."""
    if phase == "install":
        raise UsageError("cannot run install: it is no hook, and runs once", hint="'nanod provision' runs it")
    if phase not in HOOK_PHASES:
        tasks = dict.fromkeys(part(item.name) for item in others if item.role in TASKS)
        more = f"; tasks are: {', '.join(tasks)}" if tasks else ""
        what = "phase or task" if tasks else "phase"
        raise UsageError(f"cannot run '{phase}': there is no such {what}", hint=f"phases are: {', '.join(HOOK_PHASES)}{more}")
    texts = host.store.read_units([unit for unit in (service.main, service.prestart, service.ready, service.deploy, service.post_deploy) if unit])
    if service.main not in texts:
        raise NanodError(f"cannot run hooks of {service.name}: {service.main} is not the file that nanod left", hint="'nanod status' says more")
    lines = hook_lines(service, phase, texts)
    found = tuple(line for line in lines if name in (None, line.name))
    if not found:
        raise UsageError(f"cannot run {phase}{f'/{name}' if name else ''} of {service.name}: there is no such hook", hint=_hint(service, texts))
    if phase == "reload" and not host.systemd.states([service.main])[service.main].is_up:
        raise NanodError(f"cannot run {phase} of {service.name}: it is not running", hint=f"systemctl status {service.main}")
    return found


def _hint(service: ServiceUnits, texts: Mapping[str, str]) -> str:
    hooks = [line.hook for phase in HOOK_PHASES for line in hook_lines(service, phase, texts)]
    return f"hooks are: {', '.join(hooks)}" if hooks else f"{service.name} has no hooks"


def run_hooks(lines: Sequence[HookLine], service: ServiceUnits, host: Host, units: Store, pipes: Pipes, *, is_task: bool = False) -> Ran:
    """One after the other, until one fails that stops its phase. `units` writes to a directory of systemd's that a reboot empties.

    Raises NanodError when systemd cannot run one. An interrupt (KeyboardInterrupt) stops the hook that runs.
    """
    _sweep(host, units)
    state = replace(_around(service.main, host), is_task=is_task, failed_unit=service.main)
    note = by_hand(service.main, os.getpid(), 1).removesuffix(".service")
    ends: list[HookEnd] = []
    try:
        for number, line in enumerate(lines, 1):
            name = by_hand(line.unit, os.getpid(), number)
            text = unit_text(
                line,
                state,
                sources=[host.store.read_units([line.unit])[line.unit], *_drop_ins(host.systemd.detail(line.unit))],
                out=pipes.out,
                err=pipes.err,
                note=note,
                scope=host.store.scope,
                is_first=number == 1,
            )
            begin = host.clock.now()
            with _installed(name, text, units, host):
                status = _run(name, host, pipes)
            ends.append(HookEnd(line=line, status=status, seconds=host.clock.now() - begin))
            if status and line.stops:
                return Ran(ends=tuple(ends), left=tuple(lines[number:]))
    except KeyboardInterrupt:
        return Ran(ends=tuple(ends), left=tuple(lines[len(ends) + 1 :]), interrupted=True)
    finally:
        with suppress(OSError):
            Path(host.store.scope.stopping, note).unlink(missing_ok=True)
    return Ran(ends=tuple(ends))


def _around(unit: str, host: Host) -> Around:
    state, detail = host.systemd.states([unit])[unit], host.systemd.detail(unit)
    is_up = state.active not in ("inactive", "failed")
    if detail.main_pid or not detail.exec_main_code:
        return Around(is_up=is_up, main_pid=detail.main_pid)
    return Around(is_up=is_up, result=detail.result, exit_code=detail.exec_main_code, exit_status=detail.exec_main_status)


def _run(name: str, host: Host, pipes: Pipes) -> int:
    """The hook's status."""
    host.systemd.start(name)
    try:
        state = _await_end(name, host, pipes)
    except KeyboardInterrupt:
        host.systemd.stop(name)
        _await_end(name, host, pipes)
        raise
    return _status(name, host.systemd.detail(name)) if state.active == "failed" else 0


def _await_end(name: str, host: Host, pipes: Pipes) -> UnitState:
    """Output is passed on while it runs, and what systemd says is asked for ever less often."""
    wait, looked = FIRST_WAIT, host.clock.now()
    while True:
        pipes.pump(wait)
        if host.clock.now() - looked < wait:
            continue
        looked = host.clock.now()
        state = host.systemd.states([name])[name]
        if not state.job and state.active in ("inactive", "failed"):
            pipes.drain()
            return state
        wait = min(LONGEST_WAIT, wait * 1.5)


def _status(name: str, detail: UnitDetail) -> int:
    """Raises NanodError where there never was a process."""
    if detail.exec_main_code in _KILLED:
        return 128 + detail.exec_main_status
    if detail.exec_main_code and detail.exec_main_status:
        return detail.exec_main_status
    raise NanodError(f"cannot run the hook: systemd says '{detail.result}'", hint=f"journalctl -u {name}")


@contextmanager
def _installed(name: str, text: str, units: Store, host: Host) -> Iterator[None]:
    units.write_unit(name, text)
    units.sync()
    try:
        yield
    finally:
        _clear(name, units, host)


def _clear(name: str, units: Store, host: Host) -> None:
    """Whatever of it still runs is stopped, and nobody hears of it again."""
    host.systemd.stop(name)
    await_stopped(host.systemd, host.clock, [name])
    host.systemd.reset_failed(name)
    units.delete_unit(name)
    units.sync()


def _sweep(host: Host, units: Store) -> None:
    """What a run that was killed left: under the host's lock no other is at work."""
    with refusing(f"read {units.unit_dir}"):
        left = sorted(path.name for path in Path(units.unit_dir).glob(f"{BY_HAND}*.service"))
    for name in left:
        _clear(name, units, host)


def _drop_ins(detail: UnitDetail) -> list[str]:
    """The administrator's for this very unit; those for all services (service.d) systemd adds by itself."""
    found = []
    for path in detail.drop_ins:
        if Path(path).parent.name != "service.d":
            with refusing(f"read {path}"):
                found.append(Path(path).read_text(errors="surrogateescape"))
    return found
