"""Who has a name, what is masked, which drop-ins apply: looked up in a tree with the directories that systemd looks into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nanod.host.snapshot import snapshot
from nanod.host.store import LocalStore
from nanod.state import Manifest, UnitDetail, UnitState
from nanod.units.unitset import Directory

from .host_units import app, mark, service, unit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nanod.state import Snapshot

WEB = unit("shop-web.service", ("Service", "ExecStart", ":/bin/true"))
MANIFEST = Manifest(
    app="shop",
    spec="/srv/shop.yaml",
    env=None,
    generation=1,
    units={"shop-web.service": "aa", "shop-old.service": "bb"},
    links={},
    watched={"/etc/old.conf": "cc"},
    services={},
)


class Pid1:
    """States as told; nothing else of it is asked."""

    def __init__(self, **loads: str) -> None:
        self.loads = {name.replace("_", "-") + ".service": load for name, load in loads.items()}
        self.asked: list[list[str]] = []

    def states(self, names: Iterable[str]) -> dict[str, UnitState]:
        self.asked.append(list(names))
        return {name: UnitState(name=name, load=self.loads.get(name, "not-found")) for name in self.asked[-1]}

    def detail(self, name: str) -> UnitDetail:
        raise AssertionError(name)

    def invocation(self, name: str) -> str:
        raise AssertionError(name)

    def system_state(self) -> str:
        raise AssertionError

    def version(self) -> int:
        raise AssertionError

    def load_path(self) -> tuple[str, ...]:
        raise AssertionError

    def environment(self) -> dict[str, str]:
        raise AssertionError

    def daemon_reload(self) -> None:
        raise AssertionError

    def _job(self, name: str, *, alone: bool = False) -> None:
        raise AssertionError(name, alone)

    start = stop = restart = reload = reset_failed = _job


def seen(tmp_path: Path, pid1: Pid1 | None = None, manifest: Manifest | None = None) -> Snapshot:
    wanted = app(WEB, unit("shop.target", ("Install", "WantedBy", "multi-user.target")))
    return snapshot(pid1 or Pid1(), LocalStore(root=str(tmp_path)), wanted, manifest, root=str(tmp_path))


def put(tmp_path: Path, path: str, text: str = "[Service]\nExecStart=true\n") -> None:
    file = tmp_path / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def mask(tmp_path: Path, path: str, target: str = "/dev/null") -> None:
    file = tmp_path / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to(target)


def test_an_empty_host_has_nothing(tmp_path: Path) -> None:
    found = seen(tmp_path)
    assert (found.files, found.links, found.masked, found.foreign, found.drop_ins, found.digests) == ({}, {}, frozenset(), {}, {}, {})


def test_one_question_for_all_states(tmp_path: Path) -> None:
    pid1 = Pid1(shop_web="loaded")
    wanted = app(WEB, host_units=(("postgresql.service", mark()),))
    found = snapshot(pid1, LocalStore(root=str(tmp_path)), wanted, MANIFEST, root=str(tmp_path))
    assert pid1.asked == [["postgresql.service", "shop-old.service", "shop-web.service"]]
    assert set(found.units) == {"postgresql.service", "shop-old.service", "shop-web.service"}


def test_files_links_digests_and_volumes(tmp_path: Path) -> None:
    put(tmp_path, "/etc/systemd/system/shop-web.service", WEB.render())
    put(tmp_path, "/etc/systemd/system/shop-old.service", "old")
    mask(tmp_path, "/etc/systemd/system/multi-user.target.wants/shop.target", "../shop.target")
    put(tmp_path, "/etc/old.conf", "x")
    (tmp_path / "srv/there").mkdir(parents=True)
    wanted = app(
        WEB,
        unit("shop.target", ("Install", "WantedBy", "multi-user.target")),
        services=(service("web", reload_on=("/etc/new.conf",)),),
        directories=tuple(Directory(path=path, user="root", group=None, origin=mark()) for path in ("/srv/there", "/srv/missing")),
    )
    found = snapshot(None, LocalStore(root=str(tmp_path)), wanted, MANIFEST, root=str(tmp_path))
    assert found.files == {"shop-web.service": WEB.render(), "shop-old.service": "old"}
    assert found.links == {"multi-user.target.wants/shop.target": "../shop.target"}
    assert set(found.digests) == {"/etc/old.conf", "/etc/new.conf"}
    assert found.digests["/etc/new.conf"] == ""
    assert found.missing_directories == {"/srv/missing"}
    assert found.foreign == {}


def test_a_removal_needs_only_the_record(tmp_path: Path) -> None:
    found = snapshot(Pid1(), LocalStore(root=str(tmp_path)), None, MANIFEST, root=str(tmp_path))
    assert set(found.units) == {"shop-web.service", "shop-old.service"}


@pytest.mark.row("FAULTS-12")
@pytest.mark.parametrize(
    "place",
    [
        "/etc/systemd/system",
        "/run/systemd/system",
        "/usr/lib/systemd/system",
        "/usr/local/lib/systemd/system",
        "/run/systemd/generator",
        "/run/systemd/transient",
    ],
)
def test_a_name_that_something_else_has_is_foreign(tmp_path: Path, place: str) -> None:
    put(tmp_path, f"{place}/shop-web.service")
    assert seen(tmp_path).foreign == {"shop-web.service": f"{place}/shop-web.service"}


@pytest.mark.row("FAULTS-12")
def test_our_own_file_is_not_foreign_and_hides_no_other(tmp_path: Path) -> None:
    put(tmp_path, "/etc/systemd/system/shop-web.service", WEB.render())
    assert seen(tmp_path).foreign == {}
    put(tmp_path, "/usr/lib/systemd/system/shop-web.service")
    assert seen(tmp_path).foreign == {"shop-web.service": "/usr/lib/systemd/system/shop-web.service"}


def test_another_app_an_alias_and_a_unit_without_a_file_are_named(tmp_path: Path) -> None:
    put(tmp_path, "/etc/systemd/system/shop-web.service", unit("shop-web.service", app="shop-web").render())
    assert seen(tmp_path).foreign == {"shop-web.service": "app 'shop-web'"}
    mask(tmp_path, "/etc/systemd/system/shop.target", "/lib/systemd/system/other.target")
    assert seen(tmp_path).foreign["shop.target"] == "/etc/systemd/system/shop.target, a link to /lib/systemd/system/other.target"
    (tmp_path / "etc/systemd/system/shop-web.service").unlink()
    assert seen(tmp_path, Pid1(shop_web="loaded")).foreign["shop-web.service"] == "loaded by systemd, without a file"
    assert "shop-web.service" not in seen(tmp_path, Pid1(shop_web="loaded"), MANIFEST).foreign


@pytest.mark.row("FAULTS-23")
def test_a_file_of_the_record_is_ours_whatever_was_made_of_it(tmp_path: Path) -> None:
    put(tmp_path, "/etc/systemd/system/shop-web.service", "edited by hand")
    assert seen(tmp_path, manifest=MANIFEST).foreign == {}
    assert seen(tmp_path).foreign == {"shop-web.service": "/etc/systemd/system/shop-web.service"}


@pytest.mark.row("FAULTS-23")
@pytest.mark.parametrize("place", ["/etc/systemd/system", "/run/systemd/system"])
def test_a_mask_is_seen_and_is_not_foreign(tmp_path: Path, place: str) -> None:
    mask(tmp_path, f"{place}/shop-web.service")
    found = seen(tmp_path, manifest=MANIFEST)
    assert found.masked == {"shop-web.service"}
    assert found.foreign == {}


def test_a_mask_behind_our_own_file_has_no_effect(tmp_path: Path) -> None:
    put(tmp_path, "/etc/systemd/system/shop-web.service", WEB.render())
    mask(tmp_path, "/run/systemd/system/shop-web.service")
    found = seen(tmp_path, manifest=MANIFEST)
    assert (found.masked, found.foreign) == (frozenset(), {})


def test_what_pid_1_calls_masked_is(tmp_path: Path) -> None:
    assert seen(tmp_path, Pid1(shop_web="masked")).masked == {"shop-web.service"}


@pytest.mark.row("FAULTS-18")
def test_an_empty_file_is_damage_when_it_is_ours_and_foreign_when_not(tmp_path: Path) -> None:
    put(tmp_path, "/etc/systemd/system/shop-web.service", "")
    found = seen(tmp_path, manifest=MANIFEST)
    assert (found.files["shop-web.service"], found.foreign, found.masked) == ("", {}, frozenset())
    assert "an empty file, which masks it" in seen(tmp_path).foreign["shop-web.service"]


def test_something_that_is_no_file_is_foreign(tmp_path: Path) -> None:
    (tmp_path / "etc/systemd/system/shop-web.service").mkdir(parents=True)
    assert seen(tmp_path).foreign == {"shop-web.service": "/etc/systemd/system/shop-web.service, no regular file"}


@pytest.mark.row("FAULTS-23")
def test_drop_ins_of_the_unit_its_prefixes_and_its_type(tmp_path: Path) -> None:
    ours = [
        "/etc/systemd/system.control/shop-web.service.d/50-MemoryMax.conf",
        "/etc/systemd/system/service.d/all.conf",
        "/etc/systemd/system/shop-.service.d/prefix.conf",
        "/run/systemd/system/shop-web.service.d/runtime.conf",
    ]
    for path in ours:
        put(tmp_path, path)
    for path in (
        "/etc/systemd/system/shop-web.service.d/README",
        "/usr/lib/systemd/system/service.d/vendor.conf",
        "/etc/systemd/system/web.service.d/x.conf",
    ):
        put(tmp_path, path)
    found = seen(tmp_path)
    assert found.drop_ins == {"shop-web.service": tuple(ours)}
    assert set(ours) <= found.digests.keys()


def test_a_merged_usr_is_looked_at_once(tmp_path: Path) -> None:
    put(tmp_path, "/usr/lib/systemd/system/shop-web.service")
    (tmp_path / "lib").symlink_to("usr/lib")
    assert seen(tmp_path).foreign == {"shop-web.service": "/usr/lib/systemd/system/shop-web.service"}
