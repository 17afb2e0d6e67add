"""A service with tasks: which unit wants, requires, stands after and is part of which, and what their lines name."""

from __future__ import annotations

import pytest

from nanod.compile import Target, compile_spec
from nanod.phases import phase_of
from nanod.spec.load import load

SPEC = """\
project: shop
services:
  web:
    user: shop
    command: [/usr/bin/web]
    runtime_dir: true
    tasks:
      init: {lifecycle: {hook: prestart}, command: [/bin/init], restart: {limit: 3, delay: 2s}, timeout: 1min}
      wait: {lifecycle: {hook: prestart}, wait_for: "WAIT", timeout: 20s}
      side: {lifecycle: {hook: prestart, sidecar: true}, command: [/bin/side], user: other}
      hello: {lifecycle: {hook: poststart}, command: [/bin/hello], on_failure: fail}
      ship: {lifecycle: {hook: poststart, sidecar: true}, command: [/bin/ship]}
      clean: {lifecycle: {hook: poststop}, command: [/bin/clean]}
"""


def compiled(text: str = SPEC) -> dict[str, dict[str, str]]:
    """By what stands after `shop-web`: each key of a unit with its values, one after the other."""
    spec = load("/etc/shop.yaml", text.replace("WAIT", "tcp://127.0.0.1:5432"), directory="/etc").spec
    assert spec
    units, report = compile_spec(spec, Target())
    assert units, list(report)
    found: dict[str, dict[str, str]] = {}
    for unit in units.units:
        keys = found.setdefault(unit.name.removeprefix("shop-web").removesuffix(".service"), {})
        for item in unit.directives:
            keys[item.key] = f"{keys.get(item.key, '')} {item.text}".strip().replace("/var/lib/nanod/lib/1/", "")
    return found


@pytest.mark.row("NM-4", "NM-11", "NM-15")
def test_how_the_members_stand_to_one_another() -> None:
    units = compiled()

    def named(part: str, key: str) -> set[str]:
        return {word.removeprefix("shop-web").removesuffix(".service") for word in units[part].get(key, "").split()}

    assert named("", "Requires") == {"-group", "-init", "-wait"}
    assert named("", "Wants") == {"-clean", "-side", "-hello", "-ship"}
    assert named("", "After") == {"-group", "-init", "-wait", "-clean", "-side"}
    assert named("-init", "Requires") == {"-group"}
    assert named("-init", "Wants") == {"-clean", "-side"}
    assert named("-side", "Wants") == named("-side", "After") == {"-group", "-clean"}
    assert named("-clean", "Wants") == named("-clean", "After") == {"-group"}
    assert named("-ship", "Wants") == {"-group", "-clean"}
    assert named("-ship", "After") == {"-group", "-clean", ""}
    # A stop of the companion is theirs; what began after the mains goes when these have gone.
    assert {part for part in units if named(part, "PartOf") == {"-group"}} == {"-side", "-clean"}
    # And what may still be under way then is part of the app: systemd takes it for needed.
    assert {part for part in units if "shop.target" in units[part].get("PartOf", "")} == {"", "-group", "-hello"}
    pulled = {part for part, keys in units.items() if keys.get("StopWhenUnneeded") == "yes"}
    assert pulled == {"-group", "-init", "-wait", "-side", "-hello", "-ship", "-clean"}
    # No crash is passed on.
    assert all("BindsTo" not in keys for keys in units.values())


@pytest.mark.row("NM-6", "BX-9")
def test_what_runs_names_no_sidecar_and_no_poststart_task() -> None:
    more = SPEC + "      more: {lifecycle: {hook: prestart, sidecar: true}, command: [/bin/more]}\n"
    more += "      last: {lifecycle: {hook: poststart}, command: [/bin/last]}\n      end: {lifecycle: {hook: poststop}, command: [/bin/end]}\n"
    before, after = compiled(), compiled(more)
    for part, keys in before.items():
        for key in (key for key in keys if key.startswith("Exec")):
            assert after[part][key] == keys[key], (part, key)


@pytest.mark.row("NM-10")
def test_a_failed_task_means_what_the_lifecycle_says() -> None:
    spec = load("/etc/shop.yaml", SPEC.replace("WAIT", "file:/x").replace(", on_failure: fail", ""), directory="/etc").spec
    assert spec
    ending = [task for task in spec.services["web"].tasks if not task.sidecar]
    assert {task.name: task.on_failure for task in ending} == {task.name: phase_of(f"{task.hook} task").default for task in ending}
    assert {task.name: task.on_failure.value for task in ending} == {"init": "fail", "wait": "fail", "hello": "fail", "clean": "warn"}


@pytest.mark.row("NM-8", "NM-18")
def test_tries_and_waits_have_an_end() -> None:
    units = compiled()
    assert "task 3 2 fail 60 /bin/init" in units["-init"]["ExecStart"]
    # Cut later than it ends by itself, so that it says what it waited for.
    assert units["-wait"]["ExecStart"].endswith("fail 30 wait tcp 0.5 2 20 127.0.0.1:5432")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("unix:/run/x.sock", "unix 0.5 2 20 /run/x.sock"),
        ("unix:///run/x.sock", "unix 0.5 2 20 /run/x.sock"),
        ("file:///run/../run/x", "file 0.5 2 20 /run/x"),
        ("http://127.0.0.1/ok", "http 0.5 2 20 http://127.0.0.1/ok"),
        ("https://db:8443/ok", "http 0.5 2 20 https://db:8443/ok"),
    ],
)
def test_what_is_waited_for(address: str, words: str) -> None:
    assert compiled(SPEC.replace("WAIT", address))["-wait"]["ExecStart"].endswith(words)


@pytest.mark.row("NM-17")
def test_what_members_share() -> None:
    units = compiled()
    assert units["-group"]["RuntimeDirectory"] == "shop/web nanod/groups/shop-web-group"
    assert units["-ship"]["RuntimeDirectoryPreserve"] == units[""]["RuntimeDirectoryPreserve"] == "yes"
    assert "RuntimeDirectoryPreserve" not in units["-group"]
    joined = {part for part, keys in units.items() if keys.get("JoinsNamespaceOf") == "shop-web-group.service"}
    assert joined == {"", "-init", "-side", "-hello", "-ship", "-clean"}
    # systemd gives such a directory to whoever starts last, so another user has none of the service's.
    assert "RuntimeDirectory" not in units["-side"]
    assert units["-side"]["CacheDirectory"] == "nanod/shop/web@other"
    assert units["-ship"]["CacheDirectory"] == "nanod/shop/web"
    off = compiled(SPEC.replace("    user: shop\n", "    user: shop\n    sandbox: 'off'\n"))
    assert all("JoinsNamespaceOf" not in keys for keys in off.values())
