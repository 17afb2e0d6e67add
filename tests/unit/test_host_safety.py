"""What root runs, only root may change."""

from __future__ import annotations

import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from nanod.host.safety import check_credentials, check_root_environment, check_root_programs, programs_of, unsafe

from .host_units import app, mark, unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.diagnostics import Mark
    from nanod.spec.model import Command, Spec

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that only root can reach into, unlike pytest's own below /tmp."""
    with tempfile.TemporaryDirectory(dir="/root") as directory:
        yield Path(directory)


def program(path: Path, mode: int = 0o755, owner: int = 0) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    os.chown(path, owner, 0)
    return path


@dataclass
class At:
    line: int
    path: str = "services.web"

    def __call__(self, *_: str | int) -> Mark:
        return mark(self.line)


def command(*argv: str, text: str | None = None, line: int = 1) -> Command:
    return cast("Command", SimpleNamespace(argv=argv, text=text, at=At(line)))


def spec(**service: object) -> Spec:
    base: dict[str, Any] = {
        "user": "root",
        "dynamic_user": False,
        "working_dir": "/srv",
        "hooks": {},
        "command": None,
        "health": None,
        "on_failure": None,
        "provisioning": None,
        "processes": (),
        "tasks": (),
    }
    for key in ("processes", "tasks"):
        parts = cast("tuple[dict[str, object], ...]", service.get(key, ()))
        service[key] = tuple(SimpleNamespace(service=SimpleNamespace(**base | part)) for part in parts)
    return cast("Spec", SimpleNamespace(services={"web": SimpleNamespace(**base | service)}))


class TestUnsafe:
    def test_roots_own_is_safe(self, home: Path) -> None:
        assert unsafe(str(program(home / "hook"))) == ""
        assert unsafe("/bin/sh") == ""
        assert unsafe(str(home / "missing/hook")) == ""

    @pytest.mark.row("FAULTS-43")
    @pytest.mark.parametrize(
        ("mode", "owner", "words"), [(0o757, 0, "writable by others than root (mode 0757)"), (0o755, 1000, "belongs to uid 1000")]
    )
    def test_a_program_of_others_is_not(self, home: Path, mode: int, owner: int, words: str) -> None:
        path = program(home / "hook", mode, owner)
        assert unsafe(str(path)) == f"{path} {'is ' if mode == 0o757 else ''}{words}"

    @pytest.mark.row("FAULTS-43")
    @pytest.mark.parametrize(("mode", "owner"), [(0o777, 0), (0o755, 1000)])
    def test_a_directory_of_others_on_the_way_is_not(self, home: Path, mode: int, owner: int) -> None:
        (home / "open").mkdir()
        path = program(home / "open/hook")
        os.chown(home / "open", owner, 0)
        (home / "open").chmod(mode)
        assert unsafe(str(path)).startswith(f"{home}/open ")
        (home / "link").symlink_to("open/hook")
        assert unsafe(str(home / "link")).startswith(f"{home}/open ")

    def test_group_write_matters_only_for_groups_of_others(self, home: Path) -> None:
        path = program(home / "hook", 0o775)
        assert unsafe(str(path)) == ""
        os.chown(path, 0, 50)
        path.chmod(0o775)
        assert "writable by others" in unsafe(str(path))

    def test_a_sticky_directory_protects_what_is_roots(self, home: Path) -> None:
        home.chmod(0o1777)
        assert unsafe(str(program(home / "mine"))) == ""
        assert unsafe(str(program(home / "theirs", owner=1000)))

    @pytest.mark.row("FAULTS-43")
    def test_in_a_sticky_directory_links_of_others_and_free_names_are_not(self, home: Path) -> None:
        path = program(home / "hook")
        (home / "tmp").mkdir()
        (home / "tmp").chmod(0o1777)
        link = home / "tmp/link"
        link.symlink_to(path)
        assert unsafe(str(link)) == ""
        os.chown(link, 1000, 0, follow_symlinks=False)
        assert unsafe(str(link)) == f"the link {link} belongs to uid 1000"
        assert unsafe(str(home / "tmp/../tmp/free/x")) == f"anybody may make {home}/tmp/free"

    def test_an_access_list_counts(self, home: Path) -> None:
        path = program(home / "hook", 0o775)
        # Version 2; owner, user 1000, group, mask, other: type, permissions, id (acl(5)).
        entries = [(1, 7, -1), (2, 7, 1000), (4, 5, -1), (16, 7, -1), (32, 5, -1)]
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries))
        assert "writable by others" in unsafe(str(path))

    def test_links_are_followed_up_and_around(self, home: Path) -> None:
        program(home / "hook")
        (home / "sub").mkdir()
        (home / "sub/up").symlink_to("../hook")
        assert unsafe(str(home / "sub/up")) == ""
        (home / "loop").symlink_to("loop")
        assert unsafe(str(home / "loop")) == "it is a loop of symbolic links"


