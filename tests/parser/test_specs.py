"""Whole specs of hostile texts: loaded, compiled, read by systemd's own parser, compared with the spec (FAULTS 1 to 5, 14)."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from nanod.compile import Target, compile_spec, part
from nanod.diagnostics import Severity
from nanod.spec.load import load
from nanod.units.unitfile import UnitBuilder
from tests.parser import hostile
from tests.parser.batch import differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nanod.diagnostics import Mark
    from nanod.spec.model import Service, Spec
    from nanod.units.unitset import UnitSet
    from tests.parser.oracle import Parser

SEED = 20261120
SPECS = 230


def yaml(value: object) -> str:
    """In flow style, every text double-quoted and in ASCII."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{yaml(key)}: {yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(letter if letter.isascii() and letter.isalnum() else f"\\U{ord(letter):08x}" for letter in value) + '"'
    return str(value).lower()


def service(random: Random) -> dict[str, Any]:
    def texts(count: int) -> list[str]:
        return [hostile.text(random, 0.0001) for _ in range(count)]

    def paths(count: int) -> list[str]:
        return [hostile.path(random) for _ in range(count)]

    def variables(count: int) -> dict[str, str]:
        return {f"V{position}": hostile.text(random, 0.0001) for position in range(count)}

    def hooks(count: int) -> list[dict[str, Any]]:
        return [{"run": ["/bin/hook", *texts(35)], "name": f"h{position}", "environment": variables(2)} for position in range(count)]

    return {
        "description": hostile.line(random),
        "command": [random.choice(["/bin/main", "main", hostile.path(random)]), *texts(80)],
        "working_dir": hostile.path(random),
        "user": random.choice(["shop", "root", hostile.line(random)]),
        "environment": variables(60),
        "environment_files": paths(3),
        "credentials": {"a": hostile.path(random), "b-c": {"file": hostile.path(random), "env": "SECRET"}},
        "health": {"exec": ["/bin/probe", *texts(20)]},
        "volumes": paths(2),
        "provisioning": {
            "install": ["/bin/install", *texts(40)],
            "creates": paths(2),
            "inputs": paths(1),
            "context": random.choice(["host", "sandbox"]),
        },
        "hooks": {
            "prestart": [*hooks(1), {**hooks(1)[0], "name": "d", "scope": "deploy"}],
            "poststart": hooks(1),
            "ready": hooks(2),
            "reload": texts(1),
            "prestop": hooks(2),
            "poststop": [*hooks(1), *texts(1)],
        },
        "on_failure": ["/bin/page", *texts(20)],
        "reload_on": paths(1),
        "systemd": {"Service": {"X-Note": hostile.line(random)}},
    }


@dataclass(slots=True)
class Recorder(UnitBuilder):
    """A builder that notes what the compiler meant, so that systemd's reading is compared with that and not with the text."""

    made: list[Recorder] = field(default_factory=list)
    said: dict[str, list[object]] = field(default_factory=dict)

    def raw(self, section: str, key: str, value: object, origin: Mark) -> None:
        UnitBuilder.raw(self, section, key, value, origin)
        self.said.setdefault(key, []).append(value)

    def words(self, section: str, key: str, values: Any, origin: Mark) -> None:
        noted = list(values)
        UnitBuilder.words(self, section, key, noted, origin)
        self.said.setdefault(key, []).append(noted)

    def exec(self, key: str, argv: Sequence[str], origin: Mark, prefix: str = "") -> None:
        UnitBuilder.exec(self, key, argv, origin, prefix)
        self.said.setdefault(key, []).append(list(argv))


def compiled(name: str, wanted: dict[str, Any]) -> tuple[Spec | None, UnitSet | None, list[str]]:
    """The spec, its units, and the logical places that were refused."""
    loaded = load(f"/srv/{name}.yaml", yaml({"project": name, "services": {"web": wanted}}), directory="/srv")
    if loaded.spec is None:
        return None, None, [item.path for item in loaded.report if item.severity is Severity.ERROR]
    units, report = compile_spec(loaded.spec, Target())
    return loaded.spec, units, [item.message for item in report if item.severity is Severity.ERROR]


def without(wanted: dict[str, Any], places: list[str]) -> dict[str, Any]:
    """The service without what was refused."""
    gone = object()
    for place in places:
        inside: Any = {"services": {"web": wanted}}
        words = [name or int(number) for name, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", place)]
        for word, after in zip(words, [*words[1:], None], strict=True):
            if after is None or not isinstance(inside[word], dict | list):
                inside[word] = gone
                break
            inside = inside[word]

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cleaned(item) for key, item in value.items() if item is not gone}
        return [cleaned(item) for item in value if item is not gone] if isinstance(value, list) else value

    left: dict[str, Any] = cleaned(wanted)
    return {**left, "command": ["/bin/main", *left["command"]]} if "services.web.command[0]" in places else left


@dataclass(frozen=True, slots=True)
class Accepted:
    wanted: dict[str, Any]
    spec: Spec
    units: UnitSet
    meant: list[Recorder]


