"""The one door to other programs: an argument list in, status and text out, never a shell."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanod.errors import NanodError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_STDERR = 2
_PATIENCE = 5.0
"""Seconds that a program has to end after SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A program that ended: `status` is its exit status, or minus the signal that killed it."""

    argv: tuple[str, ...]
    status: int
    out: str
    err: str


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    is_mute: bool = False,
) -> Completed:
    """Run to the end and hand back what it said. `env` adds to the environment; `timeout` is in seconds; `is_mute`: its output is for nobody.

    Raises NanodError when the program is missing or the timeout passes; a non-zero status is the caller's to judge.
    """
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            env={**os.environ, **env} if env else None,
            timeout=timeout,
            stdout=subprocess.DEVNULL if is_mute else subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )
    except FileNotFoundError as missing:
        raise NanodError(f"cannot run {argv[0]}: {missing.strerror}", hint=f"install the package that brings {argv[0]}") from missing
    except subprocess.TimeoutExpired as late:
        raise NanodError(f"cannot run {argv[0]}: no answer after {timeout:g} s") from late
    return Completed(
        argv=tuple(argv),
        status=done.returncode,
        out=(done.stdout or b"").decode(errors="replace"),
        err=done.stderr.decode(errors="replace"),
    )


@contextmanager
def lines_of(argv: Sequence[str]) -> Iterator[Iterator[str]]:
    """The lines of its standard output as they come; the program is ended when the caller has had enough. Raises NanodError when it is missing."""
    try:
        started = subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError as missing:
        raise NanodError(f"cannot run {argv[0]}: {missing.strerror}", hint=f"install the package that brings {argv[0]}") from missing
    with started:
        assert started.stdout is not None
        try:
            yield (line.decode(errors="replace") for line in started.stdout)
        finally:
            started.kill()


def pass_through(argv: Sequence[str], *, directory: str, env: Mapping[str, str]) -> int:
    """Run to the end in `directory`, with all that it prints on our standard error; its exit status as a shell has it, 128 + n for signal n.

    An interrupt ends it with all that it started, and goes on. Raises NanodError when it cannot be started.
    """
    try:
        # A group of its own: a signal to this process alone would leave behind what the program has started.
        started = subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, stdout=_STDERR, cwd=directory, env={**os.environ, **env}, process_group=0)
    except OSError as missing:
        raise NanodError(f"cannot run {argv[0]}: {missing.strerror}") from missing
    try:
        status = started.wait()
    except KeyboardInterrupt:
        _end_group(started)
        raise
    return 128 - status if status < 0 else status


def _end_group(started: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(started.pid, number)
        with suppress(subprocess.TimeoutExpired):
            started.wait(_PATIENCE if number == signal.SIGTERM else None)
