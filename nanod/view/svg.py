"""What a service goes through, as a picture: a lane for each of its members, time from left to right, up and then down. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from nanod.timeline import Stage
from nanod.view.tty import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nanod.timeline import Step

_LANE, _COLUMN, _LEFT, _TOP, _BOX = 46, 132, 150, 64, 30
"""Pixels: height of a lane, width of a column, where the first of them begins, height of a box."""
_LETTERS = 17
"""That fit a box."""
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1b1f24; }
.title { font-size: 15px; font-weight: 600; }
.stage, .note { fill: #59636e; }
.lane { stroke: #d1d9e0; }
.runs { stroke: #2da44e; stroke-width: 4; opacity: .45; }
.box { fill: #f6f8fa; stroke: #8c959f; }
.main { fill: #dafbe1; stroke: #1a7f37; }
.task { fill: #ddf4ff; stroke: #0969da; }
.end { fill: #ffebe9; stroke: #cf222e; }
.page { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .stage, .note { fill: #9198a1; }
  .lane { stroke: #3d444d; }
  .box { fill: #212830; stroke: #656c76; }
  .main { fill: #12261e; stroke: #3fb950; }
  .task { fill: #0c2d6b; stroke: #4493f8; }
  .end { fill: #3c1618; stroke: #f85149; }
  .page { fill: #0d1117; }
}
"""
_STAGES = {Stage.UP: "on the way up", Stage.RUN: "while it runs", Stage.DOWN: "on the way down"}
_MAIN = ("main", "health")
_END = ("signal", "gone")


@dataclass(frozen=True, slots=True)
class _Box:
    step: Step
    column: int
    lane: int

    @property
    def x(self) -> int:
        return _LEFT + self.column * _COLUMN

    @property
    def y(self) -> int:
        return _TOP + self.lane * _LANE + (_LANE - _BOX) // 2


def svg_text(title: str, steps: Sequence[Step]) -> str:
    """An SVG document of its own. It follows the reader's light or dark, and each box tells the whole step when pointed at."""
    shown = [step for step in steps if step.stage in _STAGES]
    lanes = list(dict.fromkeys(step.member for step in shown))
    widths = {stage: 1 + max((step.rank for step in shown if step.stage is stage), default=-1) for stage in _STAGES}
    # Between up and down there is a column in which the service runs.
    offset = {Stage.UP: 0, Stage.RUN: widths[Stage.UP], Stage.DOWN: widths[Stage.UP] + 1}
    boxes = [_Box(step, offset[step.stage] + step.rank, lanes.index(step.member)) for step in shown]
    width = _LEFT + (widths[Stage.UP] + 1 + widths[Stage.DOWN]) * _COLUMN + 16
    height = _TOP + len(lanes) * _LANE + 16
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        f"<title>{_text(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        f'<text class="title" x="12" y="24">{_text(title)}</text>',
        *(f'<text class="stage" x="{_LEFT + offset[stage] * _COLUMN}" y="48">{words}</text>' for stage, words in _STAGES.items() if widths[stage]),
    ]
    for number, lane in enumerate(lanes):
        lines += _lane(number, lane, [box for box in boxes if box.lane == number], width)
    for box in boxes:
        lines += _box(box)
    return "\n".join([*lines, "</svg>"])


def _lane(number: int, name: str, boxes: Sequence[_Box], width: int) -> Iterator[str]:
    """Its name, its line, and from where to where it has a process that stays."""
    middle = _TOP + number * _LANE + _LANE // 2
    yield f'<line class="lane" x1="{_LEFT}" y1="{middle}" x2="{width - 16}" y2="{middle}"/>'
    begins = [box.x for box in boxes if box.step.stage is Stage.UP and (box.step.phase == "main" or box.step.phase.endswith("sidecar"))]
    ends = [box.x for box in boxes if box.step.stage is Stage.DOWN and (box.step.phase == "gone" or box.step.phase.endswith("sidecar"))]
    if begins and ends:
        yield f'<line class="runs" x1="{begins[0]}" y1="{middle}" x2="{ends[0]}" y2="{middle}"/>'
    yield f'<text x="12" y="{middle + 4}">{_text(_short(name, _LETTERS))}</text>'


def _box(box: _Box) -> Iterator[str]:
    step = box.step
    name = step.name or step.phase
    kind = "main" if step.phase in _MAIN else "end" if step.phase in _END else "task" if " " in step.phase else "box"
    facts = [f"{step.phase}{'/' if step.name else ''}{step.name} ({step.unit})", step.what]
    facts += [f"waits for {', '.join(step.waits)}"] if step.waits else []
    facts += [f"at most {step.timeout}"] if step.timeout is not None else []
    facts += [f"fails: {step.effect}" if step.on_failure else step.effect, str(step.origin)]
    yield f"<g><title>{_text(chr(10).join(facts))}</title>"
    yield f'<rect class="{kind if kind == "box" else f"box {kind}"}" x="{box.x}" y="{box.y}" width="{_COLUMN - 14}" height="{_BOX}" rx="5"/>'
    words = name if name == step.phase else f"{step.phase.partition(' ')[0]} {name}"
    yield f'<text x="{box.x + 7}" y="{box.y + 19}">{_text(_short(words, _LETTERS))}</text></g>'


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}\u2026"


def _text(text: str) -> str:
    """Safe in XML: what may not stand there at all is shown as it is on a terminal."""
    return escape("".join(letter if _is_xml(letter) else f"\\u{ord(letter):04x}" for letter in clean(text)))


def _is_xml(letter: str) -> bool:
    """Char of XML 1.0, without what is no character at all."""
    code = ord(letter)
    return code in (0x9, 0xA) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
