"""Release directories below a root of their own: what counts of a source, what a copy is, and what a hostile source or build cannot do."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nanod.diagnostics import Mark
from nanod.errors import NanodError
from nanod.host import releases as module
from nanod.host.releases import LocalReleases
from nanod.scope import SYSTEM
from nanod.units.unitset import Release

if TYPE_CHECKING:
    from collections.abc import Callable

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
SOURCE = "/srv/web"
PLACE = f"{SYSTEM.releases}/shop/web"
EVERYTHING = ("**",)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(f"me:x:{os.getuid()}:{os.getgid()}::/:\nroot:x:0:0::/:\nshop:x:1000:1001::/:/bin/sh\n")
    (tmp_path / "etc/group").write_text(f"me:x:{os.getgid()}:\n")
    (tmp_path / "srv/web/lib").mkdir(parents=True)
    put(tmp_path, "serve", "#!/bin/sh\n", 0o755)
    put(tmp_path, "lib/a.py", "a")
    (tmp_path / "srv/web/latest").symlink_to("lib/a.py")
    return tmp_path


@pytest.fixture
def releases(root: Path) -> LocalReleases:
    return LocalReleases(str(root))


def put(root: Path, name: str, text: str, mode: int = 0o644) -> Path:
    path = root / "srv/web" / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def release(releases: LocalReleases, name: str = "one", **facts: Any) -> Release:
    inputs = facts.get("inputs", EVERYTHING)
    given: dict[str, Any] = {"source": SOURCE, "user": "me", "group": None, "keep": 5, "digest": releases.digest(SOURCE, inputs)}
    return Release(service="web", name=name, path=f"{PLACE}/{name}", build=None, origin=Mark("a", 1, 1, 2), **given | {"inputs": inputs} | facts)


def made(releases: LocalReleases, name: str = "one", **facts: Any) -> Path:
    """A whole release, as it lies on the disk."""
    item = release(releases, name, **facts)
    releases.copy(item)
    releases.seal(item)
    return Path(f"{releases.root}{item.path}")


def names(top: Path) -> list[str]:
    return sorted(path.relative_to(top).as_posix() for path in top.rglob("*"))


class TestDigest:
    def test_is_of_names_contents_links_and_what_can_be_executed(self, releases: LocalReleases, root: Path) -> None:
        def link(target: str) -> None:
            (root / "srv/web/latest").unlink()
            (root / "srv/web/latest").symlink_to(target)

        changes: list[Callable[[], object]] = [
            lambda: put(root, "lib/a.py", "b"),
            lambda: put(root, "lib/a.py", "b", 0o755),
            lambda: put(root, "lib/b.py", ""),
            lambda: (root / "srv/web/lib/b.py").rename(root / "srv/web/lib/c.py"),
            (root / "srv/web/empty").mkdir,
            lambda: link("lib/c.py"),
            (root / "srv/web/lib/c.py").unlink,
        ]
        seen = [releases.digest(SOURCE, EVERYTHING)]
        for change in changes:
            change()
            seen.append(releases.digest(SOURCE, EVERYTHING))
        assert len(set(seen)) == len(seen)

    def test_is_not_of_times_owners_order_and_other_modes(self, releases: LocalReleases, root: Path) -> None:
        before = releases.digest(SOURCE, EVERYTHING)
        os.utime(root / "srv/web/serve", (1, 1))
        (root / "srv/web/lib/a.py").chmod(0o600)
        (root / "srv/web/lib").rename(root / "srv/web/other")
        (root / "srv/web/other").rename(root / "srv/web/lib")
        put(root, ".git/HEAD", "ref")
        assert releases.digest(SOURCE, EVERYTHING) == before

    @pytest.mark.parametrize(
        ("inputs", "counts"),
        [
            (("**",), {"serve", "latest", "lib/a.py", "lib/a.log", "docs/deep/x.md", "lib", "docs", "docs/deep"}),
            (("**", "!*.log"), {"serve", "latest", "lib/a.py", "docs/deep/x.md", "lib", "docs", "docs/deep"}),
            (("**", "!docs/"), {"serve", "latest", "lib/a.py", "lib/a.log", "lib"}),
            (("lib/**", "serve"), {"serve", "lib/a.py", "lib/a.log", "lib"}),
            (("**/*.md",), {"docs/deep/x.md", "docs/deep", "docs"}),
            (("!lib/a.py", "lib/**"), {"lib/a.py", "lib/a.log", "lib"}),
            (("**", "!/lib", "lib/a.??", "!serve/", "!l[!ab]test"), {"serve", "latest", "lib/a.py", "docs/deep/x.md", "lib", "docs", "docs/deep"}),
            (("**", "!docs", "!deep", "!lib/*", "!l[ab]test", "lib/a.[k-m]og"), {"serve", "lib/a.log", "lib"}),
            (("/*", "!**/a.*", "!x.md"), {"serve", "latest"}),
            (("*.py", "do*"), {"lib/a.py", "docs/deep/x.md", "docs", "docs/deep", "lib"}),
        ],
    )
    @pytest.mark.row("UP-17")
    def test_inputs_choose_and_the_copy_holds_just_that(self, releases: LocalReleases, root: Path, inputs: tuple[str, ...], counts: set[str]) -> None:
        put(root, "lib/a.log", "log")
        put(root, "docs/deep/x.md", "x")
        before = releases.digest(SOURCE, inputs)
        assert set(names(made(releases, inputs=inputs))) == counts
        for name in ("serve", "lib/a.py", "lib/a.log", "docs/deep/x.md"):
            text = (root / "srv/web" / name).read_text()
            put(root, name, f"{text}+", 0o755 if name == "serve" else 0o644)
            assert (releases.digest(SOURCE, inputs) != before) is (name in counts), name
            put(root, name, text, 0o755 if name == "serve" else 0o644)

    def test_of_nothing_is_empty(self, releases: LocalReleases, root: Path) -> None:
        assert releases.digest("/srv/none", EVERYTHING) == ""
        assert releases.digest("/srv/web/serve", EVERYTHING) == ""
        assert releases.digest("/srv/web/serve/x", EVERYTHING) == ""
        (root / "srv/link").symlink_to("gone")
        assert releases.digest("/srv/link", EVERYTHING) == ""

    def test_a_source_may_be_a_link(self, releases: LocalReleases, root: Path) -> None:
        (root / "srv/link").symlink_to("web")
        assert releases.digest("/srv/link", EVERYTHING) == releases.digest(SOURCE, EVERYTHING)
        assert "serve" in names(made(releases, source="/srv/link"))

    @needs_root
    def test_a_link_that_somebody_else_could_put_there_is_refused(self, releases: LocalReleases, root: Path) -> None:
        (root / "secret").mkdir()
        (root / "home").mkdir()
        os.chown(root / "home", 1000, 1000)
        (root / "home/web").symlink_to("/secret")
        os.chown(root / "home/web", 1000, 1000, follow_symlinks=False)
        with pytest.raises(NanodError, match="cannot read /home/web: an unsafe step"):
            releases.digest("/home/web", EVERYTHING)

    def test_names_need_not_be_utf_8(self, releases: LocalReleases, root: Path) -> None:
        odd = os.fsencode(root / "srv/web") + b"/\xff"
        with open(odd, "wb"):  # noqa: PTH123  (a path of bytes)
            pass
        os.symlink(b"\xfe", odd + b"l")  # noqa: PTH211
        before = releases.digest(SOURCE, EVERYTHING)
        assert b"\xff" in os.listdir(os.fsencode(made(releases)))  # noqa: PTH208
        os.rename(odd, odd + b"x")  # noqa: PTH104
        assert releases.digest(SOURCE, EVERYTHING) != before

    def test_what_vanishes_meanwhile_is_told(self, releases: LocalReleases, monkeypatch: pytest.MonkeyPatch) -> None:
        def gone(_: object) -> str:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

        monkeypatch.setattr(module, "_content", gone)
        with pytest.raises(NanodError, match="cannot read /srv/web: No such file"):
            releases.digest(SOURCE, EVERYTHING)

    @pytest.mark.parametrize("kind", ["socket", "pipe"])
    def test_what_is_no_file_is_refused_by_its_name(self, releases: LocalReleases, root: Path, kind: str) -> None:
        if kind == "pipe":
            os.mkfifo(root / "srv/web/lib/odd")
        else:
            with socket.socket(socket.AF_UNIX) as opened:
                here = Path.cwd()
                os.chdir(root / "srv/web/lib")
                try:
                    opened.bind("odd")
                finally:
                    os.chdir(here)
        with pytest.raises(NanodError, match="lib/odd is neither file, directory nor link") as refused:
            releases.digest(SOURCE, EVERYTHING)
        assert refused.value.hint == "build: {inputs: ['**', '!lib/odd']}"
        assert releases.digest(SOURCE, ("**", "!lib/odd"))


class TestCopy:
    def test_is_as_the_source(self, releases: LocalReleases, root: Path) -> None:
        item = release(releases)
        releases.copy(item)
        top = root / item.path[1:]
        assert names(top) == ["latest", "lib", "lib/a.py", "serve"]
        assert (top / "serve").read_text() == "#!/bin/sh\n"
        assert os.access(top / "serve", os.X_OK)
        assert (top / "latest").readlink() == Path("lib/a.py")
        assert releases.whole([item.path]) == set(), "it is whole when it is closed, and not before"
        assert releases.names("shop") == {"web": []}

    @needs_root
    def test_belongs_to_the_user(self, releases: LocalReleases, root: Path) -> None:
        item = release(releases, user="shop")
        releases.copy(item)
        top = root / item.path[1:]
        assert {(path.lstat().st_uid, path.lstat().st_gid) for path in (top, *top.rglob("*"))} == {(1000, 1001)}
        assert stat.S_IMODE(top.stat().st_mode) == 0o755
        assert (root / PLACE[1:]).stat().st_uid == 0

    def test_refuses_a_source_that_changes_meanwhile(self, releases: LocalReleases, root: Path) -> None:
        item = release(releases)
        put(root, "lib/a.py", "other")
        with pytest.raises(NanodError, match="cannot make a release of /srv/web: it changed meanwhile"):
            releases.copy(item)

    def test_a_disk_that_is_full_is_told_of(self, releases: LocalReleases, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> str:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        item = release(releases)
        monkeypatch.setattr(module, "_copy", full)
        with pytest.raises(NanodError, match=f"cannot make {item.path}: No space left on device") as refused:
            releases.copy(item)
        assert refused.value.hint == "free some space on that file system"
        releases.drop(item.path)
        assert releases.unfinished() == []
        assert names(Path(f"{releases.root}{PLACE}")) == []

    def test_bits_that_lend_rights_are_dropped(self, releases: LocalReleases, root: Path) -> None:
        put(root, "su", "", 0o6755)
        (root / "srv/web/lib").chmod(0o3777)
        item = release(releases)
        releases.copy(item)
        top = root / item.path[1:]
        assert stat.S_IMODE((top / "su").stat().st_mode) == 0o755
        assert stat.S_IMODE((top / "lib").stat().st_mode) == 0o777

    @pytest.mark.parametrize("inputs", [EVERYTHING, ("lib/**",)])
    def test_what_others_cannot_read_they_cannot_read_here_whatever_the_umask_is(
        self, releases: LocalReleases, root: Path, inputs: tuple[str, ...]
    ) -> None:
        (root / "srv/web").chmod(0o750)
        (root / "srv/web/lib").chmod(0o711)
        put(root, "lib/key", "x", 0o640)
        before = os.umask(0o077)
        try:
            top = made(releases, inputs=inputs)
        finally:
            os.umask(before)
        assert [stat.S_IMODE(path.stat().st_mode) for path in (top, top / "lib", top / "lib/key", top / "lib/a.py")] == [0o550, 0o511, 0o440, 0o444]

    def test_what_a_killed_copy_left_is_no_hindrance(self, releases: LocalReleases, root: Path) -> None:
        left = root / PLACE[1:] / "one/old"
        left.mkdir(parents=True)
        assert releases.unfinished() == [f"{PLACE}/one"]
        assert "old" not in names(made(releases))
        assert releases.unfinished() == []

    def test_a_link_to_outside_is_copied_and_not_followed(self, releases: LocalReleases, root: Path) -> None:
        outside = root / "outside"
        outside.mkdir(mode=0o755)
        (outside / "secret").write_text("secret")
        (root / "srv/web/away").symlink_to(outside)
        (root / "srv/web/file").symlink_to(outside / "secret")
        before = releases.digest(SOURCE, EVERYTHING)
        (outside / "secret").write_text("other")
        assert releases.digest(SOURCE, EVERYTHING) == before
        top = made(releases)
        assert (top / "away").is_symlink()
        assert (top / "file").is_symlink()
        assert (outside / "secret").stat().st_mode & 0o222, "what they lead to is as it was"
        assert outside.stat().st_mode & 0o222


class TestSeal:
    def test_takes_the_right_to_write_and_what_lends_rights(self, releases: LocalReleases, root: Path) -> None:
        item = release(releases)
        releases.copy(item)
        top = root / item.path[1:]
        (top / "built").write_text("x")
        (top / "built").chmod(0o4777)
        (top / "lib").chmod(0o2777)
        os.mkfifo(top / "pipe")
        releases.seal(item)
        found = {path.relative_to(top).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in (top, *top.rglob("*")) if not path.is_symlink()}
        assert found["built"] == 0o555
        assert found["lib"] == 0o555
        assert not any(mode & 0o7222 for mode in found.values())
        assert releases.whole([item.path, f"{PLACE}/two"]) == {item.path}

    def test_links_that_the_build_planted_are_not_followed(self, releases: LocalReleases, root: Path) -> None:
        outside = root / "outside"
        outside.mkdir()
        (outside / "shadow").write_text("x")
        (outside / "shadow").chmod(0o600)
        outside.chmod(0o700)
        item = release(releases, user=None)
        releases.copy(item)
        top = root / item.path[1:]
        (top / "lib/shadow").symlink_to(outside / "shadow")
        (top / "away").symlink_to(outside)
        releases.seal(item)
        assert stat.S_IMODE((outside / "shadow").stat().st_mode) == 0o600
        assert stat.S_IMODE(outside.stat().st_mode) == 0o700

    @needs_root
    def test_what_a_dynamic_user_made_becomes_roots_and_readable(self, releases: LocalReleases, root: Path) -> None:
        item = release(releases, user=None)
        releases.copy(item)
        top = root / item.path[1:]
        (top / "private").mkdir(mode=0o700)
        (top / "private/tool").write_text("x")
        (top / "private/tool").chmod(0o700)
        (top / "private/data").write_text("x")
        (top / "link").symlink_to("private")
        (top / "private/data").chmod(0o600)
        for path in (top, *top.rglob("*")):
            os.chown(path, 61234, 61234, follow_symlinks=False)
        releases.seal(item)
        assert {path.lstat().st_uid for path in (top, *top.rglob("*"))} == {0}
        modes = [stat.S_IMODE((top / name).stat().st_mode) for name in ("private", "private/tool", "private/data")]
        assert modes == [0o555, 0o555, 0o444]


class TestKept:
    def test_names_are_the_newest_first(self, releases: LocalReleases) -> None:
        for name in ("b", "a", "c"):
            made(releases, name)
            time.sleep(0.01)  # the clock of the file system is coarse
        assert releases.names("shop") == {"web": ["c", "a", "b"]}
        assert releases.names("other") == {}

    def test_switch_turns_the_link_at_once(self, releases: LocalReleases, root: Path) -> None:
        made(releases)
        made(releases, "two")
        current = root / PLACE[1:] / "current"
        for name in ("one", "two", "two"):
            releases.switch("shop", {"web": name})
            assert current.readlink() == Path(name)
        assert releases.unfinished() == []

    @pytest.mark.row("UP-17", "BX-17")
    def test_the_newest_and_the_needed_stay(self, releases: LocalReleases, root: Path) -> None:
        for name in "abcde":
            made(releases, name)
            time.sleep(0.01)
        (root / PLACE[1:] / "cut-off").mkdir()
        releases.switch("shop", {"web": "a"})
        releases.collect("shop", {"web": 2}, {"web": {"a"}})
        assert names(root / PLACE[1:])[:7] == [".a", ".d", ".e", "a", "a/latest", "a/lib", "a/lib/a.py"]
        assert set(releases.names("shop")["web"]) == {"a", "d", "e"}
        assert releases.unfinished() == []

    def test_of_a_service_that_is_gone_nothing_stays(self, releases: LocalReleases, root: Path) -> None:
        made(releases)
        releases.switch("shop", {"web": "one"})
        releases.collect("shop", {}, {"web": {"one"}})
        assert releases.names("shop") == {"web": ["one"]}, "but for what the generation before needs"
        releases.collect("shop", {}, {})
        assert not (root / PLACE[1:]).exists()

    def test_what_writers_left_is_found_and_goes(self, releases: LocalReleases, root: Path) -> None:
        assert releases.unfinished() == []
        made(releases)
        place = root / PLACE[1:]
        (place / ".#nanod-00").symlink_to("one")
        (place / ".#nanod-01").write_text("")
        (place / "two/lib").mkdir(parents=True)
        left = releases.unfinished()
        assert left == [f"{PLACE}/.#nanod-00", f"{PLACE}/.#nanod-01", f"{PLACE}/two"]
        for path in left:
            releases.drop(path)
        assert releases.unfinished() == []
        assert releases.names("shop") == {"web": ["one"]}

    def test_a_release_that_is_deleted_is_not_whole_from_the_first_moment_on(self, releases: LocalReleases, monkeypatch: pytest.MonkeyPatch) -> None:
        made(releases)

        def killed(*_: object, **__: object) -> None:
            raise OSError(errno.EIO, "cut off")

        monkeypatch.setattr(shutil, "rmtree", killed)
        with pytest.raises(NanodError):
            releases.drop(f"{PLACE}/one")
        assert releases.names("shop") == {"web": []}

    def test_forget(self, releases: LocalReleases, root: Path) -> None:
        releases.forget("shop")
        made(releases)
        releases.forget("shop")
        assert not (root / SYSTEM.releases[1:] / "shop").exists()
