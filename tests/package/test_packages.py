"""What the tools of the distributions say of the packages."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from nanod import __version__
from nanod.rehearse.machine import SOURCE

if TYPE_CHECKING:
    from pathlib import Path


def _run(*argv: str | Path) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_lintian_is_content(dist: Path) -> None:
    [changes] = dist.glob("*.changes")
    _run("lintian", "--allow-root", "--fail-on", "warning", changes)


def test_rpmlint_is_content(dist: Path) -> None:
    [package] = dist.glob("*.rpm")
    _run("rpmlint", "--config", SOURCE / "packaging/rpm/rpmlint.toml", package)


def test_both_packages_have_the_same_files(dist: Path) -> None:
    [deb], [rpm] = dist.glob("*.deb"), dist.glob("*.rpm")
    of_deb = [line.split()[-1].removeprefix(".") for line in _run("dpkg-deb", "--contents", deb).splitlines() if line.startswith("-")]
    listed = _run("rpm", "-qp", "--qf", r"[%{FILEMODES:perms} %{FILENAMES}\n]", rpm)
    of_rpm = [line.split()[-1] for line in listed.splitlines() if line.startswith("-")]
    for part, in_deb, in_rpm in (
        ("the modules", "/usr/lib/python3/dist-packages/nanod/", "/usr/share/nanod/python/nanod/"),
        ("the units", "/lib/systemd/system/", "/usr/lib/systemd/system/"),
        ("the program", "/usr/bin/", "/usr/bin/"),
        ("the manual", "/usr/share/man/", "/usr/share/man/"),
        ("completions of bash", "/usr/share/bash-completion/", "/usr/share/bash-completion/"),
        ("completions of zsh", "/usr/share/zsh/vendor-completions/", "/usr/share/zsh/site-functions/"),
        ("completions of fish", "/usr/share/fish/", "/usr/share/fish/"),
    ):
        found = {file.removeprefix(in_deb) for file in of_deb if file.startswith(in_deb)}
        assert found, part
        assert found == {file.removeprefix(in_rpm) for file in of_rpm if file.startswith(in_rpm)}, part
    assert {f"/lib/systemd/system/{unit.name}" for unit in (SOURCE / "units").iterdir()} <= set(of_deb)


def test_the_nanod_of_the_rpm_runs_where_it_is_installed(dist: Path, tmp_path: Path) -> None:
    [rpm] = dist.glob("*.rpm")
    _run("sh", "-ec", 'rpm2cpio "$1" | cpio --extract --make-directories --quiet --directory="$2"', "sh", rpm, tmp_path)
    run = 'mount --bind "$1/usr/share" /usr/share; exec "$1/usr/bin/nanod" --version'
    assert _run("unshare", "--mount", "--propagation=private", "sh", "-ec", run, "sh", tmp_path) == f"nanod {__version__}\n"


def test_scriptlets_are_sound_shell(dist: Path, tmp_path: Path) -> None:
    [rpm] = dist.glob("*.rpm")
    for tag in ("PREIN", "POSTIN", "PREUN", "POSTUN", "POSTTRANS"):
        script = tmp_path / f"{tag}.sh"
        script.write_text("#!/bin/sh\n" + _run("rpm", "-qp", "--qf", f"%{{{tag}}}\n", rpm))
        _run("shellcheck", "--exclude=SC2086", script)
