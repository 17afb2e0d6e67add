"""The operator's side of a deploy: who is asked, what is sent, when `prepare` runs, who is left alone. Targets are recording fakes."""

from __future__ import annotations

import shlex
import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from nanod.cli.interrupts import Signals
from nanod.deploy import Fate, Order, Outcome, check_sent, check_target, deploy, ended, judged, numbers
from nanod.diagnostics import Report
from nanod.errors import NanodError
from nanod.host.process import Completed
from nanod.host.ssh import LOST
from nanod.spec.load import load
from nanod.view.deploy import outcome_data, outcome_text, trouble_text
from nanod.view.tty import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = "nanod-deploy uid 0\nnanod-deploy rsync /usr/bin/rsync\nnanod-deploy nanod nanod 1.2.0\n"
STAGE = "/var/lib/nanod/deploy/shop-1/stage-x"
UNREACHABLE = NanodError("cannot deploy to b: nothing answers on its ssh port", hint="is sshd running there?")


@dataclass
class FakeLink:
    """A target that answers as it is told, and writes what it is asked into a log that all targets share."""

    target: str
    log: list[str]
    survey: str = ROOT
    opened: Completed = field(default_factory=lambda: Completed(argv=(), status=0, out=f"{STAGE}\n", err=""))
    status: int = 0
    says: tuple[str, ...] = ("shop: healthy",)
    refuses: dict[str, NanodError] = field(default_factory=dict)
    during: Callable[[str], None] = lambda _: None
    ended: threading.Event = field(default_factory=threading.Event)

    def _note(self, what: str) -> None:
        self.log.append(f"{self.target}: {what}")
        self.during(what)
        if refused := self.refuses.get(what.partition(" ")[0]):
            raise refused

    def run(self, command: str) -> Completed:
        words = shlex.split(command)
        if words[0] == "sh":
            self._note("survey")
            return Completed(argv=(), status=0, out=self.survey, err="")
        self._note(shlex.join(words[words.index("receive") + 1 :]))
        return self.opened

    def send(self, directory: str, destination: str, *, like: Sequence[str] = (), rsync: str = "rsync") -> int:
        self._note(f"send {directory} {destination} {','.join(like)} {rsync}")
        return 3

    def follow(self, command: str, out: Callable[[str], None], err: Callable[[str], None]) -> int:
        self._note(f"follow {command}")
        for line in self.says:
            out(line)
        err("web: starting")
        return self.status

    def interrupt(self) -> None:
        self.log.append(f"{self.target}: interrupt")
        self.ended.set()

    def close(self, last: str = "") -> None:
        self.log.append(f"{self.target}: close{' ' + last if last else ''}")


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def news(self, target: str, text: str) -> None:
        self.lines.append(f"{target}: {text}")

    def out(self, target: str, line: str) -> None:
        self.lines.append(f"{target} > {line}")

    def err(self, target: str, line: str) -> None:
        self.lines.append(f"{target} ! {line}")


def order(**keys: object) -> Order:
    base = {"app": "shop", "project": "shop", "directory": "/home/me/shop", "file": "shop.yaml", "path": "/opt/shop", "version": "1.2.0"}
    return Order(**{**base, "words": ("--redeploy",), **keys})  # type: ignore[arg-type]


def run(links: Sequence[FakeLink], prepare: Callable[[], int] | None = None, **keys: object) -> tuple[Outcome, list[str]]:
    told = Told()
    return deploy(order(**keys), links, prepare=prepare, teller=told), told.lines


def links(*names: str) -> tuple[list[FakeLink], list[str]]:
    log: list[str] = []
    return [FakeLink(name, log) for name in names], log


APPLY = f"receive apply --project shop -- /opt/shop {STAGE}/1 /opt/shop/shop.yaml --redeploy"


