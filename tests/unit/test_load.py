"""What a right spec becomes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanod.errors import NanodError
from nanod.phases import Context, OnFailure, Scope
from nanod.spec.defaults import DEFAULTS
from nanod.spec.load import load, read_spec
from nanod.spec.model import Condition, Kind, ProbeKind, RestartPolicy, Sandbox, Service, Spec
from nanod.values import TimeSpan

CORPUS = Path(__file__).parents[1] / "corpus"


def spec(text: str, **said: Any) -> Spec:
    loaded = load("shop.yaml", text, **{"directory": "/etc/nanod", **said})
    assert [item.message for item in loaded.report] == []
    assert loaded.spec is not None
    return loaded.spec


def case(name: str, env: str | None = None) -> dict[str, Service]:
    return dict(spec((CORPUS / "ok" / name / "spec.yaml").read_text(), env=env).services)


def whole() -> dict[str, Service]:
    return dict(spec((CORPUS / "whole" / "full.yaml").read_text()).services)


def service(keys: str = "", command: str = "[/bin/web]") -> Service:
    return spec(f"services: {{web: {{command: {command}, user: shop, {keys}}}}}").services["web"]


def words(text: str, **said: Any) -> list[str]:
    return [item.message for item in load("shop.yaml", text, **{"directory": "/etc/nanod", **said}).report]


def test_the_app_is_named_after_its_file() -> None:
    assert spec("services: {web: {command: [/bin/web]}}").app == "shop"


@pytest.mark.parametrize("stem", ["spec", "nanod", "services", "compose"])
def test_or_after_its_directory(stem: str) -> None:
    loaded = load(f"{stem}.yaml", "services: {web: {command: [/bin/web]}}", directory="/srv/blog")
    assert loaded.spec is not None
    assert loaded.spec.project == "blog"


def test_an_environment_is_part_of_the_name() -> None:
    text = "services: {web: {command: [/bin/web]}}"
    assert spec(text, env="stage").app == "shop-stage"
    assert spec("env: prod\n" + text).app == "shop-prod"
    assert spec("env: prod\n" + text, env="stage").env == "stage"
    assert spec(text).env is None


def test_what_nobody_says_is_the_default() -> None:
    web = spec("services: {web: {command: [/bin/web]}}").services["web"]
    assert web.kind is Kind.NATIVE
    assert web.user == DEFAULTS["user"]
    assert web.sandbox is Sandbox.DEFAULT
    assert web.settle == TimeSpan.parse("5s")
    assert (web.restart.policy, web.restart.delay, web.restart.limit) == (RestartPolicy.ON_FAILURE, TimeSpan.parse("1s"), 5)
    assert web.restart.window == TimeSpan.parse("60s")
    assert (web.stop.signal, web.stop.timeout, web.stop.drain, web.stop.ignore_hup) == ("SIGTERM", TimeSpan.parse("30s"), TimeSpan(0), True)
    assert (web.health, web.provisioning, web.hooks, web.replicas, web.schedule) == (None, None, {}, None, None)
    assert web.working_dir == "/etc/nanod"
    assert not any(web.at.written(key) for key in ("user", "stop", "restart", "settle"))


def test_health_defaults() -> None:
    health = service("health: {tcp: 80}").health
    assert health is not None
    assert [str(span) for span in (health.interval, health.timeout, health.start_timeout)] == ["500ms", "2s", "1min"]
    assert health.liveness is None


def test_written_is_told_from_default() -> None:
    web = service("stop: {timeout: 30s}")
    assert web.at.written("stop", "timeout")
    assert web.stop.at.written("timeout")
    assert not web.stop.at.written("signal")
    assert str(web.stop.at("timeout")) == "shop.yaml:1:67"


@pytest.mark.row("NK-22")
def test_a_command_that_is_text_runs_in_the_shell_and_becomes_the_main_process() -> None:
    command = service(command="node server.js").command
    assert command is not None
    assert command.argv == ("/bin/sh", "-ec", "exec node server.js")
    assert command.text == "node server.js"


def test_a_script_and_another_shell() -> None:
    scripts, shells = case("scripts"), case("shells")
    assert scripts["migrate"].command is not None
    assert scripts["migrate"].command.argv == ("/bin/sh", "-ec", "set -x\n./migrate.sh\n./seed.sh\n")
    argv = {name: item.command.argv for name, item in shells.items() if item.command}
    assert argv["bash"] == ("/bin/bash", "-euo", "pipefail", "-c", "exec node server.js")
    assert argv["python"] == ("/usr/bin/python3", "-c", "import time; time.sleep(1000)")
    assert argv["assignment"][-1] == "PORT=80 exec node server.js"


def test_scalars_are_read_as_they_were_written() -> None:
    web = case("text-as-written")["web"]
    assert web.command is not None
    assert web.command.argv[1:] == (
        "no", "on", "1e3", "0644", "22:22", "2024-01-01", "007", "1_000", "0x1f", "true", "12", ".inf", "=", "", " x ",
    )  # fmt: skip
    assert web.environment["OCTAL"] == "0644"
    assert web.environment["TRUE"] == "true"
    assert web.environment["EMPTY"] == ""
    assert web.environment["LINES"] == "a\nb\tc"
    assert web.environment["BIG"] == "123456789012345678901234567890"
    assert web.restart.policy is RestartPolicy.NO


def test_paths_are_absolute_and_normal() -> None:
    services = case("paths")
    assert services["relative"].working_dir == "/etc/nanod"
    assert services["relative"].command is not None
    assert services["relative"].command.argv == ("/etc/nanod/bin/x", "y")
    assert services["relative"].environment_files == ("/etc/nanod/a.env", "/etc/b.env")
    assert services["relative"].reload_on == ("/etc/nanod/x/y",)
    assert services["relative"].restart_on == ("/etc/nanod",)
    volume = services["volume"]
    assert volume.volumes == ("/srv/v", "/srv/x")
    assert volume.working_dir == "/srv/v"
    assert volume.command is not None
    assert volume.command.argv == ("/srv/v/x",)
    assert volume.provisioning is not None
    assert (volume.provisioning.creates, volume.provisioning.inputs) == (("/srv/v/a", "/b"), ("/srv/v/c",))
    assert volume.provisioning.install.argv == ("/srv/v/i",)
    assert services["dir"].working_dir == "/etc/nanod/sub/dir"
    assert services["dir"].health is not None
    assert services["dir"].health.address == "/etc/nanod/sub/dir/ok"
    assert services["dir"].command is not None
    assert services["dir"].command.argv == ("bare",)


def test_standard_input_has_no_directory() -> None:
    loaded = load("<stdin>", "project: a\nservices: {web: {command: [/bin/web], volumes: [/srv]}, job: {command: [x]}}")
    assert loaded.spec is not None
    assert loaded.spec.services["web"].working_dir == "/srv"
    assert loaded.spec.services["job"].working_dir == "/"


def test_health_short_forms() -> None:
    probes = {name: item.health for name, item in case("health").items()}
    shown = {name: (health.kind, health.address, health.own_port) for name, health in probes.items() if health}
    assert shown["port"] == (ProbeKind.TCP, "127.0.0.1:6379", False)
    assert shown["own"] == (ProbeKind.TCP, "127.0.0.1:7000", True)
    assert shown["path"] == (ProbeKind.HTTP, "http://127.0.0.1:8000/ready", True)
    assert shown["six"] == (ProbeKind.TCP, "[::1]:80", False)
    assert shown["url"] == (ProbeKind.HTTP, "https://[::1]:8443/x?y=1", False)
    assert shown["socket"] == (ProbeKind.UNIX, "/run/x.sock", False)
    assert shown["notify"] == (ProbeKind.NOTIFY, "", False)
    assert probes["exec"] is not None
    assert probes["exec"].command is not None
    assert probes["exec"].command.argv == ("/bin/sh", "-ec", "./healthy.sh")
    assert str(probes["exec"].timeout) == "1min 30s"


def test_a_written_address_may_be_the_own_port() -> None:
    health = service('ports: [8080, 8081], health: {http: "http://localhost:8081/"}').health
    assert health is not None
    assert health.own_port


def test_hooks() -> None:
    hooks = case("hooks")["web"].hooks
    wait, migrate, lint = hooks["prestart"]
    assert (wait.name, wait.on_failure, wait.scope, wait.context, wait.timeout) == (
        "1",
        OnFailure.FAIL,
        Scope.START,
        Context.HOST,
        TimeSpan.parse("5min"),
    )
    assert (migrate.name, migrate.scope, migrate.irreversible) == ("migrate", Scope.DEPLOY, True)
    assert migrate.run.argv == ("/etc/nanod/migrate", "--all")
    assert (lint.name, lint.on_failure) == ("3", OnFailure.IGNORE)
    assert hooks["poststart"][0].on_failure is OnFailure.FAIL
    assert hooks["reload"][0].context is Context.SERVICE
    assert hooks["prestop"][0].context is Context.HOST
    assert hooks["poststop"][0].timeout.is_forever
    assert hooks["poststop"][0].environment == {"A": "b"}
    assert [hook.at.path for hook in hooks["ready"]] == ["services.web.hooks.ready[0]", "services.web.hooks.ready[1]"]
    assert str(hooks["poststop"][0].at("timeout")) == "shop.yaml:15:44"


def test_a_shell_of_its_own() -> None:
    poststart = case("every-key", "stage")["web"].hooks["poststart"][0]
    assert poststart.run.argv == ("/bin/bash", "-eo", "pipefail", "-c", "./register.sh")
    assert poststart.user == "root"


def test_requirements() -> None:
    services = case("requires")
    a = {need.target: need for need in services["a"].requires}
    assert a["b"].condition is Condition.HEALTHY
    assert a["d"].condition is Condition.STARTED
    assert (a["postgresql.service"].is_unit, a["postgresql.service"].condition) == (True, Condition.STARTED)
    assert services["a"].after == ("c", "network-online.target")
    assert services["b"].requires[0].restart
    assert not services["c"].requires[0].required
    assert services["b"].requires[0].at.path == "services.b.requires.d"
    assert case("scripts")["web"].requires[0].condition is Condition.COMPLETED


def test_credentials() -> None:
    plain, full = case("credentials")["web"].credentials
    assert (plain.name, plain.file, plain.env) == ("plain", "/etc/nanod/secrets/a.pw", None)
    assert (full.name, full.file, full.env, plain.encrypted, full.encrypted) == ("full", "/etc/b", "B", False, True)


def test_systemd_text_replaces_and_a_list_adds() -> None:
    web = case("systemd")["web"]
    assert web.systemd["Service"] == {
        "Nice": ("5",),
        "Environment": ("", "A=b"),
        "LimitNOFILE": ("4096",),
        "PrivateNetwork": ("true",),
        "ReadOnlyPaths": ("",),
    }
    assert ("Service", "Nice") in web.replaced
    assert ("Service", "Environment") not in web.replaced
    assert str(web.at("systemd", "Service", "Environment", 1)) == "shop.yaml:8:44"


def test_the_built_in_runtime() -> None:
    web = case("node-runtime")["web"]
    assert web.command is not None
    assert web.command.argv[-1] == "exec npm start"
    assert web.provisioning is None
    assert str(web.at("command")) == "shop.yaml:3:3"
    assert not web.at.written("command")


@pytest.mark.row("NK-7")
def test_install_comes_from_the_runtime_and_can_be_replaced() -> None:
    services = case("provisioning")
    web, own = services["web"].provisioning, services["own"].provisioning
    assert web is not None
    assert own is not None
    assert web.install.argv == ("npm", "ci")
    assert (web.creates, web.inputs) == (("/srv/a/node_modules",), ("/srv/a/package-lock.json",))
    assert own.install.argv == ("/bin/sh", "-ec", "make")
    assert (own.creates, own.inputs) == ((), ("/srv/b/package-lock.json",))
    assert (own.sandboxed, own.retries) == (True, 2)


def test_layers() -> None:
    services = case("layers", "stage")
    web = services["web"]
    assert list(services) == ["web", "extra"]
    assert (web.user, web.dynamic_user) == ("root", True)
    assert web.environment == {"A": "default", "B": "runtime", "C": "service"}
    assert web.health is not None
    assert (web.health.kind, web.health.address) == (ProbeKind.TCP, "127.0.0.1:81")
    assert web.hooks == {}
    assert (web.stop.signal, str(web.stop.timeout)) == ("SIGINT", "1min")
    assert web.command is not None
    assert web.command.argv == ("/bin/py",)
    assert services["extra"].hooks["prestart"][0].run.argv == ("/bin/sh", "-ec", "/bin/default")
    places = {key: web.at(*key).line for key in (("stop", "timeout"), ("stop", "signal"), ("environment", "B"), ("health", "tcp"), ("command",))}
    assert places == {("stop", "timeout"): 11, ("stop", "signal"): 15, ("environment", "B"): 13, ("health", "tcp"): 7, ("command",): 13}


def test_without_its_overlay_a_spec_is_itself() -> None:
    services = case("layers", "prod")
    assert list(services) == ["web", "debug"]
    assert services["web"].user == "shop"


def test_an_overlay_reaches_every_layer() -> None:
    text = """
