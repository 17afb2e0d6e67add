"""Pristine Debians, with neither nanod nor Python, whose apt can install all that is needed there without a network: it has the lists, and the packages in its cache."""

from __future__ import annotations

from nanod.rehearse.tree import Recipe

NEEDED = ("libnss-systemd", "python3-click", "python3-jsonschema", "python3-pystemd", "python3-sdnotify", "python3-yaml")
"""By the package nanod, beside what is there. Where one is missing, apt says so when it is to be installed."""
FOR_PIP = ("gcc", "libc6-dev", "libsystemd-dev", "pipx", "pkg-config", "python3-dev", "python3-venv")
"""As the README says."""


def recipe(suite: str) -> Recipe:
    # Without what is only recommended: what nanod depends on must be enough.
    fetch = 'chroot "$1" apt-get install --yes --no-install-recommends --download-only'
    return Recipe(
        name=f"{suite}-pristine",
        suite=suite,
        packages=("systemd", "systemd-sysv", "dbus"),
        options=(
            "--skip=cleanup/apt",
            f"--customize-hook={fetch} {' '.join(NEEDED)}",
            f"--customize-hook={fetch} {' '.join(FOR_PIP)}",
        ),
    )
