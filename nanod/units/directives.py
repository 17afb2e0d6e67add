"""One row per directive that nanod writes: how it is emitted, since which systemd, and what a change of it costs the running unit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

OLDEST = 252
"""The oldest systemd that nanod compiles for (Debian 12)."""


class Emitter(Enum):
    RAW = "raw"
    """Taken as it stands, without unquoting."""
    WORDS = "words"
    """Split at blanks and unquoted."""
    EXEC = "exec"
    """A command line."""


class Cost(IntEnum):
    """What the running unit needs for a changed directive to take effect, cheapest first."""

    NOTHING = 0
    DAEMON_RELOAD = 1
    RELOAD = 2
    RESTART = 3
    STOP_FIRST = 4
    """Stopped before the new file is installed, so that its own old hooks run, and started after."""


@dataclass(frozen=True, slots=True)
class Row:
    emitter: Emitter
    cost: Cost
    since: int = OLDEST


_RAW, _WORDS, _EXEC = Emitter.RAW, Emitter.WORDS, Emitter.EXEC
_LATER = Cost.DAEMON_RELOAD  # read by PID 1 when it is next needed; nothing running depends on it
_RESTART = Cost.RESTART

_UNIT: dict[str, Row] = {
    "Description": Row(_RAW, _LATER),
    "Documentation": Row(_WORDS, _LATER),
    "Wants": Row(_WORDS, _LATER),
    "Requires": Row(_WORDS, _LATER),
    "BindsTo": Row(_WORDS, _LATER),
    "PartOf": Row(_WORDS, _LATER),
    "After": Row(_WORDS, _LATER),
    "Before": Row(_WORDS, _LATER),
    "OnFailure": Row(_WORDS, _LATER),
    "ConditionPathExists": Row(_RAW, _LATER),
    "RequiresMountsFor": Row(_WORDS, _LATER),
    "StartLimitIntervalSec": Row(_RAW, _LATER),
    "StartLimitBurst": Row(_RAW, _LATER),
    "StopWhenUnneeded": Row(_RAW, _LATER),
    "CollectMode": Row(_RAW, _LATER),
}
_SERVICE: dict[str, Row] = {
    "Type": Row(_RAW, _RESTART),
    "NotifyAccess": Row(_RAW, _RESTART),
    "ExecStartPre": Row(_EXEC, _RESTART),
    "ExecStart": Row(_EXEC, _RESTART),
    "ExecStartPost": Row(_EXEC, _RESTART),
    "ExecReload": Row(_EXEC, _LATER),
    "ExecStop": Row(_EXEC, Cost.STOP_FIRST),
    "ExecStopPost": Row(_EXEC, Cost.STOP_FIRST),
    "Restart": Row(_RAW, _LATER),
    "RestartSec": Row(_RAW, _LATER),
    "RestartMode": Row(_RAW, _LATER, 254),
    "RemainAfterExit": Row(_RAW, _RESTART),
    "SuccessExitStatus": Row(_WORDS, _LATER),
    "TimeoutStartSec": Row(_RAW, _LATER),
    "RuntimeMaxSec": Row(_RAW, _LATER),
    "TimeoutStopSec": Row(_RAW, _LATER),
    "KillMode": Row(_RAW, _LATER),
    "KillSignal": Row(_RAW, _LATER),
    "Slice": Row(_RAW, _RESTART),
    "User": Row(_RAW, _RESTART),
    "Group": Row(_RAW, _RESTART),
    "DynamicUser": Row(_RAW, _RESTART),
    "WorkingDirectory": Row(_RAW, _RESTART),
    "Environment": Row(_WORDS, _RESTART),
    "EnvironmentFile": Row(_RAW, _RESTART),
    "LoadCredential": Row(_RAW, _RESTART),
    "RuntimeDirectory": Row(_WORDS, _RESTART),
    "RuntimeDirectoryPreserve": Row(_RAW, _LATER),
    "StateDirectory": Row(_WORDS, _RESTART),
    "CacheDirectory": Row(_WORDS, _RESTART),
    "ReadWritePaths": Row(_WORDS, _RESTART),
    "ProtectSystem": Row(_RAW, _RESTART),
    "ProtectHome": Row(_RAW, _RESTART),
    "ProtectProc": Row(_RAW, _RESTART),
    "ProtectClock": Row(_RAW, _RESTART),
    "ProtectHostname": Row(_RAW, _RESTART),
    "ProtectKernelLogs": Row(_RAW, _RESTART),
    "ProtectKernelModules": Row(_RAW, _RESTART),
    "ProtectKernelTunables": Row(_RAW, _RESTART),
    "ProtectControlGroups": Row(_RAW, _RESTART),
    "PrivateTmp": Row(_RAW, _RESTART),
    "PrivateDevices": Row(_RAW, _RESTART),
    "NoNewPrivileges": Row(_RAW, _RESTART),
    "CapabilityBoundingSet": Row(_WORDS, _RESTART),
    "LockPersonality": Row(_RAW, _RESTART),
    "RestrictAddressFamilies": Row(_WORDS, _RESTART),
    "RestrictNamespaces": Row(_RAW, _RESTART),
    "RestrictRealtime": Row(_RAW, _RESTART),
    "RestrictSUIDSGID": Row(_RAW, _RESTART),
    "SystemCallArchitectures": Row(_WORDS, _RESTART),
    "SystemCallFilter": Row(_WORDS, _RESTART),
    "SystemCallErrorNumber": Row(_RAW, _RESTART),
    "SyslogIdentifier": Row(_RAW, _RESTART),
    # PID 1 writes changed limits to the running cgroup at daemon-reload; set-property is never used, its drop-in would outrank the file.
    "MemoryMax": Row(_RAW, _LATER),
    "MemoryHigh": Row(_RAW, _LATER),
    "CPUQuota": Row(_RAW, _LATER),
    "CPUWeight": Row(_RAW, _LATER),
    "IOWeight": Row(_RAW, _LATER),
    "TasksMax": Row(_RAW, _LATER),
    "OOMPolicy": Row(_RAW, _LATER),
}
_INSTALL: dict[str, Row] = {"WantedBy": Row(_WORDS, _LATER)}
# Stamps are for people and for nanod; PID 1 ignores them.
_X_NANOD: dict[str, Row] = {name: Row(_RAW, Cost.NOTHING) for name in ("App", "Service", "Role")}

TABLE: dict[str, dict[str, Row]] = {"Unit": _UNIT, "Service": _SERVICE, "Slice": {}, "Install": _INSTALL, "X-Nanod": _X_NANOD}


def row_of(section: str, key: str) -> Row:
    """Raises KeyError for a directive that nanod does not write."""
    return TABLE[section][key]


def cost_of(section: str, key: str) -> Cost:
    """What a change costs; an unknown directive (of a spec's `systemd:` block) costs a restart."""
    row = TABLE.get(section, {}).get(key)
    return row.cost if row else Cost.RESTART
