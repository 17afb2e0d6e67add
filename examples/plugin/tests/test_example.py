"""The plug-in against nanod itself: what a spec compiles to with it, and where it says what."""

from __future__ import annotations

from nanod_example.cache import Cache
from nanod_example.described import Described

from nanod.compile import Target, compile_spec
from nanod.diagnostics import Report
from nanod.extend import Plugins
from nanod.spec.load import load
from nanod.units.unitset import UnitSet

PLUGINS = Plugins(policies=(Described(),), features=(Cache(),))


def compiled(service: str, env: str | None = None) -> tuple[UnitSet | None, Report]:
    text = f"services:\n  web:\n    command: [/bin/web]\n    user: root\n    {service}\n"
    spec = load("shop.yaml", text, directory="/srv/shop", env=env).spec
    assert spec
    return compile_spec(spec, Target(), PLUGINS)


def test_a_cache_comes_up_before_its_service() -> None:
    units, _ = compiled("runtime_dir: true\n    features: {cache: {megabytes: 64}}")
    assert units
    web = units.unit("shop-web.service")
    assert "CACHE_URL=unix:///run/shop/web/cache.sock" in " ".join(web.values("Service", "Environment"))
    assert "shop-web-cache.service" in " ".join(web.values("Unit", "After"))
    assert "--maxmemory 64mb" in units.unit("shop-web-cache.service").values("Service", "ExecStart")[0]


def test_a_wrong_block_is_an_error_at_its_line() -> None:
    units, report = compiled("features: {cache: {megabytes: many}}")
    assert units is None
    assert [(item.mark.line, item.message) for item in report] == [(5, "'megabytes' must be a number from 1 to 1024, not 'many'")]


def test_what_the_schema_cannot_say() -> None:
    units, report = compiled("features: {cache: {megabytes: 64}}")
    assert units is None
    assert "runtime_dir: true" in report.text()


def test_a_service_without_a_description_is_refused_in_production() -> None:
    units, report = compiled("settle: 5s")
    assert units
    assert [item.message for item in report] == ["'web' has no description [described]"]
    units, report = compiled("features: {policies: {described: off}}", env="production")
    assert units is None
    assert compiled("description: The shop", env="production")[0]
