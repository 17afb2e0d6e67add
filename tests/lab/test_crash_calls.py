"""Every system call by which an apply writes fails once, or is its last: with strace(1), on nanod's own process.

An error names the path and what the kernel said, and the host is as before. Who holds the lock, and what is cleared and noted down after the commit,
takes nothing back. Nothing of it is a traceback, and the next apply brings the app to its spec. By default every third call is taken; NANOD_CRASHES=all takes each.

The last test is about order. A container loses no writes, so that a fsync was left out cannot show in what is found afterwards; that it was made,
and before what relies on it, shows in the calls. That the disk then keeps what it says is for a virtual machine whose power is cut.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from nanod.host.atomic import TEMPORARY
from tests.lab.crashes import ALL, KILLED, STATE, UNITS, Seen, quiet, seen
from tests.lab.steps import App
from tests.unit.crashing import require_order

if TYPE_CHECKING:
    from nanod.host.process import Completed
    from nanod.rehearse.machine import Machine

STEP = 1 if ALL else 3
WRITING = (
    "fsync syncfs rename renameat renameat2 openat unlink unlinkat symlinkat mkdir mkdirat rmdir fchmod fchmodat fchown write pwrite64 ftruncate"
)
ERRORS = {"openat": ("EMFILE", "ENOSPC", "EROFS"), "write": ("ENOSPC", "EIO"), "fsync": ("EIO", "ENOSPC")}
"""What a call may answer; any other ENOSPC, EIO and EROFS."""
TRACE = "/run/calls.trace"
SHIFTS = 8
"""By how much the number of a call may be another one in the next run of the same command."""
_LINE = re.compile(r"(\w+)\((.*)\) += 0|(openat|write|pwrite64)\((.*)\) += \d+")
_OURS = re.compile(rf"<(?:{STATE}|{UNITS}|/srv|/run/nanod)")
_OTHER_EACH_TIME = re.compile(rf"/(?:\d+|{re.escape(TEMPORARY)}[^/]*)")
_PATH = re.compile(r'(?:\d+|AT_FDCWD)<([^>]*)>(?:, "([^"]*)")?')


@dataclass(frozen=True, kw_only=True)
class Call:
    """The `number`th call of that name in nanod's own process, from 1."""

    name: str
    number: int
    words: str

    def __str__(self) -> str:
        return f"{self.name}@{self.number} {self.words[:200]}"

    @property
    def step(self) -> tuple[str, str]:
        """As `tests.unit.crashing` has it: the call, and its path or "from -> to"."""
        paths = [f"{folder}/{name}" if name else folder for folder, name in _PATH.findall(self.words)]
        names = {"openat": "open", "renameat": "rename", "unlinkat": "rmdir" if "AT_REMOVEDIR" in self.words else "unlink"}
        return names.get(self.name, self.name.removesuffix("at")), " -> ".join(paths)


@dataclass(frozen=True, kw_only=True)
class Change:
    """An apply that writes, changes and deletes a unit and makes a directory; the host is old before each try."""

    app: App
    calls: list[Call]
    old: Seen
    new: Seen

    def back(self) -> None:
        app = self.app
        app.apply({"web": quiet(), "goes": quiet()})
        for path in app.machine.path("/srv").glob(f"{app.name}-*"):
            path.rmdir()
        app.write({"web": quiet(environment={"A": "1"}), "comes": quiet(volume=f"/srv/{app.name}-comes")})

    def failing(self, call: Call, error: str) -> Completed:
        """An apply of which that call fails, and no other one.

        News of an apply are written, too, and there is more of it when the machine is slow: what a call is counted as moves.
        """
        for shift in sorted(range(-min(SHIFTS, call.number - 1), SHIFTS + 1), key=abs):
            done = broken(self.app, replace(call, number=call.number + shift), f"error={error}", "apply", self.app.spec)
            if has_failed(self.app, call):
                return done
            self.back()
        pytest.fail(f"{call}: not among the calls near that number")

    def state(self, what: str) -> str:
        now = replace(seen(self.app), left=()).same()
        assert now.stale == (), what
        assert now in (self.old.same(), self.new.same()), f"{what}: neither old nor new: {now}"
        return "old" if now == self.old.same() else "new"


@pytest.fixture(scope="module")
def change(machine: Machine) -> Change:
    app = App.on(machine, "shop")
    app.apply({"web": quiet(), "goes": quiet()})
    old = seen(app)
    app.write({"web": quiet(environment={"A": "1"}), "comes": quiet(volume="/srv/shop-comes")})
    calls = traced(app, "apply", app.spec)
    made = Change(app=app, calls=calls, old=old, new=seen(app))
    made.back()
    return made


def traced(app: App, *argv: str) -> list[Call]:
    """Calls that went through and by which nanod wrote to files of the host, in order."""
    done = app.machine.run(["strace", "-qq", "-y", "-s", "0", "-o", TRACE, "-e", f"trace={WRITING.replace(' ', ',')}", "nanod", *argv], timeout=120)
    assert done.status == 0, done.err
    counts: dict[str, int] = {}
    found = []
    for line in app.machine.path(TRACE).read_text().splitlines():
        name = line.partition("(")[0]
        counts[name] = counts.get(name, 0) + 1
        if (match := _LINE.match(line)) and _OURS.search(words := match[2] or match[4]) and (name != "openat" or "O_CREAT" in words):
            found.append(Call(name=name, number=counts[name], words=words))
    return found


