"""Names that an app takes: never systemd's own, never one twice."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from nanod.rehearse import tree
from nanod.units.directives import UNIT_NAME
from nanod.units.names import SPECIAL_STEMS, AppNames, check_names, collisions

PACKAGES = ("systemd", "systemd-container", "udev", "dbus", "libpam-systemd", "systemd-timesyncd", "init-system-helpers")


def shipped(root: Path) -> set[str]:
    """The units of systemd's own packages."""
    listed = subprocess.run(
        ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--listfiles", *PACKAGES],
        capture_output=True,
        text=True,
        check=False,  # a package that is not there
    ).stdout
    return set(re.findall(r"/systemd/system/([^/\n]+\.(?:service|target))$", listed, re.MULTILINE))


@pytest.mark.parametrize("root", [Path("/"), tree.CACHE / "trixie"], ids=["own", "trixie"])
def test_no_unit_that_systemd_ships_can_be_shadowed(root: Path) -> None:
    if not root.is_dir():
        pytest.skip("the laboratory has not built its Debian 13 tree yet")
    units = shipped(root)
    assert {"multi-user.target", "systemd-journald.service"} <= units
    for unit in units:
        stem, _, kind = unit.rpartition(".")
        if kind == "target":
            assert not re.fullmatch(r"[a-z][a-z0-9-]*", stem) or check_names(AppNames(stem), {}), unit
            continue
        words = stem.split("-")
        for cut in range(1, len(words)):
            app, service = "-".join(words[:cut]), "-".join(words[cut:])
            if re.fullmatch(r"[a-z][a-z0-9-]*", app) and re.fullmatch(r"[a-z][a-z0-9-]*", service):
                assert check_names(AppNames(app), dict.fromkeys((service,), ())), unit


def test_special_stems_are_whole_words() -> None:
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", stem) for stem in SPECIAL_STEMS)


@pytest.mark.parametrize("app", ["nanod", "systemd", "systemd-tmpfiles", "nanod-x", "user", "dbus", "lock", "network", "multi-user"])
def test_reserved_apps(app: str) -> None:
    [(service, _, message)] = check_names(AppNames(app), dict.fromkeys(("web",), ()))
    assert service == ""
    assert f"'{app}'" in message


@pytest.mark.parametrize("app", ["app", "shop", "web", "a", "shop-stage", "my-network"])
def test_ordinary_apps(app: str) -> None:
    assert check_names(AppNames(app), dict.fromkeys(("web", "db", "web-api", "provision", "ready-web"), ())) == []


def test_two_services_claim_one_unit() -> None:
    names = AppNames("shop")
    assert collisions(names, dict.fromkeys(("web", "db", "web-provision"), ())) == [("shop-web-provision.service", "web", "web-provision")]
    assert collisions(names, dict.fromkeys(("web-ready", "web"), ())) == [("shop-web-ready.service", "web-ready", "web")]
    assert collisions(names, dict.fromkeys(("a", "a-b", "b", "a-b-prestart", "a-failure"), ())) == [
        ("shop-a-b-prestart.service", "a-b", "a-b-prestart"),
        ("shop-a-failure.service", "a", "a-failure"),
    ]
    assert check_names(names, dict.fromkeys(("web", "web-provision"), ())) == [
        ("web-provision", "", "'web' and 'web-provision' would both own shop-web-provision.service; rename one of them")
    ]


def test_what_tasks_and_processes_cannot_be_called() -> None:
    names = AppNames("shop")
    assert check_names(names, {"web": ("api", "api-log", "ready-api", "worker")}) == []
    assert check_names(names, {"web": ("api", "api-alive", "group", "b-ready", "b")}) == [
        ("web", "api-alive", "'api' and 'api-alive' would both own shop-web-api-alive.service; rename one of them"),
        ("web", "group", "'group' cannot be the name of a task or process: nanod has a unit of that name"),
        ("web", "b", "'b-ready' and 'b' would both own shop-web-b-ready.service; rename one of them"),
    ]
    [(service, part, message)] = check_names(names, {"web": ("api",), "web-api": ()})
    assert (service, part) == ("web-api", "")
    assert message == "'web' and 'web-api' would both own shop-web-api.service; rename one of them"


def test_a_service_of_an_app_can_be_systemds_own() -> None:
    (service, _, message) = check_names(AppNames("getty"), {"static": ()})[1]
    assert (service, message.partition(" ")[0]) == ("static", "getty-static.service")
    assert check_names(AppNames("rc"), dict.fromkeys(("local",), ()))[0][0] == "local"


def test_the_longest_name_fits_a_unit_name() -> None:
    names = AppNames("a" * 100)
    longest = "b" * (255 - len("-post-deploy.service") - 101)
    assert check_names(names, dict.fromkeys((longest,), ())) == []
    assert "longer than the 255" in check_names(names, dict.fromkeys((longest + "b",), ()))[0][2]


@pytest.mark.parametrize("app", ["shop", "shop-stage", "a-b-c"])
def test_slices_are_escaped_as_systemd_escapes(app: str) -> None:
    escaped = subprocess.run(["systemd-escape", app], capture_output=True, text=True, check=True).stdout.strip()
    assert AppNames(app).slice == f"nanod-{escaped}.slice"


def test_all_names_are_unit_names() -> None:
    names = AppNames("shop-stage")
    for unit in (names.target, names.slice, *names.of("web")):
        assert UNIT_NAME.fits(unit)
    assert len(set(names.of("web"))) == len(names.of("web"))
