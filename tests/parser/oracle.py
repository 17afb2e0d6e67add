"""systemd's own parser as an oracle: unit files in, what PID 1 would hold out.

`systemd-analyze verify` at debug level dumps every unit that it read. It needs neither root nor a systemd as PID 1, takes hundreds of units at once,
and exits 0 whatever it dropped; so its log lines of priority notice and above are the verdict.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_STUBS = ("sysinit.target", "basic.target", "shutdown.target", "multi-user.target")
_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "s": 32}
_WORD = re.compile(rb'"(?:[^"\\]|\\.)*"|[^ ]+', re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_IGNORED = re.compile(
    # Whether the program exists is the host's business, and these units are never started.
    r"is not executable|Failed to create .*/start"
    # A name with a dot: systemd says that it is unusual, and takes it.
    r"|^Accepting user/group name '[A-Za-z0-9_.-]+', which does not match strict user/group name rules\.$"
    # systemd 252 does not know two system calls of its own @system-service on every architecture.
    r"|Failed to parse system call, ignoring: (riscv_hwprobe|uretprobe)$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parser:
    """A systemd-analyze: the machine's own, or the one of a Debian tree, run through the tree's own dynamic loader (so without root)."""

    argv: tuple[str, ...]

    @classmethod
    def of_tree(cls, tree: Path) -> Parser:
        libraries = next((tree / "usr/lib").glob("*-linux-gnu"))
        loader = next((tree / "usr/lib64").glob("ld-linux-*.so.*"), None) or next((tree / "usr/lib").glob("ld-linux-*.so.*"))
        return cls(argv=(str(loader), "--library-path", f"{libraries}:{libraries}/systemd", str(tree / "usr/bin/systemd-analyze")))

    @property
    def version(self) -> int:
        said = subprocess.run([*self.argv, "--version"], capture_output=True, text=True, check=True).stdout
        return int(said.split()[1])

    def read(self, units: dict[str, str]) -> Reading:
        """Units by file name. Raises CalledProcessError only when the program itself dies."""
        with tempfile.TemporaryDirectory(prefix="nanod-parser-") as directory:
            for name in _STUBS:
                Path(directory, name).write_text("[Unit]\nDefaultDependencies=no\n")
            for name, text in units.items():
                Path(directory, name).write_bytes(text.encode(errors="surrogatepass"))
            env = {
                **os.environ,
                "LC_ALL": "C",
                "SYSTEMD_UNIT_PATH": directory,
                "SYSTEMD_LOG_LEVEL": "debug",
                "SYSTEMD_LOG_TARGET": "console-prefixed",
                "SYSTEMD_COLORS": "0",
            }
            done = subprocess.run(
                [*self.argv, "verify", "--man=no", *(str(Path(directory, name)) for name in units)],
                env=env,
                capture_output=True,
                check=False,
            )
            if done.returncode < 0:
                raise subprocess.CalledProcessError(done.returncode, self.argv, done.stdout, done.stderr)
            return Reading(dumps=_split(done.stdout, set(units)), complaints=_complaints(done.stderr, directory))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    dumps: dict[str, Dump]
    """By unit; one that systemd refused as a whole is absent, or has no commands."""
    complaints: tuple[str, ...]
    """What systemd said of these files, priority notice and above."""


@dataclass(frozen=True, slots=True)
class Dump:
    """One unit, as PID 1 would hold it."""

    text: bytes
    environment: bytes
    """All assignments as printed, `Environment: A=b` and a line break each: values are printed raw, line breaks and all, so compare it whole."""

    def values(self, key: str) -> list[str]:
        """Of a key with one value on a line, in the order of the dump."""
        start = f"\t\t{key}: ".encode()
        return [line.removeprefix(start).decode() for line in self.text.split(b"\n") if line.startswith(start)]

    def names(self, key: str) -> set[str]:
        """Of a key whose values stand with their origin: `After: x.service (origin-file)`."""
        return {value.partition(" ")[0] for value in self.values(key) if "origin-file" in value}

    def conditions(self) -> list[str]:
        """Conditions are kept, and printed, last one first."""
        return [value.removesuffix(" untested") for value in self.values("ConditionPathExists")][::-1]

    @property
    def commands_written(self) -> list[str]:
        return [key.decode() for key in re.findall(rb"^\t\t(?:->|\xe2\x86\x92) (Exec[A-Za-z]+):$", self.text, re.MULTILINE)]

    def commands(self, key: str) -> list[list[str]]:
        """The words of each line of ExecStart= and the like."""
        block = re.search(rb"^\t\t(?:->|\xe2\x86\x92) " + key.encode() + rb":\n((?:\t\t\tCommand Line:.*\n)*)", self.text, re.MULTILINE)
        lines = block[1].split(b"\n")[:-1] if block else []
        return [[_unquote(word) for word in _WORD.findall(line.removeprefix(b"\t\t\tCommand Line: "))] for line in lines]


def environment_text(assignments: list[str]) -> bytes:
    """As `Dump.environment` has them."""
    return "".join(f"\t\tEnvironment: {item}\n" for item in assignments).encode()


def _unquote(word: bytes) -> str:
    """The reverse of systemd's shell_maybe_quote()."""
    if not word.startswith(b'"'):
        return word.decode()

    def one(match: re.Match[bytes]) -> bytes:
        code = match[1]
        if len(code) == 3:
            return bytes([int(code, 8)])
        return bytes([_ESCAPES.get(code.decode(), code[0])])

    return _ESCAPE.sub(one, word[1:-1]).decode()


def _split(out: bytes, names: set[str]) -> dict[str, Dump]:
    """A value cannot begin a unit: none holds the name of one between such words."""
    heads = [head for head in re.finditer(rb"^\t(?:->|\xe2\x86\x92) Unit (\S+):\n", out, re.MULTILINE) if head[1].decode() in names]
    ends = [*(head.start() for head in heads[1:]), len(out)]
    return {head[1].decode(): _dump(out[head.end() : end]) for head, end in zip(heads, ends, strict=True)}


def _dump(text: bytes) -> Dump:
    begin = text.find(b"\t\tEnvironment: ")
    if begin < 0:
        return Dump(text, b"")
    end = re.compile(rb"^\t\t(?:EnvironmentFile|PassEnvironment|UnsetEnvironment|RuntimeDirectoryPreserve): ", re.MULTILINE).search(text, begin)
    assert end is not None
    return Dump(text[:begin] + text[end.start() :], text[begin : end.start()])


def _complaints(err: bytes, directory: str) -> tuple[str, ...]:
    said = re.findall(r"^<(\d+)>(.*)$", err.decode(errors="replace"), re.MULTILINE)
    loud = [message.removeprefix(f"{directory}/") for priority, message in said if int(priority) % 8 <= 5]
    return tuple(message for message in loud if not _IGNORED.search(message))
