"""Twenty ways in which a change fails, each at the first, a middle and the last of ten services: all is as it was, and one line says why.

The app stays up from test to test; that is what a way back is for. `untouched` services keep their process, the others run again as before.
"""

from __future__ import annotations

import copy
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import seen
from tests.lab.seen import UNITS, runs
from tests.lab.steps import App, until

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from nanod.host.process import Completed
    from nanod.rehearse.machine import Machine
    from tests.lab.seen import Seen

Services = dict[str, dict[str, Any]]

TREE: dict[str, tuple[str, ...]] = {"s0": (), "s1": ("s0",), "s2": ("s0",), "s3": ("s1",), "s4": ("s1",)}
TREE |= {"s5": ("s2",), "s6": ("s3",), "s7": ("s4",), "s8": ("s5",), "s9": ("s7",)}
POSITIONS = ("s0", "s4", "s9")
"""First, middle and last to start. Each change is one of all three, and fails in one of them."""
UP = "touch $NANOD_RUN_DIR/up"
FLAPS = "/usr/local/lib/steps/flaps"
PORT = "/usr/local/lib/steps/port"
_FLAPS = "#!/bin/sh\n# Well at every other look.\nif [ -e /run/flaps ]; then rm /run/flaps; exit 1; fi\ntouch /run/flaps\n"
_PORT = """#!/usr/bin/python3
import signal, socket
taken = socket.socket()
try:
    taken.bind(("127.0.0.1", 7777))
except OSError as refused:
    raise SystemExit(f"port 7777: {refused.strerror}")
taken.listen()
signal.pause()
"""


def service(name: str) -> dict[str, Any]:
    return {
        "command": f"{UP}; exec sleep infinity",
        "user": "root",
        "runtime_dir": True,
        "health": {"file": f"/run/ten/{name}/up", "interval": "20ms", "start_timeout": "10s"},
        "restart": {"delay": "50ms", "limit": 2, "window": "2s"},
        "settle": "0s",
        "requires": list(TREE[name]),
    }


BASE: Services = {name: service(name) for name in TREE}


@pytest.fixture(scope="module")
def ten(machine: Machine) -> App:
    app = App.on(machine, "ten")
    app.program("flaps", _FLAPS)
    app.program("port", _PORT)
    app.apply(BASE)
    return app


def look(app: App) -> Seen:
    return seen.look(app, TREE)


def assert_as_before(app: App, before: Seen, touched: Container[str] = POSITIONS) -> None:
    seen.assert_as_before(app, before, touched)
    assert set(seen.processes(app).values()) == {1}, "nobody is left behind"


def change(*at: str, word: str, **keys: Any) -> Services:
    """Three services change, and `keys` are what is wrong with those named."""
    services = copy.deepcopy(BASE)
    for name in POSITIONS:
        services[name]["environment"] = {"CHANGED": word}
    for name in at:
        services[name] |= keys
    return services


def told(done: Completed) -> list[str]:
    """The lines that name a cause."""
    return [line for line in done.out.splitlines() if re.match(r"cannot |ten-s\d (did not|failed)", line)]


ONCE = {"policy": "no"}
HOOK = "cannot start ten-{at}: hook prestart/breaks"
TRIES = r" \(given up after 2 failed starts\)"
HEALTH = {"interval": "20ms"}


def prestart(run: str, **keys: Any) -> dict[str, Any]:
    return {"hooks": {"prestart": {"run": run, "name": "breaks", **keys}}}


KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "exits": (prestart("echo broken >&2; exit 3"), f"{HOOK} exited with status 3{TRIES}"),
    "hangs": (prestart("sleep 611", timeout="200ms") | {"restart": ONCE}, f"{HOOK} ran into its timeout"),
    "killed": (prestart("kill -SEGV $$") | {"restart": ONCE}, f"{HOOK} was killed by SIGSEGV"),
    "forks": (
        prestart("(trap '' TERM; sleep 612 & sleep 613) & exit 3") | {"restart": ONCE, "stop": {"timeout": "300ms"}},
        f"{HOOK} exited with status 3",
    ),
    "missing": (
        {"command": ["/no/such/program"], "restart": ONCE},
        r"cannot start ten-{at}: its program was not found or cannot be run \(status 127\)",
    ),
    "never": (
        {"health": {"file": "/run/never", "start_timeout": "200ms", **HEALTH}, "restart": ONCE},
        r"cannot start ten-{at}: it did not become healthy \(file /run/never\)",
    ),
    "flaps": (
        {"command": "sleep 0.1; exit 4", "health": {"exec": [FLAPS], **HEALTH}, "settle": "5s", "restart": ONCE},
        r"ten-{at} did not stay up: it exited with status 4 \((at once|\d+\.\d s) after it was up\)|cannot start ten-{at}: it exited with status 4",
    ),
    "soon": (
        {"command": f"{UP}; sleep 0.1; exit 5", "settle": "5s", "restart": ONCE},
        r"ten-{at} did not stay up: it exited with status 5 \((at once|\d+\.\d s) after it was up\)|cannot start ten-{at}: it exited with status 5",
    ),
    "taken": (
        {"command": f"exec {PORT}", "health": {"tcp": "127.0.0.1:7777", **HEALTH}, "restart": ONCE},
        r"cannot start ten-{at}: it exited with status 1, and something else answers at tcp 127\.0\.0\.1:7777",
    ),
}
GRID = [
    pytest.param(kind, at, marks=() if at == POSITIONS[number % len(POSITIONS)] else pytest.mark.thorough)
    for number, kind in enumerate(KINDS)
    for at in POSITIONS
]
SLOW: dict[str, tuple[dict[str, Any], str]] = {
    "later": (
        {"command": f"{UP}; sleep 2; kill -ABRT $$", "settle": "10s", "restart": ONCE},
        r"ten-{at} did not stay up: it was killed by SIGABRT \(\d+\.\d s after it was up\)",
    ),
    "away": ({"requires": ["away.service"]}, r"cannot start ten-{at}: it waits for away\.service, which failed"),
}


@pytest.mark.row("FAULTS-24", "FAULTS-25", "FAULTS-27", "BX-4", "BX-7", "NK-12")
@pytest.mark.parametrize(("kind", "at"), GRID)
def test_a_service_that_fails_takes_the_change_back(ten: App, kind: str, at: str) -> None:
    keys, line = KINDS[kind]
    before = look(ten)
    with surroundings(ten, kind):
        done = ten.apply(change(at, word=kind, **keys), status=4)
    assert_told(done, line, at)
    assert_as_before(ten, before)


@pytest.mark.row("FAULTS-25", "FAULTS-27", "BX-4", "BX-7")
@pytest.mark.parametrize("kind", SLOW)
def test_three_services_that_fail_late_take_the_change_back(ten: App, kind: str) -> None:
    keys, line = SLOW[kind]
    before = look(ten)
    with surroundings(ten, kind):
        done = ten.apply(change(*POSITIONS, word=kind, **keys), status=4)
    assert_told(done, line, *POSITIONS)
    assert_as_before(ten, before)


def assert_told(done: Completed, line: str, *names: str) -> None:
    """One line for each that failed, and no other; and that all is as it was."""
    lines = told(done)
    assert len(lines) == len(names), done.out
    for name, text in zip(names, lines, strict=True):
        assert re.fullmatch(line.replace("{at}", name), text), done.out
    assert "rolled back to generation 1" in done.out.splitlines()


@contextmanager
def surroundings(app: App, kind: str) -> Iterator[None]:
    machine = app.machine
    if kind == "away":
        machine.write(f"{UNITS}/away.service", "[Service]\nExecStart=/bin/false\n")
        app.systemctl("daemon-reload")
    foreign = machine.popen([PORT]) if kind == "taken" else None
    if foreign:
        until(lambda: machine.run(["grep", "-q", ":1E61 ", "/proc/net/tcp"]).status == 0, "the port is taken")
    try:
        yield
    finally:
        machine.path(f"{UNITS}/away.service").unlink(missing_ok=True)
        machine.path("/run/flaps").unlink(missing_ok=True)
        if kind == "away":
            app.systemctl("daemon-reload")
            app.systemctl("reset-failed", "away.service", status=None)
        if foreign:
            machine.run(["fuser", "--kill", "7777/tcp"])
            foreign.terminate()
            foreign.wait()


