"""The schema of the configuration: reading it, walking it, and filling in what it says."""

import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from capsynth.names import shown

SCHEMA_PATH = Path(__file__).resolve().parents[2] / "schemas" / "config.schema.yaml"

Schema = Mapping[str, Any]
KeyPath = tuple[str | int, ...]

# Python takes no text of more digits than some thousand, and a float none of more than 308.
MAX_DIGITS = 100
# What no path can have, and what cannot be written as UTF-8.
_NO_TEXT = re.compile("[\\0\ud800-\udfff]")


@functools.cache
def load_schema() -> Schema:
    """Return the configuration's JSON Schema (draft 2020-12)."""
    # The loader in C takes a tenth of the time, where PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schema: Schema = loader(SCHEMA_PATH.read_text(encoding="utf-8")).get_single_data()
    return schema


def schema_at(path: Iterable[str | int]) -> Schema:
    """Return the schema of the key at ``path``; {} if there is none."""
    schema = load_schema()
    for part in path:
        schema = child_of(schema, part)
    return schema


def resolve(schema: Schema) -> Schema:
    """Return ``schema`` with its ``$ref`` replaced by what it points to; keys beside it win."""
    if "$ref" not in schema:
        return schema
    definition = load_schema()["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return {**resolve(definition), **{k: v for k, v in schema.items() if k != "$ref"}}


def child_of(schema: Schema, key: str | int) -> Schema:
    """Return the schema of one key, or one item, of what ``schema`` describes; {} if unknown."""
    if isinstance(key, int):
        return resolve(schema.get("items", {}))
    if key in schema.get("properties", {}):
        return resolve(schema["properties"][key])
    others = schema.get("additionalProperties")
    return resolve(others) if isinstance(others, Mapping) else {}


def types_of(schema: Schema) -> tuple[str, ...]:
    """Return the names of the types that a value may have; () for any."""
    names = schema.get("type", ())
    return (names,) if isinstance(names, str) else tuple(names)


def takes_null(schema: Schema) -> bool:
    """Return whether nothing is a value."""
    return "null" in types_of(schema) or None in schema.get("enum", ())


def check_keys(value: Any, path: KeyPath = ()) -> Iterator[str]:
    """Yield which names of mappings are no text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{key_name((*path, str(key)))}: put the name in quotes: '{key}'"
            yield from check_keys(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from check_keys(item, (*path, index))


def normalise(value: Any, schema: Schema, path: KeyPath, problems: list[str]) -> Any:
    """Return a plain copy of ``value``: new dicts and lists, no keys that are set to nothing.

    Names that are no text are left out (``check_keys``). Adds to ``problems`` what JSON cannot hold
    and a schema therefore cannot refuse.
    """
    if isinstance(value, Mapping):
        plain = {}
        for key, item in value.items():
            child = child_of(schema, key)
            if isinstance(key, str) and (item is not None or not takes_null(child)):
                plain[key] = normalise(item, child, (*path, key), problems)
        return plain
    if isinstance(value, list | tuple):
        return [
            normalise(item, child_of(schema, index), (*path, index), problems)
            for index, item in enumerate(value)
        ]
    if value is False and "off" in schema.get("enum", ()):
        return "off"  # what YAML 1.1 reads in a bare off
    if isinstance(value, str) and _NO_TEXT.search(value):
        problems.append(f"{key_name(path)}: {value!r} has a character that is no text; remove it")
        return shown(value)
    if isinstance(value, float) and not math.isfinite(value):
        problems.append(f"{key_name(path)}: {value} is not a finite number; write one")
    elif isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        problems.append(f"{key_name(path)}: has more than {MAX_DIGITS} digits; write a smaller one")
        return 0
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return _as_schema_number(value, schema)
    elif value is not None and not isinstance(value, str | bool | float):
        problems.append(f"{key_name(path)}: YAML reads {value} as no text; put it in quotes")
        return str(value)
    return value


def _as_schema_number(value: int | float, schema: Schema) -> int | float:
    """Return ``value`` as the kind of number that ``schema`` asks for, where nothing is lost."""
    types = types_of(schema)
    if "integer" in types and isinstance(value, float) and value.is_integer():
        return int(value)
    # Beyond 2**53 a float would not be the number that was written.
    if "number" in types and abs(value) <= 2**53:
        return float(value)
    return value


def fill(value: Any, schema: Schema) -> Any:
    """Return a copy of ``value`` with the defaults of ``schema`` in the place of missing keys."""
    if isinstance(value, list):
        return [fill(item, child_of(schema, index)) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    defaults = {
        key: resolve(child)["default"]
        for key, child in schema.get("properties", {}).items()
        if "default" in resolve(child)
    }
    # Conditions see the plain defaults, and what follows from them wins over the plain ones.
    for rule in schema.get("allOf", ()):
        if Draft202012Validator(rule["if"]).is_valid({**defaults, **value}):
            for key, child in rule["then"].get("properties", {}).items():
                if "default" in child:
                    defaults[key] = child["default"]
    filled = {key: fill(item, child_of(schema, key)) for key, item in value.items()}
    missing = {key: default for key, default in defaults.items() if key not in value}
    return filled | {key: fill(item, child_of(schema, key)) for key, item in missing.items()}


def key_name(path: Iterable[str | int]) -> str:
    """Return a key path as it is written in messages: ``report.comparisons[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") or "the configuration"
