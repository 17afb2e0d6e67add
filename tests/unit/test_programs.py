"""The programs that units run, without systemd: what they do, and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

LIB = Path(__file__).parents[2] / "nanod" / "lib"
PROBE = Path(__file__).parents[2] / "nanod" / "probe.py"
PYTHON = sys.executable
UNIT = {
    "NANOD_APP": "shop", "NANOD_SERVICE": "web", "NANOD_UNIT": "shop-web-provision.service", "NANOD_HOOK": "install",
    "LIFECYCLE_PHASE": "install", "INVOCATION_ID": "0" * 32, "PATH": os.environ["PATH"],
}  # fmt: skip


def program(name: str, *arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [str(LIB / name), *map(str, arguments)]
    return subprocess.run(argv, env=UNIT | (env or {}), cwd=cwd, capture_output=True, text=True, check=False)


def provision(volume: Path, script: str, *creates: Path, name: str = "a", retries: int = 0) -> subprocess.CompletedProcess[str]:
    sentinel = volume / f".nanod-installed-{name}"
    return program("provision", sentinel, volume, 30, 10, retries, *creates, "--", "/bin/sh", "-ec", script, cwd=volume)


@pytest.mark.row("UP-8")
def test_a_hook_that_nothing_limits_says_when_it_runs_long() -> None:
    done = program("hook", "fail", 0, "--warn-after", 0.2, "/bin/sh", "-c", "sleep 1; exit 7")
    assert done.returncode == 7
    assert "<4>nanod: hook install/install has run for 0.2 s, and nothing limits it\n" in done.stderr
    done = program("hook", "fail", 0, "--warn-after", 5, "/bin/true")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.row("UP-8")
def test_the_watch_over_a_hook_catches_no_signal(tmp_path: Path) -> None:
    """Else what it forks could miss the SIGTERM that ends the unit, and hold that up until SIGKILL."""
    # The hook's own shell, once it waits; its children are the watch and timeout(1).
    script = f"until [ -e {tmp_path}/go ]; do sleep 0.02; done"
    command = [str(LIB / "hook"), "fail", "0", "--warn-after", "5", "/bin/sh", "-c", script]
    with subprocess.Popen(command, env=UNIT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as hook:
        try:
            children = Path(f"/proc/{hook.pid}/task/{hook.pid}/children")
            deadline = time.monotonic() + 15
            while not (watch := _watch(children.read_text().split())):
                assert time.monotonic() < deadline, "the watch sleeps"
            status = dict(line.split(":", 1) for line in Path(f"/proc/{watch}/status").read_text().splitlines())
        finally:
            (tmp_path / "go").touch()
    terminate = 1 << (signal.SIGTERM - 1)
    assert [int(status[mask], 16) & terminate for mask in ("SigCgt", "SigIgn")] == [0, 0]


def _watch(pids: list[str]) -> str:
    """The one of them that has sleep(1) for a child."""
    for pid in pids:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/cmdline").read_bytes() == b"/usr/bin/sleep\0005\0":
                return pid
    return ""


@pytest.mark.row("NK-2", "NK-5", "BX-6")
def test_fifty_starters_run_one_install(tmp_path: Path) -> None:
    with ThreadPoolExecutor(50) as pool:
        done = list(pool.map(lambda _: provision(tmp_path, "sleep 0.2; echo once >> log"), range(50)))
    assert [item.returncode for item in done] == [0] * 50
    assert (tmp_path / "log").read_text() == "once\n"
    assert sum("already installed" in item.stderr for item in done) == 49


@pytest.mark.row("NK-6")
def test_a_failed_install_leaves_no_sentinel_and_the_next_start_retries(tmp_path: Path) -> None:
    failed = provision(tmp_path, "exit 7")
    assert failed.returncode == 7
    assert "hook install/install failed, status 7" in failed.stderr
    assert list(tmp_path.iterdir()) == []
    assert provision(tmp_path, "echo ran >> log").returncode == 0
    assert provision(tmp_path, "echo ran >> log").returncode == 0
    assert (tmp_path / "log").read_text() == "ran\n"


@pytest.mark.row("NK-6")
def test_an_install_that_is_killed_leaves_no_sentinel_and_no_lock(tmp_path: Path) -> None:
    sentinel = tmp_path / ".nanod-installed-a"
    argv = [*map(str, (LIB / "provision", sentinel, tmp_path)), "30", "30", "0", "--", "/bin/sh", "-c", "touch started; sleep 60"]
    process = subprocess.Popen(argv, env=UNIT, cwd=tmp_path, process_group=0)
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not sentinel.exists()
    assert provision(tmp_path, "echo ran >> log").returncode == 0, "the lock died with its holder"
    assert sentinel.exists()


@pytest.mark.row("NK-3")
def test_a_missing_creation_runs_it_again(tmp_path: Path) -> None:
    modules = tmp_path / "node_modules"
    for _ in range(2):
        assert provision(tmp_path, "mkdir -p node_modules; echo ran >> log", modules).returncode == 0
    assert (tmp_path / "log").read_text() == "ran\n"
    modules.rmdir()
    assert provision(tmp_path, "mkdir -p node_modules; echo ran >> log", modules).returncode == 0
    assert (tmp_path / "log").read_text() == "ran\nran\n"


@pytest.mark.row("NK-7")
def test_after_another_install_the_first_one_counts_no_more(tmp_path: Path) -> None:
    for name in ("a", "b", "a", "a"):
        assert provision(tmp_path, f"echo {name} >> log", name=name).returncode == 0
    assert (tmp_path / "log").read_text() == "a\nb\na\n"


def test_what_a_killed_stamp_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".nanod-0123456789ab").touch()
    assert provision(tmp_path, "true").returncode == 0
    assert [item.name for item in tmp_path.iterdir()] == [".nanod-installed-a"]


def test_sentinels_of_other_units_stay(tmp_path: Path) -> None:
    other = tmp_path / ".nanod-installed-0"
    other.write_text("stage-web-provision.service\n")
    assert provision(tmp_path, "true").returncode == 0
    assert other.exists()


def test_retries_belong_to_the_program(tmp_path: Path) -> None:
    done = provision(tmp_path, 'echo try >> log; [ "$(wc -l < log)" -eq 2 ]', retries=3)
    assert done.returncode == 0
    assert (tmp_path / "log").read_text() == "try\ntry\n"


@pytest.mark.parametrize("before", [
    ("hook", "fail", 5), ("hook", "fail", 0, "--warn-after", 60), ("hook", "fail", 5, "--stop", "/dev/null", 30), ("task", 1, 0, "fail", 5), ("provision", "{tmp}/stamp", "{tmp}", 30, 10, 0, "--"),
    ("as", "root", "root"), ("as", "nobody", ""), ("each",), ("finally", "{tmp}/note"),
], ids=lambda words: " ".join(map(str, words[:1])))  # fmt: skip
def test_variables_of_a_service_reach_its_commands_whatever_their_names(tmp_path: Path, before: tuple[object, ...]) -> None:
    """A shell that is given a variable hands on what it has made of it."""
    (tmp_path / "note").write_text("yes\nshop-web.service\nexit-code\nexited\n1\n")
    words = ("user", "group", "known", "uid", "gid", "status", "command", "limit", "begin", "began", "budget", "left", "now", "tries", "delay", "key",
             "value", "over", "unit", "result", "code", "severity", "sentinel", "lock", "wait", "installed", "priority", "words")  # fmt: skip
    theirs = {name: f"their {name}" for name in words}
    name, *arguments = (str(word).format(tmp=tmp_path) for word in before)
    done = program(name, *arguments, "/usr/bin/env", env=theirs)
    assert done.returncode == 0, done.stderr
    assert theirs.items() <= dict(line.split("=", 1) for line in done.stdout.splitlines()).items()


def test_a_background_child_of_the_install_does_not_keep_the_lock(tmp_path: Path) -> None:
    assert provision(tmp_path, "sleep 30 >/dev/null 2>&1 & echo $! > child", name="a").returncode == 0
    try:
        assert provision(tmp_path, "true", name="b").returncode == 0
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("kind", ["link", "fifo", "hard link"])
def test_a_sentinel_path_that_is_something_else_is_replaced_and_its_target_untouched(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    volume = tmp_path / "volume"
    volume.mkdir()
    sentinel = volume / ".nanod-installed-a"
    if kind == "link":
        sentinel.symlink_to(tmp_path / "nowhere")
    elif kind == "fifo":
        os.mkfifo(sentinel)
    else:
        sentinel.hardlink_to(target)
    done = program("stamp", sentinel)
    assert done.returncode == 0, done.stderr
    assert sentinel.is_file()
    assert not sentinel.is_symlink()
    assert target.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()
    assert sorted(item.name for item in volume.iterdir()) == [".nanod-installed-a"]


def test_a_sentinel_that_is_a_directory_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    sentinel = tmp_path / ".nanod-installed-a"
    sentinel.mkdir()
    done = program("stamp", sentinel)
    assert done.returncode == 1
    assert f"cannot write {sentinel}" in done.stderr
    assert sorted(item.name for item in tmp_path.iterdir()) == [".nanod-installed-a"]


@pytest.mark.row("NK-20", "BX-16")
def test_a_hook_is_cut_by_its_timeout(tmp_path: Path) -> None:
    done = program("hook", "fail", "0.2", "/bin/sh", "-c", "sleep 60", cwd=tmp_path)
    assert done.returncode == 124
    assert "<3>nanod: hook install/install failed, status 124 (its timeout cut it)" in done.stderr


@pytest.mark.row("NK-20")
def test_a_hook_that_ignores_term_is_killed(tmp_path: Path) -> None:
    done = program("hook", "fail", "0.2", "/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done", cwd=tmp_path)
    assert done.returncode == 124


@pytest.mark.parametrize(("severity", "first"), [("fail", "<3>"), ("warn", "<4>"), ("ignore", "<7>")])
def test_a_failed_hook_says_so_at_its_severity(severity: str, first: str) -> None:
    done = program("hook", severity, "5", "/bin/sh", "-c", "exit 3")
    assert done.returncode == 3
    assert done.stderr == f"{first}nanod: hook install/install failed, status 3\n"


@pytest.mark.row("BX-16")
def test_hooks_share_what_is_left_of_the_deadline(tmp_path: Path) -> None:
    note = tmp_path / "stopping"
    assert program("stopping", note).returncode == 0
    assert program("hook", "warn", "30", "--stop", note, "30", "true").returncode == 0
    note.write_text(str(int(note.read_text().split()[0]) - 31_000) + " stop")
    late = program("hook", "warn", "30", "--stop", note, "30", "touch", tmp_path / "ran")
    assert late.returncode == 124
    assert not (tmp_path / "ran").exists()
    program("stopping", note)
    note.write_text(str(int(note.read_text().split()[0]) - 29_700) + " stop")
    assert program("hook", "warn", "30", "--stop", note, "30", "sleep", "60").returncode == 124


def test_each_runs_all_and_keeps_the_last_failure(tmp_path: Path) -> None:
    done = program("each", "echo a >> log", "exit 3", "echo b >> log", cwd=tmp_path)
    assert done.returncode == 3
    assert (tmp_path / "log").read_text() == "a\nb\n"


def test_as_drops_to_the_user_with_its_groups_and_no_privilege() -> None:
    if os.geteuid():
        pytest.skip("needs root")
    done = program("as", "nobody", "", "/bin/sh", "-c", "id -un; id -gn; grep -E 'CapEff|NoNewPrivs' /proc/self/status")
    assert done.stdout.split() == ["nobody", "nogroup", "CapEff:", "0" * 16, "NoNewPrivs:", "1"], done.stderr
    assert program("as", "no-such-user", "", "true").returncode == 217


def probe(*arguments: str, pid: int | None = None) -> subprocess.CompletedProcess[str]:
    argv = [PYTHON, "-I", "-S", str(PROBE), *arguments]
    env = {"MAINPID": str(os.getpid() if pid is None else pid)}
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


@pytest.mark.row("BX-3")
def test_the_probe_gives_up_when_the_main_process_is_gone() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    done = probe("tcp", "0.05", "1", "600", "127.0.0.1:1", pid=gone.pid)
    assert done.returncode == 1
    assert "the main process is gone" in done.stderr


@pytest.mark.row("BX-3")
def test_who_is_up_soon_is_not_kept_waiting_for_an_interval(tmp_path: Path) -> None:
    """At the third try, within a limit that is shorter than one interval."""
    tries = tmp_path / "tries"
    count = f'echo x >>{tries}; [ "$(wc -l <{tries})" -ge 3 ]'
    done = probe("exec", "60", "5", "30", "/bin/sh", "-c", count)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.row("BX-3")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["tcp", "127.0.0.1:1"], "Connection refused"),
        (["http", "http://127.0.0.1:1/healthz"], "Connection refused"),
        (["unix", "/nonexistent"], "No such file or directory"),
        (["file", "/nonexistent"], "no such file"),
        (["exec", "false"], "exit status 1"),
        (["exec", "/nonexistent"], "No such file"),
    ],
)
def test_a_probe_that_never_succeeds_says_why(words: list[str], reason: str) -> None:
    done = probe(words[0], "0.05", "0.5", "0.2", *words[1:])
    assert done.returncode == 1
    assert f"<3>nanod: health {' '.join(words)}: not healthy within 0.2 s: " in done.stderr
    assert reason in done.stderr


@pytest.mark.row("BX-3")
@pytest.mark.parametrize(
    ("answer", "healthy"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 302 Found\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"", False),
    ],
)
def test_http_is_healthy_from_200_to_399(answer: bytes, healthy: bool) -> None:
    server = (
        "import socket,sys\n"
        "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
        "while True:\n    c, _ = s.accept(); c.recv(999); c.sendall(sys.argv[1].encode()); c.close()\n"
    )
    process = subprocess.Popen([PYTHON, "-c", server, answer.decode()], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        port = process.stdout.readline().strip()
        assert probe("http", "0.05", "1", "0.3", f"http://127.0.0.1:{port}/").returncode == (0 if healthy else 1)
        assert probe("tcp", "0.05", "1", "0.3", f"127.0.0.1:{port}").returncode == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has what others must not reach")
def test_a_sentinel_of_roots_never_goes_through_a_link_that_the_owner_of_the_volume_is_quick_to_put(tmp_path: Path) -> None:
    """A service of root's may share a volume with one of another user, who watches for the temporary file and puts a link in its place."""
    volume, precious = tmp_path / "volume", tmp_path / "precious"
    volume.mkdir()
    precious.write_text("precious")
    precious.chmod(0o600)
    swap = f"""
import os
while True:
    for name in os.listdir({str(volume)!r}):
        if len(name) < 20:
            os.symlink({str(precious)!r}, {str(volume)!r} + "/link")
            os.rename({str(volume)!r} + "/link", {str(volume)!r} + "/" + name)
"""
    with subprocess.Popen([PYTHON, "-c", swap], stderr=subprocess.DEVNULL) as attacker:
        try:
            for number in range(60):
                program("stamp", volume / f".nanod-installed-sentinel-{number:02}")
        finally:
            attacker.kill()
    assert precious.read_text() == "precious"
    assert precious.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["pipe", "file", "nothing"])
