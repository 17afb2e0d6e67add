from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from nanod.cli import init
from nanod.cli.app import main
from nanod.compile import Target, compile_spec
from nanod.draft import FILES, Draft, Seen, draft, procfile, valid_name
from nanod.host import facts
from nanod.spec.load import load
from nanod.units.names import SPECIAL_STEMS

if TYPE_CHECKING:
    from pathlib import Path

    from nanod.spec.model import Spec

_PROCFILE = """\
# what runs
web: gunicorn --bind 127.0.0.1:$PORT "shop:app"
Clock_Work:   python clock.py --say 'it''s: late'
no command
release: ./migrate && ./warm
"""


def _spec(made: Draft, directory: str = "/srv/shop") -> Spec:
    """It passes `nanod check`, without so much as a warning of ours."""
    loaded = load("nanod.yaml", made.text, directory=directory)
    assert [item.message for item in loaded.report] == []
    assert loaded.spec is not None
    units, report = compile_spec(loaded.spec, Target())
    assert [item.message for item in report if "runs as root" not in item.message] == []
    assert units is not None
    assert (loaded.spec.project, tuple(loaded.spec.services)) == (made.project, made.services)
    return loaded.spec


def test_lines_of_a_procfile_become_services() -> None:
    made = draft(Seen(directory="/srv/shop", files=frozenset({"Procfile", "package.json"}), procfile=_PROCFILE, owner="ann"))
    spec = _spec(made)
    assert made.source == "Procfile"
    assert list(spec.services) == ["web", "clock-work"]
    web, clock = spec.services.values()
    assert web.command is not None
    assert web.command.text == 'gunicorn --bind 127.0.0.1:$PORT "shop:app"'
    assert clock.command is not None
    assert clock.command.text == "python clock.py --say 'it''s: late'"
    assert (web.ports, clock.ports, web.user) == ((5000,), (), "ann")
    assert web.health is not None
    assert [(hook.name, hook.scope.value, hook.run.text) for hook in web.hooks["prestart"]] == [("release", "deploy", "./migrate && ./warm")]
    assert clock.hooks == {}


def test_what_is_no_process_is_left_out() -> None:
    assert procfile("web:\n: x\n\nweb x\nweb: a\nweb: b\r\n") == {"web": "b"}


@pytest.mark.parametrize(
    ("files", "install", "command"),
    [
        (("package.json",), "npm install", "npm start"),
        (("package.json", "package-lock.json"), "npm ci", "npm start"),
        (("go.mod", "go.sum"), "go build -o server .", "/srv/shop/server"),
        (("Gemfile", "config.ru"), "bundle install", "bundle exec rackup"),
        (("requirements.txt", "app.py"), "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt", ".venv/bin/python app.py"),
        (("pyproject.toml", "manage.py"), "python3 -m venv .venv && .venv/bin/pip install .", ".venv/bin/python manage.py runserver --noreload"),
    ],
)
def test_languages_that_are_known(files: tuple[str, ...], install: str, command: str) -> None:
    assert set(files) <= set(FILES)
    spec = _spec(draft(Seen(directory="/srv/shop", files=frozenset(files), owner="ann")))
    web = spec.services["web"]
    assert web.provisioning is not None
    assert web.provisioning.install.text == install
    assert web.command is not None
    assert command in (web.command.text, web.command.argv[0])


def test_without_any_of_them_there_is_a_spec_to_be_filled_in() -> None:
    made = draft(Seen(directory="/srv/shop"))
    assert made.source == ""
    assert _spec(made).services["web"].dynamic_user


@pytest.mark.parametrize(
    ("seen", "line"),
    [
        (Seen(directory="/d", owner="ann"), 'user: "ann" '),
        (Seen(directory="/d", owner="123"), 'user: "123" '),
        (Seen(directory="/d", owner=""), "dynamic_user: true "),
        (Seen(directory="/d"), "dynamic_user: true "),
        (Seen(directory="/root/d", is_open=False), "user: root "),
        (Seen(directory="/d", files=frozenset({"go.mod"})), "user: root "),
    ],
)
def test_it_runs_as_whose_the_directory_is_and_as_root_last(seen: Seen, line: str) -> None:
    assert f"\n    {line}" in draft(seen).text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("shop", "shop"),
        ("My_Shop.2", "my-shop-2"),
        ("--x--", "x"),
        ("2nd", "app-2nd"),
        ("", "app"),
        ("\u00e4\u00f6", "app"),
        ("a" * 40, "a" * 31),
        ("network", "network-app"),
        ("systemd", "app-systemd"),
        ("nanod-web", "app-nanod-web"),
        ("lock", "lock-app"),
        ("a" * 30 + "-b", "a" * 30),
    ],
)
def test_names_are_made_valid(text: str, name: str) -> None:
    assert valid_name(text) == name


