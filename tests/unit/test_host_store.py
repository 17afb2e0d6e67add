"""The store on a directory of its own: what is written, what is left alone, and what survives damage."""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nanod.errors import NanodError
from nanod.host.generations import KEPT
from nanod.host.store import LocalStore
from nanod.scope import SYSTEM
from nanod.state import Manifest

from .host_records import INTENT
from .test_host_records import unit

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
UNITS = "etc/systemd/system"
APP = "var/lib/nanod/apps/shop"
WANTS = "multi-user.target.wants/shop.target"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nshop:x:1000:1001::/:/bin/sh\nother:x:1002:1002::/:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nstaff:x:50:shop\n")
    return LocalStore(root=str(tmp_path))


def manifest(generation: int = 1, **changes: object) -> Manifest:
    base = Manifest(app="shop", spec="/srv/shop.yaml", env=None, generation=generation, units={}, links={}, watched={}, services={})
    return replace(base, **changes)  # type: ignore[arg-type]


def again(store: LocalStore) -> LocalStore:
    """As the next command sees it."""
    return LocalStore(root=store.root)


class TestUnits:
    def test_become_visible_together_with_sync(self, store: LocalStore, tmp_path: Path) -> None:
        store.write_unit("shop.target", "a")
        store.write_unit("shop-web.service", "b")
        assert store.read_units(["shop.target", "shop-web.service"]) == {}
        store.sync()
        assert store.read_units(["shop.target", "shop-web.service", "nope.service"]) == {"shop.target": "a", "shop-web.service": "b"}
        assert stat.S_IMODE((tmp_path / UNITS / "shop.target").stat().st_mode) == 0o644
        assert sorted(path.name for path in (tmp_path / UNITS).iterdir()) == ["shop-web.service", "shop.target"]

    def test_are_discarded_without_a_trace(self, store: LocalStore, tmp_path: Path) -> None:
        store.write_unit("shop.target", "a")
        store.discard()
        store.sync()
        assert list((tmp_path / UNITS).iterdir()) == []

    def test_what_a_killed_writer_left_goes(self, store: LocalStore, tmp_path: Path) -> None:
        store.write_unit("shop.target", "a")
        del store
        LocalStore(root=str(tmp_path)).write_unit("shop.target", "b")
        assert len(list((tmp_path / UNITS).iterdir())) == 1

    def test_bytes_that_are_no_text_come_back_as_they_were(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / UNITS).mkdir(parents=True)
        (tmp_path / UNITS / "shop.target").write_bytes(b"\xff\r\n")
        text = store.read_units(["shop.target"])["shop.target"]
        store.write_unit("shop.target", text)
        store.sync()
        assert (tmp_path / UNITS / "shop.target").read_bytes() == b"\xff\r\n"

    def test_deleting_touches_only_files(self, store: LocalStore, tmp_path: Path) -> None:
        store.write_unit("shop.target", "a")
        store.sync()
        (tmp_path / UNITS / "masked.service").symlink_to("/dev/null")
        for name in ("shop.target", "masked.service", "missing.service"):
            store.delete_unit(name)
        store.sync()
        assert [path.name for path in (tmp_path / UNITS).iterdir()] == ["masked.service"]

    @pytest.mark.row("FAULTS-42")
    def test_a_link_of_that_name_is_not_written_through(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / UNITS).mkdir(parents=True)
        (tmp_path / "target").write_text("untouched")
        (tmp_path / UNITS / "shop.target").symlink_to(tmp_path / "target")
        with pytest.raises(NanodError, match=r"cannot write /etc/systemd/system/shop\.target: there is a symbolic link of that name"):
            store.write_unit("shop.target", "a")
        assert (tmp_path / "target").read_text() == "untouched"


