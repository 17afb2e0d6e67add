"""Hosts that only remember: every call is recorded, time passes only by sleeping, and units go through the states that a test gave them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nanod.diagnostics import Mark
from nanod.errors import NanodError
from nanod.host import facts
from nanod.scope import SYSTEM
from nanod.state import HookName, HookResult, Intent, Manifest, Snapshot, UnitDetail, UnitState
from nanod.units.directives import OLDEST
from nanod.units.unitfile import Directive, UnitFile, parse
from nanod.units.unitset import Directory, ServiceUnits, UnitSet
from nanod.values import TimeSpan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nanod.units.unitset import Release

EPOCH = 1_700_000_000_000_000


@dataclass(slots=True)
class FakeClock:
    seconds: float = 0.0

    def now(self) -> float:
        return self.seconds

    def utc(self) -> str:
        return f"2023-11-14T22:13:20+00:00 and {self.seconds:g} s"

    def wall(self) -> int:
        return EPOCH + round(self.seconds * 1_000_000)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        if self.seconds > 100_000:
            raise AssertionError("waits for ever")


@dataclass(frozen=True, slots=True)
class Phase:
    """From `after` seconds on a unit is `active/sub`; `job` says that one is queued or running; `detail` are changed properties."""

    after: float
    active: str
    sub: str
    job: bool = False
    detail: Mapping[str, object] = field(default_factory=dict)


UP = (Phase(0.0, "activating", "start", job=True), Phase(0.05, "active", "running", detail={"main_pid": 7}))
DOWN = (Phase(0.0, "deactivating", "stop-sigterm", job=True), Phase(0.02, "inactive", "dead"))


def failing(status: int, *, after: float = 0.05) -> tuple[Phase, ...]:
    """Starts, and ends up failed without a retry."""
    how: dict[str, object] = {"result": "exit-code", "exec_main_code": 1, "exec_main_status": status}
    return (Phase(0.0, "activating", "start", job=True), Phase(after, "failed", "failed", detail=how))


@dataclass(slots=True)
class _Unit:
    timeline: list[tuple[float, Phase]]
    detail: UnitDetail
    runs: int = 0


class FakeSystemd:
    """`calls` holds what changes something, as (verb, unit)."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.calls: list[tuple[str, str]] = []
        self.looks = 0
        self.refuses: dict[tuple[str, str], str] = {}
        self._units: dict[str, _Unit] = {}
        self._starts: dict[str, list[tuple[Phase, ...]]] = {}
        self._stops: dict[str, tuple[Phase, ...]] = {}

    def given(self, name: str, active: str = "active", sub: str = "running", **detail: object) -> None:
        """How a unit is before anything happens."""
        unit = _Unit(timeline=[(self.clock.now(), Phase(0.0, active, sub))], detail=replace(UnitDetail(name=name), **detail))  # type: ignore[arg-type]
        self._units[name] = unit

    def on_start(self, name: str, *lives: tuple[Phase, ...]) -> None:
        """What each start leads to; the last one holds for all that follow."""
        self._starts[name] = list(lives)

    def on_stop(self, name: str, *phases: Phase) -> None:
        self._stops[name] = phases

    def states(self, names: Iterable[str]) -> dict[str, UnitState]:
        self.looks += 1
        return {name: self._state(name) for name in names}

    def detail(self, name: str) -> UnitDetail:
        if name not in self._units:
            return UnitDetail(name=name)
        unit = self._units[name]
        found = unit.detail
        for at, phase in unit.timeline:
            if at <= self.clock.now():
                found = replace(found, **phase.detail)  # type: ignore[arg-type]
                if phase.active == "active":
                    found = replace(found, active_since=EPOCH + round(at * 1_000_000))
        return found

    def version(self) -> int:
        return OLDEST

    def load_path(self) -> tuple[str, ...]:
        return SYSTEM.load_path

    def environment(self) -> dict[str, str]:
        return {}

    def system_state(self) -> str:
        return "running"

    def invocation(self, name: str) -> str:
        return self.detail(name).invocation

    def daemon_reload(self) -> None:
        self._call("daemon-reload", "")

    def start(self, name: str, *, alone: bool = False) -> None:
        del alone
        self._call("start", name)
        if self._state(name).active not in ("active", "reloading"):
            self._begin(name, 0.0)

    def stop(self, name: str, *, alone: bool = False) -> None:
        del alone
        self._call("stop", name)
        self._end(name)

    def restart(self, name: str) -> None:
        self._call("restart", name)
        self._end(name)
        self._begin(name, 0.02)

    def reload(self, name: str) -> None:
        self._call("reload", name)
        now = self.clock.now()
        self._units[name].timeline += [
            (now, Phase(0.0, "reloading", "reload", job=True)),
            (now + 0.02, Phase(0.0, "active", "running")),
        ]

    def reset_failed(self, name: str) -> None:
        self._call("reset-failed", name)
        if name in self._units and self._state(name).active == "failed":
            self._units[name].timeline.append((self.clock.now(), Phase(0.0, "inactive", "dead")))

    def jobs(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] in ("start", "stop", "restart", "reload")]

    def _call(self, verb: str, name: str) -> None:
        if message := self.refuses.get((verb, name)):
            raise NanodError(message)
        self.calls.append((verb, name))

    def _state(self, name: str) -> UnitState:
        if name not in self._units:
            return UnitState(name=name)
        now = self.clock.now()
        phase = [phase for at, phase in self._units[name].timeline if at <= now][-1]
        return UnitState(name=name, load="loaded", active=phase.active, sub=phase.sub, job=1 if phase.job else 0)

    def _begin(self, name: str, delay: float) -> None:
        unit = self._units.setdefault(name, _Unit(timeline=[], detail=UnitDetail(name=name)))
        lives = self._starts.get(name, [UP])
        life = lives[min(unit.runs, len(lives) - 1)]
        unit.runs += 1
        now = self.clock.now()
        begun = self.detail(name) if unit.timeline else unit.detail
        unit.detail = replace(begun, invocation=f"{name}#{unit.runs}", restarts=0, result="success", exec_main_code=0, exec_main_status=0)
        kept = unit.timeline if delay else []
        unit.timeline = [*kept, *((now + delay + phase.after, phase) for phase in life)]

    def _end(self, name: str) -> None:
        if name in self._units:
            now = self.clock.now()
            unit = self._units[name]
            unit.timeline = [item for item in unit.timeline if item[0] <= now]
            unit.timeline += [(now + phase.after, phase) for phase in self._stops.get(name, DOWN)]