@pytest.mark.parametrize(
    ("argv", "text", "found"),
    [
        (("/opt/x", "y"), None, ["/opt/x"]),
        (("npm", "start"), None, []),
        (("./x",), None, ["/srv/x"]),
        (("/bin/sh", "-ec", "exec /opt/x y"), "exec /opt/x y", ["/opt/x"]),
        (("/bin/sh", "-ec", "deploy/x && y"), "deploy/x && y", ["/srv/deploy/x"]),
        (("/bin/sh", "-ec", "'/opt/x' y"), "'/opt/x' y", ["/opt/x"]),
        (("/bin/sh", "-ec", "$HOME/x"), "$HOME/x", []),
        (("/bin/sh", "-ec", ""), "", []),
        (("/bin/sh", "/opt/x", "/opt/y"), None, ["/bin/sh", "/opt/x"]),
        (("/bin/sh", "-c", "/opt/x"), None, ["/bin/sh"]),
        (("/bin/sh", "-ec", "python3.11 x.py"), "python3.11 x.py", ["/srv/x.py"]),
        (("/usr/bin/env", "npm"), None, ["/usr/bin/env"]),
        (("/usr/bin/env", "bash", "x"), None, ["/usr/bin/env", "/srv/x"]),
    ],
)
def test_the_programs_of_a_command(argv: tuple[str, ...], text: str | None, found: list[str]) -> None:
    assert programs_of(command(*argv, text=text), "/srv") == found


@pytest.mark.row("FAULTS-43")
def test_only_commands_that_root_runs_are_looked_at(home: Path) -> None:
    bad = str(program(home / "hook", 0o777))
    hooks = {
        "prestart": (SimpleNamespace(user=None, run=command(bad, line=1)), SimpleNamespace(user="shop", run=command(bad, line=2))),
        "poststop": (SimpleNamespace(user="root", run=command(bad, line=3)),),
    }
    everything: dict[str, object] = {
        "hooks": hooks,
        "command": command(bad, line=4),
        "health": SimpleNamespace(command=command(bad, line=5)),
        "on_failure": command(bad, line=6),
        "provisioning": SimpleNamespace(install=command(bad, line=7)),
    }
    assert [item.mark.line for item in check_root_programs(spec(**everything))] == [1, 3, 4, 5, 6, 7]
    assert [item.mark.line for item in check_root_programs(spec(**everything, user="shop"))] == [3]
    assert [item.mark.line for item in check_root_programs(spec(**everything, dynamic_user=True))] == [3]
    first = next(iter(check_root_programs(spec(**everything))))
    assert first.message == f"cannot run {bad} as root: {bad} is writable by others than root (mode 0777)"


@pytest.mark.row("FAULTS-43")
def test_commands_of_processes_and_tasks_are_looked_at_too(home: Path) -> None:
    bad = str(program(home / "hook", 0o777))
    hooks = {"prestop": (SimpleNamespace(user="root", run=command(bad, line=4)),)}
    parts: dict[str, object] = {
        "processes": ({"command": command(bad, line=1), "hooks": hooks}, {"command": command(bad, line=2), "user": "shop"}),
        "tasks": ({"command": command(bad, line=3)},),
        "on_failure": command(bad, line=5),
    }
    # The handler is that of all, and each runs it as its own user.
    found = {item.mark.line for item in check_root_programs(spec(**parts, user="shop"))}
    assert found == {1, 3, 4, 5}


def test_an_environment_file_of_others_is_refused_where_root_starts_something(home: Path) -> None:
    bad = str(program(home / "env", 0o666))
    lines = ("Service", "EnvironmentFile", bad), ("Service", "ExecStart", ":/bin/true")
    assert [item.mark.line for item in check_root_environment(app(unit("shop-a.service", *lines)))] == [10], "no User= is root"
    user = ("Service", "User", "shop")
    assert list(check_root_environment(app(unit("shop-a.service", *lines, user)))) == []
    for text in ("-+:/bin/true", "!:/bin/true"):
        assert [item.mark.line for item in check_root_environment(app(unit("shop-a.service", *lines, user, ("Service", "ExecStop", text))))] == [10]


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("LD_PRELOAD={bad}", True),
        ("LD_LIBRARY_PATH=/usr/lib:{bad}", True),
        ('A=b "LD_PRELOAD=/usr/lib/x.so {bad}"', True),
        ("LD_LIBRARY_PATH=:/usr/lib", True),
        ("LD_PRELOAD=libx.so", False),
        ("LD_LIBRARY_PATH=/usr/lib", False),
        ("XLD_PRELOAD={bad}", False),
    ],
)
def test_libraries_of_others_are_refused_where_root_starts_something(home: Path, text: str, *, is_refused: bool) -> None:
    bad = program(home / "x.so", owner=1000)
    (home / "work").mkdir()
    os.chown(home / "work", 1000, 0)
    lines = [("Service", "User", "shop"), ("Service", "WorkingDirectory", f"{home}/work"), ("Service", "Environment", text.format(bad=bad))]
    assert list(check_root_environment(app(unit("shop-a.service", *lines, ("Service", "ExecStart", ":/bin/true"))))) == []
    found = list(check_root_environment(app(unit("shop-a.service", *lines, ("Service", "ExecStartPre", "+:/bin/true")))))
    assert [item.mark.line for item in found] == ([12] if is_refused else [])


def test_a_credential_that_others_could_turn_into_a_link_is_refused(home: Path) -> None:
    """It is read by PID 1, as root: a link to /etc/shadow would hand that to the service."""
    mine, theirs = program(home / "mine", 0o600), program(home / "theirs", 0o600, owner=1000)
    lines = [("Service", "LoadCredential", f"{name}:{path}") for name, path in (("a", mine), ("b", theirs), ("c", "from-the-host"))]
    found = list(check_credentials(app(unit("shop-a.service", *lines), unit("shop-a-ready.service", *lines))))
    assert [item.mark.line for item in found] == [11]
    assert str(theirs) in found[0].message
