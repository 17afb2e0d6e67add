"""What a unit is told, and what is made of what it leaves behind."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanod.daemon.state import Result, Running, Verb
from nanod.daemon.work import Work, escape, outcome, unit_of

if TYPE_CHECKING:
    from pathlib import Path

RUN = Running(stem="shop", verb=Verb.APPLY, digest="abc")


@pytest.mark.parametrize("stem", ["shop", "a-b", "a.b:c_d", ".hidden", "ünï", "with blank", "at@home", "x\\y", "a/b"])
def test_names_are_escaped_as_systemd_does_it(stem: str) -> None:
    assert escape(stem) == subprocess.run(["systemd-escape", "--", stem], capture_output=True, text=True, check=True).stdout.strip()


def test_the_unit_of_a_spec() -> None:
    assert unit_of("apply", "my-shop") == r"nanod-apply@my\x2dshop.service"


@pytest.mark.parametrize("stem", ["a*b", "a?b", "a[b", "a\\b", "a\nb", "a ", " a", "a" * 201, "ü" * 60])
def test_names_that_no_unit_can_have(stem: str) -> None:
    with pytest.raises(ValueError, match="its name"):
        unit_of("apply", stem)


@given(
    st.text(
        st.characters(exclude_characters="\n\r\0/*?[\\", exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs", "Cf", "Co", "Cn"]), min_size=1, max_size=20
    )
)
def test_what_a_unit_is_told_is_read_back_by_another_daemon(stem: str) -> None:
    from tempfile import TemporaryDirectory  # noqa: PLC0415  (one for each example)

    with TemporaryDirectory() as place:
        work = Work(place)
        run = Running(stem=stem, verb=Verb.REMOVE, digest="", app="shop", takes_over=len(stem) > 1)
        assert list(work.left()) == []
        work.prepare(run, f"/etc/nanod/specs.d/{stem}.yaml")
        assert list(work.left()) == [run]
        work.clear(run)
        assert list(work.left()) == []


def test_the_environment_file_is_one_that_systemd_understands(tmp_path: Path) -> None:
    Work(str(tmp_path)).prepare(RUN, '/etc/nanod/$HOME/a "b" `c`/shop.yaml')
    assert (tmp_path / "apply-shop.env").read_text() == (
        'SPEC="/etc/nanod/\\$HOME/a \\"b\\" \\`c\\`/shop.yaml"\nDIGEST="abc"\nAPP=""\nSTEM="shop"\nOPTIONS=""\n'
    )


def test_what_an_earlier_run_left_is_not_taken_for_this_one(tmp_path: Path) -> None:
    work = Work(str(tmp_path))
    work.prepare(RUN, "/x")
    (tmp_path / "apply-shop.result").write_text("success exited 0\n")
    (tmp_path / "apply-shop.out").write_text("{}")
    assert work.has_ended(RUN)
    work.prepare(RUN, "/x")
    assert not work.has_ended(RUN)
    assert (tmp_path / "apply-shop.out").read_text() == ""
    assert (tmp_path / "apply-shop.out").stat().st_mode & 0o777 == 0o600, "what a hook prints is not for everybody"


def test_an_outcome_is_read_from_both_files(tmp_path: Path) -> None:
    work = Work(str(tmp_path))
    work.prepare(RUN, "/x")
    (tmp_path / "apply-shop.out").write_text(json.dumps({"app": "shop", "verdict": "healthy", "seconds": 1.5}))
    (tmp_path / "apply-shop.result").write_text("success exited 0\n")
    found = work.outcome(RUN, "now")
    assert (found.result, found.app, found.seconds, found.lines) == (Result.APPLIED, "shop", 1.5, ())


def ended(said: object, status: int, run: Running = RUN) -> tuple[Result, tuple[str, ...]]:
    text = said if isinstance(said, str) else json.dumps(said)
    found = outcome(run, text, result="exit-code" if status else "success", code="exited", status=str(status), at="now")
    return found.result, found.lines


def error(kind: str, message: str = "cannot X: cause", **more: object) -> dict[str, object]:
    return {"error": {"kind": kind, "message": message, "hint": "", "diagnostics": [], **more}}


def test_apps_because_of_which_it_was_refused_are_known() -> None:
    for kind, code in (("needed", 1), ("spec", 2)):
        said = json.dumps(error(kind, apps=["mail", "auth"]))
        found = outcome(Running(stem="shop", verb=Verb.APPLY), said, result="exit-code", code="exited", status=str(code), at="")
        assert (found.result, found.awaits) == (Result.REFUSED, ("mail", "auth"))


def test_what_becomes_of_each_end() -> None:
    place = {"file": "/s.yaml", "line": 3, "column": 5, "severity": "error", "message": "no"}
    assert ended(error("spec", "the spec has errors", diagnostics=[place, {**place, "severity": "warning"}]), 2) == (
        Result.REFUSED,
        ("the spec has errors", "/s.yaml:3:5: error: no"),
    )
    assert ended(error("refused", hint="do this"), 1) == (Result.REFUSED, ("cannot X: cause", "do this"))
    assert ended(error("busy"), 5)[0] is Result.REFUSED
    assert ended(error("changed"), 1)[0] is Result.CHANGED
    assert ended(error("degraded", left=["a.service is not back"]), 6) == (Result.DEGRADED, ("cannot X: cause", "a.service is not back"))
    assert ended(error("build", lines=["make: *** [all] Error 1"]), 4) == (Result.FAILED, ("cannot X: cause", "make: *** [all] Error 1"))
    failed = {
        "app": "shop",
        "verdict": "failed",
        "rolled_back": {"generation": 3, "complete": True, "problems": []},
        "services": [{"service": "web", "status": "failed", "message": "exited with 1"}, {"service": "db", "status": "healthy", "message": "up"}],
    }
    assert ended(failed, 4) == (Result.FAILED, ("failed, generation 3 is back", "web: exited with 1"))
    assert ended({**failed, "rolled_back": {"generation": None, "complete": False, "problems": ["x stays"]}}, 6) == (
        Result.DEGRADED,
        ("failed, it is gone again", "web: exited with 1", "x stays"),
    )
    assert ended(failed, 130) == (Result.KILLED, ("it was interrupted",))
    removing = Running(stem="shop", verb=Verb.REMOVE, app="shop")
    assert ended({"app": "shop", "verdict": "removed"}, 0, removing) == (Result.REMOVED, ())
    assert ended("Traceback (most recent call last):", 1)[0] is Result.FAILED
    assert "'journalctl -u nanod-apply@shop.service' says more" in ended("", 1)[1][0]
    assert ended("[]", 0)[0] is Result.FAILED
    assert ended(failed, 226)[0] is Result.FAILED


@pytest.mark.parametrize(
    ("result", "code", "status", "line"),
    [
        ("signal", "killed", "KILL", "nanod-apply@shop.service: killed by KILL"),
        ("core-dump", "dumped", "SEGV", "nanod-apply@shop.service: dumped by SEGV"),
        ("timeout", "", "", "nanod-apply@shop.service: timeout"),
        ("", "", "", "nanod-apply@shop.service: it left no result"),
    ],
)
def test_what_did_not_end_by_itself_was_killed(result: str, code: str, status: str, line: str) -> None:
    found = outcome(RUN, '{"app": "sh', result=result, code=code, status=status, at="now")
    assert (found.result, found.lines) == (Result.KILLED, (line,))
