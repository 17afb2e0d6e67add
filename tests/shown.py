"""What the pages show, run on a machine of the laboratory: a page's files are written and its commands run in its order, as somebody at a terminal does it.

`tools/pages` writes what they print into the pages; tests/lab/test_docs.py asks that it is there. Both look through `masked`: a time or a PID that is another one is no difference.
"""

from __future__ import annotations

import difflib
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import click

from nanod.cli.app import nanod
from nanod.rehearse.machine import SOURCE, Machine
from tests.pages import PAGES, PROMPT, Block, Shown, commands, read, rewritten

TERMINAL = {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "100", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
UNITS = SOURCE / "units"
UNDERSTOOD = {"nanod": {0, 3, 4}, "systemctl": {0, 3}, "journalctl": {0}}
"""How a command within the text of a page may end: of nanod also with changes pending, or with something that is not healthy. Systemd's 3 is "inactive", and its 4 "no such unit"."""
SYSTEMDS = {"systemctl": 2, "journalctl": 1}
"""Systemd's commands that pages name, with how many words without a dash make one that can be run."""

_SPAN = r"\d+(?:us|ms|s|min|h|d)\b(?: \d+(?:ms|s|min|h)\b)*"
_MASKS = [
    (re.compile(r"\b(pid|--expect) \w+"), r"\1 …"),
    (re.compile(r"\b\d+(?:\.\d+)? s\b"), "…"),
    (re.compile(rf"\b(took|healthy|finished|waiting|stopped|failed) +{_SPAN}"), r"\1  …"),
    (re.compile(rf"{_SPAN} ago"), "… ago"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\+00:00)?"), "…"),
    (re.compile(r"\b[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d\b"), "…"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "…"),
    (re.compile(r" {2,}"), "  "),  # a column is as wide as what stands in it
    (re.compile(r" +$", re.MULTILINE), ""),
]


def masked(text: str) -> str:
    """Without what is another one each time: PIDs, tokens, times."""
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    return text


def _lines(shown: Shown, text: str) -> list[str]:
    """Of a journal in any order: lines of two processes come as they come."""
    lines = masked(text).splitlines()
    return sorted(lines) if shown.command.startswith("nanod logs") else lines


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of a page."""

    shown: list[tuple[Shown, str]] = field(default_factory=list)
    images: dict[Path, str] = field(default_factory=dict)
    """The text of each picture of the page, as the page's commands have made it."""

    def differences(self) -> str:
        """As diffs, the page's text first; "" when all is as the page says."""
        return "\n".join(
            line
            for shown, got in self.shown
            if shown.output is not None
            for line in difflib.unified_diff(
                _lines(shown, shown.output), _lines(shown, got), f"{shown.block.place}: {shown.command}", "what it prints", lineterm=""
            )
        )

    def page(self) -> str:
        """The page with what came out; what differs only where it is masked stays as it is."""
        texts: dict[Block, str] = {}
        for shown, got in self.shown:
            if shown.output is not None:
                prompt = f"{PROMPT}{shown.command}\n" if shown.block.kind == "console" else ""
                texts[shown.block] = (
                    texts.get(shown.block, "") + prompt + (shown.output if _lines(shown, shown.output) == _lines(shown, got) else got)
                )
        return rewritten(list(texts.items()))


def play(machine: Machine, page: Path) -> Played:
    """Raises AssertionError for a command that fails although nothing of it is shown."""
    played = Played()
    home = Path("/srv")
    for block in read(page):
        if block.is_marked("not run"):
            continue
        if block.mark is not None and block.mark.word == "in":
            home = Path(block.mark.value)
            machine.path(home).mkdir(parents=True, exist_ok=True)
        if block.mark is not None and block.mark.word == "file":
            machine.write(home / block.mark.value, block.text, mode=0o755 if block.text.startswith("#!") else 0o644)
        if block.kind == "image" and "://" not in block.text:
            played.images[page.parent / block.text] = machine.path(home / block.text).read_text()
        if block.kind == "prose" and (why := misspelt(block.text)):
            raise AssertionError(f"{block.place}: '{block.text}': {why}")
        if block.kind == "prose" and is_whole(block.text):
            status, got = typed(machine, home, block.text)
            assert status in UNDERSTOOD[block.text.split()[0]], f"{block.place}: '{block.text}' ends with {status}:\n{got}"
        for shown in commands(block):
            status, got = typed(machine, home, shown.command)
            assert status == 0 or (got and shown.output is not None), f"{block.place}: '{shown.command}' ends with {status}:\n{got}"
            played.shown.append((shown, got))
    return played


def typed(machine: Machine, home: Path, command: str, *, timeout: float = 180) -> tuple[int, str]:
    """The exit status of a command, and what a terminal shows in the end: output and errors as they come, without the lines that were written over."""
    ours, theirs = pty.openpty()
    try:
        try:
            argv = ["/bin/sh", "-c", command]
            process = machine.popen(argv, env=TERMINAL, cwd=home, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, new_session=True)
        finally:
            os.close(theirs)
        said = b""
        deadline = time.monotonic() + timeout
        while select.select([ours], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                said += os.read(ours, 1 << 16)
            except OSError:  # EIO: nobody writes there any more
                return process.wait(), settled(said.decode(errors="replace"))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise AssertionError(f"'{command}' does not end; it has said:\n{said.decode(errors='replace')}")
    finally:
        os.close(ours)


def settled(text: str) -> str:
    lines = [re.split(r"\r|\x1b\[K", line.rstrip("\r"))[-1].rstrip() for line in text.split("\n")]
    return "\n".join(lines)


# Commands within the text


def _words(command: str) -> list[str]:
    """What follows `nanod`, up to where the shell takes over. `--user` may stand before a verb or after it."""
    words = shlex.split(command)[1:]
    if words[:1] == ["--user"]:
        words = [*words[1:], "--user"]
    return words[: next((number for number, word in enumerate(words) if word in {">", "|"}), len(words))]


def _has_placeholder(words: list[str]) -> bool:
    return any(re.search(r"\b[A-Z]{2,}\b|…", word) for word in words)


def is_ours(text: str) -> bool:
    return text.startswith("nanod ")


def misspelt(text: str) -> str:
    """What is wrong with a command of nanod within a text: no such verb, no such option."""
    words = _words(text) if is_ours(text) else []
    if not words or words[0].startswith("-") or _has_placeholder(words[:1]):
        return ""
    command = nanod.get_command(click.Context(nanod), words[0])
    if command is None:
        return f"no verb '{words[0]}'"
    known = {name for item in command.params for name in (*item.opts, *item.secondary_opts)} | {"--help", "--"}
    return next((f"no option {word}" for word in words[1:] if word.startswith("--") and word not in known), "")


def is_whole(text: str) -> bool:
    """Whether it can be run as it stands: nothing in it stands for something else, and nothing is missing. Others name a verb.

    `--user` is of somebody who is logged in, and the machine's root is not.
    """
    words = _words(text) if text.partition(" ")[0] in {"nanod", *SYSTEMDS} else []
    if not words or _has_placeholder(words) or "--user" in words:
        return False
    if not is_ours(text):
        return len([word for word in words if not word.startswith("-")]) >= SYSTEMDS[text.partition(" ")[0]]
    if words[0].startswith("-") or "--help" in words:
        return True
    context = click.Context(nanod)
    command = nanod.get_command(context, words[0])
    assert command is not None, text
    try:
        command.make_context(words[0], words[1:], parent=context)
    except (click.MissingParameter, click.BadOptionUsage):
        return False
    return True


# The machine


def prepare(machine: Machine) -> None:
    """Nanod as its package installs it."""
    for unit in UNITS.iterdir():
        machine.write(f"/etc/systemd/system/{unit.name}", unit.read_text())
    machine.write("/etc/nanod/specs.d/.keep", "")
    done = machine.run(["systemctl", "enable", "nanod-recover.service"])
    assert done.status == 0, done.err


def clear(machine: Machine) -> None:
    """Take away what a page has left, so that the next one begins as a reader does."""
    machine.run(["systemctl", "stop", "nanod.service"])
    apps = machine.path("/var/lib/nanod/apps")
    for app in sorted(apps.iterdir()) if apps.exists() else ():
        done = machine.nanod("remove", app.name, "--purge", "--yes", "--force")
        assert done.status == 0, done.err
    machine.run(["find", "/srv", "/etc/nanod", "-mindepth", "1", "(", "-type", "f", "-o", "-path", "/srv/*", ")", "-delete"])


def pages_with_commands() -> list[Path]:
    return [page for page in PAGES if any(_runs(block) for block in read(page))]


def _runs(block: Block) -> bool:
    return not block.is_marked("not run") and (bool(commands(block)) or (block.kind == "prose" and is_whole(block.text)))


def main(words: list[str]) -> int:
    """Write into the pages (all of them, or these) what their commands print."""
    chosen = [Path(word).resolve() for word in words] or pages_with_commands()
    with Machine.boot() as machine:
        prepare(machine)
        for page in chosen:
            played = play(machine, page)
            if difference := played.differences():
                sys.stdout.write(f"{difference}\n")
                page.write_text(played.page())
            for path, text in played.images.items():
                path.write_text(text)
            clear(machine)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
