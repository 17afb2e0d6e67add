"""The JSON Schema of the language: what `nanod schema` prints, what editors use, what the loader checks and what docs/language.md is tested against.

Titles complete "must be …" in errors, descriptions are for people.
"""

from __future__ import annotations

from typing import Final

from nanod.phases import HOOK_PHASES, PHASES
from nanod.spec.defaults import DEFAULTS
from nanod.spec.shapes import (
    APP_NAME,
    ARGV,
    BOOLEAN,
    CALENDAR,
    COMMAND,
    DIRECTIVE,
    DIRECTIVE_NAME,
    ENVIRONMENT,
    FILE_NAME,
    FREE,
    LINE,
    NAME,
    PATH,
    PATHS,
    PERCENT,
    PORT,
    REQUIRED,
    SIZE,
    TEXT,
    TIME,
    TRUE,
    UNIT_OR_NAME,
    USER,
    VARIABLE,
    Shape,
    any_of,
    choice,
    mapping,
    number,
    optional,
    ref,
    said,
    sequence,
    table,
    text,
)

_ADDRESS = any_of("a port, an address such as '127.0.0.1:6379', or true for the own port", PORT, text("an address", r"[^\x00-\x20\x7f]+"), TRUE)

_HOOK = mapping(
    "a command, or a mapping with 'run'",
    {
        "run": said(COMMAND, "What runs: text for the shell, or a list that is run as it is."),
        "name": said(FILE_NAME, "How status and history call it; its position otherwise."),
        "timeout": said(TIME, "How long it may take; the phase's own limit otherwise."),
        "on_failure": said(choice("fail", "warn", "ignore"), "fail halts the service, warn shows, ignore is in the history alone; see the phases."),
        "scope": said(choice("start", "deploy"), "prestart only: at every process start, or once per content of the service."),
        "context": said(choice("host", "service"), "Outside or inside the service's sandbox; both as the service's user."),
        "user": said(USER, "Another user than the service's."),
        "environment": said(ENVIRONMENT, "Variables for this hook, over the service's."),
        "shell": said(ARGV, "What runs the text."),
        "irreversible": said(BOOLEAN, "Once this ran, nanod does not roll back by itself."),
    },
    ("run",),
)
_WHEN = {phase.name: phase.when for phase in reversed(PHASES)}
_ONE_HOOK = any_of("a command, or a mapping with 'run'", TEXT, ref("hook", "a mapping with 'run'"))
_HOOK_LIST = any_of(
    "a command, a mapping with 'run', or a list of these", TEXT, ref("hook", "a mapping with 'run'"), sequence("a list of hooks", _ONE_HOOK)
)
_HOOKS = mapping(
    "a mapping of phases to hooks",
    {
        name: said(_HOOK_LIST if next(phase for phase in PHASES if phase.name == name).is_list else _ONE_HOOK, f"Runs: {_WHEN[name]}.")
        for name in HOOK_PHASES
    },
)

_HEALTH = mapping(
    "a mapping with one probe",
    {
        "http": said(text("a URL, or a path on the own port", r"[^\x00-\x20\x7f]+"), "A URL that answers 2xx or 3xx; `/path` is on the own port."),
        "tcp": said(_ADDRESS, "An address that accepts connections."),
        "unix": said(PATH, "A stream socket that accepts connections."),
        "grpc": said(_ADDRESS, "The address of a grpc.health.v1 server."),
        "exec": said(COMMAND, "A command that ends with 0."),
        "file": said(PATH, "A file that exists."),
        "notify": said(TRUE, "The process itself says READY=1 (sd_notify)."),
        "interval": said(TIME, "Pause between two attempts; the first pauses are shorter.", DEFAULTS["health.interval"]),
        "timeout": said(TIME, "Limit of one attempt.", DEFAULTS["health.timeout"]),
        "start_timeout": said(TIME, "How long the service may take until it is healthy.", DEFAULTS["health.start_timeout"]),
        "liveness": said(
            mapping(
                "a mapping such as {interval: 10s, failures: 3}",
                {
                    "interval": said(TIME, "Pause between two probes.", DEFAULTS["health.liveness.interval"]),
                    "failures": said(number("a number from 1", 1, 1000), "Failures in a row.", DEFAULTS["health.liveness.failures"]),
                    "action": said(choice("restart", "stop", "none"), "What then happens.", DEFAULTS["health.liveness.action"]),
                },
            ),
            "Probes on while the service runs.",
        ),
    },
)

