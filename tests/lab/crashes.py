"""An app whose changes take every kind of step, what a host looks like between two commands, and how a command is cut off in the middle.

The two versions of the app are called old and new; each hook writes down of which version it is. Three things make a crash show:

    seen(app)       bytes of unit files, links, generations, running units with pid and invocation, stamps, left-overs
    in_order(app)   the log of the hooks: whatever ran was stopped by the hooks of the very file that started it
    cut(app, …)     a nanod command that is killed at a fault point, or while it makes a system call
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nanod.host.atomic import TEMPORARY
from tests.lab.steps import MAIN, STEP, App, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nanod.host.process import Completed

UNITS = "/etc/systemd/system"
STATE = "/var/lib/nanod"
ALL = os.environ.get("NANOD_CRASHES") == "all"
"""Every point everywhere, for an hour and more."""
KILLED = (-9, 137)
"""What nsenter(1) hands on of a SIGKILL, and what a shell makes of it."""


def service(version: str, *requires: str, hooks: Sequence[str] = ("prestart", "prestop", "poststop"), **keys: Any) -> dict[str, Any]:
    """One that runs until it is told to stop, and whose hooks say which version they are of."""
    return {
        "command": [MAIN],
        "user": "root",
        "restart": {"policy": "no"},
        "settle": "0s",
        "stop": {"timeout": "10s"},
        "requires": list(requires),
        "hooks": {hook: f"{STEP} {hook}-{version}" for hook in hooks},
    } | keys


def quiet(*requires: str, **keys: Any) -> dict[str, Any]:
    """One without hooks, for what is about its unit alone."""
    return service("", *requires, hooks=()) | {"command": ["/bin/sleep", "infinity"]} | keys


def versions(app: App) -> tuple[dict[str, Any], dict[str, Any]]:
    """Old and new: one service as it was, one that needs no restart, two that restart together, one whose stop hooks change and that gets
    deploy-scoped hooks, one that goes, and one that comes, with a volume.
    """
    hooked = service("new")
    hooked["hooks"]["prestart"] = [{"run": f"{STEP} deploy-new", "scope": "deploy"}, f"{STEP} prestart-new"]
    old = {"keeps": quiet(), "limits": quiet(), "first": quiet(), "second": quiet("first"), "hooked": service("old"), "goes": service("old", "keeps")}
    new = {
        "keeps": quiet(),
        "limits": quiet(resources={"memory_max": "512M"}),
        "first": quiet(environment={"A": "1"}),
        "second": quiet("first", environment={"A": "1"}),
        "hooked": hooked,
        "comes": service("new", "keeps", volume=f"/srv/{app.name}-comes"),
    }
    return old, new


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A host between two commands, as far as one app goes."""

    files: dict[str, bytes]
    """Unit files and links, with content or target."""
    current: str
    generations: frozenset[str]
    active: dict[str, str]
    """Units that PID 1 knows, with their state; those of the app alone."""
    runs: dict[str, str]
    """Main units that run: pid and invocation."""
    stale: tuple[str, ...]
    """Units of which PID 1 has another definition than the disk."""
    stamps: frozenset[str]
    volumes: frozenset[str]
    left: tuple[str, ...]
    """Temporary files, and intents."""

    def same(self) -> Seen:
        """Without what differs between two hosts that are in the same state."""
        return replace(self, current="", generations=frozenset(), runs={})


def seen(app: App) -> Seen:
    root, mine = app.machine.path(UNITS), app.machine.path(f"{STATE}/apps/{app.name}")
    found = [path for path in root.rglob("*") if app.name in path.name and not path.is_dir()]
    units = list(_units(app))
    current = mine / "current"
    once = app.machine.path(f"{STATE}/once")
    return Seen(
        files={path.relative_to(root).as_posix(): _content(path) for path in found},
        current=current.readlink().name if current.is_symlink() else "",
        generations=frozenset(path.name for path in mine.glob("generations/*")),
        active={unit["Id"]: unit["ActiveState"] for unit in units if unit["ActiveState"] != "inactive"},
        runs={unit["Id"]: f"{unit['MainPID']} {unit['InvocationID']}" for unit in units if unit.get("MainPID", "0") != "0"},
        stale=tuple(unit["Id"] for unit in units if unit["NeedDaemonReload"] == "yes"),
        stamps=frozenset(path.name for path in once.iterdir() if app.name in path.read_text()) if once.is_dir() else frozenset(),
        volumes=frozenset(path.name for path in app.machine.path("/srv").glob(f"{app.name}-*")),
        left=tuple(_left(app)),
    )


