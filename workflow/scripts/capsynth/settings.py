"""Settings as they come from the command line: one JSON object, one frozen dataclass."""

import json
import types
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from capsynth.errors import CapsynthError

Settings = TypeVar("Settings")


def settings_from_json(kind: type[Settings], text: str) -> Settings:
    """Build the dataclass ``kind`` from a JSON object with exactly its fields.

    Its fields may be dataclasses or None, given as such objects or null, and tuples of dataclasses,
    given as lists.

    Raises:
        CapsynthError: If the text is no JSON object, or keys are missing or unknown.
    """
    try:
        values: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise CapsynthError(f"settings are not JSON: {error}; got {text[:80]!r}") from error
    return _build(kind, values)


def _build(kind: type[Settings], values: Any) -> Settings:
    if not isinstance(values, dict):
        raise CapsynthError(f"settings must be a JSON object; got {str(values)[:80]!r}")
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # any dataclass
    for name in names:
        if name not in values:
            raise CapsynthError(f"settings lack {name!r}; needed: {', '.join(names)}")
    for name in values:
        if name not in names:
            raise CapsynthError(f"settings have no {name!r}; known: {', '.join(names)}")
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], value) for name, value in values.items()})


def _value(hint: Any, value: Any) -> Any:
    kinds = [kind for kind in get_args(hint) if isinstance(kind, type) and is_dataclass(kind)]
    if get_origin(hint) is tuple:
        return tuple(_build(kinds[0], one) if kinds else one for one in value)
    return _build(kinds[0], value) if kinds and value is not None else value


def fits(value: Any, kind: Any) -> bool:
    """Return whether a value of JSON is of a kind, one of those that the fields of a job have."""
    if isinstance(kind, types.UnionType):
        return any(fits(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind
