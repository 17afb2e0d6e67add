"""What `doctor` and `status` look at on this host, and nothing else asks. Looks and never acts; what this user may not see is left out."""

from __future__ import annotations

import ctypes
import grp
import os
import re
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.checked import AppFacts, HostFacts, Place
from nanod.errors import NanodError
from nanod.host import facts
from nanod.host.atomic import TEMPORARY
from nanod.host.process import run
from nanod.host.records import stamps
from nanod.host.safety import unsafe
from nanod.scope import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nanod.host import Systemd
    from nanod.host.store import LocalStore
    from nanod.scope import RuntimeScope
    from nanod.state import Intent, Manifest
    from nanod.status import AppStatus

_LINGER = "/var/lib/systemd/linger"
"""A file for each user whose manager runs without a session (loginctl(1), enable-linger)."""
_PACKAGE = Path(__file__).parent.parent
_INTERPRETER = "/usr/bin/python3"
"""Of the health gate, see `lib/gate`."""
_PROGRAM = re.compile(r"(?<![\w/.])(?:/usr)?/bin/[a-z][a-z0-9.-]*[a-z0-9]")
_PACKAGES = {
    "sh": "dash",
    "grep": "grep",
    "journalctl": "systemd",
    "systemctl": "systemd",
    "flock": "util-linux",
    "setpriv": "util-linux",
    "logger": "bsdutils",
    "getent": "libc-bin",
}
"""Debian packages; all others are of coreutils."""
_JOURNAL_GROUPS = ("systemd-journal", "adm", "wheel")
"""Whose members read the journal of the system (journalctl(1))."""
_SET_ASIDE = re.compile(r".+\.bad-\d{8}T\d{6}Z")


def is_locked(scope: RuntimeScope = SYSTEM) -> bool:
    """Whether a nanod is at work: somebody holds the host's lock. Read from /proc/locks (proc(5)), so that looking never takes it."""
    try:
        lock = Path(scope.own_run, "lock").stat()
        held = Path("/proc/locks").read_text()
    except OSError:
        return False
    name = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    # A waiting one is marked by an arrow: `2: -> FLOCK …`.
    return any(words[1] == "FLOCK" and words[-3] == name for line in held.splitlines() if len(words := line.split()) > 4)


def drop_ins(unit: str, scope: RuntimeScope) -> list[str]:
    """Drop-ins of the administrator in the unit's own directories (systemd.unit(5))."""
    found = (path for place in scope.load_path for path in Path(place, f"{unit}.d").glob("*.conf"))
    return sorted({str(path) for path in found if not str(path).startswith(("/lib/", "/usr/lib/", "/usr/share/"))})


def host_facts(systemd: Systemd, store: LocalStore) -> HostFacts:
    """Everything about the host itself. Raises NanodError when the unit directory cannot be read."""
    scope = store.scope
    is_systemd, is_root = facts.is_systemd(), os.geteuid() == scope.uid
    units = _units_of_apps(store)
    space = os.statvfs("/run")
    is_persistent = not is_systemd or any(path.is_dir() for path in _entries("/var/log/journal"))
    return HostFacts(
        is_root=is_root,
        owner=scope.owner if scope.is_user else "",
        lingers=not scope.is_user or Path(_LINGER, scope.owner).exists(),
        pid1=_read("/proc/1/comm").strip(),
        is_systemd=is_systemd,
        version=_version(),
        manager=_refusal_of(systemd) if is_systemd else "",
        bus=_connects("/run/dbus/system_bus_socket"),
        nss=_nss(),
        controllers=_controllers(),
        run_free=space.f_bfree * space.f_frsize,
        run_needed=facts.RUN_SPACE,
        places=tuple(_place(path, scope) for path in (store.unit_dir, scope.state, scope.lib)),
        missing=tuple(_missing()),
        interpreter=_INTERPRETER,
        has_interpreter=os.access(_INTERPRETER, os.X_OK),
        lib=_lib(scope),
        journald=_journald(systemd) if is_systemd and not scope.is_user else "",
        has_persistent_journal=is_persistent,
        # Users have journals of their own where these are on disk (journald.conf(5), SplitMode=).
        can_read_journal=os.geteuid() == 0 or not is_systemd or _is_in(_JOURNAL_GROUPS) or (scope.is_user and is_persistent),
        recover=enabled("nanod-recover.service") if is_systemd and not scope.is_user else "",
        leftovers=tuple(_leftovers(store.unit_dir, scope)),
        dangling=tuple(_dangling(store.unit_dir)),
        orphans=tuple((name, app) for name, (app, _) in sorted(units.items()) if not Path(scope.apps, app).is_dir()),
        texts={name: text for name, (_, text) in units.items()},
        is_locked=is_locked(scope),
    )


