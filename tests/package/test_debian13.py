from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from nanod.rehearse.machine import SOURCE
from tests.package.hosts import files_of, online
from tests.package.life import Life

if TYPE_CHECKING:
    from pathlib import Path


class TestDebian13(Life):
    suite = "trixie"


@pytest.mark.thorough
def test_it_is_built_there_as_well(older: Path, tmp_path: Path) -> None:
    """By that Debian's own tools, which the checkout's set-up has installed; the same files are in it, and apt installs it."""
    with online("trixie") as host:
        shutil.copytree(SOURCE, host.machine.path("/srv/nanod"), symlinks=True, ignore=shutil.ignore_patterns(".venv", ".*_cache", "__pycache__"))
        host.run("chown -R root: /srv/nanod && cd /srv/nanod && tools/setup test && tools/package -o /srv/dist deb")
        host.run("cd /srv/dist && lintian --allow-root --fail-on warning *.changes && apt-get --yes install ./*.deb")
        host.run("systemctl is-active nanod.service && systemctl is-enabled nanod-recover.service")
        [made] = host.machine.path("/srv/dist").glob("*.deb")
        shutil.copy(made, tmp_path)
    assert _own(tmp_path / made.name) == _own(older)


def _own(package: Path) -> set[str]:
    """What pip writes down of an installation is another thing on each."""
    return {file for file in files_of(package) if ".dist-info/" not in file}
