"""Policies at work: what they say of each unit, and what the spec makes of it (`features: {policies: {NAME: off}}`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nanod.diagnostics import Severity
from nanod.extend import LEVELS, Guard, Opinion, Subject
from nanod.spec.shapes import alternatives
from nanod.spec.tree import Findings, Place, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nanod.compile.members import Member
    from nanod.compile.part import App
    from nanod.diagnostics import Report
    from nanod.extend import Plugins
    from nanod.spec.model import Service
    from nanod.units.unitfile import UnitFile
    from nanod.units.unitset import Role

CHOICES: Final = ("off", "warn", "refuse")


def levels(report: Report, service: Service, plugins: Plugins) -> Mapping[str, str]:
    """What the service says of policies, by name."""
    said = service.features.get(LEVELS)
    if said is None:
        return {}
    findings, place = Findings(report), service.at
    assert isinstance(place, Place)
    if not isinstance(said, dict):
        findings.error(place, f"'{LEVELS}' must be a mapping of policies to {alternatives(CHOICES)}, not {shown(said)}", "features", LEVELS)
        return {}
    known = sorted(policy.name for policy in plugins.policies)
    for name, choice in said.items():
        if name not in known:
            near = findings.guess(name, known)
            advice = f"did you mean '{near}'?" if near else f"there is {', '.join(known) or 'none'}"
            findings.error(place, f"no policy {shown(name)}: {advice}", "features", LEVELS, name, on_key=True)
        elif choice not in CHOICES:
            findings.error(place, f"'{name}' must be {alternatives(CHOICES)}, not {shown(choice)}", "features", LEVELS, name)
    return said


def judge(app: App, member: Member, made: Iterable[tuple[UnitFile, Role]], plugins: Plugins, said: Mapping[str, str]) -> None:
    """Ask every policy about the units of a member. Raises NanodError for a policy that fails itself."""
    spec, row, service, whole = app.spec, member.row, member.service, member.whole
    subjects = [Subject(app=app.names.app, env=spec.env, row=row, role=role, service=service, whole=whole, unit=unit) for unit, role in made]
    for policy in plugins.policies:
        with Guard(plugins, "policy", policy.name):
            found = [opinion for subject in subjects for opinion in policy.check(subject)]
            for opinion in found:
                _check(opinion)
        for opinion in found:
            _report(app.report, opinion, policy.name, said.get(policy.name, "warn"), member)


def _check(opinion: object) -> None:
    if not isinstance(opinion, Opinion):
        raise TypeError(f"check() must yield what warn() and refuse() make, not {opinion!r}")


def _report(report: Report, opinion: Opinion, name: str, level: str, member: Member) -> None:
    """A refusal stands whatever the spec says; a warning may be silenced, or be made a refusal."""
    text = f"{opinion.message} [{name}]"
    if opinion.severity is Severity.ERROR or level == "refuse":
        report.error(opinion.at, text, member.whole.at.path)
    elif level != "off":
        report.warning(opinion.at, text, member.whole.at.path)
