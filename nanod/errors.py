"""What can go wrong outside of a spec, and the exit codes of every command.

    NanodError                     the host refused                       exit 1
    ├── UsageError                 the command line was wrong             exit 2
    ├── SpecError                  the spec was wrong (carries a Report)  exit 2
    ├── NeededError                another app requires what would go     exit 1
    ├── ChangedError               the spec is not the one that was meant     exit 1
    ├── BuildError                 a release could not be built           exit 4
    ├── BusyError                  another nanod holds the lock           exit 5
    └── DegradedError              what was done could not be undone      exit 6

A wrong spec is data (`nanod.diagnostics`), collected and shown all at once; a refusing host is an exception. Text has the form
"cannot X: cause", lower case and without a full stop; the hint, what to do next, is kept apart from it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nanod.diagnostics import Report


class ExitCode(IntEnum):
    """Exit codes of all commands; `docs/commands.md` repeats this table."""

    OK = 0
    REFUSED = 1
    BAD_SPEC = 2
    CHANGES_PENDING = 3
    FAILED = 4
    BUSY = 5
    DEGRADED = 6
    INTERRUPTED = 130


class NanodError(Exception):
    """The host refused; `message` says "cannot X: cause", `hint` what the reader can do about it."""

    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED
    kind: ClassVar[str] = "refused"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def more(self) -> Mapping[str, object]:
        """What `--json` says beside kind, message and hint."""
        return {}


class UsageError(NanodError):
    exit_code = ExitCode.BAD_SPEC
    kind = "usage"


class SpecError(NanodError):
    """The spec is wrong; every finding is in `report`, and `sources` has the text of the files that it names, for carets.

    `apps`: those that are not, or not yet, as it requires them.
    """

    exit_code = ExitCode.BAD_SPEC
    kind = "spec"

    def __init__(self, report: Report, sources: Mapping[str, str] | None = None, apps: Sequence[str] = ()) -> None:
        super().__init__("the spec has errors")
        self.report = report
        self.sources = sources or {}
        self.apps = tuple(apps)

    @property
    def more(self) -> Mapping[str, object]:
        return {"apps": list(self.apps)} if self.apps else {}


class NeededError(NanodError):
    """Services of other apps, `apps`, would be left without what they require."""

    kind = "needed"

    def __init__(self, message: str, apps: Sequence[str], *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.apps = tuple(apps)

    @property
    def more(self) -> Mapping[str, object]:
        return {"apps": list(self.apps)}


class ChangedError(NanodError):
    kind = "changed"


class BuildError(NanodError):
    """The build of a release failed, and nothing else was touched; `lines` are the last that it printed."""

    exit_code = ExitCode.FAILED
    kind = "build"

    def __init__(self, message: str, lines: Sequence[str], *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.lines = tuple(lines)

    @property
    def more(self) -> Mapping[str, object]:
        return {"lines": list(self.lines)}


class BusyError(NanodError):
    exit_code = ExitCode.BUSY
    kind = "busy"


class DegradedError(NanodError):
    """The host is neither old nor new; `left` says exactly what is not as it was."""

    exit_code = ExitCode.DEGRADED
    kind = "degraded"

    def __init__(self, message: str, left: Sequence[str], *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.left = tuple(left)

    @property
    def more(self) -> Mapping[str, object]:
        return {"left": list(self.left)}
