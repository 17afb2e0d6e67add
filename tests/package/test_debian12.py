from __future__ import annotations

from tests.package.life import Life


class TestDebian12(Life):
    suite = "bookworm"
