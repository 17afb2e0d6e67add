"""What the commands of README.md and docs/*.md print is what stands there (`tools/pages` puts it there), and JSON has the keys that are documented."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.daemons import Daemon
from tests.pages import ROOT
from tests.shown import clear, pages_with_commands, play, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.rehearse.machine import Machine

COMMANDS = ROOT / "docs/commands.md"


@pytest.fixture(scope="module")
def installed(machine: Machine) -> Machine:
    prepare(machine)
    return machine


@pytest.fixture
def cleared(installed: Machine) -> Iterator[Machine]:
    yield installed
    clear(installed)


@pytest.mark.parametrize("page", pages_with_commands(), ids=lambda page: page.name)
def test_a_page_shows_what_its_commands_print(cleared: Machine, page: Path) -> None:
    played = play(cleared, page)
    if different := played.differences():
        pytest.fail(f"after a look at it, tools/pages writes it down:\n{different}", pytrace=False)
    for picture, text in played.images.items():
        assert picture.read_text() == text, f"{picture.name}: tools/pages draws it anew"


SPEC = """
services:
  web:
    command: [/usr/bin/sleep, infinity]
    user: nobody
    settle: 0s
    volume: /srv/volume
    provisioning: {install: "true"}
    hooks: {prestop: "true"}
  report: {kind: script, command: [/usr/bin/true], user: nobody, schedule: daily}
"""
ASKED = (
    "init new",
    "check shop.yaml",
    "compile shop.yaml",
    "plan shop.yaml",
    "apply shop.yaml",
    "status",
    "doctor",
    "history shop",
    "logs shop",
    "run shop report",
    "run shop web prestop",
    "provision shop",
    "stop shop",
    "start shop",
    "restart shop",
    "rollback shop 1",
    "explain",
    "daemon --check",
    "remove shop",
)


def test_json_has_the_keys_that_the_page_of_commands_says(cleared: Machine) -> None:
    cleared.write("/srv/shop/shop.yaml", SPEC)
    cleared.path("/srv/shop/new").mkdir()
    for words in ASKED:
        done = cleared.nanod(*words.split(), "--json", cwd=Path("/srv/shop"))
        answer = json.loads(done.out.splitlines()[0] if words.startswith("logs") else done.out)
        assert any(fits(answer, shown) for shown in shapes(words.split()[0])), f"{words}: {done.out}{done.err}"


def test_the_daemon_answers_as_its_page_says(cleared: Machine) -> None:
    asked = re.findall(r'^\| `(\{"do".*?\})` \| `(\{.*?\})`', (ROOT / "docs/daemon.md").read_text(), re.MULTILINE)
    assert len(asked) >= 4
    daemon = Daemon(machine=cleared)
    daemon.start()
    for request, answer in asked:
        assert fits(daemon.ask(request), shape(answer)), request


def shapes(verb: str) -> list[object]:
    """What a verb's section writes behind --json: `{"app", "services": [{"service"}]}`; what is not in quotes can be anything."""
    (section,) = re.findall(rf"^## nanod {verb}\b.*?(?=^## |\Z)", COMMANDS.read_text(), re.MULTILINE | re.DOTALL)
    (text,) = re.findall(r"^- `--json`: (.*?)(?=\n- |\n\n|\Z)", section, re.MULTILINE | re.DOTALL)
    if same := re.match(r"as `(\w+)`", text):
        return shapes(same[1])
    found = [span for span in re.findall(r"`(\{.*?\})`", text) if not span.startswith('{"error"')]
    assert found, f"{verb}: no shape"
    return [shape(span) for span in found]


def shape(text: str) -> object:
    """Keys alone have any value, and so has what stands for something else."""
    anything = re.sub(r'\{name: .*\}(?=\})|\[…?\]|"…"', "null", text)
    return json.loads(re.sub(r'("\w+")(?=[,}])', r"\1: null", anything))


def fits(answer: object, shown: object) -> bool:
    match shown, answer:
        case dict(), dict():
            return shown.keys() == answer.keys() and all(fits(answer[key], inner) for key, inner in shown.items())
        case [one], list():
            return all(fits(item, one) for item in answer)
        case _:
            return shown is None


def test_another_shape_is_seen() -> None:
    assert fits({"apps": [{"app": "shop"}]}, {"apps": [{"app": None}]})
    assert not fits({"apps": [{"app": "shop", "more": 1}]}, {"apps": [{"app": None}]})
    assert not fits({"apps": [{}]}, {"apps": [{"app": None}]})
