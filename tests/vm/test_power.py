"""A power cut at a random moment of `nanod apply`: what the machine had not yet written is lost, and the next boot finds the old version or the new one.

The file system is as unkind as ext4 can be set to be: it writes names to disk as soon as anybody asks for anything (a loop does so all the time, as a
database would), and the content of files only for those who ask for that (noauto_da_alloc, and no writeback for ten minutes). That this shows what it is to
show is a test of its own: with one fsync(2) less in nanod, files are empty.

    NANOD_VM_CUTS=30     cuts, instead of 10
    NANOD_VM_SEED=…      the moments of another run again
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.crashes import points
from tests.vm.guest import COMMAND, Guest
from tests.vm.image import overlay
from tests.vm.specs import App

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.vm.image import Image

CUTS = int(os.environ.get("NANOD_VM_CUTS", "10"))
SEED = int(os.environ.get("NANOD_VM_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
SPEC = "/etc/nanod/cut.yaml"

UNKIND = "sysctl -q vm.dirty_expire_centisecs=60000 vm.dirty_writeback_centisecs=60000"
NAMES = "touch /srv/tick && sync /srv/tick"
"""Commits the journal of the file system, in which are the names, and writes no content but that of this file."""
ALWAYS = f"systemd-run --quiet --unit=names /bin/sh -c 'while {NAMES}; do sleep 0.1; done'"
STOPPED = "until [ -e /run/over ] || cat /proc/[0-9]*/status 2>/dev/null | grep -q '^State:.T'; do sleep 0.2; done"

_LOOK = """
import hashlib, json, os, pathlib
def content(path):
    return "-> " + os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest() if path.stat().st_size else "empty"
units, state = pathlib.Path("/etc/systemd/system"), pathlib.Path("/var/lib/nanod")
files = {str(path.relative_to(units)): content(path) for path in sorted(units.rglob("*")) if "cut" in path.name and not path.is_dir()}
left = [str(path) for top in (units, state) for path in top.rglob("*") if path.name == "intent.json" or path.name.startswith(".nanod")]
empty = [str(path) for path in (state / "apps").rglob("*") if path.is_file() and not path.stat().st_size]
versions = set()
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if b"NANOD_APP=cut" in (words := (process / "environ").read_bytes().split(b"\\0")):
            versions |= {word.decode() for word in words if word.startswith(b"VERSION=")}
    except OSError:
        pass
