"""docs/library.md: every program that it shows runs, reloads and ends as it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import nanod.lifecycle
from tests.lifecycles import until

if TYPE_CHECKING:
    from tests.lifecycles import Systemd

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/library.md").read_text()
SHOWN = [
    pytest.param(match[1], id=f"library.md:{PAGE.count(chr(10), 0, match.start()) + 1}")
    for match in re.finditer(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
]
PRELUDE = "import sys\nfrom nanod.lifecycle import Lifecycle\nlife = Lifecycle()\n"
EPILOGUE = "\nsys.exit(life.run())\n"


@pytest.mark.parametrize("text", SHOWN)
def test_every_program_that_is_shown_runs(text: str, systemd: Systemd, tmp_path: Path) -> None:
    program = text if "sys.exit" in text else PRELUDE + text + EPILOGUE
    (tmp_path / "shop.json").write_text('{"listen": "127.0.0.1:80", "level": "INFO"}')
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        until(lambda: "READY=1" in systemd.states() or process.poll() is not None, "it is ready")
        if "on_reload" in program:
            (tmp_path / "shop.json").write_text('{"listen": "127.0.0.1:81", "level": "INFO"}')
            process.send_signal(signal.SIGHUP)
            until(lambda: systemd.states().count("READY=1") == 2, "it has refused")
            (tmp_path / "shop.json").write_text('{"listen": "127.0.0.1:80", "level": "DEBUG"}')
            process.send_signal(signal.SIGHUP)
            until(lambda: systemd.states().count("READY=1") == 3, "it has reloaded")
    finally:
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    refused = "cannot reload: on_reload hook 'config' failed: cannot change 'listen': only a restart can; what was in force stays\n"
    assert err == (refused if "on_reload" in program else "")
    states = systemd.states()
    assert (states[0], states[-1]) == ("READY=1", "STOPPING=1")


def test_the_page_names_all_that_there_is() -> None:
    public = {name for name in dir(nanod.lifecycle.Lifecycle) if not name.startswith("_")}
    assert {name for name in public if f"life.{name}" not in PAGE and f"`{name}`" not in PAGE} == set()
    assert {name for name in nanod.lifecycle.__all__ if name not in PAGE} == set()


def test_the_table_has_the_hooks_in_their_order() -> None:
    rows = re.findall(r"^\| `(on_\w+)` \|", PAGE, re.MULTILINE)
    assert rows == ["on_start", "on_ready", "on_reload", "on_shutdown", "on_stop"]
