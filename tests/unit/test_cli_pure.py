"""check, compile, explain, schema, completion: what needs nothing but the spec."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nanod.cli import console, flow, options
from nanod.cli.app import VERBS, main
from nanod.host import facts
from nanod.phases import PHASES, TASKS
from nanod.scope import RuntimeScope
from nanod.spec.schema import SCHEMA

_GOOD = """\
project: shop
environments:
  stage: {services: {web: {environment: {STAGE: "yes"}}}}
services:
  web:
    command: [/bin/sleep, infinity]
    user: root
    volume: /srv/shop
    provisioning: {install: "true", inputs: [lock]}
"""
_WARNED = "project: shop\nservices: {web: {command: [/bin/sleep, infinity], working_dir: /}}\n"
_BAD = "project: shop\nservices:\n  web: {comand: x, health: {tcp: 6379, timeout: soon}}\n"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(_GOOD)
    return path


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_check_of_a_good_spec(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(spec)]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (f"{spec}: ok, 1 service\n", "")
    assert main(["check", "--json", "-e", "stage", str(spec)]) == 0
    assert _json(capsys) == {"spec": str(spec), "ok": True, "diagnostics": []}


def test_check_of_a_bad_spec_shows_all_errors_at_once(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(_BAD)
    assert main(["check", str(spec)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{spec}:3:9: error: " in shown.err
    assert "    3 |   web: {comand: x" in shown.err
    assert "^^^^^^" in shown.err
    assert "must be a time span" in shown.err
    assert shown.err.splitlines()[-1].startswith("nanod: ")
    assert main(["check", "--json", str(spec)]) == 2
    found = _json(capsys)
    assert found["ok"] is False
    assert len(found["diagnostics"]) >= 2
    assert {item["line"] for item in found["diagnostics"]} == {3}


def test_check_strict_takes_warnings_for_errors(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(_WARNED)
    assert main(["check", str(spec)]) == 0
    shown = capsys.readouterr()
    assert ": warning: " in shown.err
    assert shown.out == f"{spec}: ok, 1 service, 1 warning\n"
    assert main(["check", "--strict", str(spec)]) == 2
    assert capsys.readouterr().out == ""
    assert main(["check", "--strict", "--json", str(spec)]) == 2
    assert _json(capsys)["ok"] is False


def test_check_says_the_same_on_every_machine(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(facts, "systemd_version", look)
    monkeypatch.setattr(facts, "digests", look)
    assert main(["check", str(spec)]) == 0


@pytest.mark.parametrize("verb", ["check", "compile", "explain", "plan", "rehearse"])
def test_a_spec_that_cannot_be_read(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(facts, "is_systemd", lambda: True)
    assert main([verb, str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml: No such file or directory" in capsys.readouterr().err
    assert main([verb, str(tmp_path)]) == 1
    assert "cannot read" in capsys.readouterr().err


def test_a_bad_spec_is_not_even_booted_for(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(_BAD)
    assert main(["rehearse", str(spec)]) == 2
    assert "must be a time span" in capsys.readouterr().err


def test_a_spec_from_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(_WARNED.encode())))
    assert main(["check", "-"]) == 0
    assert "<stdin>:2:" in capsys.readouterr().err


def test_compile_prints_a_section_for_each_unit(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "--systemd-version", "252", str(spec)]) == 0
    shown = capsys.readouterr().out
    names = [line.removeprefix("# ---- ") for line in shown.splitlines() if line.startswith("# ---- ")]
    assert names == ["nanod-shop.slice", "shop-web-provision.service", "shop-web.service", "shop.target"]
    assert shown.endswith("Role=target\n")


def test_compile_gives_the_same_bytes_from_any_directory(spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = set()
    for directory, name in ((spec.parent, "shop.yaml"), (Path("/"), str(spec)), (Path("/usr"), f"..{spec}")):
        monkeypatch.chdir(directory)
        assert main(["compile", "--json", "--systemd-version", "252", name]) == 0
        found.add(capsys.readouterr().out)
    assert len(found) == 1
    assert json.loads(found.pop())["app"] == "shop"


def test_compile_writes_one_file_for_each_unit(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "units"
    assert main(["compile", "-e", "stage", "-o", str(out), str(spec)]) == 0
    assert capsys.readouterr().out == ""
    assert "shop-stage-web.service" in {path.name for path in out.iterdir()}
    assert "Environment=STAGE=yes" in (out / "shop-stage-web.service").read_text()
    (tmp_path / "file").write_text("")
    assert main(["compile", "-o", str(tmp_path / "file" / "x"), str(spec)]) == 1
    assert "cannot write units to " in capsys.readouterr().err


def test_compile_is_for_the_systemd_here_or_the_oldest(spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = flow.check(str(spec), env=None).spec
    assert loaded is not None
    monkeypatch.setattr(facts, "systemd_version", lambda: 257)
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/systemctl")
    assert flow.target(loaded, None).version == 257
    assert flow.target(loaded, 254).version == 254
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert flow.target(loaded, None).version == 252
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/systemctl")
    monkeypatch.setattr(facts, "systemd_version", lambda: 249)
    assert main(["compile", str(spec)]) == 1
    assert "cannot compile for systemd 249: nanod needs 252 or newer" in capsys.readouterr().err


def test_compile_knows_the_content_of_inputs(spec: Path, tmp_path: Path) -> None:
    spec.write_text(_GOOD.replace("[lock]", f"[{tmp_path}/lock]"))

    def sentinel() -> str:
        units, _ = flow.compiled(str(spec), env=None, version=252)
        return units.unit("shop-web-provision.service").values("Unit", "ConditionPathExists")[0]

    found = [sentinel()]
    for content in ("1", "2", "1"):
        (tmp_path / "lock").write_text(content)
        found.append(sentinel())
    assert found[1] == found[3]
    assert len(set(found)) == 3


def test_explain_shows_the_lifecycle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    assert "What runs again?" in capsys.readouterr().out
    assert main(["explain", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| phase | when |")
    assert main(["explain", "--json"]) == 0
    assert len(_json(capsys)["phases"]) == len(PHASES) + len(TASKS)


def test_explain_of_a_spec_names_the_line_behind_every_line(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(spec), "shop-web.service"]) == 0
    shown = capsys.readouterr().out
    assert "# ---- shop-web.service" in shown
    assert "provision.service\n" not in shown.splitlines()[0]
    assert f"{spec}:8:5  ReadWritePaths=/srv/shop" in shown
    assert main(["explain", "--json", str(spec), "web"]) == 0
    assert set(_json(capsys)["units"]) == {"shop-web.service", "shop-web-provision.service"}
    assert main(["explain", "--json", str(spec)]) == 0
    assert len(_json(capsys)["units"]) == 4
    assert main(["explain", "--json", str(spec), "shop-web"]) == 0
    assert set(_json(capsys)["units"]) == {"shop-web.service"}
    assert main(["explain", str(spec), "nope"]) == 2
    assert "cannot explain 'nope': no such service or unit in shop\nhint: services are: web\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["shop-web.service", "web"], "nanod explain shop-web.service"),
        (["-e", "stage"], "nanod explain SPEC"),
        (["-e", "stage", "shop"], "an app's own are on record"),
        (["--markdown", "shop.yaml"], "nanod explain --markdown"),
    ],
)
def test_explain_of_half_a_question_says_the_whole_one(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *words]) == 2
    assert capsys.readouterr().err.endswith(f"\nhint: {hint}\n")


def test_explain_of_a_service_is_all_that_it_goes_through(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(spec), "web"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"web of shop, as {spec} says\n\nOn the way up\n  install  ")
    assert "\n    ExecStart=:/bin/sleep infinity\n" in shown or "\n    ExecStart=:/usr/bin/env --ignore-signal=HUP /bin/sleep infinity\n" in shown
    assert main(["explain", "--json", str(spec), "web"]) == 0
    found = _json(capsys)
    assert (found["app"], found["service"]) == ("shop", "web")
    assert [step["phase"] for step in found["timeline"]] == ["install", "main", "signal", "gone"]


def test_schema_is_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert _json(capsys) == SCHEMA


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_NANOD_COMPLETE" in capsys.readouterr().out


def _completed(words: str, *, index: int) -> list[str]:
    environment = {**os.environ, "_NANOD_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
    done = subprocess.run([sys.executable, "-m", "nanod"], env=environment, capture_output=True, text=True, check=False)
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_verbs_options_and_values_are_completed() -> None:
    assert _completed("nanod ", index=1) == list(VERBS)
    assert "--detailed-exitcode" in _completed("nanod plan --", index=2)
    assert _completed("nanod rehearse --network ", index=3) == ["private", "host"]


def test_apps_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def names(incomplete: str) -> list[str]:
        return [item.value for item in options.AppName().shell_complete(None, None, incomplete)]  # type: ignore[arg-type]

    monkeypatch.setattr(options, "current", lambda _: RuntimeScope(state=str(tmp_path)))
    assert names("") == []
    for name in ("shop", "blog", "shop-stage"):
        (tmp_path / "apps" / name).mkdir(parents=True)
    assert names("") == ["blog", "shop", "shop-stage"]
    assert names("sh") == ["shop", "shop-stage"]


def test_compile_shows_a_terminal_no_character_that_it_would_obey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text('project: shop\nservices: {web: {command: "true", user: root, sandbox: off, description: "a \\u202e b"}}\n')
    assert main(["compile", str(path)]) == 0
    assert "a \u202e b" in capsys.readouterr().out, "a file gets the very bytes"
    monkeypatch.setattr(console, "is_terminal", lambda _: True)
    assert main(["compile", str(path)]) == 0
    assert "a \\u202e b" in capsys.readouterr().out


def test_a_file_name_does_nothing_to_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "\x1b]0;x\x07.yaml"
    path.write_text('project: shop\nservices: {web: {command: "true", user: root, sandbox: off}}\n')
    for verb in ("check", "compile"):
        assert main([verb, str(path)]) == 0
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err