def test_a_volume_that_is_no_directory_fails_the_install_at_once(tmp_path: Path, kind: str) -> None:
    volume = tmp_path / "volume"
    if kind == "pipe":
        os.mkfifo(volume)
    elif kind == "file":
        volume.touch()
    done = program("provision", volume / ".nanod-installed-a", volume, 30, 10, 0, "--", "/bin/true")
    assert done.returncode == 1
    assert f"cannot open the directory {volume}" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.row("FAULTS-42")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_secrets_are_laid_out_where_their_reader_can_put_no_link_meanwhile(umask: int) -> None:
    """install(1) follows a link to a directory in place of the file that it makes, and gives what it wrote there to the reader."""
    # Others get to no directory of pytest's.
    with TemporaryDirectory() as made:
        top = Path(made)
        top.chmod(0o755)
        _lend(top, umask)


def _lend(top: Path, umask: int) -> None:
    note, slow, key, precious, lent = (top / name for name in ("note", "slow", "key", "precious", "lent/bye"))
    note.write_text("yes\n")
    os.mkfifo(slow)
    key.write_text("sesame")
    precious.mkdir()
    command = [str(LIB / "lend"), str(note), str(lent), "daemon", "slow", str(slow), "key", str(key)]
    with subprocess.Popen(command, env=UNIT, umask=umask) as lending, slow.open("w") as pipe:
        # It is at work on the first one.
        trap = subprocess.run([LIB / "as", "daemon", "", "/bin/ln", "-s", precious, lent / "key"], capture_output=True, text=True, check=False)
        pipe.write("slow")
        pipe.close()
        assert lending.wait(30) == 0
    assert trap.returncode != 0
    assert list(precious.iterdir()) == []
    seen = subprocess.run([LIB / "as", "daemon", "", "/bin/cat", lent / "slow", lent / "key"], capture_output=True, text=True, check=False)
    assert seen.stdout == "slowsesame", seen.stderr
