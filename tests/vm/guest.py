"""A virtual machine: QEMU without a window, reached by SSH on a forwarded port of loopback; it reaches nothing itself."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from nanod.host.process import Completed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.vm.image import Image

BOOT = 900.0
"""Seconds. Without hardware support a boot takes one minute on a machine with nothing else to do."""
COMMAND = 600.0
# noauto_da_alloc: otherwise ext4 does by itself, at a rename over an old file, part of what a program has to do by fsync(2).
_KERNEL = "root=/dev/vda rw rootflags=noauto_da_alloc console=ttyS0 systemd.show_status=no quiet panic=5"
_MEMORY = "1G"


def accelerator() -> list[str]:
    """KVM where this machine can, else QEMU's own interpreter, which is ten times slower. NANOD_VM_ACCEL names one."""
    name = os.environ.get("NANOD_VM_ACCEL") or ("kvm" if _has_kvm() else "tcg")
    return ["-accel", name, "-cpu", "host" if name == "kvm" else "max"]


def _has_kvm() -> bool:
    # Where the processor says nothing of it, as in some clouds, the device is there and guests hang in their first instructions.
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and re.search(r"\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text()) is not None


@dataclass(slots=True, kw_only=True)
class Guest:
    """A machine that is on; a context manager, at whose end nothing of it runs."""

    image: Image
    disk: Path
    directory: Path
    """For its console and its sockets."""
    _port: int = 0
    _qemu: subprocess.Popen[bytes] | None = field(default=None)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.cut()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cut()

    # Commands inside

    def popen(self, command: str, *, user: str = "root") -> subprocess.Popen[str]:
        """Start a shell command inside; what it says can be read, and it ends with its connection at the latest when the machine does."""
        pipe = subprocess.PIPE
        return subprocess.Popen([*self._ssh(user), command], stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace")

    def run(self, *argv: str, input: str = "", env: dict[str, str] | None = None, status: int | None = 0) -> Completed:  # noqa: A002
        """Run a command inside to its end, and check its exit status; None leaves that to the caller."""
        words = ["env", *(f"{name}={value}" for name, value in (env or {}).items()), *argv] if env else argv
        done = self._run(shlex.join(words), input, COMMAND)
        assert status is None or done.status == status, f"{shlex.join(argv)}: {done.status}\n{done.out}\n{done.err}"
        return done

    def sh(self, script: str, *, status: int | None = 0) -> str:
        """Several commands at once, by a shell that stops at the first error: a connection costs more than they do."""
        return self.run("sh", "-euc", script, status=status).out

    def nanod(self, *words: str, env: dict[str, str] | None = None, status: int | None = 0) -> Completed:
        done = self.run("nanod", *words, env=env, status=status)
        assert "Traceback" not in done.err, done.err
        return done

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        self.run("sh", "-euc", 'mkdir -p "${1%/*}"; cat >"$1"; chmod "$2" "$1"', "write", path, f"{mode:o}", input=text)

    def copy(self, source: Path, target: str) -> None:
        """A file or a directory from outside, which becomes root's."""
        packed = subprocess.run(["tar", "-C", str(source.parent), "-c", "--owner=0", "--group=0", source.name], stdout=subprocess.PIPE, check=True)
        place = shlex.quote(target)
        subprocess.run(
            [*self._ssh(), f"mkdir -p {place} && tar -C {place} -x --no-same-permissions"], input=packed.stdout, check=True, timeout=COMMAND
        )

    def show(self, unit: str, *keys: str) -> list[str]:
        """Properties of a unit, in the order of `keys`."""
        lines = self.run("systemctl", "show", f"--property={','.join(keys)}", unit).out.splitlines()
        found = dict(line.partition("=")[::2] for line in lines)
        return [found[key] for key in keys]

    def until(self, reached: Callable[[], object], what: str, *, timeout: float = COMMAND) -> None:
        """Wait for a condition; the bound is there to end a broken test, and proves nothing."""
        deadline = time.monotonic() + timeout
        while not reached():
            assert time.monotonic() < deadline, f"never: {what}\n{self.console()}"
            time.sleep(0.2)

    # Power

    @property
    def boot_id(self) -> str:
        return self.run("cat", "/proc/sys/kernel/random/boot_id").out.strip()

    def start(self, *, wait: bool = True) -> None:
        """Switch on, after `cut` or `poweroff` again."""
        assert self._qemu is None
        self._port = _free_port()
        with self._console.open("ab") as console:
            self._qemu = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        if wait:
            self.wait_running()

    def wait_reachable(self) -> None:
        self.until(lambda: self._answers("true"), "the machine answers", timeout=BOOT)

    def wait_running(self) -> None:
        """Until all that is wanted at boot has started, or failed."""
        self.wait_reachable()
        self.until(lambda: self._answers("systemctl is-system-running --wait | grep -qxE 'running|degraded'"), "it is up", timeout=BOOT)

    def reboot(self, *, wait: bool = True) -> None:
        """Shut down and start again as `systemctl reboot` does."""
        before = self.boot_id
        self.run("systemctl", "reboot", status=None)
        self._disconnect()
        self.until(lambda: self._rebooted(before), "it has rebooted", timeout=BOOT)
        if wait:
            self.wait_running()

    def poweroff(self) -> None:
        assert self._qemu
        self.run("systemctl", "poweroff", status=None)
        self._qemu.wait(BOOT)
        self._qemu = None
        self._disconnect()

    def cut(self) -> None:
        """Cut the power: what the machine had not yet written to its disk is lost. Without effect on one that is off."""
        if self._qemu:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None
        self._disconnect()

    def console(self) -> str:
        """The last lines that the kernel and QEMU said."""
        return "\n".join(self._console.read_text(errors="replace").splitlines()[-30:])

    @property
    def _console(self) -> Path:
        return self.directory / "console"

    def _command(self) -> list[str]:
        network = f"user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"
        return [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", *accelerator(), "-m", _MEMORY, "-smp", "1"),
            *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd), "-append", _KERNEL),
            # writeback: what the guest has written is in this machine's memory, and outlives QEMU. What it has not written is lost.
            *("-drive", f"file={self.disk},if=virtio,format=qcow2,cache=writeback"),
            *("-device", "virtio-rng-pci", "-serial", "stdio", "-nic", network),
        ]

    def _ssh(self, user: str = "root") -> list[str]:
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "30",
            "ControlMaster": "auto",  # a handshake takes a second there
            "ControlPath": str(self.directory / f"ssh-%r-{self._port}"),
            "ControlPersist": "yes",
            # A connection to a machine that was reset says nothing any more.
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "8",
        }
        return [
            *("ssh", "-F", "/dev/null", "-i", str(self.image.key), "-p", str(self._port)),
            *(f"-o{name}={value}" for name, value in options.items()),
            f"{user}@127.0.0.1",
        ]

    def _disconnect(self) -> None:
        """What waits in a connection would wait until TCP gives up."""
        subprocess.run([*self._ssh(), "-O", "exit"], stderr=subprocess.DEVNULL, check=False)

    def _run(self, command: str, text: str, timeout: float) -> Completed:
        assert self._qemu, "the machine is off"
        assert self._qemu.poll() is None, f"QEMU has ended\n{self.console()}"
        argv = [*self._ssh(), command]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
        return Completed(argv=tuple(argv), status=done.returncode, out=done.stdout, err=done.stderr)

    def _answers(self, command: str) -> bool:
        try:
            return self._run(command, "", BOOT).status == 0
        except subprocess.TimeoutExpired:
            return False

    def _rebooted(self, before: str) -> bool:
        done = self._run("cat /proc/sys/kernel/random/boot_id", "", BOOT)
        return done.status == 0 and done.out.strip() not in ("", before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
