"""`settings` of a service to a file beside its units: JSON, one text for the same settings however they are written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nanod.units.unitfile import Directive, UnitFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.compile.part import App
    from nanod.spec.model import Service

LIMIT = 2**20
"""Bytes of the file. Indented, settings may take many times what they take in a spec."""
Path = tuple[str | int, ...]


def settings_file(app: App, service: Service) -> UnitFile | None:
    """None for a service without settings. Every line knows the place in the spec that made it."""
    if not service.settings:
        return None
    lines, size = [], 0
    for text, path in rendered(service.settings):
        lines.append(Directive(section="", key="", text=text, origin=service.at("settings", *path)))
        size += len(text.encode()) + 1
        if size > LIMIT:
            app.report.error(service.at("settings"), "the file of these settings would be larger than 1 MiB", service.at.path)
            break
    return UnitFile(name=app.names.member(service.name).settings, service=service.name, head="", directives=tuple(lines))


def rendered(value: object, path: Path = (), margin: str = "", before: str = "", after: str = "") -> Iterator[tuple[str, Path]]:
    """The lines of `json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)`, each with the keys that lead to what stands there."""
    match value:
        case dict() if value:
            yield f"{margin}{before}{{", path
            for position, key in enumerate(sorted(value), 1):
                yield from rendered(value[key], (*path, key), f"{margin}  ", f"{_text(key)}: ", "," if position < len(value) else "")
            yield f"{margin}}}{after}", path
        case list() if value:
            yield f"{margin}{before}[", path
            for position, item in enumerate(value, 1):
                yield from rendered(item, (*path, position - 1), f"{margin}  ", "", "," if position < len(value) else "")
            yield f"{margin}]{after}", path
        case _:
            yield f"{margin}{before}{_text(value)}{after}", path


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
