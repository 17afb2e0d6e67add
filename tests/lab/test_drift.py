"""What the administrator does beside nanod: seen, said, and kept where it is theirs to decide; also by a failed apply and by a rollback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import GIVES_UP, App, until

if TYPE_CHECKING:
    from pathlib import Path

    from nanod.rehearse.machine import Machine

UNITS = "/etc/systemd/system"
MASK = "/etc/systemd/system.control/drift-web.service"
CHANGED = {"environment": {"A": "1"}}
DROP_INS = {
    "/etc/systemd/system/drift-web.service.d/own.conf": "Nice=3",
    "/etc/systemd/system/drift-.service.d/prefix.conf": "OOMScoreAdjust=7",
    "/run/systemd/system/service.d/drift.conf": "LimitNOFILE=4096",
}


@pytest.fixture(scope="module")
def app(machine: Machine) -> App:
    return App.on(machine, "drift")


def services(app: App, **web: Any) -> dict[str, dict[str, Any]]:
    return {"db": app.service("db", hooks=()), "web": app.service("web", hooks=(), restart=GIVES_UP, **web)}


def failing(app: App) -> dict[str, dict[str, Any]]:
    """One service changes and does not start, and so an apply goes back."""
    return services(app, **CHANGED, settle="0s") | {"web": app.service("web", hooks=(), **CHANGED, restart={"policy": "no"}, command=["/bin/false"])}


def file(app: App, service: str) -> Path:
    return app.machine.path(f"{UNITS}/{app.unit(service)}")


def mask(app: App, service: str) -> None:
    """Over the file, where the administrator's own settings are: `systemctl mask` refuses while there is a file, and a mask in /run has no effect."""
    app.machine.path(MASK).parent.mkdir(exist_ok=True)
    app.machine.path(MASK).symlink_to("/dev/null")
    app.systemctl("daemon-reload")
    assert app.show(service, "LoadState") == "masked"


def unmask(app: App) -> None:
    app.machine.path(MASK).unlink()
    app.systemctl("daemon-reload")


def drift(app: App) -> set[tuple[str, str]]:
    """As status says it, as data and as text."""
    text = app.nanod("status", "drift", status=None).out
    found = json.loads(app.nanod("status", "drift", "--json", status=None).out)["apps"][0]
    items = [*found["drift"], *(item for service in found["services"] for item in service["drift"])]
    for item in items:
        assert item["subject"] in text, text
    return {(item["kind"], item["subject"]) for item in items}


def causes(app: App, unit: str) -> set[str]:
    steps = json.loads(app.nanod("plan", app.spec, "--json").out)["steps"]
    return {cause["kind"] for step in steps if step.get("unit") == unit for cause in step["causes"]}


@pytest.mark.row("FAULTS-23", "BX-22")
def test_an_edited_file_is_said_and_put_back_with_its_cause(app: App) -> None:
    app.apply(services(app))
    wanted, before = file(app, "web").read_text(), app.pid("db")
    file(app, "web").write_text(wanted.replace("[Service]", "[Service]\nNice=9\nMemoryMax=1G"))
    file(app, "db").unlink()
    assert drift(app) >= {("edited", "drift-web.service"), ("deleted", "drift-db.service")}
    assert causes(app, "drift-web.service") == causes(app, "drift-db.service") == {"edited-on-disk"}
    done = app.apply()
    assert "Nice=, MemoryMax= was edited by hand" in done.out
    assert "drift-db.service" in done.out
    assert "its file was deleted by hand" in done.out
    assert file(app, "web").read_text() == wanted
    assert (app.show("web", "Nice"), app.show("web", "MemoryMax"), app.pid("db")) == ("0", "infinity", before)
    assert drift(app) == set()


@pytest.mark.row("FAULTS-23", "FAULTS-27", "BX-4")
def test_a_failed_apply_leaves_the_bytes_that_somebody_had_edited(app: App) -> None:
    """Not those that nanod last wrote: all is as it was, and it was edited."""
    app.apply(services(app))
    edited = file(app, "web").read_text().replace("[Service]", "# mine\n[Service]\nNice=9")
    file(app, "web").write_text(edited)
    app.systemctl("daemon-reload")
    app.systemctl("restart", "drift-web")
    file(app, "db").unlink()
    target = app.machine.path(f"{UNITS}/drift.target")
    target.unlink()
    before = app.pid("db")
    done = app.apply(failing(app), status=4)
    assert "rolled back" in done.out, done.out
    assert file(app, "web").read_text() == edited
    assert not file(app, "db").exists()
    assert not target.exists()
    assert (app.show("web", "Nice"), app.pid("db")) == ("9", before)
    app.until_up("web")
    assert drift(app) >= {("edited", "drift-web.service"), ("deleted", "drift-db.service")}
    app.apply(services(app))
    assert drift(app) == set()


