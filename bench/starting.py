"""What is waited for at a start: the first answer of a service, and what one hook line adds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.lab import UNITS, Lab, booted
from bench.measure import Count, Figure, Measured, in_turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.measure import Options

_PORT = 8080
_SPEC = "/etc/nanod/web.yaml"
_SERVER = f"python3 -m http.server --directory /srv {_PORT}"
_WEB = {"command": _SERVER, "user": "nobody", "health": {"http": f"http://127.0.0.1:{_PORT}/", "interval": "50ms"}, "settle": "0s"}
_UNIT = f"[Service]\nUser=nobody\nType=exec\nExecStart=/usr/bin/{_SERVER}\n[Install]\nWantedBy=multi-user.target\n"
_LINES = 20


def first_answer(options: Options) -> Iterator[Measured]:
    with booted() as lab:
        yield _first_answer(lab, options)


def hook_line(options: Options) -> Iterator[Measured]:
    """A unit with many hooks beside a unit with the same commands bare; the cost of one is the difference, shared out."""
    with booted() as lab:
        yield _hook_line(lab, options)


def _first_answer(lab: Lab, options: Options) -> Measured:
    lab.machine.write(_SPEC, json.dumps({"services": {"web": _WEB}}))
    lab.machine.write("/srv/hand.service", _UNIT)

    def ours() -> float:
        seconds = lab.run("nanod", "apply", _SPEC, port=_PORT).seconds
        lab.run("nanod", "remove", "web")
        return seconds

    def by_hand() -> float:
        seconds = lab.sh(f"cp /srv/hand.service {UNITS}/; systemctl daemon-reload; systemctl enable --quiet --now hand", port=_PORT).seconds
        lab.sh(f"systemctl disable --quiet --now hand; rm {UNITS}/hand.service; systemctl daemon-reload")
        return seconds

    times = in_turns(options.rounds, ours, by_hand)
    figure = Figure(name="first answer", ours="nanod apply of a new HTTP service", baseline="a unit by hand, daemon-reload, systemctl enable --now")
    return Measured(figure=figure, ours=times[0], baseline=times[1])


def _hook_line(lab: Lab, options: Options) -> Measured:
    hooks = {"prestart": [{"run": ["/bin/true"], "name": f"h{number}"} for number in range(_LINES)]}
    # Without a sandbox: a bare line would be in it, and setting one up takes longer than all that nanod's words do.
    once = {"kind": "script", "command": ["/bin/true"], "user": "nobody", "sandbox": "off", "hooks": hooks, "settle": "0s"}
    spec = {"project": "hooked", "services": {"once": once}}
    lab.machine.write("/etc/nanod/hooked.yaml", json.dumps(spec))
    lab.run("nanod", "apply", "/etc/nanod/hooked.yaml")
    hooked = lab.path(f"{UNITS}/hooked-once.service").read_text()
    bare = "".join(f"{_bare(line)}\n" for line in hooked.splitlines())
    lab.machine.write(f"{UNITS}/bare.service", bare)
    lab.run("systemctl", "daemon-reload")

    def started(unit: str) -> float:
        lab.run("systemctl", "reset-failed")
        return lab.run("systemctl", "start", unit).seconds

    ours, baseline = in_turns(options.rounds, lambda: started("hooked-once"), lambda: started("bare"))
    each = sorted(one - other for one, other in zip(ours, baseline, strict=True))[len(ours) // 2] / _LINES
    figure = Figure(name="hook lines", ours=f"start of a script with {_LINES} hooks", baseline="the same commands without nanod's words")
    return Measured(figure=figure, ours=ours, baseline=baseline, counts=(Count(name="milliseconds more for each", value=round(each * 1000, 1)),))


def _bare(line: str) -> str:
    return "ExecStartPre=/bin/true" if line.startswith("ExecStartPre=") else line
