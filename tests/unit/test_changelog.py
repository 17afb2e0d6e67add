"""One version, from which tools/release and the packages have theirs."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from nanod import __version__
from nanod.rehearse.machine import SOURCE

if TYPE_CHECKING:
    from pathlib import Path

CHANGELOG = SOURCE / "packaging/changelog.py"


def _changelog(form: str) -> str:
    return subprocess.run([CHANGELOG, form], capture_output=True, text=True, check=True).stdout


def test_the_changelog_tells_of_the_version() -> None:
    assert _changelog("version").strip() == __version__


def test_debian_reads_the_changelog_that_is_made_for_it(tmp_path: Path) -> None:
    (tmp_path / "changelog").write_text(_changelog("debian"))
    read = subprocess.run(["dpkg-parsechangelog", "-l", tmp_path / "changelog"], capture_output=True, text=True, check=True)
    assert f"Version: {__version__}-1\n" in read.stdout
    assert read.stderr == ""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a release needs, committed."""
    for name in ("tools/release", "packaging/changelog.py", "CHANGELOG.md", "nanod/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((SOURCE / name).read_bytes())
        (tmp_path / name).chmod(0o755)
    _git(tmp_path, "init", "--quiet")
    _commit(tmp_path)
    return tmp_path


def test_a_release_is_of_what_is_committed(checkout: Path) -> None:
    (checkout / "new").touch()
    assert _refusal(checkout) == "tools/release: the checkout is not clean: git status\n"


def test_a_release_has_an_entry_in_the_changelog(checkout: Path) -> None:
    (checkout / "nanod/__init__.py").write_text('__version__ = "9.0.0"\n')
    _commit(checkout)
    assert _refusal(checkout) == f"tools/release: nanod is 9.0.0, and the newest entry of CHANGELOG.md is {__version__}\n"


def _refusal(checkout: Path) -> str:
    done = subprocess.run([checkout / "tools/release"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


def _commit(checkout: Path) -> None:
    _git(checkout, "add", ".")
    _git(checkout, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "a")


def _git(checkout: Path, *words: str) -> None:
    subprocess.run(["git", "-C", checkout, *words], check=True)