class FakeStore:
    """Unit files become visible with `sync`, as on a disk. `calls` holds what changes something."""

    unit_dir = "/etc/systemd/system"
    scope = SYSTEM

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.enabled: dict[str, str] = {}
        self.directories: list[str] = []
        self.manifests: dict[str, Manifest] = {}
        self.staged: list[Manifest] = []
        self.entries: list[dict[str, object]] = []
        self.calls: list[tuple[str, str]] = []
        self.refuses: dict[tuple[str, str], str] = {}
        self._written: dict[str, str | None] = {}
        self.intent: Intent | None = None
        self.numbers: dict[int, tuple[Manifest, dict[str, str], str]] = {}
        self.stamps: set[str] = set()
        self.made_from: dict[str, bytes] = {}

    def others(self, app: str, named: Iterable[str] = ()) -> dict[str, Manifest]:
        del named
        return {name: found for name, found in self.manifests.items() if name != app}

    def remembered(self) -> dict[str, bytes]:
        return self.made_from

    def remember(self, app: str, content: bytes) -> None:
        self.made_from[app] = content

    def read_units(self, names: Iterable[str]) -> dict[str, str]:
        return {name: self.files[name] for name in names if name in self.files}

    def read_links(self, paths: Iterable[str]) -> dict[str, str]:
        return {path: self.enabled[path] for path in paths if path in self.enabled}

    def write_unit(self, name: str, text: str) -> None:
        self._call("write", name)
        self._written[name] = text

    def delete_unit(self, name: str) -> None:
        self._call("delete", name)
        self.files.pop(name, None)

    def link(self, path: str, target: str) -> None:
        self._call("link", path)
        self.enabled[path] = target

    def unlink(self, path: str) -> None:
        self._call("unlink", path)
        self.enabled.pop(path, None)

    def make_directory(self, path: str, user: str, group: str | None) -> None:
        self._call("make-directory", f"{path} {user}:{group or ''}")
        self.directories.append(path)

    def delete_tree(self, path: str) -> None:
        self._call("delete-tree", path)

    def sealed(self, paths: Iterable[str]) -> dict[str, str]:
        return facts.digests(paths)

    def install_lib(self) -> bool:
        return False

    def sync(self) -> None:
        self._call("sync", "")
        self.files |= {name: text for name, text in self._written.items() if text is not None}
        self._written.clear()

    def discard(self) -> None:
        self._written.clear()

    def sweep(self) -> None:
        self._written.clear()

    def remove_directory(self, path: str) -> None:
        self._call("remove-directory", path)
        self.directories.remove(path)

    def existing(self, paths: Iterable[str]) -> set[str]:
        return {path for path in paths if path in self.stamps or path in self.directories}

    def put_stamp(self, path: str, unit: str) -> None:
        self._call("stamp", f"{path} {unit}")
        self.stamps.add(path)

    def generations(self, app: str) -> list[int]:
        del app
        return sorted(self.numbers)

    def in_force(self, app: str) -> int:
        return self.manifests[app].generation if app in self.manifests else 0

    def generation(self, app: str, number: int) -> tuple[Manifest, dict[str, str], str]:
        del app
        return self.numbers[number]

    def drop(self, app: str, number: int) -> None:
        del app
        self._call("drop", str(number))
        self.numbers.pop(number, None)

    def write_intent(self, intent: Intent) -> None:
        self._call("intent", str(intent.generation))
        self.intent = intent

    def intents(self) -> dict[str, Intent]:
        return {self.intent.app: self.intent} if self.intent else {}

    def decide(self, app: str) -> None:
        self._call("decide", app)
        if self.intent:
            self.intent = replace(self.intent, decided=True)

    def clear_intent(self, app: str) -> None:
        self._call("clear", app)
        self.intent = None

    def apps(self) -> list[str]:
        return sorted(self.manifests)

    def manifest(self, app: str) -> Manifest | None:
        return self.manifests.get(app)

    def stage(self, manifest: Manifest, units: Mapping[str, str], spec_text: str) -> None:
        self._call("stage", str(manifest.generation))
        self.numbers[manifest.generation] = (manifest, dict(units), spec_text)
        self.staged.append(manifest)

    def commit(self, manifest: Manifest) -> None:
        self._call("commit", str(manifest.generation))
        self.manifests[manifest.app] = manifest

    def forget(self, app: str) -> None:
        self._call("forget", app)
        self.intent = None
        self.manifests.pop(app, None)

    def record(self, app: str, entry: Mapping[str, object]) -> None:
        del app
        self.entries.append(dict(entry))

    def history(self, app: str) -> list[dict[str, object]]:
        del app
        return self.entries

    def _call(self, verb: str, name: str) -> None:
        if message := self.refuses.get((verb, name)):
            raise NanodError(message)
        self.calls.append((verb, name))


