"""YAML text to plain values with places. The only module that knows yaml.

libyaml's events are read one by one and nothing is ever composed: PyYAML's own loaders die of a stack overflow at 60 kB of brackets, turn `no` into
a boolean, `010` into 8 and `22:22` into 1342, and let the last of two equal keys win (tried, PyYAML 6.0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from nanod.diagnostics import Mark
from nanod.spec.tree import Map, Seq, Text, printable, shown

if TYPE_CHECKING:
    from nanod.diagnostics import Report
    from nanod.spec.tree import Span

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 100_000
MAX_FINDINGS: Final = 50

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""A loader, used for its `get_event` alone; the one in Python is 20 times slower, and there when libyaml is not."""

# NEL, LS and PS end a line for YAML 1.1 and for no editor, so line numbers would disagree; a lone CR likewise. U+FEFF inside a text is a stray mark.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\r(?!\n)|[\u2028\u2029\ufeff]")
_BARE_TAG = re.compile(r"!(?=\s)")
_INTEGER = re.compile(r"0|[1-9][0-9]{0,17}")
_WORDS: Final[dict[str, object]] = {"true": True, "false": False, "null": None, "~": None, "": None}

_ADVICE = (
    ("mapping values are not allowed", "; put quotes around a text that contains ': '"),
    ("found undefined tag handle", "; tags are not used here"),
    ("could not find expected ':'", "; a line of a mapping is 'key: value'"),
    ("did not find expected key", "; is the line above indented the same way?"),
)
_SHARED = "put what services share under 'defaults:' or 'runtimes:'"


@dataclass(frozen=True, slots=True)
class Source:
    """`text` is what was read, for showing lines; `root` is None when it cannot be read on, and what is wrong is in the report."""

    text: str
    root: object
    span: Span | None = None


class _StopError(Exception):
    """Nothing more can be read; the finding is in the report."""


def read(file: str, raw: str | bytes, report: Report) -> Source:
    """Everything that is wrong with the text as YAML goes to `report`; never raises for a text."""
    text = _decode(file, raw, report)
    if text is None:
        return Source("", None)
    if _has_forbidden(file, text, report):
        return Source(text, None)
    builder = _Builder(file, text, report)
    try:
        root = builder.document()
    except _StopError:
        return Source(text, None)
    except yaml.YAMLError as error:
        report.error(_error_mark(file, error), _error_text(error, text))
        return Source(text, None)
    return Source(text, root, builder.root_span)


def _decode(file: str, raw: str | bytes, report: Report) -> str | None:
    if len(raw) > MAX_BYTES:
        report.error(Mark(file), f"a spec is at most 1 MiB, this has {len(raw)} bytes")
        return None
    if isinstance(raw, str):
        return raw.removeprefix("\ufeff")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw[:4]:
        report.error(Mark(file), "a spec is UTF-8 text, this is UTF-16, UTF-32 or binary")
        return None
    try:
        return raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        report.error(Mark(file, line, column, column + 1), f"a spec is UTF-8 text, and byte 0x{raw[error.start]:02x} is not")
        return None


def _has_forbidden(file: str, text: str, report: Report) -> bool:
    found = list(islice(_FORBIDDEN.finditer(text), MAX_FINDINGS))
    for match in found:
        line, column = text.count("\n", 0, match.start()) + 1, match.start() - text.rfind("\n", 0, match.start())
        code = ord(match[0])
        escape = f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
        what = "a carriage return that ends no line" if match[0] == "\r" else f"the character U+{code:04X}"
        report.error(Mark(file, line, column, column + 1), f'{what} cannot stand in a spec; inside double quotes write it as "{escape}"')
    return bool(found)


