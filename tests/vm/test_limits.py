"""Limits that the kernel enforces: a container's PID 1 has no controllers for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.vm.specs import App

if TYPE_CHECKING:
    from tests.vm.guest import Guest

_EATER = """#!/usr/bin/python3 -IS
# eater MIB [FILE [once]]: takes that much memory, once FILE is there, and keeps it; or, with `once`, takes FILE away first, so that whoever comes after it waits.
import os, sys, time
while len(sys.argv) > 2 and not os.path.exists(sys.argv[2]):
    time.sleep(0.1)
if sys.argv[3:] == ["once"]:
    os.unlink(sys.argv[2])
taken = bytearray(os.urandom(1 << 20)) * int(sys.argv[1])
print("taken", len(taken) >> 20, flush=True)
if len(sys.argv) > 2:
    open(sys.argv[2] + ".taken", "w").close()
while True:
    time.sleep(3600)
"""
_FORKER = """#!/usr/bin/python3 -IS
# forker N FILE: as many of N processes as it gets; their number is in FILE.
import os, sys, time
made = 0
try:
    while made < int(sys.argv[1]):
        if os.fork() == 0:
            while True:
                time.sleep(3600)
        made += 1
except BlockingIOError:
    pass
with open(sys.argv[2], "w") as file:
    file.write(str(made))
while True:
    time.sleep(3600)
