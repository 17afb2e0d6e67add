"""`nanod metrics`: what the daemon hands on of apps, and asks anew each time of a short-lived process."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from nanod.cli import console, host
from nanod.cli.options import verb
from nanod.daemon.metrics import Family, exposition, states
from nanod.errors import ExitCode
from nanod.host import facts
from nanod.status import Health, look

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nanod.status import AppStatus, ServiceStatus

    Sample = tuple[Mapping[str, str], float]

_VERDICTS = ("healthy", "recovered", "removed", "failed", "interrupted", "degraded", "unfinished", "other")


@verb("metrics", "nanod metrics", hidden=True, for_users=False)
def command() -> int:
    """Print what is known of apps as OpenMetrics, without the mark of its end."""
    facts.require_systemd("show metrics")
    here = host.here()
    intents = here.store.intents()
    apps, entries = [], {}
    for name in here.store.apps():
        manifest = here.store.manifest(name)
        if manifest:
            apps.append(look(manifest, here.systemd, here.journal, here.store, intent=intents.get(name)))
            entries[name] = next((item for item in reversed(here.store.history(name)) if item.get("verdict")), {})
    console.out(exposition([*of_services(apps), *of_hooks(apps), *of_applies(apps, entries)]))
    return ExitCode.OK


def of_services(apps: list[AppStatus]) -> Iterator[Family]:
    found = [(_labels(app, item), item) for app in apps for item in app.services]
    health = [sample for labels, item in found for sample in states("nanod_service_health", labels, item.health, Health)]
    yield Family(name="nanod_service_health", kind="stateset", help="How a service is, in the words of nanod status.", samples=tuple(health))
    up: list[Sample] = [(labels, float(item.state.is_up)) for labels, item in found]
    yield Family(name="nanod_service_up", kind="gauge", help="1 while its unit is active.", samples=tuple(up))
    restarts: list[Sample] = [(labels, item.detail.restarts) for labels, item in found]
    text = "Restarts by systemd after a failure, since somebody started it last."
    yield Family(name="nanod_service_restarts", kind="counter", help=text, samples=tuple(restarts))
    since: list[Sample] = [(labels, item.since / 1e6) for labels, item in found if item.since]
    name = "nanod_service_active_since_seconds"
    yield Family(name=name, kind="gauge", unit="seconds", help="Since when it is up, in seconds since the epoch.", samples=tuple(since))


def of_hooks(apps: list[AppStatus]) -> Iterator[Family]:
    """Of the last run of each."""
    ran = [
        ({**_labels(app, item), "phase": hook.hook.phase, "hook": hook.hook.name}, hook.record)
        for app in apps
        for item in app.services
        for hook in item.hooks
        if hook.record
    ]
    seconds: list[Sample] = [(labels, record.duration_ms / 1000) for labels, record in ran]
    yield Family(name="nanod_hook_duration_seconds", kind="gauge", unit="seconds", help="How long its last run took.", samples=tuple(seconds))
    status: list[Sample] = [(labels, record.status) for labels, record in ran]
    yield Family(name="nanod_hook_status", kind="gauge", help="Exit status of its last run; 124 when its timeout cut it.", samples=tuple(status))
    ended: list[Sample] = [(labels, record.at / 1e6) for labels, record in ran]
    name = "nanod_hook_end_time_seconds"
    yield Family(name=name, kind="gauge", unit="seconds", help="When its last run ended, in seconds since the epoch.", samples=tuple(ended))


def of_applies(apps: list[AppStatus], entries: Mapping[str, Mapping[str, object]]) -> Iterator[Family]:
    """Of the last transaction of each app, as its history has it."""
    generation: list[Sample] = [({"app": app.app}, app.generation) for app in apps]
    yield Family(name="nanod_app_generation", kind="gauge", help="The generation in force.", samples=tuple(generation))
    healthy: list[Sample] = [({"app": app.app}, float(app.is_healthy)) for app in apps]
    yield Family(name="nanod_app_healthy", kind="gauge", help="1 while all of its services are well.", samples=tuple(healthy))
    results: list[Sample] = []
    times: list[Sample] = []
    for app, entry in entries.items():
        verdict = str(entry.get("verdict", ""))
        if verdict:
            results += states("nanod_apply_result", {"app": app}, verdict if verdict in _VERDICTS else "other", _VERDICTS)
        with suppress(ValueError):
            times.append(({"app": app}, datetime.fromisoformat(str(entry.get("at", ""))).timestamp()))
    yield Family(name="nanod_apply_result", kind="stateset", help="How the last transaction ended.", samples=tuple(results))
    name = "nanod_apply_time_seconds"
    yield Family(name=name, kind="gauge", unit="seconds", help="When the last transaction ended, in seconds since the epoch.", samples=tuple(times))


def _labels(app: AppStatus, item: ServiceStatus) -> dict[str, str]:
    return {"app": app.app, "service": item.name, "unit": item.unit}
