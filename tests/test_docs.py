"""What the pages show is true: specs load, and files and links exist. The language page has a test of its own beside the schema's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nanod.compile import Target, compile_spec
from nanod.spec.load import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def blocks(page: Path) -> list[tuple[int, str]]:
    """Each YAML block of a page with the line that it begins at."""
    text = page.read_text()
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in BLOCK.finditer(text)]


SHOWN = [pytest.param(page, text, id=f"{page.name}:{line}") for page in PAGES if page.name != "language.md" for line, text in blocks(page)]


@pytest.mark.parametrize(("page", "text"), SHOWN)
def test_every_spec_that_is_shown_loads(page: Path, text: str) -> None:
    loaded = load(f"{page.stem.lower()}.yaml", text, directory="/etc/nanod")
    assert [item.message for item in loaded.report] == []
    assert loaded.spec is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links {target}"


def test_the_unit_in_the_readme_is_what_its_spec_compiles_to() -> None:
    text = (ROOT / "README.md").read_text()
    spec = load("hello.yaml", blocks(ROOT / "README.md")[0][1], directory="/etc/nanod").spec
    assert spec is not None
    units, _ = compile_spec(spec, Target())
    assert units is not None
    made = units.unit("hello-web.service").render().splitlines()
    shown = re.findall(r"^```ini\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0].splitlines()
    assert [line for line in shown if line] == [line for line in made if line and line in shown], "the same lines in the same order"


def test_the_readme_has_what_the_page_of_a_project_needs() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") < 120
    assert blocks(ROOT / "README.md")
    for command in ("tools/demo", "tools/test"):
        assert command in text
        assert (ROOT / command).stat().st_mode & 0o111, f"{command} can be run"
