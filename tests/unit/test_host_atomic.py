"""Files appear whole or not at all, and no path leads where its owner should not reach."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nanod.errors import NanodError
from nanod.host import atomic
from nanod.host.atomic import TEMPORARY, Batch, OpenDirectory, make_root_directory, open_directory, refusing

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


def occupy(path: Path, kind: str, target: Path) -> None:
    match kind:
        case "symbolic link":
            path.symlink_to(target)
        case "directory":
            path.mkdir()
        case _:
            os.mkfifo(path)


def put(directory: Path, files: dict[str, bytes], mode: int = 0o644) -> None:
    with OpenDirectory.at(str(directory)) as opened:
        batch = Batch()
        for name, content in files.items():
            batch.put(opened, name, content, mode)
        batch.flush()


def left_over(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.startswith(TEMPORARY)]


def test_files_have_content_and_mode_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        put(tmp_path, {"a.service": b"one", "b.service": b""}, 0o644)
    finally:
        os.umask(old)
    assert (tmp_path / "a.service").read_bytes() == b"one"
    assert stat.S_IMODE((tmp_path / "a.service").stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.service", "b.service"]


def test_many_files_take_one_syncfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(atomic, "sync_file_system", synced.append)
    put(tmp_path, {f"{number}.service": b"x" for number in range(50)})
    assert len(synced) == 1
    assert len(list(tmp_path.iterdir())) == 50


def test_syncfs_is_the_real_one(tmp_path: Path) -> None:
    put(tmp_path, {f"{number}.service": b"x" for number in range(20)})
    with pytest.raises(OSError, match="Bad file descriptor"):
        atomic.sync_file_system(10_000)


def test_contents_are_on_disk_before_the_first_name_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 2 of the module: without it a power cut leaves empty units, which systemd takes for masks."""
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(descriptor: int) -> None:
        order.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    def note_rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        order.append("rename")
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    put(tmp_path, {"a": b"1", "b": b"2"})
    assert order == ["content", "content", "rename", "rename", "directory"]


def test_nothing_is_visible_before_flush_and_nothing_stays_after_discard(tmp_path: Path) -> None:
    with OpenDirectory.at(str(tmp_path)) as opened:
        batch = Batch()
        batch.put(opened, "a.service", b"x")
        assert [name for name in opened.names() if not name.startswith(TEMPORARY)] == []
        assert not any(name.endswith(".service") for name in opened.names())
        batch.discard()
        assert opened.names() == []


@pytest.mark.row("FAULTS-17")
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    for number in range(3):
        (tmp_path / str(number)).write_text("old")
    calls = iter(range(3))
    fdopen = os.fdopen

    def full(descriptor: int, mode: str) -> object:
        file = fdopen(descriptor, mode, 0)
        if next(calls) == failing:
            file.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return file

    monkeypatch.setattr(os, "fdopen", full)
    with OpenDirectory.at(str(tmp_path)) as opened:
        batch = Batch()
        for number in range(failing):
            batch.put(opened, str(number), b"new")
        with pytest.raises(NanodError, match=r"cannot write units: No space left on device") as caught, refusing("write units"):
            batch.put(opened, str(failing), b"new")
        batch.discard()
    assert caught.value.hint
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0": "old", "1": "old", "2": "old"}


def test_a_failing_rename_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename
    calls = iter((False, True))

    def failing(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if next(calls):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="Input/output error"):
        put(tmp_path, {"a": b"1", "b": b"2", "c": b"3"})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.row("FAULTS-42")
@pytest.mark.parametrize("kind", ["symbolic link", "directory", "named pipe"])
def test_only_regular_files_are_replaced(tmp_path: Path, kind: str) -> None:
    target, name = tmp_path / "target", tmp_path / "a.service"
    target.write_text("untouched")
    occupy(name, kind, target)
    with pytest.raises(FileExistsError, match=f"there is a {kind} of that name"):
        put(tmp_path, {"a.service": b"x"})
    assert target.read_text() == "untouched"
    assert left_over(tmp_path) == []


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with OpenDirectory.at(str(tmp_path)) as opened:
        assert {name: opened.read(name) for name in ("file", "link", "folder", "pipe", "missing")} == {
            "file": b"\xff",
            "link": None,
            "folder": None,
            "pipe": None,
            "missing": None,
        }
        assert opened.link_target("link") == "file"
        assert opened.link_target("file") is None
        assert opened.link_target("missing") is None


