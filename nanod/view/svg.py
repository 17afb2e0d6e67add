"""What a service goes through, as a picture: a lane for each of its members, time from top to bottom, up and then down. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from nanod.timeline import Stage
from nanod.view.tty import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nanod.timeline import Step

_LEFT, _TOP, _LANE, _ROW, _MARGIN = 132, 60, 148, 40, 16
"""Pixels: where lanes begin, from the left and from the top; width of a lane, height of a row."""
_WIDTH, _HEIGHT = 132, 28
"""Of a box."""
_LETTERS = 19
"""That fit a box."""
_TOLD, _WORDS = 2, 64
"""Beside so few lanes there is room to say what each step does, in so many letters."""
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1b1f24; }
.title { font-size: 15px; font-weight: 600; }
.stage, .note { fill: #59636e; }
.lane { stroke: #d1d9e0; }
.fold { stroke: #d1d9e0; stroke-dasharray: 2 4; }
.runs { stroke: #2da44e; stroke-width: 4; opacity: .45; }
.box { fill: #f6f8fa; stroke: #8c959f; }
.main { fill: #dafbe1; stroke: #1a7f37; }
.task { fill: #ddf4ff; stroke: #0969da; }
.end { fill: #ffebe9; stroke: #cf222e; }
.page { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .stage, .note { fill: #9198a1; }
  .lane, .fold { stroke: #3d444d; }
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
    row: int
    lane: int

    @property
    def x(self) -> int:
        return _LEFT + self.lane * _LANE + (_LANE - _WIDTH) // 2

    @property
    def y(self) -> int:
        return _TOP + self.row * _ROW + (_ROW - _HEIGHT) // 2


def svg_text(title: str, steps: Sequence[Step]) -> str:
    """An SVG document of its own. It follows the reader's light or dark, and each box tells the whole step when pointed at."""
    shown = [step for step in steps if step.stage in _STAGES]
    lanes = list(dict.fromkeys(step.member for step in shown))
    rows = _rows(shown)
    boxes = [_Box(step, rows.index((step.stage, step.rank)), lanes.index(step.member)) for step in shown]
    is_told = len(lanes) <= _TOLD
    width = _LEFT + len(lanes) * _LANE + (_WORDS * 7 if is_told else 0) + _MARGIN
    height = _TOP + len(rows) * _ROW + _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        f"<title>{_text(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        f'<text class="title" x="12" y="24">{_text(title)}</text>',
        *_stages(rows, width),
    ]
    for number, lane in enumerate(lanes):
        lines += _lane(number, lane, [box for box in boxes if box.lane == number], height)
    for box in boxes:
        lines += _box(box)
    if is_told:
        lines += _told(boxes, len(lanes))
    return "\n".join([*lines, "</svg>"])


def _rows(steps: Iterable[Step]) -> list[tuple[Stage, int]]:
    """Stage and rank of each, in the order of time. Between up and down there is one in which the service runs."""
    found = {(step.stage, step.rank) for step in steps}
    if all(stage is not Stage.RUN for stage, _ in found):
        found.add((Stage.RUN, 0))
    order = list(_STAGES)
    return sorted(found, key=lambda row: (order.index(row[0]), row[1]))


def _stages(rows: Sequence[tuple[Stage, int]], width: int) -> Iterator[str]:
    for stage, words in _STAGES.items():
        first = next((number for number, row in enumerate(rows) if row[0] is stage), None)
        if first is None:
            continue
        y = _TOP + first * _ROW
        if first:
            yield f'<line class="fold" x1="12" y1="{y}" x2="{width - _MARGIN}" y2="{y}"/>'
        yield f'<text class="stage" x="12" y="{y + _ROW // 2 + 4}">{words}</text>'


def _lane(number: int, name: str, boxes: Sequence[_Box], height: int) -> Iterator[str]:
    """Its name, its line, and from where to where it has a process that stays."""
    middle = _LEFT + number * _LANE + _LANE // 2
    yield f'<line class="lane" x1="{middle}" y1="{_TOP}" x2="{middle}" y2="{height - _MARGIN}"/>'
    begins = [box.y for box in boxes if box.step.stage is Stage.UP and (box.step.phase == "main" or box.step.phase.endswith("sidecar"))]
    ends = [box.y for box in boxes if box.step.stage is Stage.DOWN and (box.step.phase == "gone" or box.step.phase.endswith("sidecar"))]
    if begins and ends:
        yield f'<line class="runs" x1="{middle}" y1="{begins[0]}" x2="{middle}" y2="{ends[0]}"/>'
    yield f'<text text-anchor="middle" x="{middle}" y="{_TOP - 8}">{_text(_short(name, _LETTERS))}</text>'


def _box(box: _Box) -> Iterator[str]:
    step = box.step
    name = step.name or step.phase
    is_end = step.phase in _END or (step.stage is Stage.DOWN and step.phase.endswith("sidecar"))
    kind = "main" if step.phase in _MAIN else "end" if is_end else "task" if " " in step.phase else "box"
    facts = [f"{step.phase}{'/' if step.name else ''}{step.name} ({step.unit})", step.what]
    facts += [f"waits for {', '.join(step.waits)}"] if step.waits else []
    facts += [f"at most {step.timeout}"] if step.timeout is not None else []
    facts += [f"fails: {step.effect}" if step.on_failure else step.effect, str(step.origin)]
    yield f"<g><title>{_text(chr(10).join(facts))}</title>"
    yield f'<rect class="{kind if kind == "box" else f"box {kind}"}" x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
    words = name if name == step.phase else f"{name} ends" if is_end else f"{step.phase.partition(' ')[0]} {name}"
    yield f'<text x="{box.x + 7}" y="{box.y + 18}">{_text(_short(words, _LETTERS))}</text></g>'


def _told(boxes: Sequence[_Box], lanes: int) -> Iterator[str]:
    """What each step does, of one row the first."""
    x = _LEFT + lanes * _LANE + 8
    first = {box.row: box for box in reversed(boxes)}
    for row, box in sorted(first.items(), key=lambda item: item[0]):
        y = _TOP + row * _ROW + _ROW // 2 + 4
        yield f'<text class="note" x="{x}" y="{y}">{_text(_short(" ".join(box.step.what.split()), _WORDS))}</text>'


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}\u2026"


def _text(text: str) -> str:
    """Safe in XML: what may not stand there at all is shown as it is on a terminal."""
    return escape("".join(letter if _is_xml(letter) else f"\\u{ord(letter):04x}" for letter in clean(text)))


def _is_xml(letter: str) -> bool:
    """Char of XML 1.0, without what is no character at all."""
    code = ord(letter)
    return code in (0x9, 0xA) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
