"""Provisioning: an install step that runs once per volume and content, as a oneshot that a sentinel in the volume keeps from running again.

The unit takes no Restart= (a oneshot that will be retried fails its dependents at the first failure, tried) and no RemainAfterExit= (a deleted
sentinel would then change nothing): retries belong to the program, and the condition is looked at on each start of the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.compile.part import ENV, SLACK, App, as_user, beside, credentials, environment, identity, lib
from nanod.compile.sandbox import DEFAULT, confine
from nanod.compile.secrets import with_secrets
from nanod.units.names import SENTINEL
from nanod.units.unitset import Role
from nanod.values import TimeSpan, digest

if TYPE_CHECKING:
    from nanod.compile.members import Member
    from nanod.spec.model import Provisioning, Service
    from nanod.units.unitfile import UnitBuilder, UnitFile

_SANDBOX = DEFAULT | {"ProtectSystem": "strict", "ProtectHome": "read-only"}
"""`context: sandbox`: a temporary one of its own, in which only the volumes are writable."""

_PAUSE = TimeSpan.parse("6s")
"""What follows a try that was cut: five seconds from TERM to KILL, and one until the next."""


def provision_unit(app: App, member: Member) -> UnitFile | None:
    service, step = member.whole, member.whole.provisioning
    if step is None:
        return None
    origin = step.at()
    unit = app.builder(member.names.provision, Role.PROVISION, member)
    beside(unit, app, f"Provisioning of {service.name} of {app.names.app}", origin)
    sentinel = sentinel_path(app, service, step)
    if service.volumes:
        unit.words("Unit", "RequiresMountsFor", service.volumes[:1], service.at("volumes", 0))
    # `|`: any of these is enough to run; without it they would all have to hold (systemd.unit(5)).
    unit.raw("Unit", "ConditionPathExists", f"|!{sentinel}", origin)
    for position, path in enumerate(step.creates):
        unit.raw("Unit", "ConditionPathExists", f"|!{path}", step.at("creates", position))
    unit.raw("Service", "Type", "oneshot", origin)
    identity(unit, app, service)
    environment(unit, app, member)
    credentials(unit, service)
    if step.sandboxed:
        confine(unit, service, _SANDBOX, step.at("context"))
    _install_lines(unit, app, service, step, sentinel)
    # Waiting for the lock, every try, and the pauses between them; the program itself bounds each (a oneshot has no start timeout of its own).
    total = step.timeout + step.timeout * (step.retries + 1) + SLACK + _PAUSE * step.retries
    unit.raw("Service", "TimeoutStartSec", total, step.at("timeout"))
    return unit.finish()


def sentinel_path(app: App, service: Service, step: Provisioning) -> str:
    """Named by what makes the install the same: command, shell, creates, content of inputs; so environments share it."""
    inputs = [part for path in step.inputs for part in (path, app.target.inputs.get(path, ""))]
    name = digest(*step.install.argv, "creates", *step.creates, "inputs", *inputs)[:16]
    if service.volumes:
        return f"{service.volumes[0]}/{SENTINEL}{name}"
    return f"{app.scope.once}/{app.names.app}-{service.name}-provision-{name}"


def _install_lines(unit: UnitBuilder, app: App, service: Service, step: Provisioning, sentinel: str) -> None:
    """Everything runs as the service's user. Only a sentinel without a volume is root's, and then a line of root's own writes it."""
    volume = service.volumes[0] if service.volumes else ""
    wait = step.timeout.in_seconds if not step.timeout.is_forever else "86400"
    words = [lib(app, "provision"), sentinel, volume, wait, step.timeout.in_seconds, str(step.retries), *step.creates, "--"]
    line = [ENV, "LIFECYCLE_PHASE=install", "NANOD_HOOK=install", *words, *with_secrets(service, step.install.argv)]
    if service.dynamic_user and not step.sandboxed:
        # A dynamic user is always in a sandbox; the host's context is outside.
        unit.exec("ExecStart", [*as_user(app, service), *line], step.at("install"), prefix="+")
    else:
        unit.exec("ExecStart", line, step.at("install"))
    if not volume:
        unit.exec("ExecStartPost", [lib(app, "stamp"), sentinel], step.at("install"), prefix="+")
