"""/etc/nanod/daemon.yaml as text: its schema, and every mistake in it with its line. For a command; the running daemon knows `config` alone."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from nanod.daemon.config import Config
from nanod.spec import accept, source
from nanod.spec.read import flag, written
from nanod.spec.read import text as read_text
from nanod.spec.shapes import BOOLEAN, TIME, Shape, any_of, mapping, number, said, text
from nanod.spec.tree import Findings, Place, Text
from nanod.values import TimeSpan

if TYPE_CHECKING:
    from nanod.diagnostics import Report

_DEFAULT: Final = Config()
_PATH = text("an absolute path without '.' and '..'", r"(?:/(?!\.{1,2}(?:/|$))[^/\x00-\x1f\x7f]+)+")
_ADDRESS = any_of(
    "a port, or a loopback address and a port such as '127.0.0.1:9469'",
    number("a port", 1, 65535),
    text("an address and a port", r"(?:[0-9.]+|\[[0-9a-f:]+\]|localhost):[0-9]{1,5}"),
)
SCHEMA: Final[Shape] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **mapping(
        "a mapping of settings",
        {
            "specs": said(_PATH, "The directory whose *.yaml are applied; only a restart changes it.", _DEFAULT.specs),
            "socket": said(_PATH, "Where root asks the daemon; only a restart changes it.", _DEFAULT.socket),
            "debounce": said(TIME, "How long nothing must happen to a spec before it is applied.", "200ms"),
            "heal": said(BOOLEAN, "Apply once more what was changed by hand.", _DEFAULT.heal),
            "metrics": said(_ADDRESS, "Where OpenMetrics can be got over HTTP; nowhere by default."),
        },
    ),
}
_LONGEST_DEBOUNCE = TimeSpan.seconds(2)


def read(file: str, raw: bytes, report: Report) -> tuple[Config, str]:
    """The configuration, defaults where nothing is said or it is wrong, and the text; what is wrong goes to `report`."""
    found = source.read(file, raw, report)
    if found.root is None:
        # A file of nothing but comments is what a package may bring.
        return _DEFAULT, found.text
    root, findings = Place(Text(file, found.text, found.span), found.root), Findings(report)
    if not accept.compiled(SCHEMA)(found.root):
        from nanod.spec import words  # noqa: PLC0415  (jsonschema takes 60 ms to import, and only a mistake needs it)

        words.explain(root, SCHEMA, findings)
    if report.has_errors:
        return _DEFAULT, found.text
    host, port = _address(root, findings)
    config = Config(
        specs=read_text(root, "specs") or _DEFAULT.specs,
        socket=read_text(root, "socket") or _DEFAULT.socket,
        debounce=_debounce(root, findings),
        heal=flag(root, "heal"),
        metrics_host=host,
        metrics_port=port,
    )
    return config, found.text


def _debounce(root: Place, findings: Findings) -> float:
    said_there = root.get("debounce")
    if said_there is None:
        return _DEFAULT.debounce
    span = TimeSpan.parse(written(said_there))
    if span.usec > _LONGEST_DEBOUNCE.usec:
        findings.error(root, f"'debounce' must be at most {_LONGEST_DEBOUNCE}, not {span}", "debounce")
    return span.usec / 1_000_000


def _address(root: Place, findings: Findings) -> tuple[str, int]:
    value = root.get("metrics")
    if value is None:
        return "", 0
    if isinstance(value, int):
        return "127.0.0.1", value
    host, _, port = str(value).rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        findings.error(root, f"'metrics' must have an address, and {host} is none", "metrics")
        return "", 0
    if not is_loopback:
        findings.error(root, f"'metrics' must be of loopback, not {host}: what runs here is nobody's business elsewhere", "metrics")
    if not 0 < int(port) < 1 << 16:
        findings.error(root, f"'metrics' must have a port from 1 to 65535, not {port}", "metrics")
    return host, int(port)
