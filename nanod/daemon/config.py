"""/etc/nanod/daemon.yaml: what it may say, and what the running daemon makes of it. A child reads the YAML; this knows no more than values."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from nanod.daemon.state import Settings
from nanod.errors import NanodError

PATH = "/etc/nanod/daemon.yaml"
_FIXED = {"specs": "specs", "socket": "socket"}
"""What only a restart changes."""


class Config(NamedTuple):
    """`debounce`: seconds. `metrics`: host and port, both "" and 0 when nobody listens."""

    specs: str = "/etc/nanod/specs.d"
    socket: str = "/run/nanod/control"
    debounce: float = 0.2
    heal: bool = False
    metrics_host: str = ""
    metrics_port: int = 0

    @property
    def settings(self) -> Settings:
        return Settings(directory=self.specs, debounce=self.debounce, heal=self.heal)

    @classmethod
    def of_json(cls, text: str) -> Config:
        """What `nanod daemon --check --json` prints. Raises ConfigError with all that is wrong."""
        try:
            answer: Any = json.loads(text)
        except ValueError:
            answer = None
        if isinstance(answer, dict) and "error" in answer:
            raise ConfigError(tuple(_lines(answer["error"])))
        if not isinstance(answer, dict) or "config" not in answer:
            raise ConfigError((f"cannot read {PATH}: 'nanod daemon --check' gave no answer",))
        return cls(**{key: value for key, value in answer["config"].items() if key in cls._fields})


class ConfigError(NanodError):
    """The configuration is wrong; `lines` are all that is, each with its place."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__(lines[0] if lines else "the configuration is wrong")
        self.lines = lines


def require_reloadable(old: Config, new: Config) -> None:
    """Raises ConfigError for a change that takes a restart: who uses the old directory or socket would be left behind."""
    changed = [word for word, name in _FIXED.items() if getattr(old, name) != getattr(new, name)]
    if changed:
        told = ", ".join(f"'{word}' ({getattr(old, _FIXED[word])} to {getattr(new, _FIXED[word])})" for word in changed)
        raise ConfigError((f"cannot change {told} by a reload: systemctl restart nanod.service does",))


def _lines(error: Any) -> list[str]:
    places = [
        f"{item['file']}:{item['line']}:{item['column']}: {item['severity']}: {item['message']}"
        if item.get("line")
        else f"{item['file']}: {item['message']}"
        for item in error.get("diagnostics", [])
    ]
    return places or [str(error.get("message", "cannot read the configuration"))]
