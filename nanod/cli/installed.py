"""An app of this host as its recorded spec compiles: what its unit files are explained from."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanod.cli import flow, host, plugins
from nanod.compile import compile_spec
from nanod.compile.features import expanded
from nanod.errors import NanodError, SpecError
from nanod.host.records import stamps
from nanod.lifelines import life_of
from nanod.spec.load import load, read_spec
from nanod.timeline import relabelled
from nanod.trace import trace

if TYPE_CHECKING:
    from nanod.host.store import LocalStore
    from nanod.spec.load import Loaded
    from nanod.spec.model import Spec
    from nanod.state import Manifest
    from nanod.timeline import Step
    from nanod.trace import Traced
    from nanod.units.unitset import UnitSet

_STDIN = "<stdin>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """`file` is the text that places are in; `note` says why that is not the spec itself, or what is uncertain about it."""

    manifest: Manifest
    spec: Spec
    units: UnitSet
    texts: dict[str, str]
    """What the unit files hold."""
    file: str
    note: str = ""

    def traced(self, name: str) -> Traced:
        """A unit file of the host, line by line. Raises KeyError for one that is not there."""
        made = next((unit for unit in self.units.units if unit.name == name), None)
        if made:
            lines = tuple(item._replace(origin=relabelled(item.origin, self.manifest.spec, self.file)) for item in made.directives)
            made = replace(made, directives=lines)
        return trace(name, self.texts[name], made)

    def timeline(self, service: str) -> tuple[Step, ...]:
        return life_of(self.spec, self.units, service, called={self.manifest.spec: self.file})


def app_of(unit: str, store: LocalStore) -> str:
    """The app that a unit file of the host belongs to. Raises NanodError for a unit that nanod did not make."""
    text = store.read_units([unit]).get(unit)
    if text is None:
        raise NanodError(f"cannot explain {unit}: there is no such file in {store.unit_dir}", hint=f"systemctl cat {unit}")
    app = stamps(text).get("App")
    if not app:
        raise NanodError(f"cannot explain {unit}: nanod did not make it", hint=f"systemctl cat {unit}")
    return app


def installed(app: str, store: LocalStore) -> Installed:
    """The app as its spec compiles: the spec of today where it is the text that was applied, else the generation's own copy.

    Raises NanodError for an app that is not here or of which no text is left, SpecError for a text that compiles no more.
    """
    manifest = host.manifest_of(app, store, "explain")
    loaded, file, note = _recorded(manifest, store)
    if loaded.spec is None:
        raise SpecError(loaded.report, loaded.sources)
    spec, report = expanded(loaded.spec, plugins.load())
    if report.has_errors:
        raise SpecError(report, loaded.sources)
    units, report = compile_spec(spec, flow.target(spec, None, manifest.unit_dir or store.unit_dir, scope=store.scope), plugins.load())
    if units is None:
        raise SpecError(report, loaded.sources)
    if units.app != app:
        raise NanodError(f"cannot explain {app}: {file} makes the app {units.app}", hint=f"nanod explain {file}")
    texts = store.read_units(sorted(manifest.units))
    return Installed(manifest=manifest, spec=spec, units=units, texts=texts, file=file, note=note)


def _recorded(manifest: Manifest, store: LocalStore) -> tuple[Loaded, str, str]:
    """(the spec, what its file is called, a note)."""
    spec, number = manifest.spec, manifest.generation
    stored, why_not = _stored(manifest, store)
    now = _now(manifest)
    if now and (stored is None or "".join(now.sources.values()) == stored):
        unsure = "" if stored is not None else f"places are those of {spec} as it is now: {why_not}"
        return now, spec, unsure
    if stored is None:
        raise NanodError(f"cannot explain {manifest.app}: {spec} cannot be read, and {why_not}")
    directory = None if spec == _STDIN else os.path.dirname(spec)  # noqa: PTH120  (as the loader makes it)
    copy = f"{store.scope.apps}/{manifest.app}/generations/{number}/spec.yaml"
    happened = "came from standard input" if spec == _STDIN else "is gone" if now is None else "changed"
    note = f"the spec {happened}{'' if spec == _STDIN else f' ({spec})'}: places are those of the text that was applied, {copy}"
    return load(spec, stored, env=manifest.env, directory=directory), copy, note


def _stored(manifest: Manifest, store: LocalStore) -> tuple[str | None, str]:
    """The text of the generation in force; or None and why there is none."""
    try:
        return store.generation(manifest.app, manifest.generation)[2], ""
    except NanodError as refused:
        return None, refused.message if os.geteuid() == store.scope.uid else "the text that was applied is readable to root alone"


def _now(manifest: Manifest) -> Loaded | None:
    if manifest.spec == _STDIN:
        return None
    try:
        return read_spec(manifest.spec, env=manifest.env)
    except NanodError:
        return None
