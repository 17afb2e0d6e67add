"""Blocks under `features:` to what they add: each is checked by its feature's schema, and its addition laid under the service's own keys."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from nanod.diagnostics import Report, Severity
from nanod.errors import NanodError
from nanod.extend import LEVELS, Addition, Block, Guard
from nanod.spec import accept, build, checks, needs
from nanod.spec.merge import laid_over
from nanod.spec.read import Context
from nanod.spec.schema import SCHEMA
from nanod.spec.tree import Findings, Map, Place, Seq, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.extend import Feature, Plugins
    from nanod.spec.model import Service, Spec, Task

_SERVICE = {**SCHEMA["$defs"]["service"], "$defs": SCHEMA["$defs"]}
_STDIN = "<stdin>"
Spans = tuple[int, int, int, int]
Keys = dict[str, dict[str, object]]


def expanded(spec: Spec, plugins: Plugins) -> tuple[Spec, Report]:
    """The spec with all that its features add; it has no blocks left but the levels of policies. Errors are in the report.

    Raises NanodError for a feature that fails itself, or adds what no spec could say.
    """
    report = Report()
    if not any(service.features.keys() - {LEVELS} for service in spec.services.values()):
        return spec, report
    context = Context.of(report, None if spec.file == _STDIN else spec.directory)
    gated = frozenset(name for name, service in spec.services.items() if needs.is_gated(_place(service).map))
    group = needs.Group(spec.app, spec.services.keys(), gated)
    services = {
        name: _Expanding(spec, service, plugins, context, group).service() if service.features.keys() - {LEVELS} else service
        for name, service in spec.services.items()
    }
    checks.check(context.findings, services)
    return replace(spec, services=services), report


def _place(service: Service) -> Place:
    assert isinstance(service.at, Place)
    return service.at


class _Expanding:
    def __init__(self, spec: Spec, service: Service, plugins: Plugins, context: Context, group: needs.Group) -> None:
        self.spec, self.before, self.plugins, self.context, self.group = spec, service, plugins, context, group
        self.place = _place(service)
        self.known = {feature.name: feature for feature in plugins.features}

    def service(self) -> Service:
        before, place = self.before, self.place
        merged, order = Map(), dict[str, list[str]]()
        for name in before.features:
            addition = self._addition(name) if name != LEVELS else None
            if addition is None:
                continue
            keys: Keys = {"environment": dict(addition.environment), "tasks": {key: dict(task) for key, task in addition.tasks.items()}}
            self._refuse_unsayable(name, keys)
            self._refuse_twice(name, merged, keys)
            order[name] = list(addition.tasks)
            merged = laid_over(merged, _as_written({key: value for key, value in keys.items() if value}, self._spans(name)))
        merged = laid_over(merged, place.map)
        made = build.service(self.context, self.group, Place(place.text, merged, place.parent, place.key), before.name)
        levels = {name: said for name, said in before.features.items() if name == LEVELS}
        return replace(made, features=levels, tasks=_in_order(made, order))

    def _addition(self, name: str) -> Addition | None:
        feature, findings = self.known.get(name), self.context.findings
        if feature is None:
            near = findings.guess(name, self.known)
            others = ", ".join(sorted(self.known)) or "none: a package brings them (docs/extending.md)"
            advice = f"did you mean '{near}'?" if near else f"there is {others}"
            findings.error(self.place, f"no feature {shown(name)}: {advice}", "features", name, on_key=True)
            return None
        at = self.place.child("features").child(name)
        if not isinstance(at.node, Map):
            findings.error(self.place, f"'{name}' must be a mapping, not {shown(at.node)}", "features", name)
            return None
        with Guard(self.plugins, "feature", name):
            if not _is_accepted(feature, at, findings):
                return None
        said = self.before.features[name]
        assert isinstance(said, dict)
        with Guard(self.plugins, "feature", name):
            made = feature.add(Block(app=self.spec.app, env=self.spec.env, service=self.before, said=said, at=at))
            if not isinstance(made, Addition):
                raise TypeError(f"add() must return an Addition, not {made!r}")
        for opinion in made.opinions:
            say = findings.report.error if opinion.severity is Severity.ERROR else findings.report.warning
            say(opinion.at, f"{opinion.message} [{name}]", self.place.path)
        return made

    def _spans(self, name: str) -> Spans:
        """Of the block: where all that it adds comes from."""
        return self.place.child("features").map.places.get(name, (0, 0, 0, 0))

    def _refuse_unsayable(self, name: str, keys: Keys) -> None:
        if not _acceptor()(keys):
            from nanod.spec import words  # noqa: PLC0415 - as in the loader

            wrong = Report()
            words.explain_block(Place(self.place.text, _as_written(keys, (0, 0, 0, 0))), _SERVICE, Findings(wrong))
            said = "; ".join(f"{item.path}: {item.message}" for item in wrong)
            raise NanodError(f"cannot use {self.plugins.called('feature', name)}: it adds what no service could say: {said}")

    def _refuse_twice(self, name: str, merged: Map, keys: Keys) -> None:
        for kind, added in keys.items():
            before = merged.get(kind)
            for key in added:
                if isinstance(before, Map) and key in before and before[key] != added[key]:
                    message = f"'{name}' and a feature before it both add {shown(key)} to '{kind}'"
                    self.context.findings.error(self.place, message, "features", name, on_key=True)


def _is_accepted(feature: Feature, at: Place, findings: Findings) -> bool:
    try:
        if accept.compiled(feature.schema)(at.node):
            return True
    except (KeyError, IndexError):
        # A keyword or a form that nanod's own schema has no use for.
        pass
    from nanod.spec import words  # noqa: PLC0415 - jsonschema takes 60 ms to import

    return words.explain_block(at, dict(feature.schema), findings)


@cache
def _acceptor() -> accept.Check:
    return accept.compiled(_SERVICE)


def _as_written(value: Mapping[str, object], spans: Spans) -> Map:
    """As if it stood where the block stands."""
    made = Map()
    for key, item in value.items():
        made[key] = _node(item, spans)
        made.places[key] = spans
    return made


def _node(value: object, spans: Spans) -> object:
    if isinstance(value, dict):
        return _as_written(value, spans)
    if isinstance(value, (list, tuple)):
        items = Seq()
        items.extend(_node(item, spans) for item in value)
        items.places.extend([spans[2:]] * len(items))
        return items
    return value


def _in_order(service: Service, order: Mapping[str, list[str]]) -> tuple[Task, ...]:
    """Every sidecar of a feature stands after those of the features before it."""
    found, earlier = {task.name: task for task in service.tasks}, dict[str | None, list[str]]()
    for names in order.values():
        mine = [found[name] for name in names if name in found and found[name].sidecar]
        for task in mine:
            found[task.name] = replace(task, after=tuple(earlier.get(task.hook, ())))
        for task in mine:
            earlier.setdefault(task.hook, []).append(task.name)
    return tuple(found.values())
