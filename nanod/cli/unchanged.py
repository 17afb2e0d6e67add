"""The quick way to a plan that changes nothing: a spec that was applied, and since then nothing has changed that its units follow from.

Beside the record of an app lies what its units were made from. While that is as it was, and the record and the unit files are what was compiled
then, they stand for a compilation: neither yaml nor the compiler is needed. The host is looked at and the plan is made as ever. As soon as there is
anything to do, or to refuse, the answer is None, and the spec is read and compiled; so no error and no step ever comes from here.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nanod.across import check_outer
from nanod.cli import entrypoints
from nanod.diagnostics import Diagnostic, Mark, Report, Severity
from nanod.errors import NanodError
from nanod.host import facts
from nanod.host.releases import LocalReleases
from nanod.host.safety import check_credentials, check_root_environment, check_root_volumes, root_programs, unsafe
from nanod.host.snapshot import snapshot
from nanod.plan import plan as make_plan
from nanod.recorded import unit_set
from nanod.values import content_hash, digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nanod.cli.flow import Checked
    from nanod.cli.host import Here
    from nanod.scope import RuntimeScope
    from nanod.state import Manifest
    from nanod.steps import Plan
    from nanod.units.unitset import UnitSet

PACKAGE = Path(__file__).parent.parent
CODE = ("", "spec", "compile", "units", "policies")
"""Directories with the code that units follow from."""
STDIN = "-"
"""As `nanod.spec.load` has it, which takes as long to import as all that is done here."""
_LONGEST = 2**20 + 1
"""Bytes; no spec has so many."""


class Made(NamedTuple):
    """What the units of an app were made from, and what was known of them that neither unit files nor the record tell."""

    source: str
    """Digest of the spec's text and place, the environment, nanod's own code, and its plug-ins."""
    target: str
    """Digest of systemd's version, of the files in `inputs`, and of where units are."""
    installed: str
    """Digest of what the record says when all is done."""
    inputs: Sequence[str]
    sources: Sequence[Sequence[str]]
    """What releases are made from: service, directory, and which files."""
    programs: Sequence[str]
    """What root runs."""
    users: Sequence[str]
    files: Sequence[str]
    host_units: Sequence[str]
    findings: Sequence[Sequence[str | int]]
    """Warnings and notes of the spec: they are said each time."""

    def encode(self) -> bytes:
        """With a digest before it, so that nothing is taken for this but what was written."""
        text = json.dumps(self)
        return f"{content_hash(text)}\n{text}\n".encode()

    @classmethod
    def decode(cls, content: bytes) -> Made | None:
        """None for anything but what `encode` wrote."""
        head, _, text = content.decode(errors="replace").rstrip("\n").partition("\n")
        if content_hash(text) != head:
            return None
        fields = json.loads(text)
        return cls(*fields) if len(fields) == len(cls._fields) else None


class Unchanged(NamedTuple):
    """A plan without a step, what there is to say about its spec, and the spec's text."""

    plan: Plan
    report: Report
    text: str


def made_from(path: str, env: str | None, checked: Checked, plan: Plan) -> Made | None:
    """What to remember once the plan is carried out; None for a spec that cannot be looked up again."""
    spec, units, target = checked.spec, checked.units, checked.target
    if spec is None or units is None or target is None or plan.manifest is None or path not in checked.sources:
        return None
    return Made(
        source=_source(checked.sources[path], path, env),
        target=_target(target.version, target.inputs, target.sources, target.unit_dir, target.scope),
        installed=_installed(plan.manifest),
        inputs=sorted(target.inputs),
        sources=[[item.service, item.source, *item.inputs] for item in units.releases],
        programs=root_programs(spec),
        users=[name for name, _ in units.users],
        files=[name for name, _ in units.files],
        host_units=[name for name, _ in units.host_units],
        findings=[_kept(item, path) for item in checked.report],
    )


