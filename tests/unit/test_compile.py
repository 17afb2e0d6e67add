"""The compiler: which units a spec yields, and that every line of them knows where it comes from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.compile import Target, compile_spec
from nanod.compile.sandbox import PROFILES
from nanod.diagnostics import Mark, Report, Severity
from nanod.spec.load import load
from nanod.units.directives import Emitter, row_of
from nanod.units.unitfile import UnitBuilder, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanod.units.unitfile import UnitFile
    from nanod.units.unitset import UnitSet

ROOT = Path(__file__).parents[2]
FULL = """\
project: shop
services:
  db:
    command: [/usr/bin/redis-server, --port, "6379"]
    user: redis
    health: {tcp: 6379}
  web:
    description: Shop front
    command: exec ./server --name "a b"
    working_dir: /srv/shop
    user: shop
    group: www
    environment: {PORT: "8080", GREETING: "50% off, $HOME"}
    environment_files: [web.env]
    credentials:
      key: /etc/shop/key
      url: {file: /etc/shop/url, env: DATABASE_URL}
    requires: {db: {condition: healthy}, postgresql.service: {}}
    after: [network-online.target]
    health: {http: "http://127.0.0.1:8080/healthz", interval: 200ms}
    volumes: [/srv/shop]
    runtime_dir: true
    provisioning: {install: npm ci, creates: [node_modules], inputs: [package-lock.json], retries: 2}
    hooks:
      prestart:
        - ./check.sh
        - {run: npx prisma migrate deploy, name: migrate, scope: deploy, timeout: 2m}
      poststart: [{run: [/bin/true], on_failure: fail}, ./register.sh]
      ready: ./warm.sh
      reload: kill -HUP $MAINPID
      prestop: [./drain.sh, ./deregister.sh]
      poststop: {run: rm -rf /run/shop/x, user: root}
    restart: {policy: always, delay: 2s, limit: 3, window: 30s}
    stop: {signal: SIGINT, timeout: 20s}
    on_failure: ./page.sh
    reload_on: [/etc/shop/web.toml]
    resources: {memory_max: 512M, cpu_quota: 50%, tasks_max: 200}
    sandbox: strict
    systemd: {Service: {Nice: "5"}, Unit: {Documentation: "https://example.org/%n"}}
