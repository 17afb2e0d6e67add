"""The wheel, by pip on one Debian and by pipx on the other, with this machine's network and its settings of pip: pystemd is compiled."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from nanod.rehearse.machine import SOURCE
from tests.package.hosts import SPEC, TICK, online
from tests.package.trees import FOR_PIP

if TYPE_CHECKING:
    from pathlib import Path

PIP = ["python3 -m venv /opt/nanod", "/opt/nanod/bin/pip install --quiet /srv/*.whl", "ln -s /opt/nanod/bin/nanod /usr/local/bin/nanod"]
PIPX = ["PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install /srv/*.whl"]


def test_the_readme_names_what_is_installed_here() -> None:
    """Each of them, and nothing else: a `name` that is a package of Debian."""
    [paragraph] = [part for part in (SOURCE / "README.md").read_text().split("\n\n") if part.startswith("The wheel in there")]
    named = re.findall(r"`([a-z0-9-]+)`", paragraph)
    assert sorted(set(named) - {"pip", "libsystemd0"}) == sorted(FOR_PIP)


@pytest.mark.parametrize(("suite", "install"), [pytest.param("bookworm", PIP, marks=pytest.mark.thorough), ("trixie", PIPX)])
def test_the_wheel_is_installed_and_applies(suite: str, install: list[str], wheel: Path) -> None:
    with online(suite) as host:
        shutil.copy(wheel, host.machine.path("/srv"))
        host.run(f"apt-get --yes --no-install-recommends install {' '.join(FOR_PIP)}")
        for line in install:
            host.run(line)
        host.machine.write(SPEC, TICK)
        host.run(f"nanod apply {SPEC}")
        assert "tick: healthy" in host.run("nanod status").out
        # Without the library that pystemd was compiled against.
        host.run("for file in /usr/lib/*/libsystemd.so.0 /lib/*/libsystemd.so.0; do [ ! -e $file ] || mv $file $file.away; done")
        refused = host.machine.run(["nanod", "status"])
        assert refused.status == 1
        assert refused.err.startswith("nanod: cannot talk to systemd: libsystemd.so.0: ")
        assert "hint: apt install libsystemd0" in refused.err
