"""`nanod deploy` on the operator's side: which host gets what, in which order, and where it ends.

All targets are asked first, then all get the code, then `prepare` runs here, once; only then the first target is touched, `at_once` at a time,
until one fails. What is sent waits on the target beside where it belongs, so whatever fails before that leaves every target as it was.
"""

from __future__ import annotations

import re
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from json import JSONDecodeError, loads
from typing import TYPE_CHECKING, Final, Protocol

from nanod.errors import ExitCode, NanodError
from nanod.host import NoInterrupts
from nanod.host.ssh import LOST
from nanod.spec.tree import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nanod.diagnostics import Report
    from nanod.host import Interrupts
    from nanod.host.process import Completed
    from nanod.spec.model import Spec

_SAYS = "nanod-deploy"
_SURVEY: Final = f"""
say() {{ printf '{_SAYS} %s %s\\n' "$1" "$2"; }}
say uid "$(id -u)"
say rsync "$(command -v rsync)"
say nanod "$(nanod --version 2>/dev/null)"
[ "$(id -u)" = 0 ] || say sudo "$({{ sudo -n nanod --version >/dev/null && sudo -n rsync --version >/dev/null && echo yes; }} 2>&1 | tail -n 1)"
"""
"""Asked in one go. Each answer has a word before it: what a profile prints is none."""

_ENDED: Final = {
    ExitCode.REFUSED: "that host refused",
    ExitCode.BAD_SPEC: "the spec is not good there",
    ExitCode.FAILED: "'nanod apply' failed there",
    ExitCode.BUSY: "another nanod is at work there",
    ExitCode.DEGRADED: "'nanod apply' failed there, and could not be undone",
    ExitCode.INTERRUPTED: "'nanod apply' was interrupted there",
}


class Link(Protocol):
    """One target; `nanod.host.ssh.Ssh` is the real one. Raises NanodError("cannot deploy to TARGET: …") when it cannot be reached."""

    @property
    def target(self) -> str: ...
    def run(self, command: str) -> Completed: ...
    def send(self, directory: str, destination: str, *, like: Sequence[str] = (), rsync: str = "rsync") -> int: ...
    def follow(self, command: str, out: Callable[[str], None], err: Callable[[str], None]) -> int: ...
    def interrupt(self) -> None: ...
    def close(self, last: str = "") -> None: ...


