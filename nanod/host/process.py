"""The one door to other programs: an argument list in, status and text out, never a shell."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanod.errors import NanodError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
) -> Completed:
    """Run to the end and hand back what it said. `env` adds to the environment; `timeout` is in seconds.

    Raises NanodError when the program is missing or the timeout passes; a non-zero status is the caller's to judge.
    """
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            env={**os.environ, **env} if env else None,
            timeout=timeout,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as missing:
        raise NanodError(f"cannot run {argv[0]}: {missing.strerror}", hint=f"install the package that brings {argv[0]}") from missing
    except subprocess.TimeoutExpired as late:
        raise NanodError(f"cannot run {argv[0]}: no answer after {timeout:g} s") from late
    return Completed(
        argv=tuple(argv),
        status=done.returncode,
        out=done.stdout.decode(errors="replace"),
        err=done.stderr.decode(errors="replace"),
    )
