"""The daemon as a service: its lifecycle, its configuration, and who asks it for what."""

from __future__ import annotations

import json
import logging
import os
import selectors
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nanod.daemon import control, metrics, report
from nanod.daemon.children import Done, run
from nanod.daemon.config import Config, ConfigError, require_reloadable
from nanod.daemon.control import Connection, Server
from nanod.daemon.decide import ERROR, INFO, NOTICE, WARNING
from nanod.daemon.listing import stem_of
from nanod.daemon.loop import Daemon
from nanod.daemon.state import START, Configured, Spec
from nanod.daemon.work import CONTROL, PLACE
from nanod.errors import ExitCode, NanodError
from nanod.lifecycle import Lifecycle, LifecycleError, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanod.lifecycle import Turn

_CHILD_TIMEOUT = 60.0
_LEVELS = {logging.DEBUG: 7, logging.INFO: INFO, logging.WARNING: WARNING, logging.ERROR: ERROR}


def main() -> int:
    """`nanod daemon`: until it is told to end. The exit code."""
    try:
        _require()
        config = read_config()
    except ConfigError as wrong:
        _say(*wrong.lines)
        return ExitCode.BAD_SPEC
    except NanodError as refused:
        _say(refused.message)
        return refused.exit_code
    life = Lifecycle()
    service = Service(config, life)
    life.on_start(service.open)
    life.on_reload(service.configure, name="configuration")
    life.on_reload(service.reconcile, name="specs")
    life.on_shutdown(service.close)
    return life.run_loop(service.serve, says_ready=True)


def read_config() -> Config:
    """As it is on disk, read by a child. Raises ConfigError with all that is wrong."""
    try:
        return Config.of_json(run(["nanod", "daemon", "--check", "--json"], timeout=_CHILD_TIMEOUT).out)
    except OSError as failed:
        raise ConfigError((f"cannot read the configuration: nanod: {failed.strerror}",)) from failed


def adopted(config: Config) -> dict[str, Spec]:
    """What is applied from the directory already, although no daemon did it: a file that is as it was then is not worked on."""
    answer = json.loads(run(["nanod", "inspect"], timeout=_CHILD_TIMEOUT).out or "{}")
    found: dict[str, Spec] = {}
    for item in answer.get("apps", []):
        path = Path(item["spec"])
        stem = stem_of(path.name)
        if stem and str(path.parent) == config.specs and item["digest"]:
            found[stem] = Spec(tried=item["digest"], app=item["app"])
    return found


