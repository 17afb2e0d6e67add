"""A page of Markdown to one of roff, by docutils. A table becomes a list of what its first column names, as manual pages have it."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.core import publish_from_doctree
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from docutils.writers import manpage
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WIDTH = 69
"""Of a block in a page of 80 columns: it is indented, and has a margin."""
_AFTER_HEADING = re.compile(r"^(\.S[HS] .*\n)\.sp\n", re.MULTILINE)


def page(name: str, markdown: str, *, date: str, version: str, group: str) -> str:
    """`name`: such as nanod.1. The page begins with `# NAME`, and there with a line `word - what it is`."""
    title, _, section = name.rpartition(".")
    document = new_document(name, get_default_settings(manpage.Writer))
    root = SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(markdown))
    blocks = list(root.children)
    facts = " ".join(f'"{word}"' for word in (title.upper(), section, date, version, group))
    # No word is broken: a key or an option is looked for as it is written, and copied.
    about = _plain(blocks[1]).replace("-", "\\-")
    document["header"] = f".TH {facts}\n.nh\n.ad l\n.SH NAME\n{about}\n"
    document += [nodes.docinfo(), *_sections(blocks[2:], 1)]
    text = publish_from_doctree(document, writer=_Writer(), settings_overrides={"output_encoding": "unicode"})
    assert isinstance(text, str)
    return _AFTER_HEADING.sub(r"\1", text)


class _Translator(manpage.Translator):
    """What differs between the versions of docutils is said here."""

    def __init__(self, document: nodes.document) -> None:
        super().__init__(document)
        # A terminal has no font `C` (groff_char(7)).
        self.defs["literal_block"] = (".sp\n.nf\n", "\n.fi\n")

    def header(self) -> str:
        return str(self.document["header"])

    def visit_title(self, node: nodes.title) -> None:
        """Older ones print every title of the first level in capitals, also the name of a file."""
        if self.section_level != 1:
            super().visit_title(node)
            return
        text = node.astext()
        self.body.append(f".SH {self.deunicode(text if text.startswith('/') else text.upper())}\n")
        raise nodes.SkipNode

    def visit_term(self, node: nodes.term) -> None:
        """In the fonts that it is written in."""
        del node
        self.body.append("\n")

    def depart_term(self, node: nodes.term) -> None:
        del node
        self.body.append("\n")


class _Writer(manpage.Writer):
    def __init__(self) -> None:
        super().__init__()
        self.translator_class = _Translator


def _sections(blocks: list[SyntaxTreeNode], level: int) -> Iterator[nodes.Node]:
    """Blocks as they stand; a heading takes what follows it along, up to the next one of its level."""
    position = 0
    while position < len(blocks):
        block, position = blocks[position], position + 1
        if block.type != "heading":
            yield from _block(block)
            continue
        own = int(block.tag[1:])
        end = next((number for number, other in enumerate(blocks[position:], position) if _rank(other) <= own), len(blocks))
        inner = _sections(blocks[position:end], level + 1)
        # A manual page has two levels of headings; what is deeper begins with its title in bold.
        if level <= 2:
            yield nodes.section("", nodes.title("", "", *_inline(block)), *inner)
        else:
            yield nodes.paragraph("", "", nodes.strong("", _plain(block)))
            yield from inner
        position = end


def _rank(block: SyntaxTreeNode) -> int:
    return int(block.tag[1:]) if block.type == "heading" else 9


def _block(block: SyntaxTreeNode) -> Iterator[nodes.Node]:
    match block.type:
        case "paragraph":
            yield nodes.paragraph("", "", *_inline(block))
        case "fence" | "code_block":
            lines = block.content.rstrip("\n").split("\n")
            # What a program printed may be wider than a page; a spec may not be folded.
            folded = lines if block.info in {"yaml", "yml"} else [part for line in lines for part in _folded(line)]
            yield nodes.literal_block("", "\n".join(folded))
        case "bullet_list":
            yield nodes.bullet_list("", *_items(block))
        case "ordered_list":
            yield nodes.enumerated_list("", *_items(block), enumtype="arabic")
        case "table":
            yield _table(block)
        case "html_block" if block.content.startswith("<!--"):
            pass
        case _:
            raise ValueError(f"no manual page has a {block.type}")


def _folded(line: str) -> list[str]:
    indent = line[: len(line) - len(line.lstrip())] + "    "
    return textwrap.wrap(line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) if len(line) > _WIDTH else [line]


def _items(block: SyntaxTreeNode) -> Iterator[nodes.list_item]:
    for item in block.children:
        yield nodes.list_item("", *(made for child in item.children for made in _block(child)))


def _table(block: SyntaxTreeNode) -> nodes.definition_list:
    """Of more than two columns the further ones are told with their headings, but for empty ones."""
    head, body = block.children
    titles = [_plain(cell) for cell in head.children[0].children]
    made = nodes.definition_list()
    for row in body.children:
        term, *cells = row.children
        about = _inline(cells[0]) if len(cells) == 1 else _facts(zip(titles[1:], cells, strict=True))
        made += nodes.definition_list_item("", nodes.term("", "", *_inline(term)), nodes.definition("", nodes.paragraph("", "", *about)))
    return made


def _facts(cells: Iterable[tuple[str, SyntaxTreeNode]]) -> list[nodes.Node]:
    parts: list[nodes.Node] = []
    for title, cell in cells:
        if _plain(cell) in {"", "-", "\N{EN DASH}"}:
            continue
        parts += [nodes.Text("; ")] if parts else []
        parts += [nodes.emphasis("", title), nodes.Text(": ")] if title else []
        parts += _inline(cell)
    return parts


def _inline(block: SyntaxTreeNode) -> list[nodes.Node]:
    return [made for child in block.children for made in _spans(child.children if child.type == "inline" else [child])]


def _spans(spans: Iterable[SyntaxTreeNode]) -> Iterator[nodes.Node]:
    for span in spans:
        match span.type:
            case "text" | "html_inline":
                yield nodes.Text(span.content)
            case "softbreak" | "hardbreak":
                yield nodes.Text("\n")
            case "code_inline":
                yield nodes.literal("", span.content)
            case "strong":
                yield nodes.strong("", "", *_spans(span.children))
            case "em":
                yield nodes.emphasis("", "", *_spans(span.children))
            case "link":
                yield from _spans(span.children)
                yield from _target(str(span.attrs["href"]), _plain(span))
            case _:
                raise ValueError(f"no manual page has a {span.type}")


_BESIDE = {"commands": "nanod(1)", "language": "nanod.spec(5)", "daemon": "nanod-daemon(8)"}
"""Pages of docs that are manual pages as well."""


def _target(link: str, text: str) -> Iterator[nodes.Node]:
    """Where a link to another page of docs leads; one within the page says nothing that its text does not."""
    stem, is_page, _ = link.partition(".md")
    if is_page and (name := _BESIDE.get(stem, f"{stem}.md")) != text:
        yield nodes.Text(f" ({name})")


def _plain(node: Any) -> str:
    if node.type in {"text", "code_inline", "html_inline"}:
        return str(node.content)
    return " ".join(" ".join(_plain(child) for child in node.children).split()) if node.type != "softbreak" else " "
