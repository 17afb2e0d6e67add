"""Transactions that die at any step they take, on a real disk below a directory and with a PID 1 that only remembers; and what has to hold then.

A step is a system call that changes the disk, or a call to PID 1. From the step that kills it on nothing a dead process would do gets through.
PID 1 reads unit files when it is told to, and knows from which file each of its processes was started: so a forgotten daemon-reload shows.
"""

from __future__ import annotations

import copy
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanod.apply import apply
from nanod.errors import ExitCode, NanodError
from nanod.host import Host, atomic
from nanod.host.atomic import TEMPORARY
from nanod.host.store import LocalStore
from nanod.plan import plan
from nanod.recover import recover
from nanod.remove import plan_removal
from nanod.state import Snapshot
from nanod.values import TimeSpan
from nanod.view.tty import PLAIN
from nanod.view.verdict import outcome_text
from tests.fakes import DOWN, AppBuilder, FakeClock, FakeJournal, FakeReleases, FakeSystemd, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from nanod.apply import Outcome
    from nanod.steps import Plan

CALLS = ("fchmod", "fsync", "mkdir", "open", "rename", "rmdir", "symlink", "unlink")
UNITS = "etc/systemd/system"
APP = "var/lib/nanod/apps/shop"
_REAL = {name: getattr(os, name) for name in CALLS}


class KilledError(BaseException):
    """As SIGKILL: nothing catches it."""


@dataclass(slots=True)
class Life:
    """A process that dies before its step number `left`. `taken`: what it did; `count` has its steps that failed, too."""

    left: int = 10**6
    count: int = 0
    is_dead: bool = False
    taken: list[tuple[str, str]] = field(default_factory=list)

    def step(self) -> None:
        if self.is_dead or self.count == self.left:
            self.is_dead = True
            raise KilledError
        self.count += 1

    @contextmanager
    def lived(self) -> Iterator[None]:
        """Its system calls are steps."""
        mine = {name: self._counted(name) for name in CALLS}
        before, syncfs = {name: getattr(os, name) for name in CALLS}, atomic.sync_file_system
        for name, call in mine.items():
            setattr(os, name, call)
        atomic.sync_file_system = self._syncfs
        try:
            yield
        finally:
            atomic.sync_file_system = syncfs
            for name, call in before.items():
                setattr(os, name, call)

    def _syncfs(self, descriptor: int) -> None:
        self.step()
        self.taken.append(("syncfs", str(_descriptor(descriptor))))

    def _counted(self, name: str) -> Callable[..., Any]:
        real = _REAL[name]

        def call(*words: Any, **keys: Any) -> Any:
            if name != "open" or words[1] & os.O_CREAT:
                self.step()
                what = _what(words, keys)
                result = real(*words, **keys)
                self.taken.append((name, what))
                return result
            return real(*words, **keys)

        return call


def _what(words: tuple[Any, ...], keys: Mapping[str, Any]) -> str:
    """The path that a call is about; of a rename "from -> to"."""
    if isinstance(words[0], int):
        return str(_descriptor(words[0]))
    if "dst_dir_fd" in keys:
        return f"{_below(keys['src_dir_fd'], words[0])} -> {_below(keys['dst_dir_fd'], words[1])}"
    name = words[1] if "dir_fd" in keys and len(words) > 1 and isinstance(words[1], str) else words[0]
    return _below(keys.get("dir_fd"), name)


def _below(folder: int | None, name: object) -> str:
    return str(name) if folder is None else f"{_descriptor(folder)}/{name}"


def _descriptor(number: int) -> Path:
    return Path(f"/proc/self/fd/{number}").readlink()


class Pid1(FakeSystemd):
    """`loaded`: the unit files as it last read them. `runs`: what each unit that is up was started from."""

    def __init__(self, clock: FakeClock, root: Path) -> None:
        super().__init__(clock)
        self.root = root
        self.life = Life()
        self.loaded: dict[str, str] = {}
        self.runs: dict[str, str] = {}

    def daemon_reload(self) -> None:
        super().daemon_reload()
        self.loaded = {path.name: path.read_text() for path in (self.root / UNITS).glob("*.*") if path.is_file()}
        forgotten = [name for name in self._units if name not in self.loaded and self._state(name).active == "inactive"]
        for name in forgotten:
            del self._units[name]

    def _begin(self, name: str, delay: float) -> None:
        if name not in self.loaded:
            raise NanodError(f"cannot start {name}: Unit {name} not found.")
        super()._begin(name, delay)
        self.runs[name] = self.loaded[name]

    def _end(self, name: str) -> None:
        super()._end(name)
        self.runs.pop(name, None)

    def _call(self, verb: str, name: str) -> None:
        self.life.step()
        super()._call(verb, name)