@pytest.mark.row("FAULTS-23", "BX-26", "BX-4")
def test_drop_ins_stay_through_apply_rollback_and_remove(app: App) -> None:
    app.apply(services(app))
    for path, line in DROP_INS.items():
        app.machine.write(path, f"[Service]\n{line}\n")
    app.systemctl("daemon-reload")
    app.systemctl("restart", "drift-web")

    def are_in_force() -> bool:
        """Both as files and in what runs."""
        for path, line in DROP_INS.items():
            assert app.machine.path(path).read_text() == f"[Service]\n{line}\n"
        shown = {app.show("web", line.partition("=")[0]) == line.partition("=")[2] for line in DROP_INS.values()}
        return shown == {True}

    assert are_in_force()
    assert {item for item in drift(app) if item[0] == "override"} >= {("override", path) for path in list(DROP_INS)[:1]}
    notes = json.loads(app.nanod("plan", app.spec, "--json").out)["notes"]
    assert {path for note in notes for path in DROP_INS if note["kind"] == "drop-in" and path in note["text"]} == set(DROP_INS)
    assert app.nanod("plan", app.spec, "--detailed-exitcode").status == 0, "a drop-in is no change pending"
    app.apply(services(app, **CHANGED))
    assert are_in_force()
    app.apply(failing(app), status=4)
    app.until_up("web")
    assert are_in_force()
    app.nanod("rollback", "drift")
    assert are_in_force()
    app.remove()
    assert all(app.machine.path(path).is_file() for path in DROP_INS)
    for path in DROP_INS:
        app.machine.path(path).unlink()
    app.systemctl("daemon-reload")


@pytest.mark.row("FAULTS-23", "BX-8", "BX-4")
def test_a_mask_holds_through_apply_and_rollback(app: App) -> None:
    app.apply(services(app))
    app.systemctl("stop", "drift-db")
    file(app, "db").unlink()
    app.systemctl("mask", "drift-db")
    assert ("masked", "drift-db.service") in drift(app)
    assert "drift-db.service is masked: left alone" in app.nanod("plan", app.spec).out

    def is_masked() -> bool:
        return app.machine.run(["readlink", f"{UNITS}/drift-db.service"]).out.strip() == "/dev/null" and not app.is_up("db")

    app.apply(services(app, **CHANGED))
    assert is_masked()
    app.apply(failing(app), status=4)
    app.until_up("web")
    assert is_masked()
    app.nanod("rollback", "drift")
    assert is_masked()
    # Also one that hides a file which is there.
    app.systemctl("unmask", "drift-db")
    app.apply(services(app))
    assert app.is_up("db")
    mask(app, "web")
    app.systemctl("stop", "drift-web")
    app.apply(services(app, **CHANGED))
    assert app.show("web", "LoadState") == "masked"
    assert not app.is_up("web")
    unmask(app)
    app.apply(services(app, **CHANGED))
    app.until_up("web")
    assert drift(app) == set()
    app.remove()


@pytest.mark.row("FAULTS-23", "BX-4")
def test_what_was_masked_while_apply_ran_stays_masked_when_that_is_undone(app: App) -> None:
    """The administrator's later word wins over the way back, which must still end."""
    app.apply(services(app))
    app.sick("web")
    app.write(services(app, **CHANGED, health={"file": "/run/drift/web/up", "interval": "50ms", "start_timeout": "3s"}))
    late = app.machine.popen(["sh", "-c", f"exec nanod apply {app.spec} >/run/late 2>&1"])
    until(lambda: app.show("web", "SubState") == "start-post", "web is being probed")
    mask(app, "web")
    status = late.wait()
    said = app.machine.path("/run/late").read_text()
    app.well("web")
    assert status in (4, 6), said
    assert app.show("web", "LoadState") == "masked"
    unmask(app)
    app.apply(services(app))
    assert app.is_up("web")
    app.remove()
