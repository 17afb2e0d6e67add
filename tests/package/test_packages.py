"""What the tools of the distributions say of the packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from nanod import __version__
from nanod.rehearse.machine import SOURCE, Machine
from tests.lab.steps import until
from tests.package.hosts import SPEC, TICK, files_of
from tests.pages import LINK, PAGES

DOC = Path("/usr/share/doc/nanod")


def _run(*argv: str | Path) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_lintian_is_content(dist: Path) -> None:
    [changes] = dist.glob("*.changes")
    _run("lintian", "--allow-root", "--fail-on", "warning", changes)


def test_rpmlint_is_content(dist: Path) -> None:
    [package] = dist.glob("*.rpm")
    _run("rpmlint", "--strict", "--config", SOURCE / "packaging/rpm/rpmlint.toml", package)


def test_both_packages_have_the_same_files(dist: Path) -> None:
    [deb], [rpm] = dist.glob("*.deb"), dist.glob("*.rpm")
    of_deb = files_of(deb)
    form = r"[%{FILEMODES:perms} %{FILENAMES}\n]"
    of_rpm = [line.split()[-1] for line in _run("rpm", "-qp", "--qf", form, rpm).splitlines() if line.startswith("-")]
    for part, in_deb, in_rpm in (
        ("the modules", "/usr/lib/python3/dist-packages/nanod/", "/usr/share/nanod/python/nanod/"),
        ("the units", "/usr/lib/systemd/system/", "/usr/lib/systemd/system/"),
        ("the program", "/usr/bin/", "/usr/bin/"),
        ("the manual", "/usr/share/man/", "/usr/share/man/"),
        ("completions of bash", "/usr/share/bash-completion/", "/usr/share/bash-completion/"),
        ("completions of zsh", "/usr/share/zsh/vendor-completions/", "/usr/share/zsh/site-functions/"),
        ("completions of fish", "/usr/share/fish/", "/usr/share/fish/"),
    ):
        found = {file.removeprefix(in_deb) for file in of_deb if file.startswith(in_deb)}
        assert found, part
        assert found == {file.removeprefix(in_rpm) for file in of_rpm if file.startswith(in_rpm)}, part
    assert {f"/usr/lib/systemd/system/{unit.name}" for unit in (SOURCE / "units").iterdir()} <= set(of_deb)


def test_both_packages_have_the_pages_where_they_look_for_each_other(dist: Path) -> None:
    [deb], [rpm] = dist.glob("*.deb"), dist.glob("*.rpm")
    of_deb = {line.split()[-1].removeprefix(".").rstrip("/") for line in _run("dpkg-deb", "--contents", deb).splitlines()}
    of_rpm = set(_run("rpm", "-qpl", rpm).splitlines())
    pages = {DOC / page.relative_to(SOURCE) for page in PAGES if not page.is_relative_to(SOURCE / "docs/man")}
    links = {Path(os.path.normpath(page.parent / link)) for page in pages for link in LINK.findall((SOURCE / page.relative_to(DOC)).read_text())}
    assert len(links) > 15, "they are found"
    for files in (of_deb, of_rpm):
        assert {str(path) for path in pages | links} - files == set()


def test_the_rpm_is_installed_upgraded_and_erased(dist: Path) -> None:
    """By RPM's own program, on this Debian: its database knows no other package."""
    [rpm] = dist.glob("*.rpm")
    with Machine.boot(python="/usr/bin/python3") as machine:
        machine.path("/usr/local/bin/nanod").unlink()
        # Where this machine is a container without services, it forbids their start.
        machine.path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)
        shutil.copy(rpm, machine.path("/srv/nanod.rpm"))

        def run(*argv: str, status: int = 0) -> str:
            done = machine.run(argv, timeout=120)
            assert done.status == status, f"{argv}\n{done.out}\n{done.err}"
            return done.out

        def is_ready() -> bool:
            return "ActiveState=active" in machine.run(["systemctl", "show", "--property=ActiveState", "nanod.service"]).out

        run("rpm", "--install", "--nodeps", "/srv/nanod.rpm")
        assert run("systemctl", "is-enabled", "nanod.service", "nanod-recover.service") == "enabled\n" * 2
        until(is_ready, "the daemon is ready")
        assert run("nanod", "--version") == f"nanod {__version__}\n"
        machine.write(SPEC, TICK)
        run("nanod", "reload")
        pid = run("systemctl", "show", "--property=MainPID", "tick-web.service")
        assert pid != "MainPID=0\n"
        run("rpm", "--upgrade", "--nodeps", "--force", "/srv/nanod.rpm")
        until(is_ready, "the daemon is ready again")
        run("rpm", "--erase", "nanod")
        assert not machine.path("/usr/share/nanod").exists()
        assert not machine.path("/etc/systemd/system/multi-user.target.wants/nanod.service").is_symlink()
        assert run("systemctl", "show", "--property=MainPID", "tick-web.service") == pid


def test_scriptlets_are_sound_shell(dist: Path, tmp_path: Path) -> None:
    [rpm] = dist.glob("*.rpm")
    for tag in ("PREIN", "POSTIN", "PREUN", "POSTUN", "POSTTRANS"):
        script = tmp_path / f"{tag}.sh"
        script.write_text("#!/bin/sh\n" + _run("rpm", "-qp", "--qf", f"%{{{tag}}}\n", rpm))
        _run("shellcheck", "--exclude=SC2086", script)
