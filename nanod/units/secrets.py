"""Which files a unit takes secrets from. Read back from its lines, so that a generation on disk tells it as one that was just compiled does. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanod.diagnostics import Mark
    from nanod.units.unitfile import UnitFile
    from nanod.units.unitset import UnitSet

PLAIN, ENCRYPTED = "LoadCredential", "LoadCredentialEncrypted"
_FILE = re.compile(r"([^:]+):(/.*)")
_SPECIFIER = re.compile(r"%(?!%)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A file that systemd hands to a unit, as root, under a name of its own (systemd.exec(5), LoadCredential=)."""

    name: str
    path: str
    is_encrypted: bool
    origin: Mark


def secrets_of(unit: UnitFile) -> list[Secret]:
    """Those of files. What systemd itself was given (no path), or where a specifier is part of the path, is not known here."""
    found = []
    for item in unit.directives:
        line = _FILE.fullmatch(item.text) if item.section == "Service" and item.key in (PLAIN, ENCRYPTED) else None
        if line and not _SPECIFIER.search(line[2].replace("%%", "")):
            found.append(Secret(name=line[1], path=line[2].replace("%%", "%"), is_encrypted=item.key == ENCRYPTED, origin=item.origin))
    return found


def all_secrets(units: Iterable[UnitFile]) -> list[Secret]:
    """Each once, in the order of the units: those of a service are in several."""
    return list(dict.fromkeys(secret for unit in units for secret in secrets_of(unit)))


def watched_files(wanted: UnitSet) -> dict[str, set[str]]:
    """By main unit: files whose content the service has taken in once it is up, those it watches and its secrets."""
    units = {unit.name: unit for unit in wanted.units}
    return {
        service.main: {*service.reload_on, *service.restart_on, *(secret.path for secret in secrets_of(units[service.main]))}
        for service in wanted.services
    }
