"""What `doctor` and `status` look at on this host, and nothing else asks. Looks and never acts."""

from __future__ import annotations

import os
from pathlib import Path

from nanod.host.snapshot import LOAD_PATH

_LOCK = "/run/nanod/lock"


def is_locked() -> bool:
    """Whether a nanod is at work: somebody holds the host's lock. Read from /proc/locks (proc(5)), so that looking never takes it."""
    try:
        lock = Path(_LOCK).stat()
        held = Path("/proc/locks").read_text()
    except OSError:
        return False
    name = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    # A waiting one is marked by an arrow: `2: -> FLOCK …`.
    return any(words[1] == "FLOCK" and words[-3] == name for line in held.splitlines() if len(words := line.split()) > 4)


def drop_ins(unit: str) -> list[str]:
    """Drop-ins of the administrator in the unit's own directories (systemd.unit(5))."""
    found = (path for place in LOAD_PATH for path in Path(place, f"{unit}.d").glob("*.conf"))
    return sorted({str(path) for path in found if not str(path).startswith(("/lib/", "/usr/lib/"))})
