"""A policy: in production, whoever is called at night can read what a service is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.extend import Opinion, Subject, refuse, warn
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Iterator


class Described:
    name = "described"

    def check(self, subject: Subject) -> Iterator[Opinion]:
        service = subject.whole
        if subject.role is Role.MAIN and not service.description:
            say = refuse if subject.env == "production" else warn
            yield say(f"'{service.name}' has no description", service.at())