class TestLinks:
    def test_are_made_turned_and_removed_with_their_directory(self, store: LocalStore, tmp_path: Path) -> None:
        store.link(WANTS, "../shop.target")
        store.link(WANTS, "../shop.target")
        store.sync()
        assert store.read_links([WANTS, "x.wants/y", "shop.target"]) == {WANTS: "../shop.target"}
        store.unlink(WANTS)
        store.unlink(WANTS)
        store.sync()
        assert list((tmp_path / UNITS).iterdir()) == []

    def test_a_directory_with_links_of_others_stays(self, store: LocalStore, tmp_path: Path) -> None:
        wants = tmp_path / UNITS / "multi-user.target.wants"
        wants.mkdir(parents=True)
        (wants / "ssh.service").symlink_to("/lib/systemd/system/ssh.service")
        store.link(WANTS, "../shop.target")
        store.unlink(WANTS)
        store.sync()
        assert [path.name for path in wants.iterdir()] == ["ssh.service"]

    def test_a_directory_can_come_back_in_one_go(self, store: LocalStore) -> None:
        store.link(WANTS, "../shop.target")
        store.unlink(WANTS)
        store.link(WANTS, "../shop.target")
        store.sync()
        assert store.read_links([WANTS]) == {WANTS: "../shop.target"}


class TestLib:
    def test_programs_are_written_when_they_differ(self, store: LocalStore, tmp_path: Path) -> None:
        assert store.install_lib()
        lib = tmp_path / SYSTEM.lib.lstrip("/")
        names = {path.name for path in lib.iterdir()}
        assert {"hook", "gate", "record", "probe"} <= names
        assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "var/lib/nanod", lib, *lib.iterdir())} == {0o755}
        before = {path.name: path.stat().st_ino for path in lib.iterdir()}
        assert not store.install_lib()
        assert {path.name: path.stat().st_ino for path in lib.iterdir()} == before
        (lib / "hook").write_text("changed")
        (lib / "gate").chmod(0o600)
        assert store.install_lib()
        after = {path.name: path.stat().st_ino for path in lib.iterdir()}
        assert {name for name in after if after[name] != before[name]} == {"hook", "gate"}


