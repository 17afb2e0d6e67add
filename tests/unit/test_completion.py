"""The completions as they are installed, in the shells themselves: what is typed on a terminal, a Tab, and what the command then gets."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from nanod.cli.app import main
from tools.man import files

_SPEC = """\
project: shop
services:
  db: {command: [/bin/sleep, infinity], dynamic_user: true}
  web:
    command: [/bin/sleep, infinity]
    dynamic_user: true
    replicas: 2
    tasks:
      migrate: {command: "true", lifecycle: {hook: prestart}}
"""
# The real program, on the records of a tree; without a Tab it only keeps the words that it got.
_PROGRAM = """\
#!{python}
import json, os, sys
from pathlib import Path
if "_NANOD_COMPLETE" not in os.environ:
    Path({asked!r}).write_text(json.dumps(sys.argv[1:]))
    sys.exit()
sys.path.insert(0, {source!r})
from dataclasses import replace
from nanod.cli import scope
scope.SYSTEM = replace(scope.SYSTEM, state={tree!r} + scope.SYSTEM.state, unit_dir={tree!r} + scope.SYSTEM.unit_dir)
from nanod.cli.app import main
sys.exit(main(sys.argv[1:]))
"""
_START = {
    "bash": ["bash", "--noprofile", "--rcfile", "{share}/rc.bash", "-i"],
    "zsh": ["zsh", "-d", "-i"],
    "fish": ["fish", "--private", "-i", "-C", "function fish_prompt; echo -n '> '; end"],
}
_BASH = "PS1='> '; . /usr/share/bash-completion/bash_completion\n"
_ZSH = "PS1='> '; fpath=({share}/zsh/site-functions $fpath); autoload -U compinit; compinit -u -D\n"
_PATIENCE = 60


class Place(NamedTuple):
    share: Path
    home: Path
    asked: Path
    programs: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An installed app, the files of tools/manual, and a program named nanod."""
    top = tmp_path_factory.mktemp("completion")
    found = Place(share=top / "share", home=top / "home", asked=top / "asked", programs=top / "bin")
    for name, text in files.made().items():
        path = found.share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for directory in (found.home, found.programs, top / "tree" / "etc" / "systemd" / "system"):
        directory.mkdir(parents=True)
    (found.home / "nursery.yaml").write_text(_SPEC)
    assert main(["apply", "--any-owner", "--root", str(top / "tree"), str(found.home / "nursery.yaml")]) == 0
    (found.share / "rc.bash").write_text(_BASH)
    (found.home / ".zshrc").write_text(_ZSH.format(share=found.share))
    source = str(Path(__file__).parents[2])
    program = found.programs / "nanod"
    program.write_text(_PROGRAM.format(python=sys.executable, asked=str(found.asked), source=source, tree=str(top / "tree")))
    program.chmod(0o755)
    return found


def typed(shell: str, keys: str, place: Place) -> list[str]:
    """The words that nanod gets when somebody types this, and Enter."""
    place.asked.unlink(missing_ok=True)
    program, terminal = pty.openpty()
    # A shell wants the terminal to be its own.
    words = ["setsid", "--ctty", *(word.format(share=place.share) for word in _START[shell])]
    process = subprocess.Popen(words, stdin=terminal, stdout=terminal, stderr=terminal, cwd=place.home, env=_environment(place))
    os.close(terminal)
    try:
        screen = _seen(program, "> ", "")
        os.write(program, f"{keys}\r".encode())
        end = time.monotonic() + _PATIENCE
        while not place.asked.exists() or not place.asked.read_text():
            assert time.monotonic() < end, screen
            screen += _read(program)
        found: list[str] = json.loads(place.asked.read_text())
        return found
    finally:
        os.close(program)  # a hangup, which ends the shell
        process.wait(_PATIENCE)


def _environment(place: Place) -> dict[str, str]:
    return {
        "PATH": f"{place.programs}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(place.home),
        "ZDOTDIR": str(place.home),
        "XDG_DATA_DIRS": f"{place.share}:/usr/share",
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }


def _seen(terminal: int, text: str, screen: str) -> str:
    end = time.monotonic() + _PATIENCE
    while text not in screen:
        assert time.monotonic() < end, screen
        screen += _read(terminal)
    return screen


def _read(terminal: int) -> str:
    return os.read(terminal, 65536).decode(errors="replace") if select.select([terminal], [], [], 0.2)[0] else ""


@pytest.mark.parametrize("shell", _START)
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("nanod rehe\t", ["rehearse"]),
        ("nanod plan --det\t", ["plan", "--detailed-exitcode"]),
        ("nanod check nurs\t", ["check", "nursery.yaml"]),
        ("nanod status sh\t", ["status", "shop"]),
        ("nanod logs shop d\t", ["logs", "shop", "db"]),
        ("nanod restart shop web@2/\t", ["restart", "shop", "web@2/migrate"]),
        ("nanod run shop web mig\t", ["run", "shop", "web", "migrate"]),
        ("nanod explain sh\t", ["explain", "shop"]),
        ("nanod explain nurs\t", ["explain", "nursery.yaml"]),
        ("nanod explain shop web@1/\t", ["explain", "shop", "web@1/migrate"]),
    ],
    ids=lambda value: value.strip() if isinstance(value, str) else "",
)
def test_a_tab_completes(shell: str, keys: str, words: list[str], place: Place) -> None:
    assert typed(shell, keys, place) == words


@pytest.mark.parametrize("shell", _START)
def test_the_command_prints_what_is_installed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out.strip() in files.completion(shell)
