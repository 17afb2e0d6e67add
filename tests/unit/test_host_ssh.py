"""Another host by ssh(1) and rsync(1). A program of the test's own stands in for ssh: it runs the line on this machine, as the target's shell would."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import threading
from pathlib import Path

import pytest

from nanod.errors import NanodError
from nanod.host.ssh import LOST, Ssh, explained, require_programs

FAKE = """#!/bin/sh
# Notes its arguments, fails as the test has said, or runs the line after the target.
for word do printf '%s\\n' "$word"; done >>"$FAKE_SSH/words"
echo . >>"$FAKE_SSH/words"
if [ -e "$FAKE_SSH/fails" ]; then cat "$FAKE_SSH/fails" >&2; exit 255; fi
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in -O) exit 0 ;; -l) shift ;; -o) shift ;; -*) ;; *) break ;; esac
    shift
done
[ "$1" != -- ] || shift
shift
exec sh -c "$*"
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which the fake finds what it is to do, and notes what it was told."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(FAKE)
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SSH", str(tmp_path))
    return tmp_path


def ssh(told: Path, target: str = "root@a", **keys: object) -> Ssh:
    return Ssh(target, control=told / "socket", **keys)  # type: ignore[arg-type]


def words(told: Path) -> list[list[str]]:
    return [call.splitlines() for call in (told / "words").read_text().split("\n.\n") if call]


def test_a_line_runs_there_and_its_status_is_the_caller_s(told: Path) -> None:
    done = ssh(told).run(shlex.join(["sh", "-c", 'echo "$1"; echo no >&2; exit 3', "sh", "it's; $HOME"]))
    assert (done.status, done.out, done.err) == (3, "it's; $HOME\n", "no\n")


def test_options_of_the_operator_win_and_nothing_is_asked_without_a_terminal(told: Path) -> None:
    ssh(told, options=["ConnectTimeout=60", "Port=2222"]).run("true")
    ssh(told, asks=True).run("true")
    first, second = words(told)
    assert first.index("ConnectTimeout=60") < first.index("ConnectTimeout=15"), "ssh takes what it hears first"
    assert "BatchMode=yes" in first
    assert "BatchMode=yes" not in second
    assert first[-3:] == ["--", "root@a", "true"]
    assert not any(word.startswith("StrictHostKeyChecking") for word in [*first, *second])


def test_each_line_is_handed_on_and_the_input_stays_open_until_an_interrupt(told: Path) -> None:
    link = ssh(told)
    heard: list[str] = []

    def out(line: str) -> None:
        heard.append(line)
        if line == "ready":
            link.interrupt()

    errors: list[str] = []
    status = link.follow("echo ready; echo news >&2; cat; echo told; exit 130", out, errors.append)
    assert (status, heard, errors) == (130, ["ready", "told"], ["news"])


def test_an_interrupt_ends_what_is_not_followed(told: Path) -> None:
    link = ssh(told)
    timer = threading.Timer(0.2, link.interrupt)
    timer.start()
    assert link.run("exec sleep 60").status < 0
    timer.join()
    with pytest.raises(NanodError, match="interrupted"):
        link.run("true")


def test_what_is_to_be_left_in_order_is_left_so_after_an_interrupt_too(told: Path) -> None:
    link = ssh(told)
    link.interrupt()
    link.close(f"touch {shlex.quote(str(told / 'last'))}")
    assert (told / "last").exists()
    assert words(told)[-1][-4:] == ["-O", "exit", "--", "root@a"]


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("Host key verification failed.", "its host key is unknown"),
        ("No ED25519 host key is known for a and you have requested strict checking.\nHost key verification failed.", "its host key is unknown"),
        ("@  WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!  @\nHost key verification failed.", "its host key is not the known one"),
        ("root@a: Permission denied (publickey,password).", "it does not let you log in"),
        ("Received disconnect from a port 22:2: Too many authentication failures", "it does not let you log in"),
        ("ssh: Could not resolve hostname a: Name or service not known", "there is no host of that name"),
        ("ssh: connect to host a port 22: No route to host", "there is no route to it"),
        ("ssh: connect to host a port 22: Network is unreachable", "there is no route to it"),
        ("ssh: connect to host a port 22: Connection refused", "nothing answers on its ssh port"),
        ("ssh: connect to host a port 22: Connection timed out", "it does not answer"),
        ("ssh: something new\n", "something new"),
        ("", "ssh gave no reason"),
    ],
)
def test_why_nobody_can_log_in(told: Path, said: str, cause: str) -> None:
    (told / "fails").write_text(said)
    with pytest.raises(NanodError) as refused:
        ssh(told).run("true")
    assert refused.value.message == f"cannot deploy to root@a: {cause}"
    assert "root@a" in refused.value.hint or "~/.ssh/config" in refused.value.hint or "ssh-keygen -R a" in refused.value.hint
    assert explained("root@a", said).message == refused.value.message


