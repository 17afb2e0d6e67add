"""What the Vagrantfile makes: a machine with the package and the example, both up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.vm.conftest import CHECKOUT
from tests.vm.specs import App

if TYPE_CHECKING:
    from tests.vm.guest import Guest


def test_the_package_and_the_example_are_there_and_up(guest: Guest) -> None:
    assert guest.run("dpkg-query", "--show", "--showformat=${db:Status-Status}", "nanod").out == "installed"
    guest.run("systemctl", "is-enabled", "nanod-recover")
    guest.nanod("status", "shop")
    assert guest.run("curl", "--fail", "--silent", "http://127.0.0.1:8080/").out.startswith("Welcome, visitor ")


def test_provisioned_again_nothing_changes(guest: Guest) -> None:
    shop = App(guest, "shop")
    before = (shop.pid("db"), shop.pid("web"))
    assert "shop: nothing to do" in guest.run(f"{CHECKOUT}/packaging/vagrant/provision", CHECKOUT).out
    assert (shop.pid("db"), shop.pid("web")) == before
