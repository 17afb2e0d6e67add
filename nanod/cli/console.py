"""Standard output and error: what may be coloured, how wide it is, and how errors and findings look there."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nanod.cli.scope import current
from nanod.diagnostics import Severity
from nanod.errors import BuildError, DegradedError, ExitCode, NanodError, SpecError
from nanod.view.tty import Style, clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import click

    from nanod.diagnostics import Diagnostic


def prepare() -> None:
    """A file name that is no UTF-8, or a terminal that knows only ASCII, costs a character and not the command; a closed stream costs its text."""
    # In this order each takes its own number, so that no unit file gets it and what is printed.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  (it stays open as long as the process lives)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_terminal(stream: TextIO) -> bool:
    """Whether it obeys escape sequences."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def style_of(stream: TextIO) -> Style:
    """Colours on a terminal, unless NO_COLOR is set (no-color.org: to anything but empty); the width follows COLUMNS."""
    terminal = is_terminal(stream)
    return Style(
        colour=terminal and not os.environ.get("NO_COLOR"),
        width=shutil.get_terminal_size().columns,
        terminal=terminal,
        unicode=terminal and (stream.encoding or "").lower().replace("-", "") == "utf8",
        scope=current(),
    )


def style() -> Style:
    return style_of(sys.stdout)


def out(text: str) -> None:
    """Print to standard output, at once. A reader that went away (EPIPE) ends the command quietly; raises NanodError for a full disk."""
    try:
        sys.stdout.write(text if text.endswith("\n") or not text else f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as refused:
        # Python would try the same bytes again at exit and complain a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise NanodError(f"cannot write to standard output: {refused.strerror}") from refused


def out_json(value: object) -> None:
    out(json.dumps(value, indent=2))


def err(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def show_findings(found: Iterable[Diagnostic], sources: Mapping[str, str]) -> None:
    """Findings to standard error, each with its source line."""
    shown = style_of(sys.stderr)
    for item in found:
        err(_finding(item, sources, shown))


def _finding(item: Diagnostic, sources: Mapping[str, str], shown: Style) -> str:
    head, *under = clean(item.text(sources)).split("\n")
    word = f"{item.severity.name.lower()}:"
    paint = {Severity.ERROR: shown.bad, Severity.WARNING: shown.warn, Severity.NOTE: shown.faint}[item.severity]
    place, _, message = head.partition(f" {word} ")
    return "\n".join([f"{shown.strong(place)} {paint(word)} {message}", *fitting(under, shown)])


def fitting(under: list[str], shown: Style) -> list[str]:
    """A source line and its caret. A terminal would break a longer line, and the caret would point at nothing: it gets the part around the caret."""
    if not shown.terminal or len(under) != 2 or max(map(len, under)) <= shown.width:
        return under
    source, pointer = under
    margin = source.index("| ") + 2
    room = shown.width - margin
    ends = pointer.rindex("^") + 1
    start = max(0, min(pointer.index("^") - margin - room // 3, len(source) - margin - room)) if ends > shown.width else 0
    return [f"{line[:margin]}{line[margin + start : margin + start + room]}" for line in under]


def counted(found: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`, or "" for no findings of either kind."""
    kinds = [item.severity for item in found]
    numbers = ((kinds.count(kind), kind.name.lower()) for kind in (Severity.ERROR, Severity.WARNING))
    return ", ".join(f"{number} {word}{'s' if number > 1 else ''}" for number, word in numbers if number)


def fail(error: NanodError, *, as_json: bool) -> int:
    """Say why a command ends without having done its work; the exit code it ends with."""
    found = list(error.report) if isinstance(error, SpecError) else []
    if as_json:
        _fail_json(error.kind, error.message, error.hint, found, error.more)
        return error.exit_code
    shown = style_of(sys.stderr)
    if isinstance(error, SpecError):
        show_findings(found, error.sources)
        err(f"nanod: {shown.bad(counted(found))}")
    else:
        err(f"nanod: {shown.bad(clean(error.message))}")
    if isinstance(error, DegradedError):
        for line in error.left:
            err(f"  {clean(line)}")
    if isinstance(error, BuildError):
        for line in error.lines:
            err(f"  | {clean(line)}")
    if error.hint:
        err(f"hint: {clean(error.hint)}")
    return error.exit_code


def fail_usage(wrong: click.ClickException, *, as_json: bool) -> int:
    """The same for a command line that click cannot make sense of."""
    if as_json:
        _fail_json("usage", wrong.format_message(), "", [])
    else:
        wrong.show()
    return ExitCode.BAD_SPEC


def _fail_json(kind: str, message: str, hint: str, found: Iterable[Diagnostic], more: Mapping[str, object] | None = None) -> None:
    out_json({"error": {"kind": kind, "message": message, "hint": hint, "diagnostics": [item.data() for item in found], **(more or {})}})
