"""A cgroup of its own for each machine.

systemd-nspawn --keep-unit shares its caller's cgroup: of two machines in one cgroup, each kills the other's services.
So each machine lives below a directory `nanod-rehearse-NAMESPACE-PID-START` named after its keeper; one whose keeper is gone is stale.
Below it, as cgroup v2 forbids processes in inner nodes (man 7 cgroups, "no internal processes"):

    first/      the first process of the machine's namespaces
    machine/    systemd-nspawn puts itself into machine/supervisor and systemd into machine/payload
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.errors import NanodError
from nanod.rehearse import mounts

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = "nanod-rehearse-"


def locate(mounted: Iterable[mounts.Mount], membership: str) -> Path:
    """The directory of the cgroup v2 that a process with this /proc/PID/cgroup text is in.

    On a hybrid layout the v2 tree is mounted beside the v1 controllers. In a container, the mount may show a part of the tree.
    """
    shown = [mount for mount in mounted if mount.kind == "cgroup2"]
    if not shown:
        raise NanodError("cannot rehearse: no cgroup v2 is mounted", hint="mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
    mount = shown[-1]  # the newest one may hide the others
    line = next((line for line in membership.splitlines() if line.startswith("0::")), "0::/")
    path = Path(line.removeprefix("0::"))
    return mount.point / path.relative_to(mount.root) if path.is_relative_to(mount.root) else mount.point


def own() -> Path:
    """The cgroup this process is in."""
    return locate(mounts.read(), Path("/proc/self/cgroup").read_text(encoding="ascii"))


def create() -> Path:
    """A new cgroup, named after this process, below the one this process is in."""
    parent = own()
    path = parent / f"{PREFIX}{_namespace()}-{os.getpid()}-{_started(os.getpid())}"
    try:
        path.mkdir()
        for leaf in ("first", "machine"):
            (path / leaf).mkdir()
    except OSError as refused:
        raise NanodError(
            f"cannot rehearse: cannot make the cgroup {path}: {refused.strerror}",
            hint="a container needs its cgroup file system writable",
        ) from refused
    for node in (parent, path):
        _delegate(node)
    return path


def enter(path: Path) -> list[str]:
    """The words before a command that is to run in this cgroup."""
    return ["/bin/sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', str(path)]


def kill(path: Path) -> None:
    """Kill all that is in the machine, at once, as a power cut does (Linux 5.14)."""
    (path / "machine/cgroup.kill").write_text("1", encoding="ascii")


def remove(path: Path, *, patience: float = 5.0) -> None:
    """Remove a cgroup and all below it, waiting up to `patience` seconds for processes that were killed to go."""
    deadline = time.monotonic() + patience
    while not _remove_once(path) and time.monotonic() < deadline:
        time.sleep(0.01)


def stale() -> list[Path]:
    """The cgroups of keepers that are gone. Another PID namespace may share the cgroup, and its PIDs mean nothing here."""
    found = []
    for path in own().glob(f"{PREFIX}{_namespace()}-*"):
        pid, started = path.name.split("-")[-2:]
        if _started(int(pid)) != started:
            found.append(path)
    return found


def sweep() -> None:
    """Remove what keepers left that were killed; their processes were killed with them, and may still be on their way out."""
    for path in stale():
        remove(path, patience=1.0)


def leader(path: Path) -> int | None:
    """The PID, as seen from here, of the systemd that runs in the machine with this cgroup."""
    payload = path / "machine/payload"
    for procs in (payload / "init.scope/cgroup.procs", payload / "cgroup.procs"):
        for pid in _lines(procs):
            if _lines(Path(f"/proc/{pid}/status"), "NSpid:")[-1:] == ["1"]:
                return int(pid)
    return None


def first(path: Path) -> int | None:
    """The PID, as seen from here, of the first process of the machine's namespaces."""
    for pid in _lines(path / "first/cgroup.procs"):
        if _lines(Path(f"/proc/{pid}/status"), "NSpid:")[1:] == ["1"]:
            return int(pid)
    return None


def _lines(path: Path, start: str = "") -> list[str]:
    """The words of those lines of a kernel file that begin with `start`, without it; none when the file is gone."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [word for line in text.splitlines() if line.startswith(start) for word in line.removeprefix(start).split()]


def _remove_once(path: Path) -> bool:
    gone = True
    for directory, _, _ in os.walk(path, topdown=False):
        try:
            Path(directory).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            gone = False
    return gone


def _delegate(node: Path) -> None:
    """Pass on what controllers there are. A node with processes of its own, other than the root, cannot: then there are none."""
    for controller in _lines(node / "cgroup.controllers"):
        try:
            (node / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
        except OSError:
            continue


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _started(pid: int) -> str:
    """When the process started, in clock ticks since the boot (fields 3 and 22 of /proc/PID/stat); "" when it is gone, or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]
