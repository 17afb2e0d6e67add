"""The specs that are measured."""

from __future__ import annotations

import json
from typing import Any

_SERVICE = """\
  svc-{number:04}:
    description: Service number {number}
    command:
      - /usr/bin/app
      - --port
      - "{port}"
    user: nobody
    working_dir: /srv/svc-{number:04}
    environment:
      MODE: production
      LEVEL: "3"
      NAME: svc {number}
    requires:
      - svc-{before:04}
    health:
      tcp: 127.0.0.1:{port}
      interval: 250ms
      timeout: 2s
      start_timeout: 1min
    volumes:
      - /srv/svc-{number:04}
    provisioning:
      install: ./install --quiet
      creates:
        - bin
    hooks:
      prestart:
        - run: ./migrate && ./warm
          timeout: 2min
        - run: [./check, --all]
          name: check
      poststart: ./register "svc-{number:04}"
      prestop:
        - ./drain
    restart:
      delay: 1s
      limit: 5
    stop:
      signal: TERM
      timeout: 1min
    resources:
      memory_max: 256M
      cpu_quota: 50%
      tasks_max: 64
    settle: 5s
    # no more of {number}
"""


def large(services: int) -> str:
    """Every service with hooks, health, provisioning, limits and a dependency; a thousand of them come close to the 1 MiB of a spec."""
    head = "project: large\nservices:\n  svc-0000: {command: [/bin/sleep, infinity], user: nobody, health: {tcp: 1}}\n"
    return head + "".join(_SERVICE.format(number=number, before=(number - 1) // 10 * 10, port=10000 + number) for number in range(1, services))


VOLUMES = "/srv/bench"
_UP = 'touch "$NANOD_RUN_DIR/up"; exec sleep infinity'


def applied(services: int, *, changed: str = "") -> str:
    """A spec that starts for real: each service with two hooks and a health gate, a fifth with a dependency, a tenth with provisioning.

    `changed` names a service that gets another environment.
    """
    return json.dumps({"project": "bench", "services": {name: _small(name, changed) for name in names(services)}})


def names(services: int) -> list[str]:
    return [f"s{number:03}" for number in range(services)]


def volumes(services: int) -> list[str]:
    return [f"{VOLUMES}/{name}" for name in names(services) if _has_volume(name)]


def _has_volume(name: str) -> bool:
    return int(name[1:]) % 10 == 2


def _small(name: str, changed: str) -> dict[str, Any]:
    number = int(name[1:])
    made: dict[str, Any] = {
        "command": _UP,
        "user": "nobody",
        "runtime_dir": True,
        "health": {"file": f"/run/bench/{name}/up", "interval": "50ms"},
        "hooks": {"prestart": "true", "poststart": "true"},
        "environment": {"GREETING": "another" if name == changed else "one"},
    }
    if number % 5 == 1:
        made["requires"] = [f"s{number - 1:03}"]
    if _has_volume(name):
        made |= {"volume": f"{VOLUMES}/{name}", "provisioning": {"install": "true"}}
    return made
