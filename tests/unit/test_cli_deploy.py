"""`nanod deploy` from words to exit codes, with programs of the test's own for ssh and rsync, and for nanod on the target; and `nanod receive` there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nanod import __version__
from nanod.cli import host
from nanod.cli import receive as receive_verb
from nanod.cli.app import main
from nanod.host import incoming as incoming_module

SSH = """#!/bin/sh
# Runs the line after the target, with the programs beside this one; says that it did.
while [ "$1" != -- ]; do [ "$1" != -O ] || exit 0; shift; done
echo "ssh $2" >>"$LOG"
exec sh -c "$3"
"""
RSYNC = """#!/bin/sh
for word do last=$word; done; [ "$1" = --version ] || echo "rsync $last" $(ls) >>"$LOG"
echo "Number of regular files transferred: 1,234"
"""
NANOD = """#!/bin/sh
case "$*" in
--version) echo "nanod $THEIRS" ;;
"receive open"*) echo "nanod $*" >>"$LOG"; echo /stage ;;
"receive apply"*) echo "nanod $*" >>"$LOG"; echo "$VERDICT"; echo "web: starting" >&2; exit "$STATUS" ;;
*) echo "nanod $*" >>"$LOG" ;;
esac
"""
SPEC = """\
project: shop
services: {web: {command: [/bin/sleep, infinity], user: nobody}}
deploy: {target: me@a, path: /opt/shop}
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the programs were asked, a line each."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("ssh", SSH), ("rsync", RSYNC), ("nanod", NANOD), ("sudo", '#!/bin/sh\nshift\nexec "$@"\n')):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name, value in {"LOG": str(tmp_path / "log"), "THEIRS": __version__, "VERDICT": "shop: healthy", "STATUS": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    (directory / "shop.yaml").write_text(SPEC)
    return directory / "shop.yaml"


def asked(log: Path, word: str) -> list[str]:
    return [line for line in log.read_text().splitlines() if line.startswith(word)]


