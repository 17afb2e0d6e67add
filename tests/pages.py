"""The pages of the project, README.md, docs/*.md and those of examples, as tests read them: blocks, and what a comment in front of a block says of it.

    <!-- not run: REASON -->      the block is for the reader's machine, or nothing that runs
    <!-- file: PATH -->           it is this file on the machine of the page
    <!-- shows: COMMAND -->       it is what this command prints
    <!-- in: DIRECTORY -->        from here on, commands run there, and files are written there; /srv at first

A comment of several lines is a block that no reader sees: `<!-- file: PATH` with the file's text, or `<!-- run:` with commands.

A block of `console` has commands behind `$ `, each followed by what it prints. Those of a page, and commands of nanod within its text, run in their order on one
machine: tests/shown.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
MANUAL = sorted((ROOT / "docs/man").glob("*.md"))
"""What the manual is made of, with these pages in the place of its marks. What it says of its own is not run, but else looked at as a page is."""

LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
"""Where links lead, relative to the page."""
PROMPT = "$ "
Word = Literal["not run", "file", "shows", "in", "run"]
_MARK = re.compile(r"<!-- (not run|file|shows|in|run):([^\n]*?)(?:-->|\n(.*)-->)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    word: Word
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    page: Path
    line: int
    """The first one of its text, from 1."""
    kind: str
    """The language of a fence; `indented`; `hidden`, of which `mark` says what it is; `prose`, whose `text` is one of the commands in it; `image`, its file."""
    text: str
    mark: Mark | None = None

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"

    def is_marked(self, word: Word) -> bool:
        return self.mark is not None and self.mark.word == word


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A command, and what the page says that it prints; None where it does not say."""

    block: Block
    command: str
    output: str | None


def read(page: Path) -> list[Block]:
    """All blocks of a page, in their order."""
    found: list[Block] = []
    mark: Mark | None = None
    for node in SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(page.read_text())).children:
        if node.type != "html_block":
            found += _blocks(page, node, mark)
            mark = None
        elif match := _MARK.fullmatch(node.content):
            mark = Mark(word=_word(match[1]), value=match[2].strip())
            if match[3] is not None or mark.word == "in":
                found.append(Block(page=page, line=_line(node) + 1, kind="hidden", text=match[3] or "", mark=mark))
                mark = None
    return found


def _word(text: str) -> Word:
    words: dict[str, Word] = {"not run": "not run", "file": "file", "shows": "shows", "in": "in", "run": "run"}
    return words[text]


def _line(node: SyntaxTreeNode) -> int:
    while node.map is None:
        assert node.parent is not None
        node = node.parent
    return node.map[0] + 1


def _blocks(page: Path, top: SyntaxTreeNode, mark: Mark | None) -> Iterator[Block]:
    for node in top.walk():
        match node.type:
            case "fence":
                yield Block(page=page, line=_line(node) + 1, kind=node.info or "none", text=node.content, mark=mark)
            case "code_block":
                yield Block(page=page, line=_line(node), kind="indented", text=node.content, mark=mark)
            case "code_inline":
                yield Block(page=page, line=_line(node), kind="prose", text=node.content, mark=mark)
            case "image":
                yield Block(page=page, line=_line(node), kind="image", text=str(node.attrs["src"]), mark=mark)
            case _:
                pass


def commands(block: Block) -> list[Shown]:
    """What is to be run of a block, in its order."""
    if block.kind == "console":
        parts = re.split(rf"^{re.escape(PROMPT)}(.*)\n", block.text, flags=re.MULTILINE)
        assert not parts[0], f"{block.place} begins without a command"
        return [Shown(block=block, command=command, output=output) for command, output in zip(parts[1::2], parts[2::2], strict=True)]
    if block.is_marked("shows"):
        assert block.mark is not None
        return [Shown(block=block, command=block.mark.value, output=block.text)]
    if block.is_marked("run"):
        return [Shown(block=block, command=line, output=None) for line in block.text.splitlines()]
    return []


def rewritten(blocks: list[tuple[Block, str]]) -> str:
    """The page of these blocks, each with the text beside it."""
    page = blocks[0][0].page
    lines = page.read_text().splitlines(keepends=True)
    for block, text in sorted(blocks, key=lambda item: item[0].line, reverse=True):
        first = block.line - 1
        lines[first : first + block.text.count("\n")] = [text]
    return "".join(lines)