_REQUIRES = any_of(
    "a list of names, or a mapping of names to conditions",
    sequence("a list of names", REQUIRED),
    table(
        "a mapping of names to conditions",
        REQUIRED,
        optional(
            mapping(
                "a mapping such as {condition: healthy}",
                {
                    "condition": said(
                        choice("started", "healthy", "completed"), "What is waited for: healthy where it has a health check, else started."
                    ),
                    "restart": said(BOOLEAN, "Restarts together with it.", default=False),
                    "required": said(BOOLEAN, "false: start even when it does not.", default=True),
                },
            )
        ),
    ),
)

_CREDENTIAL = any_of(
    "a path, or a mapping with 'file'",
    PATH,
    mapping(
        "a mapping with 'file'",
        {
            "file": said(PATH, "The file with the secret."),
            "env": said(VARIABLE, "A variable that the process gets it in."),
            "encrypted": said(BOOLEAN, "The file is made by systemd-creds.", default=False),
        },
        ("file",),
    ),
)

_SOCKET_ADDRESS = any_of("an address such as '127.0.0.1:8080', a port or a path", PORT, text("an address", r"[^\x00-\x20\x7f]+"))
_SOCKETS = sequence(
    "a list of addresses",
    any_of(
        "an address such as '127.0.0.1:8080', or a mapping with 'listen'",
        *_SOCKET_ADDRESS["anyOf"],
        mapping(
            "a mapping with 'listen'",
            {
                "listen": said(_SOCKET_ADDRESS, "The address."),
                "backlog": said(number("a number from 1", 1, 2**31 - 1), "Connections that wait.", DEFAULTS["sockets.backlog"]),
                "via": said(choice("descriptor", "proxy"), "How the service gets them.", DEFAULTS["sockets.via"]),
            },
            ("listen",),
        ),
    ),
)

_WEIGHT = number("a weight from 1 to 10000", 1, 10_000)
_COMMON: dict[str, Shape] = {
    "description": said(LINE, "One line, for systemctl status."),
    "command": said(COMMAND, "The main process: text for the shell, or a list that is run as it is."),
    "shell": said(ARGV, "What runs commands that are text."),
    "working_dir": said(PATH, "Default: the release, else the first volume, else the spec's directory."),
    "user": said(USER, "Who runs it.", DEFAULTS["user"]),
    "dynamic_user": said(BOOLEAN, "A user that systemd makes for it, instead of `user`."),
    "group": said(USER, "The group; default: the user's own."),
    "environment": said(ENVIRONMENT, "Variables, literal."),
    "environment_files": said(PATHS, "Files of variables; they win over `environment`."),
    "credentials": said(table("a mapping of names to files", FILE_NAME, optional(_CREDENTIAL)), "Secrets, by LoadCredential=."),
    "health": said(_HEALTH, "When the service is healthy; exactly one probe."),
    "volumes": said(PATHS, "Writable directories, made when missing; the first is the primary one."),
    "volume": said(PATH, "Short for a list of one volume."),
    "runtime_dir": said(BOOLEAN, "A directory under /run, in NANOD_RUN_DIR.", DEFAULTS["runtime_dir"]),
    "restart": said(
        mapping(
            "a mapping such as {policy: always, delay: 1s}",
            {
                "policy": said(choice("no", "on-failure", "always"), "When it is restarted; a script never is.", DEFAULTS["restart.policy"]),
                "delay": said(TIME, "Pause before it.", DEFAULTS["restart.delay"]),
                "limit": said(number("a number from 1", 1, 1_000_000), "How many within the window.", DEFAULTS["restart.limit"]),
                "window": said(TIME, "The window of the limit.", DEFAULTS["restart.window"]),
            },
        ),
        "What happens after a crash.",
    ),
    "stop": said(
        mapping(
            "a mapping such as {signal: SIGTERM, timeout: 30s}",
            {
                "signal": said(text("a signal such as 'SIGTERM' or 'INT'", r"[A-Z0-9+-]{1,12}"), "How it is asked to end.", DEFAULTS["stop.signal"]),
                "timeout": said(TIME, "How long it may take before it is killed.", DEFAULTS["stop.timeout"]),
                "drain": said(TIME, "Pause between the prestop hooks and the signal.", DEFAULTS["stop.drain"]),
                "ignore_hup": said(BOOLEAN, "SIGHUP does not end it, unless it has a reload hook.", DEFAULTS["stop.ignore_hup"]),
            },
        ),
        "How it is stopped.",
    ),
    "resources": said(
        mapping(
            "a mapping of limits such as {memory_max: 512M}",
            {
                "memory_max": said(SIZE, "Killed above it."),
                "memory_high": said(SIZE, "Slowed down above it."),
                "cpu_quota": said(PERCENT, "Share of one CPU."),
                "cpu_weight": said(_WEIGHT, "CPU share against others, 100 being usual."),
                "tasks_max": said(number("a number from 1", 1), "Processes and threads."),
                "io_weight": said(_WEIGHT, "Disk share against others, 100 being usual."),
            },
        ),
        "Limits, changed without a restart.",
    ),
    "sandbox": said(choice("strict", "default", "off"), "How closed it runs.", DEFAULTS["sandbox"]),
    "systemd": said(
        mapping(
            'a mapping of sections such as {Service: {Nice: "5"}}',
            {
                section: said(
                    table(
                        "a mapping of directives",
                        DIRECTIVE_NAME,
                        any_of('text or a list of texts (use "" for an empty one)', DIRECTIVE, sequence("a list of texts", DIRECTIVE)),
                    ),
                    f"The [{section}] section.",
                )
                for section in ("Unit", "Service", "Socket", "Timer")
            },
        ),
        'Directives of the main unit: text replaces, a list adds, [""] resets.',
    ),
}
_OWN_PORTS: dict[str, Shape] = {
    "ports": said(sequence("a list of port numbers", PORT), "Ports that the service binds itself; PORT is the first."),
    "hooks": said(_HOOKS, "Commands around the life of the process."),
}
_LIFECYCLE = mapping(
    "a mapping with 'hook'",
    {
        "hook": said(choice("prestart", "poststart", "poststop"), "When the task runs."),
        "sidecar": said(BOOLEAN, "Keeps running beside the service.", default=False),
    },
    ("hook",),
)
_TASK = mapping(
    "a mapping of a task's keys",
    {
        **_COMMON,
        "lifecycle": said(_LIFECYCLE, "When the task runs."),
        "wait_for": said(
            text(
                "an address such as 'tcp://127.0.0.1:5432', 'http://127.0.0.1/', 'unix:/run/x.sock' or 'file:/run/x'",
                r"(?:(?:tcp|https?)://|(?:unix|file):(?:///|/(?!/)))[^\x00-\x20\x7f]+",
            ),
            "Waits until it answers, instead of a command.",
        ),
        "timeout": said(TIME, "Limit of a task that ends."),
        "on_failure": said(choice("fail", "warn"), "What a failure means to the service."),
        "per": said(choice("replica", "group"), "Once for each instance, or once for all.", DEFAULTS["tasks.per"]),
    },
)
_BUILD: dict[str, Shape] = {
    "environment": said(ENVIRONMENT, "Variables of the build alone."),
    "inputs": said(sequence("a list of patterns", LINE), "Files of the source that a release is made of, as gitignore(5) writes them."),
    "keep": said(number("a number from 1 to 100", 1, 100), "Releases kept.", DEFAULTS["build.keep"]),
}
_BUILD_RUN = said(COMMAND, "The command, beside settings.")

