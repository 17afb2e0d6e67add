"""The tables of keys in docs/language.md, with the types that the schema has of them."""

from __future__ import annotations

import re
from typing import Any

from nanod.spec.schema import SCHEMA

Keys = dict[str, dict[str, Any]]
ROW = re.compile(r"^\| `([^`]+)` \|(.*?)\|(.*)\|$", re.MULTILINE)


def keys_of(shape: dict[str, Any]) -> Keys:
    """The keys of the mapping that a shape is, or that its members, items or alternatives are."""
    if "$ref" in shape:
        shape = SCHEMA["$defs"][shape["$ref"].rpartition("/")[2]]
    if "properties" in shape:
        return dict(shape["properties"])
    inner = [shape.get("additionalProperties"), shape.get("items"), *shape.get("anyOf", [])]
    return next((keys for item in inner if isinstance(item, dict) and (keys := keys_of(item))), {})


SERVICE = keys_of(SCHEMA["$defs"]["service"])
TASK = keys_of(SCHEMA["$defs"]["task"])
SHARED = {"lifecycle", "wait_for", "timeout", "on_failure", "per"}
"""Keys of a task that a service does not have, or not in this meaning."""
HOOK = keys_of(SCHEMA["$defs"]["hook"])
_PARTS = (
    "requires",
    "health",
    "hooks",
    "provisioning",
    "credentials",
    "restart",
    "stop",
    "resources",
    "systemd",
    "schedule",
    "sockets",
    "rolling",
    "build",
)
SECTIONS: dict[str, Keys] = {
    "Top level": keys_of(SCHEMA),
    "Service": SERVICE,
    **{f"`{name}`": keys_of(SERVICE[name]) for name in _PARTS},
    "`liveness`": keys_of(keys_of(SERVICE["health"])["liveness"]),
    "A hook": HOOK,
    "`tasks`": {name: shape for name, shape in TASK.items() if name in SHARED},
    "`lifecycle`": keys_of(TASK["lifecycle"]),
    "`deploy`": keys_of(SCHEMA["properties"]["deploy"]),
}
"""Heading of the page to the keys that it describes."""


def with_types(page: str) -> str:
    """Each table `key, default, meaning` as one of two columns, whose first also has the type, in the schema's words."""
    return "".join(_typed(part) for part in re.split(r"^(?=#+ )", page, flags=re.MULTILINE))


def _typed(part: str) -> str:
    title = part.partition("\n")[0].lstrip("# ")
    keys = SECTIONS.get(title)
    if keys is None:
        return part
    part = part.replace("| key | default | meaning |\n|---|---|---|\n", "| key | meaning |\n|---|---|\n")
    return ROW.sub(lambda row: _row(row[1], keys[row[1]], row[2].strip(), row[3].strip()), part)


def _row(key: str, shape: dict[str, Any], default: str, meaning: str) -> str:
    """A default that is one word of the language stands beside the type, a longer one behind the meaning."""
    is_word = re.fullmatch(r"`[^`]*`|[0-9]+", default) is not None
    term = f"`{key}`: {kind(shape)}{f', default {default}' if is_word else ''}"
    sentences = [meaning, f"default: {default}" if default and not is_word else ""]
    return f"| {term} | {' '.join(_sentence(text) for text in sentences if text)} |"


def kind(shape: dict[str, Any]) -> str:
    """What a value must be, without what the page says once of all of them: examples, and what a name or a path is made of."""
    found: list[str] = re.split(r" such as '| of at most|, without", shape["title"])
    return found[0]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
