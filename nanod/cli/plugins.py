"""The plug-ins that a compilation uses: nanod's own, and those of the packages beside it."""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any

from nanod.cli.entrypoints import entry_points
from nanod.errors import NanodError
from nanod.extend import LEVELS, Guard, Plugins
from nanod.policies import BUILT_IN

if TYPE_CHECKING:
    from nanod.cli.entrypoints import EntryPoint

_BUILT_IN = "nanod itself"


@cache
def load() -> Plugins:
    """Those built in, and those of every package. Raises NanodError for one that cannot be used, and for two of one name."""
    found: dict[tuple[str, str], Any] = {("policy", policy.name): policy for policy in BUILT_IN}
    origins = {("policy", policy.name): _BUILT_IN for policy in BUILT_IN}
    for entry in entry_points():
        key = (entry.kind, entry.name)
        if key in found:
            raise NanodError(f"cannot use {entry.called}: {origins[key]} has one of that name", hint="uninstall one of the two packages")
        found[key], origins[key] = _loaded(entry), entry.origin
    return Plugins(
        policies=tuple(made for (kind, _), made in found.items() if kind == "policy"),
        features=tuple(made for (kind, _), made in found.items() if kind == "feature"),
        origins={f"{kind} {name}": origin for (kind, name), origin in origins.items()},
    )


def _loaded(entry: EntryPoint) -> Any:
    module, _, attributes = entry.target.partition(":")
    with Guard(Plugins(origins={f"{entry.kind} {entry.name}": entry.origin}), entry.kind, entry.name):
        made: Any = importlib.import_module(module)
        for attribute in filter(None, attributes.split(".")):
            made = getattr(made, attribute)
        if isinstance(made, type):
            made = made()
        _check(made, entry)
    return made


def _check(made: Any, entry: EntryPoint) -> None:
    if made.name != entry.name:
        raise ValueError(f"its entry point says '{entry.name}', and it calls itself {made.name!r}")
    if entry.name == LEVELS:
        raise ValueError(f"'{LEVELS}' is where a spec says what becomes of policies")
    if not callable(made.check if entry.kind == "policy" else made.add):
        raise TypeError(f"it has no {'check' if entry.kind == 'policy' else 'add'}()")
    if entry.kind == "feature" and not isinstance(made.schema, dict):
        raise TypeError("its schema must be a mapping")
