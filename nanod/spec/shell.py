"""Enough of the shell's grammar (POSIX.1-2017, 2.3 and 2.9) to know whether a text is one simple command, and where `exec` goes in it.

dash stays as the parent of the last command of a script, so that a service's main process would be the shell: it gets the signal of a
reload and dies of it (tried, dash 0.5.12). `exec` makes the command the main process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

SHELLS: Final = frozenset("sh dash bash ash ksh mksh zsh".split())

_KEYWORDS: Final = frozenset("if then else elif fi for while until do done case esac in { } ! function select time [[ ]] coproc".split())
_OPENERS: Final = frozenset("then else elif do { ! time".split())
_CLOSERS: Final = frozenset("fi done esac } ]]".split())
# `exec` in front of these fails or changes nothing: no program of the name exists, or it would only end the shell.
_BUILTINS: Final = frozenset(
    """
    . : alias bg break cd command continue declare disown eval exit export fg getopts hash jobs let local popd pushd read readonly
    return set shift shopt source times trap type typeset ulimit umask unalias unset wait
    """.split()
)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_OPERATOR = re.compile(r"&&|\|\||;;|\|&|[;&|()\n]")
_REDIRECT = re.compile(r"[0-9]*(?:<<-?|<&|<>|>>|>&|>\||<|>)")


class Shape(Enum):
    SIMPLE = "one simple command"
    EXEC = "ends in exec"
    COMPOUND = "the shell stays the main process"


@dataclass(frozen=True, slots=True)
class _Command:
    """The words of one simple command with their offsets, the operator that ends it, and whether a pipe or parentheses put it into a subshell."""

    words: tuple[tuple[int, str], ...]
    end: str
    in_subshell: bool


def is_shell(argv: tuple[str, ...]) -> bool:
    return argv[0].rpartition("/")[2] in SHELLS


def with_exec(text: str) -> tuple[str, Shape]:
    """The text as the main process is to run it, and what it is. Only a simple command is changed."""
    commands = [command for command in _commands(text) if command.words]
    if len(commands) == 1 and not commands[0].in_subshell and commands[0].end in {"", ";", "\n"}:
        name = next(((offset, word) for offset, word in commands[0].words if not _ASSIGNMENT.match(word)), None)
        if name is not None and name[1] == "exec":
            return text, Shape.EXEC
        if name is not None and name[1] not in _KEYWORDS | _BUILTINS and "<<" not in text:
            return f"{text[: name[0]]}exec {text[name[0] :]}", Shape.SIMPLE
        return text, Shape.COMPOUND
    last = next((command for command in reversed(commands) if command.words[0][1] not in _CLOSERS), None)
    if last is None or last.in_subshell or last.end == "&":
        return text, Shape.COMPOUND
    words = [word for _, word in last.words]
    while words and (words[0] in _OPENERS or _ASSIGNMENT.match(words[0])):
        words.pop(0)
    return text, Shape.EXEC if words[:1] == ["exec"] and len(words) > 1 else Shape.COMPOUND


def _commands(text: str) -> list[_Command]:
    commands: list[_Command] = []
    words: list[tuple[int, str]] = []
    position, depth, after_pipe = 0, 0, False
    while position < len(text):
        if found := _OPERATOR.match(text, position):
            operator = found[0]
            is_pipe = operator in {"|", "|&"}
            commands.append(_Command(tuple(words), operator, depth > 0 or is_pipe or after_pipe))
            words, after_pipe = [], is_pipe or (after_pipe and operator == "\n" and not words)
            depth = max(0, depth + (operator == "(") - (operator == ")"))
            position += len(operator)
        elif text[position] in " \t\r":
            position += 1
        elif text.startswith("\\\n", position):
            position += 2
        elif text[position] == "#":
            end = text.find("\n", position)
            position = len(text) if end < 0 else end
        elif redirect := _REDIRECT.match(text, position):
            end = _word_end(text, _skip_blanks(text, redirect.end()))
            position = max(end, redirect.end())
        else:
            end = _word_end(text, position)
            words.append((position, text[position:end].replace("\\\n", "")))
            position = end
    commands.append(_Command(tuple(words), "", depth > 0 or after_pipe))
    return commands


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t":
        position += 1
    return position


def _word_end(text: str, position: int) -> int:
    """The end of the word at `position`: quotes, escapes and substitutions belong to it, whatever they hold."""
    while position < len(text) and text[position] not in " \t\r\n;&|()<>":
        position = _piece_end(text, position)
    return position


def _piece_end(text: str, position: int) -> int:
    char = text[position]
    if char == "\\":
        return min(position + 2, len(text))
    if char == "'":
        end = text.find("'", position + 1)
        return len(text) if end < 0 else end + 1
    if char in '"`':
        return _closed(text, position + 1, char)
    if text.startswith("$(", position):
        return _closed(text, position + 2, ")")
    if text.startswith("${", position):
        return _closed(text, position + 2, "}")
    return position + 1


def _closed(text: str, position: int, closer: str) -> int:
    """The position after `closer`, over nested quotes and substitutions; single quotes mean nothing inside double ones."""
    awaited = [closer]
    while awaited and position < len(text):
        char, last = text[position], awaited[-1]
        step = 1
        if char == last:
            awaited.pop()
        elif char == "\\":
            step = 2
        elif char == "'" and last != '"':
            end = text.find("'", position + 1)
            step = len(text) if end < 0 else end + 1 - position
        elif char in '"`':
            awaited.append(char)
        elif text.startswith(("$(", "${"), position):
            awaited.append(")" if text[position + 1] == "(" else "}")
            step = 2
        elif char == "(" and last == ")":
            awaited.append(")")
        position += step
    return min(position, len(text))
