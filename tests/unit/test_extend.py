"""Policies and features as values of the compiler: what they are shown, what they add, and where what they say appears."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nanod.compile import Target, compile_spec
from nanod.compile.features import expanded
from nanod.errors import NanodError
from nanod.extend import Addition, Block, Plugins, Subject, refuse, warn
from nanod.policies import BUILT_IN
from nanod.spec.load import load
from nanod.units.unitset import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nanod.diagnostics import Report
    from nanod.extend import Opinion
    from nanod.units.unitset import UnitSet

SIZED = {"type": "object", "properties": {"size": {"type": "number", "exclusiveMinimum": 0}}, "required": ["size"], "additionalProperties": False}


@dataclass
class Fake:
    """A policy or a feature; `say` and `made` are what it does."""

    name: str = "fake"
    say: Callable[[Subject], Iterable[Opinion]] = lambda _: ()
    made: Callable[[Block], Addition] = lambda _: Addition()
    schema: Mapping[str, object] = field(default_factory=dict)

    def check(self, subject: Subject) -> Iterable[Opinion]:
        return self.say(subject)

    def add(self, block: Block) -> Addition:
        return self.made(block)


def compiled(text: str, *plugins: Fake, policies: Iterable[Any] = ()) -> tuple[UnitSet | None, Report]:
    loaded = load("shop.yaml", f"services:\n{text}", directory="/srv/shop")
    assert loaded.spec, loaded.report.text(loaded.sources)
    return compile_spec(loaded.spec, Target(), Plugins(policies=tuple(policies), features=plugins))


def findings(report: Report) -> list[tuple[int, int, str, str]]:
    return [(item.mark.line, item.mark.column, item.severity.name.lower(), item.message) for item in report]


WEB = "  web:\n    command: [/bin/web]\n    user: root\n"


# Policies


@pytest.mark.row("RV-18")
def test_a_policy_sees_every_unit_of_every_service_once() -> None:
    seen: list[tuple[str, Role, str]] = []

    def look(subject: Subject) -> Iterable[Opinion]:
        seen.append((subject.row, subject.role, subject.unit.name))
        return ()

    text = (
        "  db: {command: [/bin/db], replicas: 2, hooks: {ready: ./warm}, tasks: {t: {command: [/bin/t], lifecycle: {hook: prestart}}}}\n"
        "  web: {command: [/bin/web], settings: {a: b}, provisioning: {install: ./install}, on_failure: ./page}\n"
    )
    units, _ = compiled(text, policies=[Fake(say=look)])
    assert units
    assert sorted(name for _, _, name in seen) == sorted(unit.name for unit in units.units if unit.service)
    assert ("db@2/t", Role.PRESTART_TASK, "shop-db-t@2.service") in seen
    assert ("web", Role.SETTINGS, "shop-web.settings.json") in seen
    assert ("web", Role.PROVISION, "shop-web-provision.service") in seen


@pytest.mark.row("RV-18")
def test_what_it_says_stands_at_its_line_and_names_it() -> None:
    def say(subject: Subject) -> Iterable[Opinion]:
        yield warn("not nice", subject.service.at("user"))
        if subject.unit.values("Service", "ExecStart") == [":/usr/bin/env --ignore-signal=HUP /bin/web"]:
            yield refuse("not this", subject.service.at("command"))

    units, report = compiled(WEB, policies=[Fake("taste", say)])
    assert units is None
    assert findings(report) == [(3, 5, "error", "not this [taste]"), (4, 11, "warning", "not nice [taste]")]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ("{}", ["warning"]),
        ("{taste: warn}", ["warning"]),
        ("{taste: off}", []),
        ("{taste: null}", ["warning"]),
        ("{taste: refuse}", ["error"]),
        ("{tast: off}", ["warning", "no policy 'tast': did you mean 'taste'?"]),
        ("{taste: never}", ["warning", "'taste' must be 'off', 'warn' or 'refuse', not 'never'"]),
        ("[taste]", ["warning", "'policies' must be a mapping of policies to 'off', 'warn' or 'refuse', not a list"]),
    ],
)
def test_a_spec_says_what_becomes_of_a_warning(levels: str, expected: list[str]) -> None:
    policy = Fake("taste", lambda subject: [warn("x", subject.service.at())])
    _, report = compiled(f"{WEB}    features: {{policies: {levels}}}\n", policies=[policy])
    said = [severity if message == "x [taste]" else message for _, _, severity, message in findings(report)]
    assert said == expected


def test_a_refusal_stands_whatever_the_spec_says() -> None:
    policy = Fake("taste", lambda subject: [refuse("x", subject.service.at())])
    units, report = compiled(f"{WEB}    features: {{policies: {{taste: off}}}}\n", policies=[policy])
    assert units is None
    assert report.has_errors


def test_levels_are_inherited_key_by_key() -> None:
    text = f"{WEB}    features: {{policies: {{b: off}}}}\ndefaults: {{features: {{policies: {{a: refuse, b: refuse}}}}}}\n"
    policies = [Fake(name, lambda subject: [warn("x", subject.service.at())]) for name in "ab"]
    _, report = compiled(text, policies=policies)
    assert findings(report) == [(2, 3, "error", "x [a]")]


GOOD = "  web: {command: [/bin/web], user: root, %s}\n"


@pytest.mark.row("MK-14")
@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("settle: 1s", ""),
        ("user: null", "root"),
        ("user: null, dynamic_user: true", ""),
        ("environment: {DB_PASSWORD: x}", "plain-secret"),
        ("environment: {DB_PASSWORD_FILE: /x, DB_PASSWORD: ''}", ""),
        ("environment: {URL: 'postgres://shop:x@db/shop'}", "plain-secret"),
        ("environment: {URL: 'http://localhost:80/@x'}", ""),
        ("settings: {db: [{password: x}]}", "plain-secret"),
        ("settings: {apiKey: x}", "plain-secret"),
        ("settings: {max_tokens: 5, token: true, password_file: /x, secret: ''}", ""),
        ("settings: {urls: ['redis://:x@db']}", "plain-secret"),
        ("kind: http", "no-health"),
        ("kind: grpc, health: {tcp: 80}", ""),
        ("kind: http, ports: [80]", ""),
        ("kind: http, ports: [80], replicas: 2", "no-prestop"),
        ("kind: http, ports: [80], replicas: 1", ""),
        ("kind: http, ports: [80], replicas: 2, stop: {drain: 5s}", ""),
        ("kind: http, ports: [80], replicas: 2, hooks: {prestop: ./out}", ""),
        ("ports: [80], replicas: 2", ""),
        ("stop: {timeout: infinity}", "endless-stop"),
        ("tasks: {t: {command: [/bin/t], environment: {A_TOKEN: x}, lifecycle: {hook: prestart}}}", "plain-secret"),
    ],
)
def test_the_policies_of_nanod(keys: str, expected: str) -> None:
    text = GOOD.replace("user: root, ", "" if "user" in keys else "user: root, ") % keys
    _, report = compiled(text, policies=BUILT_IN)
    said = [item.message for item in report if item.severity.name == "WARNING"]
    assert [message.rpartition(" [")[2].rstrip("]") for message in said] == ([expected] if expected else [])


def test_what_instances_and_tasks_inherit_is_said_once() -> None:
    text = "  web: {command: [/bin/web], replicas: 3, environment: {A_TOKEN: x}, tasks: {t: {command: [/bin/t], lifecycle: {hook: poststop}}}}\n"
    _, report = compiled(text, policies=BUILT_IN)
    assert [message.rpartition(" ")[2] for _, _, _, message in findings(report)] == ["[root]", "[plain-secret]"]


# Features


def sidecar(*words: str, **keys: object) -> dict[str, object]:
    return {"command": ["/bin/side", *words], "lifecycle": {"hook": "prestart", "sidecar": True}, **keys}


@pytest.mark.row("MK-5")
def test_a_feature_adds_variables_and_units() -> None:
    blocks: list[Block] = []

    def add(block: Block) -> Addition:
        blocks.append(block)
        return Addition(environment={"CACHE": "1", "OWN": "no"}, tasks={"cache": sidecar("50% $x")})

    text = f"{WEB}    environment: {{OWN: yes}}\n    features:\n      fake: {{size: 3, deep: {{a: [x]}}}}\n"
    units, report = compiled(text, Fake(made=add))
    assert units, report.text()
    (block,) = blocks
    assert (block.app, block.env, block.service.name, block.said) == ("shop", None, "web", {"size": 3, "deep": {"a": ["x"]}})
    assert (block.at().line, block.at("size").column) == (7, 20)
    main = units.unit("shop-web.service")
    assert [line for line in main.values("Service", "Environment") if "NANOD" not in line] == ["CACHE=1", "OWN=yes"]
    side = units.unit("shop-web-cache.service")
    assert side.values("Service", "ExecStart") == [':/usr/bin/env --ignore-signal=HUP /bin/side "50%% $x"']
    assert "OWN=yes" in side.values("Service", "Environment")
    marks = {item.origin.line for item in side.directives if item.key == "ExecStart"} | {
        item.origin.line for item in main.directives if item.text == "CACHE=1"
    }
    assert marks == {7}, "all that it adds comes from its block"


def test_what_the_service_says_of_an_added_task_wins() -> None:
    text = f"{WEB}    features: {{fake: {{}}}}\n    tasks: {{cache: {{user: nobody, command: [/bin/own], lifecycle: {{hook: prestart}}}}}}\n"
    units, report = compiled(text, Fake(made=lambda _: Addition(tasks={"cache": sidecar()})))
    assert units, report.text()
    cache = units.unit("shop-web-cache.service")
    assert cache.values("Service", "User") == ["nobody"]
    assert "/bin/own" in cache.values("Service", "ExecStart")[0]


@pytest.mark.row("MK-12")
def test_sidecars_stand_in_the_order_of_the_features() -> None:
    def feature(name: str) -> Fake:
        after = {"lifecycle": {"hook": "poststart", "sidecar": True}}
        return Fake(name, made=lambda _: Addition(tasks={f"{name}1": sidecar(), f"{name}2": sidecar(), f"{name}3": sidecar(**after)}))

    text = f"{WEB}    replicas: 1\n    tasks: {{own: {{command: [/bin/own], lifecycle: {{hook: prestart, sidecar: true}}}}}}\n    features: {{b: {{}}, a: {{}}}}\n"
    units, report = compiled(text, feature("a"), feature("b"))
    assert units, report.text()

    def wanted(name: str, key: str) -> set[str]:
        words = " ".join(units.unit(f"shop-web-{name}@1.service").values("Unit", key)).split()
        return {word.removeprefix("shop-web-").removesuffix("@1.service") for word in words}

    for key in ("Wants", "After"):
        assert wanted("a1", key) & {"a1", "a2", "b1", "b2", "own"} == {"b1", "b2"}
        assert wanted("a2", key) & {"a1", "a2", "b1", "b2", "own"} == {"b1", "b2"}
        assert wanted("b1", key) & {"a1", "a2", "b1", "b2", "own"} == set()
        assert wanted("a3", key) & {"b3"} == {"b3"}


@pytest.mark.row("MK-4")
@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("{fak: {}}", (5, 16, "error", "no feature 'fak': did you mean 'fake'?")),
        ("{zzz: {}}", (5, 16, "error", "no feature 'zzz': there is fake")),
        ("{fake: 3}", (5, 22, "error", "'fake' must be a mapping, not 3")),
        ("{fake: {}}", (5, 16, "error", "'fake' needs 'size'")),
        ("{fake: {size: x}}", (5, 29, "error", "'size': 'x' is not of type 'number'")),
        ("{fake: {size: 0}}", (5, 29, "error", "'size': 0 is less than or equal to the minimum of 0")),
        ("{fake: {size: 1, sise: 2}}", (5, 32, "error", "unknown key 'sise' in 'fake': did you mean 'size'?")),
    ],
)
def test_a_block_is_checked_by_the_schema_of_its_feature(features: str, expected: tuple[int, int, str, str]) -> None:
    units, report = compiled(f"{WEB}    features: {features}\n", Fake(schema=SIZED))
    assert units is None
    found = findings(report)
    assert [(line, column, severity) for line, column, severity, _ in found] == [expected[:3]]
    assert found[0][3].startswith(expected[3].partition(" than or")[0])


def test_without_plug_ins_a_block_says_where_they_come_from() -> None:
    _, report = compiled(f"{WEB}    features: {{cache: {{}}}}\n")
    assert findings(report)[0][3] == "no feature 'cache': there is none: a package brings them (docs/extending.md)"


def test_an_unset_block_is_none() -> None:
    units, report = compiled(f"{WEB}    features: {{fake: null}}\ndefaults: {{features: {{fake: {{size: 1}}}}}}\n")
    assert units, report.text()


@pytest.mark.parametrize(
    ("addition", "said"),
    [
        (Addition(environment={"1A": "x"}), "'1A' in 'environment' must be a variable name"),
        (Addition(tasks={"t": {"comand": "x"}}), "unknown key 'comand' in 't': did you mean 'command'?"),
        (Addition(tasks={"T!": sidecar()}), "'T!' in 'tasks' must be a name"),
    ],
)
def test_what_no_spec_could_say_is_the_feature_s_fault(addition: Addition, said: str) -> None:
    with pytest.raises(NanodError) as refused:
        compiled(f"{WEB}    features: {{fake: {{}}}}\n", Fake(made=lambda _: addition))
    assert "the feature 'fake': it adds what no service could say" in refused.value.message
    assert said in refused.value.message


def test_what_is_wrong_with_it_in_this_spec_stands_at_its_block() -> None:
    twice = [Fake(name, made=lambda block: Addition(environment={"A": block.said["v"]})) for name in ("a", "b")]  # type: ignore[dict-item]
    _, report = compiled(f"{WEB}    features: {{a: {{v: x}}, b: {{v: y}}}}\n", *twice)
    assert findings(report) == [(5, 27, "error", "'b' and a feature before it both add 'A' to 'environment'")]
    assert compiled(f"{WEB}    features: {{a: {{v: x}}, b: {{v: x}}}}\n", *twice)[0]
    script = "  web: {command: [/bin/web], user: root, kind: script, schedule: daily, features: {fake: {}}}\n"
    _, report = compiled(script, Fake(made=lambda _: Addition(tasks={"t": sidecar()})))
    assert [message for *_, message in findings(report)] == ["a scheduled script has no 'tasks'"]
    _, report = compiled(f"{WEB}    features: {{fake: {{}}}}\n", Fake(made=lambda block: Addition(opinions=(refuse("too small", block.at()),))))
    assert findings(report)[0][2:] == ("error", "too small [fake]")


def test_a_spec_is_expanded_once() -> None:
    loaded = load("shop.yaml", f"services:\n{WEB}    features: {{fake: {{}}, policies: {{}}}}\n", directory="/srv/shop")
    assert loaded.spec
    plugins = Plugins(features=(Fake(made=lambda _: Addition(environment={"A": "1"})),))
    spec, report = expanded(loaded.spec, plugins)
    assert not list(report)
    assert spec.services["web"].features == {"policies": {}}
    assert expanded(spec, plugins)[0] is spec
    assert compile_spec(spec, Target())[0] == compile_spec(loaded.spec, Target(), plugins)[0]


# The page


PAGE = (Path(__file__).parents[2] / "docs/extending.md").read_text()


def test_the_plug_ins_that_the_page_shows_do_what_it_says() -> None:
    shown: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        exec(block, shown)
    plugins = Plugins(policies=(shown["Naming"](),), features=(shown["Cache"](),))
    (package,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    entries = tomllib.loads(package)["project"]["entry-points"]
    for group, plugin in (("nanod.policies", plugins.policies[0]), ("nanod.features", plugins.features[0])):
        assert entries[group] == {plugin.name: f"nanod_acme.{plugin.name}:{type(plugin).__name__}"}

    def made(service: str, env: str | None) -> tuple[UnitSet | None, list[str]]:
        text = f"services:\n  web:\n    command: [/bin/web]\n    user: root\n    features: {{cache: {{megabytes: 64}}}}\n    {service}\n"
        spec = load("shop.yaml", text, directory="/srv/shop", env=env).spec
        assert spec
        units, report = compile_spec(spec, Target(), plugins)
        return units, [item.message for item in report]

    named = "'web' does not begin with acme- [naming]"
    units, said = made("health: {file: /run/up, liveness: {}}", None)
    assert units
    assert said == [named]
    assert "--size 64" in units.unit("shop-web-cache.service").values("Service", "ExecStart")[0]
    assert "CACHE_URL=tcp://127.0.0.1:6379" in " ".join(units.unit("shop-web.service").values("Service", "Environment"))
    assert made("settle: 0s", "production") == (None, ["production needs resources.cpu_quota [naming]", named])
    units, said = made("resources: {cpu_quota: 50%}", "production")
    assert units
    assert said == [named]


def test_the_entry_points_that_the_page_shows_are_those_that_are_looked_for() -> None:
    shown = tomllib.loads(re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0])
    example = tomllib.loads((Path(__file__).parents[2] / "examples/plugin/pyproject.toml").read_text())
    assert set(shown["project"]["entry-points"]) == set(example["project"]["entry-points"]) == {"nanod.policies", "nanod.features"}
