"""What the daemon does next: one piece of work at a time, by the bytes of files, and at the end the host has what the directory says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanod.daemon.decide import ERROR, WARNING, decide, first
from nanod.daemon.state import (
    GONE,
    LONGEST,
    START,
    Answer,
    Asked,
    Configured,
    Drifted,
    Ended,
    File,
    Keep,
    Look,
    Looked,
    Moved,
    Outcome,
    Result,
    Running,
    Settings,
    Spec,
    Start,
    State,
    Stopping,
    Tell,
    Touched,
    Verb,
    Woke,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanod.daemon.state import Action, Event

HERE = Settings(directory="/etc/nanod/specs.d")


@dataclass
class Daemon:
    """`decide` with its state, and what it did; looks are answered at once by `files`."""

    files: dict[str, File] = field(default_factory=dict)
    problem: str = ""
    known: dict[str, Spec] = field(default_factory=dict)
    running: Running | None = None
    now: float = 100.0
    done: list[Action] = field(default_factory=list)
    state: State = field(init=False)

    def __post_init__(self) -> None:
        self.state = first(HERE, self.known, self.now, self.running)

    def feed(self, event: Event) -> list[Action]:
        before = len(self.done)
        todo = [event]
        while todo:
            self.state, actions = decide(self.state, todo.pop(0))
            self.done += actions
            todo += [Looked(dict(self.files), self.now, self.problem) for action in actions if isinstance(action, Look)]
        return self.done[before:]

    def put(self, **texts: str) -> None:
        self.files |= {stem: File(digest=text) for stem, text in texts.items()}

    def wait(self, seconds: float) -> list[Action]:
        self.now += seconds
        return self.feed(Woke(self.now))

    def begin(self, **texts: str) -> list[Action]:
        self.put(**texts)
        return self.feed(Woke(self.now))

    def touch(self, *stems: str) -> list[Action]:
        return self.feed(Touched(frozenset(stems) or None, self.now))

    def end(self, result: Result = Result.APPLIED, **more: object) -> list[Action]:
        assert self.state.running
        run = self.state.running
        if run.verb is Verb.REMOVE and result is Result.APPLIED:
            result = Result.REMOVED
        values = {"app": run.stem if result is Result.APPLIED else ""} | more
        return self.feed(Ended(run, Outcome(result=result, **values)))  # type: ignore[arg-type]

    def settle(self, result: Result = Result.APPLIED) -> list[tuple[Verb, str]]:
        """End whatever runs until nothing does; what that was."""
        ended = []
        while self.state.running:
            ended.append((self.state.running.verb, self.state.running.stem))
            self.end(result)
        return ended


def started(actions: Sequence[Action]) -> list[tuple[Verb, str, str]]:
    return [(item.running.verb, item.running.stem, item.running.digest) for item in actions if isinstance(item, Start)]


def told(actions: Sequence[Action], at_least: int = WARNING) -> list[str]:
    return [item.text for item in actions if isinstance(item, Tell) and item.priority <= at_least]


def answers(actions: Sequence[Action]) -> dict[int, tuple[str, ...]]:
    return {item.token: item.problems for item in actions if isinstance(item, Answer)}


# The beginning


def test_at_first_every_spec_is_applied_one_after_the_other_and_then_it_is_ready() -> None:
    daemon = Daemon()
    assert started(daemon.begin(b="2", a="1")) == [(Verb.APPLY, "a", "1")]
    assert not daemon.state.is_ready
    assert started(daemon.end()) == [(Verb.APPLY, "b", "2")]
    assert answers(daemon.end(Result.FAILED, lines=("web: exited",))) == {START: ("b: failed: web: exited",)}
    assert daemon.state.is_ready


def test_without_specs_it_is_ready_at_once() -> None:
    assert answers(Daemon().begin()) == {START: ()}


def test_what_was_worked_on_before_is_not_again_whatever_came_of_it() -> None:
    bad = Outcome(result=Result.REFUSED, lines=("no",))
    daemon = Daemon(known={"a": Spec(tried="1", app="a"), "b": Spec(tried="2", last=bad)})
    done = daemon.begin(a="1", b="2")
    assert started(done) == []
    assert answers(done) == {START: ("b: refused: no",)}


def test_what_an_earlier_daemon_began_is_waited_for_and_not_begun_again() -> None:
    daemon = Daemon(running=Running(stem="a", verb=Verb.APPLY, digest="1"))
    assert started(daemon.begin(a="1", b="2")) == []
    assert not daemon.state.is_ready
    assert started(daemon.end()) == [(Verb.APPLY, "b", "2")]
    assert answers(daemon.end()) == {START: ()}


def test_a_directory_that_cannot_be_read_keeps_nobody_waiting() -> None:
    daemon = Daemon(problem="cannot read /etc/nanod/specs.d: No such file or directory")
    done = daemon.begin()
    assert told(done) == ["cannot read /etc/nanod/specs.d: No such file or directory: nothing is removed"]
    assert answers(done) == {START: ("cannot read /etc/nanod/specs.d: No such file or directory",)}


# Changes


def ready(**texts: str) -> Daemon:
    daemon = Daemon()
    daemon.begin(**texts)
    daemon.settle()
    assert daemon.state.is_ready
    daemon.done.clear()
    return daemon


def test_a_change_is_applied_when_it_has_been_quiet_for_a_while() -> None:
    daemon = ready(a="1", b="1")
    daemon.put(a="2")
    assert daemon.touch("a") == []
    assert daemon.state.wake == daemon.now + HERE.debounce
    assert daemon.wait(HERE.debounce / 2) == []
    daemon.touch("a")
    assert daemon.wait(HERE.debounce / 2) == []
    done = daemon.wait(HERE.debounce)
    assert [item for item in done if isinstance(item, Look)] == [Look(frozenset({"a"}))]
    assert started(done) == [(Verb.APPLY, "a", "2")]
    assert daemon.state.wake is None


def test_a_file_that_never_rests_is_looked_at_all_the_same() -> None:
    daemon = ready(a="1")
    begin = daemon.now
    looks: list[float] = []
    while not looks:
        daemon.touch("a")
        looks += [daemon.now for item in daemon.wait(HERE.debounce / 2) if isinstance(item, Look)]
    assert looks[0] - begin <= LONGEST + HERE.debounce


def test_the_same_bytes_are_nothing_to_do() -> None:
    daemon = ready(a="1")
    daemon.touch("a")
    assert started(daemon.wait(1)) == []


def test_a_change_during_its_apply_is_applied_once_afterwards() -> None:
    daemon = ready(a="1")
    for text in ("2", "3", "4"):
        daemon.put(a=text)
        daemon.touch("a")
        daemon.wait(1)
    assert started(daemon.done) == [(Verb.APPLY, "a", "2")]
    assert started(daemon.end()) == [(Verb.APPLY, "a", "4")]
    assert started(daemon.end()) == []


def test_one_that_is_being_written_is_left_until_it_is_closed() -> None:
    daemon = ready(a="1")
    daemon.files["a"] = File(is_busy=True)
    daemon.touch()
    assert started(daemon.wait(1)) == []
    assert daemon.state.specs["a"].seen == "1"
    daemon.put(a="2")
    daemon.touch("a")
    assert started(daemon.wait(1)) == [(Verb.APPLY, "a", "2")]


def test_one_that_was_another_when_it_was_read_is_looked_at_again() -> None:
    daemon = ready(a="1")
    daemon.put(a="2")
    daemon.touch("a")
    daemon.wait(1)
    daemon.put(a="3")
    done = daemon.end(Result.CHANGED)
    assert started(done) == [(Verb.APPLY, "a", "3")]
    assert told(done) == []


def test_one_that_fails_is_not_tried_again_until_it_changes() -> None:
    daemon = ready(a="1")
    daemon.put(a="2")
    daemon.touch("a")
    daemon.wait(1)
    done = daemon.end(Result.FAILED, lines=("failed, generation 1 is back", "web: exited with 1"))
    assert told(done) == ["a: failed: failed, generation 1 is back", "a: web: exited with 1"]
    assert started(done) == []
    daemon.touch()
    assert started(daemon.wait(1)) == []
    daemon.put(a="3")
    daemon.touch("a")
    assert started(daemon.wait(1)) == [(Verb.APPLY, "a", "3")]


def test_going_back_to_what_was_applied_before_is_a_change() -> None:
    daemon = ready(a="1")
    for text in ("2", "1"):
        daemon.put(a=text)
        daemon.touch("a")
        assert started(daemon.wait(1)) == [(Verb.APPLY, "a", text)]
        daemon.end()


def test_what_is_killed_is_begun_once_more_and_no_more_often() -> None:
    daemon = ready(a="1")
    daemon.put(a="2")
    daemon.touch("a")
    daemon.wait(1)
    assert started(daemon.end(Result.KILLED, lines=("killed by 9",))) == [(Verb.APPLY, "a", "2")]
    done = daemon.end(Result.KILLED, lines=("killed by 9",))
    assert started(done) == []
    assert told(done, ERROR) == ["a: killed: killed by 9"]


def test_first_come_first_served() -> None:
    daemon = ready(a="1", b="1", c="1")
    for stem in ("c", "a", "b"):
        daemon.put(**{stem: "2"})
        daemon.touch(stem)
        daemon.wait(1)
    assert daemon.settle() == [(Verb.APPLY, "c"), (Verb.APPLY, "a"), (Verb.APPLY, "b")]


def test_nothing_is_begun_once_it_is_told_to_end() -> None:
    daemon = ready(a="1")
    daemon.feed(Stopping())
    daemon.put(a="2")
    daemon.touch("a")
    assert started(daemon.wait(1)) == []


def test_what_is_to_be_known_after_a_reboot_is_kept_before_anything_else_begins() -> None:
    daemon = ready(a="1")
    daemon.put(a="2", b="1")
    daemon.touch()
    daemon.wait(1)
    done = daemon.end()
    kinds = [type(item) for item in done if isinstance(item, Keep | Start)]
    assert kinds == [Keep, Start]


# What waits for another app


def refused(daemon: Daemon, *apps: str) -> list[Action]:
    return daemon.end(Result.REFUSED, lines=("the spec has errors",), awaits=apps)


def test_a_spec_that_requires_another_app_is_tried_again_when_that_one_is_there() -> None:
    """Their names are in the wrong order; whoever waits for the first reconcile hears of it when both are in force."""
    daemon = Daemon()
    daemon.begin(a="1", b="1", c="1")
    assert started(refused(daemon, "c")) == [(Verb.APPLY, "b", "1")]
    assert started(daemon.end()) == [(Verb.APPLY, "c", "1")], "b is nothing to a"
    done = daemon.end()
    assert started(done) == [(Verb.APPLY, "a", "1")]
    assert answers(done) == {}
    assert answers(daemon.end()) == {START: ()}


def test_one_that_is_refused_again_waits_for_the_next_time() -> None:
    daemon = Daemon()
    daemon.begin(a="1", b="1")
    refused(daemon, "b")
    daemon.end()
    done = refused(daemon, "b")
    assert started(done) == []
    assert answers(done) == {START: ("a: refused: the spec has errors",)}
    assert started(daemon.feed(Moved(frozenset({"other"})))) == []
    assert started(daemon.feed(Moved(frozenset({"b", "other"})))) == [(Verb.APPLY, "a", "1")], "by hand, or by whomever"
    daemon.end()
    assert started(daemon.feed(Moved(frozenset({"b"})))) == [], "what is in force is not applied once more"


def test_what_another_app_requires_goes_after_that_one() -> None:
    daemon = ready(a="1", b="1")
    daemon.files.clear()
    daemon.put(c="1")
    daemon.touch()
    daemon.wait(1)
    daemon.end()
    assert started(daemon.wait(GONE)) == [(Verb.REMOVE, "a", "")]
    assert started(refused(daemon, "b")) == [(Verb.REMOVE, "b", "")]
    assert started(daemon.end()) == [(Verb.REMOVE, "a", "")]
    daemon.end()
    assert set(daemon.state.specs) == {"c"}


def test_one_that_could_not_be_removed_and_is_back_is_not_removed_by_a_reload() -> None:
    """The reload comes before the news of the file."""
    daemon = ready(a="1", b="1")
    del daemon.files["a"]
    daemon.touch("a")
    daemon.wait(1)
    daemon.wait(GONE)
    refused(daemon, "b")
    daemon.put(a="1")
    assert started(daemon.feed(Asked(7, daemon.now))) == [(Verb.APPLY, "a", "1")]
    del daemon.files["a"]
    daemon.end()
    assert started(daemon.feed(Asked(8, daemon.now))) == [(Verb.REMOVE, "a", "")], "gone as it is, it goes at once"


# What is gone


def test_a_spec_that_stays_away_takes_its_app_along() -> None:
    daemon = ready(a="1", b="1")
    del daemon.files["a"]
    daemon.touch("a")
    assert started(daemon.wait(1)) == []
    assert daemon.state.wake == daemon.now + GONE
    assert started(daemon.wait(GONE)) == [(Verb.REMOVE, "a", "")]
    daemon.end()
    assert set(daemon.state.specs) == {"b"}
    assert daemon.state.wake is None


def test_looking_for_one_that_is_missing_forgets_no_change_of_another() -> None:
    daemon = ready(a="1", b="1")
    del daemon.files["a"]
    daemon.touch("a")
    daemon.wait(1)
    daemon.wait(GONE - 0.1)
    daemon.put(b="2")
    daemon.touch("b")
    assert started(daemon.wait(0.1)) == [(Verb.REMOVE, "a", "")]
    daemon.wait(0.1)
    assert started(daemon.end()) == [(Verb.APPLY, "b", "2")]


def test_a_spec_that_was_deleted_to_be_written_anew_is_only_changed() -> None:
    daemon = ready(a="1", b="1")
    del daemon.files["a"]
    daemon.touch("a")
    daemon.wait(1)
    daemon.put(a="2")
    daemon.touch("a")
    assert started(daemon.wait(1)) == [(Verb.APPLY, "a", "2")]
    daemon.end()
    assert started(daemon.wait(10)) == []


def test_a_spec_that_comes_back_during_the_removal_is_applied_afterwards() -> None:
    daemon = ready(a="1", b="1")
    del daemon.files["a"]
    daemon.touch("a")
    daemon.wait(1)
    daemon.wait(GONE)
    daemon.put(a="1")
    daemon.touch("a")
    daemon.wait(1)
    assert started(daemon.end()) == [(Verb.APPLY, "a", "1")]


def test_one_that_never_made_an_app_is_only_forgotten() -> None:
    daemon = ready(b="1")
    daemon.put(a="bad")
    daemon.touch("a")
    daemon.wait(1)
    daemon.end(Result.REFUSED)
    del daemon.files["a"]
    daemon.touch("a")
    daemon.wait(1)
    assert started(daemon.wait(GONE)) == []
    assert set(daemon.state.specs) == {"b"}


def test_what_was_deleted_while_no_daemon_ran_is_removed() -> None:
    daemon = Daemon(known={"a": Spec(tried="1", app="shop"), "b": Spec(tried="1", app="b")})
    assert started(daemon.begin(b="1")) == []
    assert daemon.state.is_ready, "which waits for no removal"
    done = daemon.wait(GONE)
    assert [item.running for item in done if isinstance(item, Start)] == [Running(stem="a", verb=Verb.REMOVE, app="shop")]


@pytest.mark.parametrize("problem", ["", "cannot read /etc/nanod/specs.d: Input/output error"])
def test_an_emptied_or_unreadable_directory_removes_nothing_and_says_so_once(problem: str) -> None:
    daemon = ready(a="1", b="1")
    daemon.files.clear()
    daemon.problem = problem
    for _ in range(3):
        daemon.touch()
        daemon.wait(1)
        daemon.wait(GONE)
    assert started(daemon.done) == []
    assert told(daemon.done) == [f"{problem or '/etc/nanod/specs.d has no spec any more, and a, b came from there'}: nothing is removed"]
    assert daemon.state.wake is None
    daemon.problem = ""
    daemon.begin(a="1", b="2")
    daemon.touch()
    assert started(daemon.wait(1)) == [(Verb.APPLY, "b", "2")]


def test_when_the_last_one_goes_those_that_were_about_to_go_stay() -> None:
    daemon = ready(a="1", b="1")
    del daemon.files["a"]
    daemon.touch("a")
    daemon.wait(1)
    daemon.files.clear()
    daemon.touch("b")
    daemon.wait(GONE)
    assert started(daemon.wait(GONE)) == []


def test_a_removal_that_fails_is_not_tried_again_by_itself() -> None:
    daemon = ready(a="1", b="1")
    del daemon.files["a"]
    daemon.touch("a")
    daemon.wait(1)
    daemon.wait(GONE)
    assert told(daemon.end(Result.FAILED, lines=("stop timed out",))) == ["a: its app a failed: stop timed out"]
    daemon.touch()
    assert started(daemon.wait(1)) == []
    assert started(daemon.feed(Asked(1, daemon.now))) == [(Verb.REMOVE, "a", "")]


def test_a_spec_that_cannot_be_read_keeps_its_app() -> None:
    daemon = ready(a="1", b="1")
    daemon.files["a"] = File(problem="cannot read a: Permission denied")
    daemon.touch("a")
    assert told(daemon.wait(1)) == ["a: cannot read a: Permission denied"]
    assert started(daemon.wait(GONE)) == []


def test_a_file_that_is_renamed_takes_its_app_over() -> None:
    daemon = ready(a="1", b="1x")
    del daemon.files["a"]
    daemon.put(c="1")
    daemon.touch("a", "c")
    (start,) = [item.running for item in daemon.wait(1) if isinstance(item, Start)]
    assert (start.stem, start.takes_over) == ("c", True)
    daemon.end(app="a")
    assert started(daemon.wait(GONE)) == [(Verb.REMOVE, "a", "")], "which finds that the app is of another file"
    daemon.put(d="1")
    daemon.touch("d")
    daemon.wait(1)
    daemon.end()
    assert daemon.state.running
    assert not daemon.state.running.takes_over, "a copy is no new name"


def test_what_was_refused_is_tried_again_when_something_was_removed() -> None:
    daemon = ready(a="1", b="1")
    daemon.put(c="2")
    daemon.touch("c")
    daemon.wait(1)
    daemon.end(Result.REFUSED, lines=("cannot apply a: it is of another spec",))
    del daemon.files["a"]
    daemon.touch("a")
    daemon.wait(1)
    daemon.wait(GONE)
    assert started(daemon.end()) == [(Verb.APPLY, "c", "2")]
    assert started(daemon.end(Result.REFUSED, lines=("no",))) == []


def test_an_app_that_its_spec_now_calls_otherwise_is_told_of() -> None:
    daemon = ready(a="1")
    daemon.put(a="2")
    daemon.touch("a")
    daemon.wait(1)
    assert told(daemon.end(app="store")) == ["a: its app is now store; a, which came from it, stays: 'nanod remove a' removes it"]


# Who waits


def test_a_reload_is_answered_when_what_it_found_is_done() -> None:
    daemon = ready(a="1", b="1", c="1")
    daemon.put(a="2", b="2")
    assert started(daemon.feed(Asked(7, daemon.now))) == [(Verb.APPLY, "a", "2")]
    assert answers(daemon.end()) == {}
    assert answers(daemon.end(Result.REFUSED, lines=("/etc/nanod/specs.d/b.yaml:3:1: error: no",))) == {
        7: ("b: refused: /etc/nanod/specs.d/b.yaml:3:1: error: no",)
    }


def test_a_reload_of_nothing_is_answered_at_once() -> None:
    daemon = ready(a="1")
    assert answers(daemon.feed(Asked(7, daemon.now))) == {7: ()}


def test_a_reload_tries_again_what_failed() -> None:
    daemon = ready(a="1")
    daemon.put(a="2")
    daemon.touch("a")
    daemon.wait(1)
    daemon.end(Result.FAILED, lines=("no",))
    assert started(daemon.feed(Asked(7, daemon.now))) == [(Verb.APPLY, "a", "2")]
    assert answers(daemon.end(Result.FAILED, lines=("no",))) == {7: ("a: failed: no",)}


def test_a_reload_waits_for_no_later_change() -> None:
    daemon = ready(a="1")
    daemon.put(a="2")
    daemon.feed(Asked(7, daemon.now))
    daemon.put(a="3")
    daemon.touch("a")
    daemon.wait(1)
    done = daemon.end()
    assert answers(done) == {7: ()}
    assert started(done) == [(Verb.APPLY, "a", "3")]


def test_a_reload_does_not_count_a_run_that_began_with_other_bytes() -> None:
    daemon = ready(a="1")
    daemon.put(a="2")
    daemon.touch("a")
    daemon.wait(1)
    daemon.put(a="3")
    daemon.feed(Asked(7, daemon.now))
    assert answers(daemon.end()) == {}
    assert answers(daemon.end()) == {7: ()}


def test_a_reload_waits_for_the_removal_of_what_is_being_applied() -> None:
    daemon = ready(a="1", b="1")
    daemon.put(a="2")
    daemon.touch("a")
    daemon.wait(1)
    del daemon.files["a"]
    daemon.feed(Asked(7, daemon.now))
    assert answers(daemon.end()) == {}
    assert daemon.state.running
    assert daemon.state.running.verb is Verb.REMOVE
    assert answers(daemon.end()) == {7: ()}


@pytest.mark.parametrize("result", [Result.APPLIED, Result.FAILED])
def test_a_reload_waits_for_the_removal_of_what_is_applied_for_the_first_time(result: Result) -> None:
    """Nobody knows yet whether there will be an app to remove."""
    daemon = ready(b="1")
    daemon.put(a="2")
    daemon.touch("a")
    daemon.wait(1)
    del daemon.files["a"]
    daemon.feed(Asked(7, daemon.now))
    done = daemon.end(result)
    if result is Result.APPLIED:
        assert answers(done) == {}
        done = daemon.end()
    assert answers(done) == {7: ()}
    assert set(daemon.state.specs) == {"b"}


def test_a_reload_waits_for_what_is_under_way() -> None:
    daemon = ready(a="1", b="1")
    daemon.put(a="2")
    daemon.touch("a")
    daemon.wait(1)
    assert answers(daemon.feed(Asked(7, daemon.now))) == {}
    assert answers(daemon.end()) == {7: ()}


def test_a_reload_removes_without_waiting_for_it_to_come_back() -> None:
    daemon = ready(a="1", b="1")
    del daemon.files["a"]
    assert started(daemon.feed(Asked(7, daemon.now))) == [(Verb.REMOVE, "a", "")]
    assert answers(daemon.end()) == {7: ()}


def test_reloads_at_the_same_time_are_one_look_further_and_each_is_answered() -> None:
    daemon = ready(a="1")
    daemon.put(a="2")
    daemon.feed(Asked(7, daemon.now))
    daemon.feed(Asked(8, daemon.now))
    assert answers(daemon.end()) == {7: (), 8: ()}
    assert started(daemon.done) == [(Verb.APPLY, "a", "2")]


# Drift and configuration


def test_what_drifted_is_applied_once_more() -> None:
    daemon = ready(a="1")
    assert started(daemon.feed(Drifted("a"))) == [(Verb.APPLY, "a", "1")]
    assert started(daemon.end()) == []
    assert started(daemon.feed(Drifted("b"))) == []


def test_another_debounce_counts_from_the_next_event_on() -> None:
    daemon = ready(a="1")
    daemon.feed(Configured(HERE._replace(debounce=1.5)))
    daemon.touch("a")
    assert daemon.state.wake == daemon.now + 1.5


# Any order


STEMS = ("a", "b", "c")


class World:
    """A directory, a host, and events on the way, some of which are lost; then the kernel says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.files: dict[str, str] = {}
        self.writing: set[str] = set()
        self.read: dict[str, File] = {}
        self.host: dict[str, str] = {}
        self.tokens = 0
        self.seen: set[str] = set()
        """What was there at the last look."""
        self.asked: dict[int, tuple[dict[str, str], set[str]]] = {}
        self.state = first(HERE, {}, 0.0)
        self.events: list[Event] = []
        self.runs: list[Running] = []
        self.torn: list[str] = []
        self.emptied: list[str] = []

    def feed(self, event: Event) -> None:
        todo = [event]
        while todo:
            self.state, actions = decide(self.state, todo.pop(0))
            for action in actions:
                match action:
                    case Look(names):
                        todo.append(Looked(self.look(names), self.now))
                    case Start(running):
                        assert self.runs == [], "one at a time"
                        self.runs.append(running)
                        if running.verb is Verb.REMOVE and not self.seen:
                            self.emptied.append(running.stem)
                    case Answer(token, problems):
                        self.judge(token, is_held=any("no spec any more" in text for text in problems))
                    case _:
                        pass

    def look(self, names: frozenset[str] | None) -> dict[str, File]:
        """What is there; of others than `names` what was there when they were read last."""
        for stem in self.files:
            if names is None or stem in names or stem not in self.read:
                self.read[stem] = File(is_busy=True) if stem in self.writing else File(digest=self.files[stem])
        self.seen = set(self.files)
        found = {stem: self.read[stem] for stem in self.files}
        self.read = {stem: file for stem, file in found.items() if not file.is_busy}
        return found

    def ask(self) -> None:
        token = self.tokens = self.tokens + 1
        self.asked[token] = (dict(self.files), set(self.writing))
        self.feed(Asked(token, self.now))

    def judge(self, token: int, *, is_held: bool) -> None:
        """Whoever asked for a reload is answered when what there was then, and still is, has been worked on. `is_held`: and knows that nothing is
        removed.
        """
        wanted, touched = self.asked.pop(token, ({}, set(STEMS)))
        for stem in set(STEMS) - touched:
            if stem in wanted:
                assert self.state.specs[stem].tried == wanted[stem]
            elif not is_held:
                assert stem not in self.host

    def touch(self, stem: str) -> None:
        for _, touched in self.asked.values():
            touched.add(stem)

    def event(self, stem: str) -> None:
        self.touch(stem)
        self.events.append(Touched(frozenset({stem}), self.now))

    def write(self, stem: str, text: str) -> None:
        """By truncation: what is read in between is torn."""
        self.touch(stem)
        self.writing.add(stem)
        self.files[stem] = f"torn {text}"

    def close(self, stem: str, text: str) -> None:
        if stem in self.writing:
            self.writing.discard(stem)
            self.files[stem] = text
            self.event(stem)

    def replace(self, stem: str, text: str) -> None:
        self.writing.discard(stem)
        self.files[stem] = text
        self.event(stem)

    def delete(self, stem: str) -> None:
        if self.files.pop(stem, None) is not None:
            self.writing.discard(stem)
            self.event(stem)

    def deliver(self) -> None:
        if self.events:
            found = self.events.pop(0)
            assert isinstance(found, Touched)
            self.feed(Touched(found.names, self.now))

    def see(self) -> None:
        while self.events:
            self.deliver()
        self.tick(0.3)

    def lose(self) -> None:
        if self.events:
            self.events = [Touched(None, self.now)]

    def tick(self, seconds: float) -> None:
        self.now += seconds
        if self.state.wake is not None and self.state.wake <= self.now:
            self.feed(Woke(self.now))

    def finish(self, result: Result) -> None:
        if not self.runs:
            return
        run = self.runs.pop()
        if run.verb is Verb.REMOVE:
            self.host.pop(run.stem, None)
            result = Result.REMOVED
        elif self.files.get(run.stem) != run.digest:
            result = Result.CHANGED
        elif result is Result.APPLIED:
            self.host[run.stem] = run.digest
            if run.digest.startswith("torn"):
                self.torn.append(run.digest)
        self.feed(Ended(run, Outcome(result=result, app=run.stem if result is Result.APPLIED else "")))

    def come_to_rest(self) -> None:
        """Every event arrives, every writer closes, everything ends well."""
        for stem in sorted(self.writing):
            self.close(stem, "closed")
        for _ in range(100):
            while self.events:
                self.deliver()
            self.tick(LONGEST + GONE)
            self.finish(Result.APPLIED)
        assert self.runs == []
        assert self.state.queue == ()


