#!/usr/bin/python3
"""CHANGELOG.md as a package wants it: `changelog.py debian`, `rpm`, or `version`, which is that of the newest entry."""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

MAINTAINER = "nanod maintainers <maintainers@nanod.example>"
REVISION = 1
SOURCE = Path(__file__).resolve().parents[1] / "CHANGELOG.md"


class Entry(NamedTuple):
    version: str
    date: datetime
    changes: list[str]


def entries(text: str) -> Iterator[Entry]:
    """The released versions, newest first."""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        if found := re.match(r"\[(\S+)\] - (\S+)\n", section):
            changes = [" ".join(change.replace("`", "").split()) for change in re.findall(r"^- (.*(?:\n  .*)*)", section, re.MULTILINE)]
            yield Entry(found[1], datetime.fromisoformat(found[2]).replace(tzinfo=UTC), changes)


def debian(entry: Entry) -> str:
    changes = "\n".join(fill(change, 78, initial_indent="  * ", subsequent_indent="    ") for change in entry.changes)
    return f"nanod ({entry.version}-{REVISION}) unstable; urgency=medium\n\n{changes}\n\n -- {MAINTAINER}  {entry.date:%a, %d %b %Y %H:%M:%S +0000}\n"


def rpm(entry: Entry) -> str:
    changes = "\n".join(f"- {change.replace('%', '%%')}" for change in entry.changes)
    return f"* {entry.date:%a %b %d %Y} {MAINTAINER} - {entry.version}-{REVISION}\n{changes}\n"


def main() -> None:
    found = list(entries(SOURCE.read_text(encoding="utf-8")))
    match sys.argv[1:]:
        case ["version"]:
            print(found[0].version)
        case ["debian"]:
            print("\n".join(map(debian, found)), end="")
        case ["rpm"]:
            print("\n".join(map(rpm, found)), end="")
        case _:
            sys.exit("usage: changelog.py debian|rpm|version")


if __name__ == "__main__":
    main()
