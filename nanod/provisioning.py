"""Run the installs of an app now, in their own units; the services are not touched. The caller holds the host's lock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.ended import Installed, InstallEnd, Provisioned
from nanod.errors import NanodError, UsageError
from nanod.recorded import service_units
from nanod.settle import Progress
from nanod.units.unitfile import parse
from nanod.units.unitset import Role
from nanod.verdict import Ending, Status, judge
from nanod.waiting import await_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nanod.host import Host
    from nanod.state import Manifest, UnitState
    from nanod.units.unitset import ServiceUnits
    from nanod.verdict import ServiceVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """`sentinel` says that it is done; what it `creates` must be there, too. `service`: the first of the `mains` that start after it."""

    service: ServiceUnits
    mains: tuple[str, ...]
    unit: str
    sentinel: str
    creates: tuple[str, ...]

    @property
    def is_pending(self) -> bool:
        """As the conditions of its unit have it."""
        return not all(Path(path).exists() for path in (self.sentinel, *self.creates))


def installs(manifest: Manifest, names: Sequence[str], host: Host) -> list[Install]:
    """Of these services, or of all that have one. Raises UsageError for a named service without one, and for an app without any."""
    mains: dict[str, list[ServiceUnits]] = {}
    for item in (service_units(manifest, name) for name in manifest.services):
        if item.provision and item.role is Role.MAIN:
            mains.setdefault(item.service, []).append(item)
    have = list(mains)
    lacking = next((name for name in names if name not in have), None)
    if lacking or not have:
        hint = f"services with an install are: {', '.join(have)}" if have else f"no service of {manifest.app} has one"
        raise UsageError(f"cannot provision {lacking or manifest.app}: there is no install", hint=hint)
    # What is installed once for all members of a service has one unit.
    texts = host.store.read_units([items[0].provision or "" for items in mains.values()])
    return [_install(items, texts) for name, items in mains.items() if not names or name in names]


def _install(mains: Sequence[ServiceUnits], texts: Mapping[str, str]) -> Install:
    """The conditions of the unit are `|!PATH`, first the sentinel's. Raises NanodError for a unit whose file is gone."""
    service = mains[0]
    unit = service.provision or ""
    paths = [
        value.removeprefix("|!").replace("%%", "%")
        for section, key, value in parse(texts.get(unit, ""))
        if (section, key) == ("Unit", "ConditionPathExists")
    ]
    if not paths:
        raise NanodError(f"cannot provision {service.service}: {unit} is not the file that nanod left", hint="'nanod status' says more")
    return Install(service=service, mains=tuple(item.main for item in mains), unit=unit, sentinel=paths[0], creates=tuple(paths[1:]))


def provision(
    app: str,
    wanted: Sequence[Install],
    host: Host,
    *,
    forget: Callable[[str], object] | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Provisioned:
    """All at once, each behind the lock of its volume. `forget` deletes a sentinel first, so that what is done is done again.

    An interrupt ends the wait and not the install: a stop of its unit would stop a service that runs, too (Requires=, tried).
    """
    systemd, clock = host.systemd, host.clock
    begin, wall = clock.now(), clock.wall()
    up = {item.unit: any(state.is_up for state in systemd.states(item.mains).values()) for item in wanted}
    for item in wanted:
        if forget:
            forget(item.sentinel)
    todo = [item for item in wanted if item.is_pending]
    states: dict[str, UnitState] = {}
    try:
        for item in todo:
            tell(Progress(service=item.service.service, unit=item.unit, word="installing", text="installing", seconds=0.0))
            systemd.reset_failed(item.unit)
            systemd.start(item.unit)
        states = await_run(systemd, clock, [item.unit for item in todo]) if todo else {}
    except KeyboardInterrupt:
        states = {}
    ends = []
    for item in wanted:
        word = Installed.ALREADY
        if item in todo:
            word = Installed.GOES_ON if item.unit not in states else Installed.FAILED if states[item.unit].active == "failed" else Installed.DONE
        end = InstallEnd(
            service=item.service.service, unit=item.unit, sentinel=item.sentinel, word=word, is_up=up[item.unit], seconds=clock.now() - begin
        )
        ends.append(replace(end, verdict=_why(app, item, host, wall)) if word is Installed.FAILED else end)
    return Provisioned(app=app, installs=tuple(ends), seconds=clock.now() - begin)


def _why(app: str, item: Install, host: Host, wall: int) -> ServiceVerdict:
    detail = host.systemd.detail(item.unit)
    ending = Ending(service=item.service, status=Status.FAILED, unit=item.unit, touched=True, detail=detail)
    records = host.journal.hook_results([item.unit], since=wall)
    lines = {item.unit: host.journal.last_lines(item.unit, invocation=detail.invocation)}
    return replace(judge(app, [ending], records, lines).services[0], headline=f"cannot provision {item.service.service}")
