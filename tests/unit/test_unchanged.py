"""A no-op without reading the spec: never where there is anything to do or to say, and the same plan as the long way makes."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nanod.cli import flow, host, unchanged
from nanod.cli.app import main
from nanod.compile import Target
from nanod.diagnostics import Report
from nanod.host import facts, safety
from nanod.host.snapshot import snapshot
from nanod.values import content_hash
from tests.fakes import FakeClock, FakeJournal, FakeReleases, FakeStore, FakeSystemd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nanod.state import Manifest

_APP, _WEB = "unchanging", "unchanging-web.service"
_SPEC = """\
project: unchanging
services:
  web:
    command: [TOP/program]
    sandbox: off
    restart_on: [TOP/watched]
    volumes: [/srv/unchanging]
    credentials: {key: TOP/secret}
    provisioning: {install: "true", inputs: [TOP/input]}
    hooks: {prestart: {run: [/bin/true], user: nobody}}
"""


class _Store(FakeStore):
    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []


class _World:
    """A spec, and the machine that it is applied on. `seen`: what a look at it finds beside what there is; `loose`: what others may write."""

    def __init__(self, top: Path) -> None:
        self.clock, self.store, self.top, self.spec = FakeClock(), _Store(), top, top / "shop.yaml"
        self.systemd = FakeSystemd(self.clock)
        self.seen: dict[str, Any] = {"missing_directories": frozenset()}
        self.loose: set[str] = set()
        self.compiled = 0
        self.version = 252
        self.spec.write_text(_SPEC.replace("TOP", str(top)))
        for name in ("program", "watched", "secret", "input"):
            Path(top, name).write_text("1")

    def here(self, unit_dir: str | None = None) -> Any:
        del unit_dir
        fakes: Any = {"systemd": self.systemd, "store": self.store, "journal": FakeJournal(), "clock": self.clock, "releases": FakeReleases()}
        return host.Here(**fakes, digests=facts.digests)

    def is_quick(self, *, env: str | None = None, any_owner: bool = False) -> bool:
        return unchanged.unchanged(str(self.spec), env=env, host=self.here(), any_owner=any_owner) is not None

    def record(self, **changes: Any) -> Manifest:
        self.store.manifests[_APP] = replace(self.store.manifests[_APP], **changes)
        return self.store.manifests[_APP]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _World:
    made = _World(tmp_path)
    compiled = flow.compiled

    def look(*args: Any, **options: Any) -> Any:
        return replace(snapshot(*args, **options), **made.seen)

    def counted(*args: Any, **options: Any) -> Any:
        made.compiled += 1
        return compiled(*args, **options)

    @contextmanager
    def locked(*_: object) -> Iterator[None]:
        yield

    for module in (unchanged, host):
        monkeypatch.setattr(module, "snapshot", look)
    for place in (unchanged, host, safety):
        monkeypatch.setattr(place, "unsafe", lambda path, *_: "it is loose" if path in made.loose else "")
    monkeypatch.setattr(flow, "compiled", counted)
    monkeypatch.setattr(host, "here", made.here)
    monkeypatch.setattr(host, "locked", locked)
    monkeypatch.setattr(host, "require_root", lambda _: None)
    monkeypatch.setattr("nanod.host.verify.verify", lambda *_: Report())
    monkeypatch.setattr(facts, "is_systemd", lambda: True)
    monkeypatch.setattr(FakeSystemd, "version", lambda _: made.version)
    assert main(["apply", "--settle", "0", str(made.spec)]) == 0
    assert (made.compiled, made.is_quick()) == (1, True)
    return made


def test_an_applied_spec_is_not_compiled_again_and_the_same_is_said(world: _World, capsys: pytest.CaptureFixture[str]) -> None:
    def both() -> tuple[str, str]:
        assert main(["apply", str(world.spec)]) == main(["plan", "--json", "--detailed-exitcode", str(world.spec)]) == 0
        return capsys.readouterr()

    capsys.readouterr()
    del world.store.calls[:], world.systemd.calls[:]
    quick = both()
    assert (world.compiled, world.store.calls, world.systemd.calls) == (1, [], [])
    world.store.made_from.clear()
    assert quick == both(), "the same plan with the same token, and each warning with its line"
    assert "'web' runs as root" in quick[1]
    assert world.compiled == 3
    assert not world.store.made_from, "where nothing changes nothing is written"


def test_a_token_of_either_way_is_good_for_the_other(world: _World) -> None:
    same = unchanged.unchanged(str(world.spec), env=None, host=world.here(), any_owner=False)
    assert same
    world.store.made_from.clear()
    assert host.planned(str(world.spec), env=None, host=world.here()).plan.token == same.plan.token


def _changed(name: str) -> Callable[[_World], object]:
    return lambda world: Path(world.top, name).write_text("2")


CHANGES: dict[str, Callable[[_World], object]] = {
    "a comment in the spec": lambda world: world.spec.write_text(f"{world.spec.read_text()}# new\n"),
    "the spec gone": lambda world: world.spec.unlink(),
    "a unit file edited": lambda world: world.store.files.update({_WEB: f"{world.store.files[_WEB]}# mine\n"}),
    "a unit file deleted": lambda world: world.store.files.pop(_WEB),
    "a unit file emptied": lambda world: world.store.files.update({_WEB: ""}),
    "another unit file, and the record agrees": lambda world: (
        world.store.files.update({_WEB: f"{world.store.files[_WEB]}# mine\n"}),
        world.record(units={**world.record().units, _WEB: content_hash(world.store.files[_WEB])}),
    ),
    "an enablement link removed": lambda world: world.store.enabled.clear(),
    "a dead service": lambda world: world.systemd.given(_WEB, "inactive", "dead"),
    "a failed service": lambda world: world.systemd.given(_WEB, "failed", "failed"),
    "a dead target": lambda world: world.systemd.given(f"{_APP}.target", "inactive", "dead"),
    "a mask": lambda world: world.seen.update(masked=frozenset([_WEB])),
    "a drop-in": lambda world: world.seen.update(drop_ins={_WEB: ("/etc/systemd/system/own.conf",)}),
    "a name that is taken": lambda world: world.seen.update(foreign={_WEB: "app 'other'"}),
    "a missing volume": lambda world: world.seen.update(missing_directories=frozenset(["/srv/unchanging"])),
    "a watched file": _changed("watched"),
    "an input of the installation": _changed("input"),
    "a missing credential": lambda world: Path(world.top, "secret").unlink(),
    "a program that others may write": lambda world: world.loose.add(f"{world.top}/program"),
    "a credential that others may write": lambda world: world.loose.add(f"{world.top}/secret"),
    "a volume below what others may write": lambda world: world.loose.add("/srv"),
    "another systemd": lambda world: setattr(world, "version", 257),
    "another record": lambda world: world.record(about={}),
    "a generation that was rolled back to": lambda world: world.record(generation=7),
    "a unit that did not get to its process": lambda world: world.record(units={**world.record().units, _WEB: ""}),
    "a unit still to be removed": lambda world: world.record(units={**world.record().units, "unchanging-old.service": "1"}),
    "a service still to be removed": lambda world: world.record(services={**world.record().services, "old": ("unchanging-old.service",)}),
    "no record": lambda world: world.store.manifests.clear(),
    "nothing remembered": lambda world: world.store.made_from.clear(),
    "what is remembered, torn": lambda world: world.store.made_from.update({_APP: world.store.made_from[_APP][:-20]}),
    "what is remembered, lost": lambda world: world.store.made_from.update({_APP: bytes(100)}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_whatever_changes_the_spec_is_read(world: _World, change: Callable[[_World], object]) -> None:
    change(world)
    assert not world.is_quick()


def test_a_user_of_a_hook_that_is_gone(world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "find_user", lambda name, *_: None if name == "nobody" else (0, 0))
    assert not world.is_quick()


def test_who_takes_any_owner_takes_it_here_too(world: _World) -> None:
    world.loose.add(f"{world.top}/program")
    assert world.is_quick(any_owner=True)


def test_another_environment_or_place_is_another_spec(world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not world.is_quick(env="stage")
    monkeypatch.chdir(world.top)
    world.spec = Path("shop.yaml")
    assert world.is_quick()
    world.spec = world.spec.rename("moved.yaml")
    assert not world.is_quick()


def test_another_nanod_reads_the_spec(world: _World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in unchanged.CODE:
        Path(tmp_path, "code", folder).mkdir(parents=True, exist_ok=True)
    code = Path(tmp_path, "code", "compile", "part.py")
    code.write_text("old")
    monkeypatch.setattr(unchanged, "PACKAGE", tmp_path / "code")
    assert not world.is_quick()
    world.spec.write_text(f"{world.spec.read_text()}    environment: {{A: b}}\n")
    assert main(["apply", str(world.spec)]) == 0
    assert world.is_quick()
    os.utime(code, ns=(1, 1))
    assert not world.is_quick()


def test_what_can_be_read_only_once_is_left_to_the_loader(world: _World) -> None:
    for path in ("-", "/dev/null", str(world.top)):
        assert unchanged.unchanged(path, env=None, host=world.here(), any_owner=False) is None
    assert unchanged.STDIN == "-"


def test_a_failed_apply_is_not_remembered(world: _World) -> None:
    before = dict(world.store.made_from)
    world.spec.write_text(f"{world.spec.read_text()}    environment: {{A: b}}\n")
    world.systemd.refuses["restart", _WEB] = "no"
    assert main(["apply", "--no-rollback", str(world.spec)]) != 0
    assert world.store.made_from == before
    assert not world.is_quick()


def test_all_that_a_compilation_follows_from_is_in_the_digests() -> None:
    """A new field here belongs into `unchanged.made_from`. A release that is gone is something to do, and who asks for one more goes the full way."""
    assert {item.name for item in fields(Target)} == {"version", "inputs", "sources", "releases", "rebuilds", "colours", "unit_dir", "scope"}
