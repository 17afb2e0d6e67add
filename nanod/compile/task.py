"""The units of a group beside its mains: the companion, tasks that end, and what stands for several mains. They have no process that stays.

All are oneshots that remain active, so that what ran once for the group does not run again with each crash or restart of a main.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.compile.hooks import hook_lines
from nanod.compile.members import GROUPS, has_all
from nanod.compile.part import ENV, SLACK, App, by_name, credentials, environment, identity, lib, run_directory, user_name
from nanod.compile.sandbox import sandbox
from nanod.compile.secrets import with_secrets
from nanod.compile.service import dependency_gates, gate_seconds, own_lines, relations, resources
from nanod.phases import OnFailure
from nanod.spec.model import RestartPolicy, Sandbox
from nanod.units.unitset import Role
from nanod.values import TimeSpan

if TYPE_CHECKING:
    from nanod.compile.members import Member
    from nanod.units.unitfile import UnitBuilder, UnitFile

_TRUE = "/usr/bin/true"
_LIMIT = TimeSpan.parse("1h")
_WAIT_LIMIT = TimeSpan.parse("1min")
_REQUIREMENTS_SECONDS = 3600
"""How long a prestart task waits for what its service requires. When it gives up the group has failed, and nothing tries again."""
_ALL_SECONDS = 60
"""How often what stands for all mains says which of them is not up."""


def companion_unit(app: App, member: Member) -> UnitFile:
    """Up first and down last. With several mains, the service's own prestart and poststop hooks are here, once around all of them."""
    unit = _begun(app, member, f"Companion of {member.row.rpartition('/')[0]} of {app.names.app}")
    if not member.service.runtime_dir:
        unit.words("Service", "RuntimeDirectory", [_flag(member)], member.at)
    else:
        unit.words("Service", "RuntimeDirectory", [member.run_dir(app.names.app), _flag(member)], member.whole.at("runtime_dir"))
    longest = TimeSpan(0)
    if member.whole.processes:
        longest = hook_lines(unit, app, member.service, "prestart")
    unit.exec("ExecStart", [_TRUE], member.at)
    unit.exec("ExecStart", [lib(app, "again"), member.names.main, "try-restart"], member.at, prefix="-+")
    unit.raw("Service", "TimeoutStartSec", max(longest, _WAIT_LIMIT), member.at)
    unit.exec("ExecStop", [lib(app, "again"), member.names.main, "--job-mode=fail", "stop"], member.at, prefix="-+")
    if member.whole.processes:
        longest = hook_lines(unit, app, member.service, "poststop", mains=member.mains)
        unit.raw("Service", "TimeoutStopSec", max(longest, member.service.stop.timeout), member.at)
    return unit.finish()


def all_unit(app: App, member: Member) -> UnitFile:
    """What stands for several mains: active when all are up, and its restart is theirs. The poststart and prestop hooks of the service are here."""
    unit = _begun(app, member, member.service.description or f"{member.row} of {app.names.app}")
    unit.exec("ExecStart", [lib(app, "await"), str(_ALL_SECONDS), "coming", f"of:{unit.name}"], member.at, prefix="+")
    stopping = TimeSpan(0)
    if member.whole.processes:
        sandbox(unit, app, member.service)
        hook_lines(unit, app, member.service, "poststart")
        hook_lines(unit, app, member.service, "reload")
        stopping = hook_lines(unit, app, member.service, "prestop")
    # As long as a main is on its way; its own limits end that. Each hook has its own time.
    unit.raw("Service", "TimeoutStartSec", TimeSpan.FOREVER, member.at)
    unit.raw("Service", "TimeoutStopSec", max(stopping, member.service.stop.timeout), member.at)
    return unit.finish()


