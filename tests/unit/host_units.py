"""Small compiled apps for the tests of what looks at a host."""

from __future__ import annotations

from nanod.diagnostics import Mark
from nanod.units.unitfile import Directive, UnitFile
from nanod.units.unitset import ServiceUnits, UnitSet
from nanod.values import TimeSpan


def mark(line: int = 1) -> Mark:
    return Mark("shop.yaml", line, 3, 9)


def unit(name: str, *lines: tuple[str, str, str], app: str = "shop") -> UnitFile:
    """Directives at lines 10, 11 … of the spec, and the stamp."""
    directives = [Directive(section=section, key=key, text=text, origin=mark(10 + number)) for number, (section, key, text) in enumerate(lines)]
    stamp = Directive(section="X-Nanod", key="App", text=app, origin=mark())
    service = name.removeprefix(f"{app}-").rpartition(".")[0] if name.startswith(f"{app}-") else ""
    return UnitFile(name=name, service=service, head="Made by nanod.", directives=(*directives, stamp))


def service(name: str, **facts: object) -> ServiceUnits:
    return ServiceUnits(name=name, main=f"shop-{name}.service", settle=TimeSpan.parse("1s"), origin=mark(5), **facts)  # type: ignore[arg-type]


def app(*units: UnitFile, services: tuple[ServiceUnits, ...] = (), **parts: object) -> UnitSet:
    needs = {"directories": (), "users": (), "files": (), "host_units": ()} | parts
    return UnitSet(
        app="shop",
        spec_file="shop.yaml",
        env=None,
        target="shop.target",
        slice="nanod-shop.slice",
        units=units,
        services=services,
        **needs,  # type: ignore[arg-type]
    )