_STEM = st.sampled_from(STEMS)
_TEXT = st.integers(0, 5).map(str)
_MOVE = st.one_of(
    st.tuples(st.just("write"), _STEM, _TEXT),
    st.tuples(st.just("close"), _STEM, _TEXT),
    st.tuples(st.just("replace"), _STEM, _TEXT),
    st.tuples(st.just("delete"), _STEM),
    st.tuples(st.just("deliver")),
    st.tuples(st.just("see")),
    st.tuples(st.just("finish"), st.just(Result.APPLIED)),
    st.tuples(st.just("lose")),
    st.tuples(st.just("tick"), st.sampled_from([0.05, 0.1, 0.3, 1.9, 2.5])),
    st.tuples(st.just("finish"), st.sampled_from([Result.APPLIED, Result.REFUSED, Result.FAILED, Result.KILLED])),
    st.tuples(st.just("ask")),
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(_MOVE, max_size=60))
def test_whatever_happens_in_whatever_order_the_host_ends_up_with_what_the_directory_says(moves: list[tuple[object, ...]]) -> None:
    world = World()
    for stem in STEMS[:2]:
        world.replace(stem, "0")
    world.come_to_rest()
    for name, *arguments in moves:
        getattr(world, str(name))(*arguments)
    world.come_to_rest()
    assert {stem: world.state.specs[stem].tried for stem in world.files} == world.files, "nothing was missed"
    world.ask()  # what failed while it went on is tried again
    world.come_to_rest()
    assert world.torn == []
    assert world.emptied == []
    assert world.state.waiters == ()
    if world.files:
        assert world.host == world.files
    else:
        assert world.host == {stem: world.host[stem] for stem in world.host}, "an emptied directory leaves what there was"
    assert {stem: spec.app for stem, spec in world.state.specs.items() if spec.app} == {stem: stem for stem in world.host}
    quiet = world.state
    world.feed(Touched(None, world.now))
    world.tick(LONGEST)
    assert world.runs == [], "nothing has changed, and nothing is done"
    assert world.state.specs == quiet.specs