def broken(app: App, call: Call, how: str, *argv: str) -> Completed:
    """Run nanod with `how` (`error=EIO`, `signal=KILL`) for that one call."""
    inject = f"inject={call.name}:{how}:when={call.number}"
    done = app.machine.run(["strace", "-qq", "-y", "-s", "0", "-o", TRACE, "-e", f"trace={call.name}", "-e", inject, "nanod", *argv], timeout=120)
    assert "Traceback" not in done.err, f"{call} {how}\n{done.err}"
    return done


def has_failed(app: App, call: Call) -> bool:
    """Whether the call that was made to fail is this one."""
    lines = [line for line in app.machine.path(TRACE).read_text().splitlines() if line.endswith("(INJECTED)")]
    return [_folders(line) for line in lines] == [_folders(call.words)]


def _folders(words: str) -> list[str]:
    """Of the files of a call, whose own names are others each time, as the numbers of generations and temporary names are."""
    folders = [folder if name else os.path.dirname(folder) for folder, name in _PATH.findall(words)]  # noqa: PTH120
    return [_OTHER_EACH_TIME.sub("/_", folder) for folder in folders]


@pytest.mark.row("FAULTS-17", "FAULTS-34", "BX-2")
def test_each_call_fails_once(change: Change) -> None:
    app = change.app
    assert len(change.calls) > 70
    (commit,) = [number for number, call in enumerate(change.calls) if call.step[1].endswith("/current")]
    for number, call in [*enumerate(change.calls)][::STEP]:
        errors = ERRORS.get(call.name, ("ENOSPC", "EIO", "EROFS"))
        error = errors[number % len(errors)]
        done = change.failing(call, error)
        what = f"{call} {error}\n{done.err}"
        state = change.state(what)
        if done.status == 0:
            assert number > commit or "/run/nanod/lock" in call.words, what
            assert state == "new", what
        else:
            assert done.status == 1, what
            assert state == "old", what
            (line,) = [line for line in done.err.splitlines() if line.startswith("nanod: cannot ")]
            assert os.strerror(getattr(errno, error)) in line, what
            assert re.search(r" /[a-z]+/\S+", line), what
            assert seen(app).left == (), what
        if state == "new" or number % 5 == 0:
            app.apply()
            assert seen(app).same() == change.new.same(), what
            change.back()


@pytest.mark.thorough
@pytest.mark.row("FAULTS-16", "BX-2")
def test_each_call_is_the_last(change: Change) -> None:
    """SIGKILL as the call is made: it is not carried out any more."""
    app = change.app
    for call in change.calls[1::STEP]:
        done = broken(app, call, "signal=KILL", "apply", app.spec)
        assert done.status in (*KILLED, 1), call
        app.nanod("recover")
        assert seen(app).left == (), call
        if change.state(str(call)) == "new":
            change.back()


@pytest.mark.row("FAULTS-19", "BX-2")
def test_what_has_to_be_on_disk_first_is_synced_first(change: Change) -> None:
    """Each file before it gets its name; the intent before a unit file changes; the unit files before the commit; the commit before the intent goes.

    Of the commands as they are, to the kernel; that the same check finds a sync that is missing is shown in tests/unit/test_recover.py.
    """
    app = change.app
    for argv in (["apply", app.spec], ["rollback", app.name], ["remove", app.name]):
        steps = [call.step for call in traced(app, *argv)]
        assert sum(call == "fsync" for call, _ in steps) > 3, argv
        require_order(steps)
    change.back()


@pytest.mark.row("FAULTS-17", "FAULTS-34", "BX-2")
def test_a_full_disk(change: Change) -> None:
    """The records lie on a file system of their own, which fills up; nothing has been touched, and with space again all goes on."""
    app, machine = change.app, change.app.machine
    app.remove("--purge")
    where = f"{STATE}/apps"
    assert machine.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", where]).status == 0
    change.back()
    machine.run(["sh", "-c", f"cat /dev/zero >{where}/.filler"])
    done = app.apply(status=1)
    assert "No space left on device" in done.err
    assert where in done.err
    assert "free some space" in done.err
    assert change.state("full") == "old"
    assert machine.run(["rm", f"{where}/.filler"]).status == 0
    app.apply()
    assert change.state("space again") == "new"
    app.remove("--purge")
    assert machine.run(["umount", where]).status == 0
    change.back()


@pytest.mark.row("FAULTS-17", "FAULTS-34", "BX-2")
@pytest.mark.parametrize("where", [UNITS, STATE])
def test_a_read_only_file_system(change: Change, where: str) -> None:
    app, machine = change.app, change.app.machine
    assert machine.run(["mount", "--bind", where, where]).status == 0
    assert machine.run(["mount", "-o", "remount,bind,ro", where]).status == 0
    done = app.apply(status=1)
    assert "Read-only file system" in done.err
    assert where in done.err
    assert machine.run(["umount", where]).status == 0
    assert change.state("read-only") == "old"
    app.apply()
    change.back()