def task_unit(app: App, member: Member) -> UnitFile:
    """A task that ends. It tries as often as its restart policy says; only then has it failed."""
    task, service = member.task, member.service
    assert task is not None
    unit = _begun(app, member, service.description or f"Task {member.row} of {app.names.app}")
    fails = task.on_failure is OnFailure.FAIL
    limit = task.timeout or (_WAIT_LIMIT if task.wait_for else _LIMIT)
    tries = 1 if task.wait_for or service.restart.policy is RestartPolicy.NO else service.restart.limit
    words = [ENV, f"LIFECYCLE_PHASE={task.hook}", f"NANOD_HOOK={task.name}", lib(app, "task"), str(tries), service.restart.delay.in_seconds]
    # A wait says itself what it waited for in vain, and is cut later.
    bound = limit + SLACK if task.wait_for else limit
    words += [task.on_failure.value, bound.in_seconds, *(_wait(app, task.wait_for, limit) if task.wait_for else _command(member))]
    total = (bound + SLACK + service.restart.delay) * tries
    if member.role is Role.POSTSTOP_TASK:
        note = f"{app.scope.ended}/{member.names.main}"
        unit.exec("ExecStart", [_TRUE], member.at)
        unit.exec("ExecStopPost", [lib(app, "ended"), note, *member.first, "--", *member.mains], member.at, prefix="-+")
        lent = _lend(unit, app, member, note)
        unit.exec("ExecStopPost", [lib(app, "finally"), note, *lent, *words], member.at, prefix="" if fails else "-")
        unit.raw("Service", "TimeoutStopSec", total, member.at)
        return unit.finish()
    if member.role is Role.PRESTART_TASK:
        for need, argv in dependency_gates(app, member.whole, _REQUIREMENTS_SECONDS):
            unit.exec("ExecStartPre", argv, need.at(), prefix="+")
            total = max(total, TimeSpan.seconds(_REQUIREMENTS_SECONDS) + SLACK)
        if member.awaits:
            unit.exec("ExecStartPre", [lib(app, "await"), str(gate_seconds(service)), "active", *member.awaits], member.at, prefix="+")
    else:
        unit.exec("ExecCondition", [lib(app, "mains"), member.companion, *member.mains], member.at, prefix="+")
    unit.exec("ExecStart", words, member.at, prefix="" if fails else "-")
    if member.role is Role.POSTSTART_TASK and fails:
        # Of several instances only its own, by the companion that their mains require.
        ends = member.companion if member.replica else app.names.service(member.whole.name)
        unit.exec("ExecStopPost", [lib(app, "give-up"), ends], member.at, prefix="-+")
    unit.raw("Service", "TimeoutStartSec", total, member.at)
    return unit.finish()


def _lend(unit: UnitBuilder, app: App, member: Member, note: str) -> list[str]:
    """Secrets of a poststop task: by the time that it runs, those of LoadCredential= are out of its reach."""
    service = member.service
    if not service.credentials:
        return []
    directory = f"{app.scope.lent}/{member.names.main.removesuffix('.service')}"
    files = [word for item in by_name(service.credentials) for word in (f"encrypted:{item.name}" if item.encrypted else item.name, item.file)]
    unit.exec("ExecStopPost", [lib(app, "lend"), note, directory, user_name(app, service), *files], service.at("credentials"), prefix="-+")
    if service.sandbox is Sandbox.STRICT:
        unit.words("Service", "ReadWritePaths", [f"-{directory}"], service.at("credentials"))
    return ["--lent", directory]


def _begun(app: App, member: Member, description: str) -> UnitBuilder:
    service = member.service
    unit = app.builder(member.names.main, member.role, member)
    unit.raw("Unit", "Description", description, member.at)
    relations(unit, app, member)
    unit.raw("Service", "Type", "oneshot", member.at)
    unit.raw("Service", "RemainAfterExit", True, member.at)
    unit.raw("Service", "Slice", app.names.slice, member.at)
    unit.raw("Service", "SyslogIdentifier", member.names.main.removesuffix(".service"), member.at)
    identity(unit, app, service)
    environment(unit, app, member)
    if member.task or has_all(member.whole):
        credentials(unit, service)
    if member.task:
        run_directory(unit, app, member)
        sandbox(unit, app, service)
        resources(unit, service)
        own_lines(unit, app, service)
    return unit


def _flag(member: Member) -> str:
    return f"{GROUPS}/{member.names.main.removesuffix('.service')}"


def _command(member: Member) -> list[str]:
    assert member.service.command is not None
    return with_secrets(member.service, member.service.command.argv)


def _wait(app: App, address: str, limit: TimeSpan) -> list[str]:
    """`tcp://host:port`, `unix:/path`, `file:/path`, `http://…`: the prober of health gates, until it has an answer."""
    scheme, _, rest = address.partition(":")
    is_url = scheme in ("http", "https")
    subject, kind = (address, "http") if is_url else (rest.removeprefix("//"), scheme)
    return [lib(app, "wait"), kind, "0.5", "2", limit.in_seconds, subject]