class Service(Daemon):
    """The daemon with its sockets."""

    def __init__(self, config: Config, life: Lifecycle) -> None:
        super().__init__(config, status=life.status)
        self._life = life
        self._control: Server | None = None
        self._http: Server | None = None
        self._asking: list[Callable[[tuple[str, ...]], None]] = []
        self._early: list[Connection] = []
        """Who asks for a reload before the first reconcile has ended."""
        self._measuring: list[Connection] = []
        self._is_to_show = False
        log = logging.getLogger("nanod.lifecycle")
        log.addHandler(_Journal(self.tell))
        log.setLevel(logging.INFO)
        log.propagate = False

    # Its life

    def open(self) -> None:
        """Raises OSError, and NanodError when there is another daemon."""
        _require_alone(self.config.socket)
        Path(self.config.socket).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._control = self._served(control.listen_unix(self.config.socket))
        self._http = self._listen(self.config)
        self._wait_for_start()
        self.begin(adopted(self.config))
        _lead_to(self.config.socket)

    def _wait_for_start(self) -> None:
        def started(problems: tuple[str, ...]) -> None:
            self.tell(NOTICE, f"ready: {report.status_line(self.state, self.drift, self.counts)}")
            for problem in problems:
                self.tell(WARNING, problem)
            self._life.ready()
            self._is_to_show = True

        self.answers[START] = started

    def serve(self, turn: Turn) -> None:
        self.selector.register(turn, selectors.EVENT_READ, lambda: None)
        while turn():
            if self._is_to_show:
                self._is_to_show = False
                self.show(again=True)
            while self._early and self._life.phase is Phase.RUN:
                self._reload(self._early.pop(0))
            self.turn(turn.timeout)

    def close(self) -> None:
        for server in filter(None, (self._control, self._http)):
            server.close()
        with suppress(OSError):
            Path(self.config.socket).unlink()
        self.end()

    # Its configuration

    def configure(self) -> Callable[[], None]:
        """Read and check; what it gives back puts in force. Raises ConfigError."""
        self._is_to_show = True
        try:
            new = read_config()
            require_reloadable(self.config, new)
            listening = self._listen(new) if _address(new) != _address(self.config) else self._http
        except ConfigError as wrong:
            self.counts.refused_reloads += 1
            self.counts.error = wrong.message
            for line in wrong.lines[1:]:
                self.tell(ERROR, line)
            raise
        return partial(self._take, new, listening)

    def _take(self, new: Config, listening: Server | None) -> None:
        if self._http is not None and self._http is not listening:
            self.selector.unregister(self._http)
            for connection in self._http.connections:
                self._forget(connection)
            self._http.close()
        self._http = listening
        self.config = new
        self.counts.reloads += 1
        self.counts.error = ""
        self.feed(Configured(new.settings))

    def reconcile(self) -> Callable[[], None]:
        """What changed specs ask for. SIGHUP waits for none of it; who asked on the socket does."""
        asking, self._asking = self._asking, []

        def answer(problems: tuple[str, ...]) -> None:
            for problem in problems if not asking else ():
                self.tell(WARNING, problem)
            for told in asking:
                told(problems)

        return lambda: self.ask(answer)

    def _listen(self, config: Config) -> Server | None:
        """Raises ConfigError for an address that is taken."""
        if not config.metrics_port:
            return None
        try:
            return self._served(control.listen_loopback(config.metrics_host, config.metrics_port), is_http=True)
        except OSError as failed:
            raise ConfigError((f"cannot listen on {config.metrics_host}:{config.metrics_port}: {failed.strerror}",)) from failed

    # Who asks

    def _served(self, listening: socket.socket, *, is_http: bool = False) -> Server:
        server = Server(listening, self._denied, is_http=is_http)
        self.selector.register(server, selectors.EVENT_READ, lambda: self._accept(server))
        return server

    def _denied(self, text: str) -> None:
        self.counts.denied += 1
        self.tell(WARNING, text)

    def _servers(self) -> list[Server]:
        return [server for server in (self._control, self._http) if server]

    def deadlines(self) -> list[float | None]:
        return [*super().deadlines(), *(server.due() for server in self._servers())]

    def see_to_time(self, now: float) -> None:
        for server in self._servers():
            for connection in server.connections:
                if not connection.waits and now >= connection.deadline:
                    self._forget(connection)
            server.sweep()
        super().see_to_time(now)

    def _accept(self, server: Server) -> None:
        if connection := server.accept(time.monotonic()):
            self.selector.register(connection, selectors.EVENT_READ, lambda: self._come(connection))

    def _come(self, connection: Connection) -> None:
        """Something can be read from it, or written to it."""
        connection.send()
        if not connection.is_open or not connection.receive():
            self._forget(connection)
            return
        self._see_to(connection)

    def _see_to(self, connection: Connection) -> None:
        try:
            while connection.is_open and (request := connection.request()) is not None:
                connection.waits = True
                if connection.is_http:
                    self._http_request(connection, request)
                else:
                    self._request(connection, request)
        except ValueError as wrong:
            content = control.http(400, f"{wrong}\n") if connection.is_http else control.refusal(str(wrong))
            connection.answer(content, time.monotonic(), ends=True)
        self._want(connection)

    def _want(self, connection: Connection) -> None:
        if not connection.is_open:
            self._forget(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.left else 0)
        if connection in self.selector.get_map() and self.selector.get_key(connection).events != events:
            self.selector.modify(connection, events, lambda: self._come(connection))

    def _forget(self, connection: Connection) -> None:
        with suppress(KeyError, ValueError):
            self.selector.unregister(connection)
        connection.close()
        for waiting in (self._measuring, self._early):
            with suppress(ValueError):
                waiting.remove(connection)

    def _answer(self, connection: Connection, content: bytes, *, ends: bool = False) -> None:
        """Later, when it may have gone."""
        if connection.is_open:
            connection.answer(content, time.monotonic(), ends=ends)
            self._see_to(connection)

    def _request(self, connection: Connection, text: str) -> None:
        match control.asked(text):
            case "status":
                answer = {"status": report.status_data(self.state, self.drift, self.counts, self.config)}
                connection.answer(control.line(answer), time.monotonic())
            case "history":
                connection.answer(control.line({"history": list(self.history)}), time.monotonic())
            case "metrics":
                self._measure(connection)
            case "reload" if self._life.phase is Phase.RUN:
                self._reload(connection)
            case "reload":
                self._early.append(connection)
            case word:
                raise ValueError(f"'{word}' cannot be asked: status, reload, metrics and history can")

    def _reload(self, connection: Connection) -> None:
        def answered(problems: tuple[str, ...]) -> None:
            self._answer(connection, control.line({"reload": {"problems": list(problems)}}))

        self._asking.append(answered)
        try:
            self._life.reload()
        except LifecycleError as failed:
            self._asking.clear()
            lines = failed.__cause__.lines if isinstance(failed.__cause__, ConfigError) else (failed.message,)
            error = {"kind": "reload", "message": "cannot reload: the configuration stays as it was", "lines": list(lines)}
            self._answer(connection, control.line({"error": error}))

    def _http_request(self, connection: Connection, head: str) -> None:
        method, target, *_ = [*head.partition("\r\n")[0].split(" "), "", ""]
        if target.partition("?")[0] != "/metrics":
            connection.answer(control.http(404, "metrics are at /metrics\n"), time.monotonic(), ends=True)
        elif method != "GET":
            connection.answer(control.http(405, "metrics can be got\n"), time.monotonic(), ends=True)
        else:
            self._measure(connection)

    def _measure(self, connection: Connection) -> None:
        """One child for all who ask while it runs."""
        self._measuring.append(connection)
        if len(self._measuring) > 1:
            return
        try:
            self.spawn(["nanod", "metrics"], self._measured)
        except OSError as failed:
            self._measured(Done(status=1, out="", err=f"nanod: {failed.strerror}"))

    def _measured(self, done: Done) -> None:
        own = metrics.exposition(report.families(self.state, self.drift, self.counts))
        text = f"{done.out}{own}{metrics.EOF}"
        why = f"cannot look at apps: {(done.err.strip().splitlines() or [f'status {done.status}'])[-1]}"
        waiting, self._measuring = self._measuring, []
        for connection in waiting:
            if connection.is_http:
                content = control.http(503, f"{why}\n") if done.status else control.http(200, text, metrics.CONTENT_TYPE)
                self._answer(connection, content, ends=True)
            else:
                self._answer(connection, control.refusal(why) if done.status else control.line({"metrics": text}))


