"""Texts that somebody could put into a spec: seeded, so that a failure can be had again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

_CONTROLS = [chr(code) for code in (*range(0x20), 0x7F, 0x85, 0x9B)]
_PIECES = [
    *(piece for piece in "a b c X 0 9 é 漢 😀 /".split()),
    *" \t%$\\\"';#=:@!|+-~[]{}()<>&*?,.^`",
    *("%n", "%%", "%Z", "%h", "%%%", "%", "$A", "${A}", "$$", "$", "\\", "\\\\", "\\x25", "\\n", "\\;", '"', '""', "''", "'", "  "),
    *(";", " ; ", "[Install]", "\n[Service]\n", "#x", "=x", "\nExecStartPre=+/bin/touch /pwned\n", "\rExecStop=/bin/x", "\\\n", "\u2028", "\ufeff"),
    *("\u00a0", "\u202e", "..", "//", "/./", "/../", "\U0010fffd", "\ue000"),
]
_UNREADABLE = ["\0", "\ud800", "\udcff", "\ufffe", "\ufdd0", "\U0001ffff"]
FIRST = [
    *(
        ";",
        "\\;",
        "#",
        "#x",
        "[Install]",
        "=",
        "=x",
        ":",
        ":x",
        "-",
        "-x",
        "--",
        "@x",
        "+x",
        "!x",
        "!!x",
        "|x",
        "~",
        "~x",
        "'",
        '"',
        '"-x"',
        "''",
        '""',
    ),
    *(
        "$A",
        "${A}",
        "$$",
        "%n",
        "%%",
        "%Z",
        "%",
        "100%",
        "\\",
        "a\\",
        "a\\\\",
        "\\x2b",
        "\\x25n",
        "\\n",
        " ",
        " a",
        "a ",
        "\t",
        "\n",
        "\r",
        "a\nb",
        "a\rb",
    ),
    *(
        "\u00a0",
        "\u2003a",
        "\ufeffa",
        "é",
        "x=y",
        "/",
        "//",
        "",
        "true",
        "yes",
        "0",
        "a b",
        "a;b",
        "a ;b",
        "; b",
        "a ; b",
        "\x01",
        "\x1b[0m",
        "\x7f",
        "'a b'",
    ),
]
"""Each a way to be read as something else."""


def _any_letter(random: Random) -> str:
    code = random.randrange(0x20, 0x110000)
    return chr(code if code & 0xFFFE != 0xFFFE and not (0xD800 <= code < 0xE000 or 0xFDD0 <= code < 0xFDF0) else 0x41)


def text(random: Random, unreadable: float = 0.03) -> str:
    """`unreadable`: how often it holds what no unit file can."""
    kind = random.random()
    if kind < 0.15:
        return random.choice(FIRST)
    pieces = random.choices(_PIECES, k=random.randint(0, 9))
    if kind < 0.4:
        pieces += random.choices(_CONTROLS, k=random.randint(1, 2))
    if random.random() < unreadable:
        pieces.append(random.choice(_UNREADABLE))
    if kind > 0.9:
        pieces += [_any_letter(random) for _ in range(random.randint(1, 4))]
    random.shuffle(pieces)
    return "".join(pieces)


def line(random: Random) -> str:
    """Mostly without what no single line can say."""
    found = text(random)
    return found if random.random() < 0.1 else "".join(letter for letter in found if letter.isprintable()).strip()


def path(random: Random) -> str:
    """Mostly a path that systemd can be told."""
    found = "/" + "/".join(part for part in (line(random).replace("/", "") for _ in range(random.randint(1, 3))) if part not in ("", ".", ".."))
    return found if random.random() < 0.9 else text(random)