def test_one_target_from_the_question_to_the_verdict() -> None:
    (one,), log = links("root@a")
    outcome, told = run([one])
    assert log == [
        "root@a: survey",
        "root@a: open --project shop -- /opt/shop",
        f"root@a: send /home/me/shop {STAGE}/1 /opt/shop rsync",
        f"root@a: follow nanod {APPLY}",
        "root@a: close",
    ]
    assert told == [
        "root@a: connecting",
        "root@a: sending /home/me/shop",
        "root@a: sent, 3 files changed",
        "root@a: nanod apply /opt/shop/shop.yaml",
        "root@a > shop: healthy",
        "root@a ! web: starting",
    ]
    assert (outcome.exit_code, outcome.landings[0].fate, outcome.prepare) == (0, Fate.DEPLOYED, None)
    assert outcome_text(outcome, PLAIN) == "shop: deployed to root@a (0.0 s)"
    assert trouble_text(outcome, PLAIN) == ""


def test_prepare_runs_once_after_the_code_is_everywhere_and_before_anything_is_applied() -> None:
    both, log = links("a", "b")

    def prepare() -> int:
        log.append("prepare")
        return 0

    outcome, _ = run(both, prepare)
    steps = [line.split(" ")[0:2] for line in log]
    assert steps == [
        *(["a:", "survey"], ["b:", "survey"]),
        *(["a:", "open"], ["a:", "send"], ["b:", "open"], ["b:", "send"]),
        ["prepare"],
        *(["a:", "send"], ["a:", "follow"], ["b:", "send"], ["b:", "follow"]),
        *(["a:", "close"], ["b:", "close"]),
    ]
    assert f"a: send /home/me/shop {STAGE}/2 /opt/shop,{STAGE}/1 rsync" in log, "what prepare built is sent, and what was sent before is linked"
    assert f"a: follow nanod {APPLY.replace(f'{STAGE}/1', f'{STAGE}/2')}" in log
    assert (outcome.exit_code, outcome.prepare) == (0, 0)


def test_a_failed_prepare_leaves_every_target_as_it_was() -> None:
    both, log = links("a", "b")
    outcome, _ = run(both, lambda: 7)
    assert not any("follow" in line for line in log)
    assert log[-2:] == [f"{name}: close nanod receive drop -- /opt/shop {STAGE}" for name in "ab"]
    assert (outcome.exit_code, outcome.prepare, [item.fate for item in outcome.landings]) == (4, 7, [Fate.UNTOUCHED] * 2)
    assert trouble_text(outcome, PLAIN) == "nanod: cannot deploy shop: prepare exited with status 7\nhint: no target was touched"
    assert outcome_text(outcome, PLAIN).splitlines()[0].startswith("shop: deployed to 0 of 2 targets")


def test_all_targets_are_asked_and_one_that_cannot_keeps_all_untouched() -> None:
    three, log = links("a", "b", "c")
    three[1].refuses["survey"] = UNREACHABLE
    three[2].survey = ROOT.replace("1.2.0", "1.1.9")
    outcome, _ = run(three)
    assert log == ["a: survey", "b: survey", "c: survey", "a: close", "b: close", "c: close"]
    assert [item.fate for item in outcome.landings] == [Fate.UNTOUCHED, Fate.REFUSED, Fate.REFUSED]
    assert outcome.exit_code == 1
    assert trouble_text(outcome, PLAIN).splitlines() == [
        "nanod: cannot deploy to b: nothing answers on its ssh port",
        "hint: is sshd running there?",
        "nanod: cannot deploy to c: its nanod 1.1.9 is older than this one, 1.2.0",
        "hint: install this version there first",
    ]


def test_the_first_failed_apply_is_the_last_one() -> None:
    three, log = links("a", "b", "c")
    three[1].status = 4
    outcome, _ = run(three)
    assert [line for line in log if "follow" in line] == [f"{name}: follow nanod {APPLY}" for name in "ab"]
    assert [item.fate for item in outcome.landings] == [Fate.DEPLOYED, Fate.FAILED, Fate.UNTOUCHED]
    assert outcome.exit_code == 4
    assert f"c: close nanod receive drop -- /opt/shop {STAGE}" in log
    text = outcome_text(outcome, PLAIN).splitlines()
    assert text[0].startswith("shop: deployed to 1 of 3 targets (")
    assert [line.split()[:2] for line in text[1:]] == [["a", "deployed"], ["b", "failed"], ["c", "untouched"]]