def app_facts(app: str, store: LocalStore, manifest: Manifest | None, status: AppStatus | None, intent: Intent | None, *, again: str) -> AppFacts:
    """Of one app; `again`: the command that applies it once more. Raises NanodError when its records cannot be read, though this user may."""
    files = store.read_units(manifest.units) if manifest else {}
    links = store.read_links(manifest.links) if manifest else {}
    seen = AppFacts(
        app=app,
        manifest=manifest,
        can_see=not Path(store.scope.apps, app).exists() or os.access(Path(store.scope.apps, app), os.R_OK | os.X_OK),
        status=status,
        files=files,
        links=links,
        intent=intent,
        is_under_way=is_locked(store.scope),
        spec=_spec(manifest.spec) if manifest else "unknown",
        again=again,
    )
    if not seen.can_see or not Path(store.scope.apps, app).exists():
        return seen
    return _with_records(seen, store)


def _with_records(seen: AppFacts, store: LocalStore) -> AppFacts:
    app = seen.app
    in_force, entries = store.in_force(app), store.history(app)
    broken, is_in_force = [], False
    for number in store.generations(app):
        try:
            store.generation(app, number)
        except NanodError as refused:
            broken.append(refused.message)
        else:
            is_in_force = is_in_force or number == in_force
    came = {entry.get("generation") for entry in entries if entry.get("rolled_back_to") is None} | {entry.get("rolled_back_to") for entry in entries}
    place = f"{store.scope.apps}/{app}"
    return replace(
        seen,
        records=tuple(broken),
        is_in_force=is_in_force or not seen.manifest,
        uncommitted=tuple(number for number in store.generations(app) if number > in_force and number not in came),
        aside=tuple(str(path) for folder in (place, f"{place}/generations") for path in _entries(folder) if _SET_ASIDE.fullmatch(path.name)),
        last=entries[-1] if entries else None,
    )


def _units_of_apps(store: LocalStore) -> dict[str, tuple[str, str]]:
    """Unit file to its app and text."""
    names = [path.name for path in _entries(store.unit_dir) if path.suffix in (".service", ".target", ".slice", ".socket", ".timer")]
    return {name: (app, text) for name, text in store.read_units(names).items() if (app := stamps(text).get("App"))}


def _version() -> int | None:
    try:
        return facts.systemd_version()
    except NanodError:
        return None


def _refusal_of(systemd: Systemd) -> str:
    try:
        systemd.states(["basic.target"])
    except NanodError as refused:
        return refused.message
    return ""


def _journald(systemd: Systemd) -> str:
    with suppress(NanodError):
        return systemd.states(["systemd-journald.service"])["systemd-journald.service"].active
    return ""


