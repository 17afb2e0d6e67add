"""What jsonschema finds, in the words of a person. The only module that knows jsonschema, and imported only for a spec that is wrong."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import jsonschema

from nanod.spec.schema import SCHEMA
from nanod.spec.shapes import alternatives
from nanod.spec.tree import Findings, Map, Place, Seq, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nanod.spec.shapes import Shape

    Error = Any
    """jsonschema.ValidationError: its typed attributes differ between the versions from 4.10 on."""

SERVICE_KEYS: Final = frozenset(SCHEMA["$defs"]["service"]["properties"])

_ELSEWHERE: Final = {
    "depends_on": "requires",
    "env": "environment",
    "env_file": "environment_files",
    "env_files": "environment_files",
    "healthcheck": "health",
    "cmd": "command",
    "exec": "command",
    "run": "command",
    "cwd": "working_dir",
    "workdir": "working_dir",
    "working_directory": "working_dir",
    "secrets": "credentials",
    "lifecycle": "hooks",
    "cron": "schedule",
    "limits": "resources",
    "memory": "resources.memory_max",
    "cpus": "resources.cpu_quota",
    "pre_start": "prestart",
    "post_start": "poststart",
    "pre_stop": "prestop",
    "post_stop": "poststop",
    "init": "prestart",
    "port": "ports",
    "scale": "replicas",
    "instances": "replicas",
}
"""Words of compose, Kubernetes and unit files to ours; used where the word on the right is known at that place."""
_REFUSED: Final = {
    "Install": "nanod decides what starts a unit: the app's target does",
    "image": "nanod runs programs of this machine, not images",
}


def explain(root: Place, schema: Shape, findings: Findings) -> bool:
    """Reports everything that breaks the schema, and cuts it out, so that the rest can be looked at. False: there was too much to go on."""
    validator = jsonschema.Draft202012Validator(schema)
    # Again until nothing is left: a mapping that lost a key it needs goes next, without a word.
    while errors := [leaf for error in islice(validator.iter_errors(root.node), Findings.MAX + 1) for leaf in _leaves(error)]:
        for error in errors:
            _report(_place(root, error), error, schema, findings)
        if findings.is_full or not isinstance(root.node, Map):
            return False
        for error in errors:
            if error.validator != "additionalProperties" and "propertyNames" not in error.relative_schema_path:
                _cut(_place(root, error))
    return True


def explain_block(place: Place, schema: Shape, findings: Findings) -> bool:
    """The same once, for a block with a schema of its own, which need have no titles; True when nothing is wrong."""
    errors = list(islice(jsonschema.Draft202012Validator(schema).iter_errors(place.node), Findings.MAX + 1))
    for error in (leaf for outer in errors for leaf in _leaves(outer)):
        if error.validator in ("additionalProperties", "required") or {"title", "$ref"} & error.schema.keys():
            _report(_place(place, error), error, schema, findings)
        else:
            findings.error(_place(place, error), f"{_name(_place(place, error))}: {error.message}")
    return not errors


def _report(place: Place, error: Error, schema: Shape, findings: Findings) -> None:
    if error.validator == "additionalProperties":
        _unknown_keys(place, error, findings)
    elif "propertyNames" in error.relative_schema_path:
        _wrong_name(place, error, findings)
    elif error.validator == "required":
        _missing(place, error, findings)
    else:
        findings.error(place, f"{_name(place)} must be {_title(error.schema, schema)}, not {_value(place)}")


def _leaves(error: Error) -> Iterator[Error]:
    """The errors that a person wants: for alternatives those of the one that was meant, told by the type of what is written."""
    if error.validator != "anyOf":
        yield error
        return
    branches: dict[int, list[Error]] = {}
    for inner in error.context:
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    meant = [errors for errors in branches.values() if not any(_is_other_type(error, inner) for inner in errors)]
    if len(meant) != 1:
        yield error
        return
    for inner in meant[0]:
        yield from _leaves(inner)


def _is_other_type(outer: Error, inner: Error) -> bool:
    return len(inner.absolute_path) == len(outer.absolute_path) and inner.validator in {"type", "enum"}


def _place(root: Place, error: Error) -> Place:
    place = root
    for key in error.absolute_path:
        place = place.child(key)
    return place


def _name(place: Place) -> str:
    keys: list[str | int] = []
    while place.parent is not None:
        keys.insert(0, place.key)
        if isinstance(place.key, str):
            break
        place = place.parent
    return f"'{''.join(f'[{key}]' if isinstance(key, int) else key for key in keys)}'" if keys else "a spec"


def _value(place: Place) -> str:
    return shown(place.node)


def _title(shape: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if "title" in shape:
        return str(shape["title"])
    if "$ref" in shape:
        return _title(root["$defs"][str(shape["$ref"]).rpartition("/")[2]], root)
    return "something else"


def _unknown_keys(place: Place, error: Error, findings: Findings) -> None:
    known = error.schema.get("properties", {})
    unknown = [key for key in place.map if key not in known and not (place.parent is None and key.startswith("x-"))]
    for key in unknown:
        if not findings.is_full:
            better = _suggestion(key, known, findings)
            advice = _refusal(place, key) or (f"did you mean {better}?" if better else _all_known(known))
            message = f"unknown key {shown(key)}{f' in {_name(place)}' if place.parent else ''}"
            findings.error(place, f"{message}: {advice}" if advice else message, key, on_key=True)
            if better:
                place.map.broken |= {better.strip("'").partition(".")[0]}
    place.map.drop(*unknown)


def _refusal(place: Place, key: str) -> str:
    if key == "runtime" and place.parent and place.parent.key == "runtimes":
        return "runtimes do not build upon one another"
    if place.parent is None and key in SERVICE_KEYS:
        return "it belongs to a service, under 'services'"
    return _REFUSED.get(key, "")


def _all_known(known: Mapping[str, Any]) -> str:
    return f"the keys here are {', '.join(sorted(known))}" if len(known) < 16 else ""


def _suggestion(key: str, known: Mapping[str, Any], findings: Findings) -> str:
    """`'timeout'`, or `'stop.timeout'` for a key that is known one level down; empty when nothing comes near."""
    low = key.lower().replace("-", "_")
    if low in known:
        return f"'{low}'"
    if (other := _ELSEWHERE.get(low, "")) and other.partition(".")[0] in known:
        return f"'{other}'"
    if close := findings.guess(low, known, 0.75):
        return f"'{close}'"
    below = [f"{outer}.{key}" for outer, shape in known.items() if key in shape.get("properties", {})]
    return alternatives(below) if below else ""


def _wrong_name(place: Place, error: Error, findings: Findings) -> None:
    key = error.instance
    if key not in place.map:
        return
    findings.error(place, f"{shown(key)} in {_name(place)} must be {_title(error.schema, {})}", key, on_key=True)
    place.map.drop(key)


def _missing(place: Place, error: Error, findings: Findings) -> None:
    missing = [key for key in error.validator_value if key not in place.map and key not in place.map.broken]
    if missing:
        findings.error(place, f"{_name(place)} needs {alternatives(missing, 'and')}")


def _cut(place: Place) -> None:
    """Takes the wrong value out of the mapping around it; a list with a wrong item goes whole, for its positions have a meaning."""
    while place.parent is not None:
        outer = place.parent
        if isinstance(outer.node, Map):
            outer.node.drop(str(place.key))
            return
        if not isinstance(outer.node, Seq):
            return
        place = outer
