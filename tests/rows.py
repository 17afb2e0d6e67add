"""Acceptance row → tests → result: `tools/rows` prints what pytest last said of each, and fails when a row is not proved.

`@pytest.mark.row("NK-4")` marks a test of a row; tests/conftest.py keeps the results of every run, also of one over part of the tests. A row is
proved on a real systemd: by a test in tests/lab. What tests/vm has shown counts where it ran.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parents[1] / ".pytest_cache/rows.json"

TITLES = {
    "NK-1": "install runs before the service, outside its sandbox",
    "NK-2": "install runs once; the sentinel is in the primary volume",
    "NK-3": "install runs again when what it creates, or the sentinel, is missing",
    "NK-4": "one lock for all replicas and environments of a volume",
    "NK-5": "who waited for the lock sees the sentinel, and skips",
    "NK-6": "a failed or killed install leaves no sentinel, and is tried again",
    "NK-7": "install comes from the runtime, or is the service's own",
    "NK-8": "a failed install halts its service alone",
    "NK-9": "install has a timeout",
    "NK-10": "prestart runs on the host, before each start",
    "NK-11": "prestart waits until what is required is up and healthy",
    "NK-12": "a failed prestart halts the deployment of its service",
    "NK-13": "a migration runs once for all instances",
    "NK-14": "poststart runs on the host, once the service is live",
    "NK-15": "prestop runs in the service's own context, before the signal",
    "NK-16": "poststop runs on the host, after the last process",
    "NK-18": "every hook knows project, environment, service and phase",
    "NK-19": "hooks can run again",
    "NK-20": "no hook blocks beyond its timeout",
    "NK-21": "prestart and install halt; the other hooks warn",
    "NK-22": "a hook is one shell text, taken as it is",
    "NM-1": "a task has a hook, and one that stays is a sidecar",
    "NM-2": "several mains start together",
    "NM-3": "prestart tasks run at once",
    "NM-4": "mains start when all prestart tasks have succeeded",
    "NM-5": "mains wait for prestart sidecars",
    "NM-6": "a restart of a main reruns no task",
    "NM-7": "a restart of the group reruns them",
    "NM-8": "a prestart task is tried again, and then the group has failed",
    "NM-9": "poststart begins when all mains are up",
    "NM-10": "a failed poststart task warns, or ends the group",
    "NM-11": "a poststart sidecar outlives crashes, and stops after the mains",
    "NM-12": "poststop runs once, at the true end",
    "NM-13": "poststop runs after a failed prestart, too",
    "NM-14": "a sidecar that ends is started again",
    "NM-15": "the end of a group stops its sidecars",
    "NM-16": "mains stop first, sidecars after them",
    "NM-17": "members share a runtime directory and /tmp",
    "NM-18": "a wait for a port has an end",
    "NM-19": "cleanups hear how the group ended",
    "BX-1": "plan: what, why, the difference, and a token that apply checks",
    "BX-2": "apply is a transaction: staged, durable, undone, resumed after a crash",
    "BX-4": "what fails goes back to the last healthy generation, by the path of apply",
    "BX-3": "started means healthy",
    "BX-5": "hooks of a start, and hooks of a deployment",
    "BX-6": "the provisioning engine: condition, lock, sentinel, retries",
    "BX-7": "the verdict comes from settled states, with the chain of reasons",
    "BX-8": "reload or restart, as the changed directive or file asks",
    "NK-17": "deploy.prepare runs here, after the code is there and before anything is applied",
    "UP-1": "build, deploy, post_deploy, in this order",
    "UP-2": "a failed build stops everything, and the old version serves on",
    "UP-3": "a failed deploy or post_deploy hook warns",
    "UP-4": "a build sees the build's variables, and no others",
    "UP-5": "a build has no services and no volumes",
    "UP-6": "deploy and post_deploy reach the services",
    "UP-7": "a build has an hour",
    "UP-8": "deploy and post_deploy have no limit, and say when they run long",
    "UP-9": "build is for every service, deploy and post_deploy for those with requests",
    "UP-10": "a build can write its directory, its cache and a /tmp of its own",
    "UP-11": "what the build leaves in its directory is the release",
    "UP-12": "the cache stays from build to build, one for all environments",
    "UP-13": "after the build only the volumes can be written",
    "UP-14": "deploy runs between the old process and the new one",
    "UP-15": "requests wait meanwhile, and are then served",
    "UP-16": "post_deploy runs beside the traffic",
    "UP-17": "a deployment is tied to its content",
    "UP-18": "a redeploy without changes runs post_deploy alone",
    "UP-19": "no boot, crash or restart deploys",
    "UP-20": "a script may fail by its last command alone",
    "UP-21": "logs by phase",
    "UP-22": "a rebuild can be forced, and a full disk is told as such",
    "RV-3": "a socket takes connections before its service is up",
    "BX-17": "releases by content, with hooks around them",
    "BX-10": "rolling: instances restart in turns, and somebody always answers",
    "BX-9": "sidecars: start first, stop last, restart by themselves, and gate",
    "BX-11": "requires: started, healthy, completed; restart, required",
    "BX-12": "every mistake in a spec has its line, before anything is touched",
    "BX-13": "what left the spec is stopped with its hooks, and removed",
    "BX-16": "the contract of a hook: timeout, environment, policy, last lines",
    "BX-18": "secrets are credentials, and in no file, state or log",
    "BX-19": "units fit the systemd version",
    "BX-20": "sandbox profiles",
    "BX-21": "limits, in a slice of the app",
    "BX-22": "drift is seen, told with its cause, and put back where that is asked for",
    "BX-23": "crashes: restart, back off, give up, tell",
    "BX-24": "ready hooks run beside the service, and never harm it",
    "BX-25": "status is a tree: app, service, hooks, with phase, age, health, overrides",
    "BX-26": "the systemd: block; the administrator's drop-ins win",
    "BX-27": "names, and one bad service among good ones",
    "BX-28": "the daemon stands in no service's way: it may die, hang and go",
    "MK-4": "configuration is checked before the start, with the schema of each feature",
    "MK-5": "what a service is built upon, features among it, is up before it",
    "MK-12": "features stop in reverse",
    "MK-13": "settings are a file that every part of the service can read",
    "MK-14": "best practices are warned of, or refused",
    "RV-18": "policies look at each unit, and may refuse",
    "BX-29": "scheduled scripts: a timer, missed runs, a run by hand",
    "MK-1": "configure, build, start, run, shutdown: each is told, and errors come early",
    "MK-2": "one lifecycle, whatever a service is written in",
    "MK-3": "kinds: http, grpc, worker, script whose exit code is the result",
    "MK-6": "what goes wrong at the start comes out before a service counts as up",
    "MK-7": "an error of a start hook is the error of the start; stop hooks run before the signal",
    "MK-11": "each kind by what says that it is well",
    "BX-14": "liveness: what is found sick is restarted, stopped or told of",
    "BX-15": "stop: prestop, drain, signal; and the hooks know why",
    "MK-8": "a stop lets nobody new in, ends what is under way, and ends well",
    "MK-9": "a stop can be repeated, is bounded, and its signal a good end",
    "MK-10": "nothing that a service started outlives it",
    "RV-8": "without a reload hook SIGHUP is ignored",
    "RV-1": "hooks are registered before the start, and a later one is an error",
    "RV-2": "start hooks run in order, and the first error is the end of the start",
    "RV-4": "ready hooks run once the service listens, and hold up nothing",
    "RV-5": "a ready hook that fails is logged, and the service lives",
    "RV-6": "SIGHUP reloads, and systemctl reload waits until it is done",
    "RV-7": "reload hooks run in order; an error stops the rest, and what was stays in force",
    "RV-9": "a reload can be called, and gives the error back",
    "RV-10": "reloads at the same time are one after the other",
    "RV-11": "reload hooks have names, and status shows them",
    "RV-12": "what no reload can change is refused in words",
    "RV-13": "shutdown hooks run in reverse",
    "RV-14": "shutdown hooks share one deadline",
    "RV-15": "shutdown hooks run at SIGTERM, SIGINT and stop",
    "RV-16": "stop hooks all run, whatever becomes of one",
    "RV-17": "stop hooks have no deadline",
    "RV-20": "typical uses: a database, a registry, counts that are flushed, settings and certificates that are reloaded",
    "RV-19": "start, listen, ready, serve and reload, shutdown, stopped, stop, exit: in this order",
}
"""The rows of this version. A result of another row is printed too, and counts when it is a failure."""


PURE = frozenset({"BX-12", "BX-21"})
"""Rows that need no running systemd: what a spec is refused for, and limits, which a container's PID 1 has no controllers for; tests/vm has a kernel's."""
LAB = "tests/lab/"
VM = "tests/vm/"


@dataclass(frozen=True, slots=True)
class Result:
    """Of one marked test: `passed`, `failed`, `skipped` or `not run`."""

    rows: tuple[str, ...]
    result: str


def kept(file: Path = RESULTS) -> dict[str, Result]:
    """By test, what all runs so far said last."""
    found = json.loads(file.read_text()) if file.is_file() else {}
    return {test: Result(tuple(item["rows"]), item["result"]) for test, item in found.items()}


def keep(collected: dict[str, tuple[str, ...]], results: dict[str, str], file: Path = RESULTS) -> None:
    """Add a run: `collected` is every marked test of the files that it read, and those that are gone from these files are forgotten."""
    before = kept(file)
    files = {_file(test) for test in [*collected, *results]}
    known = {test: item for test, item in before.items() if _file(test) not in files}
    for test, marked in collected.items():
        known[test] = Result(marked, results.get(test) or (before[test].result if test in before else "not run"))
    file.parent.mkdir(exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps({test: asdict(item) for test, item in known.items()}, indent=1))
    temporary.replace(file)


def table(known: dict[str, Result], *, brief: bool = False) -> tuple[str, bool]:
    """The text, and whether every row of this version is proved and no other one refuted; `brief`: without the rows that are well."""
    further = {row for item in known.values() for row in item.rows} - TITLES.keys()
    lines, wrong = [], 0
    for row in [*TITLES, *sorted(further, key=_natural)]:
        tests = {test: item.result for test, item in sorted(known.items()) if row in item.rows and _counts(test, item.result)}
        word = _word(row, tests)
        is_wrong = word not in ("passed", "some skipped") and (row in TITLES or word == "failed")
        wrong += is_wrong
        if brief and not is_wrong:
            continue
        lines.append(f"{'!' if is_wrong else ' '} {row:<9} {word:<13} {TITLES.get(row, '')}".rstrip())
        lines.extend(f"{'':12}{result:<8} {test}" for test, result in tests.items() if not (brief and result == "passed"))
    lines.append(f"{len(TITLES)} rows, {wrong} not proved" if wrong else f"{len(TITLES)} rows, all proved")
    return "\n".join(lines), not wrong


def _word(row: str, tests: dict[str, str]) -> str:
    results = set(tests.values())
    for worst in ("failed", "not run"):
        if worst in results:
            return worst
    if row in TITLES and row not in PURE:
        results = {result for test, result in tests.items() if test.startswith(LAB)}
    if not results:
        return "no test" if not tests else "no lab test"
    return "passed" if results == {"passed"} else "some skipped" if "passed" in results else "skipped"


def _counts(test: str, result: str) -> bool:
    """Virtual machines are not for every run."""
    return not test.startswith(VM) or result in ("passed", "failed")


def _file(test: str) -> str:
    return test.partition("::")[0]


def _natural(row: str) -> list[str]:
    return [word.rjust(4) if word.isdigit() else word for word in row.split("-")]


def main() -> int:
    text, proved = table(kept(), brief="--brief" in sys.argv[1:])
    sys.stdout.write(f"{text}\n")
    return 0 if proved else 1


if __name__ == "__main__":
    sys.exit(main())
