"""What the language has and this version does not do yet: each is checked and modelled like the rest, and then refused at its line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nanod.spec.tree import Place

if TYPE_CHECKING:
    from nanod.spec.model import Service, Spec
    from nanod.spec.tree import Findings

KEYS: Final = ("sockets", "source", "build")
HOOKS: Final = ("build", "deploy", "post_deploy")


def refuse_pending(findings: Findings, spec: Spec) -> None:
    if spec.deploy is not None and isinstance(spec.at, Place):
        _refuse(findings, spec.at, "'deploy'", "deploy")
    for service in spec.services.values():
        _service(findings, service)


def _service(findings: Findings, service: Service) -> None:
    at = service.at
    assert isinstance(at, Place)
    for key in KEYS:
        if at.get(key) is not None:
            _refuse(findings, at, f"'{key}'", key)
    for phase in HOOKS:
        if phase in service.hooks:
            _refuse(findings, at, f"a '{phase}' hook", "hooks", phase)


def _refuse(findings: Findings, at: Place, what: str, *keys: str) -> None:
    findings.error(at, f"{what} is not supported yet", *keys, on_key=True)