def rested(app: App) -> Seen:
    """What is seen once nothing of it starts or stops any more: a post_deploy hook goes on when the app is up."""
    until(lambda: not {"activating", "deactivating"} & set(seen(app).active.values()), "all of it at rest")
    return seen(app)


def _content(path: Path) -> bytes:
    return f"-> {path.readlink()}".encode() if path.is_symlink() else path.read_bytes()


def _units(app: App) -> Iterator[dict[str, str]]:
    keys = "--property=Id,ActiveState,MainPID,InvocationID,NeedDaemonReload"
    for block in app.systemctl("show", keys, f"{app.name}-*", f"{app.name}.target").split("\n\n"):
        unit = dict(line.partition("=")[::2] for line in block.splitlines())
        if unit.get("Id"):
            yield unit


def _left(app: App) -> Iterator[str]:
    for place in (UNITS, STATE):
        for path in app.machine.path(place).rglob("*"):
            if path.name.startswith((TEMPORARY, ".nanod-")) or path.name == "intent.json":
                yield path.name


_RUN = r"prestart-(\w+) (?:main )?(?:prestop-\1 )?(?:signal )?poststop-\1 "
_IN_ORDER = re.compile(rf"(?:(?:prestop-\w+ )?(?:signal )?poststop-\w+ )?(?:{_RUN})*(?:prestart-\w+ (?:main )?)?")
"""The log may begin and end in the middle of a run."""


def in_order(app: App) -> None:
    """Of each service: every run ended before the next began, and by the stop hooks of the file that it began with."""
    lines = [line.split() for line in app.steps()]
    for name in sorted({service for _, service in lines}):
        words = "".join(f"{word} " for word, service in lines if service == name and not word.startswith("deploy"))
        assert _IN_ORDER.fullmatch(words), f"{name}: {words}"


def points(done: Completed) -> list[str]:
    """Fault points that a command reached under NANOD_FAULT=list, as `renamed@2`."""
    return re.findall(r"^fault point (\S+)$", done.err, re.MULTILINE)


def cut(app: App, point: str, *argv: str, action: str = "kill") -> bool:
    """Run nanod, and kill it at `point`; False when it does not come there."""
    done = app.machine.run(["nanod", *argv], env={"NANOD_FAULT": f"{point}:{action}"}, timeout=120)
    assert "Traceback" not in done.err, done.err
    assert done.status in (*KILLED, 0, 4), f"{argv} at {point}: {done.status}\n{done.out}\n{done.err}"
    return done.status in KILLED


def listed(app: App, *argv: str) -> list[str]:
    """The points that nanod comes through with these words, in order; it is not broken off."""
    done = app.machine.run(["nanod", *argv], env={"NANOD_FAULT": "list"}, timeout=120)
    assert done.status == 0, f"{argv}: {done.status}\n{done.out}\n{done.err}"
    return points(done)


def chosen(points: Sequence[str]) -> list[str]:
    """Each point once; of the renames the first, the last, and every third. All with NANOD_CRASHES=all."""
    names = [point for point in dict.fromkeys(points) if point.startswith("renamed")]
    return [point for point in dict.fromkeys(points) if ALL or point not in names or point == names[-1] or names.index(point) % 3 == 0]


def sample(points: Sequence[str]) -> list[str]:
    """Some, from the first to the last: for the second systemd, where the first one has the chosen ones. All with NANOD_CRASHES=all."""
    return chosen(points) if ALL else [point for point in points if point.endswith("@1")][::4]
