"""One row per directive that nanod writes: how it is emitted, and what a change of it costs the running unit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, IntEnum

OLDEST = 252
"""The oldest systemd that nanod compiles for (Debian 12)."""


class Emitter(Enum):
    """How systemd reads the value; `nanod.units.quoting` has one function for each."""

    TEXT = "text"
    """One text to the end of the line; specifiers expand."""
    VALUE = "value"
    """A keyword, number, size or time span to the end of the line; `%` is itself (`CPUQuota=50%`)."""
    PATH = "path"
    """One path to the end of the line; specifiers expand."""
    NAMES = "names"
    """Names apart by blanks. Quotes are part of the name for some keys (`After="x"` is no unit) and escapes differ, so nothing is ever quoted."""
    PATHS = "paths"
    """Paths apart by blanks; quotes are removed, there are no C escapes; specifiers expand."""
    WORDS = "words"
    """Words apart by blanks; quotes are removed, C escapes and specifiers expand."""
    EXEC = "exec"
    """A command line."""


class Cost(IntEnum):
    """What the running unit needs for a changed directive to take effect, cheapest first."""

    NOTHING = 0
    """There is no change: every rewritten file needs a daemon-reload, or `systemctl status` says "changed on disk"."""
    DAEMON_RELOAD = 1
    RELOAD = 2
    RESTART = 3
    STOP_FIRST = 4
    """Stopped before the new file is installed, so that its own old hooks run, and started after."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What one value must look like, whole; systemd would drop another with a warning, or read a part of it as a flag."""

    pattern: re.Pattern[str]
    words: str

    def fits(self, value: str) -> bool:
        return self.pattern.fullmatch(value) is not None


def _shape(pattern: str, words: str) -> Shape:
    return Shape(re.compile(pattern, re.DOTALL), words)


@dataclass(frozen=True, slots=True)
class Row:
    emitter: Emitter
    cost: Cost
    shape: Shape | None = None


ANY_PATH = _shape(r"/.*", "an absolute path")
CONDITION_PATH = _shape(r"\|?!?/.*", "an absolute path, after '|' and '!'")
CREDENTIAL = _shape(r"[A-Za-z0-9_.-]+:/.*", "'name:/path'")
ACCESS_PATH = _shape(r"-?\+?/.*", "an absolute path, after '-' and '+'")
UNIT_NAME = _shape(
    # unit_name_is_valid(), without templates (`x@.service`), which only instances of can be depended on.
    r"(?=.{1,255}$)(?!@)[A-Za-z0-9:_.\\@-]+(?<!@)\.(service|socket|target|timer|path|mount|automount|swap|slice|scope|device)",
    "a unit name",
)
TOKEN = _shape(r"~?@?[A-Za-z0-9_.-]+", "a plain word")
# `private` is where systemd keeps the directories of dynamic users; a `:` would make a link (config_parse_exec_directories).
BELOW = _shape(r"(?!private(/|$))((?!\.{1,2}(/|$))[A-Za-z0-9_.@+-]+(/(?!$)|$))+", "a relative path of letters, digits and '_.@+-'")
# As POSIX and systemd want names, and the dots that directories of people have; 65535 and 4294967295 are "no user" to the kernel.
USER = _shape(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,30}|(?!65535$)[0-9]{1,9}", "a user or group name (letters, digits and '_.-', at most 31) or number")
ASSIGNMENT = _shape(r"[A-Za-z_][A-Za-z0-9_]*=.*", "'NAME=value'")

_TEXT, _VALUE, _PATH, _NAMES = Emitter.TEXT, Emitter.VALUE, Emitter.PATH, Emitter.NAMES
_LATER = Cost.DAEMON_RELOAD  # read by PID 1 when it is next needed; nothing running depends on it
_RESTART = Cost.RESTART

