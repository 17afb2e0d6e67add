"""What all verbs share: the start, usage errors, exit codes, how errors look, output that cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

from nanod import __version__
from nanod.cli import app, console
from nanod.cli.app import VERBS, main
from nanod.diagnostics import Mark, Report
from nanod.errors import BusyError, NanodError, SpecError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

_NANOD = (sys.executable, "-m", "nanod")


def _run(*words: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_NANOD, *words], capture_output=True, text=True, check=False, **how)


def _verb(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    """The verb `check` becomes one that only raises."""

    @click.command("check")
    @click.option("--json", is_flag=True)
    def command(**_: object) -> int:
        if error:
            raise error
        return 3

    monkeypatch.setattr(app.Verbs, "get_command", lambda *_: command)


def test_version_is_answered_without_click() -> None:
    code = "import sys; sys.argv = ['nanod', '--version']; from nanod.__main__ import main; main(); sys.exit('click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"nanod {__version__}\n")


def test_version_among_other_words_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version", "check"]) == 0
    assert capsys.readouterr().out == f"nanod {__version__}\n"


@pytest.mark.parametrize(
    ("verb", "heavy"),
    [
        ("check", ("pystemd", "jsonschema", "nanod.apply", "nanod.host.systemd", "nanod.rehearse")),
        ("plan", ("pystemd", "jsonschema", "nanod.rehearse")),
    ],
)
def test_a_verb_imports_nothing_that_others_need(verb: str, heavy: tuple[str, ...]) -> None:
    code = f"import sys; from nanod.cli.app import main; main(['{verb}', '/dev/null']); print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_verb_is_wrong_usage_and_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(f"  {verb} " in shown.err for verb in VERBS)


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["chekc"], "No such command 'chekc'. Did you mean 'check'?"),
        (["web"], "No such command 'web'.\n"),
        (["apply", "--root", "/nowhere", "x.yaml"], "Directory '/nowhere' does not exist"),
        (["check"], "Missing argument 'SPEC'"),
        (["check", "--nonsense", "x.yaml"], "No such option"),
        (["check", "a.yaml", "b.yaml"], "unexpected extra argument"),
        (["compile", "--systemd-version", "251", "x.yaml"], "251 is not in the range"),
        (["apply", "--settle", "soon", "x.yaml"], "must be a time span"),
        (["apply", "--lock-timeout", "-1", "x.yaml"], "must be a time span"),
        (["rehearse", "--network", "none", "x.yaml"], "'none' is not one of"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
        (["remove"], "Missing argument 'APP'"),
    ],
)
def test_wrong_usage_exits_with_2(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert text in shown.err
    assert main([*words, "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out)["error"]["kind"] == "usage"


def test_the_exit_code_is_the_verb_s(monkeypatch: pytest.MonkeyPatch) -> None:
    _verb(monkeypatch, None)
    assert main(["check"]) == 3


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (NanodError("cannot start shop-web: \x1b[2J", hint="try \x07 harder"), 1, "refused"),
        (UsageError("cannot explain 'x'"), 2, "usage"),
        (BusyError("busy: held by pid 7 (nanod apply shop.yaml)"), 5, "busy"),
    ],
)
def test_a_refusal_is_a_line_and_a_hint(
    error: NanodError, code: int, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _verb(monkeypatch, error)
    assert main(["check"]) == code
    shown = capsys.readouterr()
    hint = "hint: try \\x07 harder\n" if error.hint else ""
    assert (shown.out, shown.err) == ("", f"nanod: {error.message}\n{hint}".replace("\x1b", "\\x1b"))
    assert main(["check", "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert found == {"error": {"kind": kind, "message": error.message, "hint": error.hint, "diagnostics": []}}


def test_a_wrong_spec_shows_every_finding_with_its_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.error(Mark("a.yaml", 2, 4, 7), "no \x1b such thing", "services.web")
    report.warning(Mark("a.yaml", 1, 1, 2), "odd")
    _verb(monkeypatch, SpecError(report, {"a.yaml": "one\ntwo three\n"}))
    assert main(["check"]) == 2
    assert capsys.readouterr().err.split("\n") == [
        "a.yaml:1:1: warning: odd",
        "    1 | one",
        "      | ^",
        "a.yaml:2:4: error: no \\x1b such thing",
        "    2 | two three",
        "      |    ^^^   services.web",
        "nanod: 1 error, 1 warning",
        "",
    ]
    assert main(["check", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)["error"]
    assert found["kind"] == "spec"
    assert [(item["line"], item["severity"]) for item in found["diagnostics"]] == [(1, "warning"), (2, "error")]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_exits_with_130(error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _verb(monkeypatch, error)
    assert main(["check"]) == 130
    assert capsys.readouterr().err.strip() == "nanod: interrupted"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    _verb(monkeypatch, ZeroDivisionError("bug"))
    with pytest.raises(ZeroDivisionError):
        main(["check"])


def test_json_after_two_dashes_is_not_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rehearse", "--network", "none", "x.yaml", "--", "--json"]) == 2
    assert "is not one of" in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    with subprocess.Popen([*_NANOD, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.close()
        assert started.stderr.read() == b""
    assert started.returncode == 1


def test_a_full_disk_is_said() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run([*_NANOD, "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "nanod: cannot write to standard output: No space left on device\n")


@pytest.mark.parametrize(("closed", "shown"), [("<&-", ("", True)), (">&-", ("", True)), ("2>&-", ("", False))])
def test_a_closed_stream_costs_only_its_text(closed: str, shown: tuple[str, bool]) -> None:
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *_NANOD, "check", "/nowhere"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, "cannot read /nowhere" in done.stderr) == (1, *shown)


def test_a_name_that_is_no_utf8_and_a_terminal_of_ascii_cost_no_command(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/b\xe4d.yaml")
    done = _run("check", name, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert done.stderr.startswith("nanod: cannot read ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "is_coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_colours_follow_terminal_and_no_color(environment: dict[str, str], *, is_coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "123")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert console.style().colour is is_coloured
    assert console.style().width == 123
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert not console.style().colour