def test_links_are_turned_and_nothing_else_is_replaced_by_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with OpenDirectory.at(str(tmp_path)) as opened:
        opened.put_link("current", "one")
        opened.put_link("current", "two")
        assert opened.link_target("current") == "two"
        with pytest.raises(FileExistsError, match="regular file"):
            opened.put_link("file", "one")
        assert opened.names() == ["current", "file"]


@pytest.mark.row("FAULTS-16")
def test_a_writer_killed_between_put_and_flush_leaves_what_the_next_one_sweeps(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from nanod.host.atomic import *\n"
        "b = Batch(); d = OpenDirectory.at(sys.argv[1]); b.put(d, 'a.service', b'x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(left_over(tmp_path)) == 1
    with OpenDirectory.at(str(tmp_path)) as opened:
        opened.sweep()
    assert list(tmp_path.iterdir()) == []


class TestOpenDirectory:
    def test_resolves_links_as_if_the_root_were_the_root(self, tmp_path: Path) -> None:
        (tmp_path / "usr/lib").mkdir(parents=True)
        (tmp_path / "lib").symlink_to("/usr/lib")
        (tmp_path / "usr/up").symlink_to("../../../usr/lib")
        for path in ("/lib", "/usr/up", "/usr/../usr/lib"):
            with OpenDirectory.at(path, root=str(tmp_path)) as opened:
                assert os.path.samestat(os.fstat(opened.fd), (tmp_path / "usr/lib").stat())

    def test_makes_what_is_missing_only_when_asked(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            open_directory("/a/b", root=str(tmp_path))
        os.close(open_directory("/a/b", root=str(tmp_path), make=make_root_directory))
        assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o755

    def test_refuses_a_file_on_the_way_and_a_loop(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(NotADirectoryError):
            open_directory("/file/x", root=str(tmp_path))
        with pytest.raises(OSError, match="Too many levels"):
            open_directory("/loop", root=str(tmp_path))

    def test_leaks_no_descriptor(self, tmp_path: Path) -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for path in ("/a/b/../c", "/missing/x"):
            with OpenDirectory.at("/", root=str(tmp_path)):
                pass
            if path.startswith("/a"):
                os.close(open_directory(path, root=str(tmp_path), make=make_root_directory))
            else:
                with pytest.raises(FileNotFoundError):
                    open_directory(path, root=str(tmp_path))
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    @needs_root
    @pytest.mark.row("FAULTS-42")
    def test_refuses_a_step_from_a_users_directory_to_roots(self, tmp_path: Path) -> None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "home").mkdir()
        (tmp_path / "home/way").symlink_to("/etc")
        os.chown(tmp_path / "home", 1000, 1000)
        os.chown(tmp_path / "home/way", 1000, 1000, follow_symlinks=False)
        with pytest.raises(PermissionError, match="unsafe step from a directory of uid 1000 to what uid 0 owns"):
            open_directory("/home/way", root=str(tmp_path))
        (tmp_path / "tmp").mkdir()
        (tmp_path / "tmp/way").symlink_to("/etc")
        os.chown(tmp_path / "tmp/way", 1000, 1000, follow_symlinks=False)
        with pytest.raises(PermissionError, match="unsafe step"):
            open_directory("/tmp/way", root=str(tmp_path))

    @needs_root
    def test_follows_a_link_of_one_s_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "data/config").mkdir(parents=True)
        (tmp_path / "home").mkdir()
        (tmp_path / "home/.config").symlink_to("/data/config")
        for path in ("home", "home/.config", "data/config"):
            os.chown(tmp_path / path, 1000, 1000, follow_symlinks=False)
        with pytest.raises(PermissionError, match="unsafe step"):
            open_directory("/home/.config", root=str(tmp_path))
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with OpenDirectory.at("/home/.config", root=str(tmp_path)) as opened:
            assert os.path.samestat(os.fstat(opened.fd), (tmp_path / "data/config").stat())
