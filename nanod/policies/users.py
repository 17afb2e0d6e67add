"""Who a service runs as."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.extend import warn
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.extend import Opinion, Subject


class Root:
    """Runs as root, and nobody said so."""

    name = "root"

    def check(self, subject: Subject) -> Iterator[Opinion]:
        service, at = subject.service, subject.whole.at
        if subject.role is Role.MAIN and service.user == "root" and not service.dynamic_user and not service.at.written("user"):
            say = "say user: or dynamic_user: true (user: root keeps root and silences this)"
            yield warn(f"'{subject.whole.name}' runs as root: {say}", at())
