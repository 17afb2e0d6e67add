"""Every name an app takes on a host, from one place."""

from __future__ import annotations

from dataclasses import dataclass

LIB = "/var/lib/nanod/lib/1"
"""Where the programs that units run are kept. The number is the contract between units and programs: a new one leaves running units with the old."""
ONCE = "/var/lib/nanod/once"
"""Sentinels of services without a volume, and stamps of deploy-scoped hooks (root, 0700)."""
STOPPING = "/run/nanod/stopping"
"""When a unit began to stop, for the deadline that its prestop hooks share."""
SENTINEL = ".nanod-installed-"
ROOT_SLICE = "nanod.slice"
HOOK_MESSAGE_ID = "5d7e1c1f8d0a4b6c9a4b54c6a2f0d9e3"
"""MESSAGE_ID= of the journal entries that hook lines leave of their results (`lib/record`)."""

SPECIAL_STEMS = frozenset(
    """
    basic bluetooth boot-complete cryptsetup cryptsetup-pre ctrl-alt-del default emergency exit factory-reset final first-
    boot-complete getty getty-pre graphical halt hibernate hybrid-sleep initrd initrd-fs initrd-root-device initrd-root-fs
    initrd-switch-root initrd-usr-fs integritysetup kbrequest kexec local-fs local-fs-pre machine machines multi-user
    network network-online network-pre nss-lookup nss-user-lookup paths poweroff printer reboot remote-cryptsetup remote-fs
    remote-fs-pre rescue rpcbind runlevel0 runlevel1 runlevel2 runlevel3 runlevel4 runlevel5 runlevel6 shutdown sigpwr sleep
    slices smartcard sockets sound soft-reboot storage-target-mode suspend suspend-then-hibernate swap sysinit system
    system-update system-update-pre system-update-cleanup time-set time-sync timers tpm2 umount usb-gadget user veritysetup
    veritysetup-pre dbus init
    """.split()
)
"""Stems of systemd's own units (systemd.special(7), 252 to 257): an app of this name would shadow one."""


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

    def provision(self, service: str) -> str:
        return f"{self.app}-{service}-provision.service"

    def prestart(self, service: str) -> str:
        return f"{self.app}-{service}-prestart.service"

    def ready(self, service: str) -> str:
        return f"{self.app}-{service}-ready.service"

    def failure(self, service: str) -> str:
        return f"{self.app}-{service}-failure.service"

    def of(self, service: str) -> tuple[str, ...]:
        """All names that a service may take, now or with another key, for the collision check."""
        return (self.service(service), self.provision(service), self.prestart(service), self.ready(service), self.failure(service))


def check_names(names: AppNames, services: tuple[str, ...]) -> list[tuple[str, str]]:
    """(service or "", what is wrong) for names that one host cannot have at once: two services claiming one unit, or systemd's own.

    A service claims every name that it may ever take, so that adding a hook never renames or shadows anything.
    """
    wrong = []
    if names.app in SPECIAL_STEMS:
        wrong.append(("", f"'{names.app}' is a name of systemd's own units; an app of this name would shadow {names.app}.target"))
    owners: dict[str, str] = {}
    for service in services:
        for unit in names.of(service):
            if (owner := owners.setdefault(unit, service)) != service:
                wrong.append((service, f"'{service}' and '{owner}' would both own {unit}; rename one of them"))
            elif unit.rpartition(".")[0] in SPECIAL_STEMS:
                wrong.append((service, f"{unit} is one of systemd's own units; rename the service or the project"))
    return wrong
