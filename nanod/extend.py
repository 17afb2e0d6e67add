"""What a plug-in is: a policy, which looks at what was compiled, or a feature, a block under `features:` that adds to a service.

Both are values that the compiler is given; docs/extending.md shows how a package brings them. A plug-in decides from what it is given alone: it reads
no file, no clock and no environment, so that a spec compiles to the same units each time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from nanod.diagnostics import Severity
from nanod.errors import NanodError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from nanod.diagnostics import Mark
    from nanod.spec.model import Service, Where
    from nanod.units.unitfile import UnitFile
    from nanod.units.unitset import Role

LEVELS: Final = "policies"
"""The one block under `features:` that is no plug-in's: policies by name, and what becomes of their warnings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One compiled unit file, and what it was made from.

    `row` is its name in status and history: `web`, `web@2` for an instance, `web/log` for a task. `service` holds the keys that the unit runs with,
    `whole` the service of the spec that it belongs to: the two differ for tasks, processes and instances.
    """

    app: str
    env: str | None
    row: str
    role: Role
    service: Service
    whole: Service
    unit: UnitFile


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a plug-in has to say, at a place of the spec: `subject.service.at("stop", "timeout")`."""

    severity: Severity
    message: str
    at: Mark


def warn(message: str, at: Mark) -> Opinion:
    """The spec is applied all the same, and may silence this."""
    return Opinion(Severity.WARNING, message, at)


def refuse(message: str, at: Mark) -> Opinion:
    """Nothing is applied."""
    return Opinion(Severity.ERROR, message, at)


class Policy(Protocol):
    @property
    def name(self) -> str:
        """As a spec calls it: small letters, digits and dashes."""

    def check(self, subject: Subject) -> Iterable[Opinion]:
        """Called for each unit file of each service. What is said several times at one place is shown once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What a service says to a feature. `said` has passed its schema; `at` is the place of the block, `at("size")` that of a key in it."""

    app: str
    env: str | None
    service: Service
    said: Mapping[str, object]
    at: Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What a feature adds to a service, in the words of a spec. What the service itself says wins.

    `environment`: variables of the service, its hooks and its tasks. `tasks`: as under `tasks:`, so each is a unit of its own. Sidecars start in the
    order of the features in the spec, and stop in the reverse one. `opinions`: what the schema cannot say.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    opinions: tuple[Opinion, ...] = ()


class Feature(Protocol):
    @property
    def name(self) -> str:
        """The key under `features:`."""

    @property
    def schema(self) -> Mapping[str, object]:
        """JSON Schema (2020-12) of the block. A `title` completes "must be …" in errors: "a number of megabytes"."""

    def add(self, block: Block) -> Addition:
        """Called once for each service that has the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugins:
    """All that a compilation may use. `origins`: by `policy NAME` and `feature NAME`, the package and version that it comes from."""

    policies: tuple[Policy, ...] = ()
    features: tuple[Feature, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def called(self, kind: str, name: str) -> str:
        """In an error: `the policy 'naming' of nanod-acme 1.2`."""
        origin = self.origins.get(f"{kind} {name}")
        return f"the {kind} '{name}'" + (f" of {origin}" if origin else "")


class Guard:
    """Around code of a plug-in: whatever it raises becomes a NanodError that names it, and the line."""

    def __init__(self, plugins: Plugins, kind: str, name: str) -> None:
        self.plugins, self.kind, self.name = plugins, kind, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, (Exception, SystemExit)) and not isinstance(error, NanodError):
            words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            file = trace.tb_frame.f_code.co_filename if trace is not None else "<nowhere>"
            # A file that cannot be read as Python is named in the words; the place is in Python itself then.
            hint = f"raised at {file}:{trace.tb_lineno}" if trace is not None and not file.startswith("<") else ""
            called = self.plugins.called(self.kind, self.name)
            raise NanodError(f"cannot use {called}: {' '.join(words.split())}", hint=hint) from error
