"""Another host, reached with the operator's own ssh(1) and rsync(1): their configuration, keys and known hosts decide.

What is run there is one line for the shell of the account; whoever builds it quotes every word. Nothing is asked without a terminal.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final

from nanod.errors import NanodError
from nanod.host.process import Completed, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_PACKAGES: Final = {"ssh": "openssh-client", "rsync": "rsync"}
LOST: Final = 255
"""How ssh(1) ends when it, and not the command, failed."""

_OPTIONS: Final = (
    # An ssh of the operator's may forward ports or run a command at each login: neither is wanted here.
    "ClearAllForwardings=yes",
    "RemoteCommand=none",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    # One login for all that follows. It goes by itself a minute after the last use, should nobody be left to end it.
    "ControlMaster=auto",
    "ControlPersist=60",
)
_COPY: Final = ("--recursive", "--links", "--perms", "--checksum", "--chmod=go-w,ug-s", "-s")
"""By content: a fresh checkout has new times for old files, and a build may have old times for new ones. Owners are the receiver's.

`-s`, whose long name has changed: paths do not pass the shell over there.
"""
_LEFT_OUT: Final = ("--exclude=.git", "--exclude=.hg", "--exclude=.svn", "--filter=dir-merge /.rsync-filter")

_SAID: Final = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the known one",
        "somebody may listen in; if the host was set up anew, 'ssh-keygen -R {host}'",
    ),
    ("Host key verification failed", "its host key is unknown", "'ssh {target}' shows the key and takes it, once you have compared it"),
    ("host key is known for", "its host key is unknown", "'ssh {target}' shows the key and takes it, once you have compared it"),
    (
        "Permission denied",
        "it does not let you log in",
        "try 'ssh {target}': it takes a key that is allowed there, in an agent or without a passphrase",
    ),
    ("Too many authentication failures", "it does not let you log in", "try 'ssh {target}'; IdentitiesOnly in ~/.ssh/config says which key to use"),
    ("Could not resolve hostname", "there is no host of that name", "is it written right? 'ssh {target}' must work first"),
    ("No route to host", "there is no route to it", "is it up, and reachable from here? try 'ssh {target}'"),
    ("Network is unreachable", "there is no route to it", "is it up, and reachable from here? try 'ssh {target}'"),
    ("Connection refused", "nothing answers on its ssh port", "is sshd running there? another port is said in ~/.ssh/config, or --ssh-option Port=N"),
    ("timed out", "it does not answer", "is it up, and reachable from here? try 'ssh {target}'"),
)
"""What ssh(1) prints, what that means, and what to do."""


def require_programs() -> None:
    """Raises NanodError when this machine lacks what it takes."""
    for program, package in _PACKAGES.items():
        if shutil.which(program) is None:
            raise NanodError(f"cannot deploy: {program} is not installed here", hint=f"apt install {package}")


def explained(target: str, said: str) -> NanodError:
    """Why ssh(1) could not log in, from what it printed."""
    host = target.rpartition("@")[2]
    for words, cause, hint in _SAID:
        if words in said:
            return NanodError(f"cannot deploy to {target}: {cause}", hint=hint.format(target=target, host=host))
    return NanodError(f"cannot deploy to {target}: {_cause(said) or 'ssh gave no reason'}", hint=f"'ssh {target}' must work first")


class Ssh:
    """One host. Its methods may be called from any one thread, `interrupt` and `close` from another."""

    def __init__(self, target: str, *, control: Path, options: Sequence[str] = (), asks: bool = False) -> None:
        """`control` is where the socket of the one connection will be, `options` are as of ssh -o, and win; `asks`: there is somebody to ask."""
        self._target = target
        given = [*options, *(() if asks else ("BatchMode=yes",)), *_OPTIONS, f"ControlPath={str(control).replace('%', '%%')}"]
        self._ssh = ["ssh", "-T", *(word for option in given for word in ("-o", option))]
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._listening: IO[bytes] | None = None
        self._asks = asks
        self._is_connected = self._is_interrupted = False

    @property
    def target(self) -> str:
        return self._target

    def run(self, command: str) -> Completed:
        """Run a line there to its end. Raises NanodError when the host cannot be reached; a status is the caller's to judge."""
        done = self._call([*self._ssh, "--", self.target, command])
        if done.status == LOST:
            raise explained(self.target, done.err)
        return done

    def send(self, directory: str, destination: str, *, like: Sequence[str] = (), rsync: str = "rsync") -> int:
        """Copy what is in `directory` to `destination` there, which is new; how many files had to travel.

        What is the same in one of the directories `like` is not sent, but linked from there. `rsync` is how it is called there.
        Raises NanodError.
        """
        words = [*_COPY, *_LEFT_OUT, "--stats", f"--rsync-path={rsync}", *(f"--link-dest={other}" for other in like)]
        argv = ["rsync", *words, "-e", shlex.join(self._ssh), "--", f"{directory.rstrip('/')}/", f"{_rsync_host(self.target)}:{destination}/"]
        done = self._call(argv)
        if done.status:
            raise _refused(self.target, done)
        found = re.search(r"^Number of regular files transferred: ([0-9.,]+)", done.out, re.MULTILINE)
        return int(re.sub(r"\D", "", found[1])) if found else 0

    def follow(self, command: str, out: Callable[[str], None], err: Callable[[str], None]) -> int:
        """Run a line there and hand on each line it prints; its status, LOST when the connection was.

        Its standard input stays open until `interrupt`, which the command answers in good order. Raises NanodError after one.
        """
        self._require_uninterrupted()
        pipe = subprocess.PIPE
        with self._started([*self._ssh, "--", self.target, command], stdin=pipe, stdout=pipe, stderr=pipe) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            assert running.stderr is not None
            with self._lock:
                self._listening = running.stdin
            if self._is_interrupted:
                self._hang_up()
            beside = threading.Thread(target=_pass_on, args=(running.stderr, err))
            beside.start()
            _pass_on(running.stdout, out)
            beside.join()
            status = running.wait()
            self._hang_up()
        return status

    def interrupt(self) -> None:
        """End what is under way: a command that is followed is told by the end of its input, anything else by SIGTERM."""
        self._is_interrupted = True
        if not self._hang_up():
            self._end()

    def close(self, last: str = "") -> None:
        """End what is under way, run the line `last` there, whatever comes of it, and end the connection."""
        self._hang_up()
        self._end()
        with suppress(NanodError):
            if last:
                run([*self._ssh, "--", self.target, last])
            run([*self._ssh, "-O", "exit", "--", self.target])

    def _hang_up(self) -> bool:
        with self._lock:
            listening, self._listening = self._listening, None
        if listening is None:
            return False
        with suppress(OSError):
            listening.close()
        return True

    def _end(self) -> None:
        with self._lock:
            if self._running is not None and self._running.poll() is None:
                self._running.terminate()

    def _call(self, argv: Sequence[str]) -> Completed:
        self._require_uninterrupted()
        # Files, and no pipes: the process that holds the connection has our ends of those, too, until the other side has ended.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            status = self._started(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err).wait()
            self._is_connected |= status != LOST
            said = [(file.seek(0), file.read().decode(errors="replace"))[1] for file in (out, err)]
        return Completed(argv=tuple(argv), status=status, out=said[0], err=said[1])

    def _require_uninterrupted(self) -> None:
        if self._is_interrupted:
            raise NanodError(f"cannot deploy to {self.target}: interrupted")

    def _started(self, argv: Sequence[str], *, stdin: int, stdout: int | IO[bytes], stderr: int | IO[bytes]) -> subprocess.Popen[bytes]:
        """Only the login may need the terminal, for a question. All else is out of its reach: a Ctrl-C there is for `interrupt` to tell."""
        apart = self._is_connected or not self._asks
        with self._lock:
            self._running = subprocess.Popen(list(argv), stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=apart)
            return self._running


def _pass_on(pipe: IO[bytes], to: Callable[[str], None]) -> None:
    for line in pipe:
        to(line.decode(errors="replace").removesuffix("\n"))


def _rsync_host(target: str) -> str:
    """For rsync a colon ends the host: an IPv6 address has brackets there, which ssh(1) does not want."""
    user, at, host = target.rpartition("@")
    return f"{user}{at}[{host}]" if ":" in host else target


def _refused(target: str, done: Completed) -> NanodError:
    """Why rsync(1) failed. It says first what happened, and then what that led to; where it has nothing to say, its ssh had."""
    led_to = ("connection unexpectedly closed", "Broken pipe")
    said = [line.removeprefix("rsync: ") for line in done.err.splitlines() if line.startswith("rsync: ") and not any(word in line for word in led_to)]
    if done.status == LOST or not said:
        return explained(target, done.err)
    return NanodError(f"cannot deploy to {target}: rsync: {said[0]}", hint="free some space there" if "No space left" in said[0] else "")


def _cause(said: str) -> str:
    """The last line that is ssh's, or of the program that was to run there."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("rsync: ", "rsync error:"))]
    return (telling or lines or [""])[-1].removeprefix("ssh: ")
