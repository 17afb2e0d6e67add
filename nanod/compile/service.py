"""What runs: the main unit of a service or a sidecar, what it waits for, and when it counts as up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.compile.health import gate_line
from nanod.compile.hooks import hook_lines, hooks_of
from nanod.compile.members import has_all, is_proxied
from nanod.compile.part import ENV, SLACK, App, command, credentials, environment, identity, lib, run_directory
from nanod.compile.sandbox import joins, sandbox
from nanod.compile.secrets import with_secrets
from nanod.phases import OnFailure, Scope
from nanod.spec.model import Condition, Kind, ProbeKind, RestartPolicy, Sandbox
from nanod.state import OuterNeed
from nanod.units.directives import since
from nanod.units.names import AppNames
from nanod.units.unitset import Role
from nanod.values import TimeSpan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nanod.compile.members import Member
    from nanod.diagnostics import Mark
    from nanod.spec.model import Requirement, Service
    from nanod.units.unitfile import UnitBuilder, UnitFile

_SCRIPT_TIMEOUT = TimeSpan.parse("1h")
_START_TIMEOUT = TimeSpan.parse("90s")
_RESTART = {RestartPolicy.NO: "no", RestartPolicy.ON_FAILURE: "on-failure", RestartPolicy.ALWAYS: "always"}


def main_unit(app: App, member: Member, *, stays: bool) -> UnitFile:
    """What runs: the main of a service, one of several, or a sidecar.

    `stays`: the service is a script that somebody's `completed` waits for, and remains active after it ended.
    """
    service, at = member.service, member.service.at
    unit = app.builder(member.names.main, Role.JOB if service.schedule else member.role, member)
    unit.raw("Unit", "Description", service.description or f"{member.row} of {app.names.app}", at("description"))
    relations(unit, app, member)
    if member.is_main and service.schedule:
        # The calendar says how often it starts.
        unit.raw("Unit", "StartLimitIntervalSec", 0, service.schedule.at())
    elif member.is_limited:
        unit.raw("Unit", "StartLimitIntervalSec", service.restart.window, at("restart", "window"))
        unit.raw("Unit", "StartLimitBurst", service.restart.limit, at("restart", "limit"))
    _type(unit, service, stays=stays)
    if member.is_main and member.whole.sockets and not is_proxied(member.whole):
        unit.words("Service", "Sockets", [member.names.socket], member.whole.at("sockets"))
    unit.raw("Service", "Slice", app.names.slice, at())
    unit.raw("Service", "SyslogIdentifier", member.names.main.removesuffix(".service"), at())
    identity(unit, app, service)
    run_directory(unit, app, member)
    environment(unit, app, member)
    credentials(unit, service)
    sandbox(unit, app, service)
    if (release := app.releases.get(member.whole.name)) and service.sandbox is not Sandbox.OFF:
        unit.words("Service", "ReadOnlyPaths", [release], member.whole.at("source"))
    _lines(unit, app, member, stays=stays)
    _restart_and_stop(unit, member)
    resources(unit, service)
    own_lines(unit, app, service)
    return unit.finish()


def own_lines(unit: UnitBuilder, app: App, service: Service, sections: Sequence[str] = ("Unit", "Service")) -> None:
    """The spec's own `systemd:` block, last: text in place of nanod's lines, a list after them. What the target's systemd would drop is refused."""
    for section, keys in service.systemd.items():
        for key, values in keys.items() if section in sections else ():
            place = service.at("systemd", section, key)
            if (first := since(section, key)) > app.target.version:
                app.report.error(place, f"{key}= needs systemd {first} or newer, and this is for {app.target.version}", service.at.path)
            if (section, key) in service.replaced:
                unit.drop(section, key)
            for position, value in enumerate(values):
                unit.live(section, key, value, service.at("systemd", section, key, position))