_UNITS = Row(_NAMES, _LATER, UNIT_NAME)
_UNIT: dict[str, Row] = {
    "Description": Row(_TEXT, _LATER),
    "Wants": _UNITS,
    "Requires": _UNITS,
    "BindsTo": _UNITS,
    "PartOf": _UNITS,
    "After": _UNITS,
    "Before": _UNITS,
    "Conflicts": _UNITS,
    "DefaultDependencies": Row(_VALUE, _LATER),
    "OnFailure": _UNITS,
    # Looked at when a process gets its file system.
    "JoinsNamespaceOf": Row(_NAMES, _RESTART, UNIT_NAME),
    "ConditionPathExists": Row(_PATH, _LATER, CONDITION_PATH),
    "RequiresMountsFor": Row(Emitter.PATHS, _LATER, ANY_PATH),
    "StartLimitIntervalSec": Row(_VALUE, _LATER),
    "StartLimitBurst": Row(_VALUE, _LATER),
    "StopWhenUnneeded": Row(_VALUE, _LATER),
    "CollectMode": Row(_VALUE, _LATER),
}
_SETTING = Row(_VALUE, _RESTART)  # given to the process when it is started
_SERVICE: dict[str, Row] = {
    "Type": _SETTING,
    # Looked at for each notification, as the timeouts, Restart= and Kill… are when their moment comes.
    "NotifyAccess": Row(_VALUE, _LATER),
    # The way up is part of what runs: a new gate, migration or registration is asked for now, not at the next crash.
    "ExecCondition": Row(Emitter.EXEC, _LATER),
    "ExecStartPre": Row(Emitter.EXEC, _RESTART),
    "ExecStart": Row(Emitter.EXEC, _RESTART),
    "ExecStartPost": Row(Emitter.EXEC, _RESTART),
    "ExecReload": Row(Emitter.EXEC, _LATER),
    "ExecStop": Row(Emitter.EXEC, Cost.STOP_FIRST),
    "ExecStopPost": Row(Emitter.EXEC, Cost.STOP_FIRST),
    "Restart": Row(_VALUE, _LATER),
    "RestartSec": Row(_VALUE, _LATER),
    "RestartPreventExitStatus": Row(_NAMES, _LATER, TOKEN),
    # A script that has ended must run again to remain.
    "RemainAfterExit": _SETTING,
    "SuccessExitStatus": Row(_NAMES, _LATER, TOKEN),
    "TimeoutStartSec": Row(_VALUE, _LATER),
    # The timer is set when the service becomes active, and set anew for an active one after a daemon-reload (service_coldplug).
    "RuntimeMaxSec": Row(_VALUE, _LATER),
    "TimeoutStopSec": Row(_VALUE, _LATER),
    "KillMode": Row(_VALUE, _LATER),
    "KillSignal": Row(_VALUE, _LATER),
    # Descriptors are given to the process when it is started.
    "Sockets": Row(_NAMES, _RESTART, UNIT_NAME),
    # Processes stay in the cgroup that they were started in.
    "Slice": Row(_TEXT, _RESTART, UNIT_NAME),
    "User": Row(_TEXT, _RESTART, USER),
    "Group": Row(_TEXT, _RESTART, USER),
    "DynamicUser": _SETTING,
    "WorkingDirectory": Row(_PATH, _RESTART, ANY_PATH),
    "Environment": Row(Emitter.WORDS, _RESTART, ASSIGNMENT),
    "EnvironmentFile": Row(_PATH, _RESTART, ANY_PATH),
    "LoadCredential": Row(_PATH, _RESTART, CREDENTIAL),
    "LoadCredentialEncrypted": Row(_PATH, _RESTART, CREDENTIAL),
    "RuntimeDirectory": Row(_NAMES, _RESTART, BELOW),
    # Looked at when the service stops.
    "RuntimeDirectoryPreserve": Row(_VALUE, _LATER),
    "StateDirectory": Row(_NAMES, _RESTART, BELOW),
    "CacheDirectory": Row(_NAMES, _RESTART, BELOW),
    # `source:destination:options`: a path with a colon would be read as more than one.
    "BindPaths": Row(Emitter.PATHS, _RESTART, _shape(r"/[^:]*", "an absolute path without ':'")),
    "ReadOnlyPaths": Row(Emitter.PATHS, _RESTART, ACCESS_PATH),
    "InaccessiblePaths": Row(Emitter.PATHS, _RESTART, ACCESS_PATH),
    "ReadWritePaths": Row(Emitter.PATHS, _RESTART, ACCESS_PATH),
    "ProtectSystem": _SETTING,
    "ProtectHome": _SETTING,
    "ProtectProc": _SETTING,
    "ProtectClock": _SETTING,
    "ProtectHostname": _SETTING,
    "ProtectKernelLogs": _SETTING,
    "ProtectKernelModules": _SETTING,
    "ProtectKernelTunables": _SETTING,
    "ProtectControlGroups": _SETTING,
    "PrivateTmp": _SETTING,
    "PrivateDevices": _SETTING,
    "NoNewPrivileges": _SETTING,
    "CapabilityBoundingSet": Row(_NAMES, _RESTART, TOKEN),
    "LockPersonality": _SETTING,
    "RestrictAddressFamilies": Row(_NAMES, _RESTART, TOKEN),
    "RestrictNamespaces": _SETTING,
    "RestrictRealtime": _SETTING,
    "RestrictSUIDSGID": _SETTING,
    "SystemCallArchitectures": Row(_NAMES, _RESTART, TOKEN),
    "SystemCallFilter": Row(_NAMES, _RESTART, TOKEN),
    "SystemCallErrorNumber": _SETTING,
    # Sent to journald when the process gets its stdout.
    "SyslogIdentifier": Row(_TEXT, _RESTART),
    # Of the journal's entries from now on.
    "LogLevelMax": Row(_VALUE, _LATER),
    # PID 1 writes changed limits to the running cgroup at daemon-reload; set-property is never used, its drop-in would outrank the file.
    "MemoryMax": Row(_VALUE, _LATER),
    "MemoryHigh": Row(_VALUE, _LATER),
    "CPUQuota": Row(_VALUE, _LATER),
    "CPUWeight": Row(_VALUE, _LATER),
    "IOWeight": Row(_VALUE, _LATER),
    "TasksMax": Row(_VALUE, _LATER),
    # Read when the kernel killed, and as the cgroup's memory.oom.group, which is a limit as those above.
    "OOMPolicy": Row(_VALUE, _LATER),
}
_TIMER: dict[str, Row] = {
    # A daemon-reload alone would run at once what another calendar has missed, and the restart after it again (tried on 252 and 257).
    "OnCalendar": Row(_VALUE, Cost.STOP_FIRST),
    "Persistent": Row(_VALUE, Cost.STOP_FIRST),
    # PID 1 counts anew when it has read the file (timer_coldplug).
    "OnActiveSec": Row(_VALUE, _LATER),
    "OnUnitInactiveSec": Row(_VALUE, _LATER),
    "RandomizedDelaySec": Row(_VALUE, _LATER),
    "AccuracySec": Row(_VALUE, _LATER),
}
_SOCKET: dict[str, Row] = {
    # PID 1 opens a socket when the unit starts, and keeps it over a daemon-reload: another one takes a stop of both, the service first.
    "ListenStream": Row(_TEXT, _RESTART),
    "Backlog": Row(_VALUE, _RESTART),
    # Looked at for each connection that finds no service running (tried: a daemon-reload retargets it, and the port stays open).
    "Service": Row(_NAMES, _LATER, UNIT_NAME),
    "RemoveOnStop": Row(_VALUE, _LATER),
}
_INSTALL: dict[str, Row] = {"WantedBy": _UNITS}
# Stamps are for people and for nanod; PID 1 ignores the section.
_X_NANOD: dict[str, Row] = {name: Row(_TEXT, _LATER) for name in ("App", "Service", "Role")} | {"Content": Row(_TEXT, _RESTART)}

