"""What is wrong with a host for nanod, judged from facts that somebody else has gathered. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from nanod.across import unmet
from nanod.drift import DriftKind
from nanod.units.directives import OLDEST
from nanod.units.unitfile import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nanod.checked import AppFacts, HostFacts, Place
    from nanod.drift import Drift
    from nanod.state import Manifest


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    """Good to know; also what could not be seen."""
    WARNING = "warning"
    """Works, and will not in some case."""
    ERROR = "error"
    """Something that nanod or an app of it needs does not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`id` is stable: programs may look for it. `app` is "" for the host itself; `is_known` is False for what could not be seen."""

    id: str
    level: Level
    text: str
    remedy: str = ""
    subject: str = ""
    app: str = ""
    is_known: bool = True


_CONTROLLERS = {
    "memory": ("MemoryMax", "MemoryHigh"),
    "cpu": ("CPUQuota", "CPUWeight"),
    "pids": ("TasksMax",),
    "io": ("IOWeight",),
}
"""Controllers of cgroup v2, and the directives that do nothing without them."""
_GOOD_ENDS = frozenset({"healthy", "recovered", "removed"})
_ROOT = "run it as root"


def examine(host: HostFacts, apps: Sequence[AppFacts]) -> tuple[Finding, ...]:
    """The host first, then its apps in the order given, then what one lacks of another."""
    return (*_host(host), *(finding for app in apps for finding in _app(app, host)), *_unmet({app.app: app.manifest for app in apps if app.manifest}))


def _unmet(apps: Mapping[str, Manifest]) -> Iterator[Finding]:
    for lost in unmet(apps):
        text, remedy = f"{lost.who} requires {lost.what}, and {lost.problem}", "bring that back, or let the spec do without it"
        yield Finding(id="unmet", level=Level.ERROR, text=text, remedy=remedy, subject=lost.what, app=lost.app)


def worst(findings: Sequence[Finding]) -> Level:
    ranks = list(Level)
    return max((item.level for item in findings), key=ranks.index, default=Level.OK)


def _host(host: HostFacts) -> Iterator[Finding]:
    yield from _systemd(host)
    yield from _kernel(host)
    yield from _dynamic_users(host)
    yield from (_place(place, host.owner) for place in host.places)
    yield from _programs(host)
    yield from _journal(host)
    yield from _recover(host)
    yield from _leftovers(host)


def _systemd(host: HostFacts) -> Iterator[Finding]:
    if host.is_systemd:
        yield Finding(id="pid1", level=Level.OK, text="systemd is PID 1")
    else:
        remedy = "'nanod rehearse SPEC' applies a spec to a throw-away systemd"
        yield Finding(id="pid1", level=Level.ERROR, text=f"PID 1 of this machine is {host.pid1 or 'unknown'}, and not systemd", remedy=remedy)
    if host.version is None:
        yield Finding(id="systemd-version", level=Level.ERROR, text="systemd is not installed", remedy="apt install systemd")
    elif host.version < OLDEST:
        text = f"systemd {host.version} is too old: nanod needs {OLDEST} or newer"
        yield Finding(id="systemd-version", level=Level.ERROR, text=text, remedy="use Debian 12, or what is as new")
    else:
        yield Finding(id="systemd-version", level=Level.OK, text=f"systemd {host.version}")
    if not host.is_systemd:
        return
    how = "its private socket" if host.is_root else "the system bus"
    if host.manager:
        remedy = "'systemctl daemon-reexec' brings its socket back" if host.is_root else "start dbus, or run it as root"
        remedy = "loginctl enable-linger" if host.owner else remedy
        yield Finding(id="manager", level=Level.ERROR, text=f"{host.whose} does not answer on {how}: {host.manager}", remedy=remedy)
    else:
        yield Finding(id="manager", level=Level.OK, text=f"{host.whose} answers on {how}")
    if not host.lingers:
        text = f"{host.whose} runs only while {host.owner} is logged in, and the apps with it"
        yield Finding(id="linger", level=Level.NOTE, text=text, remedy="loginctl enable-linger")
    if host.bus:
        text = f"the system bus takes no connections ({host.bus}): only root can look at apps, and busctl and polkit do not work"
        yield Finding(id="bus", level=Level.WARNING, text=text, remedy="apt install dbus; systemctl start dbus.socket")
    else:
        yield Finding(id="bus", level=Level.OK, text="the system bus takes connections")


def _kernel(host: HostFacts) -> Iterator[Finding]:
    free = host.run_free // 2**20
    if host.run_free < host.run_needed:
        text = f"/run has {free} MiB free, and systemd reloads unit files only with {host.run_needed // 2**20} MiB or more"
        yield Finding(id="run-space", level=Level.ERROR, text=text, remedy="free some space there; 'journalctl --relinquish-var' may help")
    else:
        yield Finding(id="run-space", level=Level.OK, text=f"/run has {free} MiB free")
    if host.controllers is None:
        text = "no cgroup v2 at /sys/fs/cgroup: limits may not hold, and what ignores its signal may outlive its unit"
        yield Finding(id="cgroup", level=Level.WARNING, text=text, remedy="boot with systemd.unified_cgroup_hierarchy=1")
        return
    yield Finding(id="cgroup", level=Level.OK, text="cgroup v2")
    for name, keys in _CONTROLLERS.items():
        if name in host.controllers:
            yield Finding(id=f"controller-{name}", level=Level.OK, text=f"controller {name}", subject=name)
            continue
        users = _units_with(host, *keys)
        level = Level.WARNING if users else Level.NOTE
        text = f"no controller {name}: {' and '.join(f'{key}=' for key in keys)} do nothing{_used_by(users)}"
        remedy = "a container gets it from its host (Delegate=), a machine from its kernel"
        yield Finding(id=f"controller-{name}", level=level, text=text, remedy=remedy, subject=name)


def _units_with(host: HostFacts, *keys: str) -> list[str]:
    return sorted(name for name, text in host.texts.items() if any(key in keys for _, key, _ in parse(text)))


def _used_by(units: Sequence[str]) -> str:
    more = f" and {len(units) - 1} more" if len(units) > 1 else ""
    return f", and {units[0]}{more} asks for it" if units else ""


def _dynamic_users(host: HostFacts) -> Iterator[Finding]:
    if not host.nss:
        yield Finding(id="nss-systemd", level=Level.OK, text="names of dynamic users resolve (libnss-systemd)")
        return
    users = _units_with(host, "DynamicUser")
    text = f"names of dynamic users do not resolve: {host.nss}{_used_by(users)}"
    level = Level.WARNING if users else Level.NOTE
    yield Finding(id="nss-systemd", level=level, text=text, remedy="apt install libnss-systemd")


def _place(place: Place, owner: str) -> Finding:
    if not place.is_there:
        level, text, remedy = Level.NOTE, f"{place.path} is not there yet: the first apply makes it", ""
    elif place.unsafe:
        level, text = Level.ERROR, f"others than root could change {place.path}: {place.unsafe}"
        remedy = "chown root, and chmod go-w, what is named"
    elif not place.is_writable:
        level, text, remedy = Level.ERROR, f"{place.path} is on a read-only file system", "remount it read-write"
    else:
        level, text, remedy = Level.OK, f"{place.path} is there, and writable" if owner else f"{place.path} is root's alone", ""
    return Finding(id="directory", level=level, text=text, remedy=remedy, subject=place.path)


def _programs(host: HostFacts) -> Iterator[Finding]:
    for path, package in host.missing:
        text = f"{path} is missing, and nanod's units run it"
        yield Finding(id="program", level=Level.ERROR, text=text, remedy=f"apt install --reinstall {package}", subject=path)
    if not host.missing:
        yield Finding(id="program", level=Level.OK, text="every program that nanod's units run is there")
    if host.has_interpreter:
        yield Finding(id="interpreter", level=Level.OK, text=f"{host.interpreter}, which probes health, is there", subject=host.interpreter)
    else:
        text = f"{host.interpreter} is missing: health is not probed, and every service counts as healthy once it runs"
        yield Finding(id="interpreter", level=Level.ERROR, text=text, remedy="apt install --reinstall python3-minimal", subject=host.interpreter)
    broken = {name: problem for name, problem in host.lib.items() if problem != "of another version"}
    for name, problem in broken.items():
        text = f"nanod's program '{name}' is {problem}, and units run it"
        yield Finding(id="lib", level=Level.ERROR, text=text, remedy="apply any app: that puts it back", subject=name)
    if other := sorted(host.lib.keys() - broken.keys()):
        text = f"programs that units run are of another version, or edited: {', '.join(other)}"
        yield Finding(id="lib", level=Level.NOTE, text=text, remedy="apply any app: that renews them")


def _journal(host: HostFacts) -> Iterator[Finding]:
    if host.journald not in ("", "active"):
        text = f"systemd-journald is {host.journald}: results of hooks are not recorded, and status shows none"
        yield Finding(id="journald", level=Level.WARNING, text=text, remedy="systemctl start systemd-journald.socket systemd-journald")
    elif host.journald:
        yield Finding(id="journald", level=Level.OK, text="systemd-journald runs")
    if not host.has_persistent_journal:
        text = "the journal is kept in memory: after a reboot status knows nothing of hooks that ran before"
        yield Finding(id="journal-persistent", level=Level.NOTE, text=text, remedy="mkdir /var/log/journal; systemctl restart systemd-journald")
    if not host.can_read_journal:
        text = "the journal of the system is not readable to this user: status shows no hooks"
        yield Finding(id="journal-readable", level=Level.NOTE, text=text, remedy=f"{_ROOT}, or as a member of systemd-journal", is_known=False)


def _recover(host: HostFacts) -> Iterator[Finding]:
    if not host.recover:
        return
    if host.recover in ("enabled", "enabled-runtime", "static", "indirect"):
        yield Finding(id="recover", level=Level.OK, text="nanod-recover.service finishes at boot what a power cut interrupts")
        return
    text = f"nanod-recover.service is {host.recover}: what a power cut interrupts waits for the next nanod command"
    remedy = "systemctl enable nanod-recover.service" if host.recover != "not-found" else "install nanod's package"
    yield Finding(id="recover", level=Level.WARNING if host.texts else Level.NOTE, text=text, remedy=remedy)


def _leftovers(host: HostFacts) -> Iterator[Finding]:
    for path in () if host.is_locked else host.leftovers:
        text = f"{path} is a temporary file of a nanod that was killed"
        yield Finding(id="leftover", level=Level.NOTE, text=text, remedy="the next apply deletes it", subject=path)
    for path in host.dangling:
        yield Finding(id="dangling-link", level=Level.WARNING, text=f"{path} leads nowhere", remedy=f"rm {path}", subject=path)
    for unit, app in host.orphans:
        text = f"{unit} is of app {app}, of which nothing is on record"
        remedy = f"nanod remove {app}, or apply its spec again"
        yield Finding(id="orphan", level=Level.WARNING, text=text, remedy=remedy, subject=unit)


def _app(app: AppFacts, host: HostFacts) -> Iterator[Finding]:
    found = [*_records(app), *_transaction(app), *_files(app, host), *_spec(app), *_health(app)]
    if app.can_see and not any(item.level in (Level.WARNING, Level.ERROR) for item in found):
        found.insert(0, Finding(id="app", level=Level.OK, text="is as nanod left it", app=app.app))
    yield from found


def _records(app: AppFacts) -> Iterator[Finding]:
    name = app.app
    if not app.can_see:
        yield Finding(id="records", level=Level.NOTE, text="unknown: its records are readable to root alone", remedy=_ROOT, app=name, is_known=False)
        return
    if not app.is_in_force:
        text = "its record cannot be read: what its unit files say is taken instead"
        yield Finding(id="record-torn", level=Level.ERROR, text=text, remedy=f"{app.again or 'an apply of its spec'} makes a new one", app=name)
    for text in app.records:
        yield Finding(id="record-unreadable", level=Level.NOTE, text=text, remedy="the next apply sets it aside", app=name)
    for number in () if app.intent or app.is_under_way else app.uncommitted:
        text = f"generation {number} was staged and never came into force"
        yield Finding(id="uncommitted", level=Level.NOTE, text=text, remedy="the next apply deletes it", subject=str(number), app=name)
    for path in app.aside:
        text = f"{path} was set aside because it could not be read"
        yield Finding(id="set-aside", level=Level.NOTE, text=text, remedy=f"rm -r {path}", subject=path, app=name)


def _transaction(app: AppFacts) -> Iterator[Finding]:
    if app.intent and not app.is_under_way:
        text = f"{app.intent.action} begun {app.intent.at} did not end"
        yield Finding(id="interrupted", level=Level.ERROR, text=text, remedy="nanod recover", app=app.app)
    last = app.last
    if last is None:
        return
    when, what, verdict = (str(last.get(key, "")) for key in ("at", "action", "verdict"))
    if problems := last.get("problems"):
        listed = [str(item) for item in problems] if isinstance(problems, list) else [str(problems)]
        text = f"{what or 'apply'} of {when} could not be undone: {'; '.join(listed)}"
        yield Finding(id="degraded", level=Level.ERROR, text=text, remedy=app.again or f"nanod history {app.app}", app=app.app)
    elif verdict and verdict not in _GOOD_ENDS:
        back = last.get("rolled_back_to")
        after = "" if back is None else f", and generation {back} is back" if back else ", and was taken away again"
        text = f"the last {what or 'apply'}, of {when}, ended {verdict}{after}"
        yield Finding(id="last-failed", level=Level.WARNING, text=text, remedy=f"nanod history {app.app}", app=app.app)


_REMEDIES = {
    DriftKind.EDITED: ("was edited by hand", Level.WARNING),
    DriftKind.DELETED: ("is gone", Level.ERROR),
    DriftKind.MASKED: ("is masked", Level.NOTE),
    DriftKind.UNFINISHED: ("is from an apply that did not finish", Level.WARNING),
    DriftKind.NOT_LOADED: ("changed on disk since systemd read it", Level.WARNING),
    DriftKind.OVERRIDE: ("is a drop-in of the administrator, which wins", Level.NOTE),
}


def _files(app: AppFacts, host: HostFacts) -> Iterator[Finding]:
    empty = {name for name, text in app.files.items() if not text}
    for name in sorted(empty):
        text = f"{name} is empty, which masks it: a power cut leaves that of a file that was never on disk"
        yield Finding(id="empty-unit", level=Level.ERROR, text=text, remedy=app.again, subject=name, app=app.app)
    if app.status:
        drift = [*app.status.drift, *(item for service in app.status.services for item in service.drift)]
        yield from (_drift(item, app) for item in drift if item.subject not in empty)
    for path, target in sorted(app.manifest.links.items()) if app.manifest else ():
        there = app.links.get(path)
        if there != target:
            state = "leads elsewhere" if there else "is gone"
            text = f"{path} {state}: the app does not start at boot"
            yield Finding(id="link", level=Level.WARNING, text=text, remedy=app.again, subject=path, app=app.app)
    if not host.is_systemd and app.manifest:
        for name in sorted(app.manifest.units.keys() - app.files.keys()):
            yield Finding(id="drift-deleted", level=Level.ERROR, text=f"{name} is gone", remedy=app.again, subject=name, app=app.app)


def _drift(item: Drift, app: AppFacts) -> Finding:
    words, level = _REMEDIES[item.kind]
    remedy = {
        DriftKind.MASKED: f"systemctl unmask {item.subject}",
        DriftKind.NOT_LOADED: "systemctl daemon-reload",
        DriftKind.OVERRIDE: "",
    }.get(item.kind, app.again)
    return Finding(id=f"drift-{item.kind}", level=level, text=f"{item.subject} {words}", remedy=remedy, subject=item.subject, app=app.app)


def _spec(app: AppFacts) -> Iterator[Finding]:
    if app.spec == "gone" and app.manifest:
        text = f"its spec {app.manifest.spec} is gone"
        remedy = "put it back, or after a move: nanod apply --take-over SPEC"
        yield Finding(id="spec-gone", level=Level.WARNING, text=text, remedy=remedy, subject=app.manifest.spec, app=app.app)


def _health(app: AppFacts) -> Iterator[Finding]:
    if app.status and not app.status.is_healthy:
        down = ", ".join(f"{item.name} is {item.health}" for item in app.status.to_blame)
        yield Finding(id="unhealthy", level=Level.WARNING, text=down or "is not healthy", remedy=f"nanod status {app.app}", app=app.app)
