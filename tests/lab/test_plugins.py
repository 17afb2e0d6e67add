"""Plug-ins on a real systemd: what a feature adds runs, in its order, and a policy refuses before anything is touched."""

from __future__ import annotations

import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.steps import DIRECTORY, MAIN, App
from tests.plugin import describe, install_example

if TYPE_CHECKING:
    from nanod.rehearse.machine import Machine

SITES = {"machine": sysconfig.get_path("purelib"), "machine257": "/usr/lib/python3/dist-packages"}
"""Where nanod's own packages are: inside the machine, what is written there is the machine's alone."""
CACHE = "/usr/local/lib/steps/cache"

_CACHE = """#!/usr/bin/python3 -I
# cache … --unixsocket PATH …: what a cache is to others, and a note of when it comes and goes.
import os, signal, socket, sys
def note(word):
    with open("/srv/steps/%s.log" % os.environ["NANOD_APP"], "a") as log:
        log.write("%s %s\\n" % (word, os.environ["NANOD_TASK"]))
def end(*_):
    note("down")
    sys.exit()
signal.signal(signal.SIGTERM, end)
if "--unixsocket" in sys.argv:
    server = socket.socket(socket.AF_UNIX)
    server.bind(sys.argv[sys.argv.index("--unixsocket") + 1])
    server.listen()
note("up")
while True:
    signal.pause()
"""
_ORDERED = """
from nanod.extend import Addition
class Ordered:
    schema = {"type": "object"}
    def __init__(self, name):
        self.name = name
    def add(self, block):
        task = {"command": ["/usr/local/lib/steps/cache"], "lifecycle": {"hook": "prestart", "sidecar": True}}
        return Addition(environment={self.name.upper(): "1"}, tasks={self.name: task})
first, second = Ordered("first"), Ordered("second")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugged(App):
    """An app of a nanod beside which packages are installed."""

    site: Path
    """Their directory, as it is out here."""
    inside: str


@pytest.fixture(params=list(SITES))
def app(request: pytest.FixtureRequest) -> Plugged:
    machine: Machine = request.getfixturevalue(request.param)
    inside = SITES[request.param]
    # A link in it would lead out of the machine.
    site = machine.path(Path(inside).resolve())
    app = Plugged(machine=App.on(machine, "plugged").machine, name="plugged", site=site, inside=inside)
    app.program("cache", _CACHE)
    for left in [*app.site.glob("nanod_example*"), *app.site.glob("*acme*")]:
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    install_example(app.site)
    return app


@pytest.mark.row("MK-5", "MK-4")
def test_a_feature_adds_a_sidecar_and_a_variable(app: Plugged) -> None:
    said = {"cache": {"megabytes": 64, "program": CACHE}}
    note = f'echo "$CACHE_URL $(test -S "${{CACHE_URL#unix://}}" && echo there)" >>{DIRECTORY}/plugged.log; exec {MAIN}'
    web = app.service("web", command=note, hooks=(), features=said, description="The shop")
    app.apply({"web": web})
    assert app.steps() == ["up cache", "unix:///run/plugged/web/cache.sock there", "main web"]
    assert app.is_up("web-cache")
    shown = app.nanod("explain", "plugged-web-cache.service").out
    assert "--maxmemory" in shown
    # And then no plug-in is imported, nor what would check its block.
    done = app.machine.run(["env", "PYTHONPROFILEIMPORTTIME=1", "nanod", "apply", app.spec])
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.err.splitlines()}
    assert "nothing to do" in done.out
    assert "nanod" in imported
    assert imported & {"nanod_example", "jsonschema", "yaml"} == set()
    # A wrong block changes nothing.
    pid = app.pid("web")
    wrong = app.apply({"web": web | {"features": {"cache": {"megabytes": "many"}}}}, status=2).err
    assert "'megabytes' must be a number from 1 to 1024, not 'many'" in wrong
    assert app.pid("web") == pid
    # Without its package the block is an error at its line, and what was applied runs on.
    app.write({"web": web})
    shutil.rmtree(app.site / "nanod_example-1.0.dist-info")
    assert "no feature 'cache': there is none" in app.apply(status=2).err
    assert app.pid("web") == pid
    app.nanod("status", "plugged")
    app.remove()
    assert not app.machine.path("/run/plugged/web").exists()


@pytest.mark.row("MK-12", "MK-5")
@pytest.mark.parametrize("app", ["machine257"], indirect=True)
def test_features_start_in_their_order_and_stop_in_reverse(app: Plugged) -> None:
    (app.site / "acme.py").write_text(_ORDERED)
    describe(app.site, "acme", {"nanod.features": {"first": "acme:first", "second": "acme:second"}})
    stop = {"stop": {"timeout": "5s"}}
    for order in (["first", "second"], ["second", "first"]):
        app.clear()
        app.apply({"web": app.service("web", hooks=("prestart", "poststop"), features={name: {} for name in order}, **stop)})
        before, after = ["prestart web", "main web"], ["signal web", "poststop web"]
        assert app.steps()[-4:] == [*(f"up {name}" for name in order), *before]
        app.clear()
        app.systemctl("stop", app.unit("web"))
        app.until_gone("web-first", "web-second")
        assert app.steps() == [*after, *(f"down {name}" for name in reversed(order))]
    app.remove()


@pytest.mark.row("RV-18", "MK-14")
@pytest.mark.parametrize("app", ["machine"], indirect=True)
def test_a_policy_refuses_before_anything_is_touched(app: Plugged) -> None:
    services = {"web": app.service("web")}
    app.write(services, env="production")
    refused = app.apply(status=2).err
    assert "error: 'web' has no description [described]" in refused
    assert f"{app.spec}:1:" in refused
    assert list(app.machine.path("/etc/systemd/system").glob("plugged*")) == []
    app.write(services)
    assert "warning: 'web' has no description [described]" in app.apply().err
    assert "warning: 'web' has no description [described]" in app.apply().err, "also where nothing is to do"
    services["web"]["features"] = {"policies": {"described": "off"}}
    assert "described" not in app.apply(services).err
    app.remove()


@pytest.mark.row("RV-18")
@pytest.mark.parametrize("app", ["machine"], indirect=True)
def test_a_policy_that_came_later_is_asked_although_nothing_changed(app: Plugged) -> None:
    app.apply({"web": app.service("web", description="The shop")})
    assert "nothing to do" in app.apply().out
    (app.site / "acme.py").write_text("class Broken:\n    name = 'broken'\n    def check(self, subject):\n        return 1 / 0\n")
    describe(app.site, "nanod-acme", {"nanod.policies": {"broken": "acme:Broken"}}, "1.2")
    said = app.apply(status=1).err
    assert "cannot use the policy 'broken' of nanod-acme 1.2: ZeroDivisionError: division by zero" in said
    assert f"{Path(app.inside, 'acme.py')}:4" in said
    shutil.rmtree(app.site / "nanod_acme-1.2.dist-info")
    assert "nothing to do" in app.apply().out
    app.remove()
