"""What a release is made from, and the hooks around it: what a service cannot say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nanod.phases import Context
from nanod.spec.model import Kind
from nanod.spec.tree import Place

if TYPE_CHECKING:
    from nanod.spec.model import Service
    from nanod.spec.tree import Findings

_RELEASES: Final = "/var/lib/nanod/releases"
"""A copy of what it lies in would never end."""
_DEPLOYED: Final = (Kind.HTTP, Kind.GRPC)


def check_release(findings: Findings, service: Service) -> None:
    at = service.at
    assert isinstance(at, Place)
    _deployment(findings, service, at)
    if service.source is None:
        if "build" in service.hooks:
            findings.error(at, "a build hook needs 'source', the directory that a release is made from", "hooks", "build", on_key=True)
        return
    if _is_below(_RELEASES, service.source):
        findings.error(at, f"'{service.source}' cannot be the source of a release: releases are kept below it", "source")
    for position, path in enumerate(service.volumes):
        if _is_below(path, service.source):
            findings.error(at, "a volume inside the source would be copied into each release: keep data elsewhere", "volumes", position)
    step = service.provisioning
    for position, path in enumerate(step.creates if step else ()):
        if step and _is_below(path, service.source) and isinstance(step.at, Place):
            message = "an install runs once and a release is read-only: make this in the build hook, or in a volume"
            findings.error(step.at, message, "creates", position)


def _deployment(findings: Findings, service: Service, at: Place) -> None:
    for phase in ("deploy", "post_deploy"):
        if phase in service.hooks and service.kind not in _DEPLOYED:
            message = f"'{phase}' is about requests: it is for kind http and grpc, and this one is {service.kind}"
            findings.error(at, message, "hooks", phase, on_key=True)
        for hook in service.hooks.get(phase, ()):
            if hook.context is Context.SERVICE and isinstance(hook.at, Place):
                findings.error(hook.at, f"a {phase} hook runs outside of the sandbox, where its release is read-only", "context")


def _is_below(path: str, top: str) -> bool:
    return f"{path}/".startswith(f"{top.rstrip('/')}/")
