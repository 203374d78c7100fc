"""Settings as they come from the command line: one JSON object, one frozen dataclass."""

import json
from dataclasses import fields
from typing import Any, TypeVar, get_origin, get_type_hints

from capsynth.errors import CapsynthError

Settings = TypeVar("Settings")


def settings_from_json(kind: type[Settings], text: str) -> Settings:
    """Build the dataclass ``kind`` from a JSON object with exactly its fields.

    Raises:
        CapsynthError: If the text is no JSON object, or keys are missing or unknown.
    """
    try:
        values: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise CapsynthError(f"settings are not JSON: {error}; got {text[:80]!r}") from error
    if not isinstance(values, dict):
        raise CapsynthError(f"settings must be a JSON object; got {text[:80]!r}")
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # any dataclass
    for name in names:
        if name not in values:
            raise CapsynthError(f"settings lack {name!r}; needed: {', '.join(names)}")
    for name in values:
        if name not in names:
            raise CapsynthError(f"settings have no {name!r}; known: {', '.join(names)}")
    hints = get_type_hints(kind)
    tuples = {name for name in names if get_origin(hints[name]) is tuple}
    return kind(**{k: tuple(v) if k in tuples else v for k, v in values.items()})