def _connects(path: str) -> str:
    """Why nobody listens on the socket; "" when somebody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        try:
            client.connect(path)
        except OSError as failed:
            return failed.strerror or str(failed)
    return ""


def _nss() -> str:
    try:
        ctypes.CDLL("libnss_systemd.so.2")
    except OSError:
        return "libnss-systemd is not installed"
    lines = (line.partition("#")[0].split() for line in _read("/etc/nsswitch.conf").splitlines())
    passwd = next((words[1:] for words in lines if words and words[0] == "passwd:"), [])
    return "" if "systemd" in passwd else "/etc/nsswitch.conf does not name systemd for passwd"


def _controllers() -> frozenset[str] | None:
    try:
        return frozenset(Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())
    except OSError:
        return None


def _place(path: str, scope: RuntimeScope) -> Place:
    try:
        is_writable = not os.statvfs(path).f_flag & os.ST_RDONLY
    except FileNotFoundError:
        return Place(path=path, is_there=False)
    # Who else may write to the directories of users is their affair.
    return Place(path=path, is_writable=is_writable, unsafe="" if scope.uid else unsafe(path))


def _missing() -> Iterator[tuple[str, str]]:
    """Programs that nanod's own name, and with which the compiler begins lines."""
    texts = [path.read_text() for path in sorted((_PACKAGE / "lib").iterdir()) if path.is_file()]
    named = {"/usr/bin/env", *(found[0] for text in texts for found in _PROGRAM.finditer(text))} - {_INTERPRETER}
    for path in sorted(named):
        if not os.access(path, os.X_OK):
            yield path, _PACKAGES.get(Path(path).name, "coreutils")


def _lib(scope: RuntimeScope) -> Mapping[str, str]:
    """What is wrong with each program in the place where units run it; nothing before the first apply."""
    place = Path(scope.lib)
    if not place.is_dir():
        return {}
    wanted = {path.name: path for path in (_PACKAGE / "lib").iterdir() if path.is_file()} | {"probe": _PACKAGE / "probe.py"}
    problems = {name: _problem(place / name, path) for name, path in sorted(wanted.items())}
    return {name: problem for name, problem in problems.items() if problem}


def _problem(installed: Path, wanted: Path) -> str:
    try:
        mode, content = installed.stat().st_mode & 0o777, installed.read_bytes()
    except OSError:
        return "missing"
    if not content:
        return "empty"
    if mode & 0o555 != 0o555:
        return f"not to be run by everybody (mode {mode:04o})"
    return "" if content == wanted.read_bytes() else "of another version"


def _is_in(groups: tuple[str, ...]) -> bool:
    mine = os.getgroups()
    for name in groups:
        with suppress(KeyError):
            if grp.getgrnam(name).gr_gid in mine:
                return True
    return False


def enabled(unit: str) -> str:
    """What systemctl says; 252 prints nothing for a unit that is not there, and 257 `not-found`."""
    with suppress(NanodError):
        return run(["systemctl", "is-enabled", unit], timeout=10).out.strip() or "not-found"
    return ""


def _leftovers(unit_dir: str, scope: RuntimeScope) -> Iterator[str]:
    wants = [str(path) for path in _entries(unit_dir) if path.suffix == ".wants"]
    apps = [str(path) for path in _entries(scope.apps) if not path.name.startswith(".")]
    for folder in (unit_dir, *wants, scope.lib, scope.apps, *apps, *(f"{app}/generations" for app in apps)):
        yield from (str(path) for path in _entries(folder) if path.name.startswith(TEMPORARY))


def _dangling(unit_dir: str) -> Iterator[str]:
    """Links as nanod writes them, `../NAME`; systemctl's own are absolute."""
    for folder in (path for path in _entries(unit_dir) if path.suffix == ".wants"):
        for path in _entries(str(folder)):
            if path.is_symlink() and str(path.readlink()).startswith("../") and not path.exists():
                yield str(path)


def _spec(path: str) -> str:
    if not path.startswith("/"):
        return "standard input"
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return "gone"
    except OSError:
        return "unknown"
    return "there"


def _entries(folder: str) -> list[Path]:
    """What is in a directory, sorted; nothing where there is none, or this user may not look."""
    try:
        return sorted(Path(folder).iterdir())
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
