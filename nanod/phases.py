"""THE lifecycle table: the compiler, `nanod explain`, the documentation and the tests read it, and nothing else knows these facts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nanod.values import TimeSpan


class OnFailure(StrEnum):
    """What a failed hook does: `fail` halts its service, `warn` shows in verdict, status and history, `ignore` in history only."""

    FAIL = "fail"
    WARN = "warn"
    IGNORE = "ignore"


class Context(StrEnum):
    """Where a hook runs: `host` outside the service's sandbox and mount namespace, `service` inside; both as the service's user."""

    HOST = "host"
    SERVICE = "service"


class Scope(StrEnum):
    """How often a prestart hook runs: at every process start, or once per content of its service."""

    START = "start"
    DEPLOY = "deploy"


class Listing(StrEnum):
    """How the hooks of one phase follow one another."""

    STOP_AT_ERROR = "in order, stop at first error"
    IN_ORDER = "in order"
    ALL = "in order, all"
    ALL_REVERSED = "reversed, all"
    ONE = "one script"
    PARALLEL = "in parallel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One row. `timeout` bounds one hook; `shared` says that the hooks of the phase share it as one deadline.

    `rerun` answers, in this order, whether the phase runs again after a crash restart, a stop and start, a reboot, and a redeploy.
    """

    name: str
    when: str
    default: OnFailure
    allowed: tuple[OnFailure, ...]
    context: Context
    timeout: TimeSpan
    listing: Listing
    rerun: tuple[str, str, str, str]
    directive: str
    scope: Scope | None = None
    shared: bool = False
    is_list: bool = True
    warn_after: TimeSpan | None = None
    """A hook that runs longer than this, and that nothing limits, says so in the journal."""


FAIL, WARN, IGNORE = OnFailure.FAIL, OnFailure.WARN, OnFailure.IGNORE
_span = TimeSpan.parse