class Teller(Protocol):
    """Hears what happens, from several threads."""

    def news(self, target: str, text: str) -> None: ...
    def out(self, target: str, line: str) -> None: ...
    def err(self, target: str, line: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is deployed: the content of `directory` to `path` on each target, and there the spec `file`. `words` go to `nanod apply`."""

    app: str
    project: str
    directory: str
    file: str
    path: str
    at_once: int = 1
    words: tuple[str, ...] = ()
    as_json: bool = False
    version: str
    """Of this nanod: a target's must not be older, or what was checked here is not what is understood there."""


class Fate(StrEnum):
    DEPLOYED = "deployed"
    FAILED = "failed"
    """Its apply ended with something else than 0, which says what became of it."""
    REFUSED = "refused"
    """It is as it was: `error` says why."""
    UNTOUCHED = "untouched"
    """It is as it was, because of another, or of `prepare`, or an interrupt."""


@dataclass(slots=True, kw_only=True)
class Landing:
    """What became of one target. `said` is the standard output of its apply, `seconds` how long all that was done for it took."""

    target: str
    fate: Fate = Fate.UNTOUCHED
    code: int | None = None
    error: NanodError | None = None
    seconds: float = 0.0
    said: list[str] = field(default_factory=list)

    @property
    def document(self) -> object:
        """The JSON that its apply printed; None when there is none."""
        try:
            return loads("\n".join(self.said))
        except JSONDecodeError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`prepare` is the exit status of that command, None when it did not run."""

    app: str
    landings: tuple[Landing, ...]
    prepare: int | None
    interrupted: bool
    exit_code: int
    seconds: float


class _Site:
    """A target on the way: whether root's commands need sudo there, and where what is sent waits."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.landing = Landing(target=link.target)
        self.sudo: tuple[str, ...] = ()
        self.stage = ""
        self.staged: list[str] = []

    @property
    def target(self) -> str:
        return self.link.target

    def refused(self, cause: str, hint: str = "") -> NanodError:
        return NanodError(f"cannot deploy to {self.target}: {cause}", hint=hint)

    def line(self, *words: str) -> str:
        """A command of nanod's as root, for the shell there."""
        return shlex.join([*self.sudo, "nanod", *words])

    @property
    def rsync(self) -> str:
        return shlex.join([*self.sudo, "rsync"])


def deploy(
    order: Order,
    links: Sequence[Link],
    *,
    prepare: Callable[[], int] | None,
    teller: Teller,
    surveys_at_once: int = 1,
    interrupts: Interrupts | None = None,
) -> Outcome:
    """Do it. `prepare` returns an exit status; what cannot be done for a target is in its landing.

    An interrupt is taken: what runs on targets ends as by Ctrl-C there, and the outcome says how far it came.
    """
    return _Deployment(order, [_Site(link) for link in links], teller, interrupts or NoInterrupts()).run(prepare, surveys_at_once)


class _Deployment:
    def __init__(self, order: Order, sites: list[_Site], teller: Teller, interrupts: Interrupts) -> None:
        self.order, self.sites, self.teller, self.interrupts = order, sites, teller, interrupts
        self.code = 0
        """Of the first failure."""
        self.prepared: int | None = None
        self.is_interrupted = False

    def run(self, prepare: Callable[[], int] | None, surveys_at_once: int) -> Outcome:
        begin = time.monotonic()
        try:
            self._each(self._survey, surveys_at_once, stops=False)
            self._each(self._send, self.order.at_once)
            if prepare and not self.code:
                self.prepared = prepare()
                self._fail(ExitCode.FAILED if self.prepared else ExitCode.OK)
            self._each(self._land, self.order.at_once)
        except KeyboardInterrupt:
            self.is_interrupted = True
        finally:
            self._leave()
        landings = tuple(site.landing for site in self.sites)
        code = ExitCode.INTERRUPTED if self.is_interrupted else self.code
        return Outcome(
            app=self.order.app,
            landings=landings,
            prepare=self.prepared,
            interrupted=self.is_interrupted,
            exit_code=code,
            seconds=time.monotonic() - begin,
        )

    def _each(self, work: Callable[[_Site], None], at_once: int, *, stops: bool = True) -> None:
        """Do it for all targets, so many at a time; after a failure no other is begun, unless all are to be heard. An earlier failure: for none."""
        if self.code:
            return

        def one(site: _Site) -> None:
            if (self.code and stops) or self.is_interrupted:
                return
            begin = time.monotonic()
            try:
                work(site)
            except NanodError as refused:
                # An interrupt ends programs, and what they say then is no reason.
                if not self.is_interrupted:
                    site.landing.fate, site.landing.error, site.landing.code = Fate.REFUSED, refused, int(refused.exit_code)
                    self._fail(refused.exit_code)
            finally:
                site.landing.seconds += time.monotonic() - begin

        with ThreadPoolExecutor(at_once) as pool:
            try:
                # An interrupt in the middle of a thread's start would leave one that nobody waits for.
                with self.interrupts.held():
                    begun = [pool.submit(one, site) for site in self.sites]
                for item in begun:
                    item.result()
            except KeyboardInterrupt:
                self.is_interrupted = True
                for site in self.sites:
                    site.link.interrupt()
                raise

    def _fail(self, code: int) -> None:
        self.code = self.code or int(code)

    def _survey(self, site: _Site) -> None:
        self.teller.news(site.target, "connecting")
        said = site.link.run(shlex.join(["sh", "-c", _SURVEY]))
        site.sudo = judged(site.target, said, self.order.version)

    def _send(self, site: _Site) -> None:
        site.stage = self._opened(site)
        self._bring(site)

    def _bring(self, site: _Site) -> None:
        """Each time to a new directory: in one whose files are linked from elsewhere, a changed mode would be changed elsewhere, too."""
        self.teller.news(site.target, f"sending {self.order.directory}")
        place = f"{site.stage}/{len(site.staged) + 1}"
        count = site.link.send(self.order.directory, place, like=[self.order.path, *site.staged], rsync=site.rsync)
        site.staged.append(place)
        self.teller.news(site.target, f"sent, {count} file{'' if count == 1 else 's'} changed")

    def _opened(self, site: _Site) -> str:
        done = site.link.run(site.line("receive", "open", "--project", self.order.project, "--", self.order.path))
        lines = done.out.splitlines()
        if done.status or not lines:
            raise site.refused(*_heard(done))
        return lines[-1]

    def _land(self, site: _Site) -> None:
        if self.prepared is not None:
            self._bring(site)
        order = self.order
        self.teller.news(site.target, f"nanod apply {order.path}/{order.file}")
        begun = ["receive", "apply", "--project", order.project, *(["--json"] if order.as_json else [])]
        line = site.line(*begun, "--", order.path, site.staged[-1], f"{order.path}/{order.file}", *order.words)

        def out(text: str) -> None:
            site.landing.said.append(text)
            self.teller.out(site.target, text)

        status = site.link.follow(line, out, lambda text: self.teller.err(site.target, text))
        site.landing.code = status if status != LOST else int(ExitCode.REFUSED)
        if status == 0:
            site.landing.fate, site.stage = Fate.DEPLOYED, ""
            return
        site.landing.fate = Fate.FAILED
        site.landing.error = ended(site.target, status, order.app)
        self._fail(site.landing.code)

    def _leave(self) -> None:
        """Nothing stays on a target of what did not come to its place. One that cannot be reached keeps it for a day."""
        with self.interrupts.refused():
            for site in self.sites:
                site.link.close(site.line("receive", "drop", "--", self.order.path, site.stage) if site.stage else "")


def judged(target: str, said: Completed, version: str) -> tuple[str, ...]:
    """The words before a command of root's, from the answer to the survey. Raises NanodError when the target cannot be deployed to."""
    answers = dict(_answers(said.out))
    if "uid" not in answers:
        cause = next((line for line in reversed([*said.out.splitlines(), *said.err.splitlines()]) if line.strip()), f"status {said.status}")
        raise NanodError(f"cannot deploy to {target}: it runs no commands for you: {cause.strip()}", hint=f"'ssh {target} id' must work first")
    if not answers.get("nanod", "").startswith("nanod "):
        raise NanodError(f"cannot deploy to {target}: there is no nanod", hint="install the nanod package there")
    theirs = answers["nanod"].split()[1]
    if numbers(theirs) < numbers(version):
        raise NanodError(f"cannot deploy to {target}: its nanod {theirs} is older than this one, {version}", hint="install this version there first")
    if not answers.get("rsync"):
        raise NanodError(f"cannot deploy to {target}: there is no rsync", hint="apt install rsync, there")
    if answers["uid"] == "0":
        return ()
    if answers.get("sudo") != "yes":
        cause = answers.get("sudo") or "sudo refuses"
        raise NanodError(
            f"cannot deploy to {target}: you are not root there, and may not become it: {cause}",
            hint="log in as root, or let this account run nanod and rsync by sudo without a password (NOPASSWD in sudoers)",
        )
    return ("sudo", "-n")


def ended(target: str, status: int, app: str) -> NanodError:
    """What an apply that did not end with 0 comes to, in words."""
    look = f"'ssh {target} nanod status {app}' shows how it is"
    if status == LOST:
        return NanodError(
            f"cannot deploy to {target}: the connection was lost while nanod was at work there", hint=f"it puts back what there was; {look}"
        )
    cause = _ENDED.get(ExitCode(status)) if status in set(ExitCode) else None
    return NanodError(f"cannot deploy to {target}: {cause or f'nanod ended with status {status} there'}", hint=look)


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with, to compare: `0.10.1~rc2` is (0, 10, 1)."""
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def check_target(target: str) -> str:
    """What is wrong with a target that ssh(1) could not take for a host, or would take for something else; "" when nothing is."""
    host = target.rpartition("@")[2]
    if not re.fullmatch(r"[^\s\x00-\x1f\x7f]+", target) or not host or target.startswith("-") or host.startswith("-"):
        return f"'{target}' is not [user@]host"
    if "/" in target or host.count(":") == 1:
        return f"'{target}' is not [user@]host: a port is said in ~/.ssh/config, or by --ssh-option Port=N"
    return ""


def check_sent(spec: Spec, report: Report) -> None:
    """An error at each path that leads out of the spec's directory, which is all that is sent: `../shared` would be something else there."""
    for service in spec.services.values():
        assert isinstance(service.at, Place)
        for place in _relative(service.at):
            if isinstance(place.node, str) and _leads_out(place.node):
                report.error(place(), f"'{place.node}' is outside of the spec's directory, which is all that is sent", place.path)


def _relative(member: Place) -> Iterator[Place]:
    """The values that are paths relative to the spec's directory, as written (docs/language.md, Paths), of a service and what belongs to it."""
    for key in ("source", "working_dir"):
        if member.get(key) is not None:
            yield member.child(key)
    for key in ("environment_files", "reload_on", "restart_on"):
        yield from member.child(key).items()
    credentials = member.child("credentials")
    for name, value in credentials.map.items():
        yield credentials.child(name) if isinstance(value, str) else credentials.child(name).child("file")
    for key in ("tasks", "processes"):
        for name in member.child(key).map:
            yield from _relative(member.child(key).child(name))


def _leads_out(path: str) -> bool:
    depth = 0
    for part in path.split("/") if not path.startswith("/") else ():
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            return True
    return False


def _answers(said: str) -> Iterator[tuple[str, str]]:
    """What follows the first line of an answer (sudo may say more) belongs to it no longer."""
    for line in said.splitlines():
        word, _, rest = line.partition(" ")
        if word == _SAYS:
            key, _, value = rest.partition(" ")
            yield key, value.strip()


def _heard(done: Completed) -> tuple[str, str]:
    """Cause and hint, from what a nanod that refused has printed."""
    lines = [line.strip() for line in done.err.splitlines() if line.strip()]
    hints = [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]
    causes = [line.removeprefix("nanod: ") for line in lines if not line.startswith("hint: ")]
    return (causes or [f"nanod ended with status {done.status} there"])[-1], "; ".join(hints)
