"""What the daemon remembers over a reboot: of each spec the bytes that were worked on last, and the app that came of them.

Records of apps do not tell it: not of a spec that was refused, nor of one that only got another comment, nor that a person went back to an earlier
generation. Without it, what an administrator has stopped would be started by the next boot.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanod.daemon.state import Outcome, Result, Spec

if TYPE_CHECKING:
    from collections.abc import Mapping

PLACE = "/var/lib/nanod/daemon"
_FILE = "specs.json"
_VERSION = 1


def load(directory: str, place: str = PLACE) -> tuple[dict[str, Spec], str]:
    """Of the specs in `directory`, and what is wrong with the record, "" for nothing. One that cannot be read is none: then the records of apps
    tell.
    """
    path = Path(place, _FILE)
    try:
        record: Any = json.loads(path.read_bytes())
        if record["version"] != _VERSION:
            return {}, f"cannot use {path}: its format is {record['version']}, not {_VERSION}"
        mine = record["directories"].get(directory, {})
        return {str(stem): _spec(item) for stem, item in mine.items()}, ""
    except FileNotFoundError:
        return {}, ""
    except OSError as failed:
        return {}, f"cannot read {path}: {failed.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}, f"cannot use {path}: it is torn"


def save(directory: str, specs: Mapping[str, Spec], place: str = PLACE) -> None:
    """Durable when this returns. Raises OSError."""
    path = Path(place, _FILE)
    mine = {stem: _item(spec) for stem, spec in sorted(specs.items()) if spec.tried or spec.app}
    others = _others(path)
    content = json.dumps({"version": _VERSION, "directories": {**others, directory: mine}}, indent=1) + "\n"
    temporary = path.with_name(f".{_FILE}")
    with temporary.open("w", encoding="utf-8") as file:
        temporary.chmod(0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _others(path: Path) -> dict[str, Any]:
    """Of other directories than the one in use."""
    try:
        record = json.loads(path.read_bytes())
        found = record["directories"] if record["version"] == _VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _item(spec: Spec) -> dict[str, Any]:
    last = spec.last
    told = last and {
        "result": last.result,
        "at": last.at,
        "app": last.app,
        "exit_code": last.exit_code,
        "lines": list(last.lines),
        "awaits": list(last.awaits),
    }
    return {"tried": spec.tried, "app": spec.app, "stuck": spec.is_stuck, "last": told}


def _spec(item: Mapping[str, Any]) -> Spec:
    last = item["last"]
    outcome = last and Outcome(
        result=Result(last["result"]),
        at=str(last["at"]),
        app=str(last["app"]),
        exit_code=int(last["exit_code"]),
        lines=tuple(map(str, last["lines"])),
        awaits=tuple(map(str, last["awaits"])),
    )
    return Spec(tried=str(item["tried"]), app=str(item["app"]), is_stuck=bool(item["stuck"]), last=outcome or None)
