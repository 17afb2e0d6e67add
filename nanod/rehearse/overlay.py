"""The machine's root: overlays over a tree, and what a rehearsal must not inherit from it.

Runs inside the private mount namespace. All that is written lies on a tmpfs there and vanishes with the namespace.
"""

from __future__ import annotations

import hmac
import shutil
import stat
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.errors import NanodError
from nanod.rehearse import mounts

if TYPE_CHECKING:
    from collections.abc import Iterable

SCRATCH = Path("/run/nanod-rehearse")
ROOT = SCRATCH / "root"

KERNEL = tuple(map(Path, ("/proc", "/sys", "/dev", "/run")))
"""systemd-nspawn makes these itself."""

KERNEL_KINDS = frozenset(
    "autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue nsfs proc pstore "
    "ramfs rpc_pipefs securityfs selinuxfs sysfs tracefs".split()
)
"""File systems that hold no files: in chroots, for one."""

UNIT_DIRECTORIES = ("etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")

VENDOR_WANTS = frozenset({"dbus.service", "dbus-broker.service", "systemd-user-sessions.service"})
"""Of what the distribution wants under the targets named in `_forget_enablement`, this stays."""

MASKED = (
    "console-getty.service",
    "container-getty@.service",
    "ldconfig.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-machine-id-commit.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-update-utmp.service",
    "tmp.mount",
)
"""Slow at a first boot or in need of hardware; tmp.mount would hide the /tmp of the tree, where a spec may lie."""

GENERATORS = (
    "cloud-init-generator",
    "systemd-cryptsetup-generator",
    "systemd-debug-generator",
    "systemd-fstab-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-ssh-generator",
    "systemd-system-update-generator",
    "systemd-tpm2-generator",
    "systemd-veritysetup-generator",
)
"""Masked as well: they look for hardware, a kernel's command line, terminals and files that a machine does not have, at each daemon-reload anew."""

_CREDENTIAL_KEY = "var/lib/systemd/credential.secret"
"""What encrypted credentials of a machine without TPM are made with (systemd-creds(1), `setup`)."""
_CREDENTIAL_APP = bytes.fromhex("d3acecba0dad4cdfb8c9381528936c58")
_LINKS = 40


def submounts(mounted: Iterable[mounts.Mount]) -> tuple[Path, ...]:
    """The mount points of the machine, outermost first, that an overlay of / alone would leave empty."""
    kinds = {mount.point: mount.kind for mount in mounted}  # where several are stacked, the last one shows
    hold_files = (point for point, kind in kinds.items() if kind not in KERNEL_KINDS and point != Path("/"))
    return tuple(sorted(point for point in hold_files if not any(map(point.is_relative_to, KERNEL))))