def accepted(random: Random, recorded: list[Recorder]) -> list[Accepted]:
    """What is left of hostile specs when all that is refused is taken out, with what the compiler meant to write."""
    found = []
    for number in range(SPECS):
        wanted = service(random)
        for _ in range(8):
            recorded.clear()
            spec, units, refused = compiled(f"app{number}", wanted)
            if spec is not None and units is not None:
                found.append(Accepted(wanted, spec, units, list(recorded)))
            if spec is not None or "" in refused:
                break
            wanted = without(wanted, refused)
    return found


def values_of(web: Service) -> list[str]:
    hooks = [hook for group in web.hooks.values() for hook in group]
    commands = [
        web.command,
        web.provisioning and web.provisioning.install,
        web.on_failure,
        web.health and web.health.command,
        *(hook.run for hook in hooks),
    ]
    return [
        *(word for command in commands if command for word in command.argv),
        *(value for environment in (web.environment, *(hook.environment for hook in hooks)) for value in environment.values()),
        *web.environment_files,
        *(item.file for item in web.credentials),
        *web.volumes,
        web.working_dir,
        web.user,
        *(web.provisioning.creates if web.provisioning else ()),
    ]


@pytest.fixture(scope="module")
def hostile_specs() -> list[Accepted]:
    made: list[Recorder] = []

    def builder(**given: Any) -> Recorder:
        made.append(Recorder(**given))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part, "UnitBuilder", builder)
        return accepted(Random(SEED), made)


@pytest.mark.row("FAULTS-1", "FAULTS-3", "FAULTS-14")
def test_hostile_specs_are_read_back_or_refused(parser: Parser, hostile_specs: list[Accepted]) -> None:
    reading = parser.read({unit.name: unit.render() for one in hostile_specs for unit in one.units.units})
    assert reading.complaints == ()
    for one in hostile_specs:
        for builder in one.meant:
            assert differences(builder.name, builder.said, reading.dumps[builder.name]) == []


def test_the_loader_changes_no_literal_text(hostile_specs: list[Accepted]) -> None:
    for one in hostile_specs:
        web = one.spec.services["web"]
        assert web.command
        assert list(web.command.argv) == one.wanted["command"]
        assert web.environment == one.wanted.get("environment", {})
        for phase in ("prestart", "poststart", "ready", "prestop"):
            read = [(list(hook.run.argv), hook.environment) for hook in web.hooks.get(phase, ())]
            assert read == [(hook["run"], hook.get("environment", {})) for hook in one.wanted["hooks"].get(phase, [])]


def test_the_compiler_passes_on_what_the_spec_says(hostile_specs: list[Accepted]) -> None:
    for one in hostile_specs:
        check(one.spec, one.meant)
    assert len(hostile_specs) > SPECS * 0.7
    assert sum(len(values_of(spec.services["web"])) for spec in (one.spec for one in hostile_specs)) > 100_000


def check(spec: Spec, meant: list[Recorder]) -> None:
    """The compiler passes on what the spec says, all of it and as it stands."""
    web = spec.services["web"]
    lines = [line for builder in meant for key, lines in builder.said.items() if key.startswith("Exec") for line in lines if isinstance(line, list)]
    [main] = [builder for builder in meant if builder.name == f"{spec.app}-web.service"]
    assert web.command
    assert ends(main.said["ExecStart"], web.command.argv)
    for phase, hooks in web.hooks.items():
        for hook in hooks:
            if phase == "ready":  # one line of shell words
                assert any(shlex.join(hook.run.argv) in str(word) for line in lines for word in line)
            else:
                assert ends(lines, hook.run.argv)
            assert (
                any(f"{name}={value}" in line or phase == "ready" for name, value in hook.environment.items() for line in lines)
                or not hook.environment
            )
    if web.provisioning:
        assert ends(lines, web.provisioning.install.argv)
        [install] = [builder for builder in meant if builder.name.endswith("-provision.service")]
        assert [f"|!{path}" for path in web.provisioning.creates] == install.said["ConditionPathExists"][1:]
    if web.on_failure:
        assert ends(lines, web.on_failure.argv)
    if web.health and web.health.command:
        assert ends(lines, web.health.command.argv)
    assert main.said["WorkingDirectory"] == [web.working_dir]
    assert main.said.get("EnvironmentFile", []) == list(web.environment_files)
    assert main.said.get("LoadCredential", []) == [f"{item.name}:{item.file}" for item in web.credentials]
    assert _words(main, "ReadWritePaths") == list(web.volumes)
    assert {f"{name}={value}" for name, value in web.environment.items()} <= set(_words(main, "Environment"))


def ends(lines: Iterable[object], argv: Sequence[str]) -> bool:
    return any(isinstance(line, list) and line[-len(argv) :] == list(argv) for line in lines)


def _words(builder: Recorder, key: str) -> list[str]:
    return [word for words in builder.said.get(key, []) if isinstance(words, list) for word in words]
