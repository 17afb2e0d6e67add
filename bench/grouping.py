"""What the start of a service with everything around it costs, beside units that somebody has written by hand for the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.lab import UNITS, Lab, booted
from bench.measure import Count, Figure, Measured, in_turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.measure import Options

_SPEC = "/etc/nanod/grouped.yaml"
_SERVER = "/usr/bin/python3 -m http.server --directory /srv"
_DB, _WEB = 8081, 8082
_HOOK = "/usr/bin/test -d /srv"
_HOOKS = {"prestart": [_HOOK, _HOOK], "poststart": _HOOK}
_ASKED = "/usr/bin/timeout 60 /bin/sh -c 'until curl --silent --fail --output /dev/null http://127.0.0.1:{port}/; do sleep 0.05; done'"
"""How somebody waits by hand until a server answers."""
_HEALTH = {"interval": "50ms", "start_timeout": "60s"}
_SERVICES = {
    "db": {"command": f"{_SERVER} {_DB}", "health": {"http": f"http://127.0.0.1:{_DB}/", **_HEALTH}},
    "web": {
        "command": f"{_SERVER} {_WEB}",
        "health": {"http": f"http://127.0.0.1:{_WEB}/", **_HEALTH},
        "requires": ["db"],
        "hooks": _HOOKS,
        "tasks": {
            "init": {"lifecycle": {"hook": "prestart"}, "command": _HOOK},
            "side": {"lifecycle": {"hook": "prestart", "sidecar": True}, "command": "/bin/sleep infinity"},
        },
    },
}
_DEFAULTS = {"user": "nobody", "settle": "0s"}


def group(options: Options) -> Iterator[Measured]:
    """Dependency, health gates, three hooks, a task that ends and a sidecar; each limited in time on both sides, and as closed in."""
    with booted() as lab:
        lab.machine.write(_SPEC, json.dumps({"project": "grouped", "defaults": _DEFAULTS, "services": _SERVICES}))
        lab.run("nanod", "apply", _SPEC)
        lab.run("systemctl", "stop", "grouped.target")
        closed = _sandbox(lab.path(f"{UNITS}/grouped-web.service").read_text())
        for name, text in _by_hand().items():
            lab.machine.write(f"{UNITS}/{name}", text + closed)
        lab.run("systemctl", "daemon-reload")
        ours, baseline = in_turns(options.rounds, lambda: _started(lab, "grouped-web"), lambda: _started(lab, "hand-web"))
        more = sorted(one - other for one, other in zip(ours, baseline, strict=True))[len(ours) // 2]
        yield Measured(
            figure=Figure(
                name="group",
                ours="systemctl start of a service with a dependency, gates, hooks, a task and a sidecar",
                baseline="the same commands in units written by hand",
                goal=1.05,
            ),
            ours=ours,
            baseline=baseline,
            counts=(Count(name="milliseconds more", value=round(more * 1000, 1)),),
        )


def _started(lab: Lab, unit: str) -> float:
    seconds = lab.run("systemctl", "start", unit).seconds
    app = unit.partition("-")[0]
    lab.sh(f"systemctl stop '{app}-*.service'; systemctl reset-failed")
    return seconds


def _sandbox(unit: str) -> str:
    """The lines of a compiled unit that close it in."""
    words = ("Protect", "Private", "Restrict", "Lock", "NoNew", "System", "Read", "Keyring", "Cap", "Memory", "Remove")
    return "".join(f"{line}\n" for line in unit.splitlines() if line.startswith(words))


def _by_hand() -> dict[str, str]:
    """As an administrator writes it: what must be there first is required and stood after, and each command has its time."""
    timeout = "/usr/bin/timeout 300"
    return {
        "hand-db.service": _unit(f"ExecStart={_SERVER} {_DB}\nExecStartPost={_ASKED.format(port=_DB)}"),
        "hand-init.service": _unit(
            f"Type=oneshot\nRemainAfterExit=yes\nExecStart={timeout} {_HOOK}", "Requires=hand-side.service\nAfter=hand-side.service"
        ),
        "hand-side.service": _unit("Type=exec\nExecStart=/bin/sleep infinity", "PartOf=hand-web.service"),
        "hand-web.service": _unit(
            f"Type=exec\nExecStartPre={timeout} {_HOOK}\nExecStartPre={timeout} {_HOOK}\nExecStart={_SERVER} {_WEB}\n"
            f"ExecStartPost={_ASKED.format(port=_WEB)}\nExecStartPost=-{timeout} {_HOOK}",
            "Requires=hand-init.service hand-side.service hand-db.service\nAfter=hand-init.service hand-side.service hand-db.service",
        ),
    }


def _unit(service: str, unit: str = "") -> str:
    return f"[Unit]\n{unit}\n[Service]\nUser=nobody\n{service}\n"