def test_as_many_at_once_as_is_said_and_those_under_way_go_on_after_a_failure() -> None:
    four, log = links("a", "b", "c", "d")
    meet = threading.Barrier(2, timeout=10)

    def together(what: str) -> None:
        if what.startswith("follow"):
            meet.wait()

    four[0].during = four[1].during = together
    four[0].status = 4
    four[1].during = together
    outcome, _ = run(four, at_once=2)
    fates = [item.fate for item in outcome.landings]
    assert fates[:2] == [Fate.FAILED, Fate.DEPLOYED]
    assert outcome.exit_code == 4
    assert log.count("d: survey") == 1


def test_root_s_commands_go_through_sudo_where_the_login_is_not_root() -> None:
    (one,), log = links("me@a")
    one.survey = ROOT.replace("uid 0", "uid 1000") + "nanod-deploy sudo yes\n"
    outcome, _ = run([one])
    assert outcome.exit_code == 0
    assert f"me@a: send /home/me/shop {STAGE}/1 /opt/shop sudo -n rsync" in log
    assert f"me@a: follow sudo -n nanod {APPLY}" in log


def test_a_target_that_refuses_what_is_to_come_says_why() -> None:
    (one,), _ = links("a")
    said = "nanod: cannot put files into /opt/shop: those of 'blog' are there\nhint: give each project a path of its own\n"
    one.opened = Completed(argv=(), status=1, out="", err=said)
    outcome, _ = run([one])
    assert trouble_text(outcome, PLAIN).splitlines() == [
        "nanod: cannot deploy to a: cannot put files into /opt/shop: those of 'blog' are there",
        "hint: give each project a path of its own",
    ]
    one.opened = Completed(argv=(), status=3, out="", err="")
    assert "nanod ended with status 3 there" in trouble_text(run([one])[0], PLAIN)


def test_hostile_names_reach_the_shell_of_the_target_as_one_word_each() -> None:
    (one,), log = links("a")
    path, file = "/opt/it's; rm -rf $HOME", "`id`.yaml"
    run([one], path=path, file=file)
    line = next(line for line in log if "follow" in line).removeprefix("a: follow ")
    words = shlex.split(line)
    assert words[words.index("--") + 1 :] == [path, f"{STAGE}/1", f"{path}/{file}", "--redeploy"]


def test_an_interrupt_tells_the_target_and_the_rest_is_left_alone() -> None:
    both, log = links("a", "b")
    main = threading.main_thread()

    def press(what: str) -> None:
        if what.startswith("follow"):
            signal.pthread_kill(main.ident or 0, signal.SIGINT)
            assert both[0].ended.wait(10)

    both[0].during = press
    both[0].status = 130
    signals = Signals()
    with signals.obeyed():
        outcome = deploy(order(), both, prepare=None, teller=Told(), interrupts=signals)
    assert "a: interrupt" in log
    assert not any(line.startswith("b: follow") for line in log)
    assert (outcome.interrupted, outcome.exit_code) == (True, 130)
    assert [item.fate for item in outcome.landings] == [Fate.FAILED, Fate.UNTOUCHED]
    assert trouble_text(outcome, PLAIN).splitlines()[-1] == "nanod: interrupted"


def test_an_interrupt_of_prepare_touches_nothing() -> None:
    (one,), log = links("a")

    def prepare() -> int:
        raise KeyboardInterrupt

    outcome, _ = run([one], prepare)
    assert (outcome.exit_code, outcome.landings[0].fate) == (130, Fate.UNTOUCHED)
    assert log[-1] == f"a: close nanod receive drop -- /opt/shop {STAGE}"


