"""How files are saved: whatever a program does with a file, the last complete one comes into force, and no torn one ever."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.lab.daemons import SPECS, Daemon, pids, sleeping, version
from tests.lab.steps import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.row("FAULTS-47")


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    """Another app, which nobody touches, runs on through all of it."""
    before = pids(running, "keeps-s0.service")
    running.put("web", sleeping("web"))
    until(lambda: version(running, "web") == "1", "the first version")
    running.until_state("web", "applied")
    yield running
    assert pids(running, "keeps-s0.service") == before
    for path in running.machine.path(SPECS).iterdir():
        if path.name != "keeps.yaml":
            path.unlink()
    until(lambda: running.state("web") == "", "web is gone")


def sh(daemon: Daemon, script: str) -> None:
    done = daemon.machine.run(["sh", "-ec", script], timeout=60)
    assert done.status == 0, done


def comes(daemon: Daemon, number: int) -> None:
    until(lambda: version(daemon, "web") == str(number), f"version {number}: {daemon.status()}", timeout=30)
    daemon.until_state("web", "applied")


def test_truncated_and_written_slowly(daemon: Daemon) -> None:
    """The half of it is a valid spec, with a service less; it is looked at in the middle, because of another file, of a reload, and of an overflow."""
    text = sleeping("web", 2)
    daemon.machine.write("/srv/half", text)
    daemon.machine.write("/srv/rest", " " * 200 + "\n")
    before = daemon.applies("web")
    script = f"exec 3>{SPECS}/web.yaml; cat /srv/half >&3; touch /srv/open; while [ ! -e /srv/go ]; do sleep 0.05; done; cat /srv/rest >&3"
    writer = daemon.machine.popen(["sh", "-ec", script])
    until(lambda: daemon.machine.path("/srv/open").exists(), "the writer is in the middle")
    daemon.put("other", sleeping("other"))
    daemon.until_state("other", "applied")
    daemon.reload()
    daemon.reload()
    assert version(daemon, "web") == "1"
    assert daemon.applies("web") == before
    daemon.machine.write("/srv/go", "")
    assert writer.wait() == 0
    comes(daemon, 2)
    assert daemon.applies("web") == before + 1


def test_an_apply_takes_no_other_bytes_than_the_daemon_has_seen(daemon: Daemon) -> None:
    """Written to while the apply waits for the lock of another nanod."""
    before = daemon.applies("web")
    holder = daemon.machine.popen(["flock", "/run/nanod/lock", "sh", "-c", "touch /srv/held; cat"], stdin=subprocess.PIPE)
    until(lambda: daemon.machine.path("/srv/held").exists(), "the lock is held")
    daemon.put("web", sleeping("web", 2))
    until(lambda: daemon.applies("web") == before + 1, "the apply waits")
    with daemon.file("web").open("w") as file:
        file.write(sleeping("web", 3)[:-1])
        file.flush()
        assert holder.stdin is not None
        holder.stdin.close()
        assert holder.wait() == 0
        until(lambda: daemon.state("web") == "writing", "it waits for the writer")
        assert version(daemon, "web") == "1"
        file.write("}")
    comes(daemon, 3)


def test_replaced_by_rename_as_editors_do(daemon: Daemon) -> None:
    """A backup beside it, temporary files, a swap file: none of them is a spec."""
    bad = json.dumps(json.dumps({"services": 1}))
    script = f"""
        cd {SPECS}
        echo {bad} >4913; rm 4913
        echo {bad} >.web.yaml.swp
        cp web.yaml web.yaml~
        echo {bad} >'#web.yaml#'
        echo {bad} >web.yaml.bak
        cat /srv/new >web.yaml.tmp; mv web.yaml.tmp web.yaml
    """
    daemon.machine.write("/srv/new", sleeping("web", 2))
    sh(daemon, script)
    comes(daemon, 2)
    assert {item["spec"] for item in daemon.status()["specs"]} >= {f"{SPECS}/web.yaml", f"{SPECS}/keeps.yaml"}
    assert not [item["spec"] for item in daemon.status()["specs"] if "swp" in item["spec"] or "#" in item["spec"] or "bak" in item["spec"]]


def test_deleted_and_back(daemon: Daemon) -> None:
    before = pids(daemon, "web-s0.service")
    daemon.machine.write("/srv/new", sleeping("web"))
    sh(daemon, f"rm {SPECS}/web.yaml; sleep 1; cat /srv/new >{SPECS}/web.yaml")
    daemon.put("other", sleeping("other"))
    daemon.until_state("other", "applied")
    assert pids(daemon, "web-s0.service") == before
    sh(daemon, f"rm {SPECS}/web.yaml; sed s/1/2/ /srv/new >{SPECS}/web.yaml")
    daemon.put("web", sleeping("web", 2))
    comes(daemon, 2)


def test_a_second_name_and_a_link(daemon: Daemon) -> None:
    daemon.machine.write(f"{SPECS}/.two", sleeping("web", 2))
    sh(daemon, f"cd {SPECS}; rm web.yaml; ln .two web.yaml")
    comes(daemon, 2)
    daemon.machine.write(f"{SPECS}/.two", sleeping("web", 22))
    sh(daemon, f"cd {SPECS}; rm web.yaml; ln .two web.yaml; rm .two")
    comes(daemon, 22)
    daemon.machine.write("/srv/three", sleeping("web", 3))
    sh(daemon, f"cd {SPECS}; ln -sf /srv/three web.yaml")
    comes(daemon, 3)
    sh(daemon, "sed s/3/4/ /srv/three >/srv/four; mv /srv/four /srv/three")
    comes(daemon, 4)


def test_a_link_on_the_way_is_turned(daemon: Daemon) -> None:
    """As `current` of a release, and as Kubernetes does with the files of a ConfigMap."""
    for number in (2, 3, 4):
        daemon.machine.write(f"/srv/releases/{number}/web.yaml", sleeping("web", number))
        daemon.machine.write(f"{SPECS}/..{number}/web.yaml", sleeping("web", number + 10))
    sh(daemon, f"cd /srv/releases; ln -sfn 2 current; ln -sf /srv/releases/current/web.yaml {SPECS}/web.yaml")
    comes(daemon, 2)
    for number in (3, 4, 2):
        sh(daemon, f"cd /srv/releases; ln -s {number} new; mv -T new current")
        comes(daemon, number)
    sh(daemon, f"cd {SPECS}; ln -s ..2 ..data; ln -sf ..data/web.yaml web.yaml")
    comes(daemon, 12)
    sh(daemon, f"cd {SPECS}; ln -s ..3 ..new; mv -T ..new ..data")
    comes(daemon, 13)
    sh(daemon, f"cd {SPECS}; rm -r ..data ..2 ..3 ..4")


def test_the_directory_itself_is_turned(daemon: Daemon) -> None:
    for number in (2, 3):
        daemon.machine.write(f"/srv/sets/{number}/web.yaml", sleeping("web", number))
        sh(daemon, f"cp {SPECS}/keeps.yaml /srv/sets/{number}/")
    sh(daemon, f"mv {SPECS} /srv/sets/1; ln -s /srv/sets/2 {SPECS}")
    comes(daemon, 2)
    sh(daemon, f"ln -s /srv/sets/3 /srv/sets/new; mv -T /srv/sets/new {SPECS}")
    comes(daemon, 3)
    sh(daemon, "sed s/3/5/ /srv/sets/3/web.yaml >/srv/five; mv /srv/five /srv/sets/3/web.yaml")
    comes(daemon, 5)
    sh(daemon, f"rm {SPECS}; mv /srv/sets/1 {SPECS}")
    comes(daemon, 1)


def test_more_events_than_the_kernel_keeps(daemon: Daemon) -> None:
    """20000 at once, while the daemon cannot read them: some are lost, and which is not known."""
    daemon.machine.write("/srv/two", sleeping("web", 2))
    script = f"""
        kill -STOP {daemon.pid}
        cd {SPECS}
        i=0
        while [ $i -lt 20000 ]; do : >noise$((i % 50)); i=$((i + 1)); done
        cat /srv/two >web.yaml
        rm noise*
        kill -CONT {daemon.pid}
    """
    sh(daemon, script)
    comes(daemon, 2)
    assert "more has happened than could be told" in daemon.journal("--unit=nanod.service")


def test_names_that_no_unit_can_have_and_those_that_need_escapes(daemon: Daemon) -> None:
    daemon.put("a-b c.d", sleeping("odd"))
    daemon.until_state("a-b c.d", "applied")
    assert version(daemon, "odd") == "1"
    daemon.put("glob*", sleeping("globbed"))
    daemon.until_state("glob*", "unreadable")
    assert "its name has one of *?[" in daemon.journal("--unit=nanod.service")
    daemon.file("a-b c.d").unlink()
    until(lambda: daemon.show("LoadState", "odd-s0.service") == "not-found", "odd is gone")
