"""What a YAML text says, as plain values that remember where they stand: mappings and lists with the places of their members."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Protocol

from nanod.diagnostics import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanod.diagnostics import Report


class Point(Protocol):
    """A position in a text; line and column count from 0."""

    line: int
    column: int


class Span(Protocol):
    """What a parser's event knows of its place. Marks are built from it only when somebody asks: a text has ten thousand of them."""

    start_mark: Point
    end_mark: Point


class Map(dict[str, object]):
    """A mapping. `places` has the key's and the value's span of every key that somebody wrote; a built-in key has none.

    `broken` names keys that had a value too wrong to keep: nothing may say that they are missing.
    """

    __slots__ = ("broken", "places")

    def __init__(self) -> None:
        self.places: dict[str, tuple[Span, Span]] = {}
        self.broken: frozenset[str] = frozenset()

    def drop(self, key: str) -> None:
        self.pop(key, None)
        self.broken |= {key}


class Seq(list[object]):
    """A list, with the span of each item."""

    __slots__ = ("places",)

    def __init__(self) -> None:
        self.places: list[Span] = []


def built_in(values: dict[str, object]) -> Map:
    """A mapping that no file wrote."""
    made = Map()
    for key, value in values.items():
        if isinstance(value, list):
            items = Seq()
            items.extend(value)
            made[key] = items
        else:
            made[key] = built_in(value) if isinstance(value, dict) else value
    return made


class Place:
    """Where a value of the spec stands, and the value itself (`node`). `nanod.spec.model.Where` is what the model shows of it."""

    __slots__ = ("file", "key", "node", "parent", "spans")

    def __init__(
        self, file: str, node: object, *, parent: Place | None = None, key: str | int = "", spans: tuple[Span | None, Span] | None = None
    ) -> None:
        self.file, self.node, self.parent, self.key, self.spans = file, node, parent, key, spans

    @property
    def path(self) -> str:
        if self.parent is None:
            return ""
        return joined(self.parent.path, self.key)

    def path_of(self, *keys: str | int) -> str:
        path = self.path
        for key in keys:
            path = joined(path, key)
        return path

    @property
    def map(self) -> Map:
        """The mapping that stands here; an empty one where there is none."""
        return self.node if isinstance(self.node, Map) else _NOTHING

    def get(self, key: str) -> object:
        """What is written under `key`; None when nothing is, or null, which unsets."""
        return self.node.get(key) if isinstance(self.node, Map) else None

    def child(self, key: str | int) -> Place:
        """The place of a key or item, which exists or is built in."""
        node, spans = _step(self.node, key)
        return Place(self.file, node, parent=self, key=key, spans=spans)

    def below(self, key: str) -> Place | None:
        """The place of the mapping under `key`, None when there is none."""
        return self.child(key) if isinstance(self.get(key), Map) else None

    def items(self) -> list[Place]:
        """The places of a list's items."""
        return [self.child(position) for position in range(len(self.node))] if isinstance(self.node, Seq) else []

    def __call__(self, *keys: str | int) -> Mark:
        """The place of a text, number or boolean is itself, that of a mapping or list its key."""
        node, spans, inner = self.node, self.spans, self.node
        for key in keys:
            inner, found = _step(inner, key)
            if found is None:
                break
            node, spans = inner, found
        if spans is None:
            return self.parent() if self.parent is not None else Mark(self.file)
        span = spans[0] if spans[0] is not None and isinstance(node, (Map, Seq)) else spans[1]
        return mark_of(self.file, span)

    def key_mark(self, *keys: str | int) -> Mark:
        """The place of the key itself, whatever its value; the nearest enclosing place when nobody wrote it."""
        parent = self
        for key in keys[:-1]:
            parent = parent.child(key)
        _, spans = _step(parent.node, keys[-1])
        return mark_of(self.file, spans[0] or spans[1]) if spans else parent()

    def written(self, *keys: str | int) -> bool:
        node: object = self.node
        for key in keys:
            node, spans = _step(node, key)
            if spans is None or node is None:
                return False
        return True


_NOTHING = Map()


def _step(node: object, key: str | int) -> tuple[object, tuple[Span | None, Span] | None]:
    if isinstance(node, Map) and isinstance(key, str):
        return node.get(key), node.places.get(key)
    if isinstance(node, Seq) and isinstance(key, int) and 0 <= key < len(node):
        return node[key], (None, node.places[key]) if key < len(node.places) else None
    return None, None


def joined(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def mark_of(file: str, span: Span) -> Mark:
    start, end = span.start_mark, span.end_mark
    width = end.column - start.column if end.line == start.line else 0
    return Mark(file, start.line + 1, start.column + 1, start.column + 1 + max(1, width))


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with what a terminal would obey written as an escape, for messages."""
    return _UNPRINTABLE.sub(lambda found: "\\" + (f"x{ord(found[0]):02x}" if ord(found[0]) < 256 else f"u{ord(found[0]):04x}"), text)


def shown(value: object) -> str:
    """A value as a message quotes it: short, on one line."""
    if isinstance(value, str):
        text = printable(value)
        return f"'{text if len(text) <= 60 else text[:57] + '…'}'"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    return str(value)


class Findings:
    """Writes findings into a report, each once: what `defaults` has wrong would else be said for every service."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self._said: set[tuple[Mark, str]] = set()
        self._guesses = 50

    def guess(self, word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
        """The known word that was most likely meant, or an empty text. Comparing is slow, so a text full of mistakes gets no more after a while."""
        self._guesses -= 1
        near = difflib.get_close_matches(word[:64], list(known)[:2000], 1, cutoff) if self._guesses >= 0 else []
        return near[0] if near else ""

    def error(self, place: Place, message: str, *keys: str | int, on_key: bool = False) -> None:
        mark = place.key_mark(*keys) if on_key and keys else place(*keys)
        if self._is_new(mark, message):
            self.report.error(mark, printable(message), printable(place.path_of(*keys)))

    def warning(self, place: Place, message: str, *keys: str | int) -> None:
        mark = place(*keys)
        if self._is_new(mark, message):
            self.report.warning(mark, printable(message), printable(place.path_of(*keys)))

    def _is_new(self, mark: Mark, message: str) -> bool:
        is_new = (mark, message) not in self._said
        self._said.add((mark, message))
        return is_new