@pytest.mark.parametrize("name", sorted(SPECIAL_STEMS))
def test_no_name_is_one_of_systemd_s(name: str) -> None:
    _spec(draft(Seen(directory=f"/srv/{name}")), f"/srv/{name}")


# The command


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "shop"
    made.mkdir()
    monkeypatch.setattr(facts, "is_systemd", lambda: True)
    return made


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_init_writes_a_spec_that_passes_check_and_says_how_to_go_on(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "Procfile").write_text(_PROCFILE)
    assert main(["init", str(shop)]) == 0
    path = shop / "nanod.yaml"
    assert capsys.readouterr().out == (
        f"{path}: app shop with web, clock-work, from Procfile\nnext: look it over, then nanod check {path} && nanod plan {path}\n"
    )
    assert main(["check", str(path)]) == 0


def test_init_of_this_directory_where_no_systemd_runs(shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(shop)
    monkeypatch.setattr(facts, "is_systemd", lambda: False)
    assert main(["init"]) == 0
    assert "next: look it over, then nanod check nanod.yaml && sudo nanod rehearse nanod.yaml\n" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_init_touches_nothing_that_is_there(kind: str, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shop / "nanod.yaml"
    match kind:
        case "file":
            path.write_text("mine")
        case "link":
            path.symlink_to(shop / "elsewhere")
        case _:
            path.mkdir()
    assert main(["init", str(shop)]) == 1
    assert f"cannot write {path}: it is there already\nhint: --stdout prints" in capsys.readouterr().err
    assert [item.name for item in shop.iterdir()] == ["nanod.yaml"]
    if kind == "file":
        assert path.read_text() == "mine"


def test_init_can_only_print(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--stdout", str(shop)]) == 0
    text = capsys.readouterr().out
    assert load("nanod.yaml", text, directory=str(shop)).spec is not None
    assert main(["init", "--stdout", "--json", str(shop)]) == 0
    assert _json(capsys) == {"spec": None, "project": "shop", "services": ["web"], "source": None, "text": text, "next": []}
    assert list(shop.iterdir()) == []


def test_init_as_data(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "go.mod").write_text("module shop\n")
    assert main(["init", "--json", str(shop)]) == 0
    found = _json(capsys)
    assert found.pop("text") == (shop / "nanod.yaml").read_text()
    path = str(shop / "nanod.yaml")
    assert found == {"spec": path, "project": "shop", "services": ["web"], "source": "go.mod", "next": [f"nanod check {path}", f"nanod plan {path}"]}


@pytest.mark.parametrize("line", ["web: a\\\x01b", f"web: {'x' * 66_000}", "web: a\nweb-ready: b", "shop-web: ~/bin/x 'unclosed", "web: \xff"])
def test_whatever_a_procfile_says_the_spec_passes_check(line: str, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "Procfile").write_text(line, encoding="latin-1")
    assert main(["init", str(shop)]) == 0
    assert main(["check", str(shop / "nanod.yaml")]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_a_procfile_that_a_spec_cannot_say_is_left_out_with_the_reason(shop: Path) -> None:
    seen = Seen(directory=str(shop), files=frozenset({"Procfile"}), procfile="web: a\nweb-ready: b\n")
    made = init.checked(seen)
    assert made.source == ""
    assert "    # Procfile is left out: 'web' and 'web-ready' would both own shop-web-ready.service" in made.text
    _spec(made, str(shop))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_init_where_one_may_not_write(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop.chmod(0o555)
    assert main(["init", str(shop)]) == 1
    assert "cannot write " in capsys.readouterr().err


def test_init_of_no_directory_is_wrong_usage(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(shop / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err