print(json.dumps({"files": files, "left": left, "empty": empty, "versions": sorted(versions)}))
"""
MUTATIONS = {
    "contents before names": ("            self._sync_contents()\n", "            pass\n"),
    "syncfs of many": ("    if libc.syncfs(descriptor) != 0:\n", "    if False:\n"),
}


def services(version: str) -> dict[str, Any]:
    """All but one restart, one goes, and one comes; more files than are synced one by one."""
    same = {"keeps": {"command": ["/bin/sleep", "infinity"], "environment": {"VERSION": "any"}}}
    changed = {name: {"command": ["/bin/sleep", "infinity"], "environment": {"VERSION": version}} for name in (*"abcdefghi", version)}
    return same | changed


@pytest.fixture(scope="module")
def prepared(image: Image, installed: Path, directory: Path) -> Iterator[tuple[Path, dict[str, dict[str, str]], list[str], float]]:
    """A disk with the old version, what both look like, the points that an apply of the new one comes by, and how long it takes."""
    place = directory / "prepared"
    place.mkdir()
    disk = overlay(place / "disk.qcow2", installed)
    with Guest(image=image, disk=disk, directory=place) as guest:
        guest.nanod("remove", "--purge", "shop")
        app = App(guest, "cut")
        files = {}
        for version in ("new", "old"):
            guest.write(f"{SPEC}.{version}", app.text(services(version)))
            choose(guest, version)
            guest.nanod("apply", SPEC)
            files[version] = look(guest)["files"]
        choose(guest, "new")
        guest.sh(f"{UNKIND}; {ALWAYS}")
        begun = time.monotonic()
        done = guest.nanod("apply", SPEC, env={"NANOD_FAULT": "list"})
        took = time.monotonic() - begun
        choose(guest, "old")
        guest.nanod("apply", SPEC)
        guest.poweroff()
    yield disk, files, points(done), took
    shutil.rmtree(place)


def choose(guest: Guest, version: str) -> None:
    guest.run("cp", f"{SPEC}.{version}", SPEC)


def look(guest: Guest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(guest.run("python3", "-", input=_LOOK).out)
    return found


def judge(guest: Guest, files: dict[str, dict[str, str]]) -> tuple[str, list[str]]:
    """Which version is there, and what is wrong with it: nothing, whenever the cut came."""
    found = look(guest)
    version = next((version for version, expected in files.items() if found["files"] == expected), "")
    if not version:
        return "", [f"neither version: {found}"]
    wrong = [f"left behind: {path}" for path in found["left"]] + [f"empty: {path}" for path in found["empty"]]
    if found["versions"] != ["VERSION=any", f"VERSION={version}"]:
        wrong.append(f"not {version} runs: {found['versions']}")
    choose(guest, version)
    for words in (("status", "cut"), ("plan", "--detailed-exitcode", SPEC)):
        done = guest.nanod(*words, status=None)
        if done.status:
            wrong.append(f"{words}: {done.status}\n{done.out}\n{done.err}")
    if failed := guest.sh("systemctl --failed --no-legend"):
        wrong.append(failed)
    return version, wrong


def cut(guest: Guest, version: str, moment: float | str, *, names: bool) -> bool:
    """Apply, cut the power so many seconds later or where a point is reached, and boot. `names`: those are on disk by then. True when it had ended well."""
    choose(guest, version)
    guest.sh(f"{UNKIND}; sync; {ALWAYS if names else 'true'}")
    fault = f"NANOD_FAULT={moment}:stop" if isinstance(moment, str) else ""
    with guest.popen(f"{fault} nanod apply {SPEC} && touch /run/over") as applying:
        if isinstance(moment, str):
            guest.run("sh", "-c", STOPPED)
        else:
            with suppress(subprocess.TimeoutExpired):
                applying.communicate(timeout=moment)
        ended = applying.poll() == 0
        if names and (ended or fault):
            guest.sh(NAMES)
        guest.cut()
    guest.start()
    return ended


@pytest.mark.row("FAULTS-18", "BX-2", "BX-4")
def test_old_or_new(
    image: Image,
    prepared: tuple[Path, dict[str, dict[str, str]], list[str], float],
    directory: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every other cut at a random time, and those between where a step of the transaction has just been done."""
    disk, files, reached, took = prepared
    chance, version, told = random.Random(SEED), "old", []
    # By kind: files are renamed many times, and committed once.
    kinds = [list(same) for _, same in groupby(sorted(reached), lambda point: point.partition("@")[0])]
    place = directory / "cuts"
    place.mkdir()
    with Guest(image=image, disk=overlay(place / "disk.qcow2", disk), directory=place) as guest:
        for number in range(CUTS):
            wanted = "new" if version == "old" else "old"
            moment = chance.choice(chance.choice(kinds)) if number % 2 else chance.uniform(0, took * 1.1)
            names = chance.random() < 0.75
            ended = cut(guest, wanted, moment, names=names)
            before, (version, wrong) = version, judge(guest, files)
            told.append(f"{wanted} cut at {moment if isinstance(moment, str) else f'{moment:.1f} s'}{', ended' if ended else ''}: {version}")
            assert not wrong, (SEED, told, wrong)
            assert version == wanted or not ended, (SEED, told, before)
    with capsys.disabled():
        print(f"\nNANOD_VM_SEED={SEED}, an apply takes {took:.1f} s; " + "; ".join(told))  # noqa: T201  what another run needs
    shutil.rmtree(place)


@pytest.mark.row("FAULTS-19", "BX-2")
@pytest.mark.parametrize("mutation", [None, *MUTATIONS])
def test_one_sync_less_shows(
    mutation: str | None,
    image: Image,
    prepared: tuple[Path, dict[str, dict[str, str]], list[str], float],
    directory: Path,
) -> None:
    """An apply that ended well, and then the cut: nothing is missing; and with the mutation something is."""
    disk, files, _, _ = prepared
    place = directory / "mutant"
    place.mkdir()
    with Guest(image=image, disk=overlay(place / "disk.qcow2", disk), directory=place) as guest:
        if mutation:
            mutate(guest, *MUTATIONS[mutation])
        assert cut(guest, "new", COMMAND, names=True)
        version, wrong = judge(guest, files)
    shutil.rmtree(place)
    if mutation:
        assert wrong, f"without {mutation} the cut is survived"
        assert "empty" in str(wrong), wrong
    else:
        assert (version, wrong) == ("new", [])


def mutate(guest: Guest, text: str, instead: str) -> None:
    """In the installed package."""
    path = guest.sh("dpkg -L nanod | grep '/nanod/host/atomic.py$'").strip()
    source = guest.run("cat", path).out
    assert source.count(text) == 1
    guest.write(path, source.replace(text, instead))