def show(tree: Path) -> None:
    """Show `tree` at ROOT, writable; with all of this machine's file systems when it is the machine's own root."""
    resolver = _bytes(Path("/etc/resolv.conf"))
    points = submounts(mounts.read()) if tree == Path("/") else ()
    # systemd-nspawn keeps locks and sockets below /run: none of that on the machine's own /run.
    mounts.add("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    ROOT.mkdir(parents=True)
    _overlay(tree, ROOT, SCRATCH / "0")
    for number, point in enumerate(points, 1):
        target = ROOT / point.relative_to("/")
        if point.is_dir() and target.is_dir():
            try:
                _overlay(point, target, SCRATCH / str(number))
            except NanodError:  # not every file system can be below an overlay: rather not writable than not there
                mounts.add("--bind", "-o", "ro", str(point), str(target))
        elif point.is_file() and target.is_file():  # containers mount single files, /etc/hosts for one
            target.write_bytes(point.read_bytes())
    if resolver is not None and tree == Path("/"):
        # It may be a link below /run.
        (inside(ROOT, "etc") / "resolv.conf").unlink(missing_ok=True)
        (inside(ROOT, "etc") / "resolv.conf").write_bytes(resolver)


def prepare(root: Path) -> None:
    """Make a machine that has the tree's programs and files and none of its services, mounts, logs and earlier apps."""
    for name in UNIT_DIRECTORIES:
        _forget_enablement(inside(root, name), vendor=name != "etc/systemd/system")
    _forget_apps(inside(root, "etc/systemd/system"))
    for level in "0123456S":  # systemd-sysv-generator enables what is linked here
        _empty(inside(root, f"etc/rc{level}.d"))
    for name in ("var/log/journal", "var/lib/nanod", "var/lib/systemd/timers", "var/lib/systemd/rfkill"):
        _empty(inside(root, name))
    inside(root, "var/log/journal").mkdir(parents=True, exist_ok=True)  # makes the journal persistent, so over a reboot
    for name in ("fstab", "crypttab"):
        (inside(root, "etc") / name).unlink(missing_ok=True)
    for name in MASKED:
        _link(inside(root, "etc/systemd/system") / name, "/dev/null")
    _link(inside(root, "etc/systemd/system") / "default.target", "/usr/lib/systemd/system/multi-user.target")
    for name in GENERATORS:
        _link(inside(root, "etc/systemd/system-generators") / name, "/dev/null")
    # An uninitialised machine-id means "first boot", which enables whatever the presets say (man 5 machine-id).
    machine_id = uuid.uuid4()
    write(inside(root, "etc") / "machine-id", machine_id.hex + "\n")
    keep_credential_key(inside(root, _CREDENTIAL_KEY), machine_id.bytes)
    # Newer than /usr, so that nothing with ConditionNeedsUpdate= runs (man 8 systemd-update-done).
    write(inside(root, "etc") / ".updated", "")
    write(inside(root, "var") / ".updated", "")
    # The distribution's own empties /tmp at boot.
    write(inside(root, "etc/tmpfiles.d") / "tmp.conf", "d /tmp 1777 root root -\nd /var/tmp 1777 root root -\n")


def inside(root: Path, name: str) -> Path:
    """Where `name` lies below `root`, links resolved as if `root` were "/".

    An absolute link of the tree (`/var/lib/nanod -> /data/nanod`) would otherwise lead to the machine's own files, and what is emptied there
    is lost for good.
    """
    found, todo, links = root, list(reversed(Path(name).parts)), 0
    while todo:
        part = todo.pop()
        if part == "..":
            found = found.parent if found != root else root
        elif (found / part).is_symlink():
            links += 1
            if links > _LINKS:
                raise NanodError(f"cannot rehearse: {found / part} is a loop of symbolic links")
            target = (found / part).readlink()
            found = root if target.is_absolute() else found
            todo.extend(reversed([part for part in target.parts if part != "/"]))
        else:
            found /= part
    return found


def keep_credential_key(file: Path, machine_id: bytes) -> None:
    """What was encrypted on this machine can be decrypted in there.

    The file begins with a number of the machine that is made from its machine-id, and systemd deletes one of another machine (creds-util.c,
    sd_id128_get_machine_app_specific(3); tried on 252).
    """
    content = _bytes(file)
    if content is None:
        return
    number = bytearray(hmac.digest(machine_id, _CREDENTIAL_APP, "sha256")[:16])
    number[6], number[8] = number[6] & 0x0F | 0x40, number[8] & 0x3F | 0x80
    file.unlink()
    file.touch(mode=0o400)
    file.write_bytes(bytes(number) + content[len(number) :])


def _forget_enablement(directory: Path, *, vendor: bool) -> None:
    """Start nothing that an administrator or a package enabled; units stay, for those who require them by name."""
    for wants in [*directory.glob("*.wants"), *directory.glob("*.requires")]:
        forgotten = not vendor or wants.name in {"multi-user.target.wants", "graphical.target.wants", "timers.target.wants"}
        if forgotten and wants.is_symlink():
            wants.unlink()
        elif not vendor:
            shutil.rmtree(wants)
        elif forgotten:
            for link in wants.iterdir():
                if link.name not in VENDOR_WANTS:
                    link.unlink()


def _forget_apps(directory: Path) -> None:
    """Remove the units that nanod made here earlier: their state below /var/lib/nanod is not there either."""
    for unit in directory.glob("*.*"):
        if not unit.is_symlink() and unit.is_file() and b"\n[X-Nanod]\n" in unit.read_bytes():
            unit.unlink()


def _overlay(lower: Path, target: Path, scratch: Path) -> None:
    """Neutral paths only: a blank, comma or colon in the options of an overlay would need escapes."""
    for name in ("lower", "upper", "work"):
        (scratch / name).mkdir(parents=True)
    mounts.add("--bind", str(lower), str(scratch / "lower"))
    # The root of the overlay takes the mode and owner of the upper directory.
    shutil.copystat(lower, scratch / "upper")
    status = lower.stat()
    shutil.chown(scratch / "upper", status.st_uid, status.st_gid)
    (scratch / "upper").chmod(stat.S_IMODE(status.st_mode))
    options = f"lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work"
    mounts.add("-t", "overlay", "-o", options, "nanod-rehearse", str(target))


def _empty(directory: Path) -> None:
    if directory.is_dir():
        for entry in directory.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
