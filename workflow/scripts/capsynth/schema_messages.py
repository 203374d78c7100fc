"""What the schema refuses, in words: one line a problem, with the key and the remedy."""

import difflib
import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jsonschema import ValidationError

from capsynth.config_sources import OPTION, ConfigSources
from capsynth.schema import SCHEMA_PATH, KeyPath, Schema, key_name, schema_at, types_of

_NUMBER = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?)(\d+))?")
_TYPE_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping of keys to values",
    "boolean": "true or false",
    "null": "nothing",
}


def show(value: Any) -> str:
    """Return a value as it is written in messages."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value)
    if value is None:
        return "nothing"
    return f"{value:g}" if isinstance(value, float) else str(value)


def did_you_mean(word: Any, known: Iterable[str], quote: str = "'") -> str:
    """Return ``; did you mean 'x'?`` if ``word`` is close to one of ``known``, else nothing."""
    if not isinstance(word, str):
        return ""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {quote}{by_lower[close[0]]}{quote}?" if close else ""


def unknown_name(path: KeyPath, value: Any, known: Sequence[str]) -> str:
    """Return the line that says that ``value`` is none of the ``known`` names."""
    hint = did_you_mean(value, known) or ";"
    listed = ", ".join(known) or "none"
    return f"{key_name(path)}: {show(value)} is not known{hint} known: {listed}"


def explain(
    error: ValidationError, config: Any, sources: ConfigSources | None = None
) -> Iterator[str]:
    """Yield the lines that describe what one rule of the schema refused in ``config``.

    Args:
        error: What was refused.
        config: The configuration.
        sources: Where it comes from, if that is known: values are told as they are written.
    """
    path: KeyPath = tuple(error.absolute_path)
    limit: Any = error.validator_value
    if "propertyNames" in error.absolute_schema_path:
        # The refused value is a key here; the path ends at the mapping that holds it.
        siblings = functools.reduce(lambda value, part: value[part], path, config)
        known = error.validator == "enum"
        name = error.instance
        yield unknown_name(path, name, limit) if known else _explain_name(path, str(name), siblings)
        return
    where, shown = key_name(path), show(error.instance)
    value: Any = error.instance
    schema: Any = error.schema
    match error.validator:
        case "additionalProperties":
            yield from _explain_keys(path, value, schema)
        case "required":
            yield from _explain_missing(path, value, limit)
        case "type":
            yield _explain_type(path, value, schema, sources)
        case "enum":
            yield unknown_name(path, value, [str(name) for name in limit if name is not None])
        case "const":
            yield f"{where}: does not apply; remove it. {schema['description']}"
        case "minimum":
            yield f"{where}: {shown} is too small; use at least {show(limit)}"
        case "maximum":
            yield f"{where}: {shown} is too large; use at most {show(limit)}"
        case "exclusiveMinimum":
            yield f"{where}: {shown} is too small; use more than {show(limit)}"
        case "exclusiveMaximum":
            yield f"{where}: {shown} is too large; use less than {show(limit)}"
        case "multipleOf" if not math.isfinite(value):
            return  # told by normalise
        case "multipleOf":
            near = max(limit, round(value / limit) * limit)
            yield f"{where}: {shown} is not a multiple of {limit}; use {near}"
        case "minItems" | "minProperties":
            yield f"{where}: has {len(value)} entries; give at least {limit}"
        case "maxItems" if limit == 0:
            yield f"{where}: does not apply; remove it. {schema['description']}"
        case "maxItems":
            yield f"{where}: has {len(value)} entries; give at most {limit}"
        case "uniqueItems":
            twice = next(item for index, item in enumerate(value) if item in value[:index])
            yield f"{where}: {show(twice)} is listed twice; remove one"
        case "minLength":
            yield f"{where}: is empty; write something or remove the key"
        case "pattern" | "maxLength":
            yield f"{where}: {shown} cannot be part of a file name; {name_rule(limit)}"
        case "not":
            yield f"{where}: {shown} is a folder that capsynth itself writes; choose another name"
        case _:
            yield f"{where}: {error.message}; see {SCHEMA_PATH.name}"


def name_rule(limit: int | str) -> str:
    """Return what a length or a pattern of the schema asks of names."""
    if isinstance(limit, int):
        return f"use at most {limit} characters"
    signs, letters = ("._+-", "letters") if "A-Z" in limit else (".-", "lower-case letters")
    return f"use {letters}, digits and {signs}, beginning with a letter or digit"


def _explain_name(path: KeyPath, name: str, siblings: Iterable[str]) -> str:
    where = key_name((*path, name))
    if path[-1:] == ("scheduler_args",):
        return f"{where}: is not an argument; diffusers' own are lower-case words joined by _"
    if path == ("dataset", "classes"):
        return f"{where}: is not a folder name that shards can carry; use letters, digits and ._+-"
    # Only training sets take plus signs.
    signs, words = (".+-", "dots, plus") if path == ("training_sets",) else (".-", "dots")
    plain = re.sub(rf"[^a-z0-9{signs}]+", "-", name.lower()).strip(signs)[:60]
    if plain in siblings:
        return f"{where}: differs from {plain!r} in case or signs only; choose another name"
    rule = f"names are lower-case letters, digits, {words} and minus signs, at most 60"
    return f"{where}: {rule}; write for example {plain or 'a-name'!r}"


def _explain_keys(path: KeyPath, value: Mapping[str, Any], schema: Schema) -> Iterator[str]:
    known = list(schema["properties"])
    for key in value:
        if key not in known:
            hint = did_you_mean(key, known, quote="") or f"; known keys: {', '.join(known)}"
            yield f"{key_name((*path, key))} is not a key{hint}"


def _explain_missing(path: KeyPath, value: Mapping[str, Any], keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        if key not in value:
            description = schema_at((*path, key)).get("description", "")
            yield f"{key_name((*path, key))} is missing; add it. {description}".rstrip()


def _explain_type(path: KeyPath, value: Any, schema: Schema, sources: ConfigSources | None) -> str:
    where, types = key_name(path), types_of(schema)
    expected = " or ".join(_TYPE_WORDS[name] for name in types if name != "null")
    if sources and sources.is_option(path) and (isinstance(value, str) or "array" in types):
        return (
            f"{where}: expected {expected}, not {show(value)}; {OPTION} makes text of all that "
            f"stands in lists and mappings: write {path[0]} into a file, and name that with "
            "--configfile"
        )
    if value is None:
        default = schema_at(path).get("default")
        remedy = "write one" if default is None else f"write one, or remove it for {show(default)}"
        return f"{where}: has no value; {remedy}"
    number = as_yaml_number(value) if isinstance(value, str) else None
    if number is not None and {"integer", "number"} & set(types):
        return f"{where}: {value!r} is text to YAML, not a number; write {number}"
    shown = "a mapping" if isinstance(value, dict) else show(value)
    remedy = ""
    if "string" in types and not isinstance(value, dict | list):
        written = sources.written(path) if sources else None
        same = written is None or written == shown
        remedy = "; put it in quotes" if same else f"; put it in quotes: '{written}'"
    elif "array" in types and not isinstance(value, dict):
        remedy = f"; write [{value}]"
    return f"{where}: expected {expected}, not {shown}{remedy}"


def as_yaml_number(text: str) -> str | None:
    """Return the number in ``text`` in a form that YAML 1.1 reads as one; None if it is none.

    YAML 1.1 wants a dot and a signed exponent: ``1e-3`` and ``1.0e3`` are text to it.
    """
    matched = _NUMBER.fullmatch(text.strip())
    if matched is None:
        return None
    sign, whole, fraction, exponent_sign, exponent = matched.groups()
    if not whole and not fraction:
        return None
    sign = sign.removeprefix("+")
    # A leading zero would make the number octal.
    whole = whole.lstrip("0") or "0"
    if fraction is None and exponent is None:
        return f"{sign}{whole}"
    number = f"{sign}{whole}.{fraction or '0'}"
    return number if exponent is None else f"{number}e{exponent_sign or '+'}{exponent}"
