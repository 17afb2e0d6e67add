"""nanod.lifecycle: the end of a service, in each front: by whom, in which order, within which bounds."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest

from nanod.lifecycle import Lifecycle, Phase, StateError
from tests.lifecycles import Gate, fail, note, play, run, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanod.lifecycle import Turn
    from tests.lifecycles import Systemd

SHORT = 0.2
"""A shutdown's time for tests in which it passes; elsewhere it is long, so that nothing depends on it."""


def hang() -> None:
    threading.Event().wait()


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


# Who asks for it


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(front: str, number: int, systemd: Systemd) -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_shutdown(note(steps, "shutdown"))
    life.on_stop(note(steps, "stop"))
    assert run(front, life, lambda: os.kill(os.getpid(), number)) == 0
    assert steps == ["shutdown", "stop"]
    assert systemd.states() == ["READY=1", "STOPPING=1"]


def test_the_end_is_asked_for_once_however_often(front: str, systemd: Systemd) -> None:
    steps: list[str] = []

    def shutdown() -> None:
        steps.append("shutdown")
        for _ in range(20):
            terminate()
            life.stop(7)

    life = Lifecycle()
    life.on_shutdown(note(steps, "first"))
    life.on_shutdown(shutdown)
    life.on_stop(terminate)
    life.on_stop(note(steps, "stop"))

    def script() -> None:
        for _ in range(20):
            terminate()
        life.stop()

    assert play(front, life, script) == 0
    life.stop()
    assert steps == ["shutdown", "first", "stop"]
    assert systemd.states() == ["READY=1", "STOPPING=1"]


def test_the_first_status_counts(front: str) -> None:
    life = Lifecycle()
    assert play(front, life, lambda: life.stop(3)) == 3


def test_a_service_that_is_stopped_before_it_runs_does_not_start(front: str) -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_start(note(steps, "start"))
    life.on_stop(note(steps, "stop"))
    life.stop(4)
    life.stop(5)
    assert life.stopping
    assert run(front, life, note(steps, "serve")) == 4
    assert steps == ["stop"]


def ends(front: str, life: Lifecycle, serve: Callable[[], object]) -> int:
    """As `run`, with a service that ends as soon as `serve` returns."""
    if front == "run":
        return life.run(serve)
    if front == "loop":
        return life.run_loop(lambda turn: turn() and serve())

    async def main() -> None:
        serve()

    return asyncio.run(life.serve(main))


def test_a_service_may_end_by_itself(front: str, systemd: Systemd) -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_shutdown(note(steps, "shutdown"))
    assert ends(front, life, note(steps, "serve")) == 0
    assert steps == ["serve", "shutdown"]
    assert systemd.states() == ["READY=1", "STOPPING=1"]