class _Builder:
    def __init__(self, file: str, text: str, report: Report) -> None:
        self.file, self.text, self.report = file, text, report
        self.next = _PARSER(text).get_event
        self.values = 0
        self.root_span: Span | None = None
        self.bare_tags = _BARE_TAG.search(text) is not None

    def document(self) -> object:
        root: object = None
        event = self.next()
        while not isinstance(event, StreamEndEvent) and event is not None:
            if isinstance(event, DocumentStartEvent) and self.root_span is not None:
                self._error(event, "a spec is one document; this '---' starts a second one")
                raise _StopError
            if not isinstance(event, (StreamStartEvent, DocumentStartEvent, DocumentEndEvent)):
                self.root_span = (event.start_mark.index, event.end_mark.index)
                root = self._value(event, 1)
            event = self.next()
        return root

    def _error(self, event: Any, message: str) -> None:
        self.report.error(Text(self.file, self.text).mark((event.start_mark.index, event.end_mark.index)), message)
        if len(self.report) >= MAX_FINDINGS:
            raise _StopError

    def _value(self, event: Any, depth: int) -> object:
        """The value that begins with `event`. One that cannot be kept (an alias) is reported and stands as None."""
        self.values += 1
        if self.values > MAX_VALUES or depth > MAX_DEPTH:
            limit = f"nesting is at most {MAX_DEPTH} levels" if depth > MAX_DEPTH else f"a spec has at most {MAX_VALUES} values"
            self._error(event, limit)
            raise _StopError
        kind = type(event)
        if kind is AliasEvent:
            self._error(event, f"an alias (*{event.anchor}) cannot be used: {_SHARED}")
            return None
        if event.anchor is not None:
            self._error(event, f"an anchor (&{event.anchor}) cannot be used: {_SHARED}")
        if event.tag is not None or (self.bare_tags and self.text[event.start_mark.index : event.start_mark.index + 1] == "!"):
            self._error(event, f"a tag ({printable(event.tag or '!')}) cannot be used")
        if kind is ScalarEvent:
            text: str = event.value
            return text if event.style else self._plain(text)
        return self._mapping(depth + 1) if kind is MappingStartEvent else self._sequence(depth + 1)

    @staticmethod
    def _plain(text: str) -> object:
        """YAML 1.2's core meaning, without floats: what is no boolean, null or plain integer is text."""
        if text in _WORDS:
            return _WORDS[text]
        return int(text) if "0" <= text[0] <= "9" and _INTEGER.fullmatch(text) else text

    def _sequence(self, depth: int) -> Seq:
        made = Seq()
        while type(event := self.next()) is not SequenceEndEvent:
            made.append(self._value(event, depth))
            made.places.append((event.start_mark.index, event.end_mark.index))
        return made

    def _mapping(self, depth: int) -> Map:
        made = Map()
        places = made.places
        while type(key := self.next()) is not MappingEndEvent:
            is_plain = type(key) is ScalarEvent and key.anchor is None and key.tag is None and key.value != "<<"
            name = key.value if is_plain else self._key(key, depth)
            event = self.next()
            value = self._value(event, depth)
            if name is None:
                made.broken |= {""}
                continue
            if name in places:
                first = self.text.count("\n", 0, places[name][0]) + 1
                self._error(key, f"the key '{printable(name)}' is written twice, first on line {first}, again on line {key.start_mark.line + 1}")
            elif type(event) is AliasEvent:
                made.drop(name)
            else:
                made[name] = value
                places[name] = (key.start_mark.index, key.end_mark.index, event.start_mark.index, event.end_mark.index)
        return made

    def _key(self, event: Any, depth: int) -> str | None:
        if type(event) is ScalarEvent:
            if event.value == "<<" and not event.style:
                self._error(event, f"a merge key (<<) cannot be used: {_SHARED}")
                return None
            if event.anchor is not None or event.tag is not None:
                self._error(event, f"an anchor or a tag cannot be used: {_SHARED}")
            text: str = event.value
            return text
        self._value(event, depth)
        if type(event) is not AliasEvent:
            self._error(event, "a key is text, not a mapping or list")
        return None


def _error_mark(file: str, error: yaml.YAMLError) -> Mark:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return Mark(file, mark.line + 1, mark.column + 1, mark.column + 2) if mark else Mark(file)


def _error_text(error: yaml.YAMLError, text: str) -> str:
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    context = getattr(error, "context", None)
    if "cannot start any token" in problem:
        mark = getattr(error, "problem_mark", None)
        found = text.split("\n")[mark.line][mark.column :][:1] if mark else ""
        advice = "a tab cannot indent, use spaces" if found == "\t" else f"put quotes around a text that begins with {shown(found)}"
        return f"not valid YAML: {advice}"
    advice = next((advice for start, advice in _ADVICE if problem.startswith(start)), "")
    return printable(f"not valid YAML: {problem}{f' ({context})' if context else ''}{advice}")
