"""Make the releases that a plan needs, before anything of the host is touched: a build that fails leaves the old version serving."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.errors import BuildError, NanodError
from nanod.faults import Point, reach
from nanod.host.atomic import refusing
from nanod.settle import Progress
from nanod.units.names import BUILDING, building
from nanod.waiting import await_run, await_stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nanod.host import Host, Store
    from nanod.state import HookResult, UnitDetail
    from nanod.steps import Plan
    from nanod.units.unitfile import UnitFile
    from nanod.units.unitset import Release


def make_releases(plan: Plan, host: Host, units: Store, tell: Callable[[Progress], None]) -> None:
    """Copy, build and close each release that is not there yet. `units` writes to a directory of systemd's that a reboot empties.

    Raises BuildError when a build fails, NanodError when the host refuses; a release that is not whole goes again. An interrupt
    (KeyboardInterrupt) stops the build that runs.
    """
    # What the builds run.
    host.store.install_lib()
    _sweep(host, units)
    for step in plan.builds:
        release = step.release
        begin = host.clock.now()

        def say(text: str, *, name: str = release.service, begin: float = begin) -> None:
            tell(Progress(service=name, unit="", word="building", text=text, seconds=host.clock.now() - begin))

        try:
            say(f"release {release.name} from {release.source}")
            host.releases.copy(release)
            reach(Point.COPIED)
            if release.build:
                say(f"building {release.name}")
                _build(release, release.build, host, units)
            host.releases.seal(release)
            reach(Point.BUILT)
        except (NanodError, KeyboardInterrupt):
            host.releases.drop(release.path)
            raise


def clean_up(left: Iterable[str], host: Host, units: Store) -> None:
    """Take away what a nanod that was killed while it built has left: its unit, and then the releases `left`.

    Under the host's lock no other is at work. Raises NanodError when systemd or the disk refuses.
    """
    _sweep(host, units)
    for path in left:
        host.releases.drop(path)


def _sweep(host: Host, units: Store) -> None:
    with refusing(f"read {units.unit_dir}"):
        left = sorted(path.name for path in Path(units.unit_dir).glob(f"{BUILDING}*.service"))
    for name in left:
        host.systemd.stop(name)
        await_stopped(host.systemd, host.clock, [name])
        units.delete_unit(name)
    if left:
        units.sync()


def _build(release: Release, unit: UnitFile, host: Host, units: Store) -> None:
    name, since = building(unit.name, os.getpid()), host.clock.wall()
    # A record counts when it is of a unit that systemd knows.
    text = replace(unit, name=name).render().replace(f"NANOD_UNIT={unit.name} ", f"NANOD_UNIT={name} ")
    with _installed(name, text, host, units):
        host.systemd.start(name)
        try:
            state = await_run(host.systemd, host.clock, [name])[name]
        except KeyboardInterrupt:
            host.systemd.stop(name)
            await_stopped(host.systemd, host.clock, [name])
            raise
        detail = host.systemd.detail(name)
        if state.active != "failed":
            return
        records = [item for item in host.journal.hook_results([name], since=since) if item.status]
        lines = host.journal.last_lines(name, invocation=detail.invocation, count=20)
    raise BuildError(
        f"cannot build {release.service}: {_cause(records, detail)}",
        lines,
        hint=f"nothing was touched; journalctl -t {unit.values('Service', 'SyslogIdentifier')[0]} has all of it",
    )


def _cause(records: Sequence[HookResult], detail: UnitDetail) -> str:
    if records:
        what = "the runtime's build" if records[-1].name == "runtime" else "the build hook"
        status = records[-1].status
        return f"{what} was cut off after its time" if status == 124 else f"{what} failed with status {status}"
    words = {
        "timeout": "it was cut off after its time",
        "signal": "a signal ended it",
        "resources": "systemd could not run it",
        "oom-kill": "the kernel killed it: out of memory",
    }
    return words.get(detail.result, f"it failed with status {detail.exec_main_status}")


@contextmanager
def _installed(name: str, text: str, host: Host, units: Store) -> Iterator[None]:
    """Systemd loads a unit of a name that it does not know yet without a daemon-reload (tried on 252 and 257)."""
    units.write_unit(name, text)
    units.sync()
    try:
        yield
    finally:
        units.delete_unit(name)
        units.sync()
        host.systemd.reset_failed(name)