def test_a_connection_that_breaks_is_told_by_its_status(told: Path) -> None:
    (told / "fails").write_text("client_loop: send disconnect: Broken pipe")
    assert ssh(told).follow("true", lambda _: None, lambda _: None) == LOST


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A spec's directory with what must come, and what must not."""
    top = tmp_path / "it's my shop"
    for name, text in {"shop.yaml": "x", "web/a": "1", "web/b": "22", "web/.git/config": "", ".git/HEAD": "", "big/data": "0"}.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    (top / ".rsync-filter").write_text("- big/\n")
    (top / "web" / "a").chmod(0o4775)
    (top / "web" / "link").symlink_to("a")
    return top


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_the_directory_is_sent_but_for_what_is_nobody_s_there(told: Path, tree: Path) -> None:
    there = told / "stage x"
    assert ssh(told).send(str(tree), str(there)) == 4
    names = sorted(str(path.relative_to(there)) for path in there.rglob("*"))
    assert names == [".rsync-filter", "shop.yaml", "web", "web/a", "web/b", "web/link"]
    assert (there / "web" / "a").stat().st_mode & 0o7777 == 0o755, "root's own there: neither set-uid nor writable by others"


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_what_is_there_already_is_not_sent_again_and_known_by_its_content(told: Path, tree: Path) -> None:
    first, second = told / "first", told / "second"
    ssh(told).send(str(tree), str(first))
    kept = (first / "web" / "b").stat()
    (tree / "web" / "a").write_text("2")
    os.utime(tree / "web" / "a", ns=((first / "web" / "a").stat().st_atime_ns, (first / "web" / "a").stat().st_mtime_ns))
    (tree / "web" / "b").touch()
    (tree / "shop.yaml").unlink()
    assert ssh(told).send(str(tree), str(second), like=[str(first), str(told / "nowhere")]) == 1
    assert (second / "web" / "a").read_text() == "2", "of the same size and time, and yet another"
    assert (first / "web" / "a").read_text() == "1"
    assert (second / "web" / "b").stat().st_ino == kept.st_ino, "of another time, and yet the same"
    assert not (second / "shop.yaml").exists()


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_an_option_goes_through_rsync_as_it_is(told: Path, tree: Path) -> None:
    odd = """ProxyCommand=sh -c 'nc "%h"  %p' \\ $HOME it's"""
    ssh(told, options=[odd]).send(str(tree), str(told / "there"))
    assert odd in words(told)[0]


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_what_rsync_cannot_do_is_said_in_its_words(told: Path, tree: Path) -> None:
    with pytest.raises(NanodError, match=r"cannot deploy to root@a: rsync: .*No such file or directory"):
        ssh(told).send(str(tree), str(told / "no" / "such" / "place"))
    (told / "fails").write_text("ssh: connect to host a port 22: Connection refused\n")
    with pytest.raises(NanodError, match="nothing answers on its ssh port"):
        ssh(told).send(str(tree), str(told / "x"))


def test_an_ipv6_address_is_one_for_rsync_too(told: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Path(os.environ["PATH"].partition(":")[0])
    (programs / "rsync").write_text(f'#!/bin/sh\nfor word do echo "$word"; done >"{told}/rsync"\n')
    (programs / "rsync").chmod(0o755)
    ssh(told, "root@fe80::1").send(str(tree), "/stage")
    last = (told / "rsync").read_text().splitlines()
    assert last[-3:] == ["--", f"{tree}/", "root@[fe80::1]:/stage/"]
    monkeypatch.setenv("PATH", str(programs))
    (programs / "rsync").unlink()
    with pytest.raises(NanodError, match="rsync is not installed here") as refused:
        require_programs()
    assert refused.value.hint == "apt install rsync"
    (programs / "ssh").unlink()
    with pytest.raises(NanodError, match="ssh is not installed here") as refused:
        require_programs()
    assert json.dumps(refused.value.hint) == '"apt install openssh-client"'
