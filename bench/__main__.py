"""`bench/run [--rounds N] [--services N] [--applied N] [--json] [FIGURE…]`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from bench import report
from bench.applying import change, cold, no_op
from bench.commands import check, version
from bench.compiling import compiling
from bench.grouping import group
from bench.keeping import keeping
from bench.measure import Options
from bench.starting import first_answer, hook_line
from bench.writing import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.measure import Measured

FIGURES: dict[str, Callable[[Options], Iterator[Measured]]] = {
    "P1": version,
    "P2": check,
    "P3": compiling,
    "P4": cold,
    "P5": change,
    "P6": no_op,
    "P7": writing,
    "answer": first_answer,
    "hook": hook_line,
    "group": group,
    "daemon": keeping,
}


def main(argv: Sequence[str]) -> int:
    wanted = _parsed(argv)
    options = Options(rounds=wanted.rounds, services=wanted.services, applied=wanted.applied)
    found: list[Measured] = []
    _say(wanted, report.heading())
    for name in wanted.figures or FIGURES:
        for item in FIGURES[name](options):
            found.append(item)
            _say(wanted, report.line(item))
    if wanted.json:
        sys.stdout.write(json.dumps({"cpus": os.cpu_count(), "load": os.getloadavg(), "figures": report.data(found)}, indent=2) + "\n")
    else:
        sys.stdout.write(f"\n{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {wanted.rounds} rounds\n")
    return 0


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    known = Options()
    parser = argparse.ArgumentParser(prog="bench/run", description="Measure how fast nanod is, each figure beside a baseline of the same run.")
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], metavar="FIGURE", help=f"{', '.join(FIGURES)}; default: all")
    parser.add_argument("--rounds", type=int, default=known.rounds, metavar="N", help="of each figure; default: %(default)s")
    parser.add_argument("--services", type=int, default=known.services, metavar="N", help="of P2, P3 and P7; default: %(default)s")
    parser.add_argument("--applied", type=int, default=known.applied, metavar="N", help="of P4 to P6; default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print all that was measured as JSON")
    return parser.parse_args(argv)


def _say(wanted: argparse.Namespace, text: str) -> None:
    stream = sys.stderr if wanted.json else sys.stdout
    stream.write(f"{text}\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
