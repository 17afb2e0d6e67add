"""From text to a Spec: read, check against the schema, merge the layers, build the model, check across. Pure; every mistake in one report."""

from __future__ import annotations

import os
import re
import stat
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from nanod.diagnostics import Mark, Report
from nanod.errors import NanodError
from nanod.spec import accept, build, checks, needs, source
from nanod.spec.defaults import RUNTIMES
from nanod.spec.merge import laid_over, normalised
from nanod.spec.model import Spec
from nanod.spec.read import Context
from nanod.spec.schema import SCHEMA
from nanod.spec.shapes import APP_NAME
from nanod.spec.tree import Findings, Map, Place, Text, built_in, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

STDIN: Final = "-"
_PLAIN_STEMS: Final = frozenset(["spec", "nanod", "services", "compose"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """`spec` is None when the report has errors; `sources` has the text of each file that the report speaks of."""

    spec: Spec | None
    report: Report
    sources: Mapping[str, str]


def read_spec(path: str, *, env: str | None = None) -> Loaded:
    """The spec in a file, or from standard input for `-`. Raises NanodError when it cannot be read."""
    if path == STDIN:
        return load("<stdin>", sys.stdin.buffer.read(source.MAX_BYTES + 1), env=env)
    try:
        raw = _bytes(path)
    except OSError as error:
        raise NanodError(f"cannot read {path}: {error.strerror or error}") from error
    return load(path, raw, env=env, directory=os.path.dirname(os.path.abspath(path)))  # noqa: PTH100, PTH120 - "..", unlike links, goes


def _bytes(path: str) -> bytes:
    """One open, and no more bytes than a spec may have: the file may be a device, or change under our eyes."""
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 - Path.open has no flags
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise NanodError(f"cannot read {path}: not a regular file")
        return file.read(source.MAX_BYTES + 1)


def load(file: Path | str, text: str | bytes, *, env: str | None = None, directory: str | None = None) -> Loaded:
    """The spec that a text says. `directory`: where relative paths start, None when nothing says it (standard input)."""
    report = Report()
    name = str(file)
    read = source.read(name, text, report)
    sources = {name: read.text}
    spec = _Loading(name, read, report, env, directory).spec()
    return Loaded(spec=None if report.has_errors else spec, report=report, sources=sources)


@cache
def _acceptor() -> accept.Check:
    return accept.compiled(SCHEMA)


class _Loading:
    def __init__(self, file: str, read: source.Source, report: Report, env: str | None, directory: str | None) -> None:
        self.file, self.read, self.report, self.env, self.directory = file, read, report, env, directory
        self.context = Context.of(report, directory)
        self.findings: Findings = self.context.findings
        self.root = Place(Text(file, read.text, read.span), read.root)
        self.overlay = Place(self.root.text, None)

    def spec(self) -> Spec | None:
        if not self._has_shape():
            return None
        env = self._environment()
        self.overlay = self.root.child("environments").child(env or "")
        project = self._project()
        merged = self._services()
        app = f"{project}-{env}" if env else project
        group = needs.Group(app, merged.keys(), frozenset(name for name, place in merged.items() if needs.is_gated(place.map)))
        services = {name: build.service(self.context, group, place, name) for name, place in merged.items()}
        deploy = self._deploy()
        made = Spec(
            at=self.root,
            file=str(PurePath(self.directory, PurePath(self.file).name)) if self.directory else self.file,
            directory=self.directory or "/",
            project=project,
            env=env,
            services=services,
            deploy=build.deploy(self.context, deploy) if deploy else None,
        )
        checks.check(self.findings, services)
        return made

    def _has_shape(self) -> bool:
        """Whether there is anything to go on with; what breaks the schema is reported and cut out."""
        if self.read.root is None and not self.report.has_errors:
            self.report.error(Mark(self.file), "the spec is empty: it needs 'services'")
        if self.read.root is None:
            return False
        if _acceptor()(self.read.root):
            return True
        from nanod.spec import words  # noqa: PLC0415 - jsonschema takes 60 ms to import, and only a wrong spec needs it

        return words.explain(self.root, SCHEMA, self.findings)

    def _environment(self) -> str | None:
        version = self.root.get("nanod")
        if version not in (None, 1):
            self.findings.error(self.root, f"this nanod reads version 1 of the language, not {version}", "nanod")
        known = list(self.root.child("environments").map)
        written = self.root.get("env")
        env = self.env or (str(written) if written is not None else None)
        if env is not None and not _is_app_name(env):
            self.findings.error(self.root, f"an environment must be {APP_NAME['title']}, not {shown(env)}")
        elif env is not None and known and env not in known:
            message = f"no environment {shown(env)}: 'environments' has {', '.join(known)}"
            self.findings.error(self.root, message, *(() if self.env else ("env",)))
        return env

    def _project(self) -> str:
        written = self.root.get("project")
        if isinstance(written, str):
            return written
        path = PurePath(self.file)
        stem = PurePath(self.directory or "").name if path.stem in _PLAIN_STEMS else path.stem
        if "project" not in self.root.map.broken and not _is_app_name(stem):
            where = "standard input has no name" if self.directory is None else f"{shown(stem)} is not {APP_NAME['title']}"
            self.findings.error(self.root, f"cannot name the app after its file: {where}; write 'project: …'")
        return stem

    def _services(self) -> dict[str, Place]:
        """Every service with its layers merged."""
        base, over = self.root.child("services"), self.overlay.child("services")
        found: dict[str, Place] = {}
        for name in dict.fromkeys([*base.map, *over.map]):
            own = [outer.child(name) for outer in (base, over) if name in outer.map]
            if own[-1].node is None:
                continue
            found[name] = self._service(name, [place for place in own if isinstance(place.node, Map)])
        if not found and not {"services"} & self.root.map.broken and not base.map.broken:
            self.findings.error(self.root, "a spec needs 'services' with at least one service")
        return found

    def _service(self, name: str, own: list[Place]) -> Place:
        layers = [*self._layers("defaults"), *own]
        runtime = next((layer.get("runtime") for layer in reversed(layers) if "runtime" in layer.map), None)
        merged = built_in(RUNTIMES.get(str(runtime), {}))
        declared = self._layers("runtimes", runtime) if isinstance(runtime, str) else []
        for layer in [*self._layers("defaults"), *declared, *own]:
            self._check_forms(layer)
            merged = laid_over(merged, normalised(layer.map)) if merged else normalised(layer.map)
        place = Place(self.root.text, merged, own[0].parent, name)
        if isinstance(runtime, str) and runtime not in RUNTIMES and not declared:
            self._unknown_runtime(place, runtime)
        return place

    def _layers(self, *keys: str) -> list[Place]:
        """The mappings under a key of the spec and of the overlay, which may also unset it."""
        found: list[Place] = []
        for outer in (self.root, self.overlay):
            place = outer
            for key in keys[:-1]:
                place = place.child(key)
            if keys[-1] in place.map:
                found = [*found, place.child(keys[-1])] if place.get(keys[-1]) is not None else []
        return found

    def _deploy(self) -> Place | None:
        layers = self._layers("deploy")
        if len(layers) < 2:
            return layers[0] if layers else None
        return Place(self.root.text, laid_over(layers[0].map, layers[1].map, "deploy"), self.root, "deploy")

    def _unknown_runtime(self, place: Place, runtime: str) -> None:
        declared = self.root.child("runtimes").map
        known = sorted({*RUNTIMES, *declared, *self.overlay.child("runtimes").map})
        near = self.findings.guess(runtime, known)
        if runtime not in declared.broken and "runtimes" not in self.root.map.broken:
            advice = f"did you mean '{near}'?" if near else f"there is {', '.join(known)}; others are declared under 'runtimes:'"
            self.findings.error(place, f"no runtime {shown(runtime)}: {advice}", "runtime")
        place.map.broken |= {"command"}

    def _check_forms(self, layer: Place) -> None:
        if layer.get("volume") is not None and layer.get("volumes") is not None:
            self.findings.error(layer, "'volume' and 'volumes' cannot both be said", "volume", on_key=True)
        if layer.get("install") is not None and layer.child("provisioning").get("install") is not None:
            self.findings.error(layer, "'install' is short for 'provisioning.install', and both are said", "install", on_key=True)


def _is_app_name(text: str) -> bool:
    return re.search(APP_NAME["pattern"], text) is not None
