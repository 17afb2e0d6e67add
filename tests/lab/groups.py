"""Groups whose members write down that they ran: `<member> up`, `<member> down` of what stays, `<member>` of what ends.

What they do beyond that is told by files, as in `steps`:

    /srv/steps/<app>-<member>.status   what it exits with, at once
    /srv/steps/<app>-<member>.sick     keeps it from becoming healthy, where it has a health gate
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from tests.lab.steps import DIRECTORY, PROGRAMS, App, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nanod.rehearse.machine import Machine

STAYS = f"{PROGRAMS}/stays"
ENDS = f"{PROGRAMS}/ends"
_NAME = "me=${NANOD_TASK:-$NANOD_SERVICE} log=" + f"{DIRECTORY}/$NANOD_APP.log" + ' told="' + f"{DIRECTORY}/$NANOD_APP-$me" + '"'
_STAYS = f"""#!/bin/sh
{_NAME}
trap 'echo "$me down" >>"$log"; exit 0' TERM
echo "$me up" >>"$log"
[ ! -e "$told.status" ] || exit "$(cat "$told.status")"
while [ -e "$told.sick" ]; do sleep 0.1; done
[ -z "$NANOD_RUN_DIR" ] || : >"$NANOD_RUN_DIR/$me"
# Not for long: a signal that comes just before the wait is seen after it.
while :; do sleep 2 & wait $!; done
"""
_ENDS = f"""#!/bin/sh
{_NAME}
echo "$me${{NANOD_RESULT:+ $NANOD_RESULT}}" >>"$log"
exit "$(cat "$told.status" 2>/dev/null || echo 0)"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(App):
    """An app with one service, `web`, that has members."""

    @classmethod
    def on(cls, machine: Machine, name: str) -> Self:
        app = cls(machine=machine, name=name)
        app.program("stays", _STAYS)
        app.program("ends", _ENDS)
        machine.path(DIRECTORY).mkdir(exist_ok=True)
        machine.path(DIRECTORY).chmod(0o777)
        for left in machine.path(DIRECTORY).glob(f"{name}[-.]*"):
            left.unlink()
        app.clear()
        return app

    def tells(self, member: str, status: int | None) -> None:
        """From now on it exits with `status`; None takes that back."""
        file = self.machine.path(f"{DIRECTORY}/{self.name}-{member}.status")
        if status is None:
            file.unlink()
        else:
            file.write_text(str(status))
            file.chmod(0o644)

    def run_of(self, *members: str) -> dict[str, str]:
        """What tells one run of a unit from the next."""
        return {name: self.show(name, "InvocationID") for name in members}

    def until_steps(self, expected: Iterable[str]) -> None:
        """Wait for exactly these lines, in whatever order."""
        wanted = Counter(expected)
        until(lambda: not wanted - Counter(self.steps()), f"{sorted(wanted)}; seen {self.steps()}")
        assert Counter(self.steps()) == wanted, self.steps()

    def in_order(self, *groups: str) -> None:
        in_order(self.steps(), *groups)

    def active(self) -> list[str]:
        """Units of the app that are not inactive."""
        lines = self.systemctl("list-units", "--all", "--plain", "--no-legend", "--full", f"{self.name}-*", f"{self.name}.target").splitlines()
        return [words[0] for line in lines if (words := line.split()) and words[2] != "inactive"]

    def jobs_done(self) -> None:
        until(lambda: not self._jobs(), f"no job is left: {self._jobs()}")

    def _jobs(self) -> list[str]:
        return [line for line in self.systemctl("list-jobs", "--no-legend").splitlines() if f" {self.name}-" in line or f" {self.name}." in line]

    def until_all_gone(self, *but: str) -> None:
        until(lambda: not set(self.active()) - set(but), f"all gone: {self.active()}")
        run = self.machine.path("/run")
        assert [path.name for path in (run / "nanod/groups").glob(f"{self.name}-*")] == []
        assert not (run / self.name / "web").exists()


def in_order(steps: Sequence[str], *groups: str) -> None:
    """The last line of each group of words ("a|b") stands before the first of the next."""
    places = [[at for at, line in enumerate(steps) if line in group.split("|")] for group in groups]
    for before, after, names in zip(places, places[1:], pairwise(groups), strict=False):
        assert before, (names, steps)
        assert after, (names, steps)
        assert before[-1] < after[0], (names, steps)


@contextmanager
def making(machine: Machine) -> Iterator[Callable[[str], Group]]:
    """Makes apps, and removes them in the end, whatever became of them."""
    made: list[Group] = []

    def make(name: str) -> Group:
        made.append(Group.on(machine, name))
        return made[-1]

    yield make
    for app in made:
        app.nanod("remove", "--purge", app.name, status=None)


def stays(hook: str | None = None, **keys: Any) -> dict[str, Any]:
    return {"command": [STAYS]} | ({"lifecycle": {"hook": hook, "sidecar": True}} if hook else {}) | keys


def ends(hook: str, **keys: Any) -> dict[str, Any]:
    return {"command": [ENDS], "lifecycle": {"hook": hook}} | keys


def web(**keys: Any) -> dict[str, Any]:
    """Two mains, and one of each kind of task around them."""
    return {
        "user": "root",
        "runtime_dir": True,
        "settle": "0s",
        "restart": {"delay": "100ms", "limit": 20, "window": "20s"},
        "processes": {"api": stays(), "worker": stays()},
        "tasks": tasks(),
    } | keys


def tasks() -> dict[str, Any]:
    quick = {"restart": {"delay": "100ms", "limit": 3, "window": "6s"}}
    # Without a limit: restarts by hand count, too.
    back = {"restart": {"delay": "100ms"}}
    return {
        "init": ends("prestart", **quick),
        "side": stays("prestart", **back),
        "hello": ends("poststart", **quick),
        "ship": stays("poststart", **back),
        "clean": ends("poststop", **quick),
    }


UP = ["init", "side up", "api up", "worker up", "hello", "ship up"]
DOWN = ["side down", "api down", "worker down", "ship down", "clean success"]
