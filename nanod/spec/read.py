"""Readers: one key of a spec to one value of the model. What is wrong goes to the findings and the default comes back, so that reading goes on."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from nanod.spec.defaults import DEFAULTS, SHELL
from nanod.spec.model import Command
from nanod.spec.shell import is_shell
from nanod.spec.tree import Findings, Map, Place, Seq, shown
from nanod.values import Size, TimeSpan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nanod.diagnostics import Report

Value = TypeVar("Value")
Choice = TypeVar("Choice", bound=StrEnum)

MAX_TEXT: Final = 64 * 1024
_VARIABLE = re.compile(r"\$(?:\{[A-Za-z_][A-Za-z0-9_]*\}|[A-Za-z_][A-Za-z0-9_]*)")
_BAD_PROGRAM = re.compile(r"""["'\\=\s]|^[-@:+!|]|/$""")

_span = lru_cache(maxsize=4096)(TimeSpan.parse)


@dataclass(slots=True)
class Context:
    """What all readers need: where findings go, and the spec's directory (None for standard input)."""

    findings: Findings
    directory: str | None

    @classmethod
    def of(cls, report: Report, directory: str | None) -> Context:
        return cls(Findings(report), directory)


def written(value: object) -> str:
    """A scalar as it was written: the loader turns only `true`, `false` and plain integers into values, each of which has one spelling."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def text(place: Place, key: str) -> str | None:
    value = place.get(key)
    return None if value is None else written(value)


def flag(place: Place, key: str, default: bool = False) -> bool:
    value = place.get(key)
    return value if isinstance(value, bool) else default


def integer(place: Place, key: str, default: int) -> int:
    value = place.get(key)
    return value if isinstance(value, int) else default


def optional_integer(place: Place, key: str) -> int | None:
    value = place.get(key)
    return value if isinstance(value, int) else None


def choice(place: Place, key: str, kind: type[Choice], default: str) -> Choice:
    value = place.get(key)
    return kind(value if isinstance(value, str) else default)


def parsed(context: Context, place: Place, key: str, parse: Callable[[str], Value]) -> Value | None:
    """The value, None when it is not written or wrong."""
    value = text(place, key)
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:
        context.findings.error(place, f"'{key}' {error}", key)
        return None


def size(context: Context, place: Place, key: str) -> Size | None:
    return parsed(context, place, key, Size.parse)


def span(context: Context, place: Place, key: str, default: str | TimeSpan, *, forever: bool = False, zero: bool = False) -> TimeSpan:
    """`forever`, `zero`: whether `infinity` and 0 have a meaning here."""
    value = parsed(context, place, key, _span)
    if value is None:
        return default if isinstance(default, TimeSpan) else _span(default)
    if value.is_forever and not forever:
        context.findings.error(place, f"'{key}' must be a time span with an end, not 'infinity'", key)
    if not value.usec and not zero:
        context.findings.error(place, f"'{key}' must be longer than 0", key)
    return value


def default_span(context: Context, place: Place, name: str, *, forever: bool = False, zero: bool = False) -> TimeSpan:
    """The span under the last word of `name`, a key of the table of defaults."""
    return span(context, place, name.rpartition(".")[2], str(DEFAULTS[name]), forever=forever, zero=zero)


def strings(place: Place, key: str) -> tuple[str, ...]:
    value = place.get(key)
    return tuple(written(item) for item in value if item is not None) if isinstance(value, Seq) else ()


def warn_literal(context: Context, place: Place, value: str, *keys: str | int) -> None:
    """Nothing is interpolated: a variable in a literal place is most likely meant to be one."""
    if "$" in value and (found := _VARIABLE.search(value)):
        name = place.path_of(*keys).rpartition(".")[2]
        context.findings.warning(place, f"'{found[0]}' in '{name}' stays as it is: only commands that are text see variables", *keys)


def absolute(context: Context, place: Place, value: str, base: str | None, *keys: str | int) -> str:
    """The path, normalised; a relative one below `base`, which is None when nothing says where that is."""
    warn_literal(context, place, value, *keys)
    if value.startswith("~"):
        context.findings.error(place, f"{shown(value)}: '~' is not a home directory here, write the absolute path", *keys)
    if not value.startswith("/"):
        if base is None:
            message = f"{shown(value)} is relative, and a spec from standard input has no directory: write the absolute path"
            context.findings.error(place, message, *keys)
            return "/"
        value = f"{base}/{value}"
    return normal(value)


def normal(path: str) -> str:
    """The path without `.`, `..`, double and trailing slashes. POSIX gives two leading slashes a meaning of their own, Linux does not."""
    return "/" + posixpath.normpath(path).lstrip("/")


def paths(context: Context, place: Place, key: str, base: str | None) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for position, value in enumerate(strings(place, key)):
        path = absolute(context, place, value, base, key, position)
        if path in found:
            context.findings.error(place, f"{shown(value)} stands in '{key}' twice", key, position)
        found[path] = None
    return tuple(found)


def environment(context: Context, place: Place, key: str = "environment") -> dict[str, str]:
    """The variables of one mapping, sorted; NANOD_ is nanod's own."""
    found = {}
    for name, value in _entries(place, key):
        found[name] = written(value)
        warn_literal(context, place, found[name], key, name)
        if name.startswith("NANOD_") or name == "LIFECYCLE_PHASE":
            context.findings.error(place, f"'{name}' is set by nanod itself", key, name)
        if name == "MANAGERPID":
            # Whose manager nanod's programs ask (systemd.exec(5), $MANAGERPID).
            context.findings.error(place, f"'{name}' is set by systemd itself", key, name)
    return dict(sorted(found.items()))


