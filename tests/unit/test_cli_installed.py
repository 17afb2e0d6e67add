"""`explain APP` and `explain UNIT`, from words to what is shown, on a host that only remembers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nanod.cli import flow, host
from nanod.cli.app import main
from nanod.cli.explain import is_spec
from nanod.errors import NanodError
from nanod.host import checkup
from nanod.state import Manifest
from tests.fakes import FakeStore

_SPEC = """\
project: shop
services:
  web:
    command: [/bin/sleep, infinity]
    user: root
    hooks: {prestart: "true"}
"""
_WEB = "shop-web.service"


class _Store(FakeStore):
    """The app `shop`, applied as generation 3 from `spec`."""

    def __init__(self, spec: Path) -> None:
        super().__init__()
        self.warnings: list[str] = []
        self.text: str | None = _SPEC
        spec.write_text(_SPEC)
        units, _ = flow.compiled(str(spec), env=None)
        self.files = {unit.name: unit.render() for unit in units.units}
        self.files["ssh.service"] = "[Service]\nExecStart=/usr/sbin/sshd\n"
        self.manifests["shop"] = Manifest(
            app="shop",
            spec=str(spec),
            env=None,
            generation=3,
            units=dict.fromkeys((unit.name for unit in units.units), "x"),
            links={},
            watched={},
            services={"web": (_WEB,)},
        )

    def generation(self, app: str, number: int) -> tuple[Manifest, dict[str, str], str]:
        if self.text is None:
            raise NanodError(f"cannot read generation {number} of {app}: it is not whole")
        return self.manifests[app], {}, self.text


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Store:
    made = _Store(tmp_path / "shop.yaml")
    monkeypatch.setattr(host, "here", lambda _: SimpleNamespace(store=made))
    monkeypatch.setattr(checkup, "drop_ins", lambda unit, _: ["/etc/x.conf"] if unit == _WEB else [])
    return made


def _explain(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    assert main(["explain", *words]) == 0
    shown = capsys.readouterr()
    return shown.out, shown.err


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(_explain(capsys, "--json", *words)[0])


def test_a_unit_of_the_host_names_the_line_of_the_spec_behind_each_of_its_own(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    spec = store.manifests["shop"].spec
    out, err = _explain(capsys, _WEB)
    assert out.startswith(f"# ---- {_WEB}\n")
    assert f"\n{spec}:6:23  ExecStartPre=" in out
    assert "not of the spec" not in out
    assert err == "nanod: note: /etc/x.conf is a drop-in of the administrator, which wins\n"
    found = _json(capsys, _WEB)
    assert (found["app"], found["generation"], found["source"], list(found["units"])) == ("shop", 3, spec, [_WEB])
    assert all(line["origin"] and line["wanted"] is None for line in found["units"][_WEB])


def test_a_spec_that_changed_since_is_not_what_is_shown(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    spec = Path(store.manifests["shop"].spec)
    spec.write_text("# a line more\n" + _SPEC)
    copy = "/var/lib/nanod/apps/shop/generations/3/spec.yaml"
    out, err = _explain(capsys, _WEB)
    assert f"\n{copy}:6:23  ExecStartPre=" in out
    assert f"note: the spec changed ({spec}): places are those of the text that was applied, {copy}\n" in err
    spec.unlink()
    out, err = _explain(capsys, "shop", "web")
    assert out.startswith(f"web of shop, generation 3, as {copy} says\n")
    assert f"\n    {copy}:6:23, {_WEB}\n" in out
    assert "note: the spec is gone (" in err
    assert _json(capsys, "shop", "web")["source"] == copy


def test_without_the_text_that_was_applied_the_spec_has_to_do(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.text = None
    _, err = _explain(capsys, _WEB)
    assert "as it is now: cannot read generation 3 of shop: it is not whole" in err
    Path(store.manifests["shop"].spec).unlink()
    assert main(["explain", _WEB]) == 1
    assert "cannot explain shop: " in capsys.readouterr().err


def test_a_text_that_compiles_no_more_is_said_at_its_line(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.text = None
    Path(store.manifests["shop"].spec).write_text("project: shop\nservices: {web: {comand: x}}\n")
    assert main(["explain", "shop"]) == 2
    assert "comand" in capsys.readouterr().err


def test_a_spec_of_another_app_explains_nothing(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.text = None
    spec = Path(store.manifests["shop"].spec)
    spec.write_text(_SPEC.replace("project: shop", "project: blog"))
    assert main(["explain", "shop"]) == 1
    assert f"{spec} makes the app blog" in capsys.readouterr().err


def test_an_app_shows_all_its_units_or_a_service_or_a_unit(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(_json(capsys, "shop")["units"]) == set(store.manifests["shop"].units)
    found = _json(capsys, "shop", "web")
    assert set(found["units"]) == {_WEB}
    assert [step["phase"] for step in found["timeline"]] == ["prestart", "main", "signal", "gone"]
    for name in ("shop-web", _WEB):
        found = _json(capsys, "shop", name)
        assert set(found["units"]) == {_WEB}
        assert "timeline" not in found
    assert main(["explain", "shop", "nope"]) == 2
    assert "cannot explain 'nope': no such service or unit in shop\nhint: services are: web\n" in capsys.readouterr().err


def test_an_edited_unit_shows_what_is_not_of_the_spec(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.files[_WEB] = store.files[_WEB].replace("Restart=on-failure", "Restart=always\nOOMPolicy=kill")
    out, _ = _explain(capsys, _WEB)
    assert "the spec makes Restart=on-failure" in out
    assert "OOMPolicy=kill" in next(line for line in out.splitlines() if line.startswith("not of the spec"))


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("ssh.service", "cannot explain ssh.service: nanod did not make it\nhint: systemctl cat ssh.service"),
        ("none.service", "cannot explain none.service: there is no such file in /etc/systemd/system"),
        ("blog", "cannot explain blog: there is no such app here\nhint: apps are: shop"),
        ("shop-web", "cannot explain shop-web: there is no such app here\nhint: for the unit: nanod explain shop-web.service"),
        ("here", "cannot explain here: there is no such app here\nhint: for the file: nanod explain ./here"),
    ],
)
def test_what_is_not_there(store: _Store, word: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    directory = Path(store.manifests["shop"].spec).parent
    (directory / "here").write_text(_SPEC)
    monkeypatch.chdir(directory)
    assert main(["explain", word]) == 1
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("word", ["-", "shop.yaml", "./shop", "/srv/shop", "shop.yml", "shop.json", "x/shop.service"])
def test_a_spec_is_known_by_its_form(word: str) -> None:
    assert is_spec(word)
    assert not is_spec(word.replace("/", "").replace(".", "").replace("-", "x"))
