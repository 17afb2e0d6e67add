"""Manifests round-trip; whatever else stands in the file is refused, and the stamps on unit files stand in."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nanod.host import records
from nanod.state import Before, HookName, Intent, Manifest, OuterNeed, ServiceRecord, VolumeRecord
from nanod.values import content_hash

texts = some.text(max_size=20)
hooks = some.builds(HookName, phase=texts, name=texts, unit=texts, on_failure=texts)
about = some.builds(ServiceRecord, health=texts, is_script=some.booleans(), hooks=some.lists(hooks, max_size=2).map(tuple))
manifests = some.builds(
    Manifest,
    app=texts,
    spec=texts,
    env=some.none() | texts,
    generation=some.integers(0, 10**9),
    units=some.dictionaries(texts, texts, max_size=3),
    links=some.dictionaries(texts, texts, max_size=3),
    watched=some.dictionaries(texts, texts, max_size=3),
    services=some.dictionaries(texts, some.lists(texts, max_size=3).map(tuple), max_size=3),
    about=some.dictionaries(texts, about, max_size=2),
    volumes=some.lists(texts, max_size=2).map(tuple),
    made=some.lists(texts, max_size=2).map(tuple),
)
ONE = Manifest(app="shop", spec="/srv/shop.yaml", env=None, generation=3, units={"shop.target": "aa"}, links={}, watched={}, services={})


def unit(app: str, service: str = "", role: str = "main", spec: str = "/srv/shop.yaml") -> str:
    stamps = f"[X-Nanod]\nApp={app}\n" + (f"Service={service}\nRole={role}\n" if service else "Role=target\n")
    return f"# Made by nanod from {spec}; change that and run `nanod apply`.\n\n[Install]\nWantedBy=multi-user.target\n\n{stamps}"


@given(manifests)
def test_a_manifest_round_trips(manifest: Manifest) -> None:
    found = records.decode(records.encode(manifest))
    assert found == manifest
    assert list(found.services) == list(manifest.services), "the order of services is that of their start"


def test_services_keep_the_order_in_which_they_start() -> None:
    made = replace(ONE, services={"web": ("shop-web.service",), "db": ("shop-db.service",)})
    assert list(records.decode(records.encode(made)).services) == ["web", "db"]


@pytest.mark.row("FAULTS-22")
@pytest.mark.parametrize("content", [b"", b"\0" * 300, records.encode(ONE)[:-20], b"[]", b"1", b"\xff\xfe", b'{"version": null}'])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(records.UnreadableError):
        records.decode(content)


@pytest.mark.row("FAULTS-22")
def test_another_version_is_refused() -> None:
    record = json.loads(records.encode(ONE)) | {"version": records.VERSION + 1}
    with pytest.raises(records.UnreadableError, match="a newer nanod wrote it: its format is 3, and this one reads up to 2"):
        records.decode(json.dumps(record).encode())


WITH_A_SERVICE = replace(
    ONE, services={"web": ("shop-web.service",)}, about={"web": ServiceRecord(health="tcp 8080", roles={"shop-web.service": "main"})}
)


def test_an_earlier_record_says_what_it_said_then() -> None:
    """As nanod wrote it before a service could require one of another app."""
    record = json.loads(records.encode(WITH_A_SERVICE)) | {"version": 1}
    assert record["about"]["web"].pop("outer") == []
    assert records.decode(json.dumps(record).encode()) == WITH_A_SERVICE
    record["version"] = 2
    with pytest.raises(records.UnreadableError, match="it lacks or mistypes 'outer'"):
        records.decode(json.dumps(record).encode())


def test_a_key_is_added_together_with_a_format() -> None:
    """Whoever changes what is written here says in which format, and what a record without it means."""
    keys = {item.name for kind in (Manifest, Intent, ServiceRecord, OuterNeed, HookName, VolumeRecord, Before) for item in fields(kind)}
    assert content_hash(" ".join(sorted(keys)))[:12] == "f78480cffc7f", "then VERSION, and _ADDED"
    assert max(since for since, _ in records._ADDED.values()) == records.VERSION


@pytest.mark.row("FAULTS-22")
@pytest.mark.parametrize("key", sorted(set(json.loads(records.encode(ONE))) - {"version"}))
@pytest.mark.parametrize("value", [7.5, [1], {"a": 1}, "absent"])
def test_a_mistyped_or_missing_key_is_refused(key: str, value: object) -> None:
    record = json.loads(records.encode(ONE))
    record[key] = value
    if value == "absent":
        del record[key]
    with pytest.raises(records.UnreadableError):
        records.decode(json.dumps(record).encode())


def test_a_manifest_is_made_anew_from_stamps() -> None:
    files = {
        "shop.target": unit("shop"),
        "shop-web-ready.service": unit("shop", "web", "ready"),
        "shop-web.service": unit("shop", "web"),
    }
    anew = records.rebuild("shop", files, {"multi-user.target.wants/shop.target": "../shop.target"}, 4)
    assert anew is not None
    assert anew.spec == "/srv/shop.yaml"
    assert anew.generation == 4
    assert anew.services == {"web": ("shop-web.service", "shop-web-ready.service")}
    assert set(anew.units) == set(files)
    assert all(len(content) == 64 for content in anew.units.values())
    assert records.rebuild("shop", {}, {}, 0) is None


def test_files_beyond_the_record_count_as_never_taken_in() -> None:
    manifest = records.complete(ONE, {"shop-web.service": unit("shop", "web")})
    assert manifest.units == {"shop.target": "aa", "shop-web.service": ""}
    assert manifest.services == {"web": ("shop-web.service",)}
    assert records.complete(ONE, {"shop.target": unit("shop")}) is ONE


def test_files_of_others_have_no_stamps() -> None:
    assert records.stamps("[Unit]\nDescription=x\n") == {}
    assert records.stamps(unit("shop", "web")) == {"App": "shop", "Service": "web", "Role": "main"}
