"""Parts of a configuration that a reload cannot change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanod.lifecycle.errors import RestartNeededError

if TYPE_CHECKING:
    from collections.abc import Mapping


def refuse_changes(old: object, new: object, *names: str) -> None:
    """Raise RestartNeededError when one of the named parts differs; both are mappings, or objects with attributes of these names.

    For reload hooks, after the new configuration has been read and before anything of it is in force. Raises KeyError or AttributeError for a name
    that one of them lacks. Values are not shown: there may be passwords among them.
    """
    changed = [f"'{name}'" for name in names if _part(old, name) != _part(new, name)]
    if changed:
        raise RestartNeededError(f"cannot change {', '.join(changed)}: only a restart can", hint="restart the service, or put the old value back")


def _part(configuration: Mapping[str, object] | object, name: str) -> object:
    if hasattr(configuration, "keys"):
        return configuration[name]  # type: ignore[index]  # what has keys has items
    return getattr(configuration, name)
