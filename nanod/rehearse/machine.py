"""A throw-away machine: a real systemd as PID 1, over overlays of this machine's root or of another tree."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Self

from nanod.errors import NanodError
from nanod.host.process import Completed
from nanod.rehearse import cgroup, overlay
from nanod.rehearse.first import CUT, START, Config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

SOURCE = Path(__file__).resolve().parents[2]
"""Where the package `nanod` lies; inside, the same code runs."""

TOOLS = {
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
}

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}

Network = Literal["private", "host"]


@dataclass(slots=True, kw_only=True)
class Machine:
    """A booted machine; a context manager, at whose end nothing of it is left."""

    _keeper: subprocess.Popen[bytes]
    _console: IO[bytes]
    _group: Path

    @classmethod
    def boot(
        cls,
        *,
        tree: Path = Path("/"),
        network: Network = "private",
        binds: Sequence[Path] = (),
        python: str = sys.executable,
        timeout: float = 60.0,
    ) -> Self:
        """Boot over `tree`, which stays as it is.

        `binds` show read-only inside; `python` is what the command `nanod` runs on there.

        `timeout` is in seconds, until everything wanted at boot has started. Raises NanodError when this machine cannot do it.
        """
        _require()
        config = Config(
            tree=str(tree.absolute()),
            private_network=network == "private",
            binds=tuple(map(str, binds)),
            python=python,
            source=str(SOURCE),
        )
        console = tempfile.TemporaryFile()  # noqa: SIM115  # close() closes it
        keeper = subprocess.Popen(
            [sys.executable, "-m", "nanod.rehearse.keeper", str(os.getpid()), config.text()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=console,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            start_new_session=True,  # a Ctrl-C at the terminal is the caller's to judge
        )
        machine = cls(_keeper=keeper, _console=console, _group=Path())
        try:
            assert keeper.stdout is not None
            with keeper.stdout as said:
                machine._group = Path(said.readline().decode().strip())
            machine.wait_running(timeout=timeout)
        except BaseException:
            machine.close()
            raise
        return machine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Commands inside

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str = "",
        stdin: int | IO[bytes] | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        new_session: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a command inside, as root or as `user`, in / or `cwd`, with no environment but ENVIRONMENT and `env`."""
        variables = [f"{name}={value}" for name, value in {**ENVIRONMENT, **(env or {})}.items()]
        # In the cgroup of PID 1, as what PID 1 itself runs: journald and systemctl look there.
        enter = cgroup.enter(self._group / "machine/payload/init.scope")
        # --root: where nspawn itself runs in a chroot, the root of its mount namespace is not the machine's, and systemctl would call itself offline.
        inside = ["nsenter", "--all", "--root", f"--target={self.leader}", "--", "env", "-i", f"--chdir={cwd or '/'}", *variables]
        switch = ["runuser", "-u", user, "--"] if user else []
        return subprocess.Popen(
            [*enter, *inside, *switch, *argv],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=new_session,
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str = "",  # noqa: A002  # the word of subprocess
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str = "",
        timeout: float = 60.0,
    ) -> Completed:
        """Run a command inside to its end, see `popen`. Raises NanodError after `timeout` seconds, never for a status."""
        pipe = subprocess.PIPE
        with self.popen(argv, env=env, cwd=cwd, user=user, stdin=pipe, stdout=pipe, stderr=pipe, new_session=True) as command:
            try:
                out, err = command.communicate(input.encode(), timeout)
            except subprocess.TimeoutExpired as late:
                raise NanodError(f"cannot run {argv[0]} inside: no answer after {timeout:g} s") from late
            finally:
                if command.returncode is None:
                    os.killpg(command.pid, signal.SIGKILL)  # nsenter and the command, which is its child
        return Completed(argv=tuple(argv), status=command.returncode, out=out.decode(errors="replace"), err=err.decode(errors="replace"))

    def path(self, path: str | Path) -> Path:
        """A file of the machine as reached from outside; while it is off, on its disk. Absolute links lead outside."""
        inner = Path(path).relative_to("/")
        leader = cgroup.leader(self._group)
        if leader is not None:
            return Path(f"/proc/{leader}/root") / inner
        first = cgroup.first(self._group)
        if first is None:
            raise NanodError(f"cannot reach {path} on the machine: it is gone")
        return Path(f"/proc/{first}/root") / overlay.ROOT.relative_to("/") / inner

    def write(self, path: str | Path, text: str, *, mode: int = 0o644) -> Path:
        """Write a file of the machine, with the directories above it; hands back where it is reached from outside."""
        outside = self.path(path)
        outside.parent.mkdir(parents=True, exist_ok=True)
        outside.write_text(text, encoding="utf-8")
        outside.chmod(mode)
        return outside

    def nanod(self, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 120.0) -> Completed:
        """Run nanod inside."""
        return self.run(["nanod", *words], env=env, cwd=cwd, timeout=timeout)

    # Power

    @property
    def leader(self) -> int:
        """The PID of its systemd, as seen from outside."""
        leader = cgroup.leader(self._group)
        if leader is None:
            raise NanodError("cannot enter the machine: it is off")
        return leader

    def wait_running(self, *, timeout: float = 60.0) -> None:
        """Wait until all that is wanted at boot has started (or failed: "degraded")."""
        deadline = time.monotonic() + timeout
        self._wait(self._answers, deadline)
        state = self.run(["systemctl", "is-system-running", "--wait"], timeout=max(1.0, deadline - time.monotonic()))
        if state.out.strip() not in {"running", "degraded"}:
            raise NanodError(f"cannot boot the machine: it is {state.out.strip() or state.err.strip()}", hint=self.console())

    def reboot(self, *, timeout: float = 120.0) -> None:
        """Shut down in order, as `systemctl reboot` does, and wait until it is up again. The disk stays, /run does not."""
        before = self.leader
        self.run(["systemctl", "reboot"])
        self._wait(lambda: cgroup.leader(self._group) not in {before, None}, time.monotonic() + timeout)
        self.wait_running(timeout=timeout)

    def poweroff(self, *, timeout: float = 120.0) -> None:
        """Shut down in order and wait until it is off."""
        self.run(["systemctl", "poweroff"])
        self._wait(self._off, time.monotonic() + timeout)

    def kill(self) -> None:
        """Cut the power: nothing more gets to run. What was written and not synced stays, unlike on a real disk."""
        self._tell(CUT)
        self._wait(self._off, time.monotonic() + 10)

    def start(self, *, timeout: float = 60.0) -> None:
        """Switch on again after `poweroff` or `kill`."""
        self._tell(START)
        self.wait_running(timeout=timeout)

    def close(self) -> None:
        """End it, without a shutdown, and wait until nothing is left of it. May be called again."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()
        self._console.close()

    def console(self) -> str:
        """The last lines of what the machine and the programs that boot it said."""
        self._console.seek(0)
        return "\n".join(self._console.read().decode(errors="replace").splitlines()[-20:])

    def _tell(self, word: bytes) -> None:
        assert self._keeper.stdin is not None
        os.write(self._keeper.stdin.fileno(), word)

    def _answers(self) -> bool:
        leader = cgroup.leader(self._group)
        return leader is not None and Path(f"/proc/{leader}/root/run/systemd/private").exists()

    def _off(self) -> bool:
        return cgroup.leader(self._group) is None

    def _wait(self, reached: Callable[[], bool], deadline: float) -> None:
        while not reached():
            if self._keeper.poll() is not None:
                said = self.console().splitlines()
                message = next((line for line in reversed(said) if line.startswith("cannot ")), "cannot rehearse: the machine is gone")
                raise NanodError(message, hint="\n".join(line for line in said if line != message))
            if time.monotonic() > deadline:
                raise NanodError("cannot rehearse: the machine takes too long to boot or to stop", hint=self.console())
            time.sleep(0.01)


def _require() -> None:
    """Raise NanodError when something is missing that every machine needs."""
    if os.geteuid() != 0:
        raise NanodError("cannot rehearse: only root can mount and make namespaces", hint="run it with sudo")
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            raise NanodError(f"cannot rehearse: {tool} is missing", hint=f"apt install {package}")
