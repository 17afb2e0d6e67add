"""plan, apply, status and remove, from words to exit codes, on a host that only remembers."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from nanod.cli import host
from nanod.cli.app import main
from nanod.diagnostics import Mark, Report
from nanod.errors import BusyError, NanodError
from nanod.host import facts
from tests.fakes import FakeClock, FakeJournal, FakeReleases, FakeStore, FakeSystemd, failing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nanod.units.unitset import UnitSet
    from nanod.values import TimeSpan

_SPEC = """\
project: cli-test
services:
  web:
    command: [/bin/sleep, infinity]
    user: root
    sandbox: off
    hooks: {prestart: {run: "true", name: migrate}}
"""
_WEB = "cli-test-web.service"


class _Store(FakeStore):
    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []


class _World:
    """What the verbs find in place of this machine."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.systemd = FakeSystemd(self.clock)
        self.store = _Store()
        self.journal = FakeJournal()
        self.verified = 0
        self.verdict = Report()
        self.locks: list[str] = []

    def here(self, unit_dir: str | None = None) -> Any:
        del unit_dir
        fakes: Any = {"systemd": self.systemd, "store": self.store, "journal": self.journal, "clock": self.clock, "releases": FakeReleases()}
        return host.Here(**fakes, digests=lambda _: {})

    def verify(self, units: UnitSet, written: Mapping[str, str | None]) -> Report:
        assert written
        assert units.app == "cli-test"
        self.verified += 1
        return self.verdict

    @contextmanager
    def locked(self, timeout: TimeSpan, *, root: str = "/") -> Iterator[None]:
        self.locks.append(f"{timeout} {root}")
        yield


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> _World:
    made = _World()
    monkeypatch.setattr(host, "here", made.here)
    monkeypatch.setattr("nanod.host.verify.verify", made.verify)
    monkeypatch.setattr(host, "locked", made.locked)
    monkeypatch.setattr(host, "require_root", lambda _: None)
    monkeypatch.setattr(facts, "is_systemd", lambda: True)
    return made


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "shop.yaml"
    path.write_text(_SPEC)
    return str(path)