# fmt: off
PHASES: tuple[Phase, ...] = (
    Phase(
        name="install", when="once per volume and content", default=FAIL, allowed=(FAIL,), context=Context.HOST, timeout=_span("30min"),
        listing=Listing.ONE, rerun=("no", "no", "no", "if content changed"), directive="<app>-<service>-provision.service", is_list=False,
    ),
    Phase(
        name="build", when="release inputs changed", default=FAIL, allowed=(FAIL,), context=Context.HOST, timeout=_span("1h"),
        listing=Listing.ONE, rerun=("no", "no", "no", "if changed"), directive="transient unit", is_list=False,
    ),
    Phase(
        name="prestart", when="before each start", default=FAIL, allowed=(FAIL, WARN, IGNORE), context=Context.HOST, timeout=_span("5min"),
        listing=Listing.STOP_AT_ERROR, rerun=("yes", "yes", "yes", "if restarted"), directive="ExecStartPre=", scope=Scope.START,
    ),
    Phase(
        name="prestart", when="once per content of the service", default=FAIL, allowed=(FAIL,), context=Context.HOST, timeout=_span("5min"),
        listing=Listing.STOP_AT_ERROR, rerun=("no", "no", "no", "if changed"), directive="<app>-<service>-prestart.service", scope=Scope.DEPLOY,
    ),
    Phase(
        name="poststart", when="process up and healthy", default=WARN, allowed=(FAIL, WARN, IGNORE), context=Context.HOST, timeout=_span("1min"),
        listing=Listing.IN_ORDER, rerun=("yes", "yes", "yes", "if restarted"), directive="ExecStartPost=",
    ),
    Phase(
        name="ready", when="after poststart, asynchronous", default=WARN, allowed=(WARN, IGNORE), context=Context.HOST, timeout=TimeSpan.FOREVER,
        listing=Listing.IN_ORDER, rerun=("yes", "yes", "yes", "if restarted"), directive="<app>-<service>-ready.service",
    ),
    Phase(
        name="deploy", when="new release, before it takes requests", default=WARN, allowed=(FAIL, WARN, IGNORE), context=Context.HOST,
        timeout=TimeSpan.FOREVER, listing=Listing.ONE, rerun=("no", "no", "no", "if changed"), directive="<app>-<service>-deploy.service",
        is_list=False, warn_after=_span("10min"),
    ),
    Phase(
        name="post_deploy", when="after the release takes requests", default=WARN, allowed=(WARN, IGNORE), context=Context.HOST,
        timeout=TimeSpan.FOREVER, listing=Listing.ONE, rerun=("no", "no", "no", "every redeploy"), directive="<app>-<service>-post-deploy.service",
        is_list=False, warn_after=_span("10min"),
    ),
    Phase(
        name="reload", when="SIGHUP, systemctl reload, reload_on", default=FAIL, allowed=(FAIL,), context=Context.SERVICE, timeout=_span("30s"),
        listing=Listing.STOP_AT_ERROR, rerun=("-", "-", "-", "-"), directive="ExecReload=",
    ),
    Phase(
        name="prestop", when="before the stop signal", default=WARN, allowed=(WARN, IGNORE), context=Context.SERVICE, timeout=_span("30s"),
        listing=Listing.ALL_REVERSED, rerun=("no", "yes", "yes", "if restarted"), directive="ExecStop=", shared=True,
    ),
    Phase(
        name="poststop", when="after the last process is gone", default=WARN, allowed=(WARN, IGNORE), context=Context.HOST, timeout=_span("90s"),
        listing=Listing.ALL, rerun=("yes", "yes", "yes", "if restarted"), directive="ExecStopPost=",
    ),
)
TASKS: tuple[Phase, ...] = (
    Phase(
        name="prestart sidecar", when="before tasks and mains, beside them", default=FAIL, allowed=(FAIL,), context=Context.SERVICE,
        timeout=TimeSpan.FOREVER, listing=Listing.PARALLEL, rerun=("runs on", "yes", "yes", "if changed"),
        directive="<app>-<service>-<task>.service",
    ),
    Phase(
        name="prestart task", when="before the mains", default=FAIL, allowed=(FAIL, WARN), context=Context.SERVICE, timeout=_span("1h"),
        listing=Listing.PARALLEL, rerun=("no", "yes", "yes", "if changed"), directive="<app>-<service>-<task>.service",
    ),
    Phase(
        name="poststart task", when="once all mains are up", default=FAIL, allowed=(FAIL, WARN), context=Context.SERVICE, timeout=_span("1h"),
        listing=Listing.PARALLEL, rerun=("no", "yes", "yes", "if changed"), directive="<app>-<service>-<task>.service",
    ),
    Phase(
        name="poststart sidecar", when="once all mains are up, beside them", default=WARN, allowed=(WARN,), context=Context.SERVICE,
        timeout=TimeSpan.FOREVER, listing=Listing.PARALLEL, rerun=("runs on", "yes", "yes", "if changed"),
        directive="<app>-<service>-<task>.service",
    ),
    Phase(
        name="poststop task", when="the whole group has ended", default=WARN, allowed=(WARN, FAIL), context=Context.SERVICE, timeout=_span("1h"),
        listing=Listing.PARALLEL, rerun=("no", "yes", "yes", "no"), directive="<app>-<service>-<task>.service",
    ),
)
"""Of a service with `tasks`. The crash is that of a main, and stop and start are those of the group."""
# fmt: on
HOOK_PHASES: tuple[str, ...] = tuple(dict.fromkeys(phase.name for phase in PHASES if phase.name != "install"))


def phase_of(name: str, scope: Scope = Scope.START) -> Phase:
    """The row of a phase; `scope` matters to prestart alone. Raises KeyError for a word that is no phase."""
    for phase in (*PHASES, *TASKS):
        if phase.name == name and phase.scope in (None, scope):
            return phase
    raise KeyError(name)