env: stage
environments:
  stage:
    defaults: {dynamic_user: true, volume: /srv/stage, hooks: {prestart: {run: /bin/b}}}
    runtimes: {py: {command: [/bin/stage]}}
    deploy: {targets: [c], path: /c}
  bare: {defaults: null}
defaults: {user: shop, volumes: [/srv/a, /srv/b], hooks: {prestart: {run: /bin/a, timeout: 1s}}}
runtimes: {py: {command: [/bin/py], environment: {A: b}}}
services: {web: {runtime: py}}
deploy: {target: a, path: /a}
"""
    loaded = spec(text)
    web = loaded.services["web"]
    assert (web.user, web.dynamic_user, web.volumes) == ("root", True, ("/srv/stage",))
    assert web.command is not None
    assert (web.command.argv, web.environment) == (("/bin/stage",), {"A": "b"})
    assert str(web.hooks["prestart"][0].timeout) == "5min"
    assert loaded.deploy is not None
    assert (loaded.deploy.targets, loaded.deploy.path) == (("c",), "/c")
    bare = spec(text, env="bare").services["web"]
    assert (bare.user, bare.volumes, bare.hooks) == ("root", (), {})


def test_every_key_is_modelled() -> None:
    services = whole()
    web = services["web"]
    assert [(item.listen, item.backlog, item.via) for item in services["front"].sockets] == [
        ("127.0.0.1:8080", 4096, "descriptor"),
        ("9090", 4096, "descriptor"),
        ("/run/front.sock", 4096, "descriptor"),
        ("[::1]:80", 4096, "descriptor"),
    ]
    assert [(item.listen, item.backlog, item.via) for item in services["proxied"].sockets] == [("[::]:81", 16, "proxy")]
    assert web.replicas == 3
    assert services["front"].rolling is not None
    assert services["front"].rolling.strategy == "blue-green"
    assert web.health is not None
    assert web.health.liveness is not None
    assert web.working_dir == "/etc/nanod/web"
    assert web.settings == {"a": [1, "b", {"d": True}]}
    assert web.hooks["deploy"][0].irreversible
    tasks = {task.name: task for task in web.tasks}
    assert (tasks["wait-for-db"].wait_for, tasks["wait-for-db"].service) == ("tcp://127.0.0.1:5432", None)
    assert tasks["log-shipper"].sidecar
    announce = tasks["announce"]
    assert (announce.hook, announce.per_group, announce.on_failure) == ("poststop", True, OnFailure.WARN)
    assert announce.service is not None
    assert announce.service.user == "nobody"
    assert announce.service.at.path == "services.web.tasks.announce"


def test_kinds_with_ports_have_a_probe() -> None:
    implied = whole()["implied"].health
    assert implied is not None
    assert (implied.kind, implied.address, implied.own_port) == (ProbeKind.TCP, "127.0.0.1:4000", True)


def test_processes_inherit() -> None:
    many = whole()["many"]
    assert many.command is None
    api, worker = (task.service for task in many.processes)
    assert api is not None
    assert worker is not None
    assert (api.user, worker.user) == ("many", "many")
    assert api.health is not None
    assert api.health.address == "127.0.0.1:6000"


def test_processes_are_mains_and_inherit_what_a_main_has() -> None:
    text = """
