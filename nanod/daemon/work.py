"""Work on an app is a service of systemd's: what it is told, and what it leaves behind when it ends, are files in /run.

    NAME.env        SPEC, DIGEST and OPTIONS, or SPEC and APP, for the unit's command line; there as long as its end has not been seen
    NAME.out        what nanod printed, JSON
    NAME.result     how the unit ended; made by its ExecStopPost=, so also after a kill

NAME is `apply-shop` for `nanod-apply@shop.service`.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanod.daemon.state import Outcome, Result, Running, Verb
from nanod.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PLACE = "/run/nanod/daemon"
CONTROL = f"{PLACE}/control"
"""Leads to the socket, wherever that is."""
_GLOBS = frozenset("*?[\\")
"""What EnvironmentFile= of the units would take for a pattern."""
_LONGEST = 200
"""Bytes of an escaped name, so that the names of units and files made of it are none too long (255)."""
_LARGEST = 4 << 20
"""Bytes that are read of what a command printed."""
_LINES = 20
"""That are kept of why something went wrong."""
DONE = ".result"
_TAKE_OVER = "--take-over"


def escape(text: str) -> str:
    """As systemd-escape(1) does it."""
    kept = "".join(map(_escaped, os.fsencode(text)))
    return f"\\x2e{kept[1:]}" if kept.startswith(".") else kept


def _escaped(byte: int) -> str:
    letter = chr(byte)
    if letter == "/":
        return "-"
    return letter if letter.isascii() and (letter.isalnum() or letter in ":_.") else f"\\x{byte:02x}"


def unit_of(verb: str, stem: str) -> str:
    """The unit that does it. Raises ValueError for a name that cannot be one of a unit."""
    if not stem.isprintable():
        raise ValueError("its name has characters that cannot be printed")
    if _GLOBS & set(stem) or stem != stem.strip():
        raise ValueError("its name has one of *?[\\, or a blank at its end")
    if len(escape(stem)) > _LONGEST:
        raise ValueError("its name is too long")
    return f"nanod-{verb}@{escape(stem)}.service"


def _name(run: Running) -> str:
    return f"{run.verb}-{run.stem}"


class Work:
    """The files in /run/nanod/daemon, or in another place."""

    def __init__(self, place: str = PLACE) -> None:
        self.place = Path(place)

    def prepare(self, run: Running, spec: str) -> str:
        """Lay down what the unit is told; hands back its name. Raises OSError."""
        self.clear(run)
        told = {"SPEC": spec, "DIGEST": run.digest, "APP": run.app, "STEM": run.stem, "OPTIONS": _TAKE_OVER if run.takes_over else ""}
        text = "".join(f"{key}={_quoted(value)}\n" for key, value in told.items())
        # systemd would make it readable to all, and the last lines of a hook that failed are in it.
        os.close(os.open(self.place / f"{_name(run)}.out", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        temporary = self.place / f".{_name(run)}.env"
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
        temporary.rename(self.place / f"{_name(run)}.env")
        return unit_of(run.verb, run.stem)

    def clear(self, run: Running) -> None:
        for kind in (".env", ".out", DONE):
            with suppress(FileNotFoundError):
                (self.place / f"{_name(run)}{kind}").unlink()

    def left(self) -> Iterator[Running]:
        """What was begun, and whose end nobody has seen."""
        for path in sorted(self.place.glob("[!.]*.env")):
            told = dict(_read(path))
            verb = path.name.partition("-")[0]
            if verb in set(Verb) and told.get("STEM"):
                takes_over = told.get("OPTIONS") == _TAKE_OVER
                yield Running(stem=told["STEM"], verb=Verb(verb), digest=told.get("DIGEST", ""), app=told.get("APP", ""), takes_over=takes_over)

    def has_ended(self, run: Running) -> bool:
        return (self.place / f"{_name(run)}{DONE}").exists()

    def outcome(self, run: Running, at: str) -> Outcome:
        """How it ended, as its files tell."""
        ended = _text(self.place / f"{_name(run)}{DONE}", 200).split()
        result, code, status = [*ended, "", "", ""][:3]
        said = _text(self.place / f"{_name(run)}.out", _LARGEST)
        return outcome(run, said, result=result, code=code, status=status, at=at)


def outcome(run: Running, said: str, *, result: str, code: str, status: str, at: str) -> Outcome:
    """`result`, `code` and `status` are systemd's $SERVICE_RESULT, $EXIT_CODE and $EXIT_STATUS (systemd.exec(5)); `said` is what nanod printed as
    JSON.
    """
    if code != "exited" or not status.isdecimal():
        why = f"{code} by {status}" if code in ("killed", "dumped") else result or "it left no result"
        return Outcome(result=Result.KILLED, at=at, lines=(f"{unit_of(run.verb, run.stem)}: {why}",))
    number = int(status)
    answer: Any = None
    with suppress(ValueError):
        answer = json.loads(said)
    if not isinstance(answer, dict):
        lines = (f"{unit_of(run.verb, run.stem)} ended with status {number}, 'journalctl -u {unit_of(run.verb, run.stem)}' says more",)
        return Outcome(result=Result.FAILED, at=at, exit_code=number, lines=lines)
    if "error" in answer:
        return _refused(answer["error"], number, at)
    word = {ExitCode.OK: Result.APPLIED if run.verb is Verb.APPLY else Result.REMOVED, ExitCode.DEGRADED: Result.DEGRADED}
    if number == ExitCode.INTERRUPTED:
        return Outcome(result=Result.KILLED, at=at, exit_code=number, lines=("it was interrupted",))
    return Outcome(
        result=word.get(ExitCode(number), Result.FAILED) if number in set(ExitCode) else Result.FAILED,
        at=at,
        app=str(answer.get("app", "")),
        seconds=float(answer.get("seconds", 0.0)),
        exit_code=number,
        lines=() if number == 0 else tuple(_reasons(answer))[:_LINES],
    )


def _refused(error: Mapping[str, Any], number: int, at: str) -> Outcome:
    places = [
        f"{item['file']}:{item['line']}:{item['column']}: {item['severity']}: {item['message']}"
        if item.get("line")
        else f"{item['file']}: {item['message']}"
        for item in error.get("diagnostics", [])
        if item.get("severity") == "error"
    ]
    message, hint = str(error.get("message", "")), str(error.get("hint", ""))
    kinds = {"changed": Result.CHANGED, "degraded": Result.DEGRADED, "build": Result.FAILED}
    more = [*places, *map(str, error.get("left", [])), *map(str, error.get("lines", [])), *([hint] if hint else [])]
    result, awaits = kinds.get(str(error.get("kind")), Result.REFUSED), tuple(map(str, error.get("apps", [])))
    return Outcome(result=result, at=at, exit_code=number, lines=(message, *more)[:_LINES], awaits=awaits)


def _reasons(answer: Mapping[str, Any]) -> Iterator[str]:
    """What a person needs first: who failed and why."""
    verdict, back = str(answer.get("verdict", "")), answer.get("rolled_back")
    after = f", generation {back['generation']} is back" if back and back.get("generation") else ", it is gone again" if back else ""
    yield f"{verdict}{after}" if verdict else "failed"
    for service in answer.get("services", []):
        if service.get("message") and service.get("status") not in ("healthy", "finished"):
            yield f"{service.get('service')}: {service['message']}"
    for problem in (back or {}).get("problems", []):
        yield str(problem)


def _read(path: Path) -> Iterator[tuple[str, str]]:
    for line in _text(path, 10_000).splitlines():
        key, _, value = line.partition("=")
        yield key, re.sub(r"\\(.)", r"\1", value.removeprefix('"').removesuffix('"'))


def _quoted(value: str) -> str:
    """For EnvironmentFile= (systemd.exec(5)): these four mean something between double quotes."""
    return '"' + re.sub(r'([\\"`$])', r"\\\1", value) + '"'


def _text(path: Path, largest: int) -> str:
    try:
        with path.open("rb") as file:
            return file.read(largest).decode(errors="surrogateescape")
    except OSError:
        return ""
