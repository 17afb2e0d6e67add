"""Layers of keys laid over one another: built-in < defaults < runtime < service < overlay. Every key keeps the place it came from."""

from __future__ import annotations

from typing import Final

from nanod.spec.tree import Map, Seq

PROBES: Final = ("http", "tcp", "unix", "grpc", "exec", "file", "notify")
EXCLUSIVE: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "service": (("command", "processes"), ("user", "dynamic_user")),
    "task": (("command", "wait_for"), ("user", "dynamic_user")),
    "health": (PROBES,),
    "deploy": (("target", "targets"),),
}
"""Of these keys one can be said: writing it drops the others that a lower layer said. By the kind of the mapping they stand in."""

_KINDS: Final = {
    "service": {"health": "health", "hooks": "hooks", "tasks": "tasks", "processes": "processes"},
    "task": {"health": "health"},
    "process": {"health": "health", "hooks": "hooks"},
}
_MEMBERS: Final = {"tasks": "task", "processes": "process"}


def laid_over(lower: Map, upper: Map, kind: str = "service") -> Map:
    """Mappings merge key by key, everything else replaces; so do the hooks of one phase, whole.

    A null stays, as the mark that unsets what lies below; readers take it for "not written".
    """
    made = copied(lower)
    made.broken = lower.broken | upper.broken
    for keys in EXCLUSIVE.get(kind, ()):
        if any(upper.get(key) not in (None, False) for key in keys):
            for key in keys:
                if key not in upper:
                    made.pop(key, None)
                    made.places.pop(key, None)
    for key, value in upper.items():
        below = made.get(key)
        is_merged = isinstance(value, Map) and isinstance(below, Map) and kind != "hooks"
        made[key] = laid_over(below, value, _kind_of(kind, key)) if is_merged else value  # type: ignore[arg-type]
        if key in upper.places:
            made.places[key] = upper.places[key]
        else:
            made.places.pop(key, None)
    return made


def _kind_of(kind: str, key: str) -> str:
    return _MEMBERS.get(kind) or _KINDS.get(kind, {}).get(key, "plain")


def copied(layer: Map) -> Map:
    made = Map()
    made.update(layer)
    made.places.update(layer.places)
    made.broken = layer.broken
    return made


def normalised(layer: Map) -> Map:
    """Service keys with the short forms written out, so that a short form replaces what a long one said below.

    These are `volume`, and of a runtime `install` and `build`.
    """
    if "volume" not in layer and "install" not in layer and not _is_command(layer.get("build")):
        return layer
    made = copied(layer)
    if "volume" in made:
        path, spans = made.pop("volume"), made.places.pop("volume")
        volumes = Seq()
        volumes.append(path)
        volumes.places.append(spans[2:])
        made["volumes"] = None if path is None else volumes
        made.places["volumes"] = spans
    if "install" in made:
        own = Map()
        own["install"], own.places["install"] = made.pop("install"), made.places.pop("install")
        provisioning = made.get("provisioning")
        made["provisioning"] = laid_over(provisioning, own, "plain") if isinstance(provisioning, Map) else own
        made.places.setdefault("provisioning", own.places["install"])
    if _is_command(made.get("build")):
        build = Map()
        build["run"], build.places["run"] = made["build"], made.places["build"]
        made["build"] = build
    return made


def _is_command(value: object) -> bool:
    return isinstance(value, (str, Seq))
