"""systemctl, for the one moment when there is no D-Bus and nothing to wait for: early boot. Everything else talks to PID 1 itself."""

from __future__ import annotations

from nanod.errors import NanodError
from nanod.host.process import run

_SECONDS = 60
"""Of one call; nanod-recover.service has 90 in all."""


class Systemctl:
    def daemon_reload(self) -> None:
        _systemctl("reload unit files", "daemon-reload")

    def start_no_block(self, unit: str) -> None:
        _systemctl(f"start {unit}", "--no-block", "start", unit)

    def has_job(self, unit: str) -> bool:
        """Queued or running."""
        return _systemctl(f"look at {unit}", "show", "--property=Job", "--value", unit).strip() not in ("", "0")


def _systemctl(action: str, *argv: str) -> str:
    done = run(["systemctl", *argv], timeout=_SECONDS)
    if done.status:
        raise NanodError(f"cannot {action}: {done.err.strip() or f'systemctl exited with status {done.status}'}")
    return done.out