def _entries(place: Place, key: str) -> Iterator[tuple[str, object]]:
    value = place.get(key)
    if isinstance(value, Map):
        yield from value.items()


def shell(context: Context, place: Place, default: tuple[str, ...] = SHELL, base: str | None = "/") -> tuple[str, ...]:
    own = strings(place, "shell")
    return (_program(context, place, own[0], base, "shell", 0), *own[1:]) if own else default


def command(context: Context, place: Place, shell_argv: tuple[str, ...], base: str | None) -> Command | None:
    """The command that stands at `place`; a program with a slash is found from `base`, the working directory."""
    node = place.node
    if isinstance(node, str):
        if not node.strip():
            context.findings.error(place, f"{_label(place)} is empty")
        elif len(node.encode()) > MAX_TEXT:
            context.findings.error(place, f"{_label(place)} is longer than 64 KiB: put it in a file and run that")
        return Command(at=place, argv=(*shell_argv, node), text=node)
    if not isinstance(node, Seq) or not node:
        return None
    argv = [written(item) for item in node]
    if sum(len(word.encode()) for word in argv) > MAX_TEXT:
        context.findings.error(place, f"{_label(place)} is longer than 64 KiB: put it in a file and run that")
    program = _program(context, place, argv[0], base, 0)
    if not (is_shell(tuple(argv)) and len(argv) > 2):
        for position, word in enumerate(argv[1:], 1):
            warn_literal(context, place, word, position)
    return Command(at=place, argv=(program, *argv[1:]))


def command_at(context: Context, place: Place, key: str, shell_argv: tuple[str, ...], base: str | None) -> Command | None:
    return None if place.get(key) is None else command(context, place.child(key), shell_argv, base)


def _program(context: Context, place: Place, word: str, base: str | None, *keys: str | int) -> str:
    """The program, absolute unless it is a bare name. Marks before it (`-`, `@`, `:`, `+`, `!`) mean something to systemd, `=` in it to env(1)."""
    path = absolute(context, place, word, base, *keys) if "/" in word else word
    if not word or _BAD_PROGRAM.search(word) or not word.isprintable():
        hint = (
            "a command for the shell is written without the brackets"
            if " " in word.strip()
            else "quotes, blanks, '=', '\\' and marks have other meanings"
        )
        context.findings.error(place, f"{shown(word)} cannot be a program's name: {hint}", *keys)
    return path


def _label(place: Place) -> str:
    key = place.key
    return f"'{place.parent.key}[{key}]'" if isinstance(key, int) and place.parent else f"'{key}'"
