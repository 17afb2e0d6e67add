"""Who sees the secrets of a service, and how they get into variables: never by the unit, whose environment everybody on the host can read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nanod.compile.part import by_name, user_name
from nanod.compile.sandbox import has_namespace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanod.compile.part import App
    from nanod.spec.model import Hook, Service

BEFORE = ("prestart",)
"""Phases of lines before the process, which see what it sees (tried on 252 and 257)."""
ALONE = ("ready", "deploy", "post_deploy")
"""Phases of units of their own, which take the secrets themselves. Lines after the process sees nothing of them once there is a sandbox."""
NEVER = ("build",)
"""A build has variables of its own and no others."""
DIRECTORY = "CREDENTIALS_DIRECTORY"


def with_secrets(service: Service, argv: Sequence[str]) -> list[str]:
    """A command for which the credentials that name a variable are put there."""
    exported = [item for item in by_name(service.credentials) if item.env]
    if not exported:
        return list(argv)
    script = "".join(f'{item.env}=$(cat "$CREDENTIALS_DIRECTORY/{item.name}") && export {item.env} && ' for item in exported)
    return ["/bin/sh", "-c", f'{script}exec "$@"', "sh", *argv]


def sees_secrets(app: App, service: Service, hook: Hook) -> bool:
    """Whether the hook's line can read them: in time, and as the service's own user or as root."""
    if hook.user not in (None, "root", user_name(app, service)):
        return False
    return hook.phase in (*BEFORE, *ALONE) or (hook.phase not in NEVER and not has_namespace(app, service))


def check_secrets(app: App, service: Service) -> None:
    """An error at each command that names a secret which systemd does not show to it.

    Lines after that of the process cannot read credentials once the service has a mount namespace: root gets ENOENT, others EACCES, in either
    context (tried; on 257 only ExecStartPost= still can).
    """
    if not service.credentials:
        return
    variables = [item.env for item in service.credentials if item.env and item.env not in service.environment]
    for phase, hooks in service.hooks.items():
        for hook in hooks:
            name = _named(" ".join(hook.run.argv), [item for item in variables if item not in hook.environment])
            if name and not sees_secrets(app, service, hook):
                app.report.error(hook.at(), _unseen(app, service, phase, hook, name), hook.at.path)
    for what, command in (("a probe", service.health and service.health.command), ("an on_failure command", service.on_failure)):
        name = _named(" ".join(command.argv), variables) if command else ""
        if command and name and not (what == "a probe" and name == DIRECTORY and _sees_at_start(app, service)):
            cause = f"{what} cannot read {_what(name)}: it runs beside the service, and without its secrets"
            app.report.error(command.at(), cause, command.at.path)


def _sees_at_start(app: App, service: Service) -> bool:
    """The gate is a line of the service's own; liveness is not."""
    return service.health is not None and service.health.liveness is None and not has_namespace(app, service)


def _named(text: str, variables: Sequence[str]) -> str:
    """What of the secrets a command speaks of; "" for nothing. Programs of any language look for the directory, a shell for `$NAME`."""
    if DIRECTORY in text:
        return DIRECTORY
    return next((name for name in variables if re.search(rf"\$\{{?{name}(?![A-Za-z0-9_])", text)), "")


def _what(name: str) -> str:
    return "credentials" if name == DIRECTORY else f"'{name}', a credential"


def _unseen(app: App, service: Service, phase: str, hook: Hook, name: str) -> str:
    what = _what(name)
    if phase in NEVER:
        return f"a {phase} hook cannot read {what}: a build has no secrets (do it in a prestart or deploy hook)"
    if has_namespace(app, service) and phase not in (*BEFORE, *ALONE):
        return (
            f"a {phase} hook cannot read {what}: systemd shows them only to prestart and to the service itself once it has a sandbox"
            " (sandbox: off, or do it in a prestart or ready hook)"
        )
    return f"a {phase} hook of user '{hook.user}' cannot read {what}: they are for the service's own user (user: root can, too)"
