"""What packages beside nanod bring to it: their entry points `nanod.policies` and `nanod.features`, found without importing any of them.

importlib.metadata takes longer to import than a command that changes nothing takes for all it does, and reads every package's description. Here each
package's entry_points.txt is read, and only one that speaks of nanod costs more than that.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_KINDS = {"nanod.policies": "policy", "nanod.features": "feature"}
_GROUP = "[nanod."
_DESCRIPTIONS = (".dist-info", ".egg-info")


class EntryPoint(NamedTuple):
    """`target` is `module:object`; `origin` the package and version that it comes from."""

    kind: str
    name: str
    target: str
    origin: str

    @property
    def called(self) -> str:
        return f"the {self.kind} '{self.name}' of {self.origin}"


def identity() -> str:
    """What compiled units follow from beside nanod and the spec: the plug-ins there are, and their code as far as its files tell."""
    found = list(_descriptions())
    modules = {entry.target.partition(":")[0].partition(".")[0] for entry in entry_points()} if found else set()
    return repr((found, [_code(module) for module in sorted(modules)]))


def entry_points() -> Iterator[EntryPoint]:
    """In the order of the import path; of one package the first there counts, as for imports."""
    seen = set()
    for path, text, _ in _descriptions():
        stem, _, version = Path(path).stem.partition("-")
        if stem in seen:
            continue
        seen.add(stem)
        origin = f"{stem.replace('_', '-')} {version.partition('-')[0]}".strip()
        kind = ""
        for line in map(str.strip, text.splitlines()):
            if line.startswith("["):
                kind = _KINDS.get(line.strip("[]"), "")
            elif kind and "=" in line and not line.startswith(("#", ";")):
                name, _, target = line.partition("=")
                yield EntryPoint(kind, name.strip(), target.partition("[")[0].strip(), origin)


def _descriptions() -> Iterator[tuple[str, str, int]]:
    """(directory, text, time) of each entry_points.txt that speaks of nanod."""
    for place in dict.fromkeys(sys.path):
        with suppress(OSError), os.scandir(place or ".") as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.endswith(_DESCRIPTIONS):
                    with suppress(OSError, UnicodeDecodeError):
                        file = Path(entry.path, "entry_points.txt")
                        if _GROUP in (text := file.read_text()):
                            yield entry.path, text, file.stat().st_mtime_ns


def _code(module: str) -> list[tuple[str, int, int]]:
    """Files of a module or package that is not imported for this; nothing for one that only a hook of the import system finds."""
    from importlib.machinery import PathFinder  # noqa: PLC0415  (only whoever has plug-ins needs it)

    spec = PathFinder.find_spec(module)
    if spec is None:
        return []
    files = [Path(spec.origin)] if spec.origin else []
    for place in spec.submodule_search_locations or ():
        files += Path(place).rglob("*.py")
    return [(str(file), status.st_size, status.st_mtime_ns) for file in sorted(set(files)) if (status := file.stat())]
