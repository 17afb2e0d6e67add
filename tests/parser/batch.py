"""Many values at once through UnitBuilder, systemd's parser, and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanod.diagnostics import Mark, Report
from nanod.units.unitfile import UnitBuilder, parse
from tests.parser.oracle import environment_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.parser.oracle import Dump, Parser

MARK = Mark("spec.yaml", 1, 1, 2)


@dataclass(slots=True)
class Meant:
    """One unit, and what it is meant to say. A value that the builder refuses is not meant, and is counted."""

    name: str
    builder: UnitBuilder
    said: dict[str, list[object]] = field(default_factory=dict)
    refused: list[object] = field(default_factory=list)
    refused_keys: set[str] = field(default_factory=set)

    @classmethod
    def unit(cls, number: int = 0) -> Meant:
        name = f"nanod-parser-{number}.service"
        meant = cls(name, UnitBuilder(name=name, service="x", head="a comment that ends in \\", report=Report()))
        meant.exec("ExecStart", ["/bin/true"])
        return meant

    def one(self, section: str, key: str, value: str) -> None:
        self._add(key, value, lambda: self.builder.raw(section, key, value, MARK))

    def many(self, section: str, key: str, values: Sequence[str]) -> None:
        self._add(key, list(values), lambda: self.builder.words(section, key, values, MARK))

    def exec(self, key: str, argv: Sequence[str], prefix: str = "") -> None:
        self._add(key, list(argv), lambda: self.builder.exec(key, argv, MARK, prefix))

    def _add(self, key: str, value: object, write: Callable[[], None]) -> None:
        before = len(self.builder.report)
        write()
        if len(self.builder.report) == before:
            self.said.setdefault(key, []).append(value)
        else:
            self.refused.append(value)
            self.refused_keys.add(key)

    def mismatches(self, dump: Dump | None) -> list[str]:
        if dump is None:
            return [f"{self.name}: systemd does not have it"]
        text = self.builder.finish().render()
        found = []
        if [item.text for item in self.builder.finish().directives] != [text for _, _, text in parse(text)]:
            found.append(f"{self.name}: parse() does not give back what render() wrote")
        return found + differences(self.name, self.said, dump)


def differences(name: str, said: Mapping[str, list[object]], dump: Dump) -> list[str]:
    """Between what is meant, by key, and what systemd reads."""
    found = []
    for key, values in said.items():
        if key in _READ:
            got, wanted = _READ[key](dump, values)
            if got != wanted:
                found.append(f"{name}: {key}: {_first_difference(wanted, got)}")
    if dump.environment and "Environment" not in said:
        found.append(f"{name}: has an environment that nobody asked for")
    return found + [f"{name}: has {key}= that nobody asked for" for key in dump.commands_written if key not in said]


def read_back(parser: Parser, units: Sequence[Meant]) -> list[str]:
    """What systemd read otherwise than it was meant, and all that it complained of; empty when all is well."""
    reading = parser.read({unit.name: unit.builder.finish().render() for unit in units})
    found = [f"systemd: {complaint}" for complaint in reading.complaints]
    for unit in units:
        found.extend(unit.mismatches(reading.dumps.get(unit.name)))
    return found


def _first_difference(wanted: object, got: object) -> str:
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for one, other in zip(wanted, got, strict=True):
            if one != other:
                return _first_difference(one, other)
    return f"meant {wanted!r:.500}, systemd reads {got!r:.500}"


def _lines(key: str) -> Callable[[Dump, list[object]], tuple[object, object]]:
    return lambda dump, values: (dump.values(key), values)


def _last(key: str) -> Callable[[Dump, list[object]], tuple[object, object]]:
    return lambda dump, values: (dump.values(key), values[-1:])


def _commands(key: str) -> Callable[[Dump, list[object]], tuple[object, object]]:
    return lambda dump, values: (dump.commands(key), values)


def _flat(values: list[object]) -> list[str]:
    return [word for words in values if isinstance(words, list) for word in words]


def _joined(key: str) -> Callable[[Dump, list[object]], tuple[object, object]]:
    """All on one line of the dump, apart by blanks, which may be part of a path too."""
    return lambda dump, values: (" ".join(dump.values(key)), " ".join(_flat(values)))


def _sorted(key: str) -> Callable[[Dump, list[object]], tuple[object, object]]:
    return lambda dump, values: (sorted(dump.values(key)), sorted(_flat(values)))


def _names(key: str) -> Callable[[Dump, list[object]], tuple[object, object]]:
    return lambda dump, values: (set(_flat(values)) - dump.names(key), set())


def _mounts(dump: Dump, values: list[object]) -> tuple[object, object]:
    got = {value.removesuffix(" (origin-file)") for value in dump.values("RequiresMountsFor")}
    return set(_flat(values)) - got, set()


def _environment(dump: Dump, values: list[object]) -> tuple[object, object]:
    return dump.environment, environment_text(_flat(values))


_READ: dict[str, Callable[[Dump, list[object]], tuple[object, object]]] = {
    "ConditionPathExists": lambda dump, values: (dump.conditions(), values),
    "RequiresMountsFor": _mounts,
    "Environment": _environment,
    "EnvironmentFile": _lines("EnvironmentFile"),
    "ReadWritePaths": _joined("ReadWritePaths"),
    **{key: _last(key) for key in ("Description", "WorkingDirectory", "User", "Group", "Slice")},
    **{key: _sorted(key) for key in ("RuntimeDirectory", "StateDirectory", "CacheDirectory")},
    **{key: _commands(key) for key in ("ExecStartPre", "ExecStart", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost")},
    **{key: _names(key) for key in ("Wants", "Requires", "BindsTo", "PartOf", "After", "Before", "Conflicts", "OnFailure")},
}
"""(what systemd reads, what is meant) of each key that the dump shows; the others are asked for over D-Bus, in tests/lab."""