def _json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_plan_shows_and_changes_nothing(world: _World, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", spec]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("cli-test: 3 units written, 1 daemon-reload, 2 starts\n")
    assert "+ExecStart=:" in shown
    assert main(["plan", "--no-diff", "--detailed-exitcode", spec]) == 3
    shown = capsys.readouterr().out
    assert "+ExecStart=:" not in shown
    assert re.search(r"\n'nanod apply --expect [0-9a-f]{16}' does this, or refuses\n$", shown)
    assert (world.store.calls, world.systemd.calls, world.locks) == ([], [], [])


def test_plan_as_data(world: _World, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--json", spec]) == 0
    found = _json(capsys)
    assert (found["app"], found["empty"]) == ("cli-test", False)
    assert {step["action"] for step in found["steps"]} == {"write", "link", "daemon-reload", "start"}
    assert world.verified == 1


def test_apply_then_again_then_status_then_remove(world: _World, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    world.journal.said(_WEB, "prestart/migrate", 0)
    assert main(["apply", "--settle", "0", spec]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == "cli-test: 3 units written, 1 daemon-reload, 2 starts"
    assert "cli-test: healthy (1 service, " in shown.out
    assert "web: up after " in shown.err
    assert "\x1b" not in shown.out + shown.err
    assert world.store.manifests["cli-test"].about["web"].hooks[0].name == "migrate"
    assert (world.locks, world.verified) == (["1min /"], 1)

    del world.systemd.calls[:], world.store.calls[:]
    assert main(["apply", spec]) == main(["plan", "--detailed-exitcode", spec]) == 0
    assert "cli-test: nothing to do\n" in capsys.readouterr().out
    assert world.systemd.calls == []
    assert world.verified == 1, "what is on disk as it is wanted was verified when it was written"

    assert main(["status"]) == main(["status", "cli-test"]) == 0
    assert "\n`- web  run  healthy  " in capsys.readouterr().out
    assert main(["status", "--json", "cli-test"]) == 0
    assert _json(capsys)["apps"][0]["healthy"] is True

    assert main(["remove", "--json", "cli-test"]) == 0
    assert _json(capsys)["app"] == "cli-test"
    assert (world.store.files, world.store.manifests) == ({}, {})
    assert main(["status"]) == 0
    assert capsys.readouterr().out == "no apps\n"


def test_a_spec_that_was_moved_takes_its_app_over(world: _World, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", spec]) == 0
    moved = str(Path(spec).rename(Path(spec).with_name("moved.yaml")))
    world.systemd.calls.clear()
    assert main(["apply", moved]) == main(["plan", moved]) == 1
    assert f"it belongs to {spec}, and this is {moved}\nhint: if it was moved, --take-over" in capsys.readouterr().err
    assert main(["plan", "--take-over", "--detailed-exitcode", moved]) == 3
    assert main(["apply", "--take-over", moved]) == 0
    assert world.systemd.jobs() == [], "nothing that runs is touched"
    assert world.store.manifests["cli-test"].spec == moved
    assert main(["apply", moved]) == 0


def test_a_failed_apply_names_the_hook_and_exits_with_4(world: _World, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    world.systemd.on_start(_WEB, failing(0))
    world.journal.said(_WEB, "prestart/migrate", 3)
    world.journal.lines[_WEB] = ["no table"]
    assert main(["apply", spec]) == 4
    shown = capsys.readouterr().out
    assert "cannot start cli-test-web: " in shown
    assert "    no table\n" in shown
    assert "rolled back: cli-test is not there, as before" in shown
    assert main(["status"]) == 0
    assert capsys.readouterr().out == "no apps\n"


def test_apply_as_data(world: _World, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", "--json", "--settle", "0", "--lock-timeout", "2s", spec]) == 0
    found = _json(capsys)
    assert (found["app"], found["verdict"], found["interrupted"]) == ("cli-test", "healthy", False)
    assert [item["service"] for item in found["services"]] == ["web"]
    assert world.locks == ["2s /"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_apply_exits_with_130_and_is_put_back(
    world: _World, spec: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    sleep = FakeClock.sleep

    def interrupted(clock: FakeClock, seconds: float) -> None:
        sleep(clock, seconds)
        signal.raise_signal(number)

    # Each wait is interrupted, also those of the way back.
    monkeypatch.setattr(FakeClock, "sleep", interrupted)
    expected = 6 if number is signal.SIGINT else 130
    assert main(["apply", spec]) == expected
    assert "interrupted; " in capsys.readouterr().out
    assert (world.store.intents() == {}) is (expected == 130)
    assert signal.getsignal(number) is before


def test_a_spec_that_systemd_does_not_take_changes_nothing(world: _World, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    world.verdict.error(Mark(spec, 4, 5, 12), "systemd does not take this")
    assert main(["apply", spec]) == main(["plan", spec]) == 2
    assert f"{spec}:4:5: error: systemd does not take this\n    4 |     command:" in capsys.readouterr().err
    assert world.store.calls == world.systemd.calls == []


def test_what_the_host_lacks_is_said_at_its_line(world: _World, spec: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(_SPEC.replace("user: root", "user: nobody-has-this-name"))
    assert main(["apply", "--json", spec]) == 2
    found = _json(capsys)["error"]
    assert [(item["line"], item["message"]) for item in found["diagnostics"]] == [(5, "user 'nobody-has-this-name' does not exist on this host")]
    assert world.store.calls == []


def test_findings_that_are_no_errors_do_not_stop_an_apply(world: _World, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    world.verdict.note(Mark(spec, 4), "not there yet")
    assert main(["apply", "--settle", "0", spec]) == 0
    assert f"{spec}:4:0: note: not there yet\n" in capsys.readouterr().err


def test_records_that_cannot_be_read_are_said_once(world: _World, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    world.store.warnings[:] = ["torn", "torn"]
    assert main(["plan", spec]) == 0
    assert capsys.readouterr().err == "nanod: warning: torn\n"


@pytest.mark.parametrize("words", [["plan", "x.yaml"], ["apply", "x.yaml"], ["status"], ["remove", "shop"]])
def test_without_systemd_the_way_out_is_named(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(facts, "is_systemd", lambda: False)
    assert main(words) == 1
    shown = capsys.readouterr().err
    assert "PID 1 of this machine is not systemd" in shown
    assert "nanod rehearse SPEC" in shown


@pytest.mark.parametrize("words", [["apply", "x.yaml"], ["apply", "--root", "/mnt", "x.yaml"], ["remove", "shop"]])
def test_what_changes_the_host_is_for_root(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(facts, "is_systemd", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/nanod", *words])
    assert main(words) == 1
    assert (
        capsys.readouterr().err
        == f"nanod: cannot {words[0]}: only root may do that\nhint: sudo nanod {' '.join(words)}, or --user for your own systemd\n"
    )


@pytest.mark.parametrize("words", [["status", "nope"], ["remove", "nope"]])
def test_an_app_that_is_not_there(world: _World, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    assert "nope: there is no such app here\nhint: no app is applied here\n" in capsys.readouterr().err
    assert world.systemd.calls == []


def test_a_directory_that_systemd_does_not_read_is_no_place_for_units(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(facts, "is_systemd", lambda: True)
    assert main(["status", "--unit-dir", "/srv/units"]) == 2
    assert "cannot use /srv/units: systemd does not look for units there" in capsys.readouterr().err
    assert host.here("/run/systemd/system/").store.unit_dir == "/run/systemd/system"


def test_busy_exits_with_5(world: _World, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object, **__: object) -> None:
        raise BusyError("busy: held by pid 7 (nanod apply other.yaml)")

    monkeypatch.setattr(host, "locked", locked)
    assert main(["apply", spec]) == 5
    assert world.store.calls == []


def test_a_refusing_systemd_exits_with_1(world: _World, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    world.systemd.refuses["start", "cli-test.target"] = "cannot start cli-test.target: no"
    assert main(["apply", spec]) == 1
    assert capsys.readouterr().err.endswith("nanod: cannot start cli-test.target: no; what was done is undone\n")


@pytest.mark.parametrize("answer", [True, False])
def test_purge_asks_on_a_terminal(
    world: _World, spec: str, *, answer: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", "--settle", "0", spec]) == 0
    asked: list[str] = []

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return answer

    monkeypatch.setattr(click, "confirm", confirm)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["remove", "--purge", "cli-test"]) == (0 if answer else 1)
    assert len(asked) == 1
    assert "/var/cache/nanod/cli-test/web" in asked[0]
    assert ("cli-test" in world.store.manifests) is not answer
    assert ("you said no" in capsys.readouterr().err) is not answer


@pytest.mark.parametrize("words", [["remove", "--purge", "--yes", "cli-test"], ["remove", "--purge", "cli-test"], ["remove", "cli-test"]])
def test_nothing_is_asked_where_nobody_can_answer(world: _World, spec: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["apply", "--settle", "0", spec]) == 0

    def confirm(*_: object, **__: object) -> bool:
        raise AssertionError

    monkeypatch.setattr(click, "confirm", confirm)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: "--yes" in words)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: "--yes" in words)
    assert main(words) == 0
    assert world.store.manifests == {}


def test_root_only_installs_files(
    world: _World, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root installs into a tree")
    monkeypatch.setattr(facts, "is_systemd", lambda: False)
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    assert main(["apply", "--root", str(tree), spec]) == 0
    assert capsys.readouterr().out.startswith("cli-test: 3 units written\n")
    assert (tree / "etc/systemd/system" / _WEB).is_file()
    assert (tree / "etc/systemd/system/multi-user.target.wants/cli-test.target").is_symlink()
    assert main(["apply", "--json", "--root", str(tree), spec]) == 0
    assert _json(capsys)["empty"] is True
    assert world.systemd.calls == world.store.calls == []


def test_a_full_run_is_refused_before_the_first_change(world: _World, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise NanodError("cannot apply: /run has 3 KiB left")

    monkeypatch.setattr(facts, "require_run_space", refuse)
    assert main(["apply", spec]) == 1
    assert world.store.calls == world.systemd.calls == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_spec_that_others_could_change_is_refused_before_it_is_read(world: _World, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.chown(spec, 1000, 1000)
    assert main(["apply", "--settle", "0", spec]) == 1
    assert f"cannot apply {spec}: {spec} belongs to uid 1000, and root does what it says" in capsys.readouterr().err
    assert world.locks == []
    assert main(["plan", spec]) == 0, "which changes nothing"
    assert main(["apply", "--any-owner", "--settle", "0", spec]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_who_calls_sudo_may_have_the_spec_and_nobody_else(world: _World, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(spec, 1000, 1000)
    monkeypatch.setenv("SUDO_UID", "1001")
    assert main(["apply", "--settle", "0", spec]) == 1
    monkeypatch.setenv("SUDO_UID", "1000")
    assert main(["apply", "--settle", "0", spec]) == 0
    assert world.locks


def test_apply_notes_that_deploy_is_another_command_but_where_that_has_put_the_spec(
    world: _World, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    note = "note: 'deploy' is for 'nanod deploy': apply knows this host alone, and does not run 'prepare'"
    Path(spec).write_text(f"{_SPEC}deploy: {{target: root@a, path: /opt/shop, prepare: exit 1}}\n")
    assert main(["apply", spec]) == 0
    assert capsys.readouterr().err.count(note) == 1
    Path(spec).write_text(f"{_SPEC}deploy: {{target: root@a, path: {Path(spec).parent}, prepare: exit 1}}\n")
    assert main(["apply", spec]) == 0
    assert note not in capsys.readouterr().err
    assert world.verified == 1
