"""nanod.lifecycle: what runs when, in each front, and what systemd hears of it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from nanod.lifecycle import FrozenError, HookError, Lifecycle, Phase, StateError
from tests.lifecycles import Gate, fail, note, play, run, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lifecycles import Systemd


def full(steps: list[str]) -> Lifecycle:
    """Two hooks of each kind, that note themselves."""
    life = Lifecycle(shutdown_timeout=5)
    for number in "12":
        life.on_start(note(steps, f"start {number}"), name=f"start {number}")
        life.on_ready(note(steps, f"ready {number}"), name=f"ready {number}")
        life.on_reload(note(steps, f"reload {number}"), name=f"reload {number}")
        life.on_shutdown(note(steps, f"shutdown {number}"), name=f"shutdown {number}")
        life.on_stop(note(steps, f"stop {number}"), name=f"stop {number}")
    return life


def test_the_whole_order(front: str, systemd: Systemd) -> None:
    steps: list[str] = []
    life = full(steps)
    phases = [life.phase]

    def script() -> None:
        life.reload()
        phases.append(life.phase)

    life.on_start(lambda: phases.append(life.phase))
    assert play(front, life, script) == 0
    assert steps == [
        "start 1", "start 2", "ready 1", "ready 2", "reload 1", "reload 2", "shutdown 2", "shutdown 1", "stop 1", "stop 2",
    ]  # fmt: skip
    assert systemd.states() == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    assert systemd.statuses() == [
        "build", "build: start 1", "build: start 2", "build: <lambda>", "start", "run",
        "reload: reload 1", "reload: reload 2", "run: reloaded reload 1, reload 2",
        "shutdown", "shutdown: shutdown 2", "shutdown: shutdown 1", "shutdown: stop 1", "shutdown: stop 2",
    ]  # fmt: skip
    assert [*phases, life.phase] == [Phase.CONFIGURE, Phase.BUILD, Phase.RUN, Phase.SHUTDOWN]


def test_hooks_run_in_the_main_thread_and_what_is_beside_it_does_not(front: str) -> None:
    seen: dict[str, bool] = {}
    life = Lifecycle()
    for register in (life.on_start, life.on_ready, life.on_reload, life.on_shutdown, life.on_stop):
        kind = register.__name__
        register(lambda kind=kind: seen.update({kind: threading.current_thread() is threading.main_thread()}))
    play(front, life, life.reload)
    assert seen == {"on_start": True, "on_ready": False, "on_reload": True, "on_shutdown": True, "on_stop": True}


def test_decorators_hand_back_what_they_register() -> None:
    life = Lifecycle()

    @life.on_start
    def plain() -> None: ...

    @life.on_shutdown(name="words", undoes=plain)
    def named() -> None: ...

    assert (plain.__name__, named.__name__) == ("plain", "named")


# The start


def test_a_failed_start_hook_ends_the_start(front: str, systemd: Systemd, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []
    life = Lifecycle()
    first = life.on_start(note(steps, "start 1"))
    broken = life.on_start(fail(steps, "start 2"), name="database")
    third = life.on_start(note(steps, "start 3"))
    life.on_ready(note(steps, "ready"))
    life.on_shutdown(note(steps, "undo 1"), undoes=first)
    life.on_shutdown(note(steps, "undo 2"), undoes=broken)
    life.on_shutdown(note(steps, "undo 3"), undoes=third)
    life.on_shutdown(note(steps, "shutdown"))
    life.on_stop(note(steps, "stop"))
    assert run(front, life, note(steps, "serve")) == 1
    assert steps == ["start 1", "start 2", "shutdown", "undo 1", "stop"]
    assert systemd.states() == ["STOPPING=1"], "it never was ready"
    words = "cannot start: on_start hook 'database' failed: ValueError: start 2 is broken"
    assert systemd.statuses()[-1] == words, "the last word is the reason"
    assert caplog.messages == [words]
    assert "in hook" in caplog.text, "the traceback is in the log"
    assert "nanod/lifecycle" not in caplog.text.partition("Traceback")[2]


def test_sys_exit_in_a_start_hook_is_a_failure(front: str, caplog: pytest.LogCaptureFixture) -> None:
    life = Lifecycle()
    life.on_start(lambda: exit(0), name="leaves")  # noqa: PLR1722
    assert run(front, life) == 1
    assert caplog.messages == ["cannot start: on_start hook 'leaves' failed: SystemExit: 0"]


def test_an_end_that_is_asked_for_while_it_starts(front: str, systemd: Systemd) -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_start(lambda: os.kill(os.getpid(), signal.SIGTERM))
    life.on_start(note(steps, "start 2"))
    life.on_stop(note(steps, "stop"))
    assert run(front, life, note(steps, "serve")) == 0
    assert steps == ["stop"]
    assert systemd.states() == ["STOPPING=1"]


def test_ready_is_said_by_the_service_itself(front: str, systemd: Systemd) -> None:
    life = Lifecycle()
    gate = Gate()
    heard: list[list[str]] = []

    def begin() -> None:
        gate()
        heard.append(list(systemd.states()))
        life.ready()
        until(lambda: life.phase is Phase.RUN, "ready")
        life.stop()

    life.on_start(lambda: life.spawn(begin))
    assert run(front, life, gate.open.set, says_ready=True) == 0
    assert heard == [[]]
    assert systemd.states() == ["READY=1", "STOPPING=1"]


def test_a_service_that_ends_before_it_is_ready_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    assert Lifecycle().run(lambda: None, says_ready=True) == 1
    assert caplog.messages == ["the service has ended before it was ready"]


# Ready hooks


def test_a_failed_ready_hook_harms_nothing(front: str, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_ready(fail(steps, "ready 1"), name="cache")
    assert play(front, life, note(steps, "the next")) == 0
    assert steps == ["ready 1", "the next"]
    assert caplog.messages == ["on_ready hook 'cache' failed: ValueError: ready 1 is broken"]


def test_ready_hooks_do_not_hold_up_the_service(front: str, systemd: Systemd) -> None:
    life = Lifecycle()
    gate = Gate()
    steps: list[str] = []
    life.on_ready(gate)
    life.on_reload(note(steps, "reload"))
    life.on_reload(gate.open.set)

    def script() -> None:
        assert gate.reached.wait(20)
        life.reload()

    life.on_start(lambda: life.spawn(script))
    assert play(front, life, note(steps, "the next")) == 0
    assert steps == ["reload", "the next"]
    assert systemd.states()[0] == "READY=1"


# Registration


def test_hooks_are_fixed_from_the_start_on(front: str) -> None:
    life = Lifecycle()
    refused: list[str] = []

    def late() -> None:
        for register in (life.on_start, life.on_ready, life.on_reload, life.on_shutdown, life.on_stop):
            with pytest.raises(FrozenError) as error:
                register(note([], ""), name="late")
            refused.append(str(error.value))

    life.on_start(late)
    play(front, life, late)
    with pytest.raises(FrozenError, match="on_stop hook 'late'"):
        life.on_stop(late)
    assert refused == [f"cannot register {kind} hook 'late': the service has started" for kind in
                       ("on_start", "on_ready", "on_reload", "on_shutdown", "on_stop")] * 2  # fmt: skip


async def coroutine() -> None: ...


class Called:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize("hook", [coroutine, Called(), Called().__call__])
def test_async_hooks_are_refused_without_a_loop(hook: Callable[[], object]) -> None:
    for front in ("run", "loop"):
        life = Lifecycle()
        life.on_stop(hook, name="wrong")
        with pytest.raises(HookError, match="cannot run on_stop hook 'wrong': it is async"):
            run(front, life)
        assert life.phase is Phase.CONFIGURE


def test_an_async_hook_in_disguise_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    life = Lifecycle()
    life.on_start(lambda: coroutine(), name="disguised")  # noqa: PLW0108  # whose own code is not async
    assert life.run() == 1
    assert "on_start hook 'disguised'" in caplog.text
    assert "it is async, and run() has no event loop" in caplog.text


def generator() -> Iterator[int]:
    yield 1


def test_what_can_be_no_hook() -> None:
    life = Lifecycle()
    with pytest.raises(HookError, match="cannot register on_start hook 'str': it is no function but 'text'"):
        life.on_start("text")  # type: ignore[call-overload]
    with pytest.raises(HookError, match="'generator': it is a generator"):
        life.on_start(generator)


def test_what_is_undone_has_to_be_something(front: str) -> None:
    life = Lifecycle()
    life.on_shutdown(note([], ""), undoes=generator, name="wrong")
    with pytest.raises(
        HookError, match="cannot run on_shutdown hook 'wrong': what it undoes, 'generator', is neither an on_start hook nor the service"
    ):
        run(front, life)


def test_what_undoes_the_service_has_nothing_to_do_before_that_has_begun() -> None:
    """server.shutdown() of the standard library would wait for ever for a server that never served."""
    for stops_early in (True, False):
        steps: list[str] = []
        life = Lifecycle()
        serve = note(steps, "serve")
        life.on_start(life.stop if stops_early else note(steps, "start"))
        life.on_shutdown(note(steps, "close"), undoes=serve)
        assert life.run(serve) == 0
        assert steps == ([] if stops_early else ["start", "serve", "close"])


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_deadline_is_a_number_of_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="cannot use shutdown_timeout"):
        Lifecycle(shutdown_timeout=seconds)


# Running


def test_a_service_runs_once(front: str) -> None:
    life = Lifecycle()
    assert play(front, life, lambda: None) == 0
    with pytest.raises(StateError, match="has been run already"):
        run(front, life)


def test_one_service_at_a_time(front: str) -> None:
    other: list[str] = []

    def begin() -> None:
        with pytest.raises(StateError) as error:
            Lifecycle().run()
        other.append(str(error.value))

    life = Lifecycle()
    life.on_start(begin)
    play(front, life, lambda: None)
    assert other == ["cannot run: another service runs in this process"]


def test_only_the_main_thread_runs_a_service() -> None:
    said: list[str] = []

    def elsewhere() -> None:
        with pytest.raises(StateError) as error:
            Lifecycle().run()
        said.append(str(error.value))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert said == ["cannot run: signals reach the main thread only, and this is another"]


def test_what_needs_a_running_service() -> None:
    life = Lifecycle()
    life.on_reload(note([], ""))
    for call, words in (
        (life.reload, "reload"), (life.ready, "say that it is ready"), (life.wait, "wait"), (lambda: life.spawn(coroutine), "spawn 'coroutine'"),
    ):  # fmt: skip
        with pytest.raises(StateError, match=f"cannot {words}: the service does not run yet"):
            call()


def test_signals_are_as_before_afterwards(front: str) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    within: list[object] = []
    play(front, Lifecycle(), lambda: within.extend(map(signal.getsignal, numbers)))
    assert within[0] == within[1] == within[2]
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_hangup_never_has_its_default_again(front: str) -> None:
    own = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        play(front, Lifecycle(), lambda: None)
        os.kill(os.getpid(), signal.SIGHUP)
        handler = note([], "its own")
        signal.signal(signal.SIGHUP, lambda *_: handler())
        mine = signal.getsignal(signal.SIGHUP)
        play(front, Lifecycle(), lambda: None)
        assert signal.getsignal(signal.SIGHUP) is mine
    finally:
        signal.signal(signal.SIGHUP, own)


def test_a_signal_between_the_handlers_and_the_first_step_counts(front: str, systemd: Systemd) -> None:
    steps: list[str] = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        life = Lifecycle()
        life.on_start(note(steps, "start"))
        life.on_reload(note(steps, "reload"))
        life._signalled(number)
        assert life.stopping is (number == signal.SIGTERM)
        if number == signal.SIGTERM:
            assert run(front, life) == 0
            assert steps == []
        else:
            assert play(front, life, lambda: until(lambda: "reload" in steps, "it is reloaded")) == 0
    assert systemd.states() == ["STOPPING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


def test_an_ignored_sigint_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        steps: list[str] = []
        life = Lifecycle()

        def script() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("goes on")

        life.on_shutdown(note(steps, "shutdown"))
        assert play("run", life, script) == 0
        assert steps == ["goes on", "shutdown"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_forked_child_is_not_the_service(front: str) -> None:
    ends: list[int] = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    life = Lifecycle()
    life.on_start(fork)
    assert play(front, life, lambda: None) == 0
    assert ends == [-signal.SIGTERM]


# What is said


def test_a_status_is_one_line_of_utf8(systemd: Systemd) -> None:
    life = Lifecycle()
    life.status("café →\nREADY=1  ☕")
    life.status("x" * 5000)
    first, second = systemd.statuses()
    assert first == "café → READY=1 ☕"
    assert (len(second), second[-1]) == (1000, "…")
    assert systemd.states() == []


def test_nothing_is_said_without_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    life = Lifecycle()
    life.status("words")
    assert play("run", life, lambda: None) == 0


def test_everything_is_logged_under_one_name(caplog: pytest.LogCaptureFixture) -> None:
    life = Lifecycle()
    life.on_reload(lambda: None, name="levels")
    with caplog.at_level(logging.INFO):
        play("run", life, life.reload)
    assert [(record.name, record.message) for record in caplog.records] == [("nanod.lifecycle", "reloaded levels")]


# asyncio's own


def test_hooks_may_be_async() -> None:
    steps: list[str] = []

    def later(step: str) -> Callable[[], object]:
        async def hook() -> None:
            await asyncio.sleep(0)
            steps.append(step)

        return hook

    life = Lifecycle()
    for register in (life.on_start, life.on_ready, life.on_reload, life.on_shutdown, life.on_stop):
        register(later(register.__name__))
    assert play("asyncio", life, life.reload) == 0
    assert steps == ["on_start", "on_ready", "on_reload", "on_shutdown", "on_stop"]


def test_main_has_to_be_async(caplog: pytest.LogCaptureFixture) -> None:
    assert asyncio.run(Lifecycle().serve(lambda: None)) == 1  # type: ignore[arg-type,return-value]
    assert caplog.messages == ["the service failed: cannot serve: main is no async function"]
