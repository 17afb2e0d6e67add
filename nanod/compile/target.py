"""What a compilation is for, as a value: the same spec, directory and Target yield the same bytes on every machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanod.scope import SYSTEM, RuntimeScope
from nanod.units.directives import OLDEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`version` is systemd's, 252 or newer. `inputs`: the files of every `provisioning.inputs`, path to SHA-256, "" for a missing one.

    `sources`: service to the digest of what its release is made from. `releases`: service to the names of the releases there are, that in force
    first: the same content is the same release, also when it has been built once more. `rebuilds`: every service has a new one all the same.
    `colours`: the live one of each service with `strategy: blue-green`; blue for one without. `unit_dir`: where the units will be, and files of
    settings beside them. `scope`: whose systemd it is.
    """

    version: int = OLDEST
    inputs: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    releases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rebuilds: bool = False
    colours: Mapping[str, str] = field(default_factory=dict)
    unit_dir: str = SYSTEM.unit_dir
    scope: RuntimeScope = SYSTEM
