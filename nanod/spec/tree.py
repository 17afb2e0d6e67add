"""What a YAML text says, as plain values that remember where they stand: mappings and lists with the places of their members."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from nanod.diagnostics import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanod.diagnostics import Report


Span = tuple[int, int]
"""Where something begins and ends, in characters from the beginning of its text: two numbers, for a spec has thousands. Marks are made when asked."""
Spans = tuple[Span | None, Span | None]
"""Of a key and of its value; a list's item has no key, what is built in has neither."""


class Text:
    """A text, the name of its file, and where its outermost value begins: turns spans into marks."""

    __slots__ = ("_lines", "file", "text", "whole")

    def __init__(self, file: str, text: str, whole: Span | None = None) -> None:
        self.file, self.text, self.whole = file, text, whole
        self._lines: list[int] = []

    def mark(self, span: Span) -> Mark:
        if not self._lines:
            self._lines = [0, *(found.end() for found in re.finditer("\n", self.text))]
        start, end = span
        line = bisect_right(self._lines, start)
        column = start - self._lines[line - 1] + 1
        is_one_line = line == len(self._lines) or end < self._lines[line]
        return Mark(self.file, line, column, column + (max(1, end - start) if is_one_line else 1))


class Map(dict[str, object]):
    """A mapping. `places` has the span of the key and that of the value for every key that somebody wrote; a built-in key has none.

    `broken` names keys that had a value too wrong to keep: nothing may say that they are missing.
    """

    __slots__ = ("broken", "places")

    def __init__(self) -> None:
        self.places: dict[str, tuple[int, int, int, int]] = {}
        self.broken: frozenset[str] = frozenset()

    def drop(self, *keys: str) -> None:
        """Takes out values that are too wrong to keep."""
        for key in keys:
            self.pop(key, None)
        self.broken |= set(keys)


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

    __slots__ = ("_own", "get", "key", "map", "node", "parent", "text")

    def __init__(self, text: Text, node: object, parent: Place | None = None, key: str | int = "") -> None:
        self._own: Mark | None = None
        self.text, self.node, self.parent, self.key = text, node, parent, key
        self.map = node if isinstance(node, Map) else _NOTHING
        """The mapping that stands here; an empty one where there is none."""
        self.get = self.map.get
        """What is written under a key; None when nothing is, or null, which unsets."""

    @property
    def spans(self) -> Spans:
        """Of the key and of the value, as the mapping or list around it knows them; those of the whole text at its top."""
        return _step(self.parent.node, self.key)[1] if self.parent else (None, self.text.whole)

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

    def child(self, key: str | int) -> Place:
        """The place of a key or item, which exists or is built in."""
        return Place(self.text, _step(self.node, key)[0] if isinstance(key, int) else self.map.get(key), self, key)

    def below(self, key: str) -> Place | None:
        """The place of the mapping under `key`, None when there is none."""
        return self.child(key) if isinstance(self.get(key), Map) else None

    def items(self) -> list[Place]:
        """The places of a list's items."""
        return [self.child(position) for position in range(len(self.node))] if isinstance(self.node, Seq) else []

    def __call__(self, *keys: str | int) -> Mark:
        """The place of a text, number or boolean is itself, that of a mapping or list its key."""
        node, inner, spans = self.node, self.node, _NOWHERE
        for key in keys:
            inner, found = _step(inner, key)
            if found[1] is None:
                break
            node, spans = inner, found
        if spans[1] is not None:
            return self._mark(node, spans[0], spans[1])
        if self._own is None:
            key_span, span = self.spans
            self._own = self._mark(node, key_span, span) if span is not None else self.parent() if self.parent else Mark(self.text.file)
        return self._own

    def _mark(self, node: object, key_span: Span | None, span: Span) -> Mark:
        return self.text.mark(key_span if key_span is not None and isinstance(node, (Map, Seq)) else span)

    def key_mark(self, *keys: str | int) -> Mark:
        """The place of the key itself, whatever its value; the nearest enclosing place when nobody wrote it."""
        parent = self
        for key in keys[:-1]:
            parent = parent.child(key)
        _, (key_span, span) = _step(parent.node, keys[-1])
        found = key_span or span
        return self.text.mark(found) if found else parent()

    def written(self, *keys: str | int) -> bool:
        node: object = self.node
        for key in keys:
            node, spans = _step(node, key)
            if spans[1] is None or node is None:
                return False
        return True


_NOTHING = Map()
_NOWHERE: Spans = (None, None)


def _step(node: object, key: str | int) -> tuple[object, Spans]:
    """One level down: what stands under a key or at a position, and the spans of the key and of the value."""
    if isinstance(node, Map) and isinstance(key, str):
        place = node.places.get(key)
        return node.get(key), (place[:2], place[2:]) if place else _NOWHERE
    if isinstance(node, Seq) and isinstance(key, int) and 0 <= key < len(node):
        return node[key], (None, node.places[key]) if key < len(node.places) else _NOWHERE
    return None, _NOWHERE


def joined(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


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
    """Writes findings into a report, each once: what `defaults` has wrong would else be said for every service.

    A hostile text has as many mistakes as it has lines; of errors and of warnings the first hundred are made, and one that says so.
    """

    MAX: ClassVar[int] = 100
    _GUESSES: ClassVar[int] = 20

    def __init__(self, report: Report) -> None:
        self.report = report
        self._said: set[tuple[Mark, str]] = set()
        self._errors = self._warnings = self._guesses = 0

    @property
    def is_full(self) -> bool:
        """Whether further errors would not be shown."""
        return self._errors >= self.MAX

    def error(self, place: Place, message: str, *keys: str | int, on_key: bool = False) -> None:
        if self._errors > self.MAX:
            return
        mark = place.key_mark(*keys) if on_key and keys else place(*keys)
        if self._is_new(mark, message):
            self._errors += 1
            if self._errors > self.MAX:
                self.report.error(Mark(place.text.file), f"and more: these are the first {self.MAX} errors")
            else:
                self.report.error(mark, printable(message), printable(place.path_of(*keys)))

    def warning(self, place: Place, message: str, *keys: str | int) -> None:
        if self._warnings > self.MAX:
            return
        mark = place(*keys)
        if self._is_new(mark, message):
            self._warnings += 1
            if self._warnings > self.MAX:
                self.report.warning(Mark(place.text.file), f"and more: these are the first {self.MAX} warnings")
            else:
                self.report.warning(mark, printable(message), printable(place.path_of(*keys)))

    def _is_new(self, mark: Mark, message: str) -> bool:
        is_new = (mark, message) not in self._said
        self._said.add((mark, message))
        return is_new

    def guess(self, word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
        """The known word that was most likely meant, or an empty text. Comparing is slow: a text full of mistakes gets no guess after a while."""
        import difflib  # noqa: PLC0415  (4 ms, and only a mistake needs it)

        self._guesses += 1
        near = difflib.get_close_matches(word[:64], list(islice(known, 1000)), 1, cutoff) if self._guesses <= self._GUESSES else []
        return near[0] if near else ""
