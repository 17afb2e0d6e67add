"""What is mounted: /proc/self/mountinfo as values (man 5 proc_pid_mountinfo); and mounting."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nanod.errors import NanodError
from nanod.host import process


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount: `root` is the directory of the file system that shows at `point`."""

    root: Path
    point: Path
    kind: str


def parse(text: str) -> tuple[Mount, ...]:
    """All mounts of a mountinfo text, in mount order."""
    return tuple(_mount(line) for line in text.splitlines())


def read() -> tuple[Mount, ...]:
    return parse(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))


def add(*words: str) -> None:
    """Run mount(8). Raises NanodError when it fails."""
    done = process.run(["mount", *words])
    if done.status:
        raise NanodError(f"cannot rehearse: {done.err.strip()}", hint="it needs root with CAP_SYS_ADMIN, and overlayfs in the kernel")


def _mount(line: str) -> Mount:
    # Optional fields come between the mount options and a lone dash.
    before, _, after = line.partition(" - ")
    fields = before.split(" ")
    return Mount(root=_path(fields[3]), point=_path(fields[4]), kind=after.split(" ", 1)[0])


def _path(field: str) -> Path:
    # The kernel writes blank, tab, newline and backslash as three octal digits.
    return Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field))
