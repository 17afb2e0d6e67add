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
# The same words on both sides, and no shell in between.
_RUN = {"run": _HOOK.split()}
_HOOKS = {"prestart": [_RUN, {**_RUN, "name": "again"}], "poststart": _RUN}
_ASKED = "/usr/bin/timeout 60 /bin/sh -c 'until curl --silent --fail --output /dev/null http://127.0.0.1:{port}/; do sleep 0.05; done'"
"""How somebody waits by hand until a server answers."""
_LIMIT = "/usr/bin/timeout 300"
_AS_NOBODY = "/usr/bin/setpriv --reuid=nobody --regid=nogroup --init-groups --inh-caps=-all --bounding-set=-all --no-new-privs"
_RECORDING = "/usr/local/bin/recording"
_RECORD = """#!/bin/sh
# recording PROGRAM [ARG...]: run it for at most five minutes, and leave in the journal how it ended and how long it took.
begin=$(cut -d. -f1 /proc/uptime)
/usr/bin/timeout 300 "$@"
status=$?
/usr/bin/logger --journald <<END
MESSAGE=$1 ended with status $status after $(($(cut -d. -f1 /proc/uptime) - begin)) s
UNIT=$UNIT
HOOK_STATUS=$status
INVOCATION=$INVOCATION_ID
END
exit $status
"""
"""How a hook keeps its result when systemd forgets it."""
_IS_UP = "/usr/bin/systemctl is-active --quiet"
"""A dependency that is looked at and not only ordered, so that a dead one is seen, and its crash passed on to nobody."""
_HEALTH = {"interval": "50ms", "start_timeout": "60s"}
_SERVICES = {
    "db": {"command": f"{_SERVER} {_DB}".split(), "health": {"http": f"http://127.0.0.1:{_DB}/", **_HEALTH}},
    "web": {
        "command": f"{_SERVER} {_WEB}".split(),
        "health": {"http": f"http://127.0.0.1:{_WEB}/", **_HEALTH},
        "requires": ["db"],
        "hooks": _HOOKS,
        "tasks": {
            "init": {"lifecycle": {"hook": "prestart"}, "command": _HOOK.split()},
            "side": {"lifecycle": {"hook": "prestart", "sidecar": True}, "command": ["/bin/sleep", "infinity"]},
        },
    },
}
_DEFAULTS = {"user": "nobody", "settle": "0s"}


def group(options: Options) -> Iterator[Measured]:
    """Dependency, health gates, three hooks, a task that ends and a sidecar; each limited in time on both sides, and as closed in.

    Once beside units that do all of what nanod's do (hooks outside the sandbox, as the user, each leaving its result in the journal; a look at each
    dependency), and once beside the bare commands.
    """
    with booted() as lab:
        lab.machine.write(_SPEC, json.dumps({"project": "grouped", "defaults": _DEFAULTS, "services": _SERVICES}))
        lab.run("nanod", "apply", _SPEC)
        lab.run("systemctl", "stop", "grouped.target")
        closed = _sandbox(lab.path(f"{UNITS}/grouped-web.service").read_text())
        lab.machine.write(_RECORDING, _RECORD, mode=0o755)
        for app, hook in (("same", f"{_RECORDING} {_HOOK}"), ("bare", f"{_LIMIT} {_HOOK}")):
            for name, text in _by_hand(app, hook).items():
                lab.machine.write(f"{UNITS}/{name}", text + closed)
        lab.run("systemctl", "daemon-reload")
        what = "systemctl start of a service with a dependency, gates, hooks, a task and a sidecar"
        yield _measured(lab, options, Figure(name="group", ours=what, baseline="units written by hand that do the same", goal=1.05), "same")
        yield _measured(lab, options, Figure(name="group, bare", ours=what, baseline="units with the bare commands, each with its time"), "bare")


def _measured(lab: Lab, options: Options, figure: Figure, app: str) -> Measured:
    ours, baseline = in_turns(options.rounds, lambda: _started(lab, "grouped-web"), lambda: _started(lab, f"{app}-web"))
    more = sorted(one - other for one, other in zip(ours, baseline, strict=True))[len(ours) // 2]
    return Measured(figure=figure, ours=ours, baseline=baseline, counts=(Count(name="milliseconds more", value=round(more * 1000, 1)),))


def _started(lab: Lab, unit: str) -> float:
    seconds = lab.run("systemctl", "start", unit).seconds
    app = unit.partition("-")[0]
    lab.sh(f"systemctl stop '{app}-*.service'; systemctl reset-failed")
    return seconds


def _sandbox(unit: str) -> str:
    """The lines of a compiled unit that close it in."""
    words = ("Protect", "Private", "Restrict", "Lock", "NoNew", "System", "Read", "Keyring", "Cap", "Memory", "Remove")
    return "".join(f"{line}\n" for line in unit.splitlines() if line.startswith(words))


def _by_hand(app: str, hook: str) -> dict[str, str]:
    """As an administrator writes it: what must be there first is required and stood after, and each command has its time."""
    outside = f"+{_AS_NOBODY} {hook}" if app == "same" else hook

    def gate(*names: str) -> str:
        return "".join(f"ExecStartPre=+{_IS_UP} {app}-{name}.service\n" for name in names if app == "same")

    first = f"{app}-init.service {app}-side.service {app}-db.service"
    return {
        f"{app}-db.service": _unit(f"ExecStart={_SERVER} {_DB}\nExecStartPost={_ASKED.format(port=_DB)}"),
        f"{app}-init.service": _unit(
            f"Type=oneshot\nRemainAfterExit=yes\n{gate('db', 'side')}ExecStart={hook}",
            f"Requires={app}-side.service {app}-db.service\nAfter={app}-side.service {app}-db.service",
        ),
        f"{app}-side.service": _unit(
            f"Type=exec\n{gate('db')}ExecStart=/bin/sleep infinity", f"PartOf={app}-web.service\nWants={app}-db.service\nAfter={app}-db.service"
        ),
        f"{app}-web.service": _unit(
            f"Type=exec\n{gate('db', 'side')}ExecStartPre={outside}\nExecStartPre={outside}\nExecStart={_SERVER} {_WEB}\n"
            f"ExecStartPost={_ASKED.format(port=_WEB)}\nExecStartPost=-{outside}",
            f"Requires={first}\nAfter={first}",
        ),
    }


def _unit(service: str, unit: str = "") -> str:
    return f"[Unit]\n{unit}\n[Service]\nUser=nobody\n{service}\n"
