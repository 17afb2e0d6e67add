"""The daemon's borders, one by one, on the real kernel: inotify, sockets, children, and what it remembers on disk."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.daemon import control, kept
from nanod.daemon.children import Child, run
from nanod.daemon.control import IDLE, LONGEST, MOST, Server, asked, http, listen_loopback, listen_unix
from nanod.daemon.state import Outcome, Result, Spec
from nanod.daemon.watch import Change, Kind, Mounts, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


# Watches


@pytest.fixture
def watch() -> Iterator[Watch]:
    made = Watch()
    yield made
    made.close()


def test_complete_files_are_told_of_and_begun_ones_are_not(watch: Watch, tmp_path: Path) -> None:
    assert watch.follow({str(tmp_path): [Kind.FILES]})
    with (tmp_path / "a").open("w") as file:
        file.write("half")
        file.flush()
        assert watch.read() == []
    assert watch.read() == [Change(str(tmp_path), "a")]
    (tmp_path / "a").rename(tmp_path / "b")
    assert watch.read() == [Change(str(tmp_path), "a"), Change(str(tmp_path), "b")]
    (tmp_path / "c").symlink_to("b")
    (tmp_path / "d").hardlink_to(tmp_path / "b")
    (tmp_path / "b").unlink()
    assert watch.read() == [Change(str(tmp_path), name) for name in ("c", "d", "b")]


def test_each_kind_is_told_of_what_it_is_for(watch: Watch, tmp_path: Path) -> None:
    for name in ("names", "closed", "moved"):
        (tmp_path / name).mkdir()
    watch.follow({str(tmp_path / "names"): [Kind.NAMES], str(tmp_path / "closed"): [Kind.CLOSED], str(tmp_path / "moved"): [Kind.MOVED]})
    for name in ("names", "closed", "moved"):
        (tmp_path / name / "old").write_text("")
        (tmp_path / name / "old").rename(tmp_path / name / "new")
        (tmp_path / name / "folder").mkdir()
    found = [(Path(change.place).name, change.name) for change in watch.read() or []]
    assert found == [("names", "old"), ("names", "new"), ("names", "folder"), ("closed", "old"), ("moved", "new")]


def test_a_directory_that_is_replaced_is_told_of_and_followed_anew(watch: Watch, tmp_path: Path) -> None:
    place = tmp_path / "specs"
    place.mkdir()
    assert watch.follow({str(place): [Kind.FILES]})
    assert not watch.follow({str(place): [Kind.FILES]})
    place.rename(tmp_path / "old")
    place.mkdir()
    assert Change(str(place), "") in (watch.read() or [])
    assert watch.follow({str(place): [Kind.FILES]})
    (place / "a").write_text("")
    (tmp_path / "old/b").write_text("")
    assert set(watch.read() or []) == {Change(str(place), "a")}


def test_two_ways_to_a_directory_are_both_told_of(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    ways = {str(tmp_path / "real"): [Kind.FILES], str(tmp_path / "link"): [Kind.NAMES]}
    watch.follow(ways)
    (tmp_path / "real/a").write_text("")
    assert {change.place for change in watch.read() or []} == set(ways)
    watch.follow({str(tmp_path / "link"): [Kind.NAMES]})
    (tmp_path / "real/b").mkdir()
    assert watch.read() == [Change(str(tmp_path / "link"), "b")]


def test_a_directory_that_is_not_there_is_no_error(watch: Watch, tmp_path: Path) -> None:
    assert not watch.follow({str(tmp_path / "nowhere"): [Kind.FILES]})
    assert watch.problem == ""


def test_when_the_queue_runs_over_that_is_said(watch: Watch, tmp_path: Path) -> None:
    watch.follow({str(tmp_path): [Kind.FILES]})
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    names = [str(tmp_path / f"{number}") for number in range(2)]
    for _ in range(limit // 2 + 10):
        for name in names:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT))
    assert watch.read() is None
    assert watch.read() == []


def test_nothing_is_mounted_and_nothing_is_told() -> None:
    mounts = Mounts()
    import select  # noqa: PLC0415  (here alone)

    poll = select.poll()
    poll.register(mounts, select.POLLIN)
    assert poll.poll(0) == []
    mounts.close()


# Sockets


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(listen_unix(str(tmp_path / "control")), tell=lambda _: None)
    yield made
    made.close()


def client(server: Server) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(5)
    made.connect(server.socket.getsockname())
    return made


def test_the_socket_is_roots_alone_and_replaces_one_that_was_left(tmp_path: Path) -> None:
    path = tmp_path / "control"
    listen_unix(str(path)).close()
    listening = listen_unix(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listening.close()
    path.unlink()
    path.write_text("")
    with pytest.raises(FileExistsError):
        listen_unix(str(path))


def test_requests_come_in_parts_and_one_after_the_other(server: Server) -> None:
    with client(server) as mine:
        connection = server.accept(0.0)
        assert connection
        mine.sendall(b'{"do": ')
        assert connection.receive()
        assert connection.request() is None
        mine.sendall(b'"status"}\n{"do": "history"}\n')
        assert connection.receive()
        assert connection.request() == '{"do": "status"}'
        connection.waits = True
        assert connection.request() is None, "one at a time"
        connection.answer(b"1\n", 0.0)
        assert connection.request() == '{"do": "history"}'
        assert mine.recv(10) == b"1\n"
    assert not connection.receive(), "the other side is gone"


def test_a_request_that_is_too_long_is_refused(server: Server) -> None:
    with client(server) as mine:
        connection = server.accept(0.0)
        assert connection
        mine.sendall(b"x" * (LONGEST + 1))
        connection.receive()
        with pytest.raises(ValueError, match="at most"):
            connection.request()


def test_only_so_many_at_once_and_none_for_ever(server: Server) -> None:
    clients = [client(server) for _ in range(MOST + 1)]
    accepted = [server.accept(float(number)) for number in range(MOST + 1)]
    assert [item is not None for item in accepted] == [True] * MOST + [False]
    assert b"16 connections already" in clients[-1].recv(1000)
    assert server.due() == IDLE
    first = accepted[0]
    assert first
    first.waits = True
    assert server.due() == 1.0 + IDLE, "who waits for an answer is not idle"
    first.close()
    server.sweep()
    assert len(server.connections) == MOST - 1
    for item in clients:
        item.close()


def test_an_answer_that_is_not_taken_waits_and_is_sent_later(server: Server) -> None:
    with client(server) as mine:
        connection = server.accept(0.0)
        assert connection
        content = b"x" * 2_000_000
        connection.answer(content, 0.0, ends=True)
        assert connection.left
        taken = b""
        while part := mine.recv(65536):
            taken += part
            connection.send()
        assert taken == content
        assert not connection.is_open


@pytest.mark.parametrize("text", ["", "reload", "[]", "{}", '{"do": 1}', '"status"'])
def test_what_is_no_request(text: str) -> None:
    with pytest.raises(ValueError, match="a request is"):
        asked(text)


def test_http_on_loopback() -> None:
    server = Server(listen_loopback("127.0.0.1", 0), tell=lambda _: None, is_http=True)
    port = server.socket.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port), timeout=5) as mine:
        connection = server.accept(0.0)
        assert connection
        mine.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        connection.receive()
        assert connection.request() is None
        mine.sendall(b"\r\n")
        connection.receive()
        assert (connection.request() or "").startswith("GET /metrics HTTP/1.1")
        connection.answer(http(200, "ü", control.http.__name__), 0.0, ends=True)
        said = b""
        while part := mine.recv(1000):
            said += part
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"Content-Length: 2" in head
    assert body.decode() == "ü"
    server.close()


# Children


def test_a_child_says_what_it_has_to_say() -> None:
    done = run([sys.executable, "-c", "import sys; print('ü'); sys.stderr.write('e'); sys.exit(3)"], timeout=30)
    assert (done.status, done.out, done.err) == (3, "ü\n", "e")


def test_a_child_that_hangs_is_killed() -> None:
    begin = time.monotonic()
    assert run(["sleep", "60"], timeout=0.2).status == -9
    assert time.monotonic() - begin < 30


def test_a_child_knows_nothing_of_our_notifications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    said = run(["env"], timeout=30).out
    assert "NOTIFY_SOCKET" not in said
    assert "WATCHDOG_USEC" not in said
    assert "SYSTEMD_BUS_TIMEOUT=10min" in said


def test_a_program_that_is_not_there() -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208  (names are all that is asked)
    with pytest.raises(FileNotFoundError):
        Child(["/nowhere/x"])
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  (as above)


# What is remembered


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    last = Outcome(result=Result.REFUSED, at="now", exit_code=2, lines=("a", "b"), awaits=("mail",))
    specs = {"shop": Spec(seen="1", tried="1", app="shop", gone=1.0), "bad": Spec(tried="2", last=last), "new": Spec(seen="3")}
    kept.save("/etc/nanod/specs.d", specs, str(tmp_path))
    found, problem = kept.load("/etc/nanod/specs.d", str(tmp_path))
    assert (found, problem) == ({"shop": Spec(tried="1", app="shop"), "bad": Spec(tried="2", last=last)}, "")
    kept.save("/srv/other", {}, str(tmp_path))
    assert kept.load("/etc/nanod/specs.d", str(tmp_path)) == (found, ""), "another directory is another record"
    assert kept.load("/srv/other", str(tmp_path)) == ({}, "")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"version": 1}', "\0\0\0", '{"version": 1, "directories": {"/x": {"a": {}}}}', '{"version": 2}']
)
def test_a_record_that_is_torn_or_newer_is_none_and_said(content: str, tmp_path: Path) -> None:
    (tmp_path / "specs.json").write_text(content)
    found, problem = kept.load("/x", str(tmp_path))
    assert found == {}
    assert problem.startswith(f"cannot use {tmp_path}/specs.json: ")
    kept.save("/x", {"a": Spec(tried="1")}, str(tmp_path))
    assert kept.load("/x", str(tmp_path)) == ({"a": Spec(tried="1")}, "")


def test_no_record_is_none(tmp_path: Path) -> None:
    assert kept.load("/x", str(tmp_path)) == ({}, "")


# Units


@pytest.mark.parametrize(("unit", "most"), [("nanod.service", 3.5), ("nanod-apply@.service", 4.5), ("nanod-remove@.service", 4.5)])
def test_how_exposed_a_unit_is(unit: str, most: float) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--json=short", f"--threshold={most * 10:g}", ROOT / "units" / unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_units_are_what_systemd_takes(tmp_path: Path) -> None:
    """With a program of that name: nanod's own is not installed where tests run."""
    for path in (ROOT / "units").glob("nanod*.service"):
        text = path.read_text().replace("ExecStart=nanod ", "ExecStart=/bin/true ").replace("ExecReload=nanod ", "ExecReload=/bin/true ")
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *sorted(tmp_path.iterdir())], capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


def test_the_running_daemon_imports_nothing_heavy() -> None:
    """Its memory is measured beside supervisord's; asyncio alone is 5 MB."""
    script = "import json, sys; import nanod.daemon.service; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(json.loads(done.stdout))
    assert (
        loaded & {"yaml", "pystemd", "jsonschema", "click", "asyncio", "dataclasses", "inspect", "http", "nanod.spec", "nanod.compile", "nanod.host"}
        == set()
    )
