"""The manual pages against the code, and as man and mandoc see them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from nanod import __version__
from nanod.cli.app import HIDDEN, VERBS, nanod
from nanod.daemon.config import PATH as CONFIG
from nanod.daemon.config import Config
from nanod.errors import ExitCode
from nanod.lifecycle.signals import ENDING
from nanod.scope import SYSTEM
from nanod.status import Health
from tools.man import files, language, pages, roff

ROOT = Path(__file__).parents[2]
MADE = files.made()
PAGES = {Path(path).name: text for path, text in MADE.items() if path.startswith("man/")}


def shown(text: str) -> str:
    """Roff as words: what is escaped is written out, and nothing is bold."""
    for escape, character in {r"\-": "-", r"\(aq": "'", r"\(dq": '"', r"\(ga": "`", r"\e": "\\", r"\&": ""}.items():
        text = text.replace(escape, character)
    return re.sub(r"\\f[BIPR]", "", text)


COMMANDS, SPEC, DAEMON = (shown(PAGES[name]) for name in ("nanod.1", "nanod.spec.5", "nanod-daemon.8"))


def below(page: str, title: str) -> str:
    """What stands under a heading, up to the next one of its level."""
    found = re.search(rf"^(\.S[HS]) {re.escape(title)}\n(.*?)(?=^\.SH |^\1 |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found[2]


def terms(text: str) -> list[str]:
    return re.findall(r"^\.TP\n(.*)", text, re.MULTILINE)


def options_of(verb: str) -> set[str]:
    command = nanod.get_command(click.Context(nanod), verb)
    assert command is not None
    found = [item for item in command.params if isinstance(item, click.Option) and not item.hidden]
    return {word for item in found for word in (*item.opts, *item.secondary_opts)}


def listed(text: str) -> set[str]:
    return {word for term in terms(text) for word in re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", term)}


@pytest.mark.parametrize("verb", [*VERBS, "recover"])
def test_each_command_has_its_options_and_no_other(verb: str) -> None:
    titles = re.findall(rf"^\.SS (nanod {verb}(?: .*)?)$", COMMANDS, re.MULTILINE)
    assert len(titles) == 1
    assert listed(below(COMMANDS, titles[0])) == options_of(verb)


def test_the_commands_are_those_of_the_code() -> None:
    found = re.findall(r"^\.SS nanod ([a-z]+)", below(COMMANDS, "COMMANDS"), re.MULTILINE)
    assert set(found) == {*VERBS, "recover"}
    assert "recover" in HIDDEN


def test_options_of_all_commands() -> None:
    root = {word for item in nanod.get_params(click.Context(nanod, **nanod.context_settings)) for word in item.opts}
    assert listed(below(COMMANDS, "OPTIONS")) == root


def test_exit_status() -> None:
    codes = below(COMMANDS, "EXIT STATUS").partition("Of nanod run")[0]
    assert {int(term) for term in terms(codes)} == {int(code) for code in ExitCode}
    assert {"124", "125", "130"} <= set(terms(below(COMMANDS, "EXIT STATUS")))


def test_words_of_health() -> None:
    assert {word for term in terms(below(COMMANDS, "HEALTH")) for word in term.split(", ")} == {str(word) for word in Health}


def constants(*directories: str) -> set[str]:
    trees = [ast.parse(path.read_text()) for name in directories for path in sorted((ROOT / name).glob("*.py"))]
    return {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def variables(path: Path) -> set[str]:
    """Names that a module asks the environment for."""
    text = path.read_text()
    asked = re.findall(r"(?:environ(?:\.get\(|\[)|getenv\()[\"']([A-Z_]+)[\"'](?!\] = )", text) + re.findall(r"[\"'](XDG_[A-Z_]+)[\"']", text)
    return {*asked, *(["COLUMNS"] if "get_terminal_size" in text else [])}


def test_variables_are_those_that_the_code_reads() -> None:
    inside = {"probe.py", "lifecycle"}  # they run in units, whose variables systemd sets
    modules = [path for path in sorted((ROOT / "nanod").rglob("*.py")) if not inside & set(path.relative_to(ROOT / "nanod").parts)]
    read = {name for path in modules for name in variables(path)}
    assert {name for term in terms(below(COMMANDS, "ENVIRONMENT")) for name in term.split(", ")} == read


def test_files_are_those_of_the_code() -> None:
    ours = re.compile(r"/(?:etc|run|var/lib)/nanod/[a-z.-]+")
    sources = [path for place in ("nanod", "units") for path in sorted((ROOT / place).rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    used = {path for source in sources for path in ours.findall(source.read_text()) if not path.endswith(".")}
    told = {path for page in (COMMANDS, DAEMON) for term in terms(below(page, "FILES")) for path in ours.findall(term)}
    places = (SYSTEM.lib, SYSTEM.once, SYSTEM.stopping, SYSTEM.ended, SYSTEM.lent, SYSTEM.armed("x"), SYSTEM.irreversible_mark("x"))
    used |= {found[0] for place in places if (found := ours.match(place))}
    assert used - told == set()
    assert told - used == {"/var/lib/nanod/digest.key"}, "it is made of two words in the code"


@pytest.mark.parametrize("title", language.SECTIONS)
def test_each_key_of_the_language_has_a_type_a_default_and_a_meaning(title: str) -> None:
    heading = title.strip("`")
    top = {"Top level": "TOP LEVEL", "Service": "SERVICE", "deploy": "DEPLOY"}
    text = below(SPEC, top.get(heading, heading))
    if title in top:
        text = text.partition("\n.SS ")[0]
    for key, shape in language.SECTIONS[title].items():
        found = re.search(rf"^\.TP\n{key}: (.*)\n(.*(?:\n[^.].*)*)", text, re.MULTILINE)
        assert found, key
        assert found[1].startswith(language.kind(shape))
        assert found[2].strip() or title == "`systemd`" or key in {"window", "group"}, f"{key} has a meaning"
        if "default" in shape:
            default = str(shape["default"])
            assert f"default {default.lower() if isinstance(shape['default'], bool) else default}" in found[1], key


def test_what_systemd_and_others_ask_of_the_daemon() -> None:
    assert set(terms(below(DAEMON, "SIGNALS"))) == {"SIGHUP", ", ".join(signal.name for signal in ENDING)}
    metrics = {word for word in constants("nanod/daemon", "nanod/cli") if re.fullmatch(r"nanod_[a-z_]+", word)}
    assert metrics - {word.removesuffix("_total") for word in re.findall(r"nanod_[a-z_]+", below(DAEMON, "METRICS"))} == set(), (
        "OpenMetrics adds the ending"
    )
    assert {f.name for f in (ROOT / "units").iterdir()} == {
        name for term in terms(below(DAEMON, "FILES")) for name in re.findall(r"\S+\.service", term)
    }
    written = re.findall(r"^([a-z]+): ", below(DAEMON, CONFIG), re.MULTILINE)
    assert {key.partition("_")[0] for key in Config._fields} == set(written)


@pytest.mark.parametrize("name", PAGES)
def test_man_and_mandoc_find_nothing_wrong(name: str, tmp_path: Path) -> None:
    page = tmp_path / name
    page.write_text(PAGES[name])
    words = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
    man = subprocess.run(["man", "--warnings", "-l", page], capture_output=True, text=True, check=True, env=words)
    assert man.stderr == ""
    assert "SEE ALSO" in man.stdout
    assert [line for line in man.stdout.splitlines() if len(line) > 80] == [], "it can be read at 80 columns"
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False)
    assert lint.stdout == ""
    assert lint.returncode == 0
    about = subprocess.run(["lexgrog", page], capture_output=True, text=True, check=True)
    assert f'"{name.rpartition(".")[0]} - ' in about.stdout, "apropos finds it"


def test_dates_and_versions_can_be_reproduced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert f'"1970-01-02" "nanod {__version__}"' in files.made()["man/man1/nanod.1"]


def test_a_mark_that_leads_nowhere_is_an_error() -> None:
    with pytest.raises(ValueError, match="no section Nowhere"):
        pages.section("# Here\ntext\n", "Nowhere")
    with pytest.raises(ValueError, match="no table of code"):
        pages.table("# Here\n| other | x |\n", "code")


def test_a_section_ends_at_the_next_of_its_level() -> None:
    text = "# a\n## b\none\n### c\n| x | y |\n|---|---|\n| 1 | 2 |\n\ntwo\n## d\nthree\n"
    assert pages.section(text, "b") == "one\n### c\n| x | y |\n|---|---|\n| 1 | 2 |\n\ntwo\n"
    assert pages.table(text, "x") == "| x | y |\n|---|---|\n| 1 | 2 |\n"


def test_markdown_becomes_roff() -> None:
    text = "# NAME\n\nx - y\n\n# A `b` \\*\n\n- `--c`: *d*\n\n1. e\n\n| f | g | h |\n|---|---|---|\n| i | j | k |\n\n```\n.l 'm'\n```\n\n[n](daemon.md#o), [p](#q)\n"
    made = roff.page("x.1", text, date="2026-01-02", version="z 1", group="w")
    assert '.TH "X" "1" "2026-01-02" "z 1" "w"\n' in made
    assert "\n.SH NAME\nx \\- y\n.SH A B *\n" in made
    assert "\n\\fB\\-\\-c\\fP: \\fId\\fP\n" in made
    assert "\n.TP\ni\n\\fIg\\fP: j; \\fIh\\fP: k\n" in made
    assert "\n.nf\n\\&.l \\(aqm\\(aq\n.fi\n" in made
    assert "\nn (nanod\\-daemon(8)), p\n" in made
    with pytest.raises(ValueError, match="no manual page has a blockquote"):
        roff.page("x.1", "# NAME\n\nx - y\n\n> z\n", date="", version="", group="")


def test_one_command_writes_all_of_them(tmp_path: Path) -> None:
    out = tmp_path / "share"
    subprocess.run([ROOT / "tools" / "manual", out], check=True, env={**os.environ, "PYTHON": sys.executable}, cwd=tmp_path)
    written = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}
    assert set(written) == set(MADE)
    head = (ROOT / "tools" / "manual").read_text().partition("set -eu")[0]
    assert set(re.findall(r"^#     OUT/(\S+)", head, re.MULTILINE)) == set(MADE), "the head of the command says what it makes"
    wrong = subprocess.run([ROOT / "tools" / "manual"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr) == (2, "usage: tools/manual OUT\n")


def test_a_wheel_has_all_of_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    data: dict[str, list[str]] = project["tool"]["setuptools"]["data-files"]
    assert {f"share/{Path(path).parent}": [f"share/{Path(path).parent}/*"] for path in MADE} == data
    assert "graft share\n" in (ROOT / "MANIFEST.in").read_text(), "and the sdist, which wheels are made of"
