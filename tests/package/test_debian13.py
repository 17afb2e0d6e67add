from __future__ import annotations

from tests.package.life import Life


class TestDebian13(Life):
    suite = "trixie"