def test_a_service_that_fails_is_shut_down_and_its_status_is_1(front: str, systemd: Systemd, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_shutdown(note(steps, "shutdown"))
    life.on_stop(note(steps, "stop"))
    assert ends(front, life, fail(steps, "serve")) == 1
    assert steps == ["serve", "shutdown", "stop"]
    assert caplog.messages == ["the service failed: ValueError: serve is broken"]
    assert systemd.statuses()[-1] == caplog.messages[0]


@pytest.mark.parametrize(("code", "status"), [(3, 3), (0, 0), (None, 0), ("words", 1)])
def test_sys_exit_in_a_service(front: str, code: object, status: int) -> None:
    def leave() -> NoReturn:
        raise SystemExit(code)

    assert ends(front, Lifecycle(), leave) == status


# Order and bounds


def test_a_failed_shutdown_hook_keeps_no_other_from_running(front: str, systemd: Systemd, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_shutdown(note(steps, "shutdown 1"))
    life.on_shutdown(fail(steps, "shutdown 2"), name="queue")
    life.on_stop(fail(steps, "stop 1"), name="logs")
    life.on_stop(note(steps, "stop 2"))
    assert play(front, life, lambda: None) == 1
    assert steps == ["shutdown 2", "shutdown 1", "stop 1", "stop 2"]
    assert caplog.messages == [
        "on_shutdown hook 'queue' failed: ValueError: shutdown 2 is broken",
        "on_stop hook 'logs' failed: ValueError: stop 1 is broken",
    ]
    assert systemd.statuses()[-1] == caplog.messages[0]


def test_what_is_over_the_deadline_is_abandoned_and_named(front: str, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []
    life = Lifecycle(shutdown_timeout=SHORT)
    life.on_shutdown(note(steps, "never"), name="database")
    life.on_shutdown(hang, name="queue")
    life.on_shutdown(note(steps, "shutdown"), name="listener")
    life.on_stop(lambda: threading.Event().wait(SHORT * 3))
    life.on_stop(note(steps, "stop"))
    assert play(front, life, lambda: None) == 1
    assert steps == ["shutdown", "stop"], "stop hooks have no deadline"
    assert caplog.messages == [
        "on_shutdown hook 'queue' took too long: it was abandoned",
        "on_shutdown hook 'database' did not run: no time was left for it",
    ]
    assert "in hang" in caplog.text, "and where it hung is shown"


def test_an_async_hook_is_cancelled_at_the_deadline(caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []

    async def queue() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("cleaned up")

    life = Lifecycle(shutdown_timeout=SHORT)
    life.on_shutdown(queue)
    assert play("asyncio", life, lambda: None) == 1
    assert steps == ["cleaned up"]
    assert caplog.messages == ["on_shutdown hook 'queue' took too long: it was abandoned"]


def test_an_async_hook_that_will_not_be_cancelled_holds_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []

    async def queue() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                steps.append("no")

    life = Lifecycle(shutdown_timeout=SHORT)
    life.on_shutdown(queue)
    life.on_stop(note(steps, "stop"))
    assert play("asyncio", life, lambda: None) == 1
    assert steps == ["no", "stop"]
    assert caplog.messages == ["on_shutdown hook 'queue' took too long: it was abandoned"]


def test_a_hook_that_cancels_itself_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    async def queue() -> None:
        raise asyncio.CancelledError

    life = Lifecycle()
    life.on_shutdown(queue)
    assert play("asyncio", life, lambda: None) == 1
    assert caplog.messages == ["on_shutdown hook 'queue' failed: on_shutdown hook 'queue' has cancelled itself"]


def test_what_is_under_way_when_the_end_is_asked_for_has_half_of_the_time(front: str, caplog: pytest.LogCaptureFixture) -> None:
    """So that something is left for the shutdown hooks."""
    steps: list[str] = []

    def reload() -> None:
        terminate()
        hang()

    life = Lifecycle(shutdown_timeout=SHORT * 2)
    life.on_reload(reload, name="levels")
    life.on_shutdown(note(steps, "shutdown"))

    def script() -> None:
        with pytest.raises(Exception, match="on_reload hook 'levels' took too long: it was abandoned"):
            life.reload()

    assert play(front, life, script) == 0
    assert steps == ["shutdown"]
    assert "on_reload hook 'levels' took too long" in caplog.text


def test_a_start_that_hangs_can_be_ended(front: str, systemd: Systemd, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []

    def start() -> None:
        terminate()
        hang()

    life = Lifecycle(shutdown_timeout=SHORT * 2)
    first = life.on_start(note(steps, "start"))
    life.on_start(start, name="database")
    life.on_shutdown(note(steps, "undo"), undoes=first)
    assert run(front, life, note(steps, "serve")) == 1
    assert steps == ["start", "undo"]
    assert systemd.states() == ["STOPPING=1"]
    assert caplog.messages == ["cannot start: on_start hook 'database' took too long: it was abandoned"]


def test_a_service_that_does_not_end_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []
    life = Lifecycle(shutdown_timeout=SHORT)
    life.on_ready(life.stop)
    life.on_stop(note(steps, "stop"))
    assert life.run(hang) == 1
    assert steps == ["stop"]
    assert caplog.messages == [f"serve did not end within {SHORT:g} s: it was abandoned"]


def test_a_loop_that_takes_no_turns_is_cut_short(caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []
    life = Lifecycle(shutdown_timeout=SHORT * 2)
    life.on_ready(life.stop)
    life.on_shutdown(note(steps, "shutdown"))
    assert life.run_loop(lambda _turn: hang()) == 1
    assert steps == ["shutdown"]
    assert caplog.messages == ["the loop took too long to end: it was cut short"]


def test_a_loop_that_knows_of_the_end_has_all_of_the_time(caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []

    def loop(turn: Turn) -> None:
        life.stop()
        while turn():
            pass
        steps.append("drains")
        until(lambda: life._flow is not None and life._flow._guard.left() < SHORT / 2, "more than half is over")
        steps.append("has drained")

    life = Lifecycle(shutdown_timeout=SHORT)
    assert life.run_loop(loop) == 0
    assert steps == ["drains", "has drained"]
    assert caplog.messages == []


@pytest.mark.parametrize("takes_turns", [True, False])
def test_a_loop_that_does_not_end_is_cut_short(takes_turns: bool, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []

    def loop(turn: Turn) -> None:
        life.stop()
        while turn():
            pass
        while takes_turns:
            turn()
        hang()

    life = Lifecycle(shutdown_timeout=SHORT)
    life.on_stop(note(steps, "stop"))
    assert life.run_loop(loop) == 1
    assert steps == ["stop"]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("the loop ")


def test_main_is_cancelled_after_the_shutdown_hooks(systemd: Systemd) -> None:
    steps: list[str] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("cancelled")

    life = Lifecycle()
    life.on_start(lambda: life.spawn(asyncio.sleep, 0))
    life.on_shutdown(lambda: asyncio.sleep(0.01))
    life.on_shutdown(note(steps, "shutdown"))
    life.on_stop(note(steps, "stop"))
    life.on_reload(life.stop)
    life.on_ready(life.reload)
    assert asyncio.run(life.serve(main)) == 0
    assert steps == ["shutdown", "cancelled", "stop"]
    assert systemd.states()[-1] == "STOPPING=1"


def test_a_main_that_waits_for_the_end_ends_by_itself() -> None:
    steps: list[str] = []

    async def main() -> None:
        assert not await life.wait_async(0.001)
        steps.append("a while is over")
        life.stop()
        assert await life.wait_async()
        steps.append("drains")
        await asyncio.sleep(0.05)
        steps.append("has drained")

    life = Lifecycle()
    life.on_shutdown(note(steps, "shutdown"))
    assert asyncio.run(life.serve(main)) == 0
    assert sorted(steps) == ["a while is over", "drains", "has drained", "shutdown"]


@pytest.mark.parametrize("hears", [True, False])
def test_a_main_that_does_not_end_is_abandoned(hears: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        if hears:
            await life.wait_async()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    life = Lifecycle(shutdown_timeout=SHORT)
    life.on_ready(life.stop)
    assert asyncio.run(life.serve(main)) == 1
    assert caplog.messages == [f"main did not end within {SHORT:g} s: it was abandoned"]


def test_a_cancelled_service_ends_in_order_and_hands_it_on() -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_shutdown(note(steps, "shutdown"))
    life.on_stop(note(steps, "stop"))

    began = asyncio.Event()

    async def main() -> None:
        began.set()
        await asyncio.Event().wait()

    async def around() -> None:
        task = asyncio.create_task(life.serve(main))
        await began.wait()
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(around())
    assert steps == ["shutdown", "stop"]


def test_a_second_interrupt_at_a_terminal_cuts_it_short(front: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(os, "isatty", lambda _file: True)
    steps: list[str] = []

    def patient() -> None:
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()
        hang()

    life = Lifecycle(shutdown_timeout=1000)
    life.on_shutdown(note(steps, "never"), name="database")
    life.on_shutdown(patient, name="queue")
    life.on_stop(note(steps, "stop"))
    assert run(front, life, lambda: os.kill(os.getpid(), signal.SIGINT)) == 1
    assert steps == ["stop"]
    assert caplog.messages == [
        "on_shutdown hook 'queue' took too long: it was abandoned",
        "on_shutdown hook 'database' did not run: no time was left for it",
    ]


def test_elsewhere_a_second_interrupt_means_nothing(front: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda _file: False)
    steps: list[str] = []

    def patient() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        steps.append("shutdown")

    life = Lifecycle()
    life.on_shutdown(patient)
    assert run(front, life, lambda: os.kill(os.getpid(), signal.SIGINT)) == 0
    assert steps == ["shutdown"]


# What runs beside the service


def test_background_tasks_are_waited_for(front: str) -> None:
    steps: list[str] = []

    def work(word: str) -> None:
        while not life.wait(0.001):
            pass
        steps.append(word)

    life = Lifecycle()
    life.on_start(lambda: life.spawn(work, "one"))
    life.on_stop(note(steps, "stop"))
    assert play(front, life, lambda: life.spawn(work, "two", name="second")) == 0
    assert sorted(steps[:2]) == ["one", "two"]
    assert steps[2:] == ["stop"]


def test_tasks_are_cancelled_after_the_shutdown_hooks_and_waited_for() -> None:
    steps: list[str] = []
    begun: list[str] = []

    async def work() -> None:
        begun.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            steps.append("cleaned up")

    life = Lifecycle()
    life.on_start(lambda: life.spawn(work))
    life.on_shutdown(note(steps, "shutdown"))
    life.on_stop(note(steps, "stop"))

    def script() -> None:
        life.spawn(work)  # also from another thread
        until(lambda: len(begun) == 2, "both run")

    assert play("asyncio", life, script) == 0
    assert steps == ["shutdown", "cleaned up", "cleaned up", "stop"]


def test_a_background_task_that_does_not_end_is_abandoned_and_named(front: str, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []
    life = Lifecycle(shutdown_timeout=SHORT)
    life.on_stop(note(steps, "stop"))
    assert play(front, life, lambda: life.spawn(hang, name="poll")) == 1
    assert steps == ["stop"]
    assert caplog.messages == [f"poll did not end within {SHORT:g} s: it was abandoned"]


def test_a_background_task_that_fails_is_logged(front: str, caplog: pytest.LogCaptureFixture) -> None:
    life = Lifecycle()

    def script() -> None:
        life.spawn(fail([], "poll"), name="poll")
        until(lambda: caplog.messages, "it is logged")
        assert life.phase is Phase.RUN

    assert play(front, life, script) == 0
    assert caplog.messages == ["background task 'poll' failed: ValueError: poll is broken"]


def test_a_task_that_was_cancelled_by_somebody_else_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    life = Lifecycle()

    def script() -> None:
        life.spawn(work)
        until(lambda: caplog.messages, "it is logged")

    assert play("asyncio", life, script) == 0
    assert caplog.messages == ["background task 'work' failed: CancelledError"]


def test_nothing_is_spawned_at_the_end(front: str) -> None:
    said: list[str] = []

    def shutdown() -> None:
        with pytest.raises(StateError) as error:
            life.spawn(hang)
        said.append(str(error.value))

    life = Lifecycle()
    life.on_shutdown(shutdown)
    assert play(front, life, lambda: None) == 0
    assert said == ["cannot spawn 'hang': the service is about to end"]


def test_wait_is_over_when_the_end_is_asked_for(front: str) -> None:
    waited: list[bool] = []
    gate = Gate()

    def work() -> None:
        waited.append(life.wait(0.001))
        gate.open.set()
        waited.append(life.wait())
        waited.append(life.wait(1000))

    life = Lifecycle()

    def script() -> None:
        life.spawn(work)
        gate()
        assert not life.stopping

    assert play(front, life, script) == 0
    assert waited == [False, True, True]
    assert life.stopping