@needs_root
class TestVolumes:
    def test_is_the_users_below_roots_parents(self, store: LocalStore, tmp_path: Path) -> None:
        store.make_directory("/srv/shop/shop", "shop", None)
        store.make_directory("/srv/shop/team", "shop", "staff")
        found = {str(path.relative_to(tmp_path)): path.stat() for path in sorted((tmp_path / "srv").rglob("*"))}
        assert {name: (seen.st_uid, seen.st_gid, stat.S_IMODE(seen.st_mode)) for name, seen in found.items()} == {
            "srv/shop": (0, 0, 0o755),
            "srv/shop/shop": (1000, 1001, 0o755),
            "srv/shop/team": (1000, 50, 0o755),
        }

    def test_one_that_is_there_is_left_as_it_is(self, store: LocalStore, tmp_path: Path) -> None:
        volume = tmp_path / "srv/shop"
        volume.mkdir(parents=True, mode=0o700)
        before = volume.stat()
        store.make_directory("/srv/shop", "shop", "staff")
        assert volume.stat() == before

    def test_inside_of_the_users_own_directory_all_is_the_users(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / "home").mkdir()
        os.chown(tmp_path / "home", 1000, 1001)
        store.make_directory("/home/a/b", "shop", None)
        assert {path.stat().st_uid for path in (tmp_path / "home").rglob("*")} == {1000}

    @pytest.mark.row("FAULTS-42")
    def test_nothing_is_made_inside_of_what_a_third_user_has(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / "home").mkdir()
        os.chown(tmp_path / "home", 1002, 1002)
        with pytest.raises(NanodError, match="cannot make /home/a: the directory above 'a' belongs to uid 1002, neither root nor 'shop'"):
            store.make_directory("/home/a", "shop", None)
        assert list((tmp_path / "home").iterdir()) == []

    @pytest.mark.row("FAULTS-42")
    def test_a_users_link_leads_nowhere(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / "home").mkdir()
        (tmp_path / "home/way").symlink_to("/etc")
        for path in (tmp_path / "home", tmp_path / "home/way"):
            os.chown(path, 1000, 1001, follow_symlinks=False)
        with pytest.raises(NanodError, match="unsafe step"):
            store.make_directory("/home/way/new", "shop", None)
        assert sorted(path.name for path in (tmp_path / "etc").iterdir()) == ["group", "passwd"]

    def test_a_file_or_a_dangling_link_is_refused(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        (tmp_path / "dangling").symlink_to("nowhere")
        for path in ("/file", "/dangling"):
            with pytest.raises(NanodError, match=f"cannot make {path}"):
                store.make_directory(path, "shop", None)

    def test_an_unknown_user_or_group_is_named(self, store: LocalStore) -> None:
        with pytest.raises(NanodError, match="cannot find user 'nobody-here'"):
            store.make_directory("/srv/x", "nobody-here", None)
        with pytest.raises(NanodError, match="cannot find group 'none'"):
            store.make_directory("/srv/x", "shop", "none")


class TestPurge:
    def test_follows_no_link(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / "keep").mkdir()
        (tmp_path / "keep/file").write_text("x")
        (tmp_path / "srv/shop").mkdir(parents=True)
        (tmp_path / "srv/shop/way").symlink_to(tmp_path / "keep")
        (tmp_path / "srv/link").symlink_to(tmp_path / "keep")
        for path in ("/srv/shop", "/srv/link", "/srv/missing"):
            store.delete_tree(path)
        assert list((tmp_path / "srv").iterdir()) == []
        assert (tmp_path / "keep/file").read_text() == "x"


class TestGenerations:
    def test_are_in_force_once_committed(self, store: LocalStore, tmp_path: Path) -> None:
        store.stage(manifest(), {"shop.target": "text"}, "services: {}\n")
        assert store.manifest("shop") is None
        assert store.apps() == []
        store.commit(manifest(watched={"/a": "b"}))
        assert again(store).manifest("shop") == manifest(watched={"/a": "b"})
        assert store.apps() == ["shop"]
        assert (tmp_path / APP / "current/spec.yaml").read_text() == "services: {}\n"
        assert (tmp_path / APP / "current/units/shop.target").read_text() == "text"
        assert stat.S_IMODE((tmp_path / APP).stat().st_mode) == 0o700
        assert (tmp_path / APP / "current").readlink() == Path("generations/1")

    def test_the_last_ten_stay(self, store: LocalStore, tmp_path: Path) -> None:
        for number in range(1, KEPT + 4):
            store.stage(manifest(number), {}, "")
            store.commit(manifest(number))
        names = sorted(int(path.name) for path in (tmp_path / APP / "generations").iterdir())
        assert names == list(range(4, KEPT + 4))

    def test_a_killed_apply_leaves_the_old_one_in_force(self, store: LocalStore, tmp_path: Path) -> None:
        store.stage(manifest(1), {}, "")
        store.commit(manifest(1))
        store.stage(manifest(2), {"a.service": "x"}, "")
        (tmp_path / APP / "generations/.#nanod-left").mkdir()
        assert again(store).manifest("shop") == manifest(1)
        store.stage(manifest(2), {"b.service": "y"}, "")
        assert sorted(path.name for path in (tmp_path / APP / "generations").iterdir()) == ["1", "2"]
        assert [path.name for path in (tmp_path / APP / "generations/2/units").iterdir()] == ["b.service"]

    @pytest.mark.row("FAULTS-22")
    @pytest.mark.parametrize("content", [b"", b"\0" * 100, b'{"version": 1, "app"', b'{"version": 99}'])
    def test_a_torn_record_is_made_anew_from_the_unit_files(self, store: LocalStore, tmp_path: Path, content: bytes) -> None:
        store.write_unit("shop.target", unit("shop"))
        store.write_unit("shop-web.service", unit("shop", "web"))
        store.write_unit("shopping-web.service", unit("shopping", "web"))
        store.link(WANTS, "../shop.target")
        store.sync()
        for number in (1, 2):
            store.stage(manifest(number, env="stage", made=("/srv/x",)), {}, "")
            store.commit(manifest(number, env="stage", made=("/srv/x",)))
        (tmp_path / APP / "generations/2/manifest.json").write_bytes(content)
        fresh = again(store)
        found = fresh.manifest("shop")
        assert found is not None
        assert found.generation == 2
        assert found.spec == "/srv/shop.yaml"
        assert (found.env, found.made) == ("stage", ("/srv/x",))
        assert set(found.units) == {"shop.target", "shop-web.service"}
        assert found.links == {WANTS: "../shop.target"}
        assert [warning[:43] for warning in fresh.warnings] == ["the record of generation 2 of shop is left "]
        fresh.stage(manifest(3), {}, "")
        fresh.commit(manifest(3))
        assert again(store).manifest("shop") == replace(manifest(3), units=dict.fromkeys(found.units, ""), services=found.services)
        names = sorted(path.name[:6] for path in (tmp_path / APP / "generations").iterdir())
        assert names == ["1", "2.bad-", "3"]

    @pytest.mark.row("FAULTS-22")
    @pytest.mark.parametrize("damage", ["dangling", "file", "gone"])
    def test_a_damaged_state_directory_is_not_fatal(self, store: LocalStore, tmp_path: Path, damage: str) -> None:
        store.write_unit("shop.target", unit("shop"))
        store.sync()
        store.stage(manifest(1), {}, "")
        store.commit(manifest(1))
        (tmp_path / APP / "current").unlink()
        if damage == "dangling":
            (tmp_path / APP / "current").symlink_to("generations/77")
        elif damage == "file":
            (tmp_path / APP / "current").write_text("")
        found = again(store).manifest("shop")
        assert found is not None
        assert set(found.units) == {"shop.target"}
        assert again(store).apps() == ["shop"]

    def test_units_that_a_killed_apply_left_are_known(self, store: LocalStore) -> None:
        store.stage(manifest(1), {}, "")
        store.commit(manifest(1))
        store.write_unit("shop-new.service", unit("shop", "new"))
        store.write_unit("shop-foreign.service", "[Service]\nExecStart=true\n")
        store.sync()
        found = store.manifest("shop")
        assert found is not None
        assert found.units == {"shop-new.service": ""}

    def test_forgetting_leaves_nothing(self, store: LocalStore, tmp_path: Path) -> None:
        store.stage(manifest(), {"a.service": "x"}, "")
        store.commit(manifest())
        (tmp_path / "var/lib/nanod/apps/.#nanod-left").mkdir()
        store.forget("shop")
        store.forget("shop")
        assert list((tmp_path / "var/lib/nanod/apps").iterdir()) == []
        assert store.manifest("shop") is None

    @pytest.mark.parametrize("name", ["", "..", ".", "a/b", "../../etc", ".hidden"])
    def test_a_name_that_is_no_app_leads_nowhere(self, store: LocalStore, name: str) -> None:
        (Path(store.root) / "var/lib/nanod/apps").mkdir(parents=True)
        assert store.manifest(name) is None
        assert store.history(name) == []


class TestIntents:
    def test_are_there_until_cleared(self, store: LocalStore) -> None:
        store.write_intent(INTENT)
        assert again(store).intents() == {"shop": INTENT}
        store.decide("shop")
        assert again(store).intents() == {"shop": replace(INTENT, decided=True)}
        store.clear_intent("shop")
        store.clear_intent("shop")
        assert again(store).intents() == {}

    @pytest.mark.row("FAULTS-22")
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\0" * 100,
            b'{"version": 1, "app"',
            b'{"version": 2}',
            b"[]",
            b"\xff",
            json.dumps({"version": 1, **asdict(INTENT), "units": {"a.service": {"active": "active", "colour": "red"}}}).encode(),
        ],
    )
    def test_one_that_cannot_be_read_is_told_of_once_and_set_aside(self, store: LocalStore, tmp_path: Path, content: bytes) -> None:
        store.write_intent(INTENT)
        (tmp_path / APP / "intent.json").write_bytes(content)
        assert store.intents() == {}
        assert [warning[:51] for warning in store.warnings] == ["what an interrupted transaction of shop left is lef"]
        store.tidy()
        (aside,) = (tmp_path / APP).iterdir()
        assert aside.name.startswith("intent.json.bad-")
        assert aside.read_bytes() == content
        fresh = again(store)
        assert (fresh.intents(), fresh.warnings) == ({}, [])

    @pytest.mark.row("FAULTS-16")
    def test_what_was_being_written_goes_with_it(self, store: LocalStore, tmp_path: Path) -> None:
        for number in (1, 2):
            store.stage(manifest(number), {}, "")
            store.commit(manifest(number))
        store.write_intent(replace(INTENT, generation=1, before=2))
        (tmp_path / APP / ".#nanod-link").symlink_to("generations/1")
        (tmp_path / APP / "generations/.#nanod-3/units").mkdir(parents=True)
        (tmp_path / APP / "generations/1/.#nanod-manifest").touch()
        store.clear_intent("shop")
        assert list((tmp_path / APP).rglob(".#nanod-*")) == []

    @pytest.mark.row("FAULTS-16")
    def test_what_no_intent_speaks_of_goes_with_the_next_command(self, store: LocalStore, tmp_path: Path) -> None:
        store.install_lib()
        store.write_intent(INTENT)
        state = tmp_path / "var/lib/nanod"
        (state / "lib/1/.#nanod-program").touch()
        (state / "apps/.#nanod-forgotten/generations").mkdir(parents=True)
        (state / "apps/shop/.#nanod-intent").touch()
        store.tidy()
        assert list(state.rglob(".#nanod-*")) == []
        assert again(store).intents() == {"shop": INTENT}

    @pytest.mark.row("FAULTS-22")
    def test_a_file_in_place_of_the_link_in_force_is_set_aside(self, store: LocalStore, tmp_path: Path) -> None:
        store.stage(manifest(1), {}, "")
        (tmp_path / APP / "current").write_text("x")
        store.commit(manifest(1))
        assert again(store).in_force("shop") == 1
        assert [path.read_text() for path in (tmp_path / APP).glob("current.bad-*")] == ["x"]

    @pytest.mark.row("FAULTS-17")
    def test_a_generation_that_cannot_be_written_leaves_nothing(self, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(NanodError, match=r"cannot write generation 1 of shop in /var/lib/nanod/apps/shop: No space left on device"):
                store.stage(manifest(1), {"a.service": "x"}, "")
        assert [path.name for path in (tmp_path / "var/lib/nanod").rglob("*") if path.name.startswith(".#")] == []


class TestHistory:
    def test_is_appended_and_read_oldest_first(self, store: LocalStore, tmp_path: Path) -> None:
        assert store.history("shop") == []
        store.record("shop", {"verdict": "healthy"})
        store.record("shop", {"verdict": "failed"})
        assert [entry["verdict"] for entry in store.history("shop")] == ["healthy", "failed"]
        assert all(str(entry["at"]).endswith("+00:00") for entry in store.history("shop"))
        assert stat.S_IMODE((tmp_path / APP / "history.jsonl").stat().st_mode) == 0o600

    @pytest.mark.row("FAULTS-22")
    def test_torn_lines_are_left_out_and_the_next_is_whole(self, store: LocalStore, tmp_path: Path) -> None:
        store.record("shop", {"n": 1})
        with (tmp_path / APP / "history.jsonl").open("ab") as file:
            file.write(b'\0\0\0\n[]\n\xff\n{"n": 2')
        store.record("shop", {"n": 3})
        assert [entry["n"] for entry in store.history("shop")] == [1, 3]

    @pytest.mark.row("FAULTS-42")
    def test_a_link_of_that_name_is_set_aside(self, store: LocalStore, tmp_path: Path) -> None:
        store.record("shop", {"n": 1})
        (tmp_path / APP / "history.jsonl").unlink()
        (tmp_path / "target").write_text("untouched")
        (tmp_path / APP / "history.jsonl").symlink_to(tmp_path / "target")
        store.record("shop", {"n": 2})
        assert [entry["n"] for entry in store.history("shop")] == [2]
        assert (tmp_path / "target").read_text() == "untouched"
