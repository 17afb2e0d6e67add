"""Secrets where every user of the host can read them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nanod.extend import warn
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.extend import Opinion, Subject

_SECRET = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|PRIVATE_?KEY|API_?KEY)S?$", re.IGNORECASE)
"""Ends of names of what holds a secret itself, and not the path of one (`…_FILE`)."""
_IN_ADDRESS = re.compile(r"^[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE)
"""An address with a password in it: `postgres://shop:secret@db/shop`."""
Keys = tuple[str | int, ...]


class PlainSecret:
    """A variable or a setting that looks like a secret."""

    name = "plain-secret"

    def check(self, subject: Subject) -> Iterator[Opinion]:
        service = subject.service
        if subject.role in (Role.MAIN, Role.PRESTART_TASK, Role.POSTSTART_TASK, Role.POSTSTOP_TASK, Role.PRESTART_SIDECAR, Role.POSTSTART_SIDECAR):
            for name, value in service.environment.items():
                if value and (_SECRET.search(name) or _IN_ADDRESS.match(value)):
                    how = f"credentials: with env: {name} gives it to the service alone"
                    yield warn(f"every user of the host can read {name} (`systemctl show`): {how}", service.at("environment", name))
        if subject.role is Role.SETTINGS:
            for keys in _secrets(subject.whole.settings, ()):
                path = ".".join(map(str, keys))
                how = "credentials: gives the service a file that it alone can read"
                yield warn(f"every user of the host can read the setting {path}: {how}", subject.whole.at("settings", *keys))


def _secrets(value: object, keys: Keys) -> Iterator[Keys]:
    """Where text stands that looks like one. A number is a limit (`max_token`), a truth says that there is one."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets(item, (*keys, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _secrets(item, (*keys, position))
    elif isinstance(value, str) and value:
        named = next((key for key in reversed(keys) if isinstance(key, str)), "")
        if _SECRET.search(named) or _IN_ADDRESS.match(value):
            yield keys
