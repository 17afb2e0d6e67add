"""Hooks to lines: each hook is one line, bounded by its own timeout, that leaves a record of its result.

systemd bounds each command and not the phase (TimeoutStartSec= is per command), looks at `-` per line, and forgets a line's status at the next
daemon-reload; so the line itself carries the timeout and the record (`nanod/lib/hook`).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanod.compile.part import ENV, SLACK, App, as_user, beside, credentials, environment, identity, lib, user_name
from nanod.compile.sandbox import sandbox
from nanod.compile.secrets import sees_secrets, with_secrets
from nanod.phases import HOOK_PHASES, Context, Listing, OnFailure, Scope, phase_of
from nanod.spec.model import Sandbox
from nanod.state import RUN, HookName
from nanod.units.directives import Cost, cost_of
from nanod.units.unitset import Role
from nanod.values import TimeSpan, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nanod.compile.members import Member
    from nanod.spec.model import Hook, Service
    from nanod.units.unitfile import UnitBuilder, UnitFile


def hooks_of(service: Service, phase: str, scope: Scope = Scope.START) -> tuple[Hook, ...]:
    return tuple(hook for hook in service.hooks.get(phase, ()) if hook.scope is scope)


def hook_lines(unit: UnitBuilder, app: App, service: Service, phase: str, mains: Sequence[str] = ()) -> TimeSpan:
    """Add the lines of a phase to a unit; returns the longest time that one of them may take.

    `mains`: the units whose end a companion follows.
    """
    hooks, row = hooks_of(service, phase), phase_of(phase)
    key = row.directive.removesuffix("=")
    if row.listing is Listing.ALL_REVERSED:
        hooks = hooks[::-1]
    stop: tuple[str, ...] = ()
    longest = max((hook.timeout for hook in hooks), default=TimeSpan(0))
    if hooks and phase in ("prestop", "poststop"):
        note = f"{app.scope.stopping}/{unit.name}"
        unit.exec(key, [lib(app, "stopping"), note, *mains], hooks[-1].at(), prefix="-+")
        stop = ("--stop", note, max(longest, row.timeout).in_seconds if row.shared and len(hooks) > 1 else "0")
    for hook in hooks:
        prefix, argv = hook_line(app, service, hook, stop)
        ignore = "" if hook.on_failure is OnFailure.FAIL else "-"
        unit.exec(key, argv, hook.at(), prefix=ignore + prefix)
    return longest + SLACK if hooks else TimeSpan(0)


def hook_words(app: App, service: Service, hook: Hook, stop: tuple[str, ...] = ()) -> list[str]:
    """The hook, bounded and recorded, for whoever starts it as the right user in the right place."""
    warn_after = phase_of(hook.phase).warn_after
    return [
        ENV,
        f"LIFECYCLE_PHASE={hook.phase}",
        f"NANOD_HOOK={hook.name}",
        *(f"{name}={value}" for name, value in hook.environment.items()),
        lib(app, "hook"),
        hook.on_failure.value,
        hook.timeout.in_seconds,
        *(("--warn-after", warn_after.in_seconds) if warn_after and hook.timeout.is_forever else ()),
        *stop,
        *(with_secrets(service, hook.run.argv) if sees_secrets(app, service, hook) else hook.run.argv),
    ]


def hook_line(app: App, service: Service, hook: Hook, stop: tuple[str, ...] = ()) -> tuple[str, list[str]]:
    """The prefix that puts the hook into its context and user, and its words.

    `+` starts it as root outside sandbox and mount namespace, where `as` drops to the user; `!` lifts only the user, and keeps the sandbox
    (systemd.service(5)).
    """
    run = hook_words(app, service, hook, stop)
    if hook.context is Context.HOST:
        return "+", [*as_user(app, service, hook.user), *run]
    if hook.user is None or hook.user == user_name(app, service):
        return "", run
    if hook.user != "root" and service.sandbox is Sandbox.STRICT:
        app.report.error(
            hook.at("user"),
            f"sandbox strict leaves nobody the capability to become '{hook.user}' inside it (context: host, or sandbox: default)",
            hook.at.path,
        )
    return "!", [*as_user(app, service, hook.user), *run]


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What stands before the mains of a service: the units that it waits for, the lines that do the waiting, and the files whose content counts."""

    needs: tuple[str, ...]
    gates: tuple[list[str], ...]
    content: tuple[UnitFile, ...]


def prestart_unit(app: App, member: Member, before: Before) -> UnitFile | None:
    """Deploy-scoped prestart hooks: a oneshot that a stamp keeps from running twice for the same content of the service.

    apply starts it alone, after the reload and before it touches the service: when a hook fails, the old processes still serve.
    """
    service = member.whole
    hooks = hooks_of(service, "prestart", Scope.DEPLOY)
    if not hooks:
        return None
    origin = hooks[0].at()
    unit = app.builder(member.names.prestart, Role.PRESTART, member)
    stamp = f"{app.scope.once}/{unit.name.removesuffix('.service')}-{content_of(before, hooks)}"
    beside(unit, app, f"Prestart hooks, once per content, of {service.name} of {app.names.app}", origin)
    unit.raw("Unit", "ConditionPathExists", f"!{stamp}", origin)
    if any(hook.context is Context.SERVICE for hook in hooks):
        sandbox(unit, app, service)
    before_mains(unit, app, member, before, hooks)
    if any(hook.irreversible for hook in hooks):
        unit.exec(
            "ExecStartPre", [lib(app, "begun"), app.scope.armed(unit.name), app.scope.irreversible_mark(app.names.app, unit.name)], origin, prefix="+"
        )
    for hook in hooks:
        prefix, argv = hook_line(app, service, hook)
        unit.exec("ExecStart", argv, hook.at(), prefix=prefix)
    unit.exec("ExecStartPost", [lib(app, "stamp"), stamp], origin, prefix="+")
    return unit.finish()