def relations(unit: UnitBuilder, app: App, member: Member) -> None:
    """What a unit of a service stands to: the app's target, what is done before it, the others of its group, what the service requires."""
    service, at, names = member.service, member.at, member.names
    if member.role in _PARTS:
        unit.words("Unit", "PartOf", [app.names.target, *member.part_of], at)
    elif member.part_of:
        unit.words("Unit", "PartOf", member.part_of, at)
    if member.role in (Role.MAIN, Role.GROUP):
        for unit_name, key, mark in _done_before(member):
            unit.words("Unit", key, [unit_name], mark)
            unit.words("Unit", "After", [unit_name], mark)
    _behind_socket(unit, member)
    _among(unit, member)
    joins(unit, app, member)
    if member.role in AWAITING or member.role is Role.POSTSTOP_TASK:
        _dependencies(unit, app, member)
    if (ready := hooks_of(service, "ready")) and member.role in (Role.MAIN, Role.ALL):
        unit.words("Unit", "Wants", [names.ready], ready[0].at())
    if service.health and service.health.liveness and member.runs_on:
        unit.words("Unit", "Wants", [names.alive_timer], service.health.liveness.at())
    if handler := member.on_failure:
        unit.words("Unit", "OnFailure", [names.failure], handler.at())


def _done_before(member: Member) -> Iterator[tuple[str, str, Mark]]:
    """Install and the hooks of a deployment: each unit, how it is asked for, and by what."""
    whole, names = member.whole, member.names
    if whole.provisioning:
        yield names.provision, "Requires", whole.provisioning.at()
    if once := hooks_of(whole, "prestart", Scope.DEPLOY):
        yield names.prestart, "Requires", once[0].at()
    for hook in whole.hooks.get("deploy", ()):
        yield names.deploy, "Requires" if hook.on_failure is OnFailure.FAIL else "Wants", hook.at()


_PARTS = (Role.MAIN, Role.ALL, Role.GROUP, Role.POSTSTART_TASK)
"""What goes with the app. A poststart task under way is not unneeded to systemd, and would outlive it; a sidecar would stop before the mains."""
AWAITING = (Role.MAIN, Role.PRESTART_TASK, Role.PRESTART_SIDECAR)
"""What starts only when the service's own requirements are up."""


def _behind_socket(unit: UnitBuilder, member: Member) -> None:
    """It would not start without its descriptors, and behind a proxy it goes with its socket all the same: a port that is taken is told of."""
    whole, at = member.whole, member.whole.at("sockets")
    if member.is_main and whole.sockets:
        unit.words("Unit", "Requires", [member.names.socket], at)
        unit.words("Unit", "After", [member.names.socket], at)


def _among(unit: UnitBuilder, member: Member) -> None:
    at = member.at
    for key, units in (
        ("Requires", member.requires),
        ("Wants", (*member.wants, *member.pulls)),
        ("After", (*member.requires, *member.wants, *member.after)),
    ):
        if units:
            unit.words("Unit", key, units, at)
    if member.condition:
        unit.raw("Unit", "ConditionPathExists", member.condition, at)
    if not member.is_limited:
        unit.raw("Unit", "StartLimitIntervalSec", 0, at)
    if member.role.is_pulled:
        unit.raw("Unit", "StopWhenUnneeded", True, at)


def _dependencies(unit: UnitBuilder, app: App, member: Member) -> None:
    """A cleanup asks for nothing, and stands after it all the same: at a shutdown it runs while what the group requires is still there."""
    whole, at = member.whole, member.whole.at
    for need in whole.requires:
        other = dependency(app, need)
        if not need.is_outer and app.spec.services[need.target].kind is Kind.SCRIPT and need.condition is not Condition.COMPLETED and member.is_first:
            # Its gate would find the script ended, and each try of the service would run it again (tried).
            app.report.error(need.at(), f"'{need.target}' is a script, which ends: say condition: completed", at.path)
        if member.role in AWAITING:
            unit.words("Unit", "Wants", [other], need.at())
        if ordered(app, need):
            unit.words("Unit", "After", [other], need.at())
        if need.restart and member.is_main:
            unit.words("Unit", "PartOf", [other], need.at("restart"))
    for position, other in sorted(enumerate(whole.after), key=lambda item: item[1]):
        name = app.names.service(other) if other in app.spec.services else other
        unit.words("Unit", "After", [name], at("after", position))


def dependency(app: App, need: Requirement) -> str:
    """The one unit that brings it up: the main of a service, or what stands for all of its mains."""
    if need.app:
        return AppNames(need.app).service(need.target.rpartition("/")[2])
    return need.target if need.is_unit else app.names.service(need.target)


def outer_need(app: App, need: Requirement) -> OuterNeed:
    service = need.target.rpartition("/")[2]
    return OuterNeed(app=need.app, service=service, unit=dependency(app, need), condition=need.said, restart=need.restart, required=need.required)


