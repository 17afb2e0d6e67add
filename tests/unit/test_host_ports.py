"""Who listens where: addresses that exclude one another, and who has those of this machine."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nanod.compile import Target, compile_spec
from nanod.host import ports
from nanod.host.ports import check_ports, place_of
from nanod.host.process import Completed
from nanod.scope import SYSTEM, RuntimeScope, user_scope
from nanod.spec.load import load
from tests.fakes import EMPTY_HOST, running

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nanod.units.unitset import UnitSet


def wanted(listen: str) -> UnitSet:
    loaded = load("/srv/shop.yaml", f"project: shop\nservices: {{web: {{command: [/bin/web], sockets: ['{listen}']}}}}\n", directory="/srv")
    assert loaded.spec
    units, _ = compile_spec(loaded.spec, Target())
    assert units
    return units


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:80", "0.0.0.0:80", True),
        ("80", "127.0.0.1:80", True),
        ("80", "[::1]:80", True),
        ("0.0.0.0:80", "[::1]:80", False),
        ("/run/a", "/run/a", True),
        ("/run/a", "/run/b", False),
        ("/run/a", "80", False),
    ],
)
def test_places(one: str, other: str, meets: bool) -> None:
    assert place_of(one).meets(place_of(other)) is meets
    assert place_of(other).meets(place_of(one)) is meets


def test_a_port_that_somebody_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        for listen in (f"127.0.0.1:{port}", f"0.0.0.0:{port}", str(port)):
            [error] = check_ports(wanted(listen), None, EMPTY_HOST)
            assert error.message.startswith(f"cannot open {listen} for shop-web.socket: ")
            assert error.message.endswith("listens there")
            assert error.mark.line == 2
        assert not check_ports(wanted(f"127.0.0.2:{port}"), None, EMPTY_HOST)
    assert not check_ports(wanted(f"127.0.0.1:{port}"), None, EMPTY_HOST)


def test_a_path_and_ipv6(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "x"))
        assert not check_ports(wanted(str(tmp_path / "x")), None, EMPTY_HOST)
        door.listen()
        assert len(list(check_ports(wanted(str(tmp_path / "x")), None, EMPTY_HOST))) == 1
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as door:
        assert len(list(check_ports(wanted(f"[::1]:{door.getsockname()[1]}"), None, EMPTY_HOST))) == 1


def test_what_an_open_socket_has_is_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        units = wanted(f"127.0.0.1:{door.getsockname()[1]}")
        text = units.unit("shop-web.socket").render()
        seen = replace(EMPTY_HOST, units={"shop-web.socket": running("shop-web.socket", "listening")}, files={"shop-web.socket": text})
        assert not check_ports(units, None, seen)
        assert check_ports(units, None, replace(seen, files={"shop-web.socket": ""}))


@pytest.mark.parametrize("unit", ["shop-web.socket", "other.socket"])
@pytest.mark.parametrize("scope", [SYSTEM, user_scope("ann", 1500, "/home/ann", {})])
def test_of_a_manager_it_is_a_socket_unit_that_listens(unit: str, scope: RuntimeScope, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup = "0::/user.slice/user-1500.slice/user@1500.service/init.scope" if scope.is_user else "0::/init.scope"
    manager = ports.Holder(pid=90 if scope.is_user else 1, name="systemd", unit="init.scope", cgroup=cgroup)
    monkeypatch.setattr(ports, "_holders", lambda _: [manager])

    def listed(argv: Sequence[str], *, timeout: float) -> Completed:
        assert (tuple(argv[1:-4]), timeout > 0) == (scope.words, True)
        return Completed(argv=tuple(argv), status=0, out=f"127.0.0.1:{port} {unit} other.service\n", err="")

    monkeypatch.setattr(ports, "run", listed)
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        found = [item.message for item in check_ports(wanted(f"127.0.0.1:{port}"), None, replace(EMPTY_HOST, scope=scope))]
    assert found == ([f"cannot open 127.0.0.1:{port} for shop-web.socket: other.socket listens there"] if unit == "other.socket" else [])
