"""Manifests as JSON, and how to do without: the stamps on unit files tell what a lost or torn manifest said."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from nanod.state import HookName, Manifest, ServiceRecord
from nanod.units.unitfile import parse
from nanod.values import content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
"""Of the manifest's format. One from a newer nanod is not read: what it means is not known here."""
_HEAD = re.compile(r"# Made by nanod from (/.*); change that ")


class UnreadableError(ValueError):
    """The text is no manifest that this version can read; the message says why."""


def encode(manifest: Manifest) -> bytes:
    return (json.dumps({"version": VERSION, **asdict(manifest)}, indent=1, sort_keys=True) + "\n").encode()


def decode(content: bytes) -> Manifest:
    """Raises UnreadableError for anything but what `encode` writes."""
    try:
        record = json.loads(content)
    except ValueError as bad:
        raise UnreadableError("it is empty or torn" if not content.strip(b"\0\n ") else "it is no JSON") from bad
    if not isinstance(record, dict) or record.get("version") != VERSION:
        found = record.get("version") if isinstance(record, dict) else None
        raise UnreadableError(f"its format is {found}, not {VERSION}")
    try:
        return Manifest(
            app=_text(record["app"]),
            spec=_text(record["spec"]),
            env=None if record["env"] is None else _text(record["env"]),
            generation=_number(record["generation"]),
            units=_texts(record["units"]),
            links=_texts(record["links"]),
            watched=_texts(record["watched"]),
            services={_text(name): _sequence(units) for name, units in record["services"].items()},
            about={_text(name): _about(item) for name, item in record["about"].items()},
            volumes=_sequence(record["volumes"]),
            made=_sequence(record["made"]),
        )
    except (KeyError, TypeError, AttributeError) as bad:
        raise UnreadableError(f"it lacks or mistypes {bad}") from bad


def _about(record: dict[str, object]) -> ServiceRecord:
    hooks = record["hooks"]
    if not isinstance(hooks, list) or not isinstance(record["is_script"], bool):
        raise TypeError(record)
    names = tuple(HookName(**_texts(hook)) for hook in hooks)
    return ServiceRecord(health=_text(record["health"]), is_script=record["is_script"], hooks=names, requires=_sequence(record["requires"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError(value)
    return {_text(key): _text(item) for key, item in value.items()}


def _sequence(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(value)
    return tuple(_text(item) for item in value)


def stamps(text: str) -> dict[str, str]:
    """What `[X-Nanod]` of a unit file says; empty for a file that nanod did not make."""
    if "[X-Nanod]" not in text:
        return {}
    return {key: value for section, key, value in parse(text) if section == "X-Nanod"}


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
