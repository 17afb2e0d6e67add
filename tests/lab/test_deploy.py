"""`nanod deploy` from one booted machine to others over a real sshd: what arrives, what is left alone, and what is said when it cannot be done."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from nanod import __version__
from nanod.rehearse.machine import Machine
from tests.lab.lan import NOBODY_THERE, Lan
from tests.lab.steps import MAIN, STEP, App, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nanod.host.process import Completed

WAITING = "/var/lib/nanod/deploy"
RUNNING = "/run/deploying"


@pytest.fixture(scope="module")
def operator() -> Iterator[Machine]:
    with Machine.boot() as booted:
        yield booted


@pytest.fixture(scope="module")
def lan(operator: Machine, machine: Machine) -> Lan:
    return Lan.join(operator, machine, 0)


@pytest.fixture(scope="module")
def lan257(operator: Machine, machine257: Machine) -> Lan:
    return Lan.join(operator, machine257, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """An app in a directory of the operator's, and where it goes."""

    lan: Lan
    app: App

    @classmethod
    def on(cls, lan: Lan, name: str) -> Project:
        return cls(lan=lan, app=App.on(lan.target, name))

    @property
    def directory(self) -> str:
        return f"/root/{self.app.name}"

    @property
    def path(self) -> str:
        return f"/opt/{self.app.name}"

    @property
    def spec(self) -> str:
        return f"{self.directory}/{self.app.name}.yaml"

    def write(self, name: str, text: str, *, mode: int = 0o644) -> None:
        self.lan.operator.write(f"{self.directory}/{name}", text, mode=mode)

    def describe(self, services: dict[str, Any] | None = None, **deploy: Any) -> None:
        """The spec: a service with all hooks unless others are given; `deploy` wins over the target of the wire."""
        services = services if services is not None else {"web": self.app.service("web")}
        where = {"target": self.lan.root, "path": self.path} | deploy
        self.write(f"{self.app.name}.yaml", json.dumps({"project": self.app.name, "services": services, "deploy": where}))

    def deploy(self, *words: str, status: int | None = 0, env: dict[str, str] | None = None) -> Completed:
        done = self.lan.operator.nanod("deploy", *words, self.spec, env=env)
        assert status is None or done.status == status, f"{done.status}\n{done.out}\n{done.err}"
        assert "Traceback" not in done.err
        return done

    def refusal(self, *words: str, status: int = 1) -> list[str]:
        """The lines of a deploy that could not be done: what, and what to do."""
        before = self.seen()
        done = self.deploy(*words, status=status)
        assert self.seen() == before, "the target is as it was"
        return [line for line in done.err.splitlines() if line.startswith(("nanod: ", "hint: "))]

    def seen(self) -> dict[str, object]:
        """All that a deploy could have changed on the target, with the inode and time of each file."""
        files: dict[str, object] = {}
        for top in (self.path, "/etc/systemd/system", WAITING):
            for path in sorted(self.lan.target.path(top).rglob("*")):
                found = path.lstat()
                files[str(path).partition("/root/")[2]] = (found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns if path.is_file() else 0)
        return files | {"steps": self.app.steps(), "pid": self.app.pid("web")}

    def staged(self) -> list[str]:
        return [path.name for path in self.lan.target.path(WAITING).glob("*/stage-*")]

    @contextmanager
    def begun(self, *words: str, terminal: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        """A deploy under way, in a session of its own; with `terminal` on one, which its input types at and its output shows."""
        pipe = subprocess.PIPE
        line = f"echo $$ >{RUNNING}; exec {shlex.join(['nanod', 'deploy', *words, self.spec])}"
        argv = ["script", "-qec", line, "/dev/null"] if terminal else ["setsid", "--wait", "sh", "-c", line]
        self.lan.operator.path(RUNNING).unlink(missing_ok=True)
        stdin = pipe if terminal else subprocess.DEVNULL
        with self.lan.operator.popen(argv, env={"TERM": "xterm", "NO_COLOR": "1"}, stdin=stdin, stdout=pipe, stderr=pipe) as running:
            try:
                yield running
            finally:
                if running.poll() is None:
                    self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """A signal to all of it, as a terminal does it."""
        leader = self.lan.operator.path(RUNNING).read_text().strip()
        assert self.lan.operator.run(["kill", f"-{number.name.removeprefix('SIG')}", "--", f"-{leader}"]).status == 0


@pytest.fixture
def shop(lan: Lan) -> Iterator[Project]:
    """Deployed, and gone after the test."""
    project = Project.on(lan, "shop")
    project.describe()
    project.write("web/page", "one")
    project.deploy()
    project.app.clear()
    yield project
    forget(project)


def forget(project: Project) -> None:
    project.app.nanod("remove", project.app.name, status=None)
    project.lan.target.run(["rm", "-rf", project.path, WAITING])
    project.lan.operator.run(["rm", "-rf", project.directory])


def failing(app: App) -> dict[str, Any]:
    """The service as it is, but that it does not start any more."""
    return app.service("web") | {"hooks": {"prestart": "exit 5"}, "restart": {"policy": "no"}}


def twice(lan: Lan, name: str) -> None:
    project = Project.on(lan, name)
    # What `prepare` finds on the target: the code is there, and neither its place, nor a unit, nor the lock.
    look = f"ls {WAITING}/*/stage-*/1/web; ls -d {project.path} /etc/systemd/system/{name}* 2>/dev/null | wc -l; flock -n /run/nanod/lock echo free"
    project.write("look", f"mkdir -p /run/nanod; {look}\n")
    project.describe(prepare=f"echo built >made; env >seen; ssh {lan.root} sh -s <look >found 2>&1 || :")
    project.write("web/page", "one")
    project.write(".git/HEAD", "not sent")
    first = project.deploy()
    assert first.out.splitlines()[-1].startswith(f"{name}: deployed to {lan.root} (")
    assert f"{name}: healthy" in first.out
    assert f"{lan.root}: connecting" in first.err.splitlines()
    assert "web: healthy after" in first.err, "what apply says there is heard here"
    there, here = lan.target.path(project.path), lan.operator.path(project.directory)
    assert sorted(path.name for path in there.iterdir()) == sorted(["found", "look", "made", "seen", f"{name}.yaml", "web"])
    assert (there / "made").read_text() == "built\n", "what prepare made is there when apply begins"
    assert (here / "found").read_text().split() == ["page", "0", "free"]
    environment = dict(line.split("=", 1) for line in (here / "seen").read_text().splitlines() if "=" in line)
    assert {key: environment[key] for key in ("LIFECYCLE_PHASE", "NANOD_PROJECT", "NANOKIT_ENV")} == {
        "LIFECYCLE_PHASE": "prepare",
        "NANOD_PROJECT": name,
        "NANOKIT_ENV": "default",
    }
    assert project.app.steps() == ["prestart web", "main web", "poststart web"]
    assert project.staged() == []

    # A fresh checkout of the same, so with other times; and `prepare` builds the same again.
    project.describe(prepare="echo built >made")
    lan.operator.run(["find", project.directory, "-exec", "touch", "{}", "+"])
    project.deploy()
    before = project.seen()
    second = project.deploy()
    assert "nothing to do" in second.out
    assert [line for line in second.err.splitlines() if "sent" in line] == [f"{lan.root}: sent, 0 files changed"] * 2
    assert project.seen() == before
    forget(project)


@pytest.mark.row("NK-17")
def test_twice_and_the_second_time_nothing_changes(lan: Lan) -> None:
    twice(lan, "twice")


@pytest.mark.row("NK-17")
def test_twice_to_257(lan257: Lan) -> None:
    twice(lan257, "twice")


# With a release


def released(project: Project, version: str, **hooks: Any) -> None:
    """A version of a service with a source, built, deployed and post-deployed there."""
    given = {"build": "cat version >built", "deploy": STEP, "prestart": STEP, "post_deploy": STEP} | hooks
    keys: dict[str, Any] = {"kind": "http", "user": "daemon", "source": "./web", "command": ["./serve"], "restart": {"policy": "no"}}
    project.describe({"web": project.app.service("web", **keys) | {"hooks": given}}, prepare="cp web/version web/prepared")
    project.write("web/version", version)
    project.write("web/serve", f"#!/bin/sh\nexec {MAIN}\n", mode=0o755)


def serves(project: Project) -> str:
    """What the running process has been made of."""
    there = f"/proc/{project.app.pid('web')}/cwd"
    return project.app.machine.run(["sh", "-c", f"cd {there} && cat version prepared built"]).out


@pytest.mark.row("NK-17", "UP-18")
def test_the_second_time_post_deploy_alone_runs(lan257: Lan) -> None:
    project = Project.on(lan257, "released")
    released(project, "1")
    project.deploy()
    project.app.until_step("post_deploy web")
    assert project.app.steps() == ["deploy web", "prestart web", "main web", "post_deploy web"]
    assert serves(project) == "111", "the build has seen what prepare made"
    project.app.clear()
    before = project.seen() | {"steps": []}
    second = project.deploy()
    project.app.until_step("post_deploy web")
    assert "post_deploy only" in second.out
    assert project.app.steps() == ["post_deploy web"]
    assert project.seen() | {"steps": []} == before

    # A new version that does not start: what serves is the old one, whatever lies in the place by now.
    released(project, "2", prestart="exit 5")
    failed = project.deploy(status=4)
    assert "rolled back to generation 1" in failed.out
    assert project.lan.target.path(f"{project.path}/web/version").read_text() == "2"
    assert serves(project) == "111"

    # One that cannot be built touches nothing that runs.
    pid = project.app.pid("web")
    released(project, "3", build="echo 'no compiler' >&2; exit 9")
    failed = project.deploy(status=4)
    assert "no compiler" in failed.out + failed.err
    assert (serves(project), project.app.pid("web")) == ("111", pid)

    released(project, "4")
    project.deploy()
    assert serves(project) == "444"
    project.deploy("--rebuild")
    assert serves(project) == "444"
    forget(project)


@pytest.mark.row("NK-17")
def test_a_failed_prepare_leaves_the_target_as_it_was(shop: Project) -> None:
    shop.describe({"web": shop.app.service("web", environment={"NEW": "1"})}, prepare="echo half >made; echo 'no such package' >&2; exit 7")
    shop.write("web/page", "two")
    before = shop.seen()
    done = shop.deploy(status=4)
    assert shop.seen() == before
    assert shop.staged() == []
    assert "no such package" in done.err
    assert done.err.splitlines()[-2:] == ["nanod: cannot deploy shop: prepare exited with status 7", "hint: no target was touched"]
    assert done.out.startswith(f"shop: untouched on {shop.lan.root}")
    found = json.loads(shop.deploy("--json", status=4).out)
    assert (found["prepare"], found["targets"][0]["result"]) == (7, "untouched")


def test_what_changed_is_applied_and_what_is_not_sent_any_more_goes(shop: Project) -> None:
    shop.lan.target.write(f"{shop.path}/web/upload", "a user's")
    shop.lan.operator.run(["rm", f"{shop.directory}/web/page"])
    shop.write("web/index", "two")
    shop.describe({"web": shop.app.service("web", environment={"NEW": "1"})})
    pid = shop.app.pid("web")
    shop.deploy()
    assert shop.app.pid("web") != pid
    assert sorted(path.name for path in shop.lan.target.path(f"{shop.path}/web").iterdir()) == ["index", "upload"]
    owner = shop.lan.target.path(f"{shop.path}/web/index").stat()
    assert (owner.st_uid, owner.st_gid) == (0, 0)


def test_a_failed_apply_there_is_put_back_there_and_told_here(shop: Project) -> None:
    pid = shop.app.pid("web")
    shop.describe({"web": failing(shop.app)})
    done = shop.deploy(status=4)
    assert "cannot start shop-web: hook prestart/1 exited with status 5" in done.out
    assert "rolled back to generation 1" in done.out
    assert done.err.splitlines()[-2:] == [
        f"nanod: cannot deploy to {shop.lan.root}: 'nanod apply' failed there",
        f"hint: 'ssh {shop.lan.root} nanod status shop' shows how it is",
    ]
    assert shop.app.is_up("web")
    assert shop.app.pid("web") != pid
    assert shop.staged() == []


# Cut off


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_while_something_is_sent_touches_nothing(shop: Project, number: signal.Signals) -> None:
    before = shop.seen()
    slow = shop.lan.target.write("/usr/local/bin/rsync", "#!/bin/sh\n[ $1 = --version ] || : >/run/sending\nsleep 60\n", mode=0o755)
    shop.describe(prepare="touch /root/prepared")
    try:
        with shop.begun() as running:
            until(shop.lan.target.path("/run/sending").exists, "it is sending")
            shop.send(number)
            _, err = running.communicate(timeout=30)
    finally:
        slow.unlink()
        shop.lan.target.path("/run/sending").unlink()
    assert (running.returncode, err.decode().splitlines()[-1]) == (130, "nanod: interrupted")
    assert not shop.lan.operator.path("/root/prepared").exists()
    assert shop.staged() == []
    assert shop.seen() == before


def test_an_interrupt_of_prepare_ends_all_of_it_and_touches_nothing(shop: Project) -> None:
    before = shop.seen()
    shop.describe(prepare="(trap '' HUP; sleep 1234) & touch /run/preparing; wait")
    with shop.begun() as running:
        until(shop.lan.operator.path("/run/preparing").exists, "prepare runs")
        shop.send(signal.SIGINT)
        running.communicate(timeout=30)
    shop.lan.operator.path("/run/preparing").unlink()
    assert running.returncode == 130
    assert shop.lan.operator.run(["pgrep", "-fx", "sleep 1234"]).status == 1
    assert shop.seen() == before


def cut_off(shop: Project, cut: Callable[[subprocess.Popen[bytes]], object], *words: str, terminal: bool = False) -> tuple[int, str, list[str]]:
    """Cut a deploy off while its apply waits for the new process to become healthy; how it ended, and what it printed. The old process is back."""
    shop.app.sick("web")
    shop.app.clear()
    shop.describe({"web": shop.app.service("web", environment={"NEW": "1"})})
    with shop.begun(*words, terminal=terminal) as running:
        shop.app.until_step("main web")
        cut(running)
        shop.app.until_step("poststop web", 2)
        shop.app.well("web")
        out, err = running.communicate(timeout=60)
    until(lambda: not shop.lan.target.path(f"/var/lib/nanod/apps/{shop.app.name}/intent.json").exists(), "the apply there has ended")
    shop.app.until_up("web")
    assert "NEW=1" not in shop.app.show("web", "Environment")
    assert json.loads(shop.app.nanod("status", "--json", shop.app.name).out)["apps"][0]["generation"] == 1
    return running.returncode, out.decode(), err.decode().splitlines()


def test_a_ctrl_c_at_the_terminal_reaches_the_apply_there_alone(shop: Project) -> None:
    def press(running: subprocess.Popen[bytes]) -> None:
        assert running.stdin is not None
        running.stdin.write(b"\x03")
        running.stdin.flush()

    status, out, _ = cut_off(shop, press, terminal=True)
    assert status == 130, out
    assert "interrupted; rolled back to generation 1" in out
    assert "nanod: interrupted" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_of_an_apply_there_is_one_of_that_apply(shop: Project, number: signal.Signals) -> None:
    status, out, err = cut_off(shop, lambda _: shop.send(number))
    assert (status, err[-1]) == (130, "nanod: interrupted")
    assert "interrupted; rolled back to generation 1" in out, "its verdict is heard to the end"


def test_a_connection_that_breaks_is_an_interrupt_too(shop: Project) -> None:
    def cut(_: object) -> None:
        shop.lan.target.run(["pkill", "-KILL", "-f", "^sshd: root"])

    status, _, err = cut_off(shop, cut)
    assert status == 1
    assert f"nanod: cannot deploy to {shop.lan.root}: the connection was lost while nanod was at work there" in err


def test_an_operator_s_machine_that_is_gone_is_an_interrupt_too(shop: Project) -> None:
    status, _, _ = cut_off(shop, lambda _: shop.lan.operator.run(["sh", "-c", f"kill -KILL $(cat {RUNNING})"]))
    assert status not in (0, 130)
    assert shop.staged() == []
    shop.deploy()


# What cannot be done


def test_no_space_there(shop: Project) -> None:
    shop.write("big", "x" * 4_000_000)
    target = shop.lan.target
    before = shop.app.pid("web")
    for place, cause in ((WAITING, "rsync: "), (shop.path, "that host refused")):
        assert target.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", place]).status == 0
        done = shop.deploy(status=1)
        assert target.run(["umount", place]).status == 0
        assert f"nanod: cannot deploy to {shop.lan.root}: {cause}" in done.err
        assert "No space left on device" in done.err
    assert shop.app.pid("web") == before
    assert shop.staged() == []
    shop.deploy()
    assert len(shop.lan.target.path(f"{shop.path}/big").read_text()) == 4_000_000


def test_a_host_key_that_nobody_has_compared(shop: Project) -> None:
    assert shop.refusal("--ssh-option", "UserKnownHostsFile=/dev/null") == [
        f"nanod: cannot deploy to {shop.lan.root}: its host key is unknown",
        f"hint: 'ssh {shop.lan.root}' shows the key and takes it, once you have compared it",
    ]


def test_on_a_terminal_there_is_somebody_to_ask(shop: Project) -> None:
    argv = ["script", "-qec", f"nanod deploy --ssh-option UserKnownHostsFile=/root/.ssh/new {shop.spec}", "/dev/null"]
    pipe = subprocess.PIPE
    with shop.lan.operator.popen(argv, env={"TERM": "xterm"}, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        said = b""
        while b"continue connecting" not in said and (more := os.read(running.stdout.fileno(), 4096)):
            said += more
        running.stdin.write(b"yes\n")
        running.stdin.flush()
        said += running.stdout.read()
    assert running.returncode == 0, said.decode()
    assert "ssh-ed25519" in shop.lan.operator.path("/root/.ssh/new").read_text()


def test_a_host_key_that_is_another_one(shop: Project) -> None:
    other = shop.lan.operator.path("/root/.ssh/lab.pub").read_text().split()[:2]
    shop.lan.operator.write("/root/.ssh/wrong", f"{shop.lan.address} {' '.join(other)}\n")
    what, hint = shop.refusal("--ssh-option", "UserKnownHostsFile=/root/.ssh/wrong")
    assert what == f"nanod: cannot deploy to {shop.lan.root}: its host key is not the known one"
    assert f"ssh-keygen -R {shop.lan.address}" in hint


def test_nobody_there(shop: Project) -> None:
    nobody = f"root@{NOBODY_THERE.format(0)}"
    assert shop.refusal("--target", nobody)[0] == f"nanod: cannot deploy to {nobody}: there is no route to it"
    assert shop.refusal("--target", "root@192.0.2.1")[0] == "nanod: cannot deploy to root@192.0.2.1: there is no route to it"
    assert shop.refusal("--target", "root@nosuch.invalid")[0] == "nanod: cannot deploy to root@nosuch.invalid: there is no host of that name"
    assert shop.refusal("--ssh-option", "Port=9")[0] == f"nanod: cannot deploy to {shop.lan.root}: nothing answers on its ssh port"


def test_no_login(shop: Project) -> None:
    ghost = f"ghost@{shop.lan.address}"
    what, hint = shop.refusal("--target", ghost)
    assert what == f"nanod: cannot deploy to {ghost}: it does not let you log in"
    assert f"'ssh {ghost}'" in hint


@contextmanager
def instead(machine: Machine, path: str, text: str | None) -> Iterator[None]:
    """Another program under that name, or none."""
    original = machine.path(path)
    aside = original.with_name(".aside")
    original.rename(aside)
    try:
        if text is not None:
            machine.write(path, text, mode=0o755)
        yield
    finally:
        aside.replace(original)


def test_no_nanod_or_an_older_one_or_no_rsync(shop: Project) -> None:
    nanod, target = "/usr/local/bin/nanod", shop.lan.target
    before = shop.seen()
    found = []
    for path, text in ((nanod, None), (nanod, "#!/bin/sh\necho nanod 0.0.9\n"), ("/usr/bin/rsync", None)):
        with instead(target, path, text):
            done = shop.deploy(status=1)
        found += [line for line in done.err.splitlines() if line.startswith(("nanod: ", "hint: "))]
    where = f"nanod: cannot deploy to {shop.lan.root}:"
    assert found == [
        f"{where} there is no nanod",
        "hint: install the nanod package there",
        f"{where} its nanod 0.0.9 is older than this one, {__version__}",
        "hint: install this version there first",
        f"{where} there is no rsync",
        "hint: apt install rsync, there",
    ]
    assert shop.seen() == before


def account(lan: Lan, name: str) -> str:
    """A login that is not root's."""
    lan.target.run(["useradd", "--create-home", "--shell", "/bin/sh", name])
    lan.authorize(f"/home/{name}")
    lan.target.run(["chown", "-R", name, f"/home/{name}/.ssh"])
    lan.target.run(["chmod", "0700", f"/home/{name}/.ssh"])
    return f"{name}@{lan.address}"


def no_rights_and_sudo(lan: Lan, name: str) -> None:
    project = Project.on(lan, name)
    project.describe()
    login = account(lan, "clerk")
    what, hint = [line for line in project.deploy("--target", login, status=1).err.splitlines() if line.startswith(("nanod: ", "hint: "))]
    assert what.startswith(f"nanod: cannot deploy to {login}: you are not root there, and may not become it: ")
    assert "sudo: a password is required" in what
    assert "NOPASSWD" in hint
    assert not lan.target.path(project.path).exists()
    lan.target.write("/etc/sudoers.d/nanod", "clerk ALL=(root) NOPASSWD: /usr/local/bin/nanod, /usr/bin/rsync\n", mode=0o440)
    done = project.deploy("--target", login)
    assert done.out.splitlines()[-1].startswith(f"{name}: deployed to {login} (")
    assert lan.target.path(f"{project.path}/{name}.yaml").stat().st_uid == 0
    # The end of the input reaches apply through sudo, too.
    status, out, _ = cut_off(project, lambda _: project.send(signal.SIGINT), "--target", login)
    assert (status, "rolled back to generation 1" in out) == (130, True)
    lan.target.path("/etc/sudoers.d/nanod").unlink()
    forget(project)


def test_an_account_without_rights_and_with_sudo(lan: Lan) -> None:
    no_rights_and_sudo(lan, "clerks")


def test_an_account_without_rights_and_with_sudo_on_257(lan257: Lan) -> None:
    no_rights_and_sudo(lan257, "clerks")


def test_a_place_of_somebody_else_is_refused(shop: Project) -> None:
    shop.lan.target.run(["mkdir", "-p", "/srv/theirs"])
    shop.lan.target.run(["chown", "nobody", "/srv/theirs"])
    shop.describe(path="/srv/theirs/shop")
    what, hint = shop.refusal()
    assert what.startswith(f"nanod: cannot deploy to {shop.lan.root}: cannot put files into /srv/theirs/shop: /srv/theirs belongs to uid ")
    assert hint == "hint: use a place of root's, such as /opt/shop"


def test_two_projects_in_one_place_are_refused(shop: Project) -> None:
    blog = Project.on(shop.lan, "blog")
    blog.describe(path=shop.path)
    before = shop.seen()
    done = blog.deploy(status=1)
    assert f"cannot deploy to {shop.lan.root}: cannot put files into /opt/shop: those of 'shop' are there" in done.err
    assert shop.seen() == before
    forget(blog)


def test_of_two_at_once_the_second_is_told(shop: Project) -> None:
    shop.app.sick("web")
    shop.app.clear()
    shop.describe({"web": shop.app.service("web", environment={"NEW": "1"})})
    with shop.begun() as running:
        shop.app.until_step("main web")
        done = shop.deploy(status=5)
        assert f"nanod: cannot deploy to {shop.lan.root}: another nanod is at work there" in done.err.splitlines()
        assert "busy: another deploy to /opt/shop is under way" in done.err
        assert len(shop.staged()) == 0
        shop.app.well("web")
        running.communicate(timeout=60)
    assert running.returncode == 0


def test_words_that_a_shell_would_obey_are_only_words(lan: Lan) -> None:
    project = Project.on(lan, "words")
    place = '/opt/it\'s $(touch "/run/obeyed"); shop'
    project.describe(path=place)
    project.write("web/`touch obeyed`; -rf", "a file")
    project.deploy()
    assert lan.target.path(f"{place}/web/`touch obeyed`; -rf").read_text() == "a file"
    assert not lan.target.path("/run/obeyed").exists()
    assert not list(lan.target.path("/root").glob("obeyed"))
    for bad in ("-oProxyCommand=touch /run/obeyed", "root@-oProxyCommand=x", f"{lan.address}:22"):
        done = project.deploy("--target", bad, status=2)
        assert "is not [user@]host" in done.err
    lan.target.run(["rm", "-rf", place])
    forget(project)


# Several


def several(lan: Lan, lan257: Lan, **deploy: Any) -> tuple[Project, Project]:
    """One project for both machines."""
    one, other = Project.on(lan, "fleet"), Project.on(lan257, "fleet")
    one.describe(target=None, targets=[lan.root, lan257.root], **deploy)
    return one, other


def test_several_targets_each_with_its_name_before_what_it_says(lan: Lan, lan257: Lan) -> None:
    one, other = several(lan, lan257, max_parallel=2, prepare="echo once >>made")
    done = one.deploy()
    assert lan.operator.path(f"{one.directory}/made").read_text() == "once\n"
    lines = done.out.splitlines()
    for project in (one, other):
        assert project.app.steps() == [f"{phase} web" for phase in ("prestart", "main", "poststart")]
        assert any(line.startswith(f"{project.lan.root}: fleet: healthy") for line in lines)
        assert any(line.split()[:2] == [project.lan.root, "deployed"] for line in lines)
    assert any(line.startswith("fleet: deployed to 2 of 2 targets (") for line in lines)

    # The first that fails is the last that is begun.
    several(lan, lan257)
    one.describe({"web": failing(one.app)}, target=None, targets=[lan.root, lan257.root])
    before = other.seen()
    document = json.loads(one.deploy("--json", status=4).out)
    assert [(item["target"], item["result"], item["exit_code"]) for item in document["targets"]] == [
        (lan.root, "failed", 4),
        (lan257.root, "untouched", None),
    ]
    assert document["targets"][0]["apply"]["rolled_back"]["generation"] == 1
    assert (other.seen(), one.staged(), other.staged()) == (before, [], [])

    # One that cannot be reached keeps the others untouched.
    before = one.seen()
    done = one.deploy("--target", lan.root, "--target", f"root@{NOBODY_THERE.format(1)}", status=1)
    assert f"cannot deploy to root@{NOBODY_THERE.format(1)}: there is no route to it" in done.err
    assert one.seen() == before
    forget(one)
    forget(other)


def test_nothing_of_a_deploy_stays_on_the_operator_s_machine(shop: Project) -> None:
    # What was killed with SIGKILL before this could not tidy up.
    before = set(shop.lan.operator.path("/tmp").glob("nanod-*"))
    shop.deploy()
    assert shop.lan.operator.run(["pgrep", "-x", "ssh"]).status == 1
    assert set(shop.lan.operator.path("/tmp").glob("nanod-*")) <= before
