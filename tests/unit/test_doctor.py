"""What is judged of the facts about a host; the facts themselves are tried in the laboratory."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nanod.checked import AppFacts, HostFacts, Place
from nanod.cli import host as cli_host
from nanod.cli.app import main
from nanod.doctor import Finding, Level, examine, worst
from nanod.drift import Drift, DriftKind
from nanod.errors import NanodError
from nanod.host import checkup, facts
from nanod.scope import RuntimeScope
from nanod.state import Manifest, OuterNeed, ServiceRecord, UnitDetail, UnitState
from nanod.status import AppStatus, Health, ServiceStatus
from nanod.verdict import ServiceVerdict, Status
from nanod.view.doctor import doctor_data, doctor_text
from nanod.view.tty import PLAIN, Style
from tests.unit.host_records import INTENT

if TYPE_CHECKING:
    from pathlib import Path

GOOD = HostFacts(
    is_root=True,
    pid1="systemd",
    is_systemd=True,
    version=252,
    controllers=frozenset({"cpu", "io", "memory", "pids"}),
    run_free=64 << 20,
    run_needed=16 << 20,
    places=(Place(path="/etc/systemd/system"),),
    interpreter="/usr/bin/python3",
)
_WEB = "shop-web.service"
_TEXT = "[Service]\nMemoryMax=1G\nDynamicUser=yes\n"
_MANIFEST = Manifest(
    app="shop",
    spec="/srv/shop.yaml",
    env=None,
    generation=3,
    units={_WEB: "x"},
    links={"multi-user.target.wants/shop.target": "../shop.target"},
    watched={},
    services={"web": (_WEB,)},
)
SHOP = AppFacts(app="shop", manifest=_MANIFEST, files={_WEB: _TEXT}, links=_MANIFEST.links, again="nanod apply /srv/shop.yaml")


def _host(**changes: object) -> dict[str, Finding]:
    """Findings about the host that are not ok, by id."""
    return {item.id: item for item in examine(replace(GOOD, **changes), []) if item.level is not Level.OK}  # type: ignore[arg-type]


def _app(**changes: object) -> dict[str, Finding]:
    found = examine(GOOD, [replace(SHOP, **changes)])  # type: ignore[arg-type]
    return {item.id: item for item in found if item.app and item.level is not Level.OK}


def _status(*drift: Drift, health: Health = Health.HEALTHY) -> AppStatus:
    web = ServiceStatus(
        name="web",
        unit=_WEB,
        health=health,
        phase=None,
        state=UnitState(name=_WEB),
        detail=UnitDetail(name=_WEB),
        probe="",
        verdict=ServiceVerdict(service="web", unit=_WEB, status=Status.HEALTHY),
        hooks=(),
        drift=drift,
    )
    return AppStatus(app="shop", spec="/srv/shop.yaml", env=None, generation=3, services=(web,), drift=())


def test_a_good_host_and_a_good_app() -> None:
    found = examine(GOOD, [SHOP])
    assert worst(found) is Level.OK
    assert [item.id for item in found if item.app] == ["app"]
    assert worst([]) is Level.OK


def test_what_an_app_requires_of_another_that_is_not_there() -> None:
    need = OuterNeed(app="mail", service="in", unit="mail-in.service")
    assert SHOP.manifest
    shop = replace(SHOP, manifest=replace(SHOP.manifest, about={"web": ServiceRecord(outer=(need,))}))
    found = [item for item in examine(GOOD, [shop]) if item.id == "unmet"]
    assert [(item.level, item.text, item.app) for item in found] == [
        (Level.ERROR, "shop/web requires mail/in, and app 'mail' is not on this host", "shop")
    ]


@pytest.mark.parametrize(
    ("changes", "name", "level", "text"),
    [
        ({"is_systemd": False, "pid1": "init"}, "pid1", Level.ERROR, "PID 1 of this machine is init, and not systemd"),
        ({"version": None}, "systemd-version", Level.ERROR, "systemd is not installed"),
        ({"version": 249}, "systemd-version", Level.ERROR, "systemd 249 is too old: nanod needs 252 or newer"),
        ({"manager": "no"}, "manager", Level.ERROR, "PID 1 does not answer on its private socket: no"),
        ({"manager": "no", "is_root": False}, "manager", Level.ERROR, "PID 1 does not answer on the system bus: no"),
        ({"bus": "Connection refused"}, "bus", Level.WARNING, "the system bus takes no connections (Connection refused)"),
        ({"run_free": 3 << 20}, "run-space", Level.ERROR, "/run has 3 MiB free, and systemd reloads unit files only with 16 MiB or more"),
        ({"controllers": None}, "cgroup", Level.WARNING, "no cgroup v2"),
        ({"controllers": frozenset()}, "controller-memory", Level.NOTE, "no controller memory: MemoryMax= and MemoryHigh= do nothing"),
        ({"nss": "gone"}, "nss-systemd", Level.NOTE, "names of dynamic users do not resolve: gone"),
        ({"places": (Place(path="/d", unsafe="mode 0777"),)}, "directory", Level.ERROR, "others than root could change /d: mode 0777"),
        ({"places": (Place(path="/d", is_writable=False),)}, "directory", Level.ERROR, "/d is on a read-only file system"),
        ({"places": (Place(path="/d", is_there=False),)}, "directory", Level.NOTE, "/d is not there yet"),
        ({"missing": (("/usr/bin/flock", "util-linux"),)}, "program", Level.ERROR, "/usr/bin/flock is missing"),
        ({"has_interpreter": False}, "interpreter", Level.ERROR, "/usr/bin/python3 is missing: health is not probed"),
        ({"lib": {"hook": "missing"}}, "lib", Level.ERROR, "nanod's program 'hook' is missing"),
        ({"lib": {"hook": "of another version"}}, "lib", Level.NOTE, "programs that units run are of another version, or edited: hook"),
        ({"journald": "failed"}, "journald", Level.WARNING, "systemd-journald is failed"),
        ({"has_persistent_journal": False}, "journal-persistent", Level.NOTE, "the journal is kept in memory"),
        ({"can_read_journal": False}, "journal-readable", Level.NOTE, "the journal of the system is not readable to this user"),
        ({"recover": "not-found"}, "recover", Level.NOTE, "nanod-recover.service is not-found"),
        ({"recover": "disabled", "texts": {_WEB: _TEXT}}, "recover", Level.WARNING, "nanod-recover.service is disabled"),
        ({"leftovers": ("/etc/systemd/system/.#nanod-1",)}, "leftover", Level.NOTE, "/etc/systemd/system/.#nanod-1 is a temporary file"),
        ({"dangling": ("/x/shop.target",)}, "dangling-link", Level.WARNING, "/x/shop.target leads nowhere"),
        ({"orphans": ((_WEB, "shop"),)}, "orphan", Level.WARNING, f"{_WEB} is of app shop, of which nothing is on record"),
    ],
)
def test_what_may_be_wrong_with_a_host(changes: dict[str, object], name: str, level: Level, text: str) -> None:
    found = _host(**changes)
    assert (found[name].level, found[name].text.startswith(text)) == (level, True), found[name]
    assert found[name].remedy or level is Level.NOTE, "every finding says what to do about it"


def test_what_a_unit_asks_for_and_the_host_lacks_is_a_warning() -> None:
    found = _host(texts={_WEB: _TEXT}, nss="gone", controllers=frozenset())
    assert found["controller-memory"].level is found["nss-systemd"].level is Level.WARNING
    assert found["controller-memory"].text.endswith(f", and {_WEB} asks for it")
    assert found["controller-cpu"].level is Level.NOTE


def test_without_systemd_the_rest_is_looked_at_and_nothing_is_asked_of_it() -> None:
    found = {item.id for item in examine(replace(GOOD, is_systemd=False, journald="", recover=""), [])}
    assert {"pid1", "run-space", "program"} <= found
    assert not {"manager", "bus", "recover", "journald"} & found


def test_what_a_nanod_at_work_has_on_disk_is_no_finding() -> None:
    assert _host(leftovers=("/x/.#nanod-1",), is_locked=True) == {}
    assert _app(intent=INTENT, is_under_way=True, uncommitted=(4,)) == {}


@pytest.mark.parametrize(
    ("changes", "name", "level", "remedy"),
    [
        ({"can_see": False}, "records", Level.NOTE, "run it as root"),
        ({"is_in_force": False}, "record-torn", Level.ERROR, "nanod apply /srv/shop.yaml makes a new one"),
        ({"records": ("generation 2 is torn",)}, "record-unreadable", Level.NOTE, "the next apply sets it aside"),
        ({"uncommitted": (4,)}, "uncommitted", Level.NOTE, "the next apply deletes it"),
        ({"aside": ("/a/3.bad-1",)}, "set-aside", Level.NOTE, "rm -r /a/3.bad-1"),
        ({"intent": INTENT}, "interrupted", Level.ERROR, "nanod recover"),
        ({"files": {_WEB: ""}}, "empty-unit", Level.ERROR, "nanod apply /srv/shop.yaml"),
        ({"links": {}}, "link", Level.WARNING, "nanod apply /srv/shop.yaml"),
        ({"spec": "gone"}, "spec-gone", Level.WARNING, "put it back, or after a move: nanod apply --take-over SPEC"),
        ({"status": _status(health=Health.FAILED)}, "unhealthy", Level.WARNING, "nanod status shop"),
        ({"status": _status(Drift(kind=DriftKind.EDITED, subject=_WEB))}, "drift-edited", Level.WARNING, "nanod apply /srv/shop.yaml"),
        ({"status": _status(Drift(kind=DriftKind.DELETED, subject=_WEB))}, "drift-deleted", Level.ERROR, "nanod apply /srv/shop.yaml"),
        ({"status": _status(Drift(kind=DriftKind.MASKED, subject=_WEB))}, "drift-masked", Level.NOTE, f"systemctl unmask {_WEB}"),
        ({"status": _status(Drift(kind=DriftKind.NOT_LOADED, subject=_WEB))}, "drift-not-loaded", Level.WARNING, "systemctl daemon-reload"),
        ({"status": _status(Drift(kind=DriftKind.UNFINISHED, subject=_WEB))}, "drift-unfinished", Level.WARNING, "nanod apply /srv/shop.yaml"),
        ({"status": _status(Drift(kind=DriftKind.OVERRIDE, subject="/x.conf"))}, "drift-override", Level.NOTE, ""),
    ],
)
def test_what_may_be_wrong_with_an_app(changes: dict[str, object], name: str, level: Level, remedy: str) -> None:
    found = _app(**changes)
    assert list(found) == [name]
    assert (found[name].level, found[name].remedy, found[name].app) == (level, remedy, "shop")


def test_without_systemd_what_is_gone_is_seen_all_the_same() -> None:
    found = examine(replace(GOOD, is_systemd=False), [replace(SHOP, files={})])
    assert [(item.id, item.subject) for item in found if item.app] == [("drift-deleted", _WEB)]


@pytest.mark.parametrize("kind", list(DriftKind))
def test_every_kind_of_drift_is_judged(kind: DriftKind) -> None:
    assert f"drift-{kind}" in _app(status=_status(Drift(kind=kind, subject=_WEB)))


@pytest.mark.parametrize(
    ("last", "name", "text"),
    [
        ({"verdict": "healthy"}, "", ""),
        ({"verdict": "recovered", "rolled_back_to": 2, "problems": []}, "", ""),
        ({"verdict": "failed", "rolled_back_to": 2, "problems": []}, "last-failed", "the last apply, of NOW, ended failed, and generation 2 is back"),
        ({"verdict": "failed", "rolled_back_to": 0}, "last-failed", "the last apply, of NOW, ended failed, and was taken away again"),
        ({"verdict": "interrupted"}, "last-failed", "the last apply, of NOW, ended interrupted"),
        ({"verdict": "failed", "problems": ["web: down"]}, "degraded", "apply of NOW could not be undone: web: down"),
        ({"problems": "odd"}, "degraded", "apply of NOW could not be undone: odd"),
        ({}, "", ""),
    ],
)
def test_how_the_last_transaction_ended(last: dict[str, object], name: str, text: str) -> None:
    found = _app(last={"at": "NOW", "action": "apply", **last})
    assert [(item.id, item.text) for item in found.values()] == ([(name, text)] if name else [])


_FINDINGS = (
    Finding(id="a", level=Level.OK, text="all right"),
    Finding(id="b", level=Level.NOTE, text="cannot see", remedy="run it as root", is_known=False),
    Finding(id="c", level=Level.ERROR, text=f"gone {'x' * 40} and more of it {'y' * 30}", remedy="put it \x1b back", subject="s", app="shop"),
    Finding(id="d", level=Level.WARNING, text="odd", app="shop"),
)


def test_as_text() -> None:
    assert doctor_text(_FINDINGS, PLAIN).split("\n") == [
        "this host",
        "  ok       all right",
        "  note     cannot see",
        "           -> run it as root",
        "",
        "shop",
        f"  error    gone {'x' * 40} and more of it",
        f"           {'y' * 30}",
        "           -> put it \\x1b back",
        "  warning  odd",
        "",
        "1 error, 1 warning, 1 unknown",
    ]
    assert doctor_text(_FINDINGS[:1], PLAIN).endswith("\n\nnothing is wrong")
    assert "\x1b[1;31merror\x1b[0m    gone" in doctor_text(_FINDINGS, Style(colour=True))


def test_as_data() -> None:
    found = doctor_data(_FINDINGS)
    assert found["ok"] is False
    assert doctor_data(_FINDINGS[:2])["ok"] is True
    assert found["findings"][1] == {  # type: ignore[index]
        "id": "b",
        "level": "note",
        "app": None,
        "subject": None,
        "text": "cannot see",
        "remedy": "run it as root",
        "known": False,
    }


# The command


def test_doctor_on_any_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(facts, "is_systemd", lambda: False)
    assert main(["doctor"]) == 4
    shown = capsys.readouterr().out
    assert "and not systemd" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert main(["doctor", "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert {"id", "level", "app", "subject", "text", "remedy", "known"} == set(found["findings"][0])


@pytest.mark.parametrize(("changes", "code"), [({}, 0), ({"bus": "no"}, 0), ({"missing": (("/bin/x", "x"),)}, 4)])
def test_warnings_and_notes_are_no_failure(
    changes: dict[str, Any], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkup, "host_facts", lambda *_: replace(GOOD, **changes))
    assert main(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["ok"] is (code == 0)


def test_an_app_that_cannot_be_looked_at_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Store:
        def apps(self) -> list[str]:
            return ["bad", "shop"]

        def intents(self) -> dict[str, object]:
            return {}

        def manifest(self, _: str) -> None:
            return None

    def app_facts(app: str, *_: object, **__: object) -> AppFacts:
        if app == "bad":
            raise NanodError("cannot read it: no", hint="try harder")
        return SHOP

    monkeypatch.setattr(cli_host, "here", lambda _: type("Here", (), {"store": Store(), "systemd": None}))
    monkeypatch.setattr(checkup, "host_facts", lambda *_: GOOD)
    monkeypatch.setattr(checkup, "app_facts", app_facts)
    assert main(["doctor"]) == 4
    shown = capsys.readouterr().out
    assert "shop\n  ok       is as nanod left it\n" in shown
    assert "bad\n  error    cannot read it: no\n           -> try harder\n" in shown


def test_the_lock_is_seen_and_not_taken(tmp_path: Path) -> None:
    import fcntl  # noqa: PLC0415

    lock, scope = tmp_path / "nanod" / "lock", RuntimeScope(run=str(tmp_path))
    lock.parent.mkdir()
    assert not checkup.is_locked(scope)
    with lock.open("w") as file:
        assert not checkup.is_locked(scope)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert checkup.is_locked(scope)
    assert not checkup.is_locked(scope)
