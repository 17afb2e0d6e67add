"""Every name an app takes on a host, from one place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT_SLICE = "nanod.slice"
"""What the slices of all apps are in."""
SENTINEL = ".nanod-installed-"
SETTINGS = ".settings.json"
"""Ends the name of a file of settings, beside the units; systemd reads no unit of this suffix."""
BUILDING = "nanod-build-"
"""Begins the name of a unit in which a release is built."""
BY_HAND = "nanod-run-"
"""Begins the name of a unit in which `nanod run` runs one hook."""
HOOK_MESSAGE_ID = "5d7e1c1f8d0a4b6c9a4b54c6a2f0d9e3"
"""MESSAGE_ID= of the journal entries that hook lines leave of their results (`lib/record`)."""

SPECIAL_STEMS = frozenset(
    """
    basic bluetooth boot-complete console-getty container-getty cryptdisks-early cryptsetup cryptsetup-pre ctrl-alt-del dbus
    debug-shell default display-manager emergency exit factory-reset final first-boot-complete getty getty-pre getty-static
    graphical graphical-session graphical-session-pre halt hibernate hybrid-sleep init initrd initrd-cleanup initrd-fs
    initrd-parse-etc initrd-root-device initrd-root-fs initrd-switch-root initrd-udevadm-cleanup-db initrd-usr-fs
    integritysetup integritysetup-pre kbrequest kexec kmod-static-nodes local-fs local-fs-pre machine machines multi-user
    network network-online network-pre nss-lookup nss-user-lookup paths poweroff printer quotaon-root rc-local reboot
    remote-cryptsetup remote-fs remote-fs-pre remote-veritysetup rescue rpcbind runlevel0 runlevel1 runlevel2 runlevel3
    runlevel4 runlevel5 runlevel6 shutdown sigpwr single-user sleep slices smartcard sockets soft-reboot sound ssh-access
    storage-target-mode suspend suspend-then-hibernate swap sysinit syslog system system-update system-update-cleanup
    system-update-pre time-set time-sync timers tpm2 umount usb-gadget user veritysetup veritysetup-pre x11-common
    xdg-desktop-autostart
    """.split()
)
"""Stems of systemd's own units (systemd.special(7), and what the packages of 252 and 257 ship): an app or service of this name would shadow one."""
RESERVED_PREFIXES = frozenset({"nanod", "systemd"})
"""Units named nanod-… and systemd-… are not for apps: `nanod-recover.service`, `systemd-journald.service`."""
RESERVED_DIRECTORIES = frozenset({"credentials", "lock", "log", "udev"})
"""Directories of others below /run, where an app has one of its name."""
GROUP = "group"
"""The part of a name that the companion of a group has: `shop-web-group.service`."""
RESERVED_PARTS = frozenset(
    {*("provision", "prestart", "ready", "failure", "rearm", "alive", "settings", "build", "deploy", "post-deploy", "proxy", "blue", "green"), GROUP}
)
"""What a task or process cannot be called: units beside the service's main one have these names."""
_NAME_LIMIT = 255


COLOURS = ("blue", "green")
"""The two units that a service with `strategy: blue-green` changes between."""


def other_colour(colour: str) -> str:
    """The one that is not this; "" for what is no colour."""
    return {"blue": "green", "green": "blue"}.get(colour, "")


@dataclass(frozen=True, slots=True)
class MemberNames:
    """Unit names of one member of a service: `stem` is `shop-web`, or `shop-web-api` for a process or task; `suffix` is `@2` for the second instance.

    What is done once for all instances (provisioning, deploy-scoped hooks) has the name of the service alone, `whole`.
    """

    stem: str
    whole: str
    suffix: str = ""

    @property
    def main(self) -> str:
        return f"{self.stem}{self.suffix}.service"

    @property
    def provision(self) -> str:
        return f"{self.whole}-provision.service"

    @property
    def prestart(self) -> str:
        return f"{self.whole}-prestart.service"

    @property
    def build(self) -> str:
        """The name under which the build of a release is recorded; what runs it has one of its own each time."""
        return f"{self.whole}-build.service"

    @property
    def deploy(self) -> str:
        return f"{self.whole}-deploy.service"

    @property
    def post_deploy(self) -> str:
        return f"{self.whole}-post-deploy.service"

    @property
    def ready(self) -> str:
        return f"{self.stem}-ready{self.suffix}.service"

    @property
    def failure(self) -> str:
        return f"{self.stem}-failure{self.suffix}.service"

    @property
    def timer(self) -> str:
        return f"{self.stem}{self.suffix}.timer"

    @property
    def rearm(self) -> str:
        """Sets the time of a timer's last run to now, before the timer starts."""
        return f"{self.stem}-rearm{self.suffix}.service"

    @property
    def alive(self) -> str:
        """The liveness probe."""
        return f"{self.stem}-alive{self.suffix}.service"

    @property
    def alive_timer(self) -> str:
        return f"{self.stem}-alive{self.suffix}.timer"

    @property
    def socket(self) -> str:
        """What owns the addresses of the service."""
        return f"{self.whole}.socket"

    @property
    def proxy(self) -> str:
        """Takes connections from the socket for a service that takes no descriptors."""
        return f"{self.stem}-proxy{self.suffix}.service"

    @property
    def settings(self) -> str:
        """The file that `settings` are rendered to."""
        return f"{self.whole}{SETTINGS}"

    @property
    def all(self) -> tuple[str, ...]:
        """Every name that a member may take, now or with another key."""
        return (
            *(self.main, self.provision, self.prestart, self.ready, self.failure, self.timer, self.rearm, self.alive, self.alive_timer),
            *(f"{self.stem}-{GROUP}{self.suffix}.service", self.build, self.deploy, self.post_deploy, self.socket, self.proxy),
        )