_SERVICE = mapping(
    "a mapping of a service's keys",
    {
        **_COMMON,
        **_OWN_PORTS,
        "kind": said(choice("native", "http", "grpc", "script"), "What it is: a script ends by itself.", DEFAULTS["kind"]),
        "runtime": said(NAME, "What it builds upon; `node` is built in."),
        "requires": said(_REQUIRES, "What it needs: services of this spec or of other apps, or units of the host."),
        "after": said(sequence("a list of names", UNIT_OR_NAME), "What it starts after, without needing it."),
        "sockets": said(_SOCKETS, "Addresses that nanod's socket unit owns."),
        "settle": said(TIME, "apply watches it until it has been up this long.", DEFAULTS["settle"]),
        "provisioning": said(
            mapping(
                "a mapping with 'install'",
                {
                    "install": said(COMMAND, "Runs once per volume and content."),
                    "creates": said(PATHS, "Runs again when one of these is missing."),
                    "inputs": said(PATHS, "Runs again when one of these changed."),
                    "context": said(choice("host", "sandbox"), "In a sandbox only the volumes are writable.", DEFAULTS["provisioning.context"]),
                    "timeout": said(TIME, "Limit of one attempt.", DEFAULTS["provisioning.timeout"]),
                    "retries": said(number("a number from 0 to 100", 0, 100), "Further attempts.", DEFAULTS["provisioning.retries"]),
                },
            ),
            "What is installed before the first start.",
        ),
        "processes": said(
            table("a mapping of processes", NAME, optional(mapping("a mapping of a process's keys", {**_COMMON, **_OWN_PORTS}))),
            "Several main processes instead of `command`.",
        ),
        "tasks": said(
            table("a mapping of tasks", NAME, optional(ref("task", "a mapping of a task's keys"))), "Tasks around the service, as in Nomad."
        ),
        "replicas": said(number("a number from 1 to 1000", 1, 1000), "How many instances."),
        "rolling": said(
            mapping(
                "a mapping such as {strategy: in-place}",
                {
                    "strategy": said(choice("in-place", "blue-green"), "How instances are replaced.", DEFAULTS["rolling.strategy"]),
                    "max_parallel": said(number("a number from 1", 1, 1000), "How many at once.", DEFAULTS["rolling.max_parallel"]),
                    "min_healthy_time": said(TIME, "How long one must be healthy before the next.", DEFAULTS["rolling.min_healthy_time"]),
                },
            ),
            "How a change reaches the instances.",
        ),
        "on_failure": said(COMMAND, "Runs when the service has given up."),
        "reload_on": said(PATHS, "Files whose change reloads the service."),
        "restart_on": said(PATHS, "Files whose change restarts the service."),
        "schedule": said(
            any_of(
                "a calendar expression, or a mapping with 'calendar'",
                CALENDAR,
                mapping(
                    "a mapping with 'calendar'",
                    {
                        "calendar": said(CALENDAR, "When (systemd.time(7))."),
                        "persistent": said(BOOLEAN, "Runs at boot when it was missed.", DEFAULTS["schedule.persistent"]),
                        "randomized_delay": said(TIME, "A random pause before it.", DEFAULTS["schedule.randomized_delay"]),
                        "timezone": said(
                            text("a time zone such as 'UTC' or 'Europe/Berlin'", r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*"), "Of the calendar."
                        ),
                    },
                ),
            ),
            "Scripts only: when a timer runs it.",
        ),
        "source": said(PATH, "The directory that a release is made from."),
        "build": said(mapping("a mapping of build settings", _BUILD), "How a release is made."),
        "settings": said(FREE, "Rendered to a file whose path is in NANOD_SETTINGS."),
        "features": said(FREE, "Blocks of plug-ins, by name."),
    },
)
_RUNTIME: Shape = {
    **_SERVICE,
    "properties": {
        **{key: shape for key, shape in _SERVICE["properties"].items() if key != "runtime"},
        "install": said(optional(COMMAND), "Short for provisioning.install."),
        "build": said(
            any_of("a command, or a mapping of build settings", COMMAND, mapping("a mapping of build settings", {**_BUILD, "run": _BUILD_RUN})),
            "What every release is built with first, before the build hook; and how a release is made.",
        ),
    },
}

_DEPLOY = mapping(
    "a mapping with 'target' and 'path'",
    {
        "target": said(LINE, "Where to: [user@]host."),
        "targets": said(sequence("a list of hosts", LINE, minItems=1), "Several of them."),
        "max_parallel": said(number("a number from 1", 1, 1000), "Hosts at once.", DEFAULTS["deploy.max_parallel"]),
        "path": said(PATH, "The directory there."),
        "prepare": said(COMMAND, "Runs here, in the spec's directory, before."),
    },
)
_LAYERS: dict[str, Shape] = {
    "defaults": said(ref("service", "a mapping of a service's keys"), "Laid under every service."),
    "runtimes": said(
        table("a mapping of runtimes", NAME, optional(ref("runtime", "a mapping of a service's keys"))), "Bases that services name with `runtime`."
    ),
    "deploy": said(_DEPLOY, "Where `nanod deploy` sends this."),
}
_SERVICES = table("a mapping of names to services", NAME, ref("service", "a mapping of a service's keys; {} where defaults and runtime say all"))
_OVERLAY = mapping(
    "a mapping with 'services', 'defaults', 'runtimes' or 'deploy'",
    {
        **_LAYERS,
        "services": said(
            table("a mapping of names to services", NAME, optional(ref("service", "a mapping of a service's keys"))),
            "Laid over the services; null leaves one out.",
        ),
    },
)
_TOP = mapping(
    "a mapping with 'services'",
    {
        "nanod": said(number("the version of the language, 1", 1), "Version of the language."),
        "project": said(APP_NAME, "Default: the file's name, or its directory's for spec, nanod, services, compose."),
        "env": said(APP_NAME, "The environment; the app is then <project>-<env>."),
        "environments": said(table("a mapping of environments", APP_NAME, optional(_OVERLAY)), "Overlays, chosen by the environment."),
        **_LAYERS,
        "services": said(_SERVICES, "The services."),
    },
    patternProperties={"^x-": True},
)

SCHEMA: Final[Shape] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_TOP,
    "$defs": {"service": _SERVICE, "runtime": _RUNTIME, "task": _TASK, "hook": _HOOK},
}
