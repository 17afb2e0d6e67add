"""How a text is written so that systemd reads back the same bytes: one function per way of reading.

systemd reads a line in this order: LF, CR and NUL end it; an odd number of trailing backslashes joins the next one; blanks around it
go; text that is no UTF-8 voids it; then it splits at the first `=`; then the key's own parser removes quotes and escapes (or does not),
and only after that come specifiers and the prefixes of Exec lines (conf-parser.c, load-fragment.c, extract-word.c of systemd 252 and
257; tests/parser asks the real parser). So `%` is doubled, never hex-escaped, and only where specifiers are known; and an executable is
safe only by its own first character.
"""

from __future__ import annotations

import re
from functools import lru_cache
from posixpath import normpath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Text that Python encodes and systemd's utf8_is_valid() refuses: the noncharacters of Unicode.
_NONCHARACTER = re.compile("[\ufdd0-\ufdef" + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF)) + "]")
_DOUBLED = str.maketrans({"%": "%%"})
_QUOTED = _DOUBLED | str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_PATH_QUOTED = _DOUBLED | str.maketrans({"\\": "\\\\", '"': '\\"'})
_LITERAL = ":"
"""The Exec prefix that keeps `$` as written."""
WORD = r'(?:"(?:[^"\\]|\\.)*"|[^\s"]\S*)'
"""A pattern of one word of a command line, as these functions write it."""
_PLAIN_WORD = re.compile(r"[A-Za-z0-9/._+@=,:-]+")
_NO_NAME = re.compile(r"[\s\"'%]")
_PROGRAM = re.compile(r"/.*|[A-Za-z0-9_.][^/]*", re.DOTALL)
_PATH_LIMIT = 4095  # PATH_MAX without its NUL
_NAME_LIMIT = 255  # NAME_MAX
_WORD_LIMIT = 128 * 1024 - 1
"""One argument or environment variable, without its NUL: longer ones fail at execve with E2BIG (MAX_ARG_STRLEN)."""
LINE_LIMIT = 1_000_000
"""systemd refuses a whole unit for one line of 1 MiB (LONG_LINE_MAX); some room for the key is left."""


class UnrepresentableError(ValueError):
    """systemd has no way to be told this text in this place; the message says why."""


def program(name: str) -> str:
    """A pattern of the first word of a line that runs the program of that name, wherever it is: a path with a blank stands in quotes."""
    return rf'(?:"[^"]*/{name}"|[^\s"]\S*/{name})(?= )'


def text(value: str) -> str:
    """Free text to the end of the line, with specifiers: `Description=`."""
    return line(value).translate(_DOUBLED)


def line(value: str) -> str:
    """A text as it stands, to the end of the line. Refuses what would end, join, shorten or empty the line."""
    _refuse_unreadable(value)
    if control := _CONTROL.search(value):
        raise UnrepresentableError(f"control character {control[0]!r} cannot stand here")
    if value != value.strip(" "):
        raise UnrepresentableError("systemd strips the blanks at its ends")
    if value.endswith("\\"):
        raise UnrepresentableError("systemd would join the next line to a backslash at the end")
    if not value:
        raise UnrepresentableError("systemd reads an empty value as 'reset'")
    return value


def path(value: str) -> str:
    """One path to the end of the line, with specifiers, after a prefix such as `|!` or `name:`: `ConditionPathExists=`, `LoadCredential=`."""
    _refuse_bad_path(value[value.find("/") :])
    return text(value)


def names(values: Iterable[str]) -> str:
    """Names apart by blanks. Their parsers differ in what they take for quotes and escapes, so only names that need none are written."""
    found = list(values)
    for name in found:
        if not name or _NO_NAME.search(line(name)):
            raise UnrepresentableError(f"{name!r} cannot stand in a list of names")
    return " ".join(found)


def paths(values: Iterable[str]) -> str:
    """Paths apart by blanks, each after prefixes such as `-`: `ReadWritePaths=`. Quotes are removed here, but C escapes are not known."""
    return " ".join(_path_word(value) for value in values)


def words(values: Iterable[str]) -> str:
    """Words apart by blanks, with quotes, C escapes and specifiers: `Environment=`."""
    return " ".join(_word(value) for value in values)


def command(argv: Sequence[str], prefix: str = "") -> str:
    """An Exec line: `prefix` of systemd's own (`-`, `+`, `!`), and always `:`, which keeps `$` as written.

    The program must be an absolute path or a bare name, and cannot hold quotes or backslashes, whatever the quoting (`config_parse_exec`).
    """
    return f"{prefix}{_LITERAL}{' '.join([_program(argv[0]), *map(_word, argv[1:])])}"


@lru_cache(maxsize=1024)
def _program(word: str) -> str:
    if not _PROGRAM.fullmatch(word) or _CONTROL.search(word) or re.search(r"[\"'\\]", word) or word in (".", ".."):
        raise UnrepresentableError(f"{word!r} is neither an absolute path nor a bare program name")
    if word.endswith("/"):
        raise UnrepresentableError(f"{word!r} is a directory")
    _refuse_long_path(word)
    return _word(word)


def quote(word: str) -> str:
    """One word in double quotes, with C escapes and specifiers escaped."""
    if "\0" in word:
        raise UnrepresentableError("a NUL character cannot be written in a unit file")
    escaped = word.translate(_QUOTED)
    return '"' + _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", escaped) + '"'


@lru_cache(maxsize=4096)  # the same few stand in every unit of an app
def _word(word: str) -> str:
    """Words that mean themselves stay without quotes, so that unit files stay readable; a lone `;` does not."""
    _refuse_unreadable(word)
    if len(word.encode()) > _WORD_LIMIT:
        raise UnrepresentableError(f"a word is at most {_WORD_LIMIT + 1} bytes for the kernel, this one has {len(word.encode())}")
    return word if _PLAIN_WORD.fullmatch(word) else quote(word)


def _path_word(value: str) -> str:
    _refuse_bad_path(value[value.find("/") :])
    if control := _CONTROL.search(value):
        raise UnrepresentableError(f"control character {control[0]!r} cannot stand here")
    return value if _PLAIN_WORD.fullmatch(value) else f'"{value.translate(_PATH_QUOTED)}"'


def _refuse_unreadable(value: str) -> None:
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError as bad:
        raise UnrepresentableError(f"character {value[bad.start]!r} is not UTF-8") from bad
    if found := _NONCHARACTER.search(value):
        raise UnrepresentableError(f"systemd takes no text with the noncharacter {found[0]!r}")


def _refuse_bad_path(value: str) -> None:
    if not value.startswith("/"):
        raise UnrepresentableError("it must be an absolute path")
    if value.startswith("//") or normpath(value) != value:
        raise UnrepresentableError(f"{value!r} is not normalised: no '//', '.', '..' and no '/' at its end")
    _refuse_long_path(value)


def _refuse_long_path(value: str) -> None:
    _refuse_unreadable(value)
    if len(value.encode()) > _PATH_LIMIT or any(len(part.encode()) > _NAME_LIMIT for part in value.split("/")):
        raise UnrepresentableError(f"a path has at most {_PATH_LIMIT} bytes, and {_NAME_LIMIT} between two slashes")
