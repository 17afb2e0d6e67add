"""nanod.lifecycle: the socket on which a unit's ExecReload= asks, and waits for the answer."""

from __future__ import annotations

import socket
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from nanod.lifecycle import Lifecycle, StateError
from nanod.lifecycle.__main__ import main
from nanod.lifecycle.control import ask_reload
from tests.lifecycles import Gate, fail, note, play, until

if TYPE_CHECKING:
    from pathlib import Path


def test_a_reload_is_waited_for(front: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps: list[str] = []
    path = tmp_path / "control"
    life = Lifecycle(control=path)
    life.on_reload(note(steps, "reload"))

    def script() -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert main(["reload", str(path)]) == 0
        assert steps == ["reload"]

    assert play(front, life, script) == 0
    assert not path.exists()
    assert capsys.readouterr() == ("", "")


def test_its_error_is_told(front: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "control")
    life = Lifecycle(control=path)
    life.on_reload(fail([], "größe"), name="tls")

    def script() -> None:
        assert main(["reload", path]) == 1

    assert play(front, life, script) == 0
    assert capsys.readouterr().err == "cannot reload: on_reload hook 'tls' failed: ValueError: größe is broken; what was in force stays\n"


def test_those_who_ask_during_a_reload_share_the_next(tmp_path: Path) -> None:
    path, seen = str(tmp_path / "control"), []
    gate = Gate()

    def read() -> None:
        seen.append("reload")
        if len(seen) == 1:
            gate()

    life = Lifecycle(control=path)
    life.on_reload(read)
    failed: list[str] = []

    def script() -> None:
        threads = [threading.Thread(target=lambda: failed.append(ask_reload(path))) for _ in range(10)]
        threads[0].start()
        assert gate.reached.wait(20)
        for thread in threads[1:]:
            thread.start()
        until(lambda: len(life._flow.reloads._answers) == 9, "all have asked")  # type: ignore[union-attr]
        gate.open.set()
        for thread in threads:
            thread.join()

    assert play("run", life, script) == 0
    assert failed == [""] * 10
    assert len(seen) == 2


def test_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "control"
    assert main(["reload", str(path)]) == 1
    assert capsys.readouterr().err == f"cannot reload: nobody listens at {path}: No such file or directory\n"


@pytest.mark.parametrize("words", [[], ["reload"], ["stop", "path"], ["reload", "path", "more"]])
def test_wrong_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == "usage: python3 -m nanod.lifecycle reload PATH\n"


def test_other_words_and_silence_do_no_harm(tmp_path: Path) -> None:
    path = str(tmp_path / "control")
    life = Lifecycle(control=path)
    life.on_reload(lambda: None)

    def script() -> None:
        silent = socket.socket(socket.AF_UNIX)
        silent.connect(path)
        for words in (b"stop\n", b"x" * 100_000, b""):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.sendall(words[:5000])
                client.shutdown(socket.SHUT_WR)
                assert client.recv(100) == b"cannot do that: 'reload' is all that there is"
        with socket.socket(socket.AF_UNIX) as gone:
            gone.connect(path)
            gone.sendall(b"reload\n")
        assert ask_reload(path) == ""
        silent.close()

    assert play("run", life, script) == 0


def test_what_another_process_left_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    life = Lifecycle(control=path)
    assert play("run", life, lambda: None) == 0
    path.write_text("somebody's")
    with pytest.raises(StateError, match=r"cannot listen at .*/control: Address already in use"):
        Lifecycle(control=path).run()
    assert path.read_text() == "somebody's"
    with pytest.raises(StateError, match="cannot listen at /no/such/directory/control"):
        Lifecycle(control="/no/such/directory/control").run()