def ordered(app: App, need: Requirement) -> bool:
    """Whether After= may stand. It waits for the whole start job, health gate included, which `condition: started` on a gated service must not do.

    Of another app nothing is known here, and apply refuses what does not fit this (`nanod.across`).
    """
    if need.is_outer or need.condition is not Condition.STARTED:
        return True
    other = app.spec.services[need.target]
    return other.health is None and not has_all(other)


def dependency_gates(app: App, service: Service, seconds: int | None = None) -> list[tuple[Requirement, list[str]]]:
    """One line per dependency, run by root outside the sandbox. It neither passes on a crash of the dependency nor hides the cause.

    It waits longer than window / limit, so that a dependency that is away never uses up the service's own start limit. A dependency that has
    several mains is up when all of these are.
    """
    seconds = gate_seconds(service) if seconds is None else seconds
    found = []
    for need in service.requires:
        if need.required:
            condition = "started" if need.condition is Condition.STARTED and not ordered(app, need) else "active"
            found.append((need, [lib(app, "await"), str(seconds), condition, _awaited(app, need)]))
    return found


def _with_members(app: App, gates: Sequence[tuple[Requirement, list[str]]], member: Member) -> list[tuple[Mark, list[str]]]:
    """What a main of a group waits for beside its dependencies joins the last of these: a line is a process or two, at each start."""
    found = [(need.at(), argv) for need, argv in gates]
    if not member.awaits:
        return found
    own = [lib(app, "await"), str(gate_seconds(member.service)), "active"]
    if found and found[-1][1][: len(own)] == own:
        mark, argv = found.pop()
        return [*found, (mark, [*argv, *member.awaits])]
    return [*found, (member.at, [*own, *member.awaits])]