@dataclass
class FakeReleases:
    """All that are asked for are there, and whole. `refuses`: what of `copy` and `seal` the disk has no space for."""

    refuses: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)

    def names(self, app: str) -> Mapping[str, Sequence[str]]:
        del app
        return {}

    def whole(self, paths: Iterable[str]) -> frozenset[str]:
        return frozenset(paths)

    def copy(self, release: Release) -> None:
        self._call("copy", release.name)

    def seal(self, release: Release) -> None:
        self._call("seal", release.name)

    def drop(self, path: str) -> None:
        self._call("drop", path.rpartition("/")[2])

    def switch(self, app: str, names: Mapping[str, str]) -> None: ...

    def collect(self, app: str, kept: Mapping[str, int], needed: Mapping[str, Iterable[str]]) -> None: ...

    def _call(self, verb: str, name: str) -> None:
        self.calls.append((verb, name))
        if verb == self.refuses:
            raise NanodError(f"cannot {verb} it: No space left on device")


class FakeJournal:
    def __init__(self) -> None:
        self.results: list[HookResult] = []
        self.lines: dict[str, list[str]] = {}

    def hook_results(self, units: Sequence[str], *, since: int = 0) -> list[HookResult]:
        return [item for item in self.results if item.unit in units and item.at >= since]

    def last_lines(self, unit: str, *, invocation: str = "", count: int = 10, until: int = 0) -> list[str]:
        del invocation, until
        return self.lines.get(unit, [])[-count:]

    def lines_after(self, unit: str, place: str, *, invocation: str) -> tuple[list[str], str]:
        del invocation
        lines = self.lines.get(unit, [])
        return lines[0 if place.startswith("@") else int(place) :], str(len(lines))

    def said(self, unit: str, hook: str, status: int, *, invocation: str = "", at: int = EPOCH) -> None:
        """A hook (`phase/name`) of `unit` left a record; by default in the unit's first run."""
        phase, _, name = hook.partition("/")
        run = invocation or f"{unit}#1"
        self.results.append(HookResult(unit=unit, phase=phase, name=name, status=status, invocation=run, duration_ms=1, at=at))