def unchanged(path: str, *, env: str | None, host: Here, any_owner: bool) -> Unchanged | None:
    """None when the spec has to be read and compiled. `any_owner` as in `planned`."""
    text = _text(path)
    if text is None:
        return None
    source = _source(text, path, env)
    for app, content in host.store.remembered().items():
        made = Made.decode(content)
        if made and made.source == source:
            with suppress(NanodError):
                plan = _plan(app, made, host, any_owner=any_owner)
                return Unchanged(plan, Report([_shown(item, path) for item in made.findings]), text) if plan else None
    return None


def _plan(app: str, made: Made, host: Here, *, any_owner: bool) -> Plan | None:
    manifest = host.store.manifest(app)
    if manifest is None or _installed(manifest) != made.installed:
        return None
    if _target(host.systemd.version(), facts.digests(made.inputs), _sources(made), host.store.unit_dir, host.store.scope) != made.target:
        return None
    texts = host.store.read_units(manifest.units)
    if {name: content_hash(text) for name, text in texts.items()} != manifest.units:
        return None
    units = _units(manifest, texts, made, host.store.scope)
    seen = snapshot(host.systemd, host.store, units, manifest)
    if facts.check_host(units, seen.units) or not (any_owner or _is_roots_own(units, made.programs)):
        return None
    if units.outer and check_outer(units, host.store.others(app, [item.need.app for item in units.outer])):
        return None
    plan = make_plan(units, manifest, seen)
    return None if plan.steps or plan.builds or plan.notes or plan.records else plan


def _units(manifest: Manifest, texts: Mapping[str, str], made: Made, scope: RuntimeScope) -> UnitSet:
    """As compiled. Unit files do not say all that the host must have: hooks have users of their own."""
    origin = Mark(manifest.spec)
    return replace(
        unit_set(manifest, texts, scope),
        users=tuple((name, origin) for name in made.users),
        files=tuple((name, origin) for name in made.files),
        host_units=tuple((name, origin) for name in made.host_units),
    )


def _is_roots_own(units: UnitSet, programs: Sequence[str]) -> bool:
    """What root runs and reads may have changed hands since."""
    return not (any(map(unsafe, programs)) or check_root_environment(units) or check_root_volumes(units) or check_credentials(units))


def _text(path: str) -> str | None:
    """The spec, as the loader decodes it; None for what is no file, which is the loader's to refuse. Standard input can be read only once."""
    if path == STDIN:
        return None
    with suppress(OSError, UnicodeDecodeError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return file.read(_LONGEST).decode().removeprefix("\ufeff")
    return None


def _source(text: str, path: str, env: str | None) -> str:
    return digest(text, os.fsencode(os.path.abspath(path)), repr(env), _code(), entrypoints.identity())  # noqa: PTH100  ("..", unlike links, goes)


def _code() -> str:
    """The code itself, by its files: a version number does not change with every line."""
    found = []
    for folder in CODE:
        with os.scandir(PACKAGE / folder) as entries:
            for entry in entries:
                if entry.is_file():
                    status = entry.stat()
                    found.append(f"{entry.path} {status.st_size} {status.st_mtime_ns}")
    return digest(*sorted(found))


def _target(version: int, inputs: Mapping[str, str], sources: Mapping[str, str], unit_dir: str, scope: RuntimeScope) -> str:
    return digest(str(version), repr(sorted(inputs.items())), repr(sorted(sources.items())), unit_dir, repr(scope))


def _sources(made: Made) -> dict[str, str]:
    releases = LocalReleases()
    return {service: releases.digest(source, inputs) for service, source, *inputs in made.sources}


def _installed(manifest: Manifest) -> str:
    """The record of an apply that was cut short, or that was made anew from unit files, is another one. What may change by itself, plan compares."""
    return digest(repr(replace(manifest, watched={}, made=())))


def _kept(item: Diagnostic, path: str) -> list[str | int]:
    """The spec's own name may be written in another way the next time."""
    mark = item.mark
    return ["" if mark.file == path else mark.file, mark.line, mark.column, mark.end, item.severity.value, item.message, item.path]


def _shown(kept: Sequence[str | int], path: str) -> Diagnostic:
    file, line, column, end, severity, message, place = kept
    return Diagnostic(Mark(str(file) or path, int(line), int(column), int(end)), Severity(int(severity)), str(message), str(place))
