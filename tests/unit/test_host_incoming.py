"""What a deploy sends: where it waits, how it comes to its place, and what of the place is never touched."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from nanod.errors import BusyError, NanodError
from nanod.host import incoming as module
from nanod.host.incoming import Incoming

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync puts the files in place")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place that counts as root's, whoever runs the tests."""
    monkeypatch.setattr(module, "unsafe", lambda _: "")
    return tmp_path / "opt" / "shop"


def incoming(place: Path) -> Incoming:
    return Incoming(str(place), state=str(place.parents[1] / "state"))


def bring(place: Path, files: dict[str, str], *, project: str = "shop") -> None:
    """A deploy of these files. A name that ends in a slash is a directory."""
    here = incoming(place)
    staged = here.open(project) / "1"
    staged.mkdir()
    for name, text in files.items():
        path = staged / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(text)
    with here.locked():
        here.place(str(staged), project)


def found(place: Path) -> dict[str, str]:
    return {str(path.relative_to(place)): path.read_text() for path in sorted(place.rglob("*")) if path.is_file()}


def test_what_is_sent_comes_to_its_place_and_nothing_waits_any_more(place: Path) -> None:
    bring(place, {"shop.yaml": "services: {}", "web/index.js": "1"})
    assert found(place) == {"shop.yaml": "services: {}", "web/index.js": "1"}
    state = incoming(place).state
    assert sorted(path.name for path in state.iterdir()) == ["project", "sent"]
    assert state.stat().st_mode & 0o777 == 0o700
    assert place.stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_is_the_same_is_not_touched_and_what_changed_appears_whole(place: Path) -> None:
    bring(place, {"a": "old", "b": "same"})
    before = {name: (place / name).stat() for name in "ab"}
    bring(place, {"a": "new", "b": "same"})
    after = {name: (place / name).stat() for name in "ab"}
    assert (before["b"].st_ino, before["b"].st_mtime_ns) == (after["b"].st_ino, after["b"].st_mtime_ns)
    assert before["a"].st_ino != after["a"].st_ino, "another file under the name, so who has the old one open keeps it"
    assert found(place) == {"a": "new", "b": "same"}


def test_only_what_a_deploy_has_sent_is_ever_deleted(place: Path) -> None:
    bring(place, {"a": "1", "web/x": "2", "web/deep/y": "3", "data/.keep": "", "gone/z": "4"})
    (place / "data" / "orders.db").write_text("precious")
    (place / "node_modules").mkdir()
    bring(place, {"a": "1", "web/x": "2"})
    assert found(place) == {"a": "1", "web/x": "2", "data/orders.db": "precious"}
    assert sorted(path.name for path in place.iterdir()) == ["a", "data", "node_modules", "web"]


def test_a_directory_that_becomes_a_file_and_back(place: Path) -> None:
    bring(place, {"a/b": "1", "c": "2"})
    bring(place, {"a": "now a file", "c/d": "now in a directory"})
    assert found(place) == {"a": "now a file", "c/d": "now in a directory"}


def test_a_directory_with_other_things_in_it_does_not_become_a_file(place: Path) -> None:
    bring(place, {"a/b": "1"})
    (place / "a" / "precious").write_text("2")
    with pytest.raises(NanodError, match=r"cannot put files into .*shop: "):
        bring(place, {"a": "file"})
    assert found(place) == {"a/precious": "2"}


def test_a_link_in_place_of_a_directory_is_not_followed_when_something_is_deleted(place: Path) -> None:
    bring(place, {"logs/x": "1", "a": ""})
    shutil.rmtree(place / "logs")
    elsewhere = place.parents[1] / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x").write_text("not ours")
    (place / "logs").symlink_to(elsewhere)
    bring(place, {"a": ""})
    assert (elsewhere / "x").read_text() == "not ours"


def test_links_and_modes_are_kept(place: Path) -> None:
    here = incoming(place)
    staged = here.open("shop") / "1"
    staged.mkdir()
    (staged / "run").write_text("#!/bin/sh")
    (staged / "run").chmod(0o750)
    (staged / "now").symlink_to("run")
    with here.locked():
        here.place(str(staged), "shop")
    assert (place / "run").stat().st_mode & 0o777 == 0o750
    assert (place / "now").readlink().name == "run"


def test_the_directory_itself_keeps_the_mode_that_somebody_gave_it(place: Path) -> None:
    place.mkdir(parents=True)
    place.chmod(0o711)
    bring(place, {"a": ""})
    assert place.stat().st_mode & 0o777 == 0o711


def test_an_odd_name_is_a_name(place: Path) -> None:
    odd = os.fsdecode(b"a\n\xff'; -rf")
    bring(place, {odd: "1", "b": "2"})
    assert (place / odd).exists()
    bring(place, {"b": "2"})
    assert not (place / odd).exists()


def test_what_was_not_sent_is_not_put_in_place(place: Path) -> None:
    here = incoming(place)
    bring(place, {"a": "1"})
    stage = here.open("shop")
    with here.locked(), pytest.raises(NanodError, match="cannot put files"):
        here.place(str(stage / "1"), "shop")
    assert found(place) == {"a": "1"}
    for other in ("/etc", str(here.state), str(here.state / "stage-x" / ".." / ".."), str(here.state / "sent"), ""):
        with pytest.raises(NanodError, match="nothing was sent there"):
            here.drop(other)
    here.drop(str(stage))
    assert not stage.exists()


def test_two_projects_in_one_place_are_refused_before_anything_is_sent(place: Path) -> None:
    bring(place, {"a": "1"})
    with pytest.raises(NanodError, match="those of 'shop' are there") as refused:
        incoming(place).open("blog")
    assert refused.value.hint == "give each project a path of its own"
    assert found(place) == {"a": "1"}


def test_a_file_is_no_place(place: Path) -> None:
    place.parent.mkdir()
    place.write_text("")
    with pytest.raises(NanodError, match="it is not a directory"):
        incoming(place).open("shop")


def test_a_place_that_others_may_change_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "unsafe", lambda path: f"{path} belongs to uid 1000")
    with pytest.raises(NanodError, match="belongs to uid 1000, and root does what they say") as refused:
        incoming(place).open("shop")
    assert "/opt/shop" in refused.value.hint


def test_one_deploy_at_a_time(place: Path) -> None:
    incoming(place).open("shop")
    with incoming(place).locked(), pytest.raises(BusyError, match=r"another deploy to .*shop is under way"), incoming(place).locked():
        pass


def test_what_was_abandoned_goes_after_a_day_and_not_before(place: Path) -> None:
    old, new = incoming(place).open("shop"), incoming(place).open("shop")
    for day, stage in ((2, old), (0, new)):
        when = stage.stat().st_mtime - day * 24 * 3600
        os.utime(stage, (when, when))
    incoming(place).open("shop")
    assert (old.exists(), new.exists()) == (False, True)


def test_places_of_one_name_do_not_share_what_is_known_of_them() -> None:
    states = {Incoming(path).state for path in ("/opt/shop", "/srv/shop", "/srv/a shop", "/srv/a_shop")}
    assert len(states) == 4
    assert all(str(state).startswith("/var/lib/nanod/deploy/") and " " not in str(state) for state in states)
