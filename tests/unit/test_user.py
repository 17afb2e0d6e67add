"""`--user`: where everything stands, what is refused, and that docs/user.md says the same."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from nanod.byhand import hook_lines, task_line
from nanod.cli import host
from nanod.cli.app import main, nanod
from nanod.cli.scope import USER
from nanod.compile import Target, compile_spec
from nanod.compile.user import DROPPED, LIMITS, NEVER, PLACES, SINCE
from nanod.doctor import Level, examine
from nanod.errors import NanodError
from nanod.groups import TASKS
from nanod.host import checkup, facts
from nanod.host.lock import host_lock
from nanod.host.store import LocalStore
from nanod.phases import HOOK_PHASES
from nanod.plan import is_irreversible
from nanod.scope import SYSTEM, user_scope
from nanod.spec.load import load
from tests.fakes import FakeClock, FakeSystemd

if TYPE_CHECKING:
    from nanod.compile.user import Limit
    from nanod.units.unitset import UnitSet

PAGE = (Path(__file__).parents[2] / "docs" / "user.md").read_text(encoding="utf-8")
ANN = user_scope("ann", 1000, "/home/ann", {})

EVERYTHING = """\
project: shop
services:
  web:
    kind: http
    command: /bin/web
    health: {exec: [x]}
    requires: [db]
    runtime_dir: true
    settings: {a: 1}
    sockets: [127.0.0.1:8080]
    hooks:
      prestart: [a, {run: b, scope: deploy, irreversible: true}]
      deploy: {run: c, irreversible: true}
      post_deploy: p
      poststart: d
      ready: e
      reload: f
      prestop: g
      poststop: h
    on_failure: i
    tasks:
      side: {command: /bin/side, lifecycle: {hook: poststart, sidecar: true}}
      last: {command: /bin/last, lifecycle: {hook: poststop}}
  db: {command: /bin/db, health: {exec: [x], liveness: {}}, provisioning: {install: j}, replicas: 2}
  door: {command: /bin/door, ports: [8082], sockets: [{listen: 127.0.0.1:8081, via: proxy}]}
  job: {kind: script, command: /bin/job, schedule: {calendar: daily, persistent: false}}
