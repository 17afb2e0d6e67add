"""/etc/nanod/daemon.yaml: every mistake with its line, and what a reload may change."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nanod.cli.app import main
from nanod.cli.daemon import read_config
from nanod.daemon.config import Config, ConfigError, require_reloadable
from nanod.daemon.document import SCHEMA, read
from nanod.diagnostics import Report
from nanod.errors import NanodError, SpecError

PAGE = Path(__file__).parents[2] / "docs/daemon.md"


def config(text: str) -> Config:
    report = Report()
    found, _ = read("daemon.yaml", text.encode(), report)
    assert [str(item.message) for item in report] == []
    return found


def mistakes(text: str) -> list[str]:
    report = Report()
    read("daemon.yaml", text.encode(), report)
    return [f"{item.mark.line}:{item.mark.column} {item.message}" for item in report]


def test_what_it_may_say() -> None:
    assert config("") == config("# nothing\n") == Config()
    assert config("{specs: /srv/specs, socket: /run/x, debounce: 500ms, heal: true, metrics: '[::1]:9469'}") == Config(
        specs="/srv/specs", socket="/run/x", debounce=0.5, heal=True, metrics_host="::1", metrics_port=9469
    )
    assert (config("metrics: 80").metrics_host, config("metrics: localhost:80").metrics_port) == ("127.0.0.1", 80)
    assert config("debounce: 0").debounce == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("spec: /x", ["1:1 unknown key 'spec': did you mean 'specs'?"]),
        (
            "heal: maybe\ndebounce: soon",
            ["1:7 'heal' must be true or false, not 'maybe'", "2:11 'debounce' must be a time span such as '30s', '5min' or '1h 30min', not 'soon'"],
        ),
        ("specs: specs.d", ["1:8 'specs' must be an absolute path without '.' and '..', not 'specs.d'"]),
        ("socket: /run/../x", ["1:9 'socket' must be an absolute path without '.' and '..', not '/run/../x'"]),
        ("debounce: 1min", ["1:11 'debounce' must be at most 2s, not 1min"]),
        ("metrics: 0.0.0.0:80", ["1:10 'metrics' must be of loopback, not 0.0.0.0: what runs here is nobody's business elsewhere"]),
        ("metrics: 127.0.0.1:99999", ["1:10 'metrics' must have a port from 1 to 65535, not 99999"]),
        ("metrics: 999.0.0.1:80", ["1:10 'metrics' must have an address, and 999.0.0.1 is none"]),
        ("heal: true\nheal: false", ["2:1 the key 'heal' is written twice, first on line 1, again on line 2"]),
        ("- heal", ["1:1 a spec must be a mapping of settings, not a list"]),
    ],
)
def test_what_it_may_not_say(text: str, expected: list[str]) -> None:
    assert mistakes(text) == expected


def test_the_page_shows_every_key_and_a_configuration_that_is_right() -> None:
    blocks = re.findall(r"^```yml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    assert config(blocks[0]) == Config(metrics_host="127.0.0.1", metrics_port=9469)
    assert re.findall(r"^(\w+):", blocks[0], re.MULTILINE) == list(SCHEMA["properties"])


def test_a_file_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "daemon.yaml"
    assert read_config(str(path)) == Config()
    path.write_text("heal: 1\n")
    with pytest.raises(SpecError):
        read_config(str(path))
    path.chmod(0o666)
    with pytest.raises(NanodError, match="is writable by others"):
        read_config(str(path))
    path.unlink()
    path.mkdir()
    with pytest.raises(NanodError, match="not a regular file"):
        read_config(str(path))


def test_the_daemon_reads_what_its_child_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["daemon", "--check", "--json"]) == 0
    assert Config.of_json(capsys.readouterr().out) == Config()
    place = {"file": "/etc/nanod/daemon.yaml", "line": 1, "column": 7, "severity": "error", "message": "no"}
    for text, expected in (
        (json.dumps({"error": {"kind": "spec", "message": "m", "diagnostics": [place]}}), "/etc/nanod/daemon.yaml:1:7: error: no"),
        (json.dumps({"error": {"kind": "refused", "message": "cannot read it", "diagnostics": []}}), "cannot read it"),
        ("Traceback", "cannot read /etc/nanod/daemon.yaml: 'nanod daemon --check' gave no answer"),
    ):
        with pytest.raises(ConfigError) as wrong:
            Config.of_json(text)
        assert wrong.value.lines == (expected,)


def test_what_only_a_restart_changes() -> None:
    require_reloadable(Config(), Config(heal=True, debounce=1, metrics_port=1, metrics_host="127.0.0.1"))
    with pytest.raises(ConfigError, match=r"cannot change 'specs' \(/etc/nanod/specs.d to /x\) by a reload"):
        require_reloadable(Config(), Config(specs="/x"))
