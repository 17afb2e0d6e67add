"""Who listens where: addresses that exclude one another, and who has those of this machine."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nanod.compile import Target, compile_spec
from nanod.host.ports import check_ports, place_of
from nanod.spec.load import load
from tests.fakes import EMPTY_HOST, running

if TYPE_CHECKING:
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
