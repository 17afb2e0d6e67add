"""Manifests and intents as JSON, and how to do without: the stamps on unit files tell what a lost or torn manifest said."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from nanod.state import Before, HookName, Intent, Manifest, OuterNeed, ServiceRecord, VolumeRecord
from nanod.units.unitfile import parse
from nanod.values import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

VERSION = 2
"""Of the format of both; whoever adds a key adds one to it. One from a newer nanod is not read: what it means is not known here."""
_ADDED: Mapping[str, tuple[int, tuple[object, ...]]] = {"outer": (2, ())}
"""Keys of a service that an earlier format does not have: since when there is each, and what a record without it says."""
_HEAD = re.compile(r"# Made by nanod from (/.*); change that ")


class UnreadableError(ValueError):
    """The text is nothing that this version can read; the message says why."""


def encode(record: Manifest | Intent) -> bytes:
    """Mappings keep their order: that of services is the order in which they start."""
    return (json.dumps({"version": VERSION, **asdict(record)}, indent=1) + "\n").encode()


def decode(content: bytes) -> Manifest:
    """Raises UnreadableError for anything but what `encode` writes."""
    record = _load(content)
    with _mistyped():
        return Manifest(
            app=_text(record["app"]),
            spec=_text(record["spec"]),
            env=_optional(record["env"]),
            generation=_number(record["generation"]),
            previous=_number(record["previous"]),
            unit_dir=_text(record["unit_dir"]),
            units=_texts(record["units"]),
            links=_texts(record["links"]),
            watched=_texts(record["watched"]),
            services={_text(name): _names(units) for name, units in _mapping(record["services"]).items()},
            about={_text(name): _about(item, _number(record["version"])) for name, item in _mapping(record["about"]).items()},
            volumes=_names(record["volumes"]),
            made=_names(record["made"]),
            directories=tuple(_volume(item) for item in _sequence(record["directories"])),
            releases=_texts(record["releases"]),
        )


def decode_intent(content: bytes) -> Intent:
    """Raises UnreadableError for anything but what `encode` writes."""
    record = _load(content)
    with _mistyped():
        return Intent(
            app=_text(record["app"]),
            action=_text(record["action"]),
            generation=_number(record["generation"]),
            before=_number(record["before"]),
            staged=_flag(record["staged"]),
            at=_text(record["at"]),
            command=_text(record["command"]),
            unit_dir=_text(record["unit_dir"]),
            files={name: _optional(text) for name, text in _mapping(record["files"]).items()},
            links={path: _optional(target) for path, target in _mapping(record["links"]).items()},
            directories=_names(record["directories"]),
            stamps=_texts(record["stamps"]),
            new_stamps=_names(record["new_stamps"]),
            units={name: Before(**_texts(item)) for name, item in _mapping(record["units"]).items()},
            reloads=_names(record["reloads"]),
            decided=_flag(record["decided"]),
            purge=_names(record["purge"]),
        )


def _load(content: bytes) -> dict[str, object]:
    try:
        record = json.loads(content)
    except ValueError as bad:
        raise UnreadableError("it is empty or torn" if not content.strip(b"\0\n ") else "it is no JSON") from bad
    found = record.get("version") if isinstance(record, dict) else None
    if isinstance(found, int) and found > VERSION:
        raise UnreadableError(f"a newer nanod wrote it: its format is {found}, and this one reads up to {VERSION}")
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise UnreadableError(f"its format is {found}, and not 1 to {VERSION}")
    return dict(record)


@contextmanager
def _mistyped() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError) as bad:
        raise UnreadableError(f"it lacks or mistypes {bad}") from bad


def _about(value: object, version: int) -> ServiceRecord:
    record = {key: list(absent) for key, (since, absent) in _ADDED.items() if version < since} | _mapping(value)
    return ServiceRecord(
        health=_text(record["health"]),
        is_script=_flag(record["is_script"]),
        hooks=tuple(HookName(**_texts(hook)) for hook in _sequence(record["hooks"])),
        requires=_names(record["requires"]),
        restarts_with=_names(record["restarts_with"]),
        outer=tuple(_outer(need) for need in _sequence(record["outer"])),
        stays=_flag(record["stays"]),
        settle_usec=_number(record["settle_usec"]),
        restart_limit=_number(record["restart_limit"]),
        reload_on=_names(record["reload_on"]),
        restart_on=_names(record["restart_on"]),
        can_reload=_flag(record["can_reload"]),
        sockets=_names(record["sockets"]),
        group=_text(record["group"]),
        companion=_text(record["companion"]),
        is_shared=_flag(record["is_shared"]),
        roles=_texts(record["roles"]),
        max_parallel=_number(record["max_parallel"]),
        min_healthy_usec=_number(record["min_healthy_usec"]),
    )


def _outer(value: object) -> OuterNeed:
    record = _mapping(value)
    return OuterNeed(
        app=_text(record["app"]),
        service=_text(record["service"]),
        unit=_text(record["unit"]),
        condition=_text(record["condition"]),
        restart=_flag(record["restart"]),
        required=_flag(record["required"]),
    )


def _volume(value: object) -> VolumeRecord:
    record = _mapping(value)
    return VolumeRecord(path=_text(record["path"]), user=_text(record["user"]), group=_optional(record["group"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError(value)
    return value


def _texts(value: object) -> dict[str, str]:
    return {_text(key): _text(item) for key, item in _mapping(value).items()}


def _sequence(value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise TypeError(value)
    return value


def _names(value: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in _sequence(value))


def stamps(text: str) -> dict[str, str]:
    """What `[X-Nanod]` of a unit file says; empty for a file that nanod did not make."""
    if "[X-Nanod]" not in text:
        return {}
    return {key: value for section, key, value in parse(text) if section == "X-Nanod"}


def has_settings(reader: str, app: str, name: str) -> bool:
    """Whether a unit file of the app, `reader`, says that the file of settings `name` is its own: that bears no stamp."""
    said = any(key == "Environment" and f"/{name}" in value for section, key, value in parse(reader))
    return said and stamps(reader).get("App") == app


def rebuild(app: str, files: Mapping[str, str], links: Mapping[str, str], generation: int) -> Manifest | None:
    """The manifest as far as the app's unit files tell it: what is on disk is taken for what runs. None without any file."""
    if not files:
        return None
    heads = [found[1] for text in files.values() if (found := _HEAD.match(text))]
    bare = Manifest(
        app=app,
        spec=heads[0] if heads else "",
        env=None,
        generation=generation,
        units={name: content_hash(text) for name, text in files.items()},
        links=dict(links),
        watched={},
        services={},
    )
    return replace(bare, services=_with_services(bare, files))


def complete(manifest: Manifest, files: Mapping[str, str]) -> Manifest:
    """With the app's files that it does not record: those of an apply that was killed before it could commit."""
    more = {name: text for name, text in files.items() if name not in manifest.units}
    if not more:
        return manifest
    return replace(manifest, units={**manifest.units, **dict.fromkeys(more, "")}, services=_with_services(manifest, more))


def _with_services(manifest: Manifest, files: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    services = {name: list(units) for name, units in manifest.services.items()}
    for name, mine in sorted((name, stamps(text)) for name, text in files.items()):
        if "Service" in mine:
            units = services.setdefault(mine["Service"], [])
            units.insert(0 if mine.get("Role") == "main" else len(units), name)
    return {name: tuple(units) for name, units in services.items()}