def unit_file(name: str, text: str, service: str = "") -> UnitFile:
    """A unit from its lines (`[Section]`, `Key=value`); each line's origin is its own number in `shop.yaml`."""
    lines = text.strip("\n").split("\n")
    marks = [Mark("shop.yaml", number, 1, 2) for number, line in enumerate(lines, 1) if "=" in line]
    directives = tuple(
        Directive(section=section, key=key, text=value, origin=mark) for (section, key, value), mark in zip(parse(text), marks, strict=True)
    )
    return UnitFile(name=name, service=service, head="Made by nanod from /srv/shop.yaml", directives=directives)


@dataclass(slots=True, kw_only=True)
class AppBuilder:
    """An app to be planned, unit by unit: services in start order, each with the lines of its units."""

    app: str = "shop"
    services: list[ServiceUnits] = field(default_factory=list)
    units: dict[str, UnitFile] = field(default_factory=dict)
    directories: list[Directory] = field(default_factory=list)

    def service(self, name: str, lines: str = "[Service]\nExecStart=/bin/true", **facts: object) -> AppBuilder:
        """`facts` are fields of ServiceUnits; `provision`, `prestart`, `ready` and `failure` take the lines of that unit."""
        main = f"{self.app}-{name}.service"
        self.units[main] = unit_file(main, lines, name)
        for role in ("provision", "prestart", "ready", "failure"):
            if isinstance(text := facts.get(role), str):
                beside = f"{self.app}-{name}-{role}.service"
                self.units[beside] = unit_file(beside, text, name)
                facts[role] = beside
        given = {"settle": TimeSpan.parse("5s"), "origin": Mark("shop.yaml", 1, 1, 2)} | facts
        self.services.append(ServiceUnits(name=name, main=main, **given))  # type: ignore[arg-type]
        return self

    def hook(self, service: str, hook: str, on_failure: str = "fail", role: str = "") -> HookName:
        phase, _, name = hook.partition("/")
        unit = f"{self.app}-{service}{f'-{role}' if role else ''}.service"
        return HookName(phase=phase, name=name, unit=unit, on_failure=on_failure)

    def volume(self, path: str, user: str = "shop") -> AppBuilder:
        self.directories.append(Directory(path=path, user=user, group=None, origin=Mark("shop.yaml", 9, 1, 2)))
        return self

    def build(self) -> UnitSet:
        target, slice_ = f"{self.app}.target", f"nanod-{self.app}.slice"
        wants = " ".join(item.main for item in self.services)
        group = [
            unit_file(target, f"[Unit]\nWants={wants}\n[Install]\nWantedBy=multi-user.target"),
            unit_file(slice_, f"[Unit]\nDescription=Slice of app {self.app}"),
        ]
        return UnitSet(
            app=self.app,
            spec_file="/srv/shop.yaml",
            env=None,
            target=target,
            slice=slice_,
            units=tuple(sorted([*group, *self.units.values()], key=lambda item: item.name)),
            services=tuple(self.services),
            directories=tuple(self.directories),
            users=(),
            files=(),
            host_units=(),
        )


def running(name: str, sub: str = "running") -> UnitState:
    return UnitState(name=name, load="loaded", active="active", sub=sub)


def snapshot_of(wanted: UnitSet, manifest: Manifest | None, *, states: Mapping[str, UnitState] | None = None, **facts: object) -> Snapshot:
    """The host as an apply of `wanted` left it: all files and links there, target and services up. `states` overrides; `facts` are fields."""
    units = {unit.name: UnitState(name=unit.name, load="loaded") for unit in wanted.units}
    units |= {item.main: running(item.main) for item in wanted.services}
    units |= {item.socket: running(item.socket, "listening") for item in wanted.services if item.socket}
    units[wanted.target] = running(wanted.target, "active")
    return replace(
        Snapshot(
            units=units | dict(states or {}),
            files={unit.name: unit.render() for unit in wanted.units},
            links=dict(manifest.links) if manifest else wanted.links,
            digests=dict(manifest.watched) if manifest else {},
        ),
        **facts,  # type: ignore[arg-type]
    )


EMPTY_HOST = Snapshot(units={}, files={}, links={})
