"""Whose systemd it is, as a value: PID 1, or the manager of one user. It says where everything stands, and the rest of nanod does not ask."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SYSTEM_LOAD_PATH = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/run/systemd/generator.late",
)

NO_MANAGER = "a user's manager runs while the user is logged in, or always after 'loginctl enable-linger'"
_COMMAND = (
    r"\b(?:systemctl(?= (?:cat|daemon-reload|list-jobs|list-unit-files|status|unmask)\b)|journalctl(?= -[tu] )"
    r"|nanod(?= (?:apply|check|compile|doctor|explain|history|logs|plan|provision|recover|remove|restart|rollback|run|start|status|stop)\b))"
)
"""How hints begin a command that asks a manager of units; those for the machine's own services are left as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeScope:
    """The defaults are the system's.

    `owner` is whom everything runs as for whom a spec names nobody. `load_path`: where systemd 252 to 257 looks for units, the first that has a name
    wins (systemd.unit(5), UNIT FILE LOAD PATH). `run` is %t, `cache` is %C. `boot`: the target that starts apps. `timers`: where systemd keeps, as
    the time of a file, when a persistent timer last ran (systemd.timer(5), Persistent=). `words`: what tells systemd's tools whose manager is meant.
    """

    owner: str = "root"
    uid: int = 0
    unit_dir: str = "/etc/systemd/system"
    runtime_units: str = "/run/systemd/system"
    load_path: tuple[str, ...] = _SYSTEM_LOAD_PATH
    state: str = "/var/lib/nanod"
    run: str = "/run"
    cache: str = "/var/cache"
    timers: str = "/var/lib/systemd/timers"
    boot: str = "multi-user.target"
    words: tuple[str, ...] = ()

    @property
    def is_user(self) -> bool:
        return bool(self.words)

    def worded(self, hint: str) -> str:
        """A hint whose commands say whose manager they ask."""
        return re.sub(_COMMAND, lambda found: " ".join((found[0], *self.words)), hint) if self.words else hint

    @property
    def lib(self) -> str:
        """Programs that units run. The number is the contract between units and programs: a new one leaves running units with the old."""
        return f"{self.state}/lib/1"

    @property
    def apps(self) -> str:
        """The records of apps. The names in it are readable to everyone, unlike what is below them: completion works without root."""
        return f"{self.state}/apps"

    @property
    def once(self) -> str:
        """Sentinels of services without a volume, and stamps of deploy-scoped hooks (the owner's, 0700)."""
        return f"{self.state}/once"

    @property
    def releases(self) -> str:
        """What releases are made in: `<app>/<service>/<release>`, and beside the releases `current`, a link to the one in force."""
        return f"{self.state}/releases"

    @property
    def own_run(self) -> str:
        """What of nanod a reboot forgets."""
        return f"{self.run}/nanod"

    @property
    def stopping(self) -> str:
        """When a unit began to stop, for the deadline that its prestop hooks share, and why."""
        return f"{self.own_run}/stopping"

    @property
    def ended(self) -> str:
        """How a group ended, for its poststop tasks."""
        return f"{self.own_run}/ended"

    @property
    def lent(self) -> str:
        """Secrets of poststop tasks while these run."""
        return f"{self.own_run}/lent"

    @property
    def private_socket(self) -> str:
        """Where the manager itself listens, with or without a D-Bus daemon."""
        return f"{self.run}/systemd/private"

    def armed(self, unit: str) -> str:
        """The file that lets a deploy hook run with the next start of its service, and no more after that."""
        return f"{self.own_run}/deploy/{unit}"

    def irreversible_mark(self, app: str, unit: str = "") -> str:
        """Says that hooks of the transaction under way have run that cannot be taken back; of one `unit`, that its own have."""
        return f"{self.state}/irreversible/{app}/{unit}".rstrip("/")

    def timer_stamp(self, timer: str) -> str:
        return f"{self.timers}/stamp-{timer}"


SYSTEM = RuntimeScope()


def normal(path: str) -> str:
    """As systemd shows paths, which are compared with these; two slashes at the start are one."""
    return posixpath.normpath(f"/{path.lstrip('/')}")


def user_scope(owner: str, uid: int, home: str, environment: Mapping[str, str]) -> RuntimeScope:
    """The scope of a user's own manager: the directories of the XDG specification, which ignores a path that is not absolute."""

    def place(name: str, default: str) -> str:
        said = environment.get(name, "")
        return normal(said) if said.startswith("/") else default

    home = normal(home)
    config, data = place("XDG_CONFIG_HOME", f"{home}/.config"), place("XDG_DATA_HOME", f"{home}/.local/share")
    state, run = f"{place('XDG_STATE_HOME', f'{home}/.local/state')}/nanod", place("XDG_RUNTIME_DIR", f"/run/user/{uid}")
    return RuntimeScope(
        owner=owner,
        uid=uid,
        unit_dir=f"{config}/systemd/user",
        runtime_units=f"{run}/systemd/user",
        load_path=(
            f"{config}/systemd/user.control",
            f"{run}/systemd/user.control",
            f"{run}/systemd/transient",
            f"{run}/systemd/generator.early",
            f"{config}/systemd/user",
            "/etc/xdg/systemd/user",
            "/etc/systemd/user",
            f"{run}/systemd/user",
            "/run/systemd/user",
            f"{run}/systemd/generator",
            f"{data}/systemd/user",
            "/usr/local/share/systemd/user",
            "/usr/share/systemd/user",
            "/usr/local/lib/systemd/user",
            "/usr/lib/systemd/user",
            f"{run}/systemd/generator.late",
        ),
        state=state,
        run=run,
        cache=place("XDG_CACHE_HOME", f"{home}/.cache"),
        timers=f"{data}/systemd/timers",
        boot="default.target",
        words=("--user",),
    )