@pytest.mark.row("FAULTS-27", "BX-4", "BX-7")
@pytest.mark.parametrize("at", ["s0", "s4", "s7"])
def test_who_waits_for_one_that_fails_goes_back_too(ten: App, at: str) -> None:
    before = look(ten)
    services = everything("chain")
    services[at] |= prestart("exit 3") | {"restart": ONCE}
    done = ten.apply(services, status=4)
    why = {at: "hook prestart/breaks exited with status 3"}
    for name, (above, *_) in list(TREE.items())[1:]:
        if above in why:
            why[name] = f"it waits for {above}, which {'failed' if above == at else 'is blocked'}: {why[above]}"
    assert told(done) == [f"cannot start ten-{name}: {text}" for name, text in why.items()], done.out
    assert_as_before(ten, before, TREE)


@pytest.mark.row("FAULTS-29", "FAULTS-27", "BX-4", "BX-23")
@pytest.mark.parametrize("at", POSITIONS)
def test_a_start_limit_that_was_hit_before(ten: App, at: str) -> None:
    """What had given up before is not started by the way back; a spec that is right starts it, and nothing else of the host."""
    machine = ten.machine
    machine.write(f"{UNITS}/elsewhere.service", "[Service]\nExecStart=/bin/false\n")
    ten.systemctl("daemon-reload")
    ten.systemctl("start", "elsewhere.service")
    ten.systemctl("reset-failed", ten.unit(at))
    until(lambda: gives_up(ten, at), "systemd has given it up")
    before = look(ten)
    done = ten.apply(change(at, word="limit", **prestart("exit 3"), restart=ONCE), status=4)
    assert told(done) == [f"cannot start ten-{at}: hook prestart/breaks exited with status 3"]
    assert_as_before(ten, before)
    ten.apply(BASE)
    assert ten.is_up(at)
    assert {name: run for name, run in runs(ten, TREE).items() if name not in POSITIONS} == {
        name: run for name, run in before.runs.items() if name not in POSITIONS
    }
    assert ten.state("elsewhere.service") == "failed"
    machine.path(f"{UNITS}/elsewhere.service").unlink()
    ten.systemctl("daemon-reload")
    ten.systemctl("reset-failed", "elsewhere.service")


def gives_up(app: App, name: str) -> bool:
    """Kill it once more; whether that was once too often."""
    if pid := app.pid(name):
        app.machine.run(["kill", "-KILL", str(pid)])
    return app.state(name) == "failed"


@pytest.mark.row("FAULTS-23", "BX-4")
@pytest.mark.parametrize("at", POSITIONS)
def test_a_mask_is_kept_on_the_way_there_and_back(ten: App, at: str) -> None:
    unit = ten.machine.path(f"{UNITS}/{ten.unit(at)}")
    text = unit.read_text()
    unit.unlink()
    ten.systemctl("mask", ten.unit(at))
    before = look(ten)
    assert before.files[ten.unit(at)] == "/dev/null"
    failing = next(name for name in POSITIONS if name != at)
    done = ten.apply(change(failing, word="mask", **prestart("exit 3"), restart=ONCE), status=4)
    assert told(done) == [f"cannot start ten-{failing}: hook prestart/breaks exited with status 3"], done.out
    assert f"note: {ten.unit(at)} is masked: left alone" in done.out
    assert_as_before(ten, before, set(POSITIONS) - {at})
    ten.systemctl("unmask", ten.unit(at))
    unit.write_text(text)
    ten.systemctl("daemon-reload")


# The host refuses: nothing that runs is touched.


def everything(word: str) -> Services:
    """All ten change, so ten files are to be written."""
    services = copy.deepcopy(BASE)
    for keys in services.values():
        keys["environment"] = {"CHANGED": word}
    return services


@pytest.mark.row("FAULTS-34", "FAULTS-17", "BX-2", "BX-4")
@pytest.mark.parametrize("position", [1, 5, 10])
def test_a_disk_that_fills_up_at_one_of_ten_files(ten: App, position: int) -> None:
    before = look(ten)
    with mounted(ten, f"mount -t tmpfs -o mode=755 full {UNITS} && cp -a /run/copy/. {UNITS}"):
        used = int(ten.machine.run(["stat", "--file-system", "--format=%b %f", UNITS]).out.split()[0]) - free(ten)
        # A unit file is smaller than a page.
        ten.machine.run(["mount", "-o", f"remount,nr_blocks={used + position - 1}", UNITS])
        assert free(ten) == position - 1
        done = ten.apply(everything(f"full{position}"), status=1)
        assert first(done.err) == f"nanod: cannot write {UNITS}/ten-s{position - 1}.service: No space left on device"
        assert_as_before(ten, before, ())
        assert free(ten) == position - 1, "what was written is gone"


def free(app: App) -> int:
    return int(app.machine.run(["stat", "--file-system", "--format=%f", UNITS]).out)


@contextmanager
def mounted(app: App, how: str) -> Iterator[None]:
    """Something else in the place of the unit directory for a while."""
    app.systemctl("daemon-reload")
    done = app.machine.run(["sh", "-ec", f"rm -rf /run/copy; cp -a {UNITS} /run/copy; {how}"])
    assert done.status == 0, done.err
    try:
        yield
    finally:
        assert app.machine.run(["umount", UNITS]).status == 0
        app.systemctl("daemon-reload")


@pytest.mark.row("FAULTS-34", "BX-2", "BX-4")
@pytest.mark.parametrize("at", POSITIONS)
def test_a_read_only_etc(ten: App, at: str) -> None:
    before = look(ten)
    ten.write(change(at, word="read-only", description="another"))
    with mounted(ten, f"mount --bind {UNITS} {UNITS}; mount -o remount,bind,ro {UNITS}"):
        done = ten.apply(status=1)
    assert re.fullmatch(rf"nanod: cannot write {UNITS}/\S+: Read-only file system", first(done.err)), done.err
    assert_as_before(ten, before, ())


@pytest.mark.row("FAULTS-34", "BX-4")
@pytest.mark.parametrize("at", POSITIONS)
def test_a_run_directory_with_too_little_room_for_a_reload(ten: App, at: str) -> None:
    machine = ten.machine
    before = look(ten)
    size = machine.run(["findmnt", "-no", "SIZE", "--bytes", "/run"]).out.strip()
    used = int(machine.run(["findmnt", "-no", "USED", "--bytes", "/run"]).out)
    machine.run(["mount", "-o", f"remount,size={used + 8 * 1024 * 1024}", "/run"])
    try:
        done = ten.apply(change(at, word="run"), status=1)
    finally:
        machine.run(["mount", "-o", f"remount,size={size}", "/run"])
    assert re.match(r"nanod: cannot apply: /run has \d+ KiB left, and systemd reloads unit files only with 16384 KiB or more", done.err), done.err
    assert_as_before(ten, before, ())


def first(text: str) -> str:
    """The line that says what went wrong, and not the news before it."""
    return next(line for line in text.splitlines() if line.startswith("nanod: cannot"))


@pytest.mark.row("FAULTS-27", "BX-12")
@pytest.mark.parametrize("at", POSITIONS)
def test_a_user_that_does_not_exist(ten: App, at: str) -> None:
    before = look(ten)
    done = ten.apply(change(at, word="user", user="nobodyhere"), status=2)
    assert re.fullmatch(rf"{ten.spec}:1:\d+: error: user 'nobodyhere' does not exist on this host", done.err.splitlines()[0])
    assert_as_before(ten, before, ())


@pytest.mark.row("FAULTS-32", "BX-4")
@pytest.mark.parametrize("at", POSITIONS)
def test_without_a_bus_daemon_all_of_it_works(ten: App, at: str) -> None:
    """Root talks to PID 1 on its private socket: there and back."""
    before = look(ten)
    ten.systemctl("stop", "dbus.socket", "dbus.service")
    try:
        done = ten.apply(change(at, word="bus", **prestart("exit 3"), restart=ONCE), status=4)
        assert told(done) == [f"cannot start ten-{at}: hook prestart/breaks exited with status 3"]
        assert_as_before(ten, before)
        if at == POSITIONS[0]:
            ten.apply(change(at, word="bus"))
            ten.apply(BASE)
    finally:
        ten.systemctl("start", "dbus.socket", "dbus.service")


