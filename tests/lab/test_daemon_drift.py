"""Drift: seen by the daemon without being asked, said everywhere, and put back only where that is configured. And metrics, of all that can be measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.lab.daemons import SPECS, Daemon, pids, sleeping, version
from tests.lab.steps import until

if TYPE_CHECKING:
    from collections.abc import Iterator

UNITS = "/etc/systemd/system"
_GET = """
import sys, urllib.request
answer = urllib.request.urlopen(sys.argv[1], timeout=60)
print(answer.headers["Content-Type"])
print(answer.read().decode(), end="")
"""


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    running.put("web", sleeping("web", services=2))
    running.until_state("web", "applied")
    until(lambda: drift(running) == set(), "all is well at first")
    before = pids(running, "keeps-s0.service")
    yield running
    assert pids(running, "keeps-s0.service") == before
    running.configure("")
    running.file("web").unlink()
    running.reload()
    running.machine.run(["sh", "-c", f"rm -rf {UNITS}/web-*.d /run/systemd/system/web-*"])
    running.systemctl("daemon-reload")


def drift(daemon: Daemon) -> set[tuple[str, str]]:
    return {(item["kind"], item["subject"]) for item in daemon.status()["drift"]}


def measured(daemon: Daemon) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Samples by name, as a scraper reads them."""
    text = daemon.ask({"do": "metrics"})["metrics"]
    return parsed(text)


def parsed(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]  # of a package without types
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def edit(daemon: Daemon, unit: str) -> None:
    file = daemon.machine.path(f"{UNITS}/{unit}")
    file.write_text(file.read_text().replace("[Service]", "[Service]\nNice=9"))


@pytest.mark.row("BX-22")
def test_each_kind_is_seen_and_said_and_nothing_is_put_back(daemon: Daemon) -> None:
    before = daemon.applies("web")
    processes = pids(daemon, "web-s0.service", "web-s1.service")
    edit(daemon, "web-s0.service")
    daemon.machine.path(f"{UNITS}/web.target").unlink()
    until(lambda: drift(daemon) >= {("edited", "web-s0.service"), ("deleted", "web.target")}, f"both: {drift(daemon)}")
    said = daemon.journal("--unit=nanod.service")
    assert "web: web-s0.service was edited by hand" in said
    assert "web: web.target is gone" in said
    assert "drifted: web" in daemon.show("StatusText")
    samples = measured(daemon)["nanod_drift"]
    assert ({"app": "web", "kind": "edited", "subject": "web-s0.service"}, 1.0) in samples
    until(lambda: ("not-loaded", "web-s0.service") in drift(daemon), "systemd has not read it")
    daemon.systemctl("daemon-reload")
    until(lambda: ("not-loaded", "web-s0.service") not in drift(daemon), "now it has")
    assert ("edited", "web-s0.service") in drift(daemon)
    daemon.machine.write(f"{UNITS}/web-s1.service.d/own.conf", "[Service]\nNice=3\n")
    daemon.systemctl("daemon-reload")
    until(lambda: ("override", f"{UNITS}/web-s1.service.d/own.conf") in drift(daemon), "the drop-in")
    daemon.machine.write(f"{UNITS}/web-s1.service.d/own.conf", "[Service]\nNice=4\n")
    until(lambda: ("not-loaded", "web-s1.service") in drift(daemon), "what is in it has changed")
    daemon.machine.path("/run/systemd/system.control").mkdir(exist_ok=True)
    daemon.machine.path("/run/systemd/system.control/web-s1.service").symlink_to("/dev/null")
    daemon.systemctl("daemon-reload")
    until(lambda: ("masked", "web-s1.service") in drift(daemon), "the mask")
    daemon.machine.path("/run/systemd/system.control/web-s1.service").unlink()
    daemon.systemctl("daemon-reload")
    assert daemon.applies("web") == before, "nothing is put back"
    assert pids(daemon, "web-s0.service", "web-s1.service") == processes
    assert daemon.machine.nanod("apply", f"{SPECS}/web.yaml").status == 0
    daemon.machine.run(["rm", "-r", f"{UNITS}/web-s1.service.d"])
    daemon.systemctl("daemon-reload")
    until(lambda: drift(daemon) == set(), "somebody has put it back")
    assert "web: all is as nanod left it again" in daemon.journal("--unit=nanod.service")


@pytest.mark.row("BX-22")
def test_with_heal_what_was_edited_is_put_back_and_what_is_the_administrators_stays(daemon: Daemon) -> None:
    daemon.configure("heal: true\n")
    daemon.reload()
    daemon.machine.write(f"{UNITS}/web-s1.service.d/own.conf", "[Service]\nNice=3\n")
    daemon.systemctl("daemon-reload")
    until(lambda: ("override", f"{UNITS}/web-s1.service.d/own.conf") in drift(daemon), "the drop-in")
    wanted = daemon.machine.path(f"{UNITS}/web-s0.service").read_text()
    other = pids(daemon, "web-s1.service")
    edit(daemon, "web-s0.service")
    until(lambda: daemon.machine.path(f"{UNITS}/web-s0.service").read_text() == wanted, "it is put back", timeout=30)
    daemon.machine.path(f"{UNITS}/web-s1.service").unlink()
    until(lambda: daemon.machine.path(f"{UNITS}/web-s1.service").exists(), "that, too", timeout=30)
    until(lambda: drift(daemon) == {("override", f"{UNITS}/web-s1.service.d/own.conf")}, "the drop-in is what is left", timeout=30)
    assert daemon.machine.path(f"{UNITS}/web-s1.service.d/own.conf").exists()
    assert version(daemon, "web") == "1"
    assert pids(daemon, "web-s1.service")["web-s1.service"].split()[0] != "0"
    assert other


