"""The pure parts of the machines, and what the machine's root keeps and forgets."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from nanod.errors import NanodError
from nanod.host.process import Completed
from nanod.rehearse import cgroup, machine, mounts, overlay, tree

HYBRID = """\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 21 0:20 / /proc rw,relatime - proc proc rw
23 21 0:23 / /home/a\\040b\\134c rw,relatime shared:5 master:1 - tmpfs tmpfs rw
24 21 0:24 / /run rw - tmpfs tmpfs rw
25 24 0:25 / /run/user/0 rw - tmpfs tmpfs rw
26 21 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
27 26 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
28 26 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
29 21 0:29 / /home rw - ext4 /dev/vdb rw
30 21 0:20 / /srv/chroot/proc rw - proc proc rw
"""


def test_mountinfo_reads_points_kinds_and_escapes() -> None:
    found = mounts.parse(HYBRID)
    assert found[0] == mounts.Mount(root=Path("/"), point=Path("/"), kind="ext4")
    assert found[2] == mounts.Mount(root=Path("/"), point=Path("/home/a b\\c"), kind="tmpfs")


def test_submounts_are_those_with_files_outermost_first() -> None:
    assert overlay.submounts(mounts.parse(HYBRID)) == (Path("/home"), Path("/home/a b\\c"))


def test_a_covered_file_system_does_not_count() -> None:
    covered = "40 21 0:40 / /mnt rw - ext4 /dev/vdc rw\n41 40 0:41 / /mnt rw - proc proc rw\n"
    assert overlay.submounts(mounts.parse(covered)) == ()


@pytest.mark.parametrize(
    ("text", "membership", "expected"),
    [
        pytest.param(HYBRID, "4:memory:/a\n0::/\n", "/sys/fs/cgroup/unified", id="hybrid"),
        pytest.param("1 1 0:1 / /sys/fs/cgroup rw - cgroup2 x rw", "0::/user.slice/s.scope\n", "/sys/fs/cgroup/user.slice/s.scope", id="pure"),
        pytest.param("1 1 0:1 /docker/ab /sys/fs/cgroup rw - cgroup2 x rw", "0::/docker/ab/in\n", "/sys/fs/cgroup/in", id="part"),
        pytest.param("1 1 0:1 /docker/ab /sys/fs/cgroup rw - cgroup2 x rw", "0::/elsewhere\n", "/sys/fs/cgroup", id="elsewhere"),
        pytest.param(HYBRID + "50 26 0:28 / /sys/fs/cgroup rw - cgroup2 x rw", "0::/a\n", "/sys/fs/cgroup/a", id="covered"),
    ],
)
def test_own_cgroup(text: str, membership: str, expected: str) -> None:
    assert cgroup.locate(mounts.parse(text), membership) == Path(expected)


def test_without_cgroup_v2_nothing_is_rehearsed() -> None:
    with pytest.raises(NanodError, match="no cgroup v2"):
        cgroup.locate(mounts.parse("1 1 0:1 / / rw - ext4 x rw"), "0::/\n")


def test_only_root_rehearses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NanodError, match="cannot rehearse: only root"):
        machine.Machine.boot()


def test_a_missing_tool_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda tool: None if tool == "systemd-nspawn" else f"/usr/bin/{tool}")
    with pytest.raises(NanodError, match="cannot rehearse: systemd-nspawn is missing") as refused:
        machine.Machine.boot()
    assert refused.value.hint == "apt install systemd-container"


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("Debian|Debian-Security|http://sec/\nDebian|Debian|http://mirror/debian/\n", "http://mirror/debian/"),
        ("NodeSource|. nodistro|https://node/\n", "http://deb.debian.org/debian"),
        ("", "http://deb.debian.org/debian"),
    ],
)
def test_the_mirror_is_the_one_apt_uses(targets: str, expected: str) -> None:
    assert tree.mirror_of(targets) == expected


def test_a_tree_is_built_once_and_again_when_other_packages_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def run(argv: list[str], **_: object) -> Completed:
        if argv[0] == "mmdebstrap":
            built.append(next(word for word in argv if word.startswith("--include=")))
            _file(Path(argv[-2]), "etc/made", str(len(built)))
        return Completed(argv=tuple(argv), status=0, out="", err="")

    monkeypatch.setattr("nanod.host.process.run", run)
    monkeypatch.setenv("NANOD_LAB_CACHE", str(tmp_path))
    recipe = tree.Recipe(name="own", suite="sid", packages=("systemd",))
    assert tree.build(recipe) == tree.build(recipe) == tmp_path / "own"
    assert len(built) == 1
    assert (tree.build(replace(recipe, packages=("systemd", "rsync"))) / "etc/made").read_text() == "2"
    assert built[1] == "--include=systemd,rsync"


def _file(root: Path, name: str, text: str = "x\n") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")


def _host(root: Path) -> None:
    system = "etc/systemd/system"
    for name in ("redis.service", "multi-user.target.wants/redis.service", "a.service.requires/b.service", "sysinit.target.wants/t.service"):
        _file(root, f"{system}/{name}")
    _file(root, f"{system}/shop-web.service", "# Made by nanod from /srv/shop.yaml\n[Service]\n[X-Nanod]\nApp=shop\n")
    _file(root, f"{system}/shop.target", "# Made by nanod from /srv/shop.yaml\n[Service]\n[X-Nanod]\nApp=shop\n")
    for name in ("dbus.service", "getty.target"):
        _file(root, f"usr/lib/systemd/system/multi-user.target.wants/{name}")
    _file(root, "usr/lib/systemd/system/sysinit.target.wants/systemd-journald.service")
    (root / "lib").symlink_to("usr/lib")
    for name in ("etc/fstab", "etc/rc2.d/S01cron", "var/log/journal/0123/system.journal", "var/lib/nanod/apps/shop/current"):
        _file(root, name)
    _file(root, "etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    _file(root, "srv/shop.yaml")


def _listed(root: Path, below: str) -> set[str]:
    return {str(path.relative_to(root / below)) for path in (root / below).rglob("*") if not path.is_dir() or path.is_symlink()}


def test_a_machine_forgets_what_the_host_started(tmp_path: Path) -> None:
    _host(tmp_path)
    overlay.prepare(tmp_path)
    masked = {name for name in overlay.MASKED if (tmp_path / "etc/systemd/system" / name).readlink() == Path("/dev/null")}
    assert _listed(tmp_path, "etc/systemd/system") == {"redis.service", "default.target", *masked}
    assert _listed(tmp_path, "usr/lib/systemd/system") == {
        "multi-user.target.wants/dbus.service",
        "sysinit.target.wants/systemd-journald.service",
    }
    for gone in ("etc/fstab", "etc/rc2.d/S01cron", "var/log/journal/0123", "var/lib/nanod/apps"):
        assert not (tmp_path / gone).exists()


def test_a_machine_keeps_files_and_has_an_identity_of_its_own(tmp_path: Path) -> None:
    _host(tmp_path)
    overlay.prepare(tmp_path)
    assert (tmp_path / "srv/shop.yaml").read_text() == "x\n"
    assert (tmp_path / "var/log/journal").is_dir()
    identity = (tmp_path / "etc/machine-id").read_text()
    assert len(identity) == 33
    assert identity != "0123456789abcdef0123456789abcdef\n"


def test_links_of_the_tree_lead_nowhere_outside(tmp_path: Path) -> None:
    """What is emptied outside of the overlays would be lost: an administrator may keep /var/lib/nanod on another disk."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    kept = ("nanod/apps/shop/current", "journal/0123/system.journal", "wants/redis.service", "usr/bin/keep")
    for name in kept:
        _file(outside, name)
    _file(root, "etc/fstab")
    for link, target in (
        ("var/lib/nanod", "nanod"),
        ("var/log/journal", "journal"),
        ("etc/systemd/system/multi-user.target.wants", "wants"),
        ("usr/lib/systemd/system/timers.target.wants", "wants"),
        ("usr/local", "usr"),
    ):
        (root / link).parent.mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(outside / target)
    overlay.prepare(root)
    assert _listed(tmp_path, "outside") == set(kept)
    assert not (root / "etc/systemd/system/multi-user.target.wants").is_symlink()
    assert overlay.inside(root, "usr/local/bin") == root / outside.relative_to("/") / "usr/bin"
    (root / "up").symlink_to("../../../../srv/app")
    assert overlay.inside(root, "up/x") == root / "srv/app/x"
    (root / "loop").symlink_to("loop")
    with pytest.raises(NanodError, match="loop"):
        overlay.inside(root, "loop/x")