services:
  web:
    restart: {limit: 2, delay: 3s}
    stop: {timeout: 7s}
    resources: {tasks_max: 9}
    systemd: {Service: {Nice: "5"}}
    restart_on: [/etc/web]
    on_failure: [/bin/page]
    kind: http
    processes:
      api: {command: [/bin/api], ports: [80], restart: {delay: 1s}}
    tasks:
      init: {command: [/bin/init], lifecycle: {hook: prestart}}
"""
    web = spec(text).services["web"]
    api, init = web.processes[0].service, web.tasks[0].service
    assert api is not None
    assert init is not None
    assert (api.restart.limit, str(api.restart.delay), str(api.stop.timeout), api.resources.tasks_max) == (2, "1s", "7s", 9)
    assert (api.systemd["Service"]["Nice"], api.restart_on, api.on_failure and api.on_failure.argv) == (("5",), ("/etc/web",), ("/bin/page",))
    assert api.health is not None
    assert api.health.address == "127.0.0.1:80"
    assert (init.restart.limit, init.resources.tasks_max, init.restart_on) == (5, None, ())


def test_schedules() -> None:
    nightly, short = whole()["nightly"].schedule, whole()["short"].schedule
    assert nightly is not None
    assert short is not None
    assert (nightly.calendar, nightly.persistent, nightly.timezone) == ("daily", False, "Europe/Berlin")
    assert (short.calendar, short.persistent) == ("Mon *-*-* 03:00:00", True)


def test_where_it_is_deployed_to() -> None:
    deploy = spec((CORPUS / "whole" / "full.yaml").read_text()).deploy
    assert deploy is not None
    assert (deploy.targets, deploy.path, deploy.max_parallel) == (("root@a", "root@b"), "/opt/shop", 2)
    assert deploy.prepare is not None
    assert deploy.prepare.argv == ("/bin/sh", "-ec", "npm run build:css")


def test_the_same_text_is_the_same_spec() -> None:
    text = (CORPUS / "ok" / "every-key" / "spec.yaml").read_text()
    assert spec(text, env="stage") == spec(text, env="stage")
    assert repr(spec(text, env="stage")) == repr(spec(text.replace("\n", "\r\n"), env="stage"))


def test_bytes_and_text_are_the_same() -> None:
    text = (CORPUS / "ok" / "text-as-written" / "spec.yaml").read_text()
    assert spec(text) == spec(text.encode())  # type: ignore[arg-type]


# -- files


def test_a_file_is_read_with_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "blog.yaml"
    path.write_text("services: {web: {command: [/bin/web], environment_files: [x]}}")
    loaded = read_spec(str(path))
    assert loaded.spec is not None
    assert loaded.spec.directory == str(tmp_path)
    assert loaded.spec.services["web"].environment_files == (f"{tmp_path}/x",)


def test_a_relative_path_has_a_directory_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blog.yaml").write_text("services: {web: {command: [/bin/web]}}")
    monkeypatch.chdir(tmp_path)
    loaded = read_spec("blog.yaml")
    assert loaded.spec is not None
    assert loaded.spec.directory == str(tmp_path)
    assert list(loaded.sources) == ["blog.yaml"]


@pytest.mark.parametrize(("made", "message"), [("nothing", "No such file"), ("directory", "directory"), ("fifo", "not a regular file")])
def test_what_is_no_file_cannot_be_read(tmp_path: Path, made: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    if made == "directory":
        path.mkdir()
    if made == "fifo":
        os.mkfifo(path)
    with pytest.raises(NanodError, match=f"cannot read {path}: .*{message}"):
        read_spec(str(path))


def test_a_device_cannot_be_read() -> None:
    with pytest.raises(NanodError, match="cannot read /dev/zero: not a regular file"):
        read_spec("/dev/zero")


# -- anything at all


@settings(deadline=None)
@given(st.text() | st.binary())
def test_no_text_raises(text: str | bytes) -> None:
    loaded = load("shop.yaml", text, directory="/x")
    assert (loaded.spec is None) == loaded.report.has_errors


LINES = st.sampled_from(
    [
        line
        for path in sorted(CORPUS.glob("**/*.yaml"))
        for line in path.read_bytes().decode().split("\n")
        if line and not line.startswith("##") and len(line) < 300
    ]
)


@settings(deadline=None)
@given(st.lists(LINES, max_size=12).map("\n".join), st.sampled_from([None, "stage"]))
def test_no_mix_of_lines_raises(text: str, env: str | None) -> None:
    for body in (text, f"services:\n  web:\n    command: [/bin/web]\n{text}"):
        loaded = load("shop.yaml", body, directory="/x", env=env)
        assert (loaded.spec is None) == loaded.report.has_errors


def test_a_right_spec_does_not_import_jsonschema() -> None:
    """It costs 60 ms, and words what is wrong: nothing is."""
    path = CORPUS / "ok" / "every-key" / "spec.yaml"
    program = "import sys; from nanod.spec.load import read_spec; assert read_spec(sys.argv[1]).spec; print('jsonschema' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=CORPUS.parents[1], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
