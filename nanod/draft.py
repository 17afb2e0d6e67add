"""A first spec for a directory, from what lies in it. Pure; everything in it is a guess, and says so."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from nanod.units.names import RESERVED_DIRECTORIES, RESERVED_PREFIXES, SPECIAL_STEMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FILES = tuple(
    "Procfile package.json package-lock.json go.mod go.sum Gemfile Gemfile.lock config.ru"
    " requirements.txt pyproject.toml manage.py main.py app.py server.py".split()
)
"""What a draft is made from."""
_NAME_LIMIT = 31
_FIRST_PORT = 5000
_PROCESS = re.compile(r"([A-Za-z0-9_-]+):[ \t]*(\S.*?)[ \t]*")
_RELEASE = "release"
"""The process type that Procfiles have for what runs once before a new version does."""
_HEAD = """\
# What nanod keeps running here. Look it over, then 'nanod check' names every mistake, and 'nanod plan' shows what an apply would do.
"""
_HINTS = """\
    # environment: {LOG_LEVEL: info}
    # requires: [postgresql.service]     # waits for it at each start; also other services of this file
    # ports: [8080]                      # PORT is the first
    # health: {http: http://127.0.0.1:8080/healthz}   # then "started" means healthy
    # volume: /var/lib/data              # made when missing, kept by 'nanod remove'
    # hooks:
    #   prestart: ./migrate              # fails: the service does not start
    #   prestop: ./drain
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """`directory` is absolute; `files` are those of FILES that are there. `owner`: its account, "" for one without a name.

    `is_open`: any user of the host can enter it. `schema`: the file that editors read the language from, "" where it is not installed.
    """

    directory: str
    files: frozenset[str] = frozenset()
    procfile: str = ""
    owner: str = "root"
    is_open: bool = True
    schema: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """`source`: the file that it comes from, "" when nothing tells what to run."""

    text: str
    project: str
    services: tuple[str, ...]
    source: str = ""


def draft(seen: Seen) -> Draft:
    """Procfile lines become services; else one service, for the first language that the files tell of; else one to be filled in."""
    processes = procfile(seen.procfile)
    services = {name: command for name, command in processes.items() if name != _RELEASE}
    if services:
        return _of_procfile(seen, services, processes.get(_RELEASE, ""))
    for file, lines in (
        ("package.json", _node),
        ("go.mod", _go),
        ("Gemfile", _ruby),
        ("requirements.txt", _python),
        ("pyproject.toml", _python),
    ):
        if file in seen.files:
            text = "".join(f"    {line}\n" for line in (*lines(seen), *_account(seen, installs=True)))
            return _draft(seen, {"web": text + _HINTS}, file)
    return empty(seen)


def empty(seen: Seen, because: str = "") -> Draft:
    """A spec to be filled in; `because` says in it why it is no more than that."""
    note = "".join(f"    # {line}\n" for line in because.splitlines())
    command = "    command: [/bin/sleep, infinity]    # the program to run: text for a shell, or a list of words\n"
    account = "".join(f"    {line}\n" for line in _account(seen, installs=False))
    return _draft(seen, {"web": note + command + account + _HINTS}, "")


def procfile(text: str) -> dict[str, str]:
    """Process types to commands; lines of any other form are left out, as those who run Procfiles do."""
    found = (_PROCESS.fullmatch(line) for line in text.splitlines())
    return {valid_name(match[1]): match[2] for match in found if match}


def valid_name(text: str) -> str:
    """The nearest name that an app or a service can have; one that systemd or nanod keeps for itself gets `-app`."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not name[:1].isalpha():
        name = f"app-{name}".strip("-")
    name = name[:_NAME_LIMIT].strip("-")
    if name.partition("-")[0] in RESERVED_PREFIXES:
        name = f"app-{name}"[:_NAME_LIMIT].strip("-")
    return f"{name[: _NAME_LIMIT - 4]}-app" if name in SPECIAL_STEMS | RESERVED_DIRECTORIES else name


def _draft(seen: Seen, services: dict[str, str], source: str) -> Draft:
    project = valid_name(PurePath(seen.directory).name)
    schema = f"# yaml-language-server: $schema={seen.schema}\n" if seen.schema else ""
    made = f"# Made from {source}.\n" if source else ""
    body = "".join(f"  {name}:\n{text}" for name, text in services.items())
    return Draft(text=f"{schema}{_HEAD}{made}project: {project}\nservices:\n{body}", project=project, services=tuple(services), source=source)


def _of_procfile(seen: Seen, services: dict[str, str], release: str) -> Draft:
    texts: dict[str, str] = {}
    for number, (name, command) in enumerate(services.items()):
        lines = [f"command: {_quoted(command)}", *_account(seen, installs=bool(release))]
        if re.search(r"\$\{?PORT\b", command):
            lines += [f"ports: [{_FIRST_PORT + 100 * number}]    # PORT", "health: {tcp: true}    # the port answers; then it is healthy"]
        if release and not texts:
            lines += ["hooks:", f"  prestart: {{run: {_quoted(release)}, name: {_RELEASE}, scope: deploy}}    # once per content"]
        texts[name] = "".join(f"    {line}\n" for line in lines)
    return _draft(seen, texts, "Procfile")


def _account(seen: Seen, *, installs: bool) -> Iterator[str]:
    """Whose the directory is may write there; where that is root, an account that systemd makes is enough, if it can get there at all."""
    if seen.owner and seen.owner != "root":
        yield f"user: {_quoted(seen.owner)}    # whose the directory is"
    elif installs or not seen.is_open:
        yield "user: root    # better: an account of its own, whose the directory is"
    else:
        yield "dynamic_user: true    # or user: NAME, of an account that is there"


def _node(seen: Seen) -> Iterator[str]:
    lock = "package-lock.json" in seen.files
    yield "runtime: node    # its command is npm start"
    yield from _install("npm ci" if lock else "npm install", ["node_modules"], ["package-lock.json" if lock else "package.json"])


def _python(seen: Seen) -> Iterator[str]:
    script = next((name for name in ("main.py", "app.py", "server.py") if name in seen.files), "main.py")
    words = "manage.py runserver --noreload" if "manage.py" in seen.files else script
    yield f"command: .venv/bin/python {words}    # a guess"
    listed = "requirements.txt" in seen.files
    what, inputs = ("-r requirements.txt", "requirements.txt") if listed else (".", "pyproject.toml")
    yield from _install(f"python3 -m venv .venv && .venv/bin/pip install {what}", [".venv"], [inputs])


def _go(seen: Seen) -> Iterator[str]:
    yield "command: [./server]    # what the install builds"
    yield from _install("go build -o server .", ["server"], [name for name in ("go.mod", "go.sum") if name in seen.files])


def _ruby(seen: Seen) -> Iterator[str]:
    words = "rackup" if "config.ru" in seen.files else "ruby app.rb"
    yield f"command: bundle exec {words}    # a guess"
    yield from _install("bundle install", [], [name for name in ("Gemfile", "Gemfile.lock") if name in seen.files])


def _install(command: str, creates: Sequence[str], inputs: Sequence[str]) -> Iterator[str]:
    yield "provisioning:    # once, and again when an input changed"
    yield f"  install: {command}"
    if creates:
        yield f"  creates: [{', '.join(creates)}]"
    yield f"  inputs: [{', '.join(inputs)}]"


def _quoted(text: str) -> str:
    """As YAML reads it back unchanged: its double quotes take all that JSON writes."""
    return json.dumps(text)