"""


@pytest.fixture
def app(guest: Guest, request: pytest.FixtureRequest) -> App:
    made = App(guest, request.node.name.split("_")[1])
    made.program("eater", _EATER)
    made.program("forker", _FORKER)
    guest.sh("rm -rf /srv/vm; mkdir -p /srv/vm")
    request.addfinalizer(lambda: guest.nanod("remove", "--purge", made.name, status=None))  # noqa: PT021  (reads better than a yield between two lines)
    return made


def eater(mib: int, *words: str, **keys: Any) -> dict[str, Any]:
    return {"command": ["/usr/local/lib/vm/eater", str(mib), *words], "restart": {"policy": "no"}} | keys


def cause(told: dict[str, Any], service: str) -> dict[str, Any]:
    (found,) = [item for item in told["services"] if item["service"] == service]
    reason: dict[str, Any] = found["cause"]
    return reason


@pytest.mark.row("BX-21", "BX-7", "BX-4")
def test_memory_that_a_new_version_takes_beyond_its_limit_ends_its_apply(app: App) -> None:
    """The kernel kills, apply says why, and the version before it runs on."""
    limited = {"memory_max": "96M"}
    app.apply({"eater": eater(16, resources=limited), "other": {"command": ["/bin/sleep", "infinity"]}})
    other = app.pid("other")
    told = app.apply({"eater": eater(256, resources=limited, settle="60s"), "other": {"command": ["/bin/sleep", "infinity"]}}, status=4)
    assert cause(told, "eater")["kind"] == "out-of-memory", told
    assert (app.state("eater"), app.pid("other")) == ("active", other)
    assert "256" not in app.guest.run("systemctl", "cat", app.unit("eater")).out


@pytest.mark.row("BX-21", "BX-7", "BX-25")
def test_killed_for_its_memory_is_what_status_says(app: App) -> None:
    """Of a service that was well when apply ended. Another one of the app, and the machine, have memory left."""
    app.apply({"eater": eater(256, "/srv/vm/eat", resources={"memory_max": "96M"}), "other": {"command": ["/bin/sleep", "infinity"]}})
    other = app.pid("other")
    assert app.cgroup("eater", "memory.max") == str(96 << 20)
    app.guest.run("touch", "/srv/vm/eat")
    app.guest.until(lambda: app.state("eater") == "failed", "the kernel has killed it")
    told = app.guest.nanod("status", "--json", app.name, status=4)
    assert "out-of-memory" in told.out, told.out
    assert "memory" in app.guest.nanod("status", app.name, status=4).out
    assert "oom-kill" in app.guest.show(app.unit("eater"), "Result")
    assert app.pid("other") == other
    # With a policy that restarts it is back, after each kill; here there is one.
    app.guest.run("rm", "/srv/vm/eat")
    app.apply({"eater": eater(256, "/srv/vm/eat", "once", resources={"memory_max": "96M"}, restart={"delay": "100ms"})})
    before = app.pid("eater")
    app.guest.run("touch", "/srv/vm/eat")
    app.guest.until(lambda: app.state("eater") == "active" and app.pid("eater") not in (0, before), "it has been restarted")


@pytest.mark.row("BX-21")
def test_cpu_and_tasks_have_an_end(app: App) -> None:
    limits = {"cpu_quota": "20%", "tasks_max": 12}
    app.apply(
        {
            "spins": {"command": ["/bin/sh", "-c", "while :; do :; done"], "resources": limits},
            "forks": {"command": ["/usr/local/lib/vm/forker", "50", "/srv/vm/forked"], "resources": limits},
        }
    )
    assert app.cgroup("spins", "cpu.max").split()[0] == str(int(app.cgroup("spins", "cpu.max").split()[1]) // 5)
    # Wherever the machine's own time goes: in each of its periods the kernel lets it run for a fifth, and it wants all.
    app.guest.until(lambda: app.counts("spins", "cpu.stat")["nr_throttled"] >= 20, "it has been throttled")
    used = app.counts("spins", "cpu.stat")
    assert used["usage_usec"] <= used["nr_periods"] * 100_000 * 0.4, used
    app.guest.until(lambda: app.guest.run("test", "-s", "/srv/vm/forked", status=None).status == 0, "it has forked")
    # It is itself one of the twelve.
    assert app.guest.run("cat", "/srv/vm/forked").out == "11"
    assert app.cgroup("forks", "pids.current") == "12"
    assert app.counts("forks", "pids.events")["max"] >= 1


@pytest.mark.row("BX-21", "BX-8")
def test_limits_that_change_reach_the_process_that_runs(app: App) -> None:
    """By the daemon-reload alone: the process that could not have had so much memory takes it under the new limit."""
    before = {"memory_max": "64M", "memory_high": "60M", "cpu_quota": "50%", "tasks_max": 20, "cpu_weight": 50}
    after = {"memory_max": "400M", "memory_high": "390M", "cpu_quota": "80%", "tasks_max": 30, "cpu_weight": 300}
    files = ("memory.max", "memory.high", "cpu.max", "pids.max", "cpu.weight")
    app.apply({"eater": eater(128, "/srv/vm/eat", resources=before)})
    pid = app.pid("eater")
    assert [app.cgroup("eater", file) for file in files] == [str(64 << 20), str(60 << 20), "50000 100000", "20", "50"]
    app.guest.write(app.spec, app.text({"eater": eater(128, "/srv/vm/eat", resources=after)}))
    plan = app.guest.nanod("plan", app.spec).out
    assert "1 daemon-reload" in plan
    assert "no restart" in plan
    app.guest.nanod("apply", app.spec)
    assert app.pid("eater") == pid
    assert [app.cgroup("eater", file) for file in files] == [str(400 << 20), str(390 << 20), "80000 100000", "30", "300"]
    app.guest.run("touch", "/srv/vm/eat")
    app.guest.until(lambda: app.guest.run("test", "-e", "/srv/vm/eat.taken", status=None).status == 0, "it has the memory")
    assert (app.pid("eater"), app.state("eater")) == (pid, "active")
    # What is gone from the spec is gone from the kernel, too; of the processor with the whole controller, which nobody needs any more.
    app.apply({"eater": eater(128, "/srv/vm/eat")})
    assert app.pid("eater") == pid
    assert [app.cgroup("eater", file) for file in ("memory.max", "memory.high")] == ["max", "max"]


@pytest.mark.row("BX-21")
def test_the_services_of_an_app_are_in_its_slice(app: App) -> None:
    """An administrator's limit on it is one for all of them together."""
    app.apply({name: {"command": ["/bin/sleep", "infinity"]} for name in ("one", "two")})
    slices = {app.guest.show(app.unit(name), "ControlGroup")[0].rpartition("/")[0] for name in ("one", "two")}
    assert slices == {f"/nanod.slice/nanod-{app.name}.slice"}
    app.guest.run("systemctl", "set-property", "--runtime", f"nanod-{app.name}.slice", "TasksMax=40")
    assert app.guest.run("cat", f"/sys/fs/cgroup{slices.pop()}/pids.max").out.strip() == "40"


@pytest.mark.row("FAULTS-49", "BX-28")
def test_out_of_memory_the_daemon_hurts_nobody(guest: Guest) -> None:
    """The shop runs on, commands answer, and the daemon is back as soon as there is memory for it."""
    shop = App(guest, "shop")
    before = (shop.pid("web"), shop.pid("db"))
    guest.run("systemctl", "start", "nanod")
    (daemon,) = guest.show("nanod.service", "MainPID")
    guest.sh("systemctl set-property --runtime nanod.service MemoryMax=2M MemorySwapMax=0")
    guest.until(lambda: "oom-kill" in guest.show("nanod.service", "Result"), "the kernel has killed it")
    assert guest.nanod("status", "shop").status == 0
    assert guest.run("curl", "--fail", "--silent", "http://127.0.0.1:8080/").out.startswith("Welcome")
    guest.sh("systemctl set-property --runtime nanod.service MemoryMax=infinity")
    guest.until(lambda: guest.show("nanod.service", "ActiveState", "SubState") == ["active", "running"], "it is back")
    assert guest.show("nanod.service", "MainPID") != [daemon]
    assert (shop.pid("web"), shop.pid("db")) == before
    assert guest.nanod("plan", "--detailed-exitcode", "/opt/shop/shop.yaml").status == 0
