"""Records of a host, for the tests of what shows them."""

from __future__ import annotations

from nanod.state import Intent

INTENT = Intent(
    app="shop",
    action="apply",
    generation=4,
    before=3,
    staged=True,
    at="2026-01-02T03:04:05+00:00",
    command="nanod apply shop.yaml",
    unit_dir="/etc/systemd/system",
    files={},
    links={},
    directories=(),
    stamps={},
    new_stamps=(),
    units={},
    reloads=(),
)
"""An apply of `shop` that has begun."""
