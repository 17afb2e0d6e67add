"""`python3 -m nanod.lifecycle reload PATH`: have the service reload whose control socket that is, and exit with 1 and its words when it cannot."""

from __future__ import annotations

import sys

from nanod.lifecycle.control import ask_reload


def main(arguments: list[str]) -> int:
    match arguments:
        case ["reload", path]:
            try:
                failed = ask_reload(path)
            except OSError as refused:
                failed = f"cannot reload: nobody listens at {path}: {refused.strerror or refused}"
        case _:
            sys.stderr.write("usage: python3 -m nanod.lifecycle reload PATH\n")
            return 2
    if failed:
        sys.stderr.write(f"{failed}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