class _Journal(logging.Handler):
    """What the lifecycle logs, as everything else is told. Of our own errors the words are enough; of others the traceback is shown."""

    def __init__(self, tell: Callable[[int, str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, NanodError | OSError):
            text = f"{text}\n{logging.Formatter().formatException((type(error), error, error.__traceback__))}"
        self._tell(_LEVELS.get(record.levelno, ERROR), text)


def _address(config: Config) -> tuple[str, int]:
    return config.metrics_host, config.metrics_port


def _require() -> None:
    """Raises NanodError."""
    if os.geteuid() != 0:
        raise NanodError("cannot run the daemon: only root may do that")
    if not Path("/run/systemd/system").is_dir():
        raise NanodError("cannot run the daemon: PID 1 of this machine is not systemd")


def _lead_to(path: str) -> None:
    """Clients know one name, wherever the socket is. Raises OSError."""
    temporary = Path(f"{PLACE}/.control")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(path)
    temporary.rename(CONTROL)


def _require_alone(path: str) -> None:
    """Raises NanodError when somebody answers on the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, suppress(OSError):
        client.settimeout(5)
        client.connect(path)
        raise NanodError(f"cannot run the daemon: another one serves {path}")


def _say(*lines: str) -> None:
    prefix = "" if sys.stderr.isatty() else f"<{ERROR}>"
    sys.stderr.write("".join(f"{prefix}nanod: {line}\n" for line in lines))