@dataclass(slots=True)
class World:
    """One host."""

    root: Path
    clock: FakeClock = field(default_factory=FakeClock)
    systemd: Pid1 = field(init=False)

    def __post_init__(self) -> None:
        self.systemd = Pid1(self.clock, self.root)
        self.systemd.on_start("shop.target", (Phase(0.0, "active", "active"),))
        self.systemd.on_stop("shop.target", *DOWN)

    def furnish(self) -> None:
        """Directories and programs that are there already, and the user of the volumes."""
        for path in (UNITS, "srv"):
            (self.root / path).mkdir(parents=True)
        self.store.install_lib()
        (self.root / "etc/passwd").write_text(f"shop:x:{os.getuid()}:{os.getgid()}::/:\n")
        (self.root / "etc/group").write_text(f"shop:x:{os.getgid()}:\n")

    def copied(self, root: Path) -> World:
        shutil.copytree(self.root, root, symlinks=True)
        other = World(root, copy.deepcopy(self.clock))
        for name, value in vars(self.systemd).items():
            if name not in ("clock", "root", "life"):
                setattr(other.systemd, name, copy.deepcopy(value))
        return other

    @property
    def store(self) -> LocalStore:
        return LocalStore(root=str(self.root))

    @property
    def host(self) -> Host:
        return Host(
            systemd=self.systemd,
            store=self.store,
            journal=FakeJournal(),
            clock=self.clock,
            digests=lambda paths: dict.fromkeys(paths, ""),
            releases=FakeReleases(),
        )

    def snapshot(self, names: Iterable[str], links: Iterable[str]) -> Snapshot:
        store, there = self.store, sorted(names)
        newest = max(store.generations("shop"), default=0)
        return Snapshot(units=self.systemd.states(there), files=store.read_units(there), links=store.read_links(links), newest=newest)

    def planned(self, builder: AppBuilder | None, *, purge: bool = False) -> Plan:
        """An apply, or without a builder the removal."""
        manifest = self.store.manifest("shop")
        known, links = set(manifest.units if manifest else ()), dict(manifest.links if manifest else {})
        if builder is None:
            assert manifest is not None
            return plan_removal(manifest, self.snapshot(known, links), purge=purge)
        wanted = builder.build()
        seen = self.snapshot(known | {unit.name for unit in wanted.units}, links | wanted.links)
        missing = {item.path for item in wanted.directories if not (self.root / item.path.lstrip("/")).exists()}
        return plan(wanted, manifest, replace(seen, missing_directories=frozenset(missing)))

    def apply(self, builder: AppBuilder | None, *, purge: bool = False, life: Life | None = None) -> Outcome:
        self.systemd.life = life or Life()
        with self.systemd.life.lived():
            return apply(self.planned(builder, purge=purge), self.host, span=TimeSpan.parse("0s"))

    def recover(self, *, life: Life | None = None) -> None:
        self.systemd.life = life or Life()
        with self.systemd.life.lived():
            self.store.tidy()
            for intent in self.store.intents().values():
                recover(intent, self.host, lambda _: None)

    # What has to hold

    def files(self) -> dict[str, str]:
        """Unit files and links."""
        found = (path for path in (self.root / UNITS).rglob("*") if not path.is_dir() or path.is_symlink())
        texts = {path: str(path.readlink()) if path.is_symlink() else path.read_text() for path in found if not path.name.startswith(TEMPORARY)}
        return {str(path.relative_to(self.root / UNITS)): text for path, text in texts.items()}

    def up(self) -> dict[str, str]:
        """What runs, and from which file it was started."""
        states = self.systemd.states(sorted(self.systemd.runs))
        return {name: text for name, text in self.systemd.runs.items() if states[name].is_up}

    def state(self) -> State:
        current = self.root / APP / "current"
        data = {str(path.relative_to(self.root)) for path in (self.root / "srv").rglob("*")}
        numbers = [path.name for path in (self.root / APP).glob("generations/*")]
        in_force = current.readlink().name if current.is_symlink() else ""
        return State(files=self.files(), up=self.up(), in_force=in_force, generations=frozenset(numbers), data=frozenset(data))

    def left(self) -> list[str]:
        return [path.name for path in self.root.rglob("*") if path.name.startswith(TEMPORARY) or path.name == "intent.json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    files: dict[str, str]
    up: dict[str, str]
    in_force: str
    generations: frozenset[str]
    data: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """From `begin` (None: nothing is there) to `end` (None: removed)."""

    name: str
    begin: Callable[[], AppBuilder] | None
    end: Callable[[], AppBuilder] | None
    purge: bool = False


def old() -> AppBuilder:
    return AppBuilder().service("db", _lines("old")).service("web", _lines("old"), requires=("db",)).service("goes", _lines("old"))


def new() -> AppBuilder:
    """One file changes, one comes with a volume, one goes."""
    made = AppBuilder().service("db", _lines("old")).service("web", _lines("new"), requires=("db",)).service("comes", _lines("new"))
    return made.volume("/srv/shop")


def _lines(version: str) -> str:
    return f"[Service]\nExecStart=/bin/true {version}\nRestart=no"


SCENARIOS = (
    Scenario(name="change", begin=old, end=new),
    Scenario(name="first", begin=None, end=new),
    Scenario(name="back", begin=new, end=old),
    Scenario(name="remove", begin=old, end=None),
    Scenario(name="purge", begin=new, end=None, purge=True),
)


def crash_everywhere(scenario: Scenario, folder: Path, *, every: int = 1) -> int:
    """Kill it before each of its steps (each `every`th), and its recovery once on the way; how many times that was. AssertionError when anything is wrong."""
    begin = World(folder / "begin")
    begin.furnish()
    if scenario.begin:
        begin.apply(scenario.begin())
    end = begin.copied(folder / "end")
    life = Life()
    assert end.apply(_builder(scenario), purge=scenario.purge, life=life).exit_code is ExitCode.OK
    assert end.left() == []
    require_order(life.taken)
    before, after = begin.state(), end.state()
    assert before.files != after.files
    for step in range(0, life.count, every):
        world = begin.copied(folder / str(step))
        _crash(world, scenario, step, before, after)
        shutil.rmtree(world.root)
    return life.count


def _builder(scenario: Scenario) -> AppBuilder | None:
    return scenario.end() if scenario.end else None


def _crash(world: World, scenario: Scenario, step: int, before: State, after: State) -> None:
    try:
        world.apply(_builder(scenario), purge=scenario.purge, life=Life(step))
    except KilledError:
        pass
    else:
        raise AssertionError(f"step {step} is never taken")
    what = f"{scenario.name}, step {step}"
    either = before.files.items() | after.files.items()
    assert world.files().items() <= either, f"{what}: a file is neither old nor new"
    try:
        world.recover(life=Life(step * 7 % 40))
    except KilledError:
        assert world.files().items() <= either, f"{what}: recovery leaves a file that is neither old nor new"
    world.recover()
    found = world.state()
    assert found in (before, after), f"{what}: neither old nor new: {found}"
    assert world.left() == [], f"{what}: something is left"
    texts = {name: text for name, text in found.files.items() if not text.startswith("..")}
    assert {name: text for name, text in world.systemd.loaded.items() if name in texts} == texts, f"{what}: PID 1 knows other files"
    if world.store.manifest("shop") or scenario.end:
        outcome = world.apply(_builder(scenario), purge=scenario.purge)
        assert outcome.exit_code is ExitCode.OK, f"{what}: the next apply fails: {outcome_text(outcome, PLAIN)}"
    assert (world.state().files, world.state().up) == (after.files, after.up), f"{what}: the next apply does not get there"


def require_order(taken: Iterable[tuple[str, str]]) -> None:
    """What a lost write could undo. A file or directory is on disk with all in it before it gets its name, the intent before the first unit file
    changes, all names before the generation is in force, that before the intent goes, and the deletions before the record of the app goes.
    """
    unsynced: set[str] = set()
    """Files and directories that have changed since they were last synced."""
    for call, path in taken:
        source, _, what = path.rpartition(" -> ")
        if call == "syncfs":
            unsynced.clear()
        elif call == "fsync":
            unsynced.discard(what)
        elif call == "open":
            unsynced.add(what)
        elif call in ("rename", "unlink", "symlink", "mkdir", "rmdir"):
            unsynced.discard(what)
            folder, _, name = what.rpartition("/")
            if not name.startswith(TEMPORARY) or source.endswith(APP):
                _require_safe(call, source, what, unsynced)
                unsynced.add(folder)
    assert not [item for item in unsynced if UNITS in item or item.endswith(APP)], f"never synced: {unsynced}"


def _require_safe(call: str, source: str, what: str, unsynced: set[str]) -> None:
    """A name changes for good; all that has to be on disk before it is there."""
    inside = [item for item in unsynced if source and f"{item}/".startswith(f"{source}/")]
    assert not inside or source.endswith(APP), f"{what} gets its name before its content is on disk: {inside}"
    is_record_safe = not any(item.endswith((APP, APP.rpartition("/")[0])) for item in unsynced)
    if f"{UNITS}/" in what:
        assert is_record_safe, f"{what} changes before the intent is on disk: {unsynced}"
    elif source.endswith(APP) or (call == "rename" and what.endswith("/current")):
        late = [item for item in unsynced if UNITS in item or item.endswith("/generations")]
        assert not late, f"{call} {what} comes before {late}"
    elif call == "unlink" and what.endswith(f"{APP}/intent.json"):
        assert is_record_safe, "the intent goes before the generation is in force on disk"
