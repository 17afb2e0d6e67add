"""What the directory holds: complete files alone, and every way on which a change may come."""

from __future__ import annotations

import hashlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from nanod.daemon.listing import LARGEST, Directory, all_places, digest, places, read, stem_of, stems_below
from nanod.daemon.state import File
from nanod.values import content_hash

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "name", ["shop.yaml~", ".shop.yaml.swp", "#shop.yaml#", ".#shop.yaml", "4913", "shop.yml", "shop.yaml.bak", ".yaml", "shop.yaml.dpkg-new"]
)
def test_what_editors_and_packages_leave_is_no_spec(name: str) -> None:
    assert stem_of(name) is None


def test_a_spec_is_called_after_its_file() -> None:
    assert stem_of("a.b c.yaml") == "a.b c"


def test_a_digest_is_that_of_the_text_as_the_loader_has_it() -> None:
    assert (
        digest(b"\xef\xbb\xbfservices: {}\n")
        == digest(b"services: {}\n")
        == content_hash("services: {}\n")
        == hashlib.sha256(b"services: {}\n").hexdigest()
    )


def test_a_file_that_somebody_writes_is_busy_until_it_is_closed(tmp_path: Path) -> None:
    """Another process: a lease is not refused for one's own descriptors' sake alone, so either would do; two are how it is."""
    path = tmp_path / "a.yaml"
    with subprocess.Popen(
        ["sh", "-c", f"exec 3>{path}; echo one >&3; echo; read -r _; echo two >&3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        writer.stdout.readline()
        assert read(str(path)) == File(is_busy=True)
        writer.stdin.write(b"\n")
        writer.stdin.close()
        writer.wait()
    assert read(str(path)) == File(digest=digest(b"one\ntwo\n"))


def test_what_is_no_file_or_too_large_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "large.yaml").write_bytes(b"#" * (LARGEST + 1))
    (tmp_path / "link.yaml").symlink_to("nowhere")
    (tmp_path / "glob*.yaml").touch()
    (tmp_path / "line\n.yaml").touch()
    files, problem = Directory(str(tmp_path)).look(None)
    assert problem == ""
    found = {stem: file.problem.replace(str(tmp_path), "") for stem, file in files.items()}
    assert found == {
        "pipe": "cannot read /pipe.yaml: not a regular file",
        "folder": "cannot read /folder.yaml: not a regular file",
        "large": "cannot use /large.yaml: a spec is at most 1 MiB",
        "link": "cannot read /link.yaml: No such file or directory",
        "glob*": "cannot use 'glob*'.yaml: its name has one of *?[\\, or a blank at its end",
        "line\n": "cannot use 'line\\n'.yaml: its name has characters that cannot be printed",
    }


def test_others_than_those_named_are_as_they_were_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("1")
    directory = Directory(str(tmp_path))
    directory.look(None)
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.yaml").write_text("2")
    files, _ = directory.look(frozenset({"a"}))
    assert {stem: file.digest for stem, file in files.items()} == {"a": digest(b"2"), "b": digest(b"1"), "c": digest(b"2")}
    (tmp_path / "b.yaml").unlink()
    assert set(directory.look(frozenset())[0]) == {"a", "c"}


def test_a_directory_that_is_gone_keeps_what_was_seen_and_says_so(tmp_path: Path) -> None:
    place = tmp_path / "specs"
    place.mkdir()
    (place / "a.yaml").write_text("1")
    directory = Directory(str(place))
    directory.look(None)
    place.rename(tmp_path / "away")
    files, problem = directory.look(None)
    assert set(files) == {"a"}
    assert problem == f"cannot read {place}: No such file or directory"


def test_the_way_to_a_file_has_every_link_on_it(tmp_path: Path) -> None:
    (tmp_path / "releases/1").mkdir(parents=True)
    (tmp_path / "releases/current").symlink_to("1")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/shop.yaml").symlink_to("../releases/current/shop.yaml")
    found = places(str(tmp_path / "specs/shop.yaml"))
    mine = {place.removeprefix(str(tmp_path)): names for place, names in found.items() if place.startswith(str(tmp_path))}
    assert mine == {"": {"specs", "releases"}, "/specs": {"shop.yaml"}, "/releases": {"current", "1"}, "/releases/1": {"shop.yaml"}}
    assert all_places(str(tmp_path / "specs")).keys() >= found.keys()


def test_a_way_that_goes_in_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert places(str(tmp_path / "a/c"))[str(tmp_path)] == {"a", "b"}


def test_which_specs_a_change_concerns(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "data/1").mkdir(parents=True)
    (tmp_path / "data/now").symlink_to("1")
    (tmp_path / "specs/shop.yaml").symlink_to(tmp_path / "data/now/x.yaml")
    (tmp_path / "specs/web.yaml").write_text("")
    specs = str(tmp_path / "specs")
    assert stems_below(specs, [(specs, "web.yaml")]) == frozenset({"web"})
    assert stems_below(specs, [(specs, "web.yaml~"), (specs, ".web.yaml.swp")]) == frozenset()
    assert stems_below(specs, [(str(tmp_path / "data"), "now")]) == frozenset({"shop"})
    assert stems_below(specs, [(str(tmp_path / "data/1"), "x.yaml")]) == frozenset({"shop"})
    assert stems_below(specs, [(str(tmp_path / "data/1"), "other.yaml")]) == frozenset()
    assert stems_below(specs, [(str(tmp_path), "specs")]) is None
