"""P7: unit files on disk, durable and visible all together, beside files that are merely renamed into place."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.compiling import render
from bench.measure import Figure, Measured, called, in_turns
from bench.specs import large
from nanod.host.store import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.measure import Options


def writing(options: Options) -> Iterator[Measured]:
    units = dict(list(render(large(options.services)).items())[: options.services])
    # Not below /tmp, which is often in memory.
    with tempfile.TemporaryDirectory(prefix="nanod-bench-", dir="/var/tmp") as made:
        ours, baseline = in_turns(options.rounds, lambda: _in_new(made, units, _durable), lambda: _in_new(made, units, _renamed))
    figure = Figure(name="P7 write", ours=f"write {len(units)} units, synced", baseline="same bytes, temp + rename, no fsync", goal=2.0)
    yield Measured(figure=figure, ours=ours, baseline=baseline)


def _in_new(top: str, units: Mapping[str, str], write: Callable[[Path, Mapping[str, str]], None]) -> float:
    """In a directory of its own; what waits for the disk already is written before, and not counted."""
    root = Path(top, "root")
    Path(root, "etc/systemd/system").mkdir(parents=True)
    os.sync()
    try:
        return called(lambda: write(root, units))
    finally:
        shutil.rmtree(root)


def _durable(root: Path, units: Mapping[str, str]) -> None:
    store = LocalStore(root=str(root))
    for name, text in units.items():
        store.write_unit(name, text)
    store.sync()


def _renamed(root: Path, units: Mapping[str, str]) -> None:
    directory = str(root / "etc/systemd/system")
    for name, text in units.items():
        temporary = f"{directory}/.{name}"
        with open(temporary, "w", encoding="utf-8") as file:  # noqa: PTH123 - what a plain script does
            file.write(text)
        os.rename(temporary, f"{directory}/{name}")  # noqa: PTH104 - as above