"""


def compiled(text: str, target: Target | None = None) -> UnitSet:
    loaded = load("/srv/specs/shop.yaml", text, directory="/srv/specs")
    assert loaded.spec, loaded.report.text(loaded.sources)
    units, report = compile_spec(loaded.spec, target or Target())
    assert units, report.text(loaded.sources)
    return units


def refused(text: str) -> Report:
    loaded = load("/srv/specs/shop.yaml", text, directory="/srv/specs")
    assert loaded.spec, loaded.report.text(loaded.sources)
    units, report = compile_spec(loaded.spec, Target())
    assert units is None
    return report


@pytest.fixture(scope="module")
def full() -> UnitSet:
    return compiled(FULL)


def values(unit: UnitFile, key: str, section: str = "Service") -> list[str]:
    return unit.values(section, key)


def test_the_set_of_units_is_complete(full: UnitSet) -> None:
    names = [unit.name for unit in full.units]
    assert names == sorted(
        [
            "nanod-shop.slice", "shop.target", "shop-db.service", "shop-web.service", "shop-web-provision.service", "shop-web-prestart.service",
            "shop-web-ready.service", "shop-web-failure.service",
        ]
    )  # fmt: skip


def test_every_directive_knows_the_spec_line_that_made_it(full: UnitSet) -> None:
    lines = FULL.splitlines()
    for unit in full.units:
        for directive in unit.directives:
            assert directive.origin.file == "/srv/specs/shop.yaml", f"{unit.name}: {directive.key} comes from nowhere"
            assert 0 < directive.origin.line <= len(lines)


@pytest.mark.parametrize(
    ("unit", "key", "text", "line"),
    [
        ("shop-web.service", "Environment", "GREETING", "environment: {PORT"),
        ("shop-web.service", "Nice", "5", "systemd: {Service"),
        ("shop-web.service", "MemoryMax", "512M", "resources:"),
        ("shop-web.service", "KillSignal", "SIGINT", "stop: {signal"),
        ("shop-web.service", "User", "shop", "user: shop"),
        ("shop-web.service", "Wants", "postgresql.service", "requires:"),
        ("shop-web-prestart.service", "ExecStart", "prisma", "npx prisma"),
        ("shop-web-provision.service", "ExecStart", "npm ci", "install: npm ci"),
        ("shop-db.service", "ExecStartPost", "tcp", "health: {tcp"),
    ],
)
def test_origins_are_the_lines_a_person_would_point_at(full: UnitSet, unit: str, key: str, text: str, line: str) -> None:
    found = [item for item in full.unit(unit).directives if item.key == key and text in item.text]
    assert len(found) == 1
    assert line in FULL.splitlines()[found[0].origin.line - 1]


def test_files_read_back_as_they_were_meant(full: UnitSet) -> None:
    for unit in full.units:
        assert parse(unit.render()) == tuple((item.section, item.key, item.text) for item in unit.directives)


def test_the_same_spec_yields_the_same_bytes_and_comments_change_nothing(full: UnitSet) -> None:
    again = compiled(
        "# a comment\n" + FULL.replace("    user: redis\n    health: {tcp: 6379}\n", "    health: {tcp: 6379}\n    user: redis # here\n")
    )
    assert [unit.render() for unit in again.units] == [unit.render() for unit in full.units]


@pytest.mark.row("NK-15", "RV-13")
def test_hooks_become_lines_in_the_order_of_the_lifecycle(full: UnitSet) -> None:
    web = full.unit("shop-web.service")

    pattern = r"(\./\w+\.sh|/bin/true|MAINPID|rm -rf|postgresql|shop-db|lib/1/gate|lib/1/stopping)"

    def hooks(key: str) -> list[str]:
        return [found[1] for text in values(web, key) if (found := re.search(pattern, text))]

    assert hooks("ExecStartPre") == ["shop-db", "postgresql", "./check.sh"]
    assert hooks("ExecStartPost") == ["lib/1/gate", "/bin/true", "./register.sh"]
    assert hooks("ExecStop") == ["lib/1/stopping", "./deregister.sh", "./drain.sh"]
    assert hooks("ExecReload") == ["MAINPID"]
    assert hooks("ExecStopPost") == ["lib/1/stopping", "rm -rf"]


@pytest.mark.row("NK-21")
def test_what_a_failed_hook_does_is_a_prefix(full: UnitSet) -> None:
    web = full.unit("shop-web.service")
    assert [text[0] for text in values(web, "ExecStartPre")] == ["+", "+", "+"]
    assert [text[:2] for text in values(web, "ExecStartPost")] == [":/", "+:", "-+"]
    assert all(text.startswith("-") for text in values(web, "ExecStop") + values(web, "ExecStopPost"))
    assert all(not text.startswith("-") for text in values(web, "ExecReload"))


@pytest.mark.row("BX-21")
def test_limits_are_compiled(full: UnitSet) -> None:
    web = full.unit("shop-web.service")
    assert values(web, "MemoryMax") == ["512M"]
    assert values(web, "CPUQuota") == ["50%"]
    assert values(web, "TasksMax") == ["200"]
    assert values(web, "Slice") == ["nanod-shop.slice"]


@pytest.mark.row("RV-8")
def test_only_a_service_without_reload_hook_is_deaf_to_sighup(full: UnitSet) -> None:
    assert "--ignore-signal=HUP" in values(full.unit("shop-db.service"), "ExecStart")[0]
    assert "--ignore-signal=HUP" not in values(full.unit("shop-web.service"), "ExecStart")[0]


def test_one_timeout_holds_for_the_longest_line(full: UnitSet) -> None:
    web = full.unit("shop-web.service")
    assert values(web, "TimeoutStopSec") == ["1min 40s"], "poststop: 90 s, and 10 s to be killed and recorded"
    assert values(web, "TimeoutStartSec") == ["5min 10s"], "prestart: 5 min"
    assert values(full.unit("shop-web-provision.service"), "TimeoutStartSec") == ["2h 22s"], "lock, three tries, pauses"


@pytest.mark.row("NK-7", "BX-6")
def test_the_sentinel_is_named_by_command_creations_and_inputs() -> None:
    def sentinel(text: str, **inputs: str) -> str:
        target = Target(inputs={f"/srv/shop/{name.replace('_', '-')}": value for name, value in inputs.items()})
        unit = compiled(text, target).unit("shop-web-provision.service")
        return unit.values("Unit", "ConditionPathExists")[0]

    first = sentinel(FULL)
    assert re.fullmatch(r"\|!/srv/shop/\.nanod-installed-[0-9a-f]{16}", first)
    assert sentinel(FULL, package_lock="x") == first, "another file is no input"
    assert sentinel(FULL.replace("user: shop", "user: other")) == first, "who runs it does not make it another install"
    assert sentinel(FULL.replace("npm ci", "npm install")) != first
    assert sentinel(FULL.replace("[node_modules]", "[dist]")) != first


@pytest.mark.row("BX-5")
def test_a_deployment_is_another_process_and_not_another_limit() -> None:
    def stamp(text: str) -> str:
        return compiled(text).unit("shop-web-prestart.service").values("Unit", "ConditionPathExists")[0]

    first = stamp(FULL)
    assert stamp(FULL.replace("memory_max: 512M", "memory_max: 1G").replace("delay: 2s", "delay: 3s")) == first
    assert stamp(FULL.replace("./server --name", "./server --fast --name")) != first
    assert stamp(FULL.replace("npx prisma migrate deploy", "npx prisma db push")) != first


def test_the_first_port_is_in_the_environment_unless_the_spec_says_otherwise() -> None:
    text = "services:\n  web: {user: root, working_dir: /, command: [/bin/true], ports: [8080, 8081], environment: {A: b}}\n"
    assert "PORT=8080" in compiled(text).unit("shop-web.service").values("Service", "Environment")
    assert "PORT=9" in compiled(text.replace("A: b", "PORT: 9")).unit("shop-web.service").values("Service", "Environment")


@pytest.mark.row("BX-26")
def test_text_in_a_systemd_block_replaces_a_list_is_added_and_an_empty_value_resets() -> None:
    def lines(value: str, key: str = "ReadWritePaths") -> list[str]:
        text = f"services:\n  web: {{user: root, command: [/bin/true], volumes: [/srv/a], systemd: {{Service: {{{key}: {value}}}}}}}\n"
        return compiled(text).unit("shop-web.service").values("Service", key)

    assert lines("/srv/b") == ["/srv/b"]
    assert lines("[/srv/b, /srv/%n]") == ["/srv/a", "/srv/b", "/srv/%n"]
    assert lines('["", /srv/b]') == ["/srv/a", "", "/srv/b"]


def test_secrets_after_the_start_are_refused_where_systemd_hides_them() -> None:
    report = refused(
        "services:\n  web:\n    user: www-data\n    command: [/bin/sleep, '9']\n    credentials: {key: /etc/key}\n"
        "    hooks: {poststart: 'cat $CREDENTIALS_DIRECTORY/key'}\n"
    )
    assert [item.mark.line for item in report if "cannot read credentials" in item.message] == [6]


@pytest.mark.parametrize(
    ("project", "services", "message"),
    [
        ("network", "web", "'network' is a name of systemd's own units"),
        ("shop", "web-provision", "'web' and 'web-provision' would both own shop-web-provision.service"),
    ],
)
def test_names_that_a_host_cannot_have_are_refused(project: str, services: str, message: str) -> None:
    text = f"project: {project}\nservices:\n  web: {{user: root, command: [/bin/true]}}\n"
    if services != "web":
        text += f"  {services}: {{user: root, command: [/bin/true]}}\n"
    assert any(message in item.message for item in refused(text))


@pytest.mark.row("BX-19")
def test_what_the_targets_systemd_would_drop_with_a_warning_is_refused() -> None:
    text = "services:\n  web: {user: root, command: [/bin/true], systemd: {Service: {RestartMode: direct}}}\n"
    assert [item.message for item in refused(text) if item.severity is Severity.ERROR] == [
        "RestartMode= needs systemd 254 or newer, and this is for 252"
    ]
    assert "RestartMode=direct" in compiled(text, Target(version=254)).unit("shop-web.service").render()


@pytest.mark.row("BX-20")
@pytest.mark.parametrize(
    ("place", "sandbox", "hidden"),
    [
        ("/tmp", "default", "PrivateTmp"),
        ("/var/tmp", "strict", "PrivateTmp"),
        ("/home/shop", "strict", "ProtectHome"),
        ("/home/shop", "default", ""),
        ("/tmp/web", "off", ""),
    ],
)
def test_a_place_that_the_sandbox_hides_is_refused(place: str, sandbox: str, hidden: str) -> None:
    text = f"services:\n  web: {{user: root, command: [/bin/true], sandbox: {sandbox},\n    working_dir: {place}}}\n"
    if not hidden:
        assert compiled(text).units
        return
    errors = [item for item in refused(text) if item.severity is Severity.ERROR]
    assert [item.mark.line for item in errors] == [3]
    assert f"working_dir '{place}' is hidden from the service by its sandbox ({hidden}=yes)" in errors[0].message


@pytest.mark.row("BX-20")
def test_a_place_below_tmp_is_shown_to_a_service_that_has_a_tmp_of_its_own() -> None:
    text = "services:\n  web: {user: root, command: [/bin/true], working_dir: /tmp/web, volumes: [/srv/x, /var/tmp/x]}\n"
    assert compiled(text).unit("shop-web.service").values("Service", "BindPaths") == ["/var/tmp/x", "/tmp/web"]
    assert compiled(text.replace("user: root", "user: root, sandbox: off")).unit("shop-web.service").values("Service", "BindPaths") == []


@pytest.mark.parametrize("profile", PROFILES.values())
def test_sandbox_profiles_are_written_as_any_other_line(profile: Mapping[str, str]) -> None:
    builder = UnitBuilder(name="x.service", service="x", head="", report=Report())
    for key, text in profile.items():
        if row_of("Service", key).emitter is Emitter.NAMES:
            builder.words("Service", key, text.split(), Mark("x"))
        else:
            builder.raw("Service", key, text, Mark("x"))
    assert {item.key: item.text for item in builder.directives} == profile


def test_a_chain_may_be_as_long_as_there_are_services() -> None:
    services = {f"s{number}": {"command": ["/bin/true"], "after": [f"s{number + 1}"] if number < 1500 else []} for number in range(1501)}
    assert [service.name for service in compiled(json.dumps({"project": "long", "services": services})).services][:2] == ["s1500", "s1499"]


@pytest.mark.row("BX-20")
def test_sandbox_profiles_are_documented_line_by_line() -> None:
    text = (ROOT / "docs" / "sandbox.md").read_text()
    sections = {part.split("\n", 1)[0].strip(): part for part in text.split("\n## ")[1:]}
    for profile, directives in PROFILES.items():
        shown = re.findall(r"^(\w+)=(.*)$", sections[profile.value], re.MULTILINE)
        assert shown == list(directives.items())
