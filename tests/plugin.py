"""Packages with plug-ins as pip installs them: code, and beside it a description with the entry points. Nothing is installed for a test."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples/plugin"


def describe(site: Path, name: str, entries: dict[str, dict[str, str]], version: str = "1.0") -> Path:
    """The description of a package; `entries`: group to name to `module:object`."""
    place = site / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True, exist_ok=True)
    groups = [f"[{group}]\n" + "".join(f"{key} = {target}\n" for key, target in mine.items()) for group, mine in entries.items()]
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (place / "entry_points.txt").write_text("\n".join(groups))
    return place


def install_example(site: Path) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    for package in ("nanod_example",):
        shutil.copytree(EXAMPLE / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    describe(site, project["name"], project["entry-points"], project["version"])
