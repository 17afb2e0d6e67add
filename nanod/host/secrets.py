"""Files of secrets on this host: what systemd would refuse, or everybody can read. Asked before anything is touched; no content is looked at here."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.diagnostics import Report
from nanod.host.process import run
from nanod.steps import UnitStep
from nanod.units.secrets import all_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.steps import Plan
    from nanod.units.secrets import Secret
    from nanod.units.unitfile import UnitFile
    from nanod.units.unitset import UnitSet

_LIMIT = 2**20
"""Bytes of all credentials of a unit (CREDENTIALS_TOTAL_SIZE_MAX in systemd); with more it ends with 243/CREDENTIALS."""
_HOST_KEY = "/var/lib/systemd/credential.secret"
_CREDS = "/usr/bin/systemd-creds"
_TIMEOUT = 60.0
"""Seconds; a TPM takes one or two."""


def check_secrets(wanted: UnitSet, root: str = "/") -> Report:
    """An error at each file that is no file, a warning at each that everybody can read. Missing ones are `check_host`'s."""
    report = Report()
    for secret in all_secrets(wanted.units):
        path = Path(root, secret.path.lstrip("/"))
        try:
            found = path.stat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode):
            report.error(secret.origin, f"cannot load credential '{secret.name}': {secret.path} is a directory, and a credential is one file")
        elif found.st_size > _LIMIT:
            report.error(secret.origin, f"cannot load credential '{secret.name}': {secret.path} is larger than the 1 MiB that systemd takes")
        elif not secret.is_encrypted and _is_open(path):
            mode = stat.S_IMODE(found.st_mode)
            report.warning(
                secret.origin, f"everybody on this host can read credential '{secret.name}': {secret.path} has mode {mode:04o} (chmod o-r)"
            )
    return report


def check_decrypts(plan: Plan) -> Report:
    """An error at each encrypted file of what the plan touches that this machine cannot decrypt; systemd would say so after the old process is gone.

    Only root can: for others there are no findings. The content goes nowhere.
    """
    report = Report()
    if os.geteuid() != 0 or not Path(_CREDS).exists():
        return report
    for secret in all_secrets(_touched(plan)):
        if not secret.is_encrypted:
            continue
        done = run([_CREDS, "decrypt", f"--name={secret.name}", secret.path, "-"], timeout=_TIMEOUT, is_mute=True)
        if done.status != 0:
            cause = _cause(done.err) or f"systemd-creds exited with status {done.status}"
            report.error(secret.origin, f"cannot decrypt credential '{secret.name}' from {secret.path}: {cause} ({_remedy(secret)})")
    return report


def _touched(plan: Plan) -> Iterator[UnitFile]:
    """All units of the services that it has a step for: those around a main start with it."""
    units = {step.unit for step in plan.steps if isinstance(step, UnitStep)}
    services = {item.service for item in plan.services if units.intersection(item.units)}
    names = {name for item in plan.services if item.service in services for name in item.units}
    yield from (unit for unit in (plan.wanted.units if plan.wanted else ()) if unit.name in names)


def _cause(said: str) -> str:
    """Its last line, which shows no content (tried). What it says of a file that is something else differs from version to version."""
    last = said.strip().rpartition("\n")[2].rstrip(".")
    return "it was not made by systemd-creds" if last.startswith("Failed to read encrypted credential data") else last


def _remedy(secret: Secret) -> str:
    again = f"systemd-creds encrypt --name={secret.name} PLAIN {secret.path}"
    if not Path(_HOST_KEY).exists():
        return f"this machine has no key of its own yet: 'systemd-creds setup' makes one, and then '{again}'"
    return f"it must be made on this machine and for this name: '{again}'"


def _is_open(path: Path) -> bool:
    """Whether its mode, and that of each directory on the way, lets everybody read it."""
    real = path.resolve()
    ways = all(parent.stat().st_mode & stat.S_IXOTH for parent in real.parents)
    return ways and bool(real.stat().st_mode & stat.S_IROTH)
