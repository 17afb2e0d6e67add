"""`nanod rehearse`: apply a spec for real, on a machine that is thrown away."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.errors import ExitCode, NanodError
from nanod.rehearse.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanod.rehearse.machine import Network

PASSED_ON = ("COLORTERM", "LANG", "NO_COLOR", "TERM")
"""What the commands inside may know of the caller's environment: how its terminal looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """How it went: `verdict` is the exit status of `nanod apply`, `command` that of the command run after it, if one was."""

    verdict: int
    command: int | None = None


def rehearse(spec: Path, *, network: Network = "private", words: Sequence[str] = (), command: Sequence[str] = ()) -> Rehearsed:
    """Boot, run `nanod apply SPEC WORDS…` and `nanod status` inside, then `command`, all on the caller's own streams and directory.

    A failed apply is not rolled back: on a machine that held nothing before, nothing would be left for `status` and `command` to look at.
    Raises NanodError when this machine cannot boot another.
    """
    spec = spec.absolute()
    with Machine.boot(network=network) as machine:
        if not machine.path(spec).exists():
            raise NanodError(f"cannot rehearse {spec}: it is not there on the machine", hint="move it out of /run, /dev, /proc and /sys")
        # Whoever may change the spec may be root on a machine that is thrown away.
        verdict = _run(machine, ["nanod", "apply", "--any-owner", "--no-rollback", str(spec), *words])
        if verdict in {ExitCode.OK, ExitCode.FAILED, ExitCode.DEGRADED}:
            _run(machine, ["nanod", "status"])
        ended = _run(machine, command) if command else None
        if network == "host":
            machine.poweroff()  # what the app said to the world outside, its hooks get to take back
    return Rehearsed(verdict=verdict, command=ended)


def _run(machine: Machine, argv: Sequence[str]) -> int:
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return machine.popen(argv, env=environment, cwd=Path.cwd()).wait()
