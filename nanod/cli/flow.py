"""From a path on the command line to compiled units: the way that every verb with a SPEC goes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanod.cli import plugins
from nanod.compile import Target, compile_spec
from nanod.compile.features import expanded
from nanod.diagnostics import Report
from nanod.errors import NanodError, SpecError
from nanod.host import facts
from nanod.host.releases import LocalReleases
from nanod.scope import SYSTEM
from nanod.spec.load import read_spec
from nanod.units.directives import OLDEST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nanod.scope import RuntimeScope
    from nanod.spec.model import Spec
    from nanod.units.unitset import UnitSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A spec loaded, with what its features add, and compiled for `target`; one with errors has no `units`.

    `sources` has the texts that `report` speaks of.
    """

    spec: Spec | None
    units: UnitSet | None
    target: Target | None
    report: Report
    sources: Mapping[str, str]


def check(path: str, *, env: str | None, scope: RuntimeScope = SYSTEM) -> Checked:
    """The spec alone, for the oldest systemd: the same answer on every machine. Raises NanodError when the file cannot be read."""
    return _compile(path, env, lambda _: Target(unit_dir=scope.unit_dir, scope=scope))


def compiled(
    path: str,
    *,
    env: str | None,
    version: int | Callable[[], int] | None = None,
    unit_dir: str = "",
    scope: RuntimeScope = SYSTEM,
    releases: Callable[[str], Mapping[str, Sequence[str]]] = lambda _: {},
    rebuilds: bool = False,
    colours: Callable[[str], Mapping[str, str]] = lambda _: {},
) -> tuple[UnitSet, Checked]:
    """The units for this machine, or for systemd `version`; where that must be asked for, it is once the spec is found good.

    `releases`: of an app, those there are by service; `rebuilds`: not these, but new ones. `colours`: of an app, the live ones by service.

    Raises SpecError with all that is wrong, NanodError when the file cannot be read, or a plug-in fails.
    """

    def made_for(spec: Spec) -> Target:
        return replace(target(spec, version, unit_dir, releases(spec.app), rebuilds=rebuilds, scope=scope), colours=colours(spec.app))

    made = _compile(path, env, made_for)
    if made.units is None:
        raise SpecError(made.report, made.sources)
    return made.units, made


def recoloured(checked: Checked, colours: Mapping[str, str]) -> Checked:
    """The same spec, compiled with other colours. Its findings are the same."""
    assert checked.spec is not None
    assert checked.target is not None
    other = replace(checked.target, colours=colours)
    units, _ = compile_spec(checked.spec, other, plugins.load())
    return replace(checked, units=units, target=other)


def _compile(path: str, env: str | None, target_of: Callable[[Spec], Target]) -> Checked:
    loaded = read_spec(path, env=env)
    report, spec, units, made_for = Report(), loaded.spec, None, None
    report.merge(loaded.report)
    if spec is not None and not report.has_errors:
        available = plugins.load()
        spec, found = expanded(spec, available)
        report.merge(found)
        if not report.has_errors:
            made_for = target_of(spec)
            units, found = compile_spec(spec, made_for, available)
            report.merge(found)
    return Checked(spec=spec, units=units, target=made_for, report=report, sources=loaded.sources)


NO_RELEASES: Mapping[str, Sequence[str]] = {}


def target(
    spec: Spec,
    version: int | Callable[[], int] | None,
    unit_dir: str = "",
    releases: Mapping[str, Sequence[str]] = NO_RELEASES,
    *,
    rebuilds: bool = False,
    scope: RuntimeScope = SYSTEM,
) -> Target:
    """What to compile for; where no systemd is installed, the oldest. Raises NanodError for a systemd that is too old."""
    if version is None:
        version = facts.systemd_version() if shutil.which("systemctl") else OLDEST
    if callable(version):
        version = version()
    if version < OLDEST:
        raise NanodError(f"cannot compile for systemd {version}: nanod needs {OLDEST} or newer")
    inputs = [path for service in spec.services.values() if service.provisioning for path in service.provisioning.inputs]
    return Target(
        version=version,
        inputs=facts.digests(inputs),
        sources=sources(spec),
        releases=releases,
        rebuilds=rebuilds,
        unit_dir=unit_dir or scope.unit_dir,
        scope=scope,
    )


def sources(spec: Spec) -> dict[str, str]:
    """Of each service that has a source, the digest of what its release is made of."""
    made = LocalReleases()
    return {name: made.digest(item.source, item.build.inputs) for name, item in spec.services.items() if item.source and item.build}
