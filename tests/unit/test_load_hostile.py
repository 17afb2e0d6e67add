"""Texts made to hurt: each in a process of its own, so that a signal death, the time and the memory are seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, resource, sys
from nanod.spec.load import read_spec
loaded = read_spec(sys.argv[1])
print(json.dumps({
    "found": [item.message for item in loaded.report][:3],
    "errors": loaded.report.has_errors,
    "cpu": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]),
    "mib": int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024,
}))
"""
SERVICES = "".join(f"  s{n}: {{command: [/bin/x], requires: [t{n}], after: [s{n - 1}]}}\n" for n in range(1, 5000))
HOSTILE = {
    "alias-bomb": "a: &a [x, x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)),
    "cyclic-alias": "a: &a [*a]\n",
    "brackets": "[" * 30_000 + "]" * 30_000,
    "braces": "{a: " * 15_000,
    "dashes": "- " * 100_000,
    "questions": "? " * 100_000,
    "ten-megabytes": "services: {}\n" + "#" * (10 << 20),
    "a-million-keys": "".join(f"k{n}: v\n" for n in range(1_000_000)),
    "keys-within-the-limit": "".join(f"k{n}: v\n" for n in range(90_000)),
    "duplicate-keys": "a: 1\n" * 100_000,
    "unknown-keys-in-services": "services:\n" + "".join(f"  s{n}: {{comand: x, enviroment: y, helth: z}}\n" for n in range(15_000)),
    "unknown-targets": "services:\n" + SERVICES,
    "long-chain": "services:\n  s0: {command: [/bin/x]}\n" + SERVICES.replace("requires: ", "x: ").replace("x: [t", "restart_on: [/t"),
    "every-one-of-a-circle": "services:\n"
    + "".join(f"  s{n}: {{command: [/bin/x], after: [{', '.join(f's{m}' for m in range(200))}]}}\n" for n in range(200)),
    "ports-of-a-thousand-replicas": "services: {a: {command: [/x], replicas: 1000, ports: [" + ", ".join(map(str, range(1, 60_000))) + "]}}",
    "long-scalar": "services: {a: {command: " + "x" * 1_000_000 + "}}",
    "time-span": "services: {a: {command: [/x], settle: " + "1" * 100_000 + "x}}",
    "time-spans": "services: {a: {command: [/x], settle: '" + "1 s " * 100_000 + "x'}}",
    "path": "services: {a: {command: [/x], working_dir: '/" + " " * 500_000 + "'}}",
    "substitutions": "services: {a: {command: '" + "$(" * 30_000 + "'}}",
    "quotes": 'services: {a: {command: "' + "'\\\"" * 10_000 + '"}}',
    "operators": "services: {a: {command: '" + "a;" * 30_000 + "'}}",
    "control-characters": "\x01" * 500_000,
    "line-separators": "\u2028" * 300_000,
    "wrong-items": "services: {a: {command: [/x], volumes: [" + "{}, " * 80_000 + "]}}",
    "many-variables": "services: {a: {command: [/x], environment: {" + "".join(f"A{n}: $X, " for n in range(60_000)) + "}}}",
}

HARMLESS = {"long-chain", "many-variables", "substitutions", "quotes", "operators"}
"""Strange, and not wrong."""


@pytest.mark.row("BX-12")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_answered_soon_and_in_little_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(HOSTILE[name], encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["errors"] or name in HARMLESS
    assert answer["mib"] < 128, answer
