"""The wheel, by pip on one Debian and by pipx on the other, with this machine's network and its settings of pip: pystemd is compiled."""

from __future__ import annotations

import os
import re
import shutil
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.rehearse import tree
from nanod.rehearse.machine import SOURCE, Machine
from tests.package.hosts import SPEC, TICK
from tests.package.trees import FOR_PIP, recipe

if TYPE_CHECKING:
    from nanod.host.process import Completed

PIP = ["python3 -m venv /opt/nanod", "/opt/nanod/bin/pip install --quiet /srv/*.whl", "ln -s /opt/nanod/bin/nanod /usr/local/bin/nanod"]
PIPX = ["PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install /srv/*.whl"]


def _settings(machine: Machine) -> dict[str, str]:
    """Of pip on this machine, and what it trusts."""
    found = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    if Path("/etc/pip.conf").exists():
        shutil.copy("/etc/pip.conf", machine.path("/etc"))
    trusted = found.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
    if trusted:
        shutil.copy(trusted, machine.path("/srv/trusted.crt"))
        found["PIP_CERT"] = "/srv/trusted.crt"
    return found


def test_the_readme_names_what_is_installed_here() -> None:
    """Each of them, and nothing else: a `name` that is a package of Debian."""
    [paragraph] = [part for part in (SOURCE / "README.md").read_text().split("\n\n") if part.startswith("The wheel in there")]
    named = re.findall(r"`([a-z0-9-]+)`", paragraph)
    assert sorted(set(named) - {"pip", "libsystemd0"}) == sorted(FOR_PIP)


@pytest.mark.parametrize(("suite", "install"), [pytest.param("bookworm", PIP, marks=pytest.mark.thorough), ("trixie", PIPX)])
def test_the_wheel_is_installed_and_applies(suite: str, install: list[str], wheel: Path) -> None:
    with Machine.boot(tree=tree.build(recipe(suite)), network="host") as machine:
        machine.path("/usr/local/bin/nanod").unlink()
        shutil.copy(wheel, machine.path("/srv"))
        machine.write("/etc/resolv.conf", Path("/etc/resolv.conf").read_text())
        # Nobody waits for what comes of -O2.
        environment = {"DEBIAN_FRONTEND": "noninteractive", "CFLAGS": "-O0", **_settings(machine)}

        def run(line: str) -> Completed:
            done = machine.run(["sh", "-ec", line], env=environment, timeout=600)
            assert done.status == 0, f"{line}\n{done.out}\n{done.err}"
            return done

        run(f"apt-get --yes --no-install-recommends install {' '.join(FOR_PIP)}")
        for line in install:
            run(line)
        machine.write(SPEC, TICK)
        run(f"nanod apply {SPEC}")
        assert "tick: healthy" in run("nanod status").out
        # Without the library that pystemd was compiled against.
        run("for file in /usr/lib/*/libsystemd.so.0 /lib/*/libsystemd.so.0; do [ ! -e $file ] || mv $file $file.away; done")
        refused = machine.run(["nanod", "status"])
        assert refused.status == 1
        assert refused.err.startswith("nanod: cannot talk to systemd: libsystemd.so.0: ")
        assert "hint: apt install libsystemd0" in refused.err
