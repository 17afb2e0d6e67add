"""start, stop, restart, logs, run and provision, from words to exit codes, on a host that only remembers."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from nanod.cli import host, logs, run
from nanod.cli.app import main
from nanod.errors import BusyError, NanodError
from nanod.host import facts
from nanod.host.journal import Access
from nanod.host.store import LocalStore
from nanod.logs import LogEntry, Source
from nanod.units.names import by_hand
from tests.fakes import FakeReleases, failing
from tests.unit.test_run import WELL, Pipes, ending
from tests.unit.test_running import CRON, DB, MANIFEST, TARGET, WEB, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nanod.values import TimeSpan

HOOK = 'ExecStop=-:/usr/bin/env LIFECYCLE_PHASE=prestop NANOD_HOOK=drain /var/lib/nanod/lib/1/hook warn 30 /bin/sh -ec "./drain.sh"\n'
WORDS = [["start", "shop"], ["stop", "shop"], ["restart", "shop"], ["run", "shop", "web", "prestop"], ["provision", "shop"]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    made = World()
    made.store.manifests["shop"] = MANIFEST
    made.store.files[WEB] += f"[Service]\n{HOOK}"
    made.store.files["shop-web-provision.service"] = f"[Unit]\nConditionPathExists=|!{tmp_path}/sentinel\n"
    made.store.warnings = []  # type: ignore[attr-defined]
    made.given(TARGET, DB, CRON, down=(WEB,))

    def here(unit_dir: str | None = None) -> Any:
        del unit_dir
        fakes: Any = {"systemd": made.systemd, "store": made.store, "journal": made.journal, "clock": made.clock, "releases": FakeReleases()}
        return host.Here(**fakes, digests=lambda _: {})

    @contextmanager
    def locked(timeout: TimeSpan, **_: object) -> Iterator[None]:
        if timeout.usec == 0:
            raise BusyError("busy: held by pid 7 (nanod apply shop.yaml)")
        yield

    monkeypatch.setattr(host, "here", here)
    monkeypatch.setattr(host, "locked", locked)
    monkeypatch.setattr(host, "require_root", lambda _: None)
    monkeypatch.setattr(facts, "is_systemd", lambda: True)
    monkeypatch.setattr(host, "runtime_store", lambda: LocalStore(unit_dir=str(tmp_path)))
    monkeypatch.setattr(run, "Relay", lambda *_: nullcontext(Pipes(made.clock)))
    monkeypatch.setattr(LocalStore, "_stamped", lambda *_: {})
    return made


def _json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_start_stop_and_restart_say_what_became_of_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["start", "--settle", "0", "shop", "web"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("shop: healthy (1 service started, ")
    assert "web: up after " in shown.err
    assert main(["restart", "--settle", "0", "--json", "shop", "web"]) == 0
    assert _json(capsys)["action"] == "restart"
    assert main(["stop", "shop"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("shop: stopped (3 services stopped, ")
    assert "web: stopped after " in shown.err
    assert main(["stop", "--json", "shop"]) == 0
    assert [item["status"] for item in _json(capsys)["services"]] == ["was-down"] * 3
    world.systemd.on_start(WEB, failing(3))
    assert main(["start", "--json", "shop", "web"]) == 4
    assert _json(capsys)["verdict"] == "failed"


def test_provision_says_what_became_of_it(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    world.systemd.on_start("shop-web-provision.service", WELL)
    assert main(["provision", "shop"]) == 0
    assert capsys.readouterr().out.startswith("web: installed (")
    (tmp_path / "sentinel").touch()
    assert main(["provision", "--json", "shop", "web"]) == 0
    assert _json(capsys)["installs"][0]["status"] == "already-installed"
    world.systemd.on_start("shop-web-provision.service", failing(3))
    assert main(["provision", "--force", "shop"]) == 4
    assert "cannot provision web: " in capsys.readouterr().out
    assert main(["provision", "shop", "db"]) == 2


def test_run_exits_with_the_status_of_the_hook(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    name = by_hand(WEB, os.getpid(), 1)
    world.systemd.on_start(name, WELL)
    assert main(["run", "shop", "web", "prestop"]) == 0
    world.systemd.on_start(name, ending(1, 3))
    assert main(["run", "--json", "shop", "web", "prestop", "drain"]) == 3
    found = _json(capsys)
    assert (found["status"], found["hooks"][0]["name"], found["left"]) == (3, "drain", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "kind", "text"),
    [
        (["nope", "web", "prestop"], "refused", "there is no such app here"),
        (["shop", "nope", "prestop"], "usage", "shop has no such service"),
        (["shop", "web", "install"], "usage", "it is no hook, and runs once"),
        (["shop", "web", "prestop", "nope"], "usage", "there is no such hook"),
        (["--lock-timeout", "0", "shop", "web", "prestop"], "busy", "held by pid 7"),
    ],
)
@pytest.mark.usefixtures("world")
def test_what_run_itself_refuses_is_125(words: list[str], kind: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *words]) == 125
    assert text in capsys.readouterr().err
    assert main(["run", "--json", *words]) == 125
    error = _json(capsys)["error"]
    assert error["kind"] == kind
    assert text in error["message"]


def test_what_a_hook_prints_is_passed_on_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    run._to(1)(b"a\x00\xff".replace(b"\xff", b"\xc3\xa9"))
    run._to_stderr(b"<3>nanod: hook prestop/1 failed, status 3\n<3>mine\n")
    shown = capfd.readouterr()
    assert shown.out == "a\0é"
    assert shown.err == "nanod: hook prestop/1 failed, status 3\n<3>mine\n"


def test_output_that_cannot_be_written_is_said() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(NanodError, match="cannot write the output of the hook: No space left on device"):
        run._to(full)(b"x")
    os.close(full)
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        run._to(writing)(b"x")
    os.close(writing)


class _Journal:
    asked: dict[str, Any]
    can = Access.ALL

    def access(self, since: str) -> Access:
        del since
        return self.can

    def log(self, units: list[str], **how: Any) -> Iterator[LogEntry]:
        type(self).asked = {"units": units} | how
        yield LogEntry(at=1_700_000_000_000_001, unit=WEB, source=Source.SERVICE, priority=6, message="hello\x07")
        if how["follow"]:
            raise KeyboardInterrupt


@pytest.fixture
def journal(world: World, monkeypatch: pytest.MonkeyPatch) -> type[_Journal]:
    del world
    monkeypatch.setattr(logs, "Journalctl", lambda _: _Journal())
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(_Journal, "can", Access.ALL)
    return _Journal


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"since": "", "count": 100, "follow": False}),
        (["-n", "5"], {"since": "", "count": 5, "follow": False}),
        (["-n", "all"], {"since": "", "count": None, "follow": False}),
        (["--since", "10min"], {"since": "-600000000us", "count": None, "follow": False}),
        (["--since", "yesterday", "-n", "3"], {"since": "yesterday", "count": 3, "follow": False}),
    ],
)
def test_logs_asks_for_what_is_meant(words: list[str], expected: dict[str, Any], journal: type[_Journal], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", *words, "shop", "db", "web", "db"]) == 0
    assert journal.asked == {"units": [DB, WEB, "shop-web-provision.service"]} | expected
    assert capsys.readouterr().out == "Nov 14 22:13:20 web         | hello\\x07\n"


def test_logs_as_data_is_an_object_a_line(journal: type[_Journal], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "--json", "shop"]) == 0
    assert len(journal.asked["units"]) == 4
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert (json.loads(text)["time"], json.loads(text)["message"]) == ("2023-11-14T22:13:20.000001Z", "hello\x07")


@pytest.mark.usefixtures("journal")
def test_an_end_of_following_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "-f", "shop"]) == 130
    assert capsys.readouterr().err == ""


def test_who_may_not_read_the_journal_is_told_what_to_do(
    journal: type[_Journal], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/nanod", "logs", "shop"])
    monkeypatch.setattr(journal, "can", Access.NONE)
    assert main(["logs", "shop"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "the journal is readable to root and its groups alone\nhint: sudo nanod logs shop, or become a member of" in shown.err
    monkeypatch.setattr(journal, "can", Access.OWN)
    assert main(["logs", "shop"]) == 0
    shown = capsys.readouterr()
    assert "web" in shown.out
    assert "only what your own processes wrote" in shown.err


@pytest.mark.parametrize(
    "words", [["logs", "-n", "x", "shop"], ["logs", "-n", "-5", "shop"], ["run", "shop"], ["start"], ["start", "--settle", "x", "shop"]]
)
@pytest.mark.usefixtures("world")
def test_wrong_words_are_usage(words: list[str]) -> None:
    assert main(words) == 2


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "logs", "provision"])
@pytest.mark.usefixtures("journal")
def test_unknown_apps_and_services_are_named_beside_what_there_is(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "nope"]) == 1
    assert "there is no such app here\nhint: apps are: shop\n" in capsys.readouterr().err
    assert main([verb, "shop", "web", "nope"]) == 2
    assert "'nope': shop has no such service\nhint: services are: cron, web, db\n" in capsys.readouterr().err


@pytest.mark.parametrize("words", WORDS)
def test_without_systemd_or_root_they_say_so(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    refused = 125 if words[0] == "run" else 1
    monkeypatch.setattr(facts, "is_systemd", lambda: False)
    assert main(words) == refused
    assert "PID 1 of this machine is not systemd" in capsys.readouterr().err
    monkeypatch.setattr(facts, "is_systemd", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(words) == refused
    assert "only root may do that" in capsys.readouterr().err
