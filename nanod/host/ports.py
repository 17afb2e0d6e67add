"""Who listens where on this host: asked before a socket of ours is opened, so that a port that is taken is told of in time, and by whom.

From /proc/net and /proc/PID/fd (proc(5)); root sees every process. A port in TIME_WAIT is free: PID 1 sets SO_REUSEADDR.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.diagnostics import Report
from nanod.host.process import run

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from nanod.scope import RuntimeScope
    from nanod.state import Manifest, Snapshot
    from nanod.units.unitfile import Directive
    from nanod.units.unitset import UnitSet

_LISTEN = "0A"
"""TCP_LISTEN in the `st` column (include/net/tcp_states.h)."""
_ACCEPTING = "00010000"
"""Flag of a unix socket that listens (__SO_ACCEPTCON)."""
_UNIT = re.compile(r"/([^/\n]+\.(?:service|scope))(?=/|$)", re.MULTILINE)
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """An address that somebody listens at, or is to; `host` None for a path."""

    host: IPv4Address | IPv6Address | None
    port: int = 0
    path: str = ""

    def meets(self, other: Place) -> bool:
        """Whether both cannot be. An IPv6 socket at all addresses takes those of IPv4, too (net.ipv6.bindv6only)."""
        if self.host is None or other.host is None:
            return self == other
        return self.port == other.port and (self.host == other.host or _is_every(self.host, other.host) or _is_every(other.host, self.host))


def _is_every(host: IPv4Address | IPv6Address, other: IPv4Address | IPv6Address) -> bool:
    return host.is_unspecified and (host.version == 6 or other.version == 4)


@dataclass(frozen=True, slots=True)
class Holder:
    pid: int
    name: str
    unit: str
    cgroup: str = ""

    def manages(self, scope: RuntimeScope) -> bool:
        """Whether it is the manager that is meant; a user's is in the `init.scope` of its own service (systemd.special(7))."""
        return self.cgroup.endswith(f"/user@{scope.uid}.service/init.scope") if scope.is_user else self.pid == 1


def check_ports(wanted: UnitSet, manifest: Manifest | None, seen: Snapshot) -> Report:
    """An error at each address that somebody else has. What an open socket of the app has is not asked for, and its units give up theirs.

    Raises NanodError when systemctl is missing.
    """
    report, ours = Report(), {*(unit.name for unit in wanted.units), *(manifest.units if manifest else ())}
    there: list[tuple[Place, int]] | None = None
    for unit, item in _wanted(wanted, seen):
        there = list(_listening()) if there is None else there
        place = place_of(item.text.replace("%%", "%"))
        inodes = {inode for other, inode in there if place.meets(other)}
        holders = [holder for holder in _holders(inodes) if holder.unit not in ours] if inodes else []
        # Of the manager it is a socket unit that listens; the processes that it hands the descriptors to are no news.
        others = [holder for holder in holders if not holder.manages(seen.scope)]
        units = [name for name in _sockets_at(place, seen.scope) if name not in ours] if others != holders else []
        words = units or [f"{holder.unit or 'process'} ({holder.name}, pid {holder.pid})" for holder in others]
        if words:
            report.error(item.origin, f"cannot open {item.text} for {unit}: {words[0]} listens there")
    return report


def _wanted(wanted: UnitSet, seen: Snapshot) -> Iterator[tuple[str, Directive]]:
    """Addresses that are to be opened, each with its socket unit."""
    for unit in wanted.units:
        state = seen.units.get(unit.name)
        open_now = seen.files.get(unit.name, "").splitlines() if state and state.is_up else []
        for item in unit.directives:
            if (item.section, item.key) == ("Socket", "ListenStream") and f"ListenStream={item.text}" not in open_now:
                yield unit.name, item


def place_of(text: str) -> Place:
    """Of a ListenStream= value; a port alone is one at all addresses, IPv6 and IPv4 (systemd.socket(5))."""
    if text.startswith("/"):
        return Place(None, path=text)
    host, _, port = text.rpartition(":")
    return Place(ip_address(host.strip("[]").partition("%")[0] if host else "::"), int(port))


def _listening() -> Iterator[tuple[Place, int]]:
    """Every place with the inode of its socket."""
    for name, decode in (("tcp", _ipv4), ("tcp6", _ipv6)):
        for line in _lines(f"/proc/net/{name}"):
            words = line.split()
            if words[3] == _LISTEN:
                host, _, port = words[1].partition(":")
                yield Place(decode(host), int(port, 16)), int(words[9])
    for line in _lines("/proc/net/unix"):
        words = line.split(maxsplit=7)
        if len(words) == 8 and words[3] == _ACCEPTING:
            yield Place(None, path=words[7]), int(words[6])


def _lines(path: str) -> list[str]:
    with suppress(FileNotFoundError):  # a kernel without IPv6
        return Path(path).read_text().splitlines()[1:]
    return []


def _ipv4(text: str) -> IPv4Address:
    """The kernel writes words in the order of bytes of the machine."""
    return IPv4Address(int(text, 16).to_bytes(4, sys.byteorder))


def _ipv6(text: str) -> IPv6Address:
    return IPv6Address(b"".join(int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, 32, 8)))


def _holders(inodes: Container[int]) -> Iterator[Holder]:
    """Processes that have one of these sockets; one that ends meanwhile has none."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(_inode(link) in inodes for link in (path / "fd").iterdir()):
                cgroup = (path / "cgroup").read_text().rstrip()
                found = _UNIT.findall(cgroup)
                yield Holder(pid=int(path.name), name=(path / "comm").read_text().strip(), unit=found[-1] if found else "", cgroup=cgroup)


def _inode(link: Path) -> int:
    found = re.fullmatch(r"socket:\[([0-9]+)\]", str(link.readlink()))
    return int(found[1]) if found else 0


def _sockets_at(place: Place, scope: RuntimeScope) -> Iterator[str]:
    """Socket units of that manager that listen there."""
    for line in run(["systemctl", *scope.words, "list-sockets", "--no-legend", "--full", "--plain"], timeout=_SECONDS).out.splitlines():
        words = line.split()
        with suppress(ValueError, IndexError):  # a netlink group, a special file
            if place.meets(place_of(words[0])):
                yield words[1]
