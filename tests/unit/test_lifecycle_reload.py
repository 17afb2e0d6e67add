"""nanod.lifecycle: reloads, by SIGHUP and by a call, in each front."""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from nanod.lifecycle import Lifecycle, LifecycleError, Phase, ReloadError, RestartNeededError, StateError, refuse_changes
from tests.lifecycles import Gate, fail, note, play, run, until

if TYPE_CHECKING:
    from nanod.lifecycle import Turn
    from tests.lifecycles import Systemd


def hangup() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def test_sighup_reloads(front: str, systemd: Systemd) -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_reload(note(steps, "levels"), name="levels")

    def script() -> None:
        hangup()
        until(lambda: systemd.states() == ["READY=1", "RELOADING=1", "READY=1"], "reloaded")

    assert play(front, life, script) == 0
    assert steps == ["levels"]
    assert "run: reloaded levels" in systemd.statuses()


def test_the_first_error_stops_the_rest(front: str, systemd: Systemd, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_reload(lambda: note(steps, "put in force"), name="levels")
    life.on_reload(fail(steps, "read"), name="tls")
    life.on_reload(note(steps, "never"), name="cache")

    def script() -> None:
        with pytest.raises(
            ReloadError, match="cannot reload: on_reload hook 'tls' failed: ValueError: read is broken; what was in force stays"
        ) as error:
            life.reload()
        assert error.value.hook == "tls"
        assert isinstance(error.value.__cause__, ValueError)
        hangup()
        until(lambda: systemd.states().count("READY=1") == 3, "both are over")
        assert life.phase is Phase.RUN

    assert play(front, life, script) == 0, "a failed reload is no failed service"
    assert steps == ["read", "read"]
    words = "cannot reload: on_reload hook 'tls' failed: ValueError: read is broken; what was in force stays"
    assert caplog.messages == [words, words]
    assert systemd.statuses().count(f"run: {words}") == 2
    assert systemd.states() == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


def test_what_hooks_give_is_put_in_force_when_all_have_succeeded(front: str) -> None:
    steps: list[str] = []

    def reading(name: str) -> None:
        def read() -> object:
            steps.append(f"read {name}")
            return note(steps, f"put {name} in force")

        life.on_reload(read, name=name)

    life = Lifecycle()
    for name in ("levels", "tls"):
        reading(name)
    play(front, life, life.reload)
    assert steps == ["read levels", "read tls", "put levels in force", "put tls in force"]


def test_what_cannot_be_put_in_force_is_told(front: str, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_reload(lambda: note(steps, "levels"), name="levels")
    life.on_reload(lambda: fail(steps, "tls"), name="tls")
    life.on_reload(lambda: note(steps, "cache"), name="cache")

    def script() -> None:
        with pytest.raises(ReloadError, match="on_reload hook 'tls' failed: ValueError: tls is broken; what comes before it is in force"):
            life.reload()

    play(front, life, script)
    assert steps == ["levels", "tls"]
    assert caplog.messages


def test_reloads_that_come_during_a_reload_are_one_more(front: str) -> None:
    """The file that counts is the one which is there when somebody asks: a reload under way may have read an older one."""
    version, seen = ["1"], []
    gate = Gate()

    def read() -> None:
        seen.append(version[0])
        if len(seen) == 1:
            gate()

    life = Lifecycle()
    life.on_reload(read)

    def script() -> None:
        threads = [threading.Thread(target=life.reload) for _ in range(20)]
        threads[0].start()
        assert gate.reached.wait(20)
        version[0] = "2"
        for thread in threads[1:]:
            thread.start()
        for _ in range(50):
            hangup()
        until(lambda: len(life._flow.reloads._answers) == 19, "all have asked")  # type: ignore[union-attr]
        gate.open.set()
        for thread in threads:
            thread.join()

    assert play(front, life, script) == 0
    assert seen == ["1", "2"]


def test_without_a_hook_sighup_is_ignored(front: str, systemd: Systemd) -> None:
    life = Lifecycle()

    def script() -> None:
        hangup()
        with pytest.raises(StateError, match="cannot reload: the service has no reload hook"):
            life.reload()
        hangup()

    assert play(front, life, script) == 0
    assert systemd.states() == ["READY=1", "STOPPING=1"]


def test_a_sighup_before_the_service_serves_is_a_reload_as_soon_as_it_does(front: str, systemd: Systemd) -> None:
    """What a module read when it was imported may be old by then."""
    life, early = Lifecycle(), Lifecycle()
    steps: list[str] = []
    hangup()
    life.on_reload(note(steps, "reload"))
    life.on_start(hangup)
    assert play(front, life, lambda: until(lambda: steps, "reloaded")) == 0
    assert steps == ["reload"], "both are one"
    assert systemd.states() == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    assert play(front, early, lambda: None) == 0


def test_a_hook_cannot_wait_for_the_reload_that_it_is_part_of(front: str) -> None:
    said: list[str] = []

    def read() -> None:
        with pytest.raises(StateError) as error:
            life.reload()
        said.append(str(error.value))

    life = Lifecycle()
    life.on_reload(read)
    play(front, life, life.reload)
    assert said == ["cannot reload: the main thread would wait for itself"]


def test_a_loop_reloads_at_once() -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_reload(note(steps, "reload"))

    def loop(turn: Turn) -> None:
        life.reload()
        steps.append("reloaded")
        life.stop()
        while turn():
            pass

    assert life.run_loop(loop) == 0
    assert steps == ["reload", "reloaded"]


def test_a_loop_that_is_not_ready_has_nothing_to_reload() -> None:
    life = Lifecycle()
    life.on_reload(lambda: None)

    def loop(turn: Turn) -> None:
        with pytest.raises(StateError, match="cannot reload: the service is not ready yet"):
            life.reload()
        life.ready()
        life.reload()
        life.stop()
        while turn():
            pass

    assert life.run_loop(loop, says_ready=True) == 0


def test_a_turn_is_no_place_for_another() -> None:
    said: list[str] = []
    turns: list[Turn] = []

    def again() -> None:
        with pytest.raises(StateError) as error:
            turns[0]()
        said.append(str(error.value))

    life = Lifecycle()
    life.on_reload(again)

    def loop(turn: Turn) -> None:
        turns.append(turn)
        life.reload()
        life.stop()
        while turn():
            pass

    assert life.run_loop(loop) == 0
    assert said == ["cannot take a turn: this is one already"]


def test_a_reload_during_the_end_is_refused(front: str) -> None:
    said: list[str] = []
    gate = Gate()

    def ask() -> None:
        until(lambda: life.phase is Phase.SHUTDOWN, "the end")
        with pytest.raises(StateError) as error:
            life.reload()
        said.append(str(error.value))
        gate.open.set()

    life = Lifecycle()
    life.on_reload(lambda: None)
    life.on_shutdown(gate)
    life.on_start(lambda: life.spawn(ask))
    assert play(front, life, lambda: None) == 0
    assert said == ["cannot reload: the service is about to end"]


def test_who_waits_for_a_reload_when_the_end_comes_is_told(front: str) -> None:
    said: list[str] = []

    def ask() -> None:
        with pytest.raises(StateError) as error:
            life.reload()
        said.append(str(error.value))

    def read() -> None:
        threading.Thread(target=ask).start()
        until(lambda: len(life._flow.reloads._answers) == 1, "somebody waits")  # type: ignore[union-attr]
        life.stop()

    life = Lifecycle()
    life.on_reload(read)
    life.on_reload(note(said, "another hook"))
    life.on_stop(lambda: until(lambda: len(said) == 2, "both are told"))
    life.on_start(lambda: life.spawn(ask))
    assert play(front, life, life.wait) == 0
    assert said == ["cannot reload: the service is about to end"] * 2


def test_a_task_reloads() -> None:
    steps: list[str] = []
    life = Lifecycle()
    life.on_reload(note(steps, "reload"))

    async def main() -> None:
        with pytest.raises(StateError, match="the main thread would wait for itself") as error:
            life.reload()
        assert error.value.hint == "use `await life.reload_async()`"
        await asyncio.gather(*(life.reload_async() for _ in range(10)))

    assert asyncio.run(life.serve(main)) == 0
    assert steps == ["reload"]


def test_a_task_hears_of_the_error() -> None:
    life = Lifecycle()
    life.on_reload(fail([], "tls"), name="tls")

    async def main() -> None:
        with pytest.raises(ReloadError, match="on_reload hook 'tls' failed"):
            await life.reload_async()

    assert asyncio.run(life.serve(main)) == 0


def test_an_async_hook_cannot_wait_for_itself() -> None:
    said: list[str] = []

    async def read() -> None:
        with pytest.raises(StateError) as error:
            await life.reload_async()
        said.append(str(error.value))

    life = Lifecycle()
    life.on_reload(read)
    play("asyncio", life, life.reload)
    assert said == ["cannot reload: a hook would wait for itself"]


@pytest.mark.parametrize("front", ["run", "loop"])
def test_there_is_nothing_async_without_asyncio(front: str) -> None:
    life = Lifecycle()
    life.on_reload(lambda: None)
    said: list[str] = []

    async def ask() -> None:
        for call, name in ((life.reload_async, "reload"), (life.wait_async, "wait")):
            with pytest.raises(StateError, match=f"cannot {name}: the service has no event loop") as error:
                await call()
            said.append(error.value.hint)

    play(front, life, lambda: asyncio.run(ask()))
    assert said == ["use reload()", "use wait()"]


# What cannot be reloaded


@dataclass
class Config:
    listen: str = "127.0.0.1:80"
    state: str = "/var/lib/shop"
    level: str = "info"


def test_parts_that_need_a_restart_are_refused() -> None:
    refuse_changes(Config(), Config(level="debug"), "listen", "state")
    refuse_changes({"a": 1, "b": 2}, {"a": 1, "b": 3}, "a")
    with pytest.raises(RestartNeededError, match="cannot change 'listen', 'state': only a restart can") as error:
        refuse_changes(Config(), Config(listen="secret", state="/srv"), "listen", "state")
    assert error.value.__notes__ == ["restart the service, or put the old value back"]
    with pytest.raises(RestartNeededError, match="'a'"):
        refuse_changes({"a": 1}, {"a": 2}, "a")
    with pytest.raises(AttributeError):
        refuse_changes(Config(), Config(), "no such part")


def test_a_refusal_is_told_without_a_traceback(front: str, caplog: pytest.LogCaptureFixture) -> None:
    life = Lifecycle()
    life.on_reload(lambda: refuse_changes({"socket": "/run/a"}, {"socket": "/run/b"}, "socket"), name="config")

    def script() -> None:
        with pytest.raises(LifecycleError):
            life.reload()

    with caplog.at_level(logging.INFO):
        play(front, life, script)
    words = "cannot reload: on_reload hook 'config' failed: cannot change 'socket': only a restart can; what was in force stays"
    assert caplog.messages == [words]
    assert "Traceback" not in caplog.text


def test_a_storm_of_hangups(front: str, systemd: Systemd) -> None:
    """Each is answered by a reload that began after it; none is lost, and none does harm."""
    version, seen = [0], [0]
    life = Lifecycle()
    life.on_reload(lambda: seen.append(version[0]))

    def script() -> None:
        for number in range(1, 1001):
            version[0] = number
            hangup()
        until(lambda: seen[-1] == 1000, "the last one counts")

    assert play(front, life, script) == 0
    assert seen == sorted(seen)
    states = systemd.states()
    assert states.count("RELOADING=1") == len(seen) - 1
    assert states == ["READY=1", *["RELOADING=1", "READY=1"] * (len(seen) - 1), "STOPPING=1"]


def test_a_selector_is_woken_for_a_reload() -> None:
    """Without a watchdog a loop may wait for ever: only the turn's file descriptor wakes it."""
    life = Lifecycle()
    life.on_reload(life.stop)
    woken: list[int] = []

    def loop(turn: Turn) -> None:
        assert turn.timeout is None
        with selectors.DefaultSelector() as selector:
            selector.register(turn, selectors.EVENT_READ)
            threading.Timer(0.01, hangup).start()
            woken.append(len(selector.select()))
            assert not turn()

    assert life.run_loop(loop) == 0
    assert woken == [1]


def test_run_without_anything_to_serve_waits_for_the_end() -> None:
    life = Lifecycle()
    life.on_ready(life.stop)
    assert life.run() == 0
    assert run("run", Lifecycle(), lambda: os.kill(os.getpid(), signal.SIGTERM)) == 0