@pytest.mark.row("BX-22")
def test_what_cannot_be_put_back_is_given_up_and_not_tried_for_ever(daemon: Daemon) -> None:
    """An apply of it fails, and goes back to what was edited."""
    daemon.machine.write("/srv/fails", "#!/bin/sh\ntest ! -e /srv/sick\n", mode=0o755)
    daemon.put("web", sleeping("web", 2, hooks={"prestart": "/srv/fails"}, restart={"policy": "no"}))
    daemon.reload()
    daemon.configure("heal: true\n")
    daemon.reload()
    before = daemon.applies("web")
    daemon.machine.write("/srv/sick", "")
    edit(daemon, "web-s0.service")
    until(lambda: "web: gives up putting it back: web-s0.service" in daemon.journal("--unit=nanod.service"), "it gives up", timeout=60)
    assert daemon.applies("web") == before + 1
    assert ("edited", "web-s0.service") in drift(daemon)
    daemon.machine.path("/srv/sick").unlink()
    daemon.reload()
    until(lambda: drift(daemon) == set(), "a person asks once more", timeout=30)


def get(daemon: Daemon, address: str) -> tuple[str, str]:
    done = daemon.machine.run([daemon.python, "-c", _GET, address], timeout=90)
    kind, _, text = done.out.partition("\n")
    return kind, text or done.err


@pytest.mark.row("BX-22")
def test_metrics_over_http_on_loopback(daemon: Daemon) -> None:
    daemon.put("web", sleeping("web", 3, services=2, hooks={"prestart": "sleep 0.2"}, restart={"policy": "always", "delay": "100ms"}))
    daemon.reload()
    assert "Connection refused" in get(daemon, "http://127.0.0.1:9469/metrics")[1], "off by default"
    daemon.configure("metrics: 127.0.0.1:9469\n")
    daemon.reload()
    before = pids(daemon, "web-s0.service")["web-s0.service"]
    daemon.machine.run(["kill", "-KILL", before.split()[0]])
    until(lambda: version(daemon, "web") == "3" and pids(daemon, "web-s0.service")["web-s0.service"] != before, "it has restarted")
    kind, text = get(daemon, "http://127.0.0.1:9469/metrics")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")
    found = parsed(text)
    web = {"app": "web", "service": "s0", "unit": "web-s0.service"}
    assert ({**web, "nanod_service_health": "healthy"}, 1.0) in found["nanod_service_health"]
    assert ({**web, "nanod_service_health": "failed"}, 0.0) in found["nanod_service_health"]
    assert (web, 1.0) in found["nanod_service_restarts_total"]
    hooks = [(labels, value) for labels, value in found["nanod_hook_duration_seconds"] if labels["unit"] == "web-s0.service"]
    assert [labels["phase"] for labels, _ in hooks] == ["prestart"]
    assert hooks[0][1] >= 0.2
    assert ({"app": "web", "nanod_apply_result": "healthy"}, 1.0) in found["nanod_apply_result"]
    assert ({"spec": "web", "nanod_spec_state": "applied"}, 1.0) in found["nanod_spec_state"]
    assert [labels for labels, _ in found["nanod_apply_time_seconds"]] == [{"app": "keeps"}, {"app": "web"}]
    assert "404" in get(daemon, "http://127.0.0.1:9469/")[1]
    listening = daemon.machine.run(["ss", "-Hltn"]).out
    assert "127.0.0.1:9469" in listening
    daemon.configure("metrics: 9470\n")
    daemon.reload()
    assert get(daemon, "http://127.0.0.1:9470/metrics")[1].endswith("# EOF\n")
    assert "Connection refused" in get(daemon, "http://127.0.0.1:9469/metrics")[1]
    daemon.configure("metrics: 22.0.0.1:80\n")
    assert "must be of loopback" in daemon.reload(status=2).err
    assert get(daemon, "http://127.0.0.1:9470/metrics")[1].endswith("# EOF\n")


def test_history_and_doctor_tell_of_it(daemon: Daemon) -> None:
    daemon.put("bad", "services: {web: {comand: x}}\n")
    daemon.until_state("bad", "refused")
    texts = [item["text"] for item in daemon.ask({"do": "history"})["history"]]
    assert "bad: refused: the spec has errors" in texts
    assert all({"at", "priority", "text"} == item.keys() for item in daemon.ask({"do": "history"})["history"])

    def findings() -> dict[str, tuple[str, str]]:
        done: list[dict[str, Any]] = json.loads(daemon.machine.run(["nanod", "doctor", "--json"]).out)["findings"]
        return {item["id"]: (item["level"], item["text"]) for item in done if item["id"].startswith("daemon")}

    assert findings()["daemon-spec"] == ("warning", "the daemon could not apply /etc/nanod/specs.d/bad.yaml: refused: the spec has errors")
    daemon.file("bad").unlink()
    daemon.configure("metrics: 1.1.1.1:80\n")
    daemon.reload(status=2)
    assert findings()["daemon-reload"][0] == "warning"
    daemon.configure("")
    daemon.reload()
    assert findings() == {"daemon": ("ok", "the daemon keeps /etc/nanod/specs.d applied: 2 specs")}
    daemon.systemctl("enable", "nanod.service")
    daemon.stop()
    assert findings()["daemon"] == ("error", "nanod.service is enabled, and no daemon answers")
    daemon.systemctl("disable", "nanod.service")
    assert findings() == {}, "a host may do without"
    daemon.start()