def before_mains(unit: UnitBuilder, app: App, member: Member, before: Before, hooks: Sequence[Hook]) -> None:
    """What every oneshot has that runs `hooks` with what the service has, once install and all that the service requires are there."""
    service, origin = member.whole, hooks[0].at()
    if service.provisioning:
        unit.words("Unit", "Requires", [member.names.provision], origin)
        unit.words("Unit", "After", [member.names.provision], origin)
    for need in before.needs:
        unit.words("Unit", "Wants", [need], origin)
        unit.words("Unit", "After", [need], origin)
    unit.raw("Service", "Type", "oneshot", origin)
    identity(unit, app, service)
    environment(unit, app, member)
    credentials(unit, service)
    for gate in before.gates:
        unit.exec("ExecStartPre", gate, origin, prefix="+")
    waits = [TimeSpan.seconds(int(gate[1])) for gate in before.gates]
    unit.raw("Service", "TimeoutStartSec", max((*waits, *(hook.timeout for hook in hooks))) + SLACK, origin)


def content_of(before: Before, hooks: Iterable[Hook]) -> str:
    """A digest: what asks for another process asks for its deployment too; a changed limit or timeout does not."""
    lines = [f"{item.key}={item.text}" for file in before.content for item in file.directives if cost_of(item.section, item.key) >= Cost.RESTART]
    words = [word for hook in hooks for word in (*hook.run.argv, *(part for pair in sorted(hook.environment.items()) for part in pair))]
    return digest("\n".join([*lines, *words]))[:16]


def ready_unit(app: App, member: Member) -> UnitFile | None:
    """Asynchronous hooks: bound to the service, begun after it is up, again after each start, and unable to harm it.

    Type=exec leaves no job behind while it runs; BindsTo= with After= is what runs it once per start and never when the gate failed (tried on
    252 and 257).
    """
    service = member.service
    hooks = hooks_of(service, "ready")
    if not hooks:
        return None
    origin = hooks[0].at()
    main = member.names.main
    unit = app.builder(member.names.ready, Role.READY, member)
    beside(unit, app, f"Ready hooks of {member.row} of {app.names.app}", origin)
    unit.words("Unit", "BindsTo", [main], origin)
    unit.words("Unit", "After", [main], origin)
    unit.raw("Service", "Type", "exec", origin)
    # Once done it stays, whatever came of it: a start of the service while it runs, or of one that Wants= it, would start this again (tried).
    unit.raw("Service", "RemainAfterExit", True, origin)
    unit.words("Service", "SuccessExitStatus", ["SIGTERM"], origin)
    identity(unit, app, service)
    environment(unit, app, member)
    credentials(unit, service)
    inside = any(hook.context is Context.SERVICE for hook in hooks)
    if inside and any(hook.context is Context.HOST for hook in hooks):
        app.report.error(origin, "the ready hooks of one service run in one context: all of them 'host', or all 'service'", service.at.path)
    if inside:
        sandbox(unit, app, service)
    lines = [hook_line(app, service, hook) for hook in hooks]
    prefix = max((prefix for prefix, _ in lines), key=len)
    unit.exec("ExecStart", [lib(app, "each"), *(shlex.join(argv) for _, argv in lines)], origin, prefix=f"-{prefix}")
    return unit.finish()


def hook_names(member: Member) -> tuple[HookName, ...]:
    """All hooks of a member, as status and history name them, in the order of the lifecycle. What runs once for all instances is the first one's."""
    names, service = member.names, member.service
    found = []
    if member.is_first and member.is_main and member.whole.provisioning:
        found.append(HookName(phase="install", name="install", unit=names.provision, on_failure="fail"))
    for phase in HOOK_PHASES:
        # A build is no part of the running service: apply and history tell of it.
        for hook in service.hooks.get(phase, ()) if phase != "build" else ():
            unit = names.main
            if phase == "ready":
                unit = names.ready
            elif hook.scope is Scope.DEPLOY:
                unit = names.prestart
            elif phase in RELEASE:
                unit = names.deploy if phase == "deploy" else names.post_deploy
            if (hook.scope is not Scope.DEPLOY and phase not in RELEASE) or member.is_first:
                found.append(HookName(phase=phase, name=hook.name, unit=unit, on_failure=hook.on_failure.value))
    if service.schedule:
        found.append(HookName(phase=RUN, name="script", unit=names.main, on_failure="fail"))
    return tuple(found)


RELEASE = ("deploy", "post_deploy")
"""Phases of a deployment, once for all instances and processes of a service."""
