"""OpenMetrics text (https://prometheus.io/docs/specs/om/open_metrics_spec/, 1.0): families of samples, and nothing about where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
EOF = "# EOF\n"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Family(NamedTuple):
    """`kind`: gauge, counter, stateset or info. `samples`: labels to value; of a stateset the label of the family's name is the state."""

    name: str
    kind: str
    help: str
    samples: tuple[tuple[Mapping[str, str], float], ...]
    unit: str = ""

    def text(self) -> str:
        """Nothing for a family without samples."""
        if not self.samples:
            return ""
        head = [f"# TYPE {self.name} {self.kind}"]
        if self.unit:
            head.append(f"# UNIT {self.name} {self.unit}")
        head.append(f"# HELP {self.name} {self.help.translate(_ESCAPES)}")
        suffix = {"counter": "_total", "info": "_info"}.get(self.kind, "")
        return "".join(f"{line}\n" for line in [*head, *(f"{self.name}{suffix}{_labels(labels)} {_number(value)}" for labels, value in self.samples)])


def states(name: str, labels: Mapping[str, str], current: str, possible: Iterable[str]) -> list[tuple[Mapping[str, str], float]]:
    """The samples of one thing in a stateset."""
    return [({**labels, name: state}, 1.0 if state == current else 0.0) for state in possible]


def exposition(families: Iterable[Family]) -> str:
    """Without the end mark, so that others can follow."""
    return "".join(family.text() for family in families)


def _labels(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