@pytest.mark.row("FAULTS-32", "BX-4")
@pytest.mark.parametrize("at", POSITIONS)
def test_without_the_socket_of_pid_1_nothing_is_touched(ten: App, at: str) -> None:
    before = look(ten)
    machine = ten.machine
    machine.path("/run/systemd/private").unlink()
    try:
        done = ten.apply(change(at, word="socket"), status=1)
    finally:
        machine.run(["kill", "-TERM", "1"])  # a reexec (systemd(1), SIGNALS) makes it anew
        until(lambda: machine.path("/run/systemd/private").exists(), "PID 1 is back")
    assert re.fullmatch(r"nanod: cannot [A-Za-z ]+: no connection to systemd: No such file or directory", first(done.err)), done.err
    assert_as_before(ten, before, ())


@pytest.mark.row("FAULTS-30", "BX-4")
@pytest.mark.parametrize("at", POSITIONS)
def test_a_job_that_stands_against_it(ten: App, at: str) -> None:
    """Somebody stops the service for good, for a unit that conflicts with it, and that stop waits for something that hangs."""
    machine, unit = ten.machine, ten.unit(at)
    machine.write(f"{UNITS}/hangs.service", f"[Unit]\nAfter={unit}\n[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sleep 614\n")
    machine.write(f"{UNITS}/against.service", f"[Unit]\nConflicts={unit}\n[Service]\nExecStart=/bin/sleep infinity\n")
    ten.systemctl("daemon-reload")
    ten.systemctl("start", "hangs.service")
    ten.systemctl("stop", "--no-block", "hangs.service")
    ten.systemctl("start", "--no-block", "--job-mode=replace-irreversibly", "against.service")
    before = look(ten)
    try:
        done = ten.apply(change(at, word="job"), status=1)
        pattern = rf"nanod: cannot restart {unit}: transaction for {unit}/restart is destructive \({unit} has 'stop' job queued, .*"
        assert re.match(pattern, first(done.err)), done.err
        assert "list-jobs" in done.err
        assert_as_before(ten, before)
        assert runs(ten, TREE)[at] == before.runs[at], "it is for him to say who gave that order"
        # Another change does not wait for what hangs there.
        services = change(word="beside")
        services[at].pop("environment")
        ten.apply(services)
        assert runs(ten, TREE)[at] == before.runs[at]
    finally:
        ten.systemctl("kill", "--signal=KILL", "hangs.service")
        ten.jobs_done()
        ten.systemctl("stop", "against.service")
        for name in ("hangs.service", "against.service"):
            machine.path(f"{UNITS}/{name}").unlink()
        ten.systemctl("daemon-reload")
        ten.systemctl("reset-failed", "hangs.service", status=None)
    ten.apply(BASE)


@pytest.mark.row("FAULTS-30", "BX-4")
def test_a_machine_that_shuts_down(ten: App) -> None:
    """Last of all: every job would be refused, so nothing is begun; after the boot the app is as it was."""
    machine = ten.machine
    machine.write(f"{UNITS}/holds.service", "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sleep 615\nTimeoutStopSec=infinity\n")
    ten.systemctl("daemon-reload")
    ten.systemctl("start", "holds.service")
    before = look(ten)
    ten.systemctl("reboot", "--no-block")
    until(lambda: machine.run(["systemctl", "is-system-running"]).out.strip() == "stopping", "it goes down")
    for at in POSITIONS:
        done = ten.apply(change(at, word="down", **prestart("exit 3")), status=1)
        assert first(done.err) == "nanod: cannot apply ten: the machine is shutting down"
    after = look(ten)
    assert (after.files, after.records) == (before.files, before.records)
    machine.kill()
    machine.start()
    ten.until_up(*TREE)
    assert look(ten).files == before.files
    machine.path(f"{UNITS}/holds.service").unlink()