def test_json_has_the_document_of_each_apply() -> None:
    both, _ = links("a", "b")
    both[0].says = ("{", '"verdict": "healthy"', "}")
    both[1].status, both[1].says = 1, ("no json",)
    outcome, _ = run(both, as_json=True)
    data = outcome_data(outcome)
    assert {key: data[key] for key in ("action", "app", "exit_code", "interrupted", "prepare")} == {
        "action": "deploy", "app": "shop", "exit_code": 1, "interrupted": False, "prepare": None,
    }  # fmt: skip
    targets = data["targets"]
    assert isinstance(targets, list)
    assert [(item["target"], item["result"], item["exit_code"], item["apply"]) for item in targets] == [
        ("a", "deployed", 0, {"verdict": "healthy"}),
        ("b", "failed", 1, None),
    ]
    assert targets[0]["error"] is None
    assert targets[1]["error"] == {
        "kind": "refused",
        "message": "cannot deploy to b: that host refused",
        "hint": "'ssh b nanod status shop' shows how it is",
    }
    assert "--json" in next(line for line in both[0].log if "follow" in line)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (ROOT, ""),
        (ROOT.replace("1.2.0", "1.10.0"), ""),
        (f"Welcome!\n{ROOT}", ""),
        ("", "it runs no commands for you: This account is currently not available."),
        (ROOT.replace("nanod 1.2.0", ""), "there is no nanod"),
        (ROOT.replace("1.2.0", "1.1.9"), "its nanod 1.1.9 is older than this one, 1.2.0"),
        (ROOT.replace("/usr/bin/rsync", ""), "there is no rsync"),
        (
            ROOT.replace("uid 0", "uid 7") + "nanod-deploy sudo sudo: a password is required\n",
            "you are not root there, and may not become it: sudo: a password is required",
        ),
        (ROOT.replace("uid 0", "uid 7"), "you are not root there, and may not become it: sudo refuses"),
    ],
)
def test_what_a_target_answers_is_judged(said: str, message: str) -> None:
    answer = Completed(argv=(), status=0, out=said, err="" if said else "This account is currently not available.\n")
    if not message:
        assert judged("me@a", answer, "1.2.0") == ()
        return
    with pytest.raises(NanodError) as refused:
        judged("me@a", answer, "1.2.0")
    assert refused.value.message == f"cannot deploy to me@a: {message}"
    assert refused.value.hint


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (1, "that host refused"),
        (2, "the spec is not good there"),
        (4, "'nanod apply' failed there"),
        (5, "another nanod is at work there"),
        (6, "'nanod apply' failed there, and could not be undone"),
        (130, "'nanod apply' was interrupted there"),
        (127, "nanod ended with status 127 there"),
        (LOST, "the connection was lost while nanod was at work there"),
    ],
)
def test_how_an_apply_ended_in_words(status: int, message: str) -> None:
    error = ended("a", status, "shop")
    assert error.message == f"cannot deploy to a: {message}"
    assert "'ssh a nanod status shop'" in error.hint


def test_a_lost_connection_is_not_an_exit_code_of_nanod() -> None:
    (one,), _ = links("a")
    one.status = LOST
    assert run([one])[0].exit_code == 1


def test_versions_compare_by_their_numbers() -> None:
    assert numbers("0.10.1~rc2") == (0, 10, 1)
    assert numbers("0.9") < numbers("0.10") < numbers("1")
    assert numbers("unknown") == ()


@pytest.mark.parametrize("target", ["host", "root@host", "root@10.0.0.1", "root@fe80::1", "a_b.example.org", "me@corp@host"])
def test_good_targets(target: str) -> None:
    assert check_target(target) == ""


@pytest.mark.parametrize("target", ["-oProxyCommand=id", "root@-oProxyCommand=id", "a b", "a\tb", "", "root@", "host:22", "ssh://host", "a\nb"])
def test_targets_that_are_no_hosts(target: str) -> None:
    assert check_target(target).startswith(f"'{target}' is not [user@]host")


SENT = """
services:
  web:
    command: [/bin/web]
    environment_files: [web.env, ../shared.env, /etc/web.env]
    reload_on: [a/../../x]
    restart_on: [a/../b]
    credentials: {a: ../secret, b: {file: c/../../d}, c: /etc/x}
    tasks: {init: {command: [/bin/init], lifecycle: {hook: prestart}, environment_files: [../task.env]}}
"""


def test_what_lies_outside_of_the_spec_s_directory_is_an_error_at_its_place() -> None:
    spec = load("shop.yaml", SENT, directory="/home/me/shop").spec
    assert spec is not None
    report = Report()
    check_sent(spec, report)
    assert [(item.mark.line, item.message.split("'")[1]) for item in report] == [
        (5, "../shared.env"),
        (6, "a/../../x"),
        (8, "../secret"),
        (8, "c/../../d"),
        (9, "../task.env"),
    ]