def gate_seconds(service: Service) -> int:
    restart = service.restart
    return (restart.window.usec // max(1, restart.limit)) // 1_000_000 + 1 if not restart.window.is_forever else 60


def _awaited(app: App, need: Requirement) -> str:
    """Not each of several mains by its name: one instance more would be another line, and restart whoever waits for them."""
    if need.app:
        # What stands for it there is that app's own affair: one main today, several tomorrow.
        return f"app:{dependency(app, need)}"
    return dependency(app, need) if need.is_unit or not has_all(app.spec.services[need.target]) else f"of:{dependency(app, need)}"


def _type(unit: UnitBuilder, service: Service, *, stays: bool) -> None:
    health = service.health
    if health and health.kind is ProbeKind.NOTIFY:
        unit.raw("Service", "Type", "notify", health.at("notify"))
        # Not `main`: a shell or wrapper may stand between, and a notification says only what the service says of itself.
        unit.raw("Service", "NotifyAccess", "all", health.at("notify"))
    elif stays:
        unit.raw("Service", "Type", "oneshot", service.at("kind"))
        unit.raw("Service", "RemainAfterExit", True, service.at("kind"))
    else:
        # `exec` and not `simple`: a missing executable must fail the start (Type=simple reports success, tried).
        unit.raw("Service", "Type", "exec", service.at("kind"))


def _lines(unit: UnitBuilder, app: App, member: Member, *, stays: bool) -> None:
    service = member.service
    gates = dependency_gates(app, member.whole) if member.role in AWAITING else []
    health = service.health
    notifies = health is not None and health.kind is ProbeKind.NOTIFY
    longest = TimeSpan(0) if notifies else _START_TIMEOUT
    if member.role is Role.POSTSTART_SIDECAR:
        unit.exec("ExecCondition", [lib(app, "mains"), member.companion, *member.mains], member.at, prefix="+")
    for mark, argv in _with_members(app, gates, member):
        unit.exec("ExecStartPre", argv, mark, prefix="+")
        longest = max(longest, TimeSpan.seconds(int(argv[1])) + SLACK)
    longest = max(longest, hook_lines(unit, app, service, "prestart"))
    unit.exec("ExecStart", _main_line(service), service.at("command"))
    longest = max(longest, gate_line(unit, app, service), hook_lines(unit, app, service, "poststart"))
    if stays:
        longest = max(longest, _SCRIPT_TIMEOUT)
    elif service.kind is Kind.SCRIPT:
        unit.raw("Service", "RuntimeMaxSec", _SCRIPT_TIMEOUT, service.at("kind"))
    # The time of a start is that of a reload, too (service_enter_reload()).
    longest = max(longest, hook_lines(unit, app, service, "reload"))
    unit.raw("Service", "TimeoutStartSec", longest, service.at())
    if health and notifies and longest > health.start_timeout and health.at.written("start_timeout"):
        app.report.note(
            health.at("start_timeout"),
            f"the wait for READY=1 is {longest}: systemd has one timeout for it and for each gate and each prestart, poststart and reload hook",
            service.at.path,
        )
    _stop_lines(unit, app, service)


def _main_line(service: Service) -> list[str]:
    """The command, and in front of it what the process needs before it starts: its secrets in the environment, and deafness to SIGHUP."""
    assert service.command is not None
    argv = with_secrets(service, command(service.command.argv))
    if service.stop.ignore_hup and not hooks_of(service, "reload") and service.kind is not Kind.SCRIPT:
        # SIGHUP without a handler kills, counts as a clean end, and Restart=on-failure leaves the service down (tried).
        argv = [ENV, "--ignore-signal=HUP", *(argv[1:] if argv[0] == ENV else argv)]
    return argv


def _restart_and_stop(unit: UnitBuilder, member: Member) -> None:
    service = member.service
    restart, stop, at = service.restart, service.stop, service.at
    policy = RestartPolicy.NO if service.kind is Kind.SCRIPT else restart.policy
    if not member.is_main and not at.written("restart", "policy"):
        # A sidecar is there as long as its group is, however it ends.
        policy = RestartPolicy.ALWAYS
    unit.raw("Service", "Restart", _RESTART[policy], at("restart", "policy"))
    if policy is not RestartPolicy.NO:
        unit.raw("Service", "RestartSec", restart.delay, at("restart", "delay"))
    unit.raw("Service", "KillSignal", stop.signal, at("stop", "signal"))


def _stop_lines(unit: UnitBuilder, app: App, service: Service) -> None:
    """Prestop and poststop, and the one timeout that systemd applies to each of their lines and to the wait after the signal: the largest needed."""
    stop, at = service.stop, service.at
    if service.schedule:
        unit.exec("ExecStopPost", [lib(app, "ran"), unit.name], service.schedule.at(), prefix="-+")
    if is_proxied(service):
        # PartOf= passes on stops and restarts; after a crash nobody has the port until the next start.
        words = ["/usr/bin/systemctl", *app.scope.words, "--no-block", "stop", f"{unit.name.removesuffix('.service')}-proxy.service"]
        unit.exec("ExecStopPost", words, service.at("sockets"), prefix="-+")
    longest = max(stop.timeout, hook_lines(unit, app, service, "prestop"), hook_lines(unit, app, service, "poststop"))
    if stop.drain.usec:
        # As root: a process of another user cannot be waited for from every sandbox.
        unit.exec("ExecStop", [lib(app, "drain"), stop.drain.in_seconds], at("stop", "drain"), prefix="-+")
        longest = max(longest, stop.drain + SLACK)
    if longest.is_forever and not stop.timeout.is_forever:
        # Without a limit of its own the process could hold up a shutdown; the last line before systemd's own signal gives it one.
        words = [unit.name, stop.signal.removeprefix("SIG"), str(-(-stop.timeout.usec // 1_000_000))]
        unit.exec("ExecStop", [lib(app, "terminate"), *words], at("stop", "timeout"), prefix="-+")
    unit.raw("Service", "TimeoutStopSec", longest, at("stop", "timeout"))
    if stop.timeout < longest < TimeSpan.FOREVER and at.written("stop", "timeout"):
        app.report.note(
            at("stop", "timeout"),
            f"the wait after the stop signal is {longest}: systemd has one timeout for it, for the drain and for each prestop and poststop hook",
            at.path,
        )


def resources(unit: UnitBuilder, service: Service) -> None:
    for key, name in (
        ("MemoryMax", "memory_max"),
        ("MemoryHigh", "memory_high"),
        ("CPUQuota", "cpu_quota"),
        ("CPUWeight", "cpu_weight"),
        ("IOWeight", "io_weight"),
        ("TasksMax", "tasks_max"),
    ):
        value = getattr(service.resources, name)
        if value is not None:
            unit.raw("Service", key, value, service.at("resources", name))