TABLE: dict[str, dict[str, Row]] = {
    "Unit": _UNIT,
    "Service": _SERVICE,
    "Socket": _SOCKET,
    "Timer": _TIMER,
    "Slice": {},
    "Install": _INSTALL,
    "X-Nanod": _X_NANOD,
}


NEWER: dict[str, dict[str, int]] = {
    "Unit": {"SurviveFinalKillSignal": 255, "WantsMountsFor": 256},
    "Service": {
        **dict.fromkeys(("LogFilterPatterns", "MemoryZSwapMax", "OpenFile", "ReloadSignal"), 253),
        **dict.fromkeys(("DelegateSubgroup", "ExtensionImagePolicy", "FileDescriptorStorePreserve", "ImportCredential", "MemoryKSM"), 254),
        **dict.fromkeys(("MemoryPressureThresholdSec", "MemoryPressureWatch", "MountImagePolicy", "RestartMaxDelaySec", "RestartMode"), 254),
        **dict.fromkeys(("RestartSteps", "RootEphemeral", "RootImagePolicy"), 254),
        **dict.fromkeys(("CoredumpReceive", "NFTSet", "SetLoginEnvironment"), 255),
        **dict.fromkeys(("MemoryZSwapWriteback",), 256),
        **dict.fromkeys(("BindLogSockets", "ManagedOOMMemoryPressureDurationSec", "PrivatePIDs"), 257),
    },
    "Socket": {"PassFileDescriptorsToExec": 256, "PollLimitBurst": 255, "PollLimitIntervalSec": 255},
    "Timer": {"DeferReactivation": 257},
}
"""What a `systemd:` block may ask for and systemd 252 does not know, from systemd's NEWS; tried: 252 does not know these, 257 does."""


def row_of(section: str, key: str) -> Row:
    """Raises KeyError for a directive that nanod does not write."""
    return TABLE[section][key]


def cost_of(section: str, key: str) -> Cost:
    """What a change costs; an unknown directive (of a spec's `systemd:` block) costs a restart."""
    row = TABLE.get(section, {}).get(key)
    return row.cost if row else Cost.RESTART


def since(section: str, key: str) -> int:
    """The first systemd that has the directive, as far as that is later than the oldest; an older one would warn, and do without."""
    return NEWER.get(section, {}).get(key, OLDEST)
