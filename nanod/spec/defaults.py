"""What holds where a spec says nothing: one table, shown by the schema (`default`) and the documentation. Hooks have theirs in `nanod.phases`."""

from __future__ import annotations

from typing import Final

DEFAULTS: Final[dict[str, str | int | bool]] = {
    "kind": "native",
    "user": "root",
    "settle": "5s",
    "runtime_dir": False,
    "sandbox": "default",
    "health.interval": "500ms",
    "health.timeout": "2s",
    "health.start_timeout": "1min",
    "health.liveness.interval": "10s",
    "health.liveness.failures": 3,
    "health.liveness.action": "restart",
    "provisioning.context": "host",
    "provisioning.timeout": "30min",
    "provisioning.retries": 0,
    "restart.policy": "on-failure",
    "restart.delay": "1s",
    "restart.limit": 5,
    "restart.window": "1min",
    "stop.signal": "SIGTERM",
    "stop.timeout": "30s",
    "stop.drain": "0s",
    "stop.ignore_hup": True,
    "sockets.backlog": 4096,
    "sockets.via": "descriptor",
    "rolling.strategy": "in-place",
    "rolling.max_parallel": 1,
    "rolling.min_healthy_time": "5s",
    "schedule.persistent": True,
    "schedule.randomized_delay": "0s",
    "build.keep": 5,
    "tasks.per": "replica",
    "deploy.max_parallel": 1,
}
SHELL: Final = ("/bin/sh", "-ec")
"""What runs a command that is text."""

RUNTIMES: Final[dict[str, dict[str, object]]] = {
    "node": {"command": "npm start", "provisioning": {"creates": ["node_modules"]}},
}
"""Runtimes that need no declaration; a declared one of the same name is laid over it."""
