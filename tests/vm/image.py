"""The disk of the virtual machine: Debian 12 with its own kernel and all that the package asks for, so that apt needs no network inside.

It is built once, see `build`, and never written to again: machines see it through overlays (`overlay`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nanod.host import process
from nanod.rehearse.tree import keep, mirror

CACHE = Path("/var/cache/nanod-vm")
"""NANOD_VM_CACHE in the environment names another."""
SUITE = "bookworm"
PACKAGES = (
    *("linux-image-cloud-amd64", "systemd-sysv", "udev", "dbus", "kmod", "procps"),
    *("openssh-server", "apt-utils"),
    *("curl", "redis-server"),  # the example
)
SIZE = "3G"
"""The file is sparse: it takes what is in it."""
TIMEOUT = 1800.0
"""Seconds, for one step of the build; all take a minute or two."""

_NETWORK = "[Match]\nName=e*\n[Network]\nAddress=10.0.2.15/24\n"
"""The address to which QEMU's user-mode network forwards."""
_MASKED = ("e2scrub_reap.service", "systemd-networkd-wait-online.service", "apt-daily.timer", "apt-daily-upgrade.timer")
"""Nothing here needs them, and without hardware support each takes seconds of every boot."""


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine boots: its kernel and initial ramdisk, outside of the disk, and the key for root."""

    directory: Path

    @property
    def disk(self) -> Path:
        return self.directory / "disk.raw"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd.img"

    @property
    def key(self) -> Path:
        return self.directory / "key"


def build(package: Path) -> Image:
    """The image for this .deb, built unless there is one with these packages. Root alone can build."""
    wanted = "\n".join([*PACKAGES, *dependencies(package)])
    cache = Path(os.environ.get("NANOD_VM_CACHE", CACHE))
    return Image(keep(cache / SUITE, wanted, lambda made: _build(made, wanted.split())))


def dependencies(package: Path) -> list[str]:
    """Names of what apt would install with it; of alternatives the first."""
    fields = _run("dpkg-deb", "--field", str(package), "Depends", "Pre-Depends", "Recommends")
    entries = [entry for line in fields.splitlines() for entry in line.partition(": ")[2].split(",")]
    return sorted({match[0] for entry in entries if (match := re.match(r"[a-z0-9][a-z0-9+.-]+", entry.strip()))})


def overlay(disk: Path, over: Path) -> Path:
    """A disk that begins as `over` is, which must not change any more."""
    kind = "raw" if over.suffix == ".raw" else "qcow2"
    _run("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(over), "-F", kind, str(disk))
    return disk


def _build(made: Path, packages: list[str]) -> None:
    made.mkdir()
    tree = made.with_name("tree")
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", str(made / "key"))
    _run("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(packages)}", SUITE, str(tree), mirror())
    _configure(tree, (made / "key.pub").read_text())
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy(next((tree / "boot").glob(f"{name}-*")), made / name)
    # What mke2fs copies in is the tree, with owners and modes: no mount, no loop device.
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(made / "disk.raw"), SIZE)


def _configure(tree: Path, key: str) -> None:
    files = {
        "etc/hostname": "nanod-vm\n",
        "etc/machine-id": "",
        "etc/fstab": "",
        "etc/apt/sources.list": "",
        "etc/systemd/network/vm.network": _NETWORK,
        "root/.ssh/authorized_keys": key,
    }
    for name, text in files.items():
        file = tree / name
        file.parent.mkdir(mode=0o700 if ".ssh" in name else 0o755, parents=True, exist_ok=True)
        file.write_text(text)
    units = tree / "etc/systemd/system"
    (units / "multi-user.target.wants/systemd-networkd.service").symlink_to("/usr/lib/systemd/system/systemd-networkd.service")
    for unit in _MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")


def _run(*argv: str) -> str:
    done = process.run(argv, timeout=TIMEOUT)
    if done.status:
        raise subprocess.CalledProcessError(done.status, argv, done.out, done.err)
    return done.out