"""


def compiled(text: str, version: int = 252) -> tuple[UnitSet | None, list[str]]:
    loaded = load("/home/ann/shop.yaml", text)
    assert loaded.spec is not None, [item.message for item in loaded.report]
    units, report = compile_spec(loaded.spec, Target(version=version, unit_dir=ANN.unit_dir, scope=ANN))
    return units, [f"{item.mark.line}:{item.mark.column} {item.message}" for item in report]


def test_the_places_are_those_of_the_xdg_specification() -> None:
    assert (ANN.unit_dir, ANN.state, ANN.run) == ("/home/ann/.config/systemd/user", "/home/ann/.local/state/nanod", "/run/user/1000")
    there = {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s/", "XDG_RUNTIME_DIR": "/r", "XDG_CACHE_HOME": "relative"}
    moved = user_scope("ann", 1000, "/home/ann", there)
    assert (moved.unit_dir, moved.lib, moved.private_socket) == ("/c/systemd/user", "/s/nanod/lib/1", "/r/systemd/private")
    assert moved.cache == "/home/ann/.cache", "a path that is not absolute is ignored"
    assert moved.unit_dir in moved.load_path


def test_no_line_names_a_place_of_the_system_or_a_user() -> None:
    units, said = compiled(EVERYTHING)
    assert units is not None, said
    texts = {unit.name: unit.render() for unit in units.units}
    system = re.compile(r"/var/lib/|/var/cache|(?<!\w)/run/(?!user/1000/)|/etc/systemd|multi-user")
    assert [(name, line) for name, text in texts.items() for line in text.splitlines() if system.search(line)] == []
    assert [name for name, text in texts.items() if re.search(r"^(User|Group|DynamicUser)=|lib/1/as ", text, flags=re.MULTILINE)] == []
    never = re.compile(rf"^({'|'.join((*NEVER, *DROPPED, *SINCE, *PLACES))})=", re.MULTILINE)
    assert [(name, found[0]) for name, text in texts.items() if (found := never.search(text))] == [], "on 252"
    assert all("systemctl --user" in line for text in texts.values() for line in text.splitlines() if "/systemctl" in line)
    assert units.links == {"default.target.wants/shop.target": "../shop.target"}


def test_timers_do_not_stand_before_what_their_services_stand_after() -> None:
    """basic.target ← timers.target ← timer ← service ← basic.target is a cycle, and systemd drops a job of it."""
    units, _ = compiled(EVERYTHING)
    assert units is not None
    timers = [unit.render() for unit in units.units if unit.name.endswith(".timer")]
    assert len(timers) == 3
    assert all("DefaultDependencies=no" in text for text in timers)


def service(**keys: str) -> str:
    lines = "".join(f"    {key}: {value}\n" for key, value in keys.items())
    return f"project: shop\nservices:\n  web:\n    command: /bin/web\n{lines}"


REFUSED = {
    "user": service(user="root"),
    "group": service(group="audio"),
    "dynamic_user": service(dynamic_user="true"),
    "hooks.*.user": service(hooks="{prestart: {run: x, user: root}}"),
    "sandbox: strict": service(sandbox="strict"),
    "provisioning.context: sandbox": service(provisioning="{install: x, context: sandbox}"),
    "source": service(source="/home/ann/web"),
    "credentials.*.encrypted": service(credentials="{key: {file: /home/ann/key, encrypted: true}}"),
    "ports": service(ports="[80]"),
    "sockets (a port)": service(sockets="['127.0.0.1:443']"),
    "sockets (a path)": service(sockets="[/run/shop.sock]"),
    "environment.XDG_RUNTIME_DIR": service(environment="{XDG_RUNTIME_DIR: /tmp}"),
    "resources.io_weight": service(resources="{io_weight: 10}"),
    "systemd.Service (never)": service(systemd="{Service: {AmbientCapabilities: CAP_NET_RAW}}"),
    "systemd.Service (dropped)": service(systemd="{Service: {IPAddressDeny: any}}"),
    "systemd.Service (namespaces)": service(systemd="{Service: {PrivateTmp: 'yes'}}"),
    "systemd.Service (directories)": service(systemd="{Service: {StateDirectory: x}}"),
}


def test_every_row_of_the_table_has_its_case() -> None:
    assert list(REFUSED) == [limit.key for limit in LIMITS]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.key)
def test_what_cannot_be_had_is_refused_at_its_line(limit: Limit) -> None:
    units, said = compiled(REFUSED[limit.key])
    assert units is None
    assert [line for line in said if line.startswith("5:") and line.endswith(f"cannot be had with --user: {limit.why} ({limit.instead})")], said
    loaded = load("/home/ann/shop.yaml", REFUSED[limit.key])
    assert loaded.spec is not None
    _, report = compile_spec(loaded.spec, Target(scope=SYSTEM))
    assert "--user" not in " ".join(item.message for item in report), "PID 1 can do it"


def test_all_is_refused_at_once_and_what_is_inherited_once() -> None:
    text = service(user="root", group="audio", ports="[80]") + "    tasks:\n      side: {command: /x, lifecycle: {hook: poststart, sidecar: true}}\n"
    _, said = compiled(text)
    assert [line.split()[0] for line in said if "--user" in line] == ["5:11", "6:12", "7:13"]


def test_one_s_own_name_and_what_a_newer_systemd_can_do_are_no_mistakes() -> None:
    units, said = compiled(service(user="ann"))
    assert units is not None, said
    assert "User=" not in units.unit("shop-web.service").render()
    units, said = compiled(REFUSED["systemd.Service (namespaces)"], version=257)
    assert units is not None, said


def test_the_page_has_the_table() -> None:
    rows = re.findall(r"^\| `([^|]*)` \| ([^|]*) \| ([^|]*) \|$", PAGE, flags=re.MULTILINE)
    assert [row for row in rows if row[0] in REFUSED] == [(limit.key, limit.why, limit.instead) for limit in LIMITS]
    for word, names in (("never", NEVER), ("dropped", DROPPED), ("namespaces", SINCE), ("directories", PLACES)):
        listed = re.search(rf"^- {word}: (.*)$", PAGE, flags=re.MULTILINE)
        assert listed
        assert tuple(re.findall(r"`(\w+)=`", listed[1])) == names


@pytest.mark.parametrize("words", [["--user", "check"], ["check", "--user"]])
def test_the_option_stands_before_the_verb_or_after_it(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "shop.yaml"
    spec.write_text(service(group="audio"))
    assert main([*words, str(spec)]) == 2
    assert f"{spec}:5:12: error: cannot be had with --user: " in capsys.readouterr().err
    assert main(["check", str(spec)]) == 0, "and holds for one command line"


def test_what_is_for_the_machine_refuses_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--user", "daemon"]) == 2
    assert "nanod: cannot daemon with --user: that is for the whole machine" in capsys.readouterr().err


def test_who_else_may_write_to_a_user_s_files_is_the_user_s_affair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    for scope, is_refused in ((SYSTEM, True), (replace(ANN, unit_dir=str(tmp_path / "shared")), False)):
        monkeypatch.setattr(host, "current", lambda scope=scope: scope)
        with pytest.raises(NanodError, match="writable by others than root") if is_refused else nullcontext():
            host.require_roots_own(str(tmp_path / "shared/shop.yaml"), "apply")
    seen = checkup.host_facts(FakeSystemd(FakeClock()), LocalStore(unit_dir=scope.unit_dir, scope=scope))
    assert [item for item in examine(seen, []) if item.id == "directory" and item.level not in (Level.OK, Level.NOTE)] == []


def test_hints_say_whose_manager_they_ask() -> None:
    verbs = [name for name in nanod.list_commands(click.Context(nanod)) if USER in (nanod.get_command(click.Context(nanod), name) or nanod).params]
    for verb in {*verbs} - {"init", "schema", "completion", "receive"}:
        assert ANN.worded(f"'nanod {verb} shop' tells") == f"'nanod --user {verb} shop' tells"
    assert ANN.worded("journalctl -u shop-web.service") == "journalctl --user -u shop-web.service"
    told = "'systemctl unmask a' lifts that; 'nanod apply -' puts it back"
    assert ANN.worded(told) == "'systemctl --user unmask a' lifts that; 'nanod --user apply -' puts it back"
    assert ANN.worded(ANN.worded(told)) == ANN.worded(told)
    assert SYSTEM.worded(told) == told
    for other in (
        "systemctl start systemd-journald.socket",
        "the next nanod command goes on",
        "'nanod rehearse SPEC' applies it",
        "sudo -u systemctl",
    ):
        assert ANN.worded(other) == other


def test_what_refuses_says_it_with_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    assert main(["--user", "explain", "none.service"]) == 1
    assert capsys.readouterr().err.endswith("\nhint: systemctl --user cat none.service\n")


def test_the_places_are_as_systemd_shows_them() -> None:
    assert user_scope("ann", 1000, "/home/ann/", {"XDG_CONFIG_HOME": "//c/./d//"}).unit_dir == "/c/d/systemd/user"
    assert user_scope("ann", 1000, "/home/ann/", {}) == ANN


def test_a_home_with_a_blank_changes_nothing_of_what_is_read_from_units() -> None:
    def read(home: str) -> tuple[list[tuple[str, str, int]], list[str], list[str]]:
        scope = user_scope("ann", 1000, home, {})
        loaded = load("/home/ann/shop.yaml", EVERYTHING)
        assert loaded.spec is not None
        units, report = compile_spec(loaded.spec, Target(version=252, unit_dir=scope.unit_dir, scope=scope))
        assert units is not None, [item.message for item in report]
        texts = {unit.name: unit.render() for unit in units.units}
        hooks = [
            (line.phase, line.name, len(line.before)) for item in units.services for phase in HOOK_PHASES for line in hook_lines(item, phase, texts)
        ]
        tasks = [(task_line(item, texts) or item).name for item in units.services if item.role in TASKS]
        return hooks, tasks, [name for name, text in texts.items() if is_irreversible(text)]

    assert read("/home/ann b") == read("/home/ann")
    assert all(read("/home/ann"))


def test_a_manager_that_does_not_run_is_said_before_anything_is_made(tmp_path: Path) -> None:
    scope = replace(ANN, run=str(tmp_path / "none"))
    with pytest.raises(NanodError, match="your own systemd: it does not run") as refused, host_lock(scope=scope):
        pytest.fail("there is nobody to start anything")
    assert "loginctl enable-linger" in refused.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["XDG_RUNTIME_DIR", "HOME"])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_places_of_another_user_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "ann").mkdir()
    monkeypatch.setenv(name, str(tmp_path / "ann"))
    assert main(["--user", "explain", "none.service"]) == 1
    os.chown(tmp_path / "ann", 1000, 1000)
    assert main(["--user", "explain", "none.service"]) == 2
    assert f"cannot use --user: {name} is {tmp_path}/ann, which belongs to uid 1000" in capsys.readouterr().err
    assert list((tmp_path / "ann").iterdir()) == []


@pytest.mark.parametrize(
    ("theirs", "place"),
    [({}, ""), ({"HOME": "/home/ann"}, ""), ({"HOME": "/h"}, "/h/.cache"), ({"HOME": "/home/ann", "XDG_CACHE_HOME": "/c/"}, "/c")],
)
def test_a_manager_with_another_place_for_caches_is_refused(
    theirs: dict[str, str], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd = FakeSystemd(FakeClock())
    monkeypatch.setattr(systemd, "load_path", lambda: ANN.load_path)
    monkeypatch.setattr(systemd, "environment", lambda: theirs)
    fakes: Any = {"systemd": systemd, "journal": None, "clock": None, "releases": None}
    (tmp_path / "none.yaml").write_text("services: {}")
    here = host.Here(**fakes, digests=lambda _: {}, store=LocalStore(unit_dir=ANN.unit_dir, scope=ANN))
    with pytest.raises(NanodError) as refused:
        host.planned(str(tmp_path / "none.yaml"), env=None, host=here)
    assert (f"your systemd has caches in {place}" in refused.value.message) == bool(place)


def test_what_is_the_same_for_everybody_takes_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--user", "schema"]) == main(["completion", "--user", "bash"]) == main(["init", "--user", "--stdout"]) == 0
    capsys.readouterr()


def test_only_what_takes_the_option_suggests_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(facts, "is_systemd", lambda: True)
    for words, suggests in ((["reload"], False), (["recover"], True)):
        assert main(words) == 1
        assert ("--user" in capsys.readouterr().err) == suggests


def test_doctor_knows_the_package_of_every_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    seen = checkup.host_facts(FakeSystemd(FakeClock()), LocalStore(unit_dir="/none", scope=ANN))
    assert dict(seen.missing)["/usr/bin/getent"] == "libc-bin"
