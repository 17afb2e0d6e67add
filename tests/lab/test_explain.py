"""`nanod explain` of what is installed: the timeline says what really happens, and every line of a unit file has its place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.steps import HOOKS, STEP, App

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

UNITS = "/etc/systemd/system"


def _json(app: App, *words: str) -> dict[str, Any]:
    found = json.loads(app.nanod("explain", "--json", *words).out)
    assert isinstance(found, dict)
    return found


def _life(app: App, service: str, stage: str) -> list[str]:
    """The steps of the timeline that leave a line in the log of the app."""
    steps = [step["phase"] for step in _json(app, app.name, service)["timeline"] if step["stage"] == stage]
    return [f"{phase} {service}" for phase in steps if phase in (*HOOKS, "install", "main", "signal", "ready")]


def proof(machine: Machine) -> None:
    """What a service is said to go through is what its steps write down."""
    app = App.on(machine, "told")
    web = app.service("web", hooks=(*HOOKS, "ready"), provisioning={"install": STEP}, volume="/srv/told")
    app.apply({"db": app.service("db", hooks=()), "web": web | {"requires": ["db"]}})
    app.until_step("ready web")
    assert [step for step in app.steps() if step.endswith(" web")] == _life(app, "web", "up")
    app.clear()
    app.systemctl("reload", "told-web")
    assert app.steps() == _life(app, "web", "reload")
    app.clear()
    app.systemctl("stop", "told-web")
    assert app.steps() == _life(app, "web", "down")
    text = app.nanod("explain", "told", "web").out
    assert text.startswith(f"web of told, generation 1, as {app.spec} says\n\nOn the way up\n  requires/db ")
    for step in _json(app, "told", "web")["timeline"]:
        installed = machine.path(f"{UNITS}/{step['unit']}").read_text().splitlines()
        for line in step["lines"]:
            assert f"{line['key']}={line['text']}" in installed
    for unit in sorted(path.name for path in machine.path(UNITS).glob("*told*") if path.is_file()):
        found = _json(app, unit)
        assert (found["app"], found["source"], found["missing"]) == ("told", app.spec, {})
        assert {(line["origin"] is None, line["wanted"]) for line in found["units"][unit]} == {(False, None)}, unit
    app.remove("--purge")


def test_the_timeline_is_what_happens_on_252(machine: Machine) -> None:
    proof(machine)


def test_the_timeline_is_what_happens_on_257(machine257: Machine) -> None:
    proof(machine257)


@pytest.mark.row("FAULTS-23")
def test_a_unit_is_explained_by_the_text_that_was_applied(machine: Machine) -> None:
    app = App.on(machine, "lines")
    text = "project: lines\nservices:\n  web:\n    command: [/bin/sleep, infinity]\n    user: root\n    settle: 0s\n    environment:\n      GREETING: hello\n"
    app.write_text(text)
    app.apply()
    unit, copy = "lines-web.service", "/var/lib/nanod/apps/lines/generations/1/spec.yaml"

    def place() -> tuple[str, int]:
        line = next(line for line in _json(app, unit)["units"][unit] if line["text"] == "GREETING=hello")
        return line["origin"]["file"], line["origin"]["line"]

    assert place() == (app.spec, 8)
    app.write_text(text.replace("hello", "welcome").replace("services:", "# one more\nservices:"))
    assert place() == (copy, 8)
    assert f"note: the spec changed ({app.spec}): places are those of the text that was applied, {copy}\n" in app.nanod("explain", unit).err
    machine.path(app.spec).unlink()
    assert place() == (copy, 8)
    assert "note: the spec is gone" in app.nanod("explain", "lines", "web").err

    file = machine.path(f"{UNITS}/{unit}")
    file.write_text(file.read_text().replace("Restart=on-failure\n", "Restart=always\nOOMPolicy=kill\n"))
    drop_in = machine.path(f"{UNITS}/{unit}.d/admin.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nNice=3\n")
    shown = app.nanod("explain", unit)
    assert "the spec makes Restart=on-failure\n" in shown.out
    assert "OOMPolicy=kill" in next(line for line in shown.out.splitlines() if line.startswith("not of the spec"))
    assert f"{drop_in.name} is a drop-in of the administrator" in shown.err
    drop_in.unlink()
    drop_in.parent.rmdir()

    # Others than root have no generation to read, and say so.
    app.write_text(text)
    seen = machine.run(["nanod", "explain", unit], user="nobody")
    assert seen.status == 0, seen.err
    assert f"places are those of {app.spec} as it is now: the text that was applied is readable to root alone" in seen.err
    app.remove()


def test_an_app_from_standard_input_is_explained_by_its_copy(machine: Machine) -> None:
    app = App.on(machine, "piped")
    text = "project: piped\nservices: {web: {command: [/bin/sleep, infinity], user: root, working_dir: /, settle: 0s}}\n"
    done = machine.run(["nanod", "apply", "-"], input=text)
    assert done.status == 0, done.err
    found = _json(app, "piped", "web")
    assert found["source"] == "/var/lib/nanod/apps/piped/generations/1/spec.yaml"
    assert "came from standard input" in found["notes"][0]
    assert [step["phase"] for step in found["timeline"]] == ["main", "signal", "gone"]
    app.remove()


def test_an_overlay_is_explained_as_it_was_applied(machine: Machine) -> None:
    app = App.on(machine, "layer")
    app.write(
        {"web": app.service("web", health=None, runtime_dir=False)}, environments={"stage": {"services": {"web": {"environment": {"STAGE": "yes"}}}}}
    )
    app.nanod("apply", "-e", "stage", app.spec)
    found = _json(app, "layer-stage-web.service")
    line = next(line for line in found["units"]["layer-stage-web.service"] if line["text"] == "STAGE=yes")
    assert line["origin"]["file"] == app.spec
    app.nanod("remove", "layer-stage")


def test_what_nanod_did_not_make_is_not_explained(machine: Machine) -> None:
    app = App.on(machine, "none")
    machine.path(f"{UNITS}/own.service").write_text("[Service]\nExecStart=/bin/true\n")
    assert "nanod did not make it\nhint: systemctl cat own.service" in app.nanod("explain", "own.service", status=1).err
    assert "there is no such app here" in app.nanod("explain", "none", status=1).err
    machine.path(f"{UNITS}/own.service").unlink()
