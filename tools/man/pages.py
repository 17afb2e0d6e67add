"""The text of each manual page: docs/man/NAME.md, with what the code and docs/*.md say in the place of its marks.

<!-- commands -->                   the verbs, from the code
<!-- options: daemon -->            the options of one verb
<!-- language.md -->                a page of docs, without its title
<!-- commands.md: Exit codes -->    one section of it, without its heading
<!-- not run: REASON -->            nothing: it is for tests/pages.py
"""

from __future__ import annotations

import re
from pathlib import Path

from tools.man import commands, language

_DOCS = Path(__file__).parents[2] / "docs"
_MARK = re.compile(r"^<!-- (.+) -->$", re.MULTILINE)


def markdown(name: str) -> str:
    text = (_DOCS / "man" / f"{name}.md").read_text(encoding="utf-8")
    return _MARK.sub(lambda match: _instead(match[1]), text)


def _instead(mark: str) -> str:
    what, _, which = mark.partition(": ")
    match what:
        case "commands":
            return commands.markdown()
        case "about":
            return commands.about(which)
        case "options":
            return commands.options(which)
        case "not run":
            return ""
        case _:
            return _of_docs(what, which)


def _of_docs(page: str, which: str) -> str:
    text = (_DOCS / page).read_text(encoding="utf-8")
    text = language.with_types(text) if page == "language.md" else text
    if not which:
        # Its sections are those of the manual page.
        return re.sub(r"^#(?=#+ )", "", re.sub(r"\A# .*\n", "", text), flags=re.MULTILINE)
    title, _, column = which.rpartition(": ")
    return table(section(text, title), column) if title else section(text, which)


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no section {title}")
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def table(text: str, column: str) -> str:
    """The one whose first column is named so."""
    found = re.search(rf"^\| {re.escape(column)} \|(?:.*\n\|)*.*\n?", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no table of {column}")
    return found[0]
