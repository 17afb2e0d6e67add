"""`nanod init [DIR]`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from nanod.cli import console
from nanod.cli.options import JSON, verb
from nanod.compile import Target, compile_spec
from nanod.diagnostics import Severity
from nanod.draft import FILES, Draft, Seen, draft, empty
from nanod.errors import ExitCode, NanodError
from nanod.host import facts
from nanod.host.accounts import name_of
from nanod.spec.load import load
from nanod.view.tty import clean

_NAME = "nanod.yaml"
_PROCFILE_LIMIT = 1 << 16
_SCHEMA = Path(sys.prefix, "share/nanod/nanod.schema.json")
"""Where packages, and wheels, install it."""


@verb("init", "nanod init", "nanod init --stdout /srv/shop")
@click.argument("directory", metavar="[DIR]", type=click.Path(exists=True, file_okay=False), default=".")
@click.option("--stdout", "only_print", is_flag=True, help="Print the spec and write nothing.")
@JSON
def command(*, directory: str, only_print: bool, as_json: bool) -> int:
    """Write a first spec, nanod.yaml, from what lies in a directory.

    Each line of a Procfile becomes a service; package.json, go.mod, a Gemfile, requirements.txt and pyproject.toml are known, too. Without any of
    them it is a spec to be filled in. A nanod.yaml that is there is never touched.
    """
    made = checked(look(Path(directory).absolute()))
    path = str(Path(directory, _NAME))
    if not only_print:
        write(Path(path), made.text)
    following = [f"nanod check {shlex.quote(path)}", _then(path)]
    if as_json:
        about = {"project": made.project, "services": list(made.services), "source": made.source or None, "text": made.text}
        console.out_json({"spec": None if only_print else path, **about, "next": [] if only_print else following})
    elif only_print:
        console.out(made.text)
    else:
        source = f", from {made.source}" if made.source else ", to be filled in"
        console.out(clean(f"{path}: app {made.project} with {', '.join(made.services)}{source}\nnext: look it over, then {' && '.join(following)}"))
    return ExitCode.OK


def look(directory: Path) -> Seen:
    """Raises NanodError for a directory that cannot be read."""
    try:
        there = frozenset(name for name in FILES if (directory / name).is_file())
        owner = name_of(directory.stat().st_uid)
        text = ""
        if "Procfile" in there:
            with (directory / "Procfile").open("rb") as file:
                text = file.read(_PROCFILE_LIMIT).decode(errors="replace")
        is_open = all(path.stat().st_mode & 0o001 for path in (directory, *directory.parents))
    except OSError as refused:
        raise NanodError(f"cannot look at {directory}: {refused.strerror}") from refused
    schema = str(_SCHEMA) if _SCHEMA.is_file() else ""
    return Seen(directory=os.path.normpath(directory), files=there, procfile=text, owner=owner, is_open=is_open, schema=schema)


def checked(seen: Seen) -> Draft:
    """The draft, if it passes `nanod check`; what a Procfile asks for and a spec cannot say leaves one to be filled in, with the reason in it."""
    made = draft(seen)
    problem = _problem(made, seen)
    return empty(seen, f"{made.source} is left out: {problem}") if problem else made


def _problem(made: Draft, seen: Seen) -> str:
    loaded = load(_NAME, made.text, directory=seen.directory)
    found = [item for item in loaded.report if item.severity is Severity.ERROR]
    if loaded.spec is not None and not found:
        found = [item for item in compile_spec(loaded.spec, Target())[1] if item.severity is Severity.ERROR]
    return clean(found[0].message) if found else ""


def write(path: Path, text: str) -> None:
    """Raises NanodError when there is something of that name, or it cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as there:
        raise NanodError(f"cannot write {path}: it is there already", hint="--stdout prints what would be in it") from there
    except OSError as refused:
        raise NanodError(f"cannot write {path}: {refused.strerror}") from refused


def _then(path: str) -> str:
    """What tries it out here."""
    verb = "plan" if facts.is_systemd() else "rehearse"
    return f"{'' if verb == 'plan' else 'sudo '}nanod {verb} {shlex.quote(path)}"
