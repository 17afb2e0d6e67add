"""The small shapes of the schema. Each has a `title` that completes "'key' must be …": editors show it, and so do our own errors."""

from __future__ import annotations

from typing import Any

Shape = dict[str, Any]


def whole(pattern: str) -> str:
    """The pattern, for the whole text. JSON Schema searches, and Python's `$` matches before a last line feed too, which the look-ahead rules out."""
    return f"^(?:{pattern})$(?!\\n)"


def text(title: str, pattern: str | None = None, **more: object) -> Shape:
    return {"title": title, "type": "string", **({"pattern": whole(pattern)} if pattern else {}), **more}


def number(title: str, minimum: int, maximum: int | None = None) -> Shape:
    return {"title": title, "type": "integer", "minimum": minimum, **({"maximum": maximum} if maximum is not None else {})}


def choice(*words: str) -> Shape:
    return {"title": alternatives(words), "enum": list(words)}


def alternatives(words: tuple[str, ...] | list[str], last: str = "or") -> str:
    quoted = [f"'{word}'" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"


def sequence(title: str, items: Shape, **more: object) -> Shape:
    return {"title": title, "type": "array", "items": items, **more}


def any_of(title: str, *shapes: Shape) -> Shape:
    return {"title": title, "anyOf": list(shapes)}


def optional(shape: Shape) -> Shape:
    """The shape, or null, which unsets what another layer said."""
    if "enum" in shape:
        return {**shape, "enum": [*shape["enum"], None]}
    if "anyOf" in shape:
        return {**shape, "anyOf": [*shape["anyOf"], {"type": "null"}]}
    if "$ref" in shape:
        return {**{key: shape[key] for key in shape if key != "$ref"}, "anyOf": [{"$ref": shape["$ref"]}, {"type": "null"}]}
    kinds = shape["type"] if isinstance(shape["type"], list) else [shape["type"]]
    return {**shape, "type": [*kinds, "null"]}


def mapping(title: str, keys: dict[str, Shape], required: tuple[str, ...] = (), **more: object) -> Shape:
    """A mapping of known keys; every one that is not required may also be null."""
    properties = {key: shape if key in required else optional(shape) for key, shape in keys.items()}
    needed = {"required": list(required)} if required else {}
    return {"title": title, "type": "object", "properties": properties, "additionalProperties": False, **needed, **more}


def table(title: str, names: Shape, values: Shape) -> Shape:
    """A mapping whose keys the user names."""
    return {"title": title, "type": "object", "propertyNames": names, "additionalProperties": values}


def ref(name: str, title: str) -> Shape:
    return {"title": title, "$ref": f"#/$defs/{name}"}


def said(shape: Shape, description: str, default: object = None) -> Shape:
    return {**shape, "description": description, **({} if default is None else {"default": default})}


_UNITS = "usec|us|µs|msec|ms|seconds|second|sec|s|minutes|minute|min|m|hours|hour|hr|h|days|day|d|weeks|week|w"
_AMOUNT = r"[0-9]{1,18}(?:\.[0-9]{1,9})?"
TIME: Shape = {
    "title": "a time span such as '30s', '5min' or '1h 30min'",
    "type": ["string", "number"],
    "minimum": 0,
    "maximum": 10**10,
    "pattern": whole(rf" *(?:infinity|{_AMOUNT}(?: *(?:{_UNITS}) *{_AMOUNT}){{0,7}}(?: *(?:{_UNITS}))?) *"),
}
SIZE: Shape = {
    "title": "a size such as '512M', '2G', '80%' or 'infinity'",
    "type": ["string", "integer"],
    "minimum": 1,
    "pattern": whole(r"infinity|[0-9]{1,18}[BKMGTPE]?|[0-9]{1,3}(?:\.[0-9]{1,2})?%"),
}
PERCENT = text("a percentage of one CPU such as '50%' or '200%'", r"[0-9]{1,6}(?:\.[0-9]{1,2})?%")
BOOLEAN: Shape = {"title": "true or false", "type": "boolean"}
TRUE: Shape = {"title": "true", "enum": [True]}
PORT = number("a port number from 1 to 65535", 1, 65535)

TEXT = text("text without NUL", r"[^\x00]*")
LINE = text("one line of text", r"[^\x00-\x1f\x7f]*[^\x00-\x1f\x7f\\]")
SCALAR: Shape = {
    "title": 'text, a number or a boolean (use "" for an empty text)',
    "type": ["string", "number", "boolean"],
    "pattern": r"^[^\x00]*$",
}
"""Read as it is written: `08`, `1e3`, `no`, `true` and `22:22` are these very characters. For whoever reads YAML otherwise, `1e3` is a number."""
DIRECTIVE: Shape = {
    "title": "one line of text that does not end in a backslash",
    "type": ["string", "number", "boolean"],
    "pattern": whole(r"(?:[^\x00-\x1f\x7f]*[^\x00-\x1f\x7f\\])?"),
}
# systemd takes most paths raw, without quotes: what its unit files cannot hold is refused everywhere alike (systemd.syntax(7)).
PATH = text(
    "a path, without control characters, and without a blank or backslash at its end",
    r"[^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]*[^\x00-\x20\x7f\\])?",
    maxLength=4095,
)
PATHS = sequence("a list of paths", PATH)
VARIABLE = text("a variable name of letters, digits and '_'", r"[A-Za-z_][A-Za-z0-9_]*")
USER = text("a user or group name", r"[A-Za-z_][A-Za-z0-9_.-]{0,30}")
NAME = text("a name of at most 63 small letters, digits, '-' and '_', ending in a letter or digit", r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
APP_NAME = text("a name of at most 31 small letters, digits and '-', from a letter to a letter or digit", r"[a-z](?:[a-z0-9-]{0,29}[a-z0-9])?")
OUTER_NAME = text(
    "the name of a service of another app, such as 'shop/db' or 'shop-stage/db'",
    r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?",
)
FILE_NAME = text("a name of letters, digits, '.', '-' and '_'", r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,200}")
UNIT_OR_NAME = text("the name of a service, or of a unit such as 'postgresql.service'", r"[A-Za-z0-9:_.\\@-]{1,255}")
REQUIRED = text(
    "the name of a service, of one of another app such as 'shop/db', or of a unit such as 'postgresql.service'",
    r"[A-Za-z0-9:_.\\@/-]{1,255}",
)
DIRECTIVE_NAME = text("the name of a directive such as 'Nice'", r"[A-Z][A-Za-z0-9-]*")
CALENDAR = text("a calendar expression such as 'daily' or 'Mon *-*-* 03:00:00'", r"[A-Za-z0-9*,./:~@?#L ;+_-]{1,200}")
FREE: Shape = {"title": "a mapping", "type": "object"}

ARGV = sequence("a list of a program and its arguments", SCALAR, minItems=1)
COMMAND = any_of("text for the shell, or a list of a program and its arguments", TEXT, ARGV)
ENVIRONMENT = table("a mapping of variables", VARIABLE, SCALAR)
