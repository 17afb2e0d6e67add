"""`python -m nanod.rehearse -- CMD…`: boot, run CMD inside in the current directory, exit with its status."""

from __future__ import annotations

import sys
from pathlib import Path

from nanod.errors import NanodError
from nanod.rehearse.machine import Machine


def main() -> int:
    command = sys.argv[2:] if sys.argv[1:2] == ["--"] else sys.argv[1:]
    try:
        with Machine.boot() as machine:
            return machine.popen(command or ["/bin/bash"], cwd=Path.cwd()).wait()
    except NanodError as refused:
        sys.stderr.write(f"nanod: {refused.message}\n  {refused.hint}\n")
        return int(refused.exit_code)


if __name__ == "__main__":
    sys.exit(main())
