"""What a service needs that others send requests to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.extend import warn
from nanod.spec.model import Kind
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.extend import Opinion, Subject

_WEB = (Kind.HTTP, Kind.GRPC)


class NoHealth:
    """kind: http or grpc, and nothing says when it takes requests."""

    name = "no-health"

    def check(self, subject: Subject) -> Iterator[Opinion]:
        service = subject.service
        if subject.role is Role.MAIN and service.kind in _WEB and service.health is None:
            message = f"nothing says when '{subject.whole.name}' takes requests, so apply and whoever requires it do not wait: ports: or health:"
            yield warn(message, service.at("kind"))


class NoPrestop:
    """Several instances of kind http or grpc, and each is stopped while requests still come to it."""

    name = "no-prestop"

    def check(self, subject: Subject) -> Iterator[Opinion]:
        service, whole = subject.service, subject.whole
        if subject.role is Role.MAIN and service.kind in _WEB and (whole.replicas or 1) > 1 and not self._steps_back(subject):
            message = f"an instance of '{whole.name}' that stops still gets requests: stop: {{drain: 5s}}, or a prestop hook that takes it out"
            yield warn(message, whole.at("replicas"))

    def _steps_back(self, subject: Subject) -> bool:
        return bool(subject.service.stop.drain.usec or "prestop" in subject.service.hooks or "prestop" in subject.whole.hooks)
