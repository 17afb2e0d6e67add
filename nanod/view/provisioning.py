"""What became of installs, to text and to JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.ended import Installed
from nanod.errors import ExitCode
from nanod.verdict import sentence
from nanod.view.tty import clean
from nanod.view.verdict import reason_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.ended import InstallEnd, Provisioned
    from nanod.view.tty import Style


def provisioned_text(end: Provisioned, style: Style) -> str:
    return "\n".join(line for item in end.installs for line in _install(end.app, item, style))


def provisioned_data(end: Provisioned) -> dict[str, object]:
    return {
        "app": end.app,
        "verdict": _word(end),
        "installs": [
            {
                "service": item.service,
                "unit": item.unit,
                "status": str(item.word),
                "sentinel": item.sentinel,
                "seconds": round(item.seconds, 3),
                "message": sentence(item.verdict) if item.verdict else "",
                "reasons": [reason_data(reason) for reason in item.verdict.reasons] if item.verdict else [],
            }
            for item in end.installs
        ],
        "seconds": round(end.seconds, 3),
        "interrupted": end.interrupted,
    }


def _word(end: Provisioned) -> str:
    return {ExitCode.OK: "installed", ExitCode.INTERRUPTED: "installing"}.get(end.exit_code, "failed")


def _install(app: str, item: InstallEnd, style: Style) -> Iterator[str]:
    name = style.strong(item.service)
    match item.word:
        case Installed.ALREADY:
            yield f"{name}: {style.good('already installed')}" + style.faint(f" (sentinel {clean(item.sentinel)})")
        case Installed.DONE:
            yield f"{name}: {style.good('installed')}" + style.faint(f" ({item.seconds:.1f} s)")
            if item.is_up:
                yield style.faint(style.hint(f"  it runs on as it was; `nanod restart {app} {item.service}` starts it anew"))
        case Installed.GOES_ON:
            yield style.warn(style.hint(f"{item.service}: interrupted; the install goes on: `nanod logs -f {app} {item.service}`"))
        case Installed.FAILED:
            assert item.verdict is not None
            yield style.bad(clean(sentence(item.verdict)))
            for reason in item.verdict.reasons:
                yield from (f"    {clean(line)}" for line in reason.lines)
            yield style.faint(style.hint(f"  hint: nanod logs {app} {item.service}"))
