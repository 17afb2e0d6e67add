"""The sandbox of nanod-apply@.service and nanod-remove@.service bears whatever an apply has to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.daemon.work import unit_of
from nanod.rehearse.machine import SOURCE
from tests.lab.daemons import Daemon, sleeping
from tests.lab.steps import until

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

EXAMPLES = Path(__file__).parents[2] / "examples"
HERE = "/opt/examples"


@pytest.fixture(scope="module")
def daemon(machine: Machine) -> Daemon:
    shutil.copytree(EXAMPLES, machine.path(HERE))
    shutil.copytree(SOURCE / "nanod/lifecycle", machine.path(HERE).parent / "nanod/lifecycle")
    daemon = Daemon.on(machine)
    daemon.start()
    daemon.stop()  # for its directories; the work is begun as it would begin it
    return daemon


def work(daemon: Daemon, verb: str, name: str, **told: str) -> dict[str, object]:
    """What nanod printed, in a unit that is told what the daemon would tell it."""
    place = "/run/nanod/daemon"
    daemon.machine.run(["sh", "-c", f"rm -f {place}/{verb}-{name}.*"])
    daemon.machine.write(f"{place}/{verb}-{name}.env", "".join(f'{key}="{value}"\n' for key, value in told.items()))
    daemon.systemctl("start", unit_of(verb, name), status=None)
    assert daemon.machine.path(f"{place}/{verb}-{name}.result").read_text() == "success exited 0\n", daemon.journal()
    answer: dict[str, object] = json.loads(daemon.machine.path(f"{place}/{verb}-{name}.out").read_text())
    return answer


@pytest.mark.row("BX-28")
@pytest.mark.parametrize(
    "example", ["shop", "release", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("backup", "group", "log-shipper", "report"))]
)
def test_an_example_is_applied_and_removed(daemon: Daemon, example: str) -> None:
    spec = f"{HERE}/{example}/{example}.yaml"
    answer = work(daemon, "apply", example, SPEC=spec, DIGEST="")
    assert answer["verdict"] == "healthy"
    app = str(answer["app"])
    assert work(daemon, "apply", example, SPEC=spec, DIGEST="")["verdict"] == "healthy", "once more, when there is nothing to do"
    assert work(daemon, "remove", example, SPEC=spec, APP=app)["verdict"] == "removed"


@pytest.mark.row("BX-28")
def test_users_volumes_secrets_sockets_and_instances(daemon: Daemon) -> None:
    run = daemon.machine.run
    assert run(["sh", "-ec", "mkdir -p /etc/all; echo secret >/etc/all/plain; chmod 0600 /etc/all/plain"]).status == 0
    assert run(["systemd-creds", "encrypt", "--name=sealed", "/etc/all/plain", "/etc/all/sealed"]).status == 0
    sleeps = {"command": ["/bin/sleep", "infinity"], "settle": "0s"}
    services = {
        "dynamic": {
            **sleeps,
            "dynamic_user": True,
            "credentials": {"sealed": {"file": "/etc/all/sealed", "encrypted": True}, "plain": "/etc/all/plain"},
        },
        "owned": {
            **sleeps,
            "user": "nobody",
            "volume": "/home/all/data",
            "provisioning": {"install": "touch made", "creates": ["made"]},
            "hooks": {"prestart": {"run": "test -O /home/all/data/made", "scope": "deploy"}},
            "restart_on": ["/etc/all/plain"],
        },
        "many": {**sleeps, "user": "nobody", "replicas": 3, "resources": {"memory_max": "64M"}},
        "nightly": {"kind": "script", "command": "true", "user": "nobody", "schedule": "daily"},
        "socket": {**sleeps, "user": "nobody", "sockets": ["127.0.0.1:8123"]},
    }
    daemon.machine.write("/etc/all/all.yaml", json.dumps({"project": "all", "services": services}))
    assert work(daemon, "apply", "all", SPEC="/etc/all/all.yaml", DIGEST="")["verdict"] == "healthy"
    owner = run(["stat", "--format=%U", "/home/all/data", "/home/all/data/made"]).out.split()
    assert owner == ["nobody", "nobody"]
    until(lambda: daemon.show("ActiveState", "all-many@3.service") == "active", "the instances")
    assert work(daemon, "remove", "all", SPEC="/etc/all/all.yaml", APP="all")["verdict"] == "removed"


def test_by_hand_without_a_daemon(daemon: Daemon) -> None:
    """The unit alone is of use, too."""
    daemon.put("hand", sleeping("hand"))
    daemon.systemctl("start", "nanod-apply@hand.service")
    assert daemon.show("ActiveState", "hand-s0.service") == "active"
    assert daemon.machine.nanod("remove", "hand").status == 0
