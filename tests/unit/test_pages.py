"""How pages are read, compared and written: what tests/lab/test_docs.py and tools/pages rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pages import Shown, commands, read
from tests.shown import Played, is_whole, masked, misspelt, settled

if TYPE_CHECKING:
    from pathlib import Path

PAGE = """# Page

<!-- in: /srv/shop -->
<!-- file: shop.yaml
services: {}
-->

Look with `nanod status`.

```console
$ nanod plan shop.yaml
shop: took 3ms
two lines
$ true
```

<!-- shows: nanod schema -->
```json
{}
```

<!-- not run: a picture -->
```text
o-o
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_a_page_is_its_blocks_with_the_comments_before_them(page: Path) -> None:
    found = [(block.kind, block.line, block.mark and (block.mark.word, block.mark.value)) for block in read(page)]
    assert found == [
        ("hidden", 4, ("in", "/srv/shop")),
        ("hidden", 5, ("file", "shop.yaml")),
        ("prose", 8, None),
        ("console", 11, None),
        ("json", 19, ("shows", "nanod schema")),
        ("text", 24, ("not run", "a picture")),
    ]


def test_what_is_to_be_run_comes_in_its_order_with_what_it_prints(page: Path) -> None:
    shown = [(item.command, item.output) for block in read(page) for item in commands(block)]
    assert shown == [("nanod plan shop.yaml", "shop: took 3ms\ntwo lines\n"), ("true", ""), ("nanod schema", "{}\n")]


def played(page: Path, *outputs: str) -> Played:
    shown: list[Shown] = [item for block in read(page) for item in commands(block)]
    return Played(shown=list(zip(shown, outputs, strict=True)))


def test_another_time_is_no_difference_and_another_word_is(page: Path) -> None:
    assert played(page, "shop: took 1min 3s\ntwo lines\n", "", "{}\n").differences() == ""
    difference = played(page, "shop: took 3ms\nthree lines\n", "", "{}\n").differences()
    assert "-two lines" in difference
    assert "+three lines" in difference
    assert "page.md:11: nanod plan shop.yaml" in difference


def test_a_page_is_written_with_what_came_out_and_nothing_else_changes(page: Path) -> None:
    assert played(page, "shop: took 9ms\ntwo lines\n", "", "{}\n").page() == PAGE
    changed = played(page, "shop: took 9ms\ntwo lines\nthree\n", "said\n", "[]\n").page()
    assert changed == PAGE.replace("took 3ms\ntwo lines\n$ true\n", "took 9ms\ntwo lines\nthree\n$ true\nsaid\n").replace("{}\n```", "[]\n```")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("web  run  healthy  3s       pid 7, tcp", "web  run  healthy  1min 12s  pid 4711, tcp"),
        ("shop: healthy (2 services, 5.4 s)", "shop: healthy (2 services, 61.0 s)"),
        ("'nanod apply --expect ae18d389c1027a2a' does this", "'nanod apply --expect 515ce5a351ac7d02' does this"),
        ("2026-11-21T23:46:49+00:00  apply", "2027-01-02T03:04:05+00:00  apply"),
        ("ok  prestart/1  took 10ms, 6s ago", "ok  prestart/1  took 1s, 2min 1s ago"),
        ("Nov 21 10:49:07 web | up", "Dec 01 00:00:00 web | up"),
    ],
)
def test_what_is_another_one_each_time_is_masked(one: str, other: str) -> None:
    assert masked(one) == masked(other)


@pytest.mark.parametrize(
    ("one", "other"), [("gives up after 1min", "gives up after 2min"), ("tcp 127.0.0.1:6379", "tcp 127.0.0.1:6380"), ("generation 1", "generation 2")]
)
def test_what_nanod_decides_is_not_masked(one: str, other: str) -> None:
    assert masked(one) != masked(other)


def test_lines_that_were_written_over_are_gone() -> None:
    assert settled("\r\x1b[Kweb: waiting\r\x1b[Kweb: up\r\n\r\x1b[Kshop: healthy\r\r\n") == "web: up\nshop: healthy\n"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("nanod status", True),
        ("nanod explain shop web", True),
        ("nanod schema > nanod.schema.json", True),
        ("nanod apply", False),
        ("nanod rollback APP [N]", False),
        ("nanod --user doctor", False),
        ("systemctl restart shop-web", True),
        ("systemctl restart", False),
        ("node server.js", False),
    ],
)
def test_a_command_within_a_text_is_run_when_nothing_is_missing(text: str, whole: bool) -> None:
    assert is_whole(text) is whole


def test_a_command_that_is_misspelt_is_seen() -> None:
    assert misspelt("nanod apply --settle 0 SPEC") == ""
    assert misspelt("nanod aply shop.yaml") == "no verb 'aply'"
    assert misspelt("nanod apply --setle 0 SPEC") == "no option --setle"
