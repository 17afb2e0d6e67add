"""Runs inside the machine, one for all rounds: reads what to run, a line of JSON each, and answers with how long it took.

Entering a machine takes longer than some of what is measured there, so it is entered once. The standard library alone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from typing import Any


def main() -> None:
    for line in sys.stdin:
        sys.stdout.write(f"{json.dumps(run(**json.loads(line)))}\n")
        sys.stdout.flush()


def run(argv: list[str], port: int = 0) -> dict[str, Any]:
    """`seconds` until the program ended, or with `port` until the first answer there to a request for /."""
    with tempfile.TemporaryFile() as said:
        begin = time.perf_counter()
        program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
        if port:
            await_answer(port)
        answered = time.perf_counter()
        status = program.wait()
        ended = time.perf_counter()
        said.seek(0)
        return {"seconds": (answered if port else ended) - begin, "status": status, "out": said.read().decode(errors="replace")}


def await_answer(port: int) -> None:
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/")
            connection.getresponse().read()
            return
        time.sleep(0.001)


if __name__ == "__main__":
    main()