def test_a_deploy_in_words(log: Path, spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", str(spec)]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == "shop: healthy", "of one target what it says is shown as it is"
    assert shown.out.splitlines()[1].startswith("shop: deployed to me@a (")
    assert shown.err.splitlines() == [
        "me@a: connecting",
        f"me@a: sending {spec.parent}",
        "me@a: sent, 1234 files changed",
        "me@a: nanod apply /opt/shop/shop.yaml",
        "web: starting",
    ]
    assert asked(log, "nanod") == [
        "nanod receive open --project shop -- /opt/shop",
        "nanod receive apply --project shop -- /opt/shop /stage/1 /opt/shop/shop.yaml --redeploy --lock-timeout 1min",
    ]


def test_a_deploy_as_data(log: Path, spec: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERDICT", '{"verdict": "failed"}')
    monkeypatch.setenv("STATUS", "4")
    assert main(["deploy", "--json", "--target", "a", "--target", "b", "--target", "a", str(spec)]) == 4
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert [(item["target"], item["result"], item["apply"]) for item in found["targets"]] == [
        ("a", "failed", {"verdict": "failed"}),
        ("b", "untouched", None),
    ]
    assert found["targets"][0]["error"]["message"] == "cannot deploy to a: 'nanod apply' failed there"
    assert "a: web: starting" in shown.err.splitlines(), "of several each line has its target before it"
    assert "receive apply --project shop --json -- " in asked(log, "nanod receive apply")[0]
    assert asked(log, "nanod receive drop") == ["nanod receive drop -- /opt/shop /stage"] * 2


def test_what_apply_takes_is_passed_on(log: Path, spec: Path) -> None:
    spec.write_text(SPEC + "environments: {stage: {}}\n")
    words = ["-e", "stage", "--settle", "0", "--lock-timeout", "2min", "--rebuild", "--take-over", "--no-rollback"]
    assert main(["deploy", *words, str(spec)]) == 0
    passed = asked(log, "nanod receive apply")[0].partition("shop.yaml ")[2]
    assert passed == "--redeploy --env stage --settle 0s --lock-timeout 2min --rebuild --take-over --no-rollback"


def test_prepare_sees_what_hooks_see_and_its_output_is_news(log: Path, spec: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec.write_text(
        SPEC.replace(
            "path: /opt/shop",
            'path: /opt/shop, prepare: "set -u; echo $LIFECYCLE_PHASE $NANOD_PROJECT $NANOKIT_ENV $NANOKIT_SERVICE $NANOD_RUN_DIR $PWD >built; cat; echo done"',
        )
    )
    assert main(["deploy", str(spec)]) == 0
    assert (spec.parent / "built").read_text() == f"prepare shop default {spec.parent}\n"
    shown = capfd.readouterr()
    assert "done" in shown.err.splitlines()
    assert "done" not in shown.out
    assert asked(log, "rsync") == ["rsync me@a:/stage/1/ shop.yaml", "rsync me@a:/stage/2/ built shop.yaml"]


@pytest.mark.parametrize(("prepare", "status"), [("exit 3", 3), ("kill -TERM $$", 143)])
def test_a_failed_prepare(log: Path, spec: Path, prepare: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(SPEC.replace("path: /opt/shop", f'path: /opt/shop, prepare: "{prepare}"'))
    assert main(["deploy", str(spec)]) == 4
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-2:] == [f"nanod: cannot deploy shop: prepare exited with status {status}", "hint: no target was touched"]
    assert asked(log, "nanod receive apply") == []


def test_a_prepare_that_is_not_there(log: Path, spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(SPEC.replace("path: /opt/shop", "path: /opt/shop, prepare: [./nowhere]"))
    assert main(["deploy", str(spec)]) == 1
    assert "nanod: cannot run" in capsys.readouterr().err
    assert asked(log, "nanod receive apply") == []
    assert asked(log, "nanod receive drop") != []


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("services: {web: {comand: x}}", 2, "unknown key 'comand'"),
        (SPEC.partition("deploy:")[0], 2, "it does not say where to"),
        (SPEC.replace("me@a", "-oProxyCommand=id"), 2, "3:18: error: '-oProxyCommand=id' is not [user@]host"),
        (SPEC.replace("target: me@a", "targets: [a, 'b:22']"), 2, "3:23: error: 'b:22' is not [user@]host"),
        (SPEC.replace("/opt/shop", "/"), 2, "3:30: error: 'path' must be a directory of its own, not '/'"),
        (SPEC.replace("user: nobody", "reload_on: [../x]"), 2, "error: '../x' is outside of the spec's directory, which is all that is sent"),
    ],
)
def test_what_is_wrong_here_is_said_before_anybody_is_asked(
    log: Path, spec: Path, *, text: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec.write_text(text)
    assert main(["deploy", str(spec)]) == code
    assert message in capsys.readouterr().err
    assert main(["deploy", "--json", str(spec)]) == code
    assert json.loads(capsys.readouterr().out)["error"]["kind"] in ("spec", "usage")
    assert log.read_text() == ""


def test_a_target_of_the_command_line_is_looked_at_too(log: Path, spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "--target", "-x", str(spec)]) == 2
    assert main(["deploy", "-"]) == 2
    err = capsys.readouterr().err
    assert "cannot deploy: '-x' is not [user@]host" in err
    assert "from standard input" in err
    assert log.read_text() == ""


def test_a_name_that_is_the_directory_s_would_be_another_there(log: Path, spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = spec.rename(spec.with_name("nanod.yaml"))
    plain.write_text(SPEC.replace("project: shop\n", ""))
    assert main(["deploy", str(plain)]) == 1
    shown = capsys.readouterr().err
    assert "it is 'project' after its directory, and would be 'shop' in /opt/shop\nhint: project: project" in shown
    plain.write_text(SPEC.replace("project: shop\n", "").replace("/opt/shop", "/opt/project"))
    assert main(["deploy", str(plain)]) == 0
    assert log.read_text() != ""


def test_what_nobody_means_to_send(log: Path, spec: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(spec.parent))
    assert main(["deploy", str(spec)]) == 1
    assert f"all of {spec.parent} would be sent" in capsys.readouterr().err
    monkeypatch.setenv("HOME", "/nowhere")
    elsewhere = spec.parent.parent / "elsewhere.yaml"
    spec.rename(elsewhere)
    spec.symlink_to(elsewhere)
    assert main(["deploy", str(spec)]) == 1
    assert "it is a link that leads out of its directory" in capsys.readouterr().err
    assert log.read_text() == ""


@pytest.mark.parametrize("program", ["ssh", "rsync"])
def test_what_this_machine_lacks(log: Path, spec: Path, program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (log.parent / "bin" / program).unlink()
    monkeypatch.setenv("PATH", str(log.parent / "bin"))
    assert main(["deploy", str(spec)]) == 1
    assert f"cannot deploy: {program} is not installed here" in capsys.readouterr().err


def test_an_older_nanod_there(log: Path, spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("THEIRS", "0.0.1")
    assert main(["deploy", str(spec)]) == 1
    shown = capsys.readouterr()
    assert f"cannot deploy to me@a: its nanod 0.0.1 is older than this one, {__version__}" in shown.err
    assert shown.out.startswith("shop: refused on me@a (")
    assert asked(log, "rsync") == []


# The target's side


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host, "require_root", lambda _: None)
    monkeypatch.setattr(incoming_module, "unsafe", lambda _: "")
    made = incoming_module.Incoming
    monkeypatch.setattr(receive_verb, "Incoming", lambda path: made(path, state=str(tmp_path / "state")))
    return tmp_path / "opt"


def test_receive_opens_and_drops(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["receive", "open", "--project", "shop", str(place)]) == 0
    stage = Path(capsys.readouterr().out.strip())
    assert stage.is_dir()
    assert main(["receive", "open", "--json", "--project", "shop", str(place)]) == 0
    other: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (other["path"], Path(other["stage"]).parent) == (str(place), stage.parent)
    assert main(["receive", "drop", "--", str(place), str(stage)]) == 0
    assert not stage.exists()
    assert main(["receive", "drop", "--", str(place), "/etc"]) == 1
    assert main(["receive", "drop", str(place)]) == 2
    assert main(["receive", "apply", str(place), str(stage)]) == 2


def test_receive_is_for_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["receive", "open", "/opt/shop"]) == 1
    assert "cannot receive: only root may do that" in capsys.readouterr().err


def test_the_end_of_the_input_is_an_interrupt() -> None:
    code = "import time; from nanod.cli.receive import _end_with_input; _end_with_input(); print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        running.stdin.close()
        assert running.wait(10) == -2
        assert running.stderr is not None
        assert b"KeyboardInterrupt" in running.stderr.read()
