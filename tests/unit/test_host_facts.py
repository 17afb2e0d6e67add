"""What is asked of the host before anything is written."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from nanod.errors import NanodError
from nanod.host import facts
from nanod.host.accounts import find_group, find_user, owner
from nanod.host.clock import SystemClock
from nanod.state import UnitState

from .host_units import app, mark, unit

if TYPE_CHECKING:
    from pathlib import Path

needs_systemctl = pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemd is not installed")


class TestDigests:
    def test_of_files(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"abc")
        os.mkfifo(tmp_path / "pipe")
        paths = [str(tmp_path / name) for name in ("file", "missing", "pipe", "file/below")]
        found = facts.digests(paths)
        assert [found[path] for path in paths] == [hashlib.sha256(b"abc").hexdigest(), "", "", ""]
        assert facts.digests(["/file"], str(tmp_path)) == {"/file": hashlib.sha256(b"abc").hexdigest()}

    def test_of_a_directory_follow_names_and_contents(self, tmp_path: Path) -> None:
        top = tmp_path / "top"
        (top / "sub").mkdir(parents=True)
        (top / "a").write_text("1")
        (top / "sub/b").write_text("2")
        (top / "link").symlink_to("a")
        seen = [facts.digests([str(top)])[str(top)]]

        def changed() -> bool:
            seen.append(facts.digests([str(top)])[str(top)])
            return seen[-1] not in seen[:-1]

        assert not changed()
        (top / "sub/b").write_text("3")
        assert changed()
        (top / "sub/b").rename(top / "sub/c")
        assert changed()
        (top / "link").unlink()
        (top / "link").symlink_to("sub")
        assert changed()
        (top / "empty").mkdir()
        assert changed()
        os.utime(top / "a", (1, 1))
        assert not changed()

    def test_of_a_link_to_a_directory_do_not_leave_the_directory(self, tmp_path: Path) -> None:
        (tmp_path / "top").mkdir()
        (tmp_path / "top/up").symlink_to("..")
        assert facts.digests([str(tmp_path / "top")])[str(tmp_path / "top")]

    def test_of_a_huge_directory_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(facts, "_DIRECTORY_LIMIT", 3)
        for number in range(4):
            (tmp_path / str(number)).write_text("")
        with pytest.raises(NanodError, match="more than 3 files"):
            facts.digests([str(tmp_path)])

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_of_what_may_not_be_read_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        (tmp_path / "file").chmod(0)
        with pytest.raises(NanodError, match="cannot read"):
            facts.digests([str(tmp_path / "file")])


class TestAccounts:
    def test_of_this_machine(self) -> None:
        assert find_user("root") == (0, 0)
        assert find_user("0") == (0, 0)
        assert find_user("no-such-user") is None
        assert find_user("987654321") is None
        assert find_group("root") == 0
        assert find_group("no-such-group") is None

    def test_of_a_tree_come_from_its_own_files(self, tmp_path: Path) -> None:
        assert find_user("root", str(tmp_path)) is None
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/passwd").write_text("broken\nshop:x:1000:1001::/:/bin/sh\n")
        (tmp_path / "etc/group").write_text("staff:x:50:shop\n")
        root = str(tmp_path)
        assert find_user("shop", root) == find_user("1000", root) == (1000, 1001)
        assert find_user("root", root) is None
        assert find_group("staff", root) == find_group("50", root) == 50
        assert owner("shop", None, root) == (1000, 1001)
        assert owner("shop", "staff", root) == (1000, 50)


def test_everything_missing_is_reported_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("shop:x:1000:1001::/:/bin/sh\n")
    (tmp_path / "here").write_text("")
    wanted = app(
        unit("shop-web.service", ("Service", "Group", "nogroup-here")),
        users=(("shop", mark(1)), ("ghost", mark(2))),
        files=(("/here", mark(3)), ("/gone", mark(4))),
        host_units=(("postgresql.service", mark(5)), ("redis.service", mark(6)), ("unasked.service", mark(7))),
    )
    states = {"postgresql.service": UnitState(name="postgresql.service"), "redis.service": UnitState(name="redis.service", load="loaded")}
    assert [(item.mark.line, item.message) for item in facts.check_host(wanted, states, str(tmp_path))] == [
        (2, "user 'ghost' does not exist on this host"),
        (4, "'/gone' does not exist on this host"),
        (5, "unit 'postgresql.service' does not exist on this host"),
        (10, "group 'nogroup-here' does not exist on this host"),
    ]


@needs_systemctl
def test_the_installed_systemd_tells_its_version() -> None:
    assert facts.systemd_version() >= 252


@pytest.mark.skipif(facts.is_systemd(), reason="this machine runs systemd")
def test_without_systemd_the_way_out_is_named() -> None:
    with pytest.raises(NanodError, match="cannot apply: PID 1 of this machine is not systemd") as caught:
        facts.require_systemd("apply")
    assert caught.value.hint == "'nanod rehearse SPEC' applies it to a throw-away systemd"


@pytest.mark.row("FAULTS-34")
def test_too_little_space_in_run_is_told_before_anything_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    facts.require_run_space()
    monkeypatch.setattr(facts, "RUN_SPACE", 2**62)
    with pytest.raises(NanodError, match=r"cannot apply: /run has .* left") as caught:
        facts.require_run_space()
    assert caught.value.hint


def test_the_clock_goes_forward() -> None:
    clock = SystemClock()
    before, wall = clock.now(), clock.wall()
    clock.sleep(0.002)
    assert clock.now() - before >= 0.002
    assert 0 < clock.wall() - wall < 10_000_000


def test_a_pipe_put_in_the_place_of_a_file_does_not_hold_anybody_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert facts._file(pipe) == ""
