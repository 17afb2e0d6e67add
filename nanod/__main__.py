"""The program `nanod`, and `python -m nanod`."""

from __future__ import annotations

import sys


def main() -> int:
    """What people and scripts ask most often is answered before anything heavy is imported."""
    if sys.argv[1:] == ["--version"]:
        from nanod import __version__  # noqa: PLC0415 - keep the start small

        sys.stdout.write(f"nanod {__version__}\n")
        return 0
    from nanod.cli.app import main as run  # noqa: PLC0415 - as above

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