@dataclass(frozen=True, slots=True)
class AppNames:
    """Unit names of an app; an app `shop`, a service `web`."""

    app: str

    @property
    def target(self) -> str:
        return f"{self.app}.target"

    @property
    def slice(self) -> str:
        """One level below nanod.slice: a dash in a slice name means nesting, so the app's own are escaped (systemd.slice(5))."""
        return f"nanod-{self.app.replace('-', chr(92) + 'x2d')}.slice"

    def service(self, service: str) -> str:
        return f"{self.app}-{service}.service"

    def member(self, service: str, part: str = "", suffix: str = "") -> MemberNames:
        """`part`: a task, a process or GROUP; `suffix`: `@2` for the second instance."""
        whole = f"{self.app}-{service}"
        return MemberNames(stem=f"{whole}-{part}" if part else whole, whole=whole, suffix=suffix)

    def row(self, row: str) -> MemberNames:
        """Of a member by its name in status and history: `web`, `web@2`, `web/api`, `web@2/api`."""
        instance, _, part = row.partition("/")
        service, at, number = instance.partition("@")
        return self.member(service, part, at + number)

    def of(self, service: str, parts: Iterable[str] = ()) -> tuple[str, ...]:
        """All names that a service with these tasks and processes may take, now or with another key, for the collision check."""
        found = {name: None for part in ("", *parts) for name in self.member(service, part).all}
        return tuple(found)


def collisions(names: AppNames, services: Mapping[str, Iterable[str]]) -> list[tuple[str, str, str]]:
    """(unit, service, other service) for each unit that two services claim; `services`: each with its tasks and processes.

    A service claims every name that it may ever take, so that adding a hook never renames or shadows anything.
    """
    owners: dict[str, str] = {}
    return [
        (unit, owner, service)
        for service, parts in services.items()
        for unit in names.of(service, parts)
        if (owner := owners.setdefault(unit, service)) != service
    ]


def check_names(names: AppNames, services: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str, str]]:
    """(service or "", its task or process or "", what is wrong) for names that one host cannot have at once: two claiming one unit, or systemd's own.

    `services`: each with its tasks and processes.
    """
    app = names.app
    wrong = []
    if app in SPECIAL_STEMS:
        wrong.append(("", "", f"'{app}' is a name of systemd's own units; an app of this name would shadow {app}.target"))
    elif (prefix := app.partition("-")[0]) in RESERVED_PREFIXES:
        wrong.append(("", "", f"'{app}' cannot be the name of an app: units named {prefix}-… are {prefix}'s own"))
    elif app in RESERVED_DIRECTORIES:
        wrong.append(("", "", f"'{app}' cannot be the name of an app: /run/{app} is not its own"))
    pairs: dict[tuple[str, str], list[str]] = {}
    for unit, owner, service in collisions(names, services):
        pairs.setdefault((owner, service), []).append(unit)
    for (owner, service), units in pairs.items():
        # The shortest service is the one that the others stand beside.
        unit = min(units, key=lambda name: (not name.endswith(".service"), len(name)))
        wrong.append((service, "", f"'{owner}' and '{service}' would both own {unit}; rename one of them"))
    for service, parts in services.items():
        wrong += [(service, part, message) for part, message in _check_parts(names, service, parts)]
        for unit in names.of(service, parts):
            if unit.rpartition(".")[0] in SPECIAL_STEMS:
                wrong.append((service, "", f"{unit} is one of systemd's own units; rename the service or the project"))
            elif len(unit) > _NAME_LIMIT:
                wrong.append((service, "", f"{unit} is longer than the {_NAME_LIMIT} characters of a unit name; rename the service or the project"))
    return wrong


def _check_parts(names: AppNames, service: str, parts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Tasks and processes of one service: `api-ready` beside `api`, which has a unit of that name when it gets a ready hook."""
    owners: dict[str, str] = {}
    shared = set(names.member(service).all)
    for part in parts:
        if part in RESERVED_PARTS:
            yield part, f"'{part}' cannot be the name of a task or process: nanod has a unit of that name"
            continue
        taken = [unit for unit in names.member(service, part).all if unit not in shared and owners.setdefault(unit, part) != part]
        if taken:
            yield part, f"'{owners[taken[0]]}' and '{part}' would both own {taken[0]}; rename one of them"


def building(unit: str, pid: int) -> str:
    """The unit in which nanod process `pid` builds a release, whose record is that of `unit`. No app may have such a name."""
    return f"{BUILDING}{unit.removesuffix('-build.service')}-{pid}.service"


def by_hand(unit: str, pid: int, number: int) -> str:
    """The unit in which nanod process `pid` runs, as its `number`th, a line of `unit` by hand. No app may have such a name."""
    return f"{BY_HAND}{unit.removesuffix('.service')}-{pid}-{number}.service"


def is_by_hand(name: str, unit: str) -> bool:
    """Whether `name` is one that runs, or ran, a line of `unit` by hand."""
    return re.fullmatch(rf"{re.escape(BY_HAND + unit.removesuffix('.service'))}-[0-9]+-[0-9]+\.service", name) is not None


def is_settings(name: str) -> bool:
    """Whether it is a file of settings, and no unit."""
    return name.endswith(SETTINGS)


def reader_of(settings: str) -> str:
    """The unit that every service with this file of settings has."""
    return f"{settings.removesuffix(SETTINGS)}.service"
