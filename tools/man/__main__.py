"""`python -m tools.man OUT`: see tools/manual, which says what is made and where."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.man import files


def main(out: Path) -> None:
    for name, text in files.made().items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
